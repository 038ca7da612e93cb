//! The routing table as it was last known: what a node starts from when the database is away.
//!
//! The file names the digest of what follows, so that a damaged one is noticed instead of served.

use std::{
    io,
    path::{Path, PathBuf},
};

use gyre_model::Digest;

use crate::files::write_atomically;

const MAGIC: &str = "gyre-routes 1 ";

/// Why there is no routing table to start from although there is a file.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be read or written.
    #[error("cannot access the routing snapshot")]
    Io(#[from] io::Error),
    /// The file is not what was written.
    #[error("routing snapshot {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// The file `routes.snapshot`. Its methods block.
#[derive(Debug, Clone)]
pub struct RoutesSnapshot {
    path: PathBuf,
}

impl RoutesSnapshot {
    /// The snapshot in the file at `path`, which need not exist.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Replaces it; durable on return.
    ///
    /// # Errors
    /// The file cannot be written; the one before is still there.
    pub fn write(&self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let mut content = format!("{MAGIC}{}\n", Digest::of(bytes)).into_bytes();
        content.extend_from_slice(bytes);
        Ok(write_atomically(&self.path, &content)?)
    }

    /// What was last written, or nothing if nothing ever was.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn read(&self) -> Result<Option<Vec<u8>>, SnapshotError> {
        let mut content = match fs_err::read(&self.path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let damaged = || SnapshotError::Damaged { path: self.path.clone() };
        let end = content.iter().position(|&byte| byte == b'\n').ok_or_else(damaged)?;
        let head = std::str::from_utf8(&content[..end]).map_err(|_| damaged())?;
        let digest: Digest =
            head.strip_prefix(MAGIC).and_then(|text| text.parse().ok()).ok_or_else(damaged)?;
        let bytes = content.split_off(end + 1);
        if Digest::of(&bytes) == digest { Ok(Some(bytes)) } else { Err(damaged()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = RoutesSnapshot::new(&dir.path().join("routes.snapshot"));
        assert_eq!(snapshot.read().unwrap(), None);
        for bytes in [&b"first\nwith lines\n"[..], b"", b"\0\xff"] {
            snapshot.write(bytes).unwrap();
            assert_eq!(snapshot.read().unwrap().as_deref(), Some(bytes));
        }
    }

    #[test]
    fn a_damaged_snapshot_is_an_error_wherever_the_damage_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("routes.snapshot");
        let snapshot = RoutesSnapshot::new(&path);
        snapshot.write(b"routes").unwrap();
        let good = fs_err::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs_err::write(&path, &bad).unwrap();
            assert!(matches!(snapshot.read(), Err(SnapshotError::Damaged { .. })), "byte {at}");
            fs_err::write(&path, &good[..at]).unwrap();
            assert!(matches!(snapshot.read(), Err(SnapshotError::Damaged { .. })), "cut at {at}");
        }
    }
}
