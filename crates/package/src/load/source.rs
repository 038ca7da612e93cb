//! Where components' code comes from: files, texts that are compiled, downloads that are verified.

use std::{
    collections::HashMap,
    fmt,
    io::Write as _,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use gyre_manifest::{
    Spanned,
    schema::{ComponentSource, DependencyName, DependencySource},
};
use gyre_model::{Digest, Hasher, WasmFile};
use semver::{Comparator, Op, VersionReq};
use url::Url;

use super::{LoadError, SourceError};
use crate::{
    digests, limits, outbound,
    registry::{PackageQuery, Packages},
};

/// Downloads under way at once.
const PARALLEL: usize = 8;

/// Code that is somewhere else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Remote {
    /// A URL, and the digest of what is there.
    Url(String, String),
    /// A package of a registry.
    Package(PackageQuery),
}

impl Remote {
    /// Where a component's code is, if that is somewhere else.
    pub(super) fn of_component(source: &ComponentSource) -> Option<Self> {
        match source {
            ComponentSource::Local(_) => None,
            ComponentSource::Remote { url, digest } => Some(Self::Url(url.clone(), digest.clone())),
            ComponentSource::Registry { registry, package, version } => {
                let exact = Comparator {
                    op: Op::Exact,
                    major: version.major,
                    minor: Some(version.minor),
                    patch: Some(version.patch),
                    pre: version.pre.clone(),
                };
                Some(Self::Package(PackageQuery {
                    registry: registry.clone(),
                    package: package.clone(),
                    version: VersionReq { comparators: vec![exact] },
                }))
            }
        }
    }

    /// Where a dependency's code is, if that is somewhere else. One of a component has a name, which may be that of
    /// its package.
    pub(super) fn of_dependency(
        name: Option<&DependencyName>,
        source: &DependencySource,
    ) -> Option<Self> {
        match source {
            DependencySource::Local { .. } | DependencySource::Component { .. } => None,
            DependencySource::Http { url, digest } => Some(Self::Url(url.clone(), digest.clone())),
            DependencySource::Package { version, registry, package } => {
                let named = match name {
                    Some(DependencyName::Package(name)) => Some(&name.package),
                    _ => None,
                };
                Some(Self::Package(PackageQuery {
                    registry: registry.clone(),
                    package: package.as_ref().or(named)?.clone(),
                    version: version.parse().ok()?,
                }))
            }
        }
    }
}

impl fmt::Display for Remote {
    /// As in `Failed to load Wasm source …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url, digest) => write!(f, "{url:?} with digest {digest:?}"),
            Self::Package(PackageQuery { registry, package, version }) => {
                let version = version.to_string();
                write!(f, "\"{package}@{}\" from ", version.trim_start_matches('='))?;
                match registry {
                    Some(registry) => write!(f, "registry {registry:?}"),
                    None => f.write_str("default registry"),
                }
            }
        }
    }
}

/// The code of an application's components.
pub(super) struct Sources {
    root: PathBuf,
    cache_dir: PathBuf,
    downloaded: HashMap<Remote, WasmFile>,
}

impl Sources {
    pub(super) fn new(root: &Path, cache_dir: &Path) -> Self {
        Self { root: root.to_owned(), cache_dir: cache_dir.to_owned(), downloaded: HashMap::new() }
    }

    /// Gets what is not in the cache.
    pub(super) async fn download(
        &mut self,
        remote: Vec<Remote>,
        packages: &Packages,
    ) -> Result<(), LoadError> {
        let cache_dir = &self.cache_dir;
        let found: Vec<_> = stream::iter(remote)
            .map(|remote| async move {
                let found = match &remote {
                    Remote::Url(url, digest) => download(url, digest, cache_dir).await,
                    Remote::Package(query) => {
                        let found = packages.fetch(query, cache_dir).await;
                        found.map_err(|err| SourceError::Package(Box::new(err)))
                    }
                };
                match found {
                    Ok(file) => Ok((remote, file)),
                    Err(source) => {
                        let shown = remote.to_string();
                        Err(LoadError::Source { shown, span: None, source })
                    }
                }
            })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await?;
        self.downloaded.extend(found);
        Ok(())
    }

    /// A component's code.
    pub(super) fn component(
        &self,
        source: &Spanned<ComponentSource>,
    ) -> Result<WasmFile, LoadError> {
        let found = match (source.value(), Remote::of_component(source)) {
            (ComponentSource::Local(path), _) => local(&self.root.join(path), &self.cache_dir),
            (_, remote) => self.downloaded(remote),
        };
        found.map_err(|err| LoadError::Source {
            shown: source.to_string(),
            span: Some(source.span()),
            source: err,
        })
    }

    /// The code of a dependency; one of a component has a name, which may be that of its package.
    pub(super) fn code(
        &self,
        name: Option<&DependencyName>,
        source: &DependencySource,
        span: Range<usize>,
    ) -> Result<WasmFile, LoadError> {
        let remote = Remote::of_dependency(name, source);
        let shown = remote.as_ref().map(Remote::to_string);
        let (shown, found) = match source {
            DependencySource::Local { path } => {
                (format!("{path:?}"), local(&self.root.join(path), &self.cache_dir))
            }
            DependencySource::Component { component } => {
                let id = component.to_string();
                (format!("{id:?}"), Err(SourceError::Component(id)))
            }
            DependencySource::Http { .. } | DependencySource::Package { .. } => {
                (shown.unwrap_or_default(), self.downloaded(remote))
            }
        };
        found.map_err(|source| LoadError::Source { shown, span: Some(span), source })
    }

    fn downloaded(&self, remote: Option<Remote>) -> Result<WasmFile, SourceError> {
        let file = remote.as_ref().and_then(|remote| self.downloaded.get(remote)).cloned();
        file.ok_or_else(|| {
            SourceError::Url(remote.map(|remote| remote.to_string()).unwrap_or_default())
        })
    }
}

/// Code in a file of this machine. A text, by its name, is compiled into `cache_dir`.
pub(super) fn local(path: &Path, cache_dir: &Path) -> Result<WasmFile, SourceError> {
    let path = std::path::absolute(path)?;
    if path.extension().is_none_or(|extension| extension != "wat") {
        let (digest, _) = digests::of_file(&path)?;
        return Ok(WasmFile { path, digest });
    }
    let text = fs_err::read(&path)?;
    let compiled = wat::parse_bytes(&text).map_err(|mut err| {
        err.set_path(&path);
        SourceError::Text(err)
    })?;
    let digest = Digest::of(&compiled);
    let path = place(cache_dir, digest);
    if !path.is_file() {
        digests::write_whole(&path, &compiled)?;
    }
    Ok(WasmFile { path, digest })
}

fn place(cache_dir: &Path, digest: Digest) -> PathBuf {
    let path = cache_dir.join("wasm").join(digest.hex());
    std::path::absolute(&path).unwrap_or(path)
}

async fn download(url: &str, digest: &str, cache_dir: &Path) -> Result<WasmFile, SourceError> {
    let expected: Digest = digest.parse()?;
    let path = place(cache_dir, expected);
    let check = path.clone();
    // Read again, since anybody may write to a cache.
    let cached = tokio::task::spawn_blocking(move || digests::of_file(&check).ok()).await;
    if cached.is_ok_and(|found| found.is_some_and(|(found, _)| found == expected)) {
        return Ok(WasmFile { path, digest: expected });
    }
    let parsed = Url::parse(url).map_err(|_| SourceError::Url(url.to_owned()))?;
    let failed = |source| SourceError::Download { url: url.to_owned(), source };
    let client = outbound::client(&parsed).read_timeout(Duration::from_mins(1));
    let client = client.build().map_err(failed)?;
    let response = client.get(parsed).send().await.map_err(failed)?;
    let mut response = response.error_for_status().map_err(failed)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(parent)?;
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    let mut hasher = Hasher::new();
    let mut size = 0;
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        size += chunk.len() as u64;
        if size > limits::ARTIFACT_BYTES {
            let limit = limits::ARTIFACT_BYTES;
            return Err(SourceError::TooLarge { url: url.to_owned(), limit });
        }
        hasher.update(&chunk);
        file.write_all(&chunk)?;
    }
    let found = hasher.finish();
    if found != expected {
        return Err(SourceError::Mismatch { expected, found });
    }
    file.persist(&path).map_err(|err| err.error)?;
    Ok(WasmFile { path, digest: expected })
}
