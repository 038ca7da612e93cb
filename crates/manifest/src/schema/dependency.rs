//! Dependencies: what satisfies a component's imports.

use std::{fmt, str::FromStr};

use semver::Version;

use crate::id::{IdError, KebabId};

/// What a dependency can inherit from the component that depends on it.
pub const fn capabilities() -> [&'static str; 7] {
    [
        "ai_models",
        "allowed_outbound_hosts",
        "environment",
        "files",
        "key_value_stores",
        "sqlite_databases",
        "variables",
    ]
}

/// What a dependency satisfies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DependencyName {
    /// An import of this plain name.
    Plain(KebabId),
    /// Imports of this package.
    Package(PackageName),
}

/// `namespace:name[/interface][@version]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackageName {
    /// `namespace:name`.
    pub package: String,
    /// The one interface, where it is not all of them.
    pub interface: Option<KebabId>,
    /// The one version, where it is not any.
    pub version: Option<Version>,
}

/// Why a text is no name of a dependency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DependencyNameError {
    /// It has no separator, and is no plain name.
    #[error("{0}")]
    Plain(IdError),
    /// The package is not `namespace:name`.
    #[error("invalid package name {0:?}; it must have the form 'namespace:name'")]
    Package(String),
    /// What follows `/`.
    #[error("invalid interface name {0:?}")]
    Interface(String, #[source] IdError),
    /// What follows `@`.
    #[error("invalid version {0:?}")]
    Version(String),
}

impl FromStr for DependencyName {
    type Err = DependencyNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains([':', '/']) {
            text.parse().map(Self::Package)
        } else {
            text.parse().map(Self::Plain).map_err(DependencyNameError::Plain)
        }
    }
}

impl FromStr for PackageName {
    type Err = DependencyNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => {
                let parsed = Version::parse(version);
                (name, Some(parsed.map_err(|_| DependencyNameError::Version(version.to_owned()))?))
            }
            None => (text, None),
        };
        let (package, interface) = match name.split_once('/') {
            Some((package, interface)) => {
                let parsed = interface.parse();
                let wrong = |error| DependencyNameError::Interface(interface.to_owned(), error);
                (package, Some(parsed.map_err(wrong)?))
            }
            None => (name, None),
        };
        if !is_package(package) {
            return Err(DependencyNameError::Package(package.to_owned()));
        }
        Ok(Self { package: package.to_owned(), interface, version })
    }
}

/// Whether a text is `namespace:name`.
pub(crate) fn is_package(text: &str) -> bool {
    text.split_once(':').is_some_and(|(namespace, name)| {
        namespace.parse::<KebabId>().is_ok() && name.parse::<KebabId>().is_ok()
    })
}

impl fmt::Display for DependencyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(name) => name.fmt(f),
            Self::Package(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.package)?;
        if let Some(interface) = &self.interface {
            write!(f, "/{interface}")?;
        }
        match &self.version {
            Some(version) => write!(f, "@{version}"),
            None => Ok(()),
        }
    }
}

impl PackageName {
    /// Whether an import could be of both: the same package in compatible versions, and not of different
    /// interfaces.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        fn differ<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            matches!((a, b), (Some(a), Some(b)) if a != b)
        }
        let versions = (self.version.as_ref().map(track), other.version.as_ref().map(track));
        self.package == other.package
            && !differ(versions.0, versions.1)
            && !differ(self.interface.as_ref(), other.interface.as_ref())
    }
}

/// What compatible versions have in common.
fn track(version: &Version) -> Version {
    if !version.pre.is_empty() {
        return Version { build: semver::BuildMetadata::EMPTY, ..version.clone() };
    }
    match (version.major, version.minor) {
        (0, 0) => Version::new(0, 0, version.patch),
        (0, minor) => Version::new(0, minor, 0),
        (major, _) => Version::new(major, 0, 0),
    }
}

/// A dependency of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentDependency {
    /// Where its code is.
    pub source: DependencySource,
    /// The export that is used, where it is not named as the import.
    pub export: Option<String>,
    /// Which capabilities it inherits; nothing is none.
    pub inherit: Option<Inherit>,
}

/// A dependency of a trigger, such as a middleware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerDependency {
    /// Where its code is.
    pub source: DependencySource,
    /// Which capabilities it inherits; nothing is none.
    pub inherit: Option<Inherit>,
}

/// Where a dependency's code is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DependencySource {
    /// A package of a registry.
    Package {
        /// A requirement: `>=1.2`.
        version: String,
        /// The registry, if not the default one for the package.
        registry: Option<String>,
        /// `namespace:name`, if not as the dependency's name says.
        package: Option<String>,
    },
    /// A file, relative to the manifest's folder.
    Local {
        /// Its path.
        path: String,
    },
    /// A download.
    Http {
        /// From here.
        url: String,
        /// `sha256:…`.
        digest: String,
    },
    /// Another component of the application. None of these once normalized.
    Component {
        /// Its id.
        component: KebabId,
    },
}

/// Which capabilities of its parent a dependency has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inherit {
    /// All or none.
    All(bool),
    /// These.
    Some(Vec<String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DependencyName {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_plain_or_of_a_package() {
        assert!(matches!(name("foo-bar"), DependencyName::Plain(_)));
        for text in ["a:b", "a:b/c", "a:b@1.2.3", "a:b/c-d@0.1.0-rc.1"] {
            assert!(matches!(name(text), DependencyName::Package(_)));
            assert_eq!(name(text).to_string(), text);
        }
        for bad in ["", "a_b", "a/b", "a:", "a:b@x", "a:b/", "a:b/C_", ":b"] {
            assert!(bad.parse::<DependencyName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_conflict_if_an_import_could_be_of_both() {
        let conflict = |a: &str, b: &str| {
            let (a, b): (PackageName, PackageName) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(a.conflicts_with(&b), b.conflicts_with(&a));
            a.conflicts_with(&b)
        };
        assert!(conflict("a:b", "a:b/c"));
        assert!(conflict("a:b@1.0.0", "a:b/c@1.2.0"));
        assert!(conflict("a:b/c@0.1.0", "a:b/c@0.1.9"));
        assert!(!conflict("a:b@1.0.0", "a:b@2.0.0"));
        assert!(!conflict("a:b@0.1.0", "a:b@0.2.0"));
        assert!(!conflict("a:b@0.0.1", "a:b@0.0.2"));
        assert!(!conflict("a:b@1.0.0-rc.1", "a:b@1.0.0"));
        assert!(!conflict("a:b/c", "a:b/d"));
        assert!(!conflict("a:b", "a:c"));
    }
}
