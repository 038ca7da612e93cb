//! Components.

use std::{fmt, ops::Range};

use indexmap::IndexMap;
use serde_json::Value;

use super::{ComponentDependency, DependencyName, Spanned, TargetEnvironment, values};
use crate::{
    hosts::{HostError, convert_http_hosts},
    id::LowerSnakeId,
};

/// `[component.<id>]`, or one written in a trigger.
#[derive(Debug, Clone)]
pub struct Component {
    /// Where it is named, or where it begins.
    pub span: Range<usize>,
    /// Its code.
    pub source: Spanned<ComponentSource>,
    /// Empty where there is none.
    pub description: String,
    /// Its variables, as templates over the application's.
    pub variables: IndexMap<LowerSnakeId, Spanned<String>>,
    /// Its environment variables, literal.
    pub environment: IndexMap<String, String>,
    /// What it sees of the disk.
    pub files: Vec<Spanned<FilesMount>>,
    /// Glob patterns, relative to the manifest's folder, of files that it does not see nevertheless.
    pub exclude_files: Vec<Spanned<String>>,
    /// Deprecated. Empty once normalized.
    pub allowed_http_hosts: Vec<Spanned<String>>,
    /// Where it may connect to; may be templates.
    pub allowed_outbound_hosts: Vec<Spanned<String>>,
    /// Labels of the stores that it may open.
    pub key_value_stores: Vec<Spanned<String>>,
    /// Labels of the databases that it may open.
    pub sqlite_databases: Vec<Spanned<String>>,
    /// Models that it may ask.
    pub ai_models: Vec<Spanned<String>>,
    /// The environments that it must run in, where they are not the application's.
    pub targets: Option<Vec<Spanned<TargetEnvironment>>>,
    /// How it is built.
    pub build: Option<BuildConfig>,
    /// Settings of tools.
    pub tool: IndexMap<String, Value>,
    /// Whether all its dependencies have its capabilities. Nothing once normalized.
    pub dependencies_inherit_configuration: Option<Spanned<bool>>,
    /// What satisfies its imports.
    pub dependencies: IndexMap<DependencyName, Spanned<ComponentDependency>>,
    /// What differs in a build profile.
    pub profile: IndexMap<String, ComponentProfile>,
}

impl Component {
    /// Where it may connect to, what the deprecated `allowed_http_hosts` says included.
    ///
    /// # Errors
    /// If `allowed_http_hosts` is wrong.
    pub fn outbound_hosts(&self) -> Result<Vec<String>, HostError> {
        let mut hosts = values(&self.allowed_outbound_hosts);
        hosts.extend(convert_http_hosts(&values(&self.allowed_http_hosts))?);
        Ok(hosts)
    }
}

/// `[component.<id>.profile.<name>]`.
#[derive(Debug, Clone)]
pub struct ComponentProfile {
    /// Replaces the source.
    pub source: Option<Spanned<ComponentSource>>,
    /// Added to the environment, and over it.
    pub environment: IndexMap<String, String>,
    /// Added to the dependencies, and over them.
    pub dependencies: IndexMap<DependencyName, Spanned<ComponentDependency>>,
    /// Replaces the build command.
    pub build_command: Option<Commands>,
}

/// Where a component's code is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentSource {
    /// A file, relative to the manifest's folder.
    Local(String),
    /// A download.
    Remote {
        /// From here.
        url: String,
        /// `sha256:…`: begins so, but is otherwise unchecked.
        digest: String,
    },
    /// A package of a registry.
    Registry {
        /// The registry, if not the default one for the package.
        registry: Option<String>,
        /// `namespace:name`.
        package: String,
        /// An exact version.
        version: semver::Version,
    },
}

impl fmt::Display for ComponentSource {
    /// As in `Failed to load Wasm source …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{path:?}"),
            Self::Remote { url, digest } => write!(f, "{url:?} with digest {digest:?}"),
            Self::Registry { registry, package, version } => {
                write!(f, "\"{package}@{version}\" from ")?;
                match registry {
                    Some(registry) => write!(f, "registry {registry:?}"),
                    None => f.write_str("default registry"),
                }
            }
        }
    }
}

/// An entry of `files`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilesMount {
    /// A path or a glob pattern; what it is depends on what exists.
    Pattern(String),
    /// A file or a folder, and where the guest sees it.
    Placement {
        /// Relative to the manifest's folder.
        source: String,
        /// A path in the guest.
        destination: String,
    },
}

/// `[component.<id>.build]`.
#[derive(Debug, Clone)]
pub struct BuildConfig {
    /// What is run.
    pub command: Commands,
    /// Where, relative to the manifest's folder.
    pub workdir: Option<String>,
    /// Glob patterns, relative to `workdir`, of files whose change asks for a build.
    pub watch: Vec<String>,
}

impl BuildConfig {
    /// The commands, to be run one after the other.
    pub fn commands(&self) -> &[String] {
        self.command.as_slice()
    }
}

/// One command or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commands {
    /// `command = "…"`.
    Single(String),
    /// `command = ["…", "…"]`.
    Multiple(Vec<String>),
}

impl Commands {
    /// All of them.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::Single(command) => std::slice::from_ref(command),
            Self::Multiple(commands) => commands,
        }
    }
}
