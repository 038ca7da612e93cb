//! Where components' code comes from: files, texts that are compiled, downloads that are verified.

use std::{
    collections::HashMap,
    io::Write as _,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use gyre_manifest::{
    Spanned,
    schema::{ComponentSource, DependencySource},
};
use gyre_model::{Digest, Hasher, WasmFile};
use url::Url;

use super::{LoadError, SourceError};
use crate::{digests, limits, registry::LoopbackResolver};

/// Downloads under way at once.
const PARALLEL: usize = 8;

/// The code of an application's components.
pub(super) struct Sources {
    root: PathBuf,
    cache_dir: PathBuf,
    downloaded: HashMap<String, WasmFile>,
}

impl Sources {
    pub(super) fn new(root: &Path, cache_dir: &Path) -> Self {
        Self { root: root.to_owned(), cache_dir: cache_dir.to_owned(), downloaded: HashMap::new() }
    }

    /// Gets what is not in the cache.
    pub(super) async fn download(
        &mut self,
        remote: Vec<(String, String)>,
    ) -> Result<(), LoadError> {
        let cache_dir = &self.cache_dir;
        let found: Vec<_> = stream::iter(remote)
            .map(|(url, digest)| async move {
                match download(&url, &digest, cache_dir).await {
                    Ok(file) => Ok((digest, file)),
                    Err(source) => {
                        let shown = format!("{url:?} with digest {digest:?}");
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
        let found = match source.value() {
            ComponentSource::Local(path) => local(&self.root.join(path), &self.cache_dir),
            ComponentSource::Remote { url, digest } => self.downloaded(url, digest),
            ComponentSource::Registry { package, version, .. } => {
                Err(SourceError::Package(format!("{package}@{version}")))
            }
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
        name: Option<&str>,
        source: &DependencySource,
        span: Range<usize>,
    ) -> Result<WasmFile, LoadError> {
        let (shown, found) = match source {
            DependencySource::Local { path } => {
                (format!("{path:?}"), local(&self.root.join(path), &self.cache_dir))
            }
            DependencySource::Http { url, digest } => {
                (format!("{url:?} with digest {digest:?}"), self.downloaded(url, digest))
            }
            DependencySource::Package { version, package, .. } => {
                let package = package.as_deref().or(name).unwrap_or_default();
                let package = format!("{package}@{version}");
                (format!("{package:?}"), Err(SourceError::Package(package)))
            }
            DependencySource::Component { component } => {
                let id = component.to_string();
                (format!("{id:?}"), Err(SourceError::Component(id)))
            }
        };
        found.map_err(|source| LoadError::Source { shown, span: Some(span), source })
    }

    fn downloaded(&self, url: &str, digest: &str) -> Result<WasmFile, SourceError> {
        let file = self.downloaded.get(digest).cloned();
        file.ok_or_else(|| SourceError::Url(url.to_owned()))
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
    let client = reqwest::Client::builder()
        .user_agent(concat!("gyre/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(LoopbackResolver)
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_mins(1))
        .build()
        .map_err(failed)?;
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
