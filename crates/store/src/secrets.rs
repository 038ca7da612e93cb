//! The key that secrets at rest are sealed with, and the keys derived from it.
//!
//! A sealed secret says which key sealed it, so that keys can be added later while old values stay readable; it
//! opens only for the row it was sealed for.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use gyre_model::Secret;
use zeroize::Zeroizing;

use crate::files::{entries, write_secret};

const HEADER: &str = "gyre-key-1";
const SUFFIX: &str = "key";
/// Of the sealed form: the format, then which key, then the nonce, then what the cipher made.
const FORMAT: u8 = 1;
const KEY_ID: usize = 8;
const NONCE: usize = 24;

/// Why the keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file cannot be read or written.
    #[error("cannot access the keys")]
    Io(#[from] io::Error),
    /// A file is not a key.
    #[error("{} is not a key file of Gyre", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no randomness.
    #[error("cannot make a key")]
    Random(#[source] getrandom::Error),
}

/// Why a sealed secret does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its key is not here.
    #[error("the key {id} that the secret was sealed with is missing")]
    MissingKey {
        /// The key's id, in hex.
        id: String,
    },
    /// It was changed, cut short, or belongs to another row.
    #[error("the secret was changed or belongs elsewhere")]
    Damaged,
}

/// The keys of a node or of the nodes that share a database.
pub struct Keyring {
    keys: BTreeMap<[u8; KEY_ID], Zeroizing<[u8; 32]>>,
    /// The key that new secrets are sealed with.
    current: [u8; KEY_ID],
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("keys", &self.keys.len())
            .field("current", &hex::encode(self.current))
            .finish()
    }
}

impl Keyring {
    /// Reads all keys of the folder `dir`, making the first one where there is none. Blocks. The newest by the order
    /// of their file names seals.
    ///
    /// # Errors
    /// A key cannot be read, is malformed, or cannot be made.
    pub fn open(dir: &Path) -> Result<Self, KeyringError> {
        let mut files: Vec<PathBuf> = entries(dir)?;
        files.retain(|path| path.extension().is_some_and(|suffix| suffix == SUFFIX));
        files.sort();
        if files.is_empty() {
            let path = dir.join(format!("0001.{SUFFIX}"));
            let mut key = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *key).map_err(KeyringError::Random)?;
            let text = Zeroizing::new(format!("{HEADER} {}\n", hex::encode(*key)));
            write_secret(&path, text.as_bytes())?;
            files.push(path);
        }
        let mut keys = BTreeMap::new();
        let mut current = [0; KEY_ID];
        for path in files {
            let text = Zeroizing::new(fs_err::read_to_string(&path)?);
            let mut key = Zeroizing::new([0; 32]);
            text.trim_end()
                .strip_prefix(HEADER)
                .and_then(|rest| hex::decode_to_slice(rest.trim_start(), &mut *key).ok())
                .ok_or(KeyringError::Malformed { path })?;
            current = key_id(&key);
            keys.insert(current, key);
        }
        Ok(Self { keys, current })
    }

    /// Seals `secret` for the row that `identity` names (`variable <app> <channel> <name>`); it opens for no other.
    ///
    /// # Panics
    /// If the system gives no randomness, which it gave when the process started.
    pub fn seal(&self, identity: &str, secret: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).expect("the system gave randomness before");
        let key = &self.keys[&self.current];
        let sealed = cipher(key)
            .encrypt(&XNonce::from(nonce), Payload { msg: secret, aad: identity.as_bytes() })
            .expect("a secret is shorter than the cipher's limit of 256 GiB");
        [&[FORMAT][..], &self.current, &nonce, &sealed].concat()
    }

    /// Opens what [`Keyring::seal`] made for the same `identity`.
    ///
    /// # Errors
    /// The key is missing, or the secret is not what was sealed for that row.
    pub fn open_sealed(&self, identity: &str, sealed: &[u8]) -> Result<Secret<Vec<u8>>, OpenError> {
        let (&format, rest) = sealed.split_first().ok_or(OpenError::Damaged)?;
        let (id, rest) = rest.split_first_chunk::<KEY_ID>().ok_or(OpenError::Damaged)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE>().ok_or(OpenError::Damaged)?;
        if format != FORMAT {
            return Err(OpenError::Damaged);
        }
        let key = self.keys.get(id).ok_or_else(|| OpenError::MissingKey { id: hex::encode(id) })?;
        cipher(key)
            .decrypt(&XNonce::from(*nonce), Payload { msg: text, aad: identity.as_bytes() })
            .map(Secret::new)
            .map_err(|_| OpenError::Damaged)
    }

    /// A key for another purpose, such as authenticating the compiled cache; the same for as long as the current key
    /// is. Knowing it tells nothing about this keyring.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("gyre 2026-11 key for a purpose");
        hasher.update(&*self.keys[&self.current]).update(purpose.as_bytes());
        *hasher.finalize().as_bytes()
    }
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&(*key).into())
}

/// Which key it is: derived from the key, so that a renamed file stays the same key.
fn key_id(key: &[u8; 32]) -> [u8; KEY_ID] {
    let derived = blake3::derive_key("gyre 2026-11 key id", key);
    derived[..KEY_ID].try_into().expect("32 bytes have a first 8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_for_its_row_only_and_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let ring = Keyring::open(&keys).unwrap();
        let sealed = ring.seal("variable a", b"canary");
        assert!(!sealed.windows(6).any(|window| window == b"canary"));
        assert_ne!(sealed, ring.seal("variable a", b"canary"), "each sealing differs");
        let again = Keyring::open(&keys).unwrap();
        assert_eq!(again.open_sealed("variable a", &sealed).unwrap().expose(), b"canary");
        assert_eq!(again.open_sealed("variable b", &sealed).unwrap_err(), OpenError::Damaged);
        assert_eq!(ring.derive("cache"), again.derive("cache"));
        assert_ne!(ring.derive("cache"), ring.derive("other"));
    }

    #[test]
    fn a_sealed_secret_that_was_changed_anywhere_does_not_open() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::open(dir.path()).unwrap();
        let sealed = ring.seal("row", b"secret");
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(ring.open_sealed("row", &bad).is_err(), "byte {at}");
            assert!(ring.open_sealed("row", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn an_older_key_still_opens_what_it_sealed_and_a_missing_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let old = Keyring::open(dir.path()).unwrap();
        let sealed = old.seal("row", b"secret");
        let text = format!("{HEADER} {}\n", "07".repeat(32));
        write_secret(&dir.path().join("0002.key"), text.as_bytes()).unwrap();
        let both = Keyring::open(dir.path()).unwrap();
        assert_eq!(both.open_sealed("row", &sealed).unwrap().expose(), b"secret");
        assert!(matches!(
            old.open_sealed("row", &both.seal("row", b"newer")),
            Err(OpenError::MissingKey { .. })
        ));
    }

    #[test]
    fn a_file_that_is_no_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("0001.key"), "gyre-key-1 abc").unwrap();
        let error = Keyring::open(dir.path()).unwrap_err();
        assert!(matches!(&error, KeyringError::Malformed { path } if path.ends_with("0001.key")));
    }
}
