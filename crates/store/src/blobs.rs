//! Content, by its sha256 digest: what the registry stores and revisions are made of.
//!
//! A blob that can be seen is complete, verified and durable; one that cannot is only an upload.

mod folder;
mod upload;

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use gyre_model::Digest;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use folder::Folder;
pub use upload::{Upload, UploadId};

/// Why content could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The disk is full. What was uploaded before is still there and can be continued.
    #[error("disk is full")]
    Full(#[source] io::Error),
    /// The content is not what its digest says. It was thrown away.
    #[error("content has digest {actual}, not {expected}")]
    Mismatch {
        /// What it should be.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// The content is larger than the upload may be.
    #[error("content is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// There is no upload of that id: it ended, or was swept.
    #[error("unknown upload")]
    UnknownUpload,
    /// Someone else is writing to that upload.
    #[error("upload is in use")]
    Busy,
    /// Anything else that the system says.
    #[error("cannot access the blob store")]
    Io(#[source] io::Error),
}

impl From<io::Error> for BlobError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error),
            _ => Self::Io(error),
        }
    }
}

/// The platform's content. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Blobs {
    /// In a folder of this machine.
    Folder(Folder),
}

impl Blobs {
    /// The blobs in the folder `dir`, made if it is missing. Blocks.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn folder(dir: &Path) -> Result<Self, BlobError> {
        Folder::open(dir).map(Self::Folder)
    }

    /// The file that holds the blob on this machine, if it is here. One look at the disk.
    pub fn path(&self, digest: &Digest) -> Option<PathBuf> {
        match self {
            Self::Folder(folder) => folder.stat(digest).map(|(path, _)| path),
        }
    }

    /// The blob's size in bytes, if it is here.
    pub fn stat(&self, digest: &Digest) -> Option<u64> {
        match self {
            Self::Folder(folder) => folder.stat(digest).map(|(_, size)| size),
        }
    }

    /// Begins an upload of at most `limit` bytes.
    ///
    /// # Errors
    /// No file can be made.
    pub async fn begin(&self, limit: u64) -> Result<Upload, BlobError> {
        match self {
            Self::Folder(folder) => Upload::begin(folder, limit).await,
        }
    }

    /// Takes up an upload where it stands: [`Upload::offset`].
    ///
    /// # Errors
    /// It is unknown, or in use by another.
    pub async fn resume(&self, id: UploadId, limit: u64) -> Result<Upload, BlobError> {
        match self {
            Self::Folder(folder) => Upload::resume(folder, id, limit).await,
        }
    }

    /// Stores `bytes` and returns their digest.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub async fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let digest = Digest::of(bytes);
        if self.stat(&digest).is_none() {
            let mut upload = self.begin(u64::MAX).await?;
            upload.append(bytes).await?;
            upload.commit(&digest).await?;
        }
        Ok(digest)
    }

    /// A reader of the blob, or of a range of its bytes, and the blob's whole size; nothing if it is not here. A range
    /// that goes beyond the end stops there.
    ///
    /// # Errors
    /// The blob cannot be read.
    pub async fn read(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<(BlobReader, u64)>, BlobError> {
        match self {
            Self::Folder(folder) => folder.read(digest, range).await,
        }
    }

    /// The whole blob, nothing if it is not here.
    ///
    /// # Errors
    /// It is larger than `limit`, or cannot be read.
    pub async fn read_all(
        &self,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, BlobError> {
        let Some((mut reader, size)) = self.read(digest, None).await? else { return Ok(None) };
        if size > limit {
            return Err(BlobError::TooLarge { limit });
        }
        let mut bytes = Vec::with_capacity(size as usize);
        reader.read_to_end(&mut bytes).await?;
        Ok(Some(bytes))
    }

    /// Reads the blob and compares its digest; `None` if it is not here.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn verify(&self, digest: &Digest) -> Result<Option<bool>, BlobError> {
        match self {
            Self::Folder(folder) => folder.verify(*digest).await,
        }
    }

    /// Removes the blob; returns whether it was here. Those who have it open keep it until they close it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub async fn remove(&self, digest: &Digest) -> Result<bool, BlobError> {
        match self {
            Self::Folder(folder) => folder.remove(*digest).await,
        }
    }

    /// All blobs with their sizes, in no particular order: what garbage collection walks.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn list(&self) -> Result<Vec<(Digest, u64)>, BlobError> {
        match self {
            Self::Folder(folder) => folder.list().await,
        }
    }

    /// Removes uploads that nobody has written to for `idle`; returns how many.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn sweep(&self, idle: Duration) -> Result<u64, BlobError> {
        match self {
            Self::Folder(folder) => folder.sweep(idle).await,
        }
    }
}

/// Reads a blob.
#[derive(Debug)]
pub struct BlobReader(tokio::io::Take<tokio::fs::File>);

impl AsyncRead for BlobReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests;
