//! A bindle's name and version, in one: `NAME/VERSION`.

use std::{fmt, str::FromStr};

use gyre_model::Digest;
use semver::Version;
use serde::{Deserialize, Serialize};

/// What a bindle is known by. No two invoices have the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BindleId {
    name: String,
    version: Version,
}

/// Why a text is no bindle's name and version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// There is no name, or no version, or the name cannot be one.
    #[error("{0:?} is no bindle: it should be NAME/VERSION")]
    Name(String),
    /// The version is not a whole semantic version.
    #[error("{0:?} is not a version such as 1.2.3")]
    Version(String),
}

impl BindleId {
    /// A name's length at most, in bytes.
    pub const NAME_BYTES: usize = 255;
    /// A version's length at most, in bytes.
    pub const VERSION_BYTES: usize = 127;

    /// The bindle `name` in that version.
    ///
    /// Any name will do for the clients that exist, so only those are refused that a URL's path could not carry: with
    /// a control character, a blank, an empty part, or the parts `.` and `..`.
    pub fn new(name: impl Into<String>, version: Version) -> Result<Self, ParseIdError> {
        let name = name.into();
        let is_part =
            |part: &str| !matches!(part, "" | "." | "..") && !part.contains(is_out_of_place);
        if name.len() > Self::NAME_BYTES
            || name.starts_with("bindle:")
            || !name.split('/').all(is_part)
        {
            return Err(ParseIdError::Name(name));
        }
        Ok(Self { name, version })
    }

    /// Everything before the last slash.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The digest of `NAME/VERSION`: the name of the bindle's folder when it is on its own.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_string())
    }
}

fn is_out_of_place(c: char) -> bool {
    c.is_control() || c.is_whitespace() || matches!(c, '?' | '#' | '@')
}

impl fmt::Display for BindleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

impl FromStr for BindleId {
    type Err = ParseIdError;

    /// Reads `NAME/VERSION`, with `bindle:` before it or without.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = text
            .strip_prefix("bindle:")
            .unwrap_or(text)
            .rsplit_once('/')
            .ok_or_else(|| ParseIdError::Name(text.to_owned()))?;
        let wrong = || ParseIdError::Version(version.to_owned());
        if version.len() > Self::VERSION_BYTES {
            return Err(wrong());
        }
        let version = Version::parse(version).map_err(|_| wrong())?;
        Self::new(name, version)
    }
}

impl TryFrom<String> for BindleId {
    type Error = ParseIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BindleId> for String {
    fn from(id: BindleId) -> Self {
        id.to_string()
    }
}
