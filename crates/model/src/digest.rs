//! A sha256 content digest, written `sha256:<64 lower-case hex digits>`.
//!
//! The only way to make one is to parse that text or to hash bytes, so a `Digest` in hand is well formed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The sha256 digest of some content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes.as_ref());
        hasher.finish()
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From the 32 bytes, as a database keeps them.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 64 hex digits, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first eight hex digits: what people are shown.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// Another algorithm, or none.
    #[error("invalid digest {0:?}; it must start with 'sha256:'")]
    Algorithm(String),
    /// The right algorithm with something other than 64 lower-case hex digits.
    #[error("invalid digest {0:?}; 'sha256:' must be followed by 64 lower-case hexadecimal digits")]
    Hex(String),
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text
            .strip_prefix("sha256:")
            .ok_or_else(|| ParseDigestError::Algorithm(text.to_owned()))?;
        let mut bytes = [0; 32];
        if digits.bytes().any(|b| b.is_ascii_uppercase())
            || hex::decode_to_slice(digits, &mut bytes).is_err()
        {
            return Err(ParseDigestError::Hex(text.to_owned()));
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = ParseDigestError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Hashes content that arrives in pieces.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(Digest::of("").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of([]));
        assert_eq!(Digest::of("").short(), "e3b0c442");
    }

    #[test]
    fn what_is_no_digest_is_refused_with_the_reason() {
        assert!(matches!("md5:00".parse::<Digest>(), Err(ParseDigestError::Algorithm(_))));
        assert!(matches!("sha256:00".parse::<Digest>(), Err(ParseDigestError::Hex(_))));
        assert!(matches!(
            EMPTY.to_uppercase().parse::<Digest>(),
            Err(ParseDigestError::Algorithm(_))
        ));
        assert!(EMPTY.replace('e', "E").parse::<Digest>().is_err());
    }
}
