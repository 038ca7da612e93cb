//! The folder in which an artifact's files lie: made aside, complete or not there at all.
//!
//! `<dir>/<manifest digest>/assets/<component's index>/…` and `…/inline/<digest>.wasm`. Components are counted, not
//! named, so that no id can be a path.

use std::{
    collections::HashMap,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use gyre_model::{Digest, locked::LockedComponent};

use super::{ArtifactError, BlobSource, Contents, copy_blob};
use crate::{
    archive::{self, Caps, ensure_relative},
    digests, oci,
};

/// What the names of folders begin with that are not, or no longer, an artifact's.
const WORK: &str = ".layout-";
const UNPACKED: &str = ".unpack-";
const REMOVED: &str = ".removed-";

pub(super) fn place(dir: &Path, manifest_bytes: &[u8]) -> PathBuf {
    dir.join(Digest::of(manifest_bytes).hex())
}

pub(super) fn forget(digest: &Digest, dir: &Path) -> io::Result<()> {
    // The name goes first, so that no half of it is ever found.
    let gone = match tempfile::Builder::new().prefix(REMOVED).tempdir_in(dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        gone => gone?,
    };
    match fs_err::rename(dir.join(digest.hex()), gone.path()) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => gone.close(),
    }
}

pub(super) fn sweep(dir: &Path) -> io::Result<()> {
    let entries = match fs_err::read_dir(dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let is_left = |prefix: &&str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
        if [WORK, UNPACKED, REMOVED].iter().any(is_left) {
            fs_err::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

pub(super) fn assets(place: &Path, component: usize) -> PathBuf {
    place.join("assets").join(component.to_string())
}

pub(super) fn inline_wasm(place: &Path, digest: Digest) -> PathBuf {
    place.join("inline").join(format!("{}.wasm", digest.hex()))
}

/// Where the content of files is.
struct Files<'a> {
    blobs: &'a dyn BlobSource,
    /// The layers of the manifest that files may be.
    layers: HashMap<Digest, u64>,
    /// Files out of archive layers.
    archived: HashMap<Digest, PathBuf>,
    caps: &'a Caps,
    /// Bytes and files laid out so far.
    bytes: u64,
    count: usize,
}

/// Lays out everything at `place`.
pub(super) fn lay_out(
    contents: &Contents,
    blobs: &dyn BlobSource,
    place: &Path,
    caps: &Caps,
) -> Result<(), ArtifactError> {
    let parent = place.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(parent)?;
    let work = tempfile::Builder::new().prefix(WORK).tempdir_in(parent)?;
    let archives = tempfile::Builder::new().prefix(UNPACKED).tempdir_in(parent)?;

    let mut files = Files {
        blobs,
        layers: contents.manifest.layers.iter().map(|l| (l.digest, l.size)).collect(),
        archived: HashMap::new(),
        caps,
        bytes: 0,
        count: 0,
    };
    files.unpack_archives(contents, archives.path())?;
    for (index, component) in contents.locked.components.iter().enumerate() {
        write_inline_wasm(component, work.path())?;
        for file in &component.files {
            files.lay_out_file(component, file, &assets(work.path(), index))?;
        }
    }
    sync(work.path())?;
    match fs_err::rename(work.path(), place) {
        Ok(()) => {
            // It has moved away: there is nothing left to delete.
            let _moved = work.keep();
            Ok(())
        }
        // Somebody else was faster; theirs is the same.
        Err(_) if place.is_dir() => Ok(()),
        Err(err) => Err(err.into()),
    }
}

/// Makes the content last before the folder gets its name: a later start trusts what it finds under that name. One
/// call for the whole file system, since there may be thousands of small files.
fn sync(folder: &Path) -> io::Result<()> {
    let folder = fs_err::File::open(folder)?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(folder.file())?;
    #[cfg(not(target_os = "linux"))]
    folder.sync_all()?;
    Ok(())
}

impl Files<'_> {
    fn unpack_archives(&mut self, contents: &Contents, into: &Path) -> Result<(), ArtifactError> {
        let layers = contents.manifest.layers.iter();
        let archives = layers.filter(|layer| layer.media_type == oci::ARCHIVE);
        let mut unpacked = 0;
        for (index, layer) in archives.enumerate() {
            let path = self.blobs.path(&layer.digest);
            let path = path.ok_or(ArtifactError::MissingBlob(layer.digest))?;
            let found = copy_blob(&path, &mut io::sink(), layer.size, layer.digest)?;
            if found != (layer.digest, layer.size) {
                return Err(ArtifactError::DamagedBlob(layer.digest));
            }
            let folder = into.join(index.to_string());
            let unpacked_bytes = self.caps.unpacked_bytes - unpacked;
            let caps = Caps { unpacked_bytes, ..*self.caps };
            unpacked += archive::extract(&path, &folder, &caps)?;
            for entry in walkdir::WalkDir::new(&folder) {
                let entry = entry.map_err(io::Error::from)?;
                if entry.file_type().is_file() {
                    let (digest, _) = digests::of_file(entry.path())?;
                    self.archived.insert(digest, entry.into_path());
                    if self.archived.len() > self.caps.entries {
                        return Err(too_many_files(self.caps));
                    }
                }
            }
        }
        Ok(())
    }

    fn lay_out_file(
        &mut self,
        component: &LockedComponent,
        file: &gyre_model::locked::ContentPath,
        root: &Path,
    ) -> Result<(), ArtifactError> {
        let path = ensure_relative(&file.path, self.caps.path_bytes, self.caps.path_depth);
        let path = path.map_err(|source| {
            let component = component.id.clone();
            ArtifactError::Path { component, source }
        })?;
        self.count += 1;
        if self.count > self.caps.entries {
            return Err(too_many_files(self.caps));
        }
        let target = root.join(path);
        let duplicate = |err: io::Error| match err.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                let (component, path) = (component.id.clone(), path.to_owned());
                ArtifactError::DuplicateFile { component, path }
            }
            _ => err.into(),
        };
        if let Some(folder) = target.parent() {
            fs_err::create_dir_all(folder).map_err(duplicate)?;
        }
        let created = fs_err::OpenOptions::new().write(true).create_new(true).open(&target);
        let mut target = created.map_err(duplicate)?;

        let not_part =
            || ArtifactError::Content(format!("file {path:?} of component {:?}", component.id));
        let stated = match file.content.digest.as_deref() {
            Some(text) => Some(text.parse::<Digest>().map_err(|_| not_part())?),
            None => None,
        };
        let room = self.caps.unpacked_bytes - self.bytes;
        let (size, found, digest) = if let Some(inline) = &file.content.inline {
            target.write_all(inline)?;
            let found = Digest::of(inline);
            (inline.len() as u64, found, stated.unwrap_or(found))
        } else {
            let digest = stated.ok_or_else(not_part)?;
            let from = match self.archived.get(&digest) {
                Some(path) => path.clone(),
                None if !self.layers.contains_key(&digest) => return Err(not_part()),
                None => self.blobs.path(&digest).ok_or(ArtifactError::MissingBlob(digest))?,
            };
            let copied = digests::copy(&mut fs_err::File::open(from)?, &mut target, room);
            let (found, size) = copied.map_err(|err| match err.kind() {
                io::ErrorKind::FileTooLarge => too_many_bytes(self.caps),
                _ => err.into(),
            })?;
            (size, found, digest)
        };
        if found != digest {
            return Err(ArtifactError::DamagedBlob(digest));
        }
        if size > room {
            return Err(too_many_bytes(self.caps));
        }
        self.bytes += size;
        Ok(())
    }
}

fn write_inline_wasm(component: &LockedComponent, work: &Path) -> Result<(), ArtifactError> {
    let of_trigger = component.trigger_dependencies.values().flatten();
    let dependencies = component.dependencies.values().chain(of_trigger);
    let sources = dependencies.map(|dependency| &dependency.source);
    for source in std::iter::once(&component.source).chain(sources) {
        if let Some(inline) = &source.content.inline {
            digests::write_whole(&inline_wasm(work, Digest::of(inline)), inline)?;
        }
    }
    Ok(())
}

fn too_many_files(caps: &Caps) -> ArtifactError {
    ArtifactError::TooLarge { limit: caps.entries as u64, of: "files" }
}

fn too_many_bytes(caps: &Caps) -> ArtifactError {
    ArtifactError::TooLarge { limit: caps.unpacked_bytes, of: "bytes in its files" }
}
