//! Why an application cannot be loaded from its folder.

use std::{io, ops::Range, path::PathBuf};

use gyre_manifest::{Diagnostics, lock::RetainError};
use gyre_model::{Digest, ParseDigestError, locked::UnderstandError};

use crate::registry::PackageError;

/// Why an application cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The manifest cannot be read.
    #[error("Failed to read Spin app manifest from {path:?}")]
    Read {
        /// The manifest.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manifest is wrong; the diagnostics say where.
    #[error("Failed to read Spin app manifest from {path:?}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Its text, which the diagnostics' spans point into.
        text: String,
        /// What is wrong.
        #[source]
        diagnostics: Diagnostics,
    },
    /// The application asks for what this version does not have.
    #[error(transparent)]
    Understand(#[from] UnderstandError),
    /// A component that was asked for is not there.
    #[error("no such component {0:?}")]
    NoSuchComponent(String),
    /// A component that was asked for calls one that was not.
    #[error(transparent)]
    Chaining(RetainError),
    /// What the manifest names is not as it says.
    #[error("Failed to load Spin app from {path:?}")]
    App {
        /// The manifest.
        path: PathBuf,
        /// What failed.
        #[source]
        source: Box<LoadError>,
    },
    /// In which component.
    #[error("Failed to load component `{id}`")]
    Component {
        /// The component.
        id: String,
        /// What failed.
        #[source]
        source: Box<LoadError>,
    },
    /// In which dependency.
    #[error("Failed to load component dependency `{name}` for `{component}`")]
    Dependency {
        /// The dependency.
        name: String,
        /// The component that has it.
        component: String,
        /// What failed.
        #[source]
        source: Box<LoadError>,
    },
    /// In which dependency of a trigger.
    #[error("Failed to load dependency `{role}` of trigger `{trigger}`")]
    TriggerDependency {
        /// The dependency's role.
        role: String,
        /// The trigger.
        trigger: String,
        /// What failed.
        #[source]
        source: Box<LoadError>,
    },
    /// A component's code.
    #[error("Failed to load Wasm source {shown}")]
    Source {
        /// The source, as it was written.
        shown: String,
        /// Where it was written.
        span: Option<Range<usize>>,
        /// What failed.
        #[source]
        source: SourceError,
    },
    /// Interfaces of dependencies that cannot be written as WIT.
    #[error("{0}")]
    Interfaces(String),
    /// A component's files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl LoadError {
    /// The place in the manifest's text, in bytes, that this is about.
    pub fn span(&self) -> Option<Range<usize>> {
        match self {
            Self::App { source, .. }
            | Self::Component { source, .. }
            | Self::Dependency { source, .. }
            | Self::TriggerDependency { source, .. } => source.span(),
            Self::Source { span, .. } => span.clone(),
            Self::Files(err) => Some(err.span.clone()),
            _ => None,
        }
    }
}

/// Why a component's code cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be read; its path is in the error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The text does not compile.
    #[error("the WebAssembly text does not compile")]
    Text(#[source] wat::Error),
    /// The digest is none.
    #[error(transparent)]
    Digest(#[from] ParseDigestError),
    /// The URL is none.
    #[error("{0:?} is not a valid URL")]
    Url(String),
    /// It cannot be downloaded.
    #[error("Error fetching source URL {url:?}")]
    Download {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// What was downloaded is not what the manifest says.
    #[error("invalid content digest; expected {expected}, downloaded {found}")]
    Mismatch {
        /// The manifest's.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// What was downloaded has no end.
    #[error("what is at {url:?} is larger than {limit} bytes")]
    TooLarge {
        /// The URL.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// A package of a registry.
    #[error(transparent)]
    Package(Box<PackageError>),
    /// A dependency that should have been resolved by now.
    #[error("component {0:?} is no component of this application")]
    Component(String),
}

/// Why a component's files cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct FilesError {
    message: String,
    span: Range<usize>,
    #[source]
    source: Option<io::Error>,
}

impl FilesError {
    pub(super) fn new(message: impl Into<String>, span: Range<usize>) -> Self {
        Self { message: message.into(), span, source: None }
    }

    pub(super) fn io(message: impl Into<String>, span: Range<usize>, source: io::Error) -> Self {
        Self { message: message.into(), span, source: Some(source) }
    }
}
