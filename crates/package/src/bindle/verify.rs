//! Whether an invoice's signatures are good enough.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::VerifyingKey;

use super::{Invoice, Role, Signature, keys::Keyring};

/// What has to be true of an invoice's signatures.
///
/// Whatever strategy: an invoice without any signature, and one of which no signature that counts is by a known key, fails.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The creators' signatures are valid and by known keys; there is one.
    CreativeIntegrity,
    /// The creators' and approvers' signatures are valid, and one of them is by a known key.
    AuthoritativeIntegrity,
    /// All signatures are valid and by known keys; a creator's is among them.
    #[default]
    GreedyVerification,
    /// All signatures are valid and by known keys, whatever their roles.
    ExhaustiveVerification,
    /// The signatures in these roles are valid and by known keys; each role is there.
    MultipleAttestation(Vec<Role>),
    /// All signatures are valid and by known keys; each of these roles is there.
    MultipleAttestationGreedy(Vec<Role>),
}

/// Why an invoice's signatures are not good enough. The texts are the ones that Bindle's clients know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No signature at all.
    #[error(
        "signatures `No signatures found on invoice. At least one signature is required` cannot be verified"
    )]
    Unsigned,
    /// A signature does not fit the invoice.
    #[error("signatures `{0}` cannot be verified")]
    Invalid(String),
    /// A key that nobody knows.
    #[error(
        "signatures `strategy requires that all signatures for role(s) must be verified` cannot be verified"
    )]
    UnknownKey,
    /// A role in which nobody signed.
    #[error("signatures `No signature found for role {0:?}` cannot be verified")]
    Role(Role),
    /// All keys are strangers'.
    #[error("none of the signatures are made with a known key")]
    NoKnownKey,
    /// A key that is none.
    #[error("key is corrupt for `{0}`")]
    CorruptKey(String),
    /// A signature that is none.
    #[error("signature block is corrupt for key {0}")]
    CorruptSignature(String),
}

/// A strategy, taken apart.
struct Rules<'a> {
    /// The roles that count.
    roles: &'a [Role],
    /// Whether the signatures in other roles have to be valid, too.
    are_all_valid: bool,
    /// Whether every key that is looked at has to be known.
    are_all_known: bool,
    /// Whether somebody has to have signed in each role.
    are_all_there: bool,
}

impl Strategy {
    fn rules(&self) -> Rules<'_> {
        let (roles, are_all_valid, are_all_known, are_all_there): (&[Role], _, _, _) = match self {
            Self::CreativeIntegrity => (&[Role::Creator], false, true, true),
            Self::AuthoritativeIntegrity => (&[Role::Creator, Role::Approver], false, false, false),
            Self::GreedyVerification => (&[Role::Creator], true, true, true),
            Self::ExhaustiveVerification => (&Role::ALL, true, true, false),
            Self::MultipleAttestation(roles) => (roles, false, true, true),
            Self::MultipleAttestationGreedy(roles) => (roles, true, true, true),
        };
        Rules { roles, are_all_valid, are_all_known, are_all_there }
    }

    /// Whether the invoice's signatures are good enough for whoever has these keys.
    pub fn verify(&self, invoice: &Invoice, keyring: &Keyring) -> Result<(), VerifyError> {
        if invoice.signature.is_empty() {
            return Err(VerifyError::Unsigned);
        }
        let rules = self.rules();
        let mut there = Vec::new();
        let mut is_any_known = false;
        for signature in &invoice.signature {
            let counts = rules.roles.contains(&signature.role);
            if !counts && !rules.are_all_valid {
                continue;
            }
            check(signature, &invoice.cleartext(&signature.by, signature.role))?;
            if keyring.has(&signature.key) {
                is_any_known = true;
            } else if rules.are_all_known {
                return Err(VerifyError::UnknownKey);
            }
            there.push(signature.role);
        }
        if !is_any_known {
            return Err(VerifyError::NoKnownKey);
        }
        let absent = rules.roles.iter().find(|role| !there.contains(role));
        match absent {
            Some(role) if rules.are_all_there => Err(VerifyError::Role(*role)),
            _ => Ok(()),
        }
    }
}

impl Invoice {
    /// Whether every signature fits the invoice, whoever made it.
    pub fn check_signatures(&self) -> Result<(), VerifyError> {
        self.signature.iter().try_for_each(|one| check(one, &self.cleartext(&one.by, one.role)))
    }
}

/// Whether that key made that signature of that text.
fn check(signature: &Signature, text: &str) -> Result<(), VerifyError> {
    let key = STANDARD.decode(&signature.key).ok();
    let key = key.and_then(|bytes| VerifyingKey::try_from(bytes.as_slice()).ok());
    let key = key.ok_or_else(|| VerifyError::CorruptKey(signature.key.clone()))?;
    let block = STANDARD.decode(&signature.signature).ok();
    let block = block.and_then(|bytes| ed25519_dalek::Signature::from_slice(&bytes).ok());
    let block = block.ok_or_else(|| VerifyError::CorruptSignature(signature.key.clone()))?;
    // Strict: no key of small order, for with such a one a signature fits any text.
    key.verify_strict(text.as_bytes(), &block)
        .map_err(|_| VerifyError::Invalid(signature.key.clone()))
}

/// Why a text names no strategy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseStrategyError {
    /// There is none by that name.
    #[error(
        "{0:?} is no verification strategy: they are CreativeIntegrity, AuthoritativeIntegrity, GreedyVerification, ExhaustiveVerification, MultipleAttestation[ROLE, …] and MultipleAttestationGreedy[ROLE, …]"
    )]
    Unknown(String),
    /// One that needs roles has none.
    #[error(
        "the verification strategy {0:?} needs roles, such as MultipleAttestation[Creator, Approver]"
    )]
    NoRoles(String),
    /// A role that is none.
    #[error("{0}")]
    Role(String),
}

impl FromStr for Strategy {
    type Err = ParseStrategyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let normal = text.trim().to_lowercase();
        let (name, roles) = match normal.split_once('[') {
            Some((name, roles)) => (name.trim_end(), Some(roles)),
            None => (normal.as_str(), None),
        };
        let listed = || {
            let no_roles = || ParseStrategyError::NoRoles(text.to_owned());
            let list = roles.and_then(|roles| roles.strip_suffix(']')).ok_or_else(no_roles)?;
            let roles = list.split(',').map(Role::from_str).collect::<Result<Vec<_>, _>>();
            roles.map_err(ParseStrategyError::Role)
        };
        match (name, roles) {
            ("creativeintegrity", None) => Ok(Self::CreativeIntegrity),
            ("authoritativeintegrity", None) => Ok(Self::AuthoritativeIntegrity),
            ("greedyverification", None) => Ok(Self::GreedyVerification),
            ("exhaustiveverification", None) => Ok(Self::ExhaustiveVerification),
            ("multipleattestation", _) => Ok(Self::MultipleAttestation(listed()?)),
            ("multipleattestationgreedy", _) => Ok(Self::MultipleAttestationGreedy(listed()?)),
            _ => Err(ParseStrategyError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, roles) = match self {
            Self::CreativeIntegrity => ("CreativeIntegrity", None),
            Self::AuthoritativeIntegrity => ("AuthoritativeIntegrity", None),
            Self::GreedyVerification => ("GreedyVerification", None),
            Self::ExhaustiveVerification => ("ExhaustiveVerification", None),
            Self::MultipleAttestation(roles) => ("MultipleAttestation", Some(roles)),
            Self::MultipleAttestationGreedy(roles) => ("MultipleAttestationGreedy", Some(roles)),
        };
        f.write_str(name)?;
        let Some(roles) = roles else { return Ok(()) };
        let roles: Vec<_> = roles.iter().map(|role| format!("{role:?}")).collect();
        write!(f, "[{}]", roles.join(", "))
    }
}
