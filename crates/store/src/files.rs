//! The door to the disk: files that appear whole or not at all, and stay.
//!
//! Whatever has to survive a crash is written by way of this module: into a file of another name, synced, renamed,
//! the folder synced. Tests make each of those steps fail in turn.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use fs_err::{File, OpenOptions, os::unix::fs::OpenOptionsExt as _};

/// Writes `bytes` to `path` so that whoever opens it, before or after a crash, finds the old content or the new.
///
/// Blocks. Makes the folder if it is missing.
///
/// # Errors
/// What the system says, with the path: `StorageFull` when the disk is.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Disk::default().replace(path, bytes, 0o644)
}

/// As [`write_atomically`], for what only this user may read.
///
/// # Errors
/// What the system says, with the path.
pub fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Disk::default().replace(path, bytes, 0o600)
}

/// Makes the names in the folder at `path` durable.
///
/// # Errors
/// What the system says, with the path.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The steps of a durable write, each of which a test can make fail.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(crate) faults: faults::Faults,
}

impl Disk {
    pub(crate) fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        self.step()?;
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
    }

    pub(crate) fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.step() {
            // A full disk takes what it can.
            file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        file.write_all(bytes)
    }

    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        file.sync_all()
    }

    /// Gives a synced file its name, durably.
    pub(crate) fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        fs_err::rename(from, to)?;
        self.step()?;
        sync_dir(parent(to))
    }

    /// Makes the folder and, durably, its name and those of its parents.
    pub(crate) fn make_dir(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.make_dir(parent)?;
        }
        self.step()?;
        match fs_err::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        sync_dir(parent(path))
    }

    pub(crate) fn replace(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        self.make_dir(parent(path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
        let write = || {
            let mut file = self.create(&temporary, mode)?;
            self.write(&mut file, bytes)?;
            self.sync(&file)?;
            self.publish(&temporary, path)
        };
        write().inspect_err(|_| {
            let _ = fs_err::remove_file(&temporary);
        })
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        self.faults.step()
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests make steps fail here")]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The files and folders in the folder at `path`; none if it is missing.
pub(crate) fn entries(path: &Path) -> io::Result<Vec<PathBuf>> {
    match fs_err::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
    }
}

#[cfg(test)]
pub(crate) mod faults {
    //! Makes the n-th step fail.

    use std::{
        io,
        sync::{
            Arc,
            atomic::{AtomicI64, Ordering},
        },
    };

    /// Counts steps down; the one that reaches zero fails as on a full disk.
    #[derive(Debug, Clone)]
    pub(crate) struct Faults(Arc<AtomicI64>);

    impl Default for Faults {
        fn default() -> Self {
            Self(Arc::new(AtomicI64::new(i64::MAX)))
        }
    }

    impl Faults {
        /// The `n`-th step from now (1 is the next) fails; 0: none.
        pub(crate) fn fail_at(&self, n: i64) {
            self.0.store(if n == 0 { i64::MAX } else { n }, Ordering::SeqCst);
        }

        /// Whether the step that was to fail has been reached.
        pub(crate) fn has_failed(&self) -> bool {
            self.0.load(Ordering::SeqCst) <= 0
        }

        pub(super) fn step(&self) -> io::Result<()> {
            if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_the_old_or_the_new_content_whichever_step_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/file");
        let disk = Disk::default();
        disk.replace(&path, b"old", 0o644).unwrap();
        let mut failures = 0;
        for n in 1.. {
            disk.faults.fail_at(n);
            let result = disk.replace(&path, b"the new content", 0o644);
            let failed = disk.faults.has_failed();
            disk.faults.fail_at(0);
            let content = fs_err::read(&path).unwrap();
            if !failed {
                assert_eq!(content, b"the new content");
                break;
            }
            failures += 1;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
            assert!(content == b"old" || content == b"the new content", "{content:?}");
            assert_eq!(entries(parent(&path)).unwrap().len(), 1, "nothing else is left behind");
        }
        assert_eq!(failures, 5, "create, write, sync, rename, sync of the folder");
    }

    #[test]
    fn a_secret_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        write_secret(&path, b"x").unwrap();
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
