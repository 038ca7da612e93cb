//! What is in an invoice, and how it is read and written.
//!
//! What an invoice leaves out and what it says as empty mean the same, and are written as left out (in JSON: `null`, which the
//! clients that exist expect). Order matters among parcels alone: it is signed.

use std::{collections::BTreeMap, str::FromStr};

use gyre_model::Digest;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::{BindleId, ParseIdError, VERSION};
use crate::limits;

/// Keys to values, in the order of the keys.
type Annotations = BTreeMap<String, String>;

/// A bindle's list of what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Invoice {
    /// The version of the format.
    pub bindle_version: String,
    /// Whether nobody should use it any more. Only a server sets it.
    #[serde(default, with = "or_nothing")]
    pub yanked: bool,
    /// What it is.
    pub bindle: Specification,
    /// Whatever somebody wants to note.
    #[serde(default, with = "or_nothing")]
    pub annotations: Annotations,
    /// What is in it.
    #[serde(default, with = "or_nothing")]
    pub parcel: Vec<Parcel>,
    /// Which parcels belong together.
    #[serde(default, with = "or_nothing")]
    pub group: Vec<Group>,
    /// Who vouches for it.
    #[serde(default, with = "or_nothing")]
    pub signature: Vec<Signature>,
    /// Who vouches for its being yanked.
    #[serde(default, with = "or_nothing")]
    pub yanked_signature: Vec<Signature>,
}

/// What a bindle is, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Specification {
    /// See [`BindleId`].
    pub name: String,
    /// See [`BindleId`].
    pub version: Version,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Who made it: `Name <mail>`.
    #[serde(default, with = "or_nothing")]
    pub authors: Vec<String>,
}

/// One piece of content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parcel {
    /// What it is.
    pub label: Label,
    /// When it is needed.
    #[serde(default, with = "or_nothing")]
    pub conditions: Conditions,
}

/// What a parcel is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Label {
    /// The SHA-256 of its bytes in hex digits, as it was written. See [`digest`](Label::digest).
    pub sha256: String,
    /// What kind of bytes they are.
    pub media_type: String,
    /// Its name: often a file's path.
    pub name: String,
    /// How many bytes it has.
    pub size: u64,
    /// Whatever somebody wants to note.
    #[serde(default, with = "or_nothing")]
    pub annotations: Annotations,
    /// What it needs of, or does for, whom it is for: by section, then by name.
    #[serde(default, with = "or_nothing")]
    pub feature: BTreeMap<String, Annotations>,
    /// The bindle that it was taken from.
    #[serde(default)]
    pub origin: Option<String>,
}

impl Label {
    /// The digest of its bytes; none if what is written cannot be one, so that no bytes will ever fit.
    pub fn digest(&self) -> Option<Digest> {
        format!("sha256:{}", self.sha256).parse().ok()
    }
}

/// When a parcel is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Conditions {
    /// The groups that it belongs to; if none, it is always needed.
    #[serde(default, with = "or_nothing")]
    pub member_of: Vec<String>,
    /// The groups that it needs.
    #[serde(default, with = "or_nothing")]
    pub requires: Vec<String>,
}

/// Parcels that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// What parcels call it by.
    pub name: String,
    /// Whether it is needed although no parcel requires it.
    #[serde(default, with = "or_nothing")]
    pub required: bool,
    /// How many of its members are needed.
    #[serde(default, with = "or_nothing")]
    pub satisfied_by: SatisfiedBy,
}

/// How many of a group's members are needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SatisfiedBy {
    /// All.
    #[default]
    AllOf,
    /// At least one.
    OneOf,
    /// Any number, even none.
    Optional,
}

/// Somebody's word for an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Who: `Name <mail>`.
    pub by: String,
    /// The Ed25519 signature, its 64 bytes in Base64.
    pub signature: String,
    /// The public key, its 32 bytes in Base64.
    pub key: String,
    /// What they vouch for.
    pub role: Role,
    /// When, in seconds since 1970. It is not signed.
    pub at: u64,
}

/// What somebody who signs vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Having made it.
    Creator,
    /// Having passed it on.
    Proxy,
    /// Having taken it in as a server.
    Host,
    /// Having looked at it.
    Approver,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Creator, Self::Approver, Self::Host, Self::Proxy];

    /// As it is written, and signed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creator => "creator",
            Self::Proxy => "proxy",
            Self::Host => "host",
            Self::Approver => "approver",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim().to_lowercase();
        let found = Self::ALL.into_iter().find(|role| role.as_str() == name);
        found.ok_or_else(|| {
            format!("{text:?} is no role: they are creator, proxy, host and approver")
        })
    }
}

/// Why an invoice cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum InvoiceError {
    /// Its name or version.
    #[error(transparent)]
    Id(#[from] ParseIdError),
    /// It is no TOML, or no invoice.
    #[error("the invoice is malformed")]
    Toml(#[from] toml::de::Error),
    /// It is no JSON, or no invoice.
    #[error("the invoice is malformed")]
    Json(#[from] serde_json::Error),
    /// A limit.
    #[error("the invoice has more than {limit} {of}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// What it counts.
        of: &'static str,
    },
}

impl Invoice {
    /// An invoice of nothing.
    pub fn new(id: &BindleId) -> Self {
        Self {
            bindle_version: VERSION.to_owned(),
            yanked: false,
            bindle: Specification {
                name: id.name().to_owned(),
                version: id.version().clone(),
                description: None,
                authors: Vec::new(),
            },
            annotations: Annotations::new(),
            parcel: Vec::new(),
            group: Vec::new(),
            signature: Vec::new(),
            yanked_signature: Vec::new(),
        }
    }

    /// Reads an invoice and holds it to the limits.
    pub fn from_toml(text: &str) -> Result<Self, InvoiceError> {
        within(text.len() as u64, limits::INVOICE_BYTES, "bytes")?;
        toml::from_str::<Self>(text)?.checked()
    }

    /// Reads an invoice and holds it to the limits.
    pub fn from_json(text: &[u8]) -> Result<Self, InvoiceError> {
        within(text.len() as u64, limits::INVOICE_BYTES, "bytes")?;
        serde_json::from_slice::<Self>(text)?.checked()
    }

    fn checked(self) -> Result<Self, InvoiceError> {
        self.id()?;
        within(self.parcel.len() as u64, limits::PARCELS as u64, "parcels")?;
        within(self.group.len() as u64, limits::GROUPS as u64, "groups")?;
        within(self.signature.len() as u64, limits::SIGNATURES as u64, "signatures")?;
        let sizes = self.parcel.iter().map(|parcel| parcel.label.size);
        let bytes = sizes.fold(0_u64, u64::saturating_add);
        within(bytes, limits::BINDLE_BYTES, "bytes of parcels")?;
        Ok(self)
    }

    /// As TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every key of an invoice is a string")
    }

    /// Its name and version.
    pub fn id(&self) -> Result<BindleId, ParseIdError> {
        BindleId::new(self.bindle.name.clone(), self.bindle.version.clone())
    }

    /// The label of the parcel with that SHA-256, as it was written.
    pub fn label(&self, sha256: &str) -> Option<&Label> {
        let mut labels = self.parcel.iter().map(|parcel| &parcel.label);
        labels.find(|label| label.sha256 == sha256)
    }
}

fn within(count: u64, limit: u64, of: &'static str) -> Result<(), InvoiceError> {
    if count > limit { Err(InvoiceError::TooLarge { limit, of }) } else { Ok(()) }
}

/// Fields whose default is written as nothing, and for which `null` is read.
mod or_nothing {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Serialize + Default + PartialEq,
        S: Serializer,
    {
        if *value == T::default() {
            serializer.serialize_none()
        } else {
            serializer.serialize_some(value)
        }
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: Deserialize<'de> + Default,
        D: Deserializer<'de>,
    {
        Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
    }
}
