//! Signing an invoice.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use super::{Invoice, Role, Signature};

/// Why an invoice was not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// One key signs an invoice once.
    #[error("cannot sign the data again with a key that has already signed the data")]
    Twice,
    /// It has as many signatures as it may have.
    #[error("the invoice has {0} signatures already, and may have no more")]
    TooMany(usize),
    /// A key that is none.
    #[error("{0:?} has no key pair: 64 bytes in Base64, the public key last")]
    Corrupt(String),
}

/// A key pair with which somebody signs.
#[derive(Clone)]
pub struct SecretKey {
    /// Whose it is: `Name <mail>`.
    pub label: String,
    /// What it may be used for.
    pub roles: Vec<Role>,
    key: SigningKey,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { label, roles, key: _ } = self;
        f.debug_struct("SecretKey")
            .field("label", label)
            .field("roles", roles)
            .finish_non_exhaustive()
    }
}

impl SecretKey {
    /// A new one.
    pub fn generate(label: impl Into<String>, roles: Vec<Role>) -> Result<Self, getrandom::Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed)?;
        Ok(Self::from_seed(label, roles, &seed))
    }

    /// The one that follows from 32 secret bytes.
    pub fn from_seed(label: impl Into<String>, roles: Vec<Role>, seed: &[u8; 32]) -> Self {
        Self { label: label.into(), roles, key: SigningKey::from_bytes(seed) }
    }

    /// Out of the 32 secret bytes and the 32 public ones after them, in Base64.
    pub fn from_pair(label: String, roles: Vec<Role>, pair: &str) -> Result<Self, SignError> {
        let bytes = Zeroizing::new(STANDARD.decode(pair).unwrap_or_default());
        let pair = <&[u8; 64]>::try_from(bytes.as_slice()).ok();
        match pair.and_then(|pair| SigningKey::from_keypair_bytes(pair).ok()) {
            Some(key) => Ok(Self { label, roles, key }),
            None => Err(SignError::Corrupt(label)),
        }
    }

    /// The 32 secret bytes and the 32 public ones after them, in Base64.
    pub fn pair(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(Zeroizing::new(self.key.to_keypair_bytes())))
    }

    /// The 32 public bytes in Base64.
    pub fn public(&self) -> String {
        STANDARD.encode(self.key.verifying_key().as_bytes())
    }

    /// The signature of some text in Base64.
    pub(super) fn sign_text(&self, text: &str) -> String {
        STANDARD.encode(self.key.sign(text.as_bytes()).to_bytes())
    }
}

impl Invoice {
    /// Signs it `at` that many seconds after 1970.
    pub fn sign(&mut self, key: &SecretKey, role: Role, at: u64) -> Result<(), SignError> {
        let public = key.public();
        if self.signature.iter().any(|signature| signature.key == public) {
            return Err(SignError::Twice);
        }
        if self.signature.len() >= crate::limits::SIGNATURES {
            return Err(SignError::TooMany(self.signature.len()));
        }
        self.signature.push(Signature {
            by: key.label.clone(),
            signature: key.sign_text(&self.cleartext(&key.label, role)),
            key: public,
            role,
            at,
        });
        Ok(())
    }

    /// What is signed: not the time, although the specification has it, since no client ever did.
    pub(super) fn cleartext(&self, by: &str, role: Role) -> String {
        let version = self.bindle.version.to_string();
        let mut lines = vec![by, &self.bindle.name, &version, role.as_str(), "~"];
        lines.extend(self.parcel.iter().map(|parcel| parcel.label.sha256.as_str()));
        lines.join("\n")
    }
}
