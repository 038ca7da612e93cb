//! One digest over everything that decides what a build makes, and folders that are filled once.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;
use fs_err::File;
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

/// Collects what decides an outcome.
pub(crate) struct Inputs(Sha256);

impl Inputs {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    /// A fact: a compiler's version, a flag.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Every file below `folder` (or the file itself), by relative path and content; `skip` leaves out names.
    pub(crate) fn files(&mut self, folder: &Path, skip: &[&str]) -> Result<&mut Self> {
        let entries = WalkDir::new(folder).sort_by_file_name().into_iter().filter_entry(|entry| {
            !skip.iter().any(|name| entry.file_name().to_str() == Some(name))
        });
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
            if entry.file_type().is_file() {
                let path = entry.path();
                let relative = path.strip_prefix(folder).unwrap_or(path);
                self.bytes(relative.to_string_lossy().as_bytes());
                self.bytes(&fs::read(path)?);
            }
        }
        Ok(self)
    }

    /// The digest as hexadecimal text.
    pub(crate) fn finish(&self) -> String {
        hex::encode(self.0.clone().finalize())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        // Lengths keep neighbours apart.
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }
}

/// The folder `<cache>/<kind>/<digest>`, filled by `fill` if this is the first time that it is asked for.
/// Two processes that ask at once fill it once. Says whether it was filled now.
pub(crate) fn fill_once(
    cache: &Path,
    kind: &str,
    digest: &str,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<(PathBuf, bool)> {
    let home = cache.join(kind);
    fs::create_dir_all(&home)?;
    let folder = home.join(&digest[..24]);
    let _lock = lock(&home.join(".lock"))?;
    if folder.is_dir() {
        return Ok((folder, false));
    }
    let draft = tempfile::Builder::new().prefix(".draft-").tempdir_in(&home)?;
    fill(draft.path())?;
    fs::rename(draft.keep(), &folder)?;
    Ok((folder, true))
}

/// Waits until no other process holds `path`; holds it until dropped.
pub(crate) fn lock(path: &Path) -> Result<std::fs::File> {
    let file = File::create(path)?.into_parts().0;
    file.lock().with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}
