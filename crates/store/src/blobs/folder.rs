//! Blobs as files: `sha256/<first two digits>/<digest>`, uploads beside them under `uploads/<id>`.

use std::{
    collections::HashMap,
    fmt,
    io::{self, Read as _, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fs_err::File;
use gyre_model::{Digest, Hasher};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{BlobError, BlobReader, UploadId};
use crate::files::{Disk, entries};

/// How much of a file is read at once.
const CHUNK: usize = 256 << 10;

/// A folder of blobs. Cheap to clone.
#[derive(Clone)]
pub struct Folder(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    disk: Disk,
    /// Uploads that this process knows of.
    uploads: Mutex<HashMap<UploadId, Seat>>,
}

/// Whether someone writes to an upload, and what is known of it while nobody does.
pub(super) enum Seat {
    Taken,
    /// The hash of that many bytes, so that a resumed upload is not read again.
    Free(Box<Hasher>, u64),
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Folder").field(&self.0.dir).finish()
    }
}

impl Folder {
    pub(super) fn open(dir: &Path) -> Result<Self, BlobError> {
        Self::with_disk(dir, Disk::default())
    }

    pub(super) fn with_disk(dir: &Path, disk: Disk) -> Result<Self, BlobError> {
        disk.make_dir(&dir.join("sha256"))?;
        disk.make_dir(&dir.join("uploads"))?;
        Ok(Self(Arc::new(Inner { dir: dir.to_owned(), disk, uploads: Mutex::default() })))
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.0.disk
    }

    pub(super) fn uploads(&self) -> MutexGuard<'_, HashMap<UploadId, Seat>> {
        self.0.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.0.dir.join("sha256").join(&hex[..2]).join(&hex)
    }

    pub(super) fn upload_path(&self, id: UploadId) -> PathBuf {
        self.0.dir.join("uploads").join(id.to_string())
    }

    pub(super) fn stat(&self, digest: &Digest) -> Option<(PathBuf, u64)> {
        let path = self.blob_path(digest);
        let metadata = fs_err::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
        Some((path, metadata.len()))
    }

    pub(super) async fn read(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<(BlobReader, u64)>, BlobError> {
        let mut file = match tokio::fs::File::open(self.blob_path(digest)).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        file.set_max_buf_size(CHUNK);
        let size = file.metadata().await?.len();
        let Range { start, end } = range.unwrap_or(0..size);
        if start > 0 {
            file.seek(SeekFrom::Start(start)).await?;
        }
        Ok(Some((BlobReader(file.take(end.saturating_sub(start))), size)))
    }

    pub(super) async fn verify(&self, digest: Digest) -> Result<Option<bool>, BlobError> {
        let path = self.blob_path(&digest);
        blocking(move || match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => Ok(Some(hash(file?)?.0.finish() == digest)),
        })
        .await
    }

    pub(super) async fn remove(&self, digest: Digest) -> Result<bool, BlobError> {
        let path = self.blob_path(&digest);
        blocking(move || match fs_err::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            result => Ok(result.map(|()| true)?),
        })
        .await
    }

    pub(super) async fn list(&self) -> Result<Vec<(Digest, u64)>, BlobError> {
        let dir = self.0.dir.join("sha256");
        blocking(move || {
            let mut blobs = Vec::new();
            for shard in entries(&dir)? {
                for path in entries(&shard)? {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    // Anything else in the folder is not ours to judge.
                    if let Ok(digest) = format!("sha256:{name}").parse() {
                        blobs.push((digest, fs_err::metadata(&path)?.len()));
                    }
                }
            }
            Ok(blobs)
        })
        .await
    }

    pub(super) async fn sweep(&self, idle: Duration) -> Result<u64, BlobError> {
        let this = self.clone();
        blocking(move || {
            let mut swept = 0;
            for path in entries(&this.0.dir.join("uploads"))? {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let Ok(id) = name.parse::<UploadId>() else { continue };
                let Ok(metadata) = fs_err::metadata(&path) else { continue };
                // A file from the future (the clock was set back) is as old as it can be shown to be: not at all.
                let age = metadata.modified()?.elapsed().unwrap_or_default();
                // Held while the file goes, so that nobody takes the seat in between.
                let mut uploads = this.uploads();
                if age < idle || matches!(uploads.get(&id), Some(Seat::Taken)) {
                    continue;
                }
                uploads.remove(&id);
                fs_err::remove_file(&path)?;
                swept += 1;
            }
            Ok(swept)
        })
        .await
    }
}

/// Hashes a file from its beginning; returns its length, too.
pub(super) fn hash(mut file: File) -> io::Result<(Hasher, u64)> {
    let mut hasher = Hasher::new();
    let mut length = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok((hasher, length)),
            n => {
                hasher.update(&chunk[..n]);
                length += n as u64;
            }
        }
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(f).await.map_err(|error| BlobError::Io(io::Error::other(error)))?
}
