//! An application out of an OCI artifact whose blobs are on this machine.
//!
//! Code is used where its blob lies; files are laid out in a folder, which gets its name only when it is whole.
//! [`load`] verifies every byte; [`reopen`] finds what an earlier [`load`] laid out, without reading content.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
};

use gyre_model::{
    Application, Digest, LockedApp, Mount, Settings, WasmFile,
    locked::{ContentPath, ContentRef, LockedSource, UnderstandError},
};
use url::Url;

use crate::{
    SUPPORTED_FEATURES,
    archive::{ArchiveError, Caps, PathError},
    compose::{ComposeError, compose},
    digests, limits,
    oci::{self, Manifest, ManifestError},
};

mod layout;
#[cfg(test)]
mod tests;

/// Where blobs are to be found.
pub trait BlobSource: Send + Sync {
    /// The file that holds the blob of that digest, if it is here.
    fn path(&self, digest: &Digest) -> Option<PathBuf>;
}

/// Blobs in a folder: `sha256/<64 hex digits>`.
#[derive(Debug, Clone)]
pub struct BlobFolder(PathBuf);

impl BlobFolder {
    /// The blobs below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// Where the blob of that digest is, or would be.
    pub fn place(&self, digest: &Digest) -> PathBuf {
        self.0.join("sha256").join(digest.hex())
    }
}

impl BlobSource for BlobFolder {
    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.place(digest);
        path.is_file().then_some(path)
    }
}

impl<T: BlobSource + ?Sized> BlobSource for &T {
    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        (**self).path(digest)
    }
}

/// Why an artifact cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A blob that the manifest names is not here.
    #[error("the blob {0} is missing")]
    MissingBlob(Digest),
    /// A blob whose bytes are not what its digest or size says.
    #[error("the blob {0} is damaged: its bytes do not match its digest")]
    DamagedBlob(Digest),
    /// The manifest holds no Spin application and no single Wasm package either.
    #[error("the artifact is not a Spin application: {0}")]
    NotAnApplication(String),
    /// The locked app is malformed.
    #[error("the artifact's locked app is malformed")]
    LockedApp(#[source] serde_json::Error),
    /// The locked app asks for what this version does not know.
    #[error(transparent)]
    Understand(#[from] UnderstandError),
    /// Gyre's settings in the manifest's annotations are malformed.
    #[error("the annotation {name:?} is malformed", name = Settings::ANNOTATION)]
    Settings(#[source] serde_json::Error),
    /// A component, file or dependency whose content is not part of the artifact.
    #[error("the content of {0} is not part of the artifact")]
    Content(String),
    /// A file with an unusable path.
    #[error("invalid file mount of component {component:?}")]
    Path {
        /// The component's id.
        component: String,
        /// What is wrong.
        #[source]
        source: PathError,
    },
    /// Two files of one component in one place.
    #[error("component {component:?} has more than one file {path:?}")]
    DuplicateFile {
        /// The component's id.
        component: String,
        /// The path.
        path: String,
    },
    /// The same id twice.
    #[error("the locked app has more than one component {0:?}")]
    DuplicateComponent(String),
    /// More than a limit allows.
    #[error("the artifact has more than {limit} {of}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// What it counts.
        of: &'static str,
    },
    /// Its components cannot be composed.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// An archive layer.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What an artifact says, before any content was looked at.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The manifest.
    pub manifest: Manifest,
    /// The locked app, its content references as they travel.
    pub locked: LockedApp,
    /// The settings of the annotation.
    pub settings: Settings,
}

/// Reads what the artifact says: its manifest, its locked app and its settings.
///
/// # Errors
/// Any of them is malformed, missing, too large, or asks for what is not supported.
pub fn inspect(manifest_bytes: &[u8], blobs: &dyn BlobSource) -> Result<Contents, ArtifactError> {
    let manifest = Manifest::parse(manifest_bytes)?;
    manifest.ensure_loadable()?;
    let settings = match manifest.annotations.get(Settings::ANNOTATION) {
        Some(text) => serde_json::from_str(text).map_err(ArtifactError::Settings)?,
        None => Settings::default(),
    };
    let locked = read_locked_app(&manifest, blobs)?;
    ensure_loadable(&locked)?;
    Ok(Contents { manifest, locked, settings })
}

fn ensure_loadable(locked: &LockedApp) -> Result<(), ArtifactError> {
    locked.ensure_understood(SUPPORTED_FEATURES)?;
    let mut ids: Vec<&str> = locked.components.iter().map(|c| c.id.as_str()).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ArtifactError::DuplicateComponent(pair[0].to_owned())),
        None => Ok(()),
    }
}

fn read_locked_app(
    manifest: &Manifest,
    blobs: &dyn BlobSource,
) -> Result<LockedApp, ArtifactError> {
    let layers = &manifest.layers;
    let mut found = layers.iter().filter(|layer| layer.media_type == oci::LOCKED_APP);
    if let Some(layer) = found.next() {
        if found.next().is_some() {
            let why = "it has more than one locked app".to_owned();
            return Err(ArtifactError::NotAnApplication(why));
        }
        let bytes = read_blob(layer, blobs)?;
        return serde_json::from_slice(&bytes).map_err(ArtifactError::LockedApp);
    }
    // Spin's first artifacts have the locked app as their config.
    let bytes = read_blob(&manifest.config, blobs)?;
    let json = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
    if let Some(json) = json.filter(|json| json.get("spin_lock_version").is_some()) {
        return serde_json::from_value(json).map_err(ArtifactError::LockedApp);
    }
    match layers.as_slice() {
        [layer] if matches!(layer.media_type.as_str(), oci::WASM | oci::WASM_PACKAGE) => {
            let name = manifest.annotations.get("org.opencontainers.image.title");
            let content =
                ContentRef { digest: Some(layer.digest.to_string()), ..ContentRef::default() };
            Ok(single_component(name.map_or("wasm-file", String::as_str), content))
        }
        _ => {
            let why = "it has no layer with a locked app".to_owned();
            Err(ArtifactError::NotAnApplication(why))
        }
    }
}

/// The application that a lone component makes: everything over HTTP goes to it.
pub(crate) fn single_component(name: &str, content: ContentRef) -> LockedApp {
    let locked = serde_json::json!({
        "spin_lock_version": 0,
        "metadata": { "name": name, "trigger": { "type": "http" }, "triggers": {} },
        "triggers": [{
            "id": "http-trigger1",
            "trigger_type": "http",
            "trigger_config": { "component": "http-trigger1-component", "route": "/..." },
        }],
        "components": [{
            "id": "http-trigger1-component",
            "source": { "content_type": "application/wasm" },
        }],
    });
    let mut locked: LockedApp = serde_json::from_value(locked).expect("it has the right shape");
    locked.components[0].source.content = content;
    locked
}

/// A small blob, verified.
pub(crate) fn read_blob(
    of: &oci::Descriptor,
    blobs: &dyn BlobSource,
) -> Result<Vec<u8>, ArtifactError> {
    if of.size > limits::LOCKED_APP_BYTES {
        let limit = limits::LOCKED_APP_BYTES;
        return Err(ArtifactError::TooLarge { limit, of: "bytes in its locked app" });
    }
    let path = blobs.path(&of.digest).ok_or(ArtifactError::MissingBlob(of.digest))?;
    let mut bytes = Vec::new();
    let (digest, size) = copy_blob(&path, &mut bytes, of.size, of.digest)?;
    if (digest, size) == (of.digest, of.size) {
        Ok(bytes)
    } else {
        Err(ArtifactError::DamagedBlob(of.digest))
    }
}

fn copy_blob(
    path: &Path,
    to: &mut dyn io::Write,
    limit: u64,
    digest: Digest,
) -> Result<(Digest, u64), ArtifactError> {
    digests::copy(&mut fs_err::File::open(path)?, to, limit).map_err(|err| match err.kind() {
        io::ErrorKind::FileTooLarge => ArtifactError::DamagedBlob(digest),
        _ => err.into(),
    })
}

/// Loads the application of the manifest: verifies the code and lays out the files below `dir`.
///
/// What is laid out is kept by the manifest's digest, so that one `dir` may serve many artifacts, and loading the
/// same one again, or twice at once, does no harm. Blocks: call it where that is allowed.
///
/// # Errors
/// Anything of the artifact that is missing, damaged, hostile or too large. Nothing half done keeps its place.
pub fn load(
    manifest_bytes: &[u8],
    blobs: &dyn BlobSource,
    dir: &Path,
) -> Result<Application, ArtifactError> {
    load_within(manifest_bytes, blobs, dir, &Caps::default())
}

fn load_within(
    manifest_bytes: &[u8],
    blobs: &dyn BlobSource,
    dir: &Path,
    caps: &Caps,
) -> Result<Application, ArtifactError> {
    load_contents(&inspect(manifest_bytes, blobs)?, manifest_bytes, blobs, dir, caps)
}

/// As [`load`], of what was read already. `identity` is different for whatever has other content.
pub(crate) fn load_contents(
    contents: &Contents,
    identity: &[u8],
    blobs: &dyn BlobSource,
    dir: &Path,
    caps: &Caps,
) -> Result<Application, ArtifactError> {
    ensure_loadable(&contents.locked)?;
    let code: HashSet<&str> =
        sources(&contents.locked).filter_map(|c| c.digest.as_deref()).collect();
    for layer in &contents.manifest.layers {
        if code.contains(layer.digest.to_string().as_str()) {
            ensure_wasm(layer, blobs)?;
        }
    }
    let place = layout::place(dir, identity);
    let mut app = assemble(contents, blobs, &place)?;
    if !place.is_dir() {
        layout::lay_out(contents, blobs, &place, caps)?;
    }
    compose(&mut app, &place)?;
    Ok(app)
}

/// What an earlier [`load`] of this manifest into this `dir` made; `None` where there was none.
///
/// Content is not read and not verified again, so this is fast enough for an application's first request.
///
/// # Errors
/// The manifest or the locked app, which are read.
pub fn reopen(
    manifest_bytes: &[u8],
    blobs: &dyn BlobSource,
    dir: &Path,
) -> Result<Option<Application>, ArtifactError> {
    let place = layout::place(dir, manifest_bytes);
    if !place.is_dir() {
        return Ok(None);
    }
    let mut app = assemble(&inspect(manifest_bytes, blobs)?, blobs, &place)?;
    compose(&mut app, &place)?;
    Ok(Some(app))
}

/// Removes what [`load`] laid out below `dir` for the artifact of that digest. Nothing may be using it any more.
///
/// # Errors
/// The disk.
pub fn forget(digest: &Digest, dir: &Path) -> io::Result<()> {
    layout::forget(digest, dir)
}

/// Removes what loads that were interrupted by the end of their process have left below `dir`. Call it before the
/// first [`load`].
///
/// # Errors
/// The disk.
pub fn sweep(dir: &Path) -> io::Result<()> {
    layout::sweep(dir)
}

/// The content of all components and of their dependencies.
fn sources(locked: &LockedApp) -> impl Iterator<Item = &ContentRef> {
    locked.components.iter().flat_map(|component| {
        let of_trigger = component.trigger_dependencies.values().flatten();
        let dependencies = component.dependencies.values().chain(of_trigger);
        std::iter::once(&component.source.content).chain(dependencies.map(|d| &d.source.content))
    })
}

fn ensure_wasm(layer: &oci::Descriptor, blobs: &dyn BlobSource) -> Result<(), ArtifactError> {
    if layer.size > limits::COMPONENT_BYTES {
        let limit = limits::COMPONENT_BYTES;
        return Err(ArtifactError::TooLarge { limit, of: "bytes in a component" });
    }
    let path = blobs.path(&layer.digest).ok_or(ArtifactError::MissingBlob(layer.digest))?;
    match copy_blob(&path, &mut io::sink(), layer.size, layer.digest)? {
        found if found == (layer.digest, layer.size) => Ok(()),
        _ => Err(ArtifactError::DamagedBlob(layer.digest)),
    }
}

/// Points everything at its place on this machine, whether or not it is there yet.
fn assemble(
    contents: &Contents,
    blobs: &dyn BlobSource,
    place: &Path,
) -> Result<Application, ArtifactError> {
    let Contents { manifest, locked, settings } = contents;
    let (mut locked, settings) = (locked.clone(), settings.clone());
    let layers: HashMap<Digest, &oci::Descriptor> =
        manifest.layers.iter().map(|layer| (layer.digest, layer)).collect();
    let resolve = |source: &mut LockedSource, of: &dyn Fn() -> String| {
        let wasm = wasm_file(&source.content, &layers, blobs, place)?;
        let wasm = wasm.ok_or_else(|| ArtifactError::Content(of()))?;
        source.content = local_content(&wasm.path, Some(wasm.digest));
        Ok::<_, ArtifactError>(wasm)
    };
    let mut wasm = BTreeMap::new();
    let mut mounts = BTreeMap::new();
    for (index, component) in locked.components.iter_mut().enumerate() {
        let id = component.id.clone();
        let file = resolve(&mut component.source, &|| format!("component {id:?}"))?;
        wasm.insert(id.clone(), file);
        for (name, dependency) in &mut component.dependencies {
            resolve(&mut dependency.source, &|| {
                format!("dependency {name:?} of component {id:?}")
            })?;
        }
        for (role, list) in &mut component.trigger_dependencies {
            for dependency in list {
                resolve(&mut dependency.source, &|| format!("{role} of component {id:?}"))?;
            }
        }
        if !component.files.is_empty() {
            let host = layout::assets(place, index);
            component.files =
                vec![ContentPath { content: local_content(&host, None), path: "/".to_owned() }];
            mounts.insert(id, vec![Mount { host, guest: "/".to_owned() }]);
        }
    }
    Ok(Application { locked, settings, wasm, mounts })
}

/// Where the code is: in a blob of the artifact, or inline, then laid out. `None` if it is neither.
fn wasm_file(
    content: &ContentRef,
    layers: &HashMap<Digest, &oci::Descriptor>,
    blobs: &dyn BlobSource,
    place: &Path,
) -> Result<Option<WasmFile>, ArtifactError> {
    let stated = content.digest.as_deref().and_then(|text| text.parse::<Digest>().ok());
    if let Some(digest) = stated.filter(|digest| layers.contains_key(digest)) {
        let path = blobs.path(&digest).ok_or(ArtifactError::MissingBlob(digest))?;
        return Ok(Some(WasmFile { path, digest }));
    }
    let Some(inline) = &content.inline else { return Ok(None) };
    let digest = Digest::of(inline);
    if content.digest.is_some() && stated != Some(digest) {
        return Err(ArtifactError::DamagedBlob(stated.unwrap_or(digest)));
    }
    Ok(Some(WasmFile { path: layout::inline_wasm(place, digest), digest }))
}

/// A reference to content on this machine.
pub(crate) fn local_content(path: &Path, digest: Option<Digest>) -> ContentRef {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    ContentRef {
        source: Url::from_file_path(absolute).ok().map(String::from),
        inline: None,
        digest: digest.map(|digest| digest.to_string()),
    }
}
