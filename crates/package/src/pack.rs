//! An application as an OCI artifact: the same application makes the same bytes, wherever and whenever it is packed.
//!
//! The locked app names its content by digest only, `origin` is left out, files come in the order of their paths,
//! and nothing of the artifact tells the time.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use gyre_model::{
    Application, Digest, LockedApp, Mount, Settings,
    locked::{ContentPath, ContentRef},
};
use serde_json::Value;
use tempfile::TempPath;

use crate::{
    archive::{self, Compression, PathError, ensure_relative},
    compose::local_path,
    digests, limits,
    oci::{self, Descriptor, ImageConfig, Manifest},
};

#[cfg(test)]
mod tests;

/// An artifact, ready to be pushed.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// Their digest: the identity of the revision.
    pub digest: Digest,
    /// The layers and the config, each once, in the order of the manifest with the config last.
    pub blobs: Vec<Blob>,
    /// The locked app as it travels.
    pub locked: LockedApp,
}

impl Packed {
    /// All blobs together, in bytes.
    pub fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }
}

/// A blob of an artifact.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Of its bytes.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// What it is.
    pub media_type: String,
    /// The bytes.
    pub data: Data,
}

impl Blob {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest, self.size)
    }
}

/// Where a blob's bytes are.
#[derive(Debug, Clone)]
pub enum Data {
    /// In a file of the application.
    File(PathBuf),
    /// In a file that is removed with the last blob that refers to it.
    Temporary(Arc<TempPath>),
    /// Here.
    Bytes(Bytes),
}

impl Data {
    /// The file that holds the bytes, if one does.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Temporary(path) => Some(path),
            Self::Bytes(_) => None,
        }
    }
}

/// How to pack.
#[derive(Debug, Clone, Default)]
pub struct PackOptions {
    /// Files go into one archive per component rather than into a layer each. Without it that is done only where
    /// there would be more layers than registries take ([`limits::PACKED_LAYERS`]).
    pub archives: bool,
    /// Annotations of the manifest, over those that the application itself gives.
    pub annotations: BTreeMap<String, String>,
}

/// Why an application cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The application is incomplete: a component without code.
    #[error("component {0:?} has no code")]
    NoCode(String),
    /// A dependency whose code is not on this machine.
    #[error("dependency {dependency:?} of component {component:?} is not on this machine")]
    NoDependency {
        /// The component's id.
        component: String,
        /// The dependency's name.
        dependency: String,
    },
    /// A file's path cannot travel.
    #[error("the file {path:?} cannot be packed")]
    Path {
        /// The file.
        path: PathBuf,
        /// What is wrong with its path.
        #[source]
        source: PathError,
    },
    /// Two mounts of a component with a file at the same path.
    #[error("component {component:?} has more than one file {path:?}")]
    Duplicate {
        /// The component's id.
        component: String,
        /// The path.
        path: String,
    },
    /// More than a limit allows.
    #[error("the application has {found} {of}; at most {limit} are allowed")]
    TooLarge {
        /// What it has.
        found: u64,
        /// The limit.
        limit: u64,
        /// What is counted.
        of: &'static str,
    },
    /// A file cannot be read, or an archive not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Packs an application with the default options.
///
/// # Errors
/// As [`pack_with`].
pub fn pack(app: &Application) -> Result<Packed, PackError> {
    pack_with(app, PackOptions::default())
}

/// Packs an application: reads all of its files once, to hash them; archives are written to temporary files.
///
/// Blocks: call it where that is allowed.
///
/// # Errors
/// Content that is missing, has no portable path, or is more than the server would take.
pub fn pack_with(app: &Application, options: PackOptions) -> Result<Packed, PackError> {
    let mut packing = Packing::new(app, options.archives);
    packing.run()?;
    if packing.blobs.len() >= limits::PACKED_LAYERS && !options.archives {
        packing = Packing::new(app, true);
        packing.run()?;
    }
    packing.finish(options.annotations)
}

/// An application's content, named by digests alone.
#[derive(Debug)]
pub(crate) struct Content {
    /// The locked app without `origin`; no content is inline.
    pub(crate) locked: LockedApp,
    /// The code and then the files, each once.
    pub(crate) blobs: Vec<Blob>,
}

/// Finds and hashes an application's content.
///
/// # Errors
/// As [`pack_with`].
pub(crate) fn content(app: &Application) -> Result<Content, PackError> {
    let mut packing = Packing::new(app, false);
    packing.inline_below = 0;
    packing.run()?;
    Ok(Content { locked: packing.locked, blobs: packing.blobs })
}

struct Packing<'a> {
    app: &'a Application,
    archives: bool,
    /// Content with fewer bytes is written into the locked app itself.
    inline_below: u64,
    locked: LockedApp,
    blobs: Vec<Blob>,
    known: BTreeMap<Digest, usize>,
    file_bytes: u64,
    files: u64,
}

/// A file of a component.
struct File {
    /// Relative to the component's root.
    path: String,
    host: PathBuf,
    digest: Digest,
    size: u64,
}

impl<'a> Packing<'a> {
    fn new(app: &'a Application, archives: bool) -> Self {
        let mut locked = app.locked.clone();
        locked.metadata.shift_remove("origin");
        locked.metadata.shift_remove(crate::registry::DIGEST_KEY);
        Self {
            app,
            archives,
            inline_below: limits::INLINE_BYTES + 1,
            locked,
            blobs: Vec::new(),
            known: BTreeMap::new(),
            file_bytes: 0,
            files: 0,
        }
    }

    fn run(&mut self) -> Result<(), PackError> {
        let mut components = std::mem::take(&mut self.locked.components);
        let mut files = Vec::new();
        for component in &mut components {
            let id = component.id.as_str();
            let wasm = self.app.wasm.get(id).ok_or_else(|| PackError::NoCode(id.to_owned()))?;
            component.source.content = self.add_wasm(&wasm.path)?;
            let of_trigger = component
                .trigger_dependencies
                .iter_mut()
                .flat_map(|(role, list)| list.iter_mut().map(move |one| (role, one)));
            for (name, dependency) in component.dependencies.iter_mut().chain(of_trigger) {
                let path = local_path(dependency).ok_or_else(|| PackError::NoDependency {
                    component: id.to_owned(),
                    dependency: name.clone(),
                })?;
                dependency.source.content = self.add_wasm(&path)?;
            }
            let mounts = self.app.mounts.get(id).map_or(&[][..], Vec::as_slice);
            files.push(self.find_files(id, mounts)?);
        }
        // Files after all of the code, as Spin's tools order them.
        for (component, files) in components.iter_mut().zip(&files) {
            component.files = files
                .iter()
                .map(|file| {
                    let content = self.content_ref(&file.host, file.digest, file.size)?;
                    Ok(ContentPath { content, path: file.path.clone() })
                })
                .collect::<Result<_, PackError>>()?;
            if self.archives && !files.is_empty() {
                self.add_archive(files)?;
            } else {
                let inline_below = self.inline_below;
                for file in files.iter().filter(|file| file.size >= inline_below) {
                    let data = Data::File(file.host.clone());
                    self.add(oci::FILE, file.digest, file.size, data);
                }
            }
        }
        self.locked.components = components;
        Ok(())
    }

    /// Adds a blob, unless it is there.
    fn add(&mut self, media_type: &str, digest: Digest, size: u64, data: Data) -> Descriptor {
        let index = *self.known.entry(digest).or_insert_with(|| {
            self.blobs.push(Blob { digest, size, media_type: media_type.to_owned(), data });
            self.blobs.len() - 1
        });
        self.blobs[index].descriptor()
    }

    fn add_wasm(&mut self, path: &Path) -> Result<ContentRef, PackError> {
        let (digest, size) = digests::of_file(path)?;
        ensure_within(size, limits::COMPONENT_BYTES, "bytes in a component")?;
        self.add(oci::WASM, digest, size, Data::File(path.to_owned()));
        self.content_ref(path, digest, size)
    }

    /// Small content travels in the locked app; some registries refuse tiny blobs.
    fn content_ref(&self, path: &Path, digest: Digest, size: u64) -> Result<ContentRef, PackError> {
        let is_small = size < self.inline_below;
        let inline = if is_small { Some(fs_err::read(path)?) } else { None };
        Ok(ContentRef { source: None, inline, digest: Some(digest.to_string()) })
    }

    /// The files of a component's mounts, in the order of their paths.
    fn find_files(&mut self, component: &str, mounts: &[Mount]) -> Result<Vec<File>, PackError> {
        let mut found: BTreeMap<String, File> = BTreeMap::new();
        for mount in mounts {
            let prefix = mount.guest.trim_matches('/');
            for entry in walkdir::WalkDir::new(&mount.host).follow_links(true) {
                let entry = entry.map_err(io::Error::from)?;
                if !entry.file_type().is_file() {
                    continue;
                }
                let host = entry.into_path();
                let path = path_in_artifact(prefix, &mount.host, &host)
                    .map_err(|source| PackError::Path { path: host.clone(), source })?;
                let (digest, size) = digests::of_file(&host)?;
                self.files += 1;
                self.file_bytes += size;
                ensure_within(self.files, limits::ENTRIES as u64, "files")?;
                ensure_within(self.file_bytes, limits::UNPACKED_BYTES, "bytes in its files")?;
                let file = File { path: path.clone(), host, digest, size };
                if found.insert(path.clone(), file).is_some() {
                    return Err(PackError::Duplicate { component: component.to_owned(), path });
                }
            }
        }
        Ok(found.into_values().collect())
    }

    fn add_archive(&mut self, files: &[File]) -> Result<(), PackError> {
        let entries = || files.iter().map(|file| (file.path.as_str(), file.host.as_path()));
        let write = |compression| {
            let mut archive = tempfile::NamedTempFile::new()?;
            archive::create(entries(), &mut archive, compression)?;
            let path = archive.into_temp_path();
            let (digest, size) = digests::of_file(&path)?;
            Ok::<_, io::Error>((path, digest, size))
        };
        let (mut path, mut digest, mut size) = write(Compression::default())?;
        // Content that shrinks beyond what readers believe goes uncompressed.
        let content: u64 = files.iter().map(|file| file.size + 1024).sum();
        if content > size * (limits::RATIO / 2) && content > limits::RATIO_FREE_BYTES {
            (path, digest, size) = write(Compression::none())?;
        }
        self.add(oci::ARCHIVE, digest, size, Data::Temporary(Arc::new(path)));
        Ok(())
    }

    fn finish(mut self, over: BTreeMap<String, String>) -> Result<Packed, PackError> {
        let locked = serde_json::to_vec(&self.locked).expect("a locked app serialises");
        ensure_within(locked.len() as u64, limits::LOCKED_APP_BYTES, "bytes in its locked app")?;
        let digest = Digest::of(&locked);
        self.add(oci::LOCKED_APP, digest, locked.len() as u64, Data::Bytes(locked.into()));
        let layers: Vec<_> = self.blobs.iter().map(Blob::descriptor).collect();
        let config = ImageConfig::of_locked_app(digest).to_bytes();
        let config_digest = Digest::of(&config);
        let size = config.len() as u64;
        let config = self.add(oci::CONFIG, config_digest, size, Data::Bytes(config.into()));

        ensure_within(layers.len() as u64, limits::LAYERS as u64, "layers")?;
        let total = self.blobs.iter().map(|blob| blob.size).sum();
        ensure_within(total, limits::ARTIFACT_BYTES, "bytes")?;
        let mut annotations = annotations(&self.locked, &self.app.settings);
        annotations.extend(over);
        let manifest = Manifest::new(config, layers, annotations);
        let manifest = manifest.to_bytes();
        let digest = Digest::of(&manifest);
        Ok(Packed { manifest, digest, blobs: self.blobs, locked: self.locked })
    }
}

fn ensure_within(found: u64, limit: u64, of: &'static str) -> Result<(), PackError> {
    if found > limit { Err(PackError::TooLarge { found, limit, of }) } else { Ok(()) }
}

fn path_in_artifact(prefix: &str, root: &Path, file: &Path) -> Result<String, PathError> {
    let mut path = prefix.to_owned();
    for part in file.strip_prefix(root).unwrap_or(file) {
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(part.to_str().ok_or(PathError::NotText)?);
    }
    let checked = ensure_relative(&path, limits::PATH_BYTES, limits::PATH_DEPTH)?;
    Ok(checked.to_owned())
}

/// The annotations that Spin infers, but for the time, and the settings where there are any.
fn annotations(locked: &LockedApp, settings: &Settings) -> BTreeMap<String, String> {
    let text = |key: &str| match locked.metadata.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => {
            Some(list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
        }
        _ => None,
    };
    let mut annotations = BTreeMap::new();
    for (key, name) in [
        ("name", "title"),
        ("version", "version"),
        ("description", "description"),
        ("authors", "authors"),
    ] {
        if let Some(value) = text(key).filter(|value| !value.is_empty()) {
            annotations.insert(format!("org.opencontainers.image.{name}"), value);
        }
    }
    if *settings != Settings::default() {
        let json = serde_json::to_string(settings).expect("settings serialise");
        annotations.insert(Settings::ANNOTATION.to_owned(), json);
    }
    annotations
}
