//! Files of keys: those whose signatures are believed, and those to sign with. Both as Bindle's clients write them.

use std::{io, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Role, SecretKey, SignError};
use crate::limits;

/// The version that the files name.
const VERSION: &str = "1.0";

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no TOML, or has no keys.
    #[error("the file of keys is malformed")]
    Toml(#[from] toml::de::Error),
    /// A key in it.
    #[error(transparent)]
    Secret(#[from] SignError),
    /// A public key in it.
    #[error("the key of {0:?} is not the 32 bytes of an Ed25519 key in Base64")]
    Public(String),
    /// A version that nobody has defined.
    #[error("the file of keys has version {0:?}; only 1.0 is known")]
    Version(String),
    /// It is too large to be one.
    #[error("the file of keys has more than {0} bytes")]
    TooLarge(u64),
}

/// The keys whose signatures are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyring {
    /// In the file's order.
    pub keys: Vec<PublicKey>,
}

/// A key whose signatures are believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublicKey {
    /// Whose it is: `Name <mail>`.
    pub label: String,
    /// What it is used for. It does not restrict what it is believed in.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// The 32 bytes in Base64.
    pub key: String,
    /// The signature of the label by this very key, in Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_signature: Option<String>,
}

impl PublicKey {
    /// The public half of a key.
    pub fn of(key: &SecretKey) -> Self {
        Self {
            label: key.label.clone(),
            roles: key.roles.clone(),
            key: key.public(),
            label_signature: Some(key.sign_text(&key.label)),
        }
    }

    /// Whether the key is one, so that a signature could fit.
    fn check(&self) -> Result<(), KeysError> {
        let bytes = STANDARD.decode(&self.key).ok();
        match bytes.and_then(|bytes| VerifyingKey::try_from(bytes.as_slice()).ok()) {
            Some(_) => Ok(()),
            None => Err(KeysError::Public(self.label.clone())),
        }
    }
}

/// A keyring as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyringFile {
    version: String,
    #[serde(default)]
    key: Vec<PublicKey>,
}

impl Keyring {
    /// Reads one.
    pub fn from_toml(text: &str) -> Result<Self, KeysError> {
        let file: KeyringFile = toml::from_str(text)?;
        version(&file.version)?;
        file.key.iter().try_for_each(PublicKey::check)?;
        Ok(Self { keys: file.key })
    }

    /// As it is written, in whichever language.
    pub fn to_file(&self) -> KeyringFile {
        KeyringFile { version: VERSION.to_owned(), key: self.keys.clone() }
    }

    /// As the file has it.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.to_file()).expect("every key of the table is a string")
    }

    /// Reads the file; an empty keyring if there is none.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        read(path)?.map_or_else(|| Ok(Self::default()), |text| Self::from_toml(&text))
    }

    /// Writes the file, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), KeysError> {
        write(path, &self.to_toml(), 0o644)
    }

    /// Whether the public key, in Base64, is among them.
    pub fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known.key == key)
    }

    /// Adds it unless it is there. Says whether it was added.
    pub fn add(&mut self, key: PublicKey) -> bool {
        let is_new = !self.has(&key.key);
        if is_new {
            self.keys.push(key);
        }
        is_new
    }
}

/// The keys to sign with.
#[derive(Debug, Default)]
pub struct SecretKeys {
    /// In the file's order.
    pub keys: Vec<SecretKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretFile {
    version: String,
    #[serde(default)]
    key: Vec<SecretEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretEntry {
    label: String,
    keypair: String,
    #[serde(default)]
    roles: Vec<Role>,
}

impl SecretKeys {
    /// Reads them.
    pub fn from_toml(text: &str) -> Result<Self, KeysError> {
        let file: SecretFile = toml::from_str(text)?;
        version(&file.version)?;
        let mut keys = Vec::with_capacity(file.key.len());
        for SecretEntry { label, keypair, roles } in file.key {
            keys.push(SecretKey::from_pair(label, roles, &Zeroizing::new(keypair))?);
        }
        Ok(Self { keys })
    }

    /// As the file has them.
    pub fn to_toml(&self) -> Zeroizing<String> {
        let entry = |key: &SecretKey| SecretEntry {
            label: key.label.clone(),
            keypair: key.pair().to_string(),
            roles: key.roles.clone(),
        };
        let key = self.keys.iter().map(entry).collect();
        let file = SecretFile { version: VERSION.to_owned(), key };
        Zeroizing::new(toml::to_string(&file).expect("every key of the table is a string"))
    }

    /// Reads the file; none if there is none.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let text = read(path)?.map(Zeroizing::new);
        text.map_or_else(|| Ok(Self::default()), |text| Self::from_toml(&text))
    }

    /// Writes the file, whole or not at all, for nobody else to read.
    pub fn write(&self, path: &Path) -> Result<(), KeysError> {
        write(path, &self.to_toml(), 0o600)
    }

    /// The first key for that role, and with that label if one is asked for: the whole of it, or, if `is_part`, some of it.
    pub fn find(&self, role: Role, label: Option<&str>, is_part: bool) -> Option<&SecretKey> {
        let has_label = |key: &&SecretKey| match label {
            None => true,
            Some(label) if is_part => key.label.contains(label),
            Some(label) => key.label == label,
        };
        self.keys.iter().filter(has_label).find(|key| key.roles.contains(&role))
    }
}

fn version(version: &str) -> Result<(), KeysError> {
    if version == VERSION { Ok(()) } else { Err(KeysError::Version(version.to_owned())) }
}

fn read(path: &Path) -> Result<Option<String>, KeysError> {
    match fs_err::metadata(path) {
        Ok(facts) if facts.len() > limits::KEYS_BYTES => {
            Err(KeysError::TooLarge(limits::KEYS_BYTES))
        }
        Ok(_) => Ok(Some(fs_err::read_to_string(path)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<(), KeysError> {
    use std::{io::Write as _, os::unix::fs::PermissionsExt as _};

    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
