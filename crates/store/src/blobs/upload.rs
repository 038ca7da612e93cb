//! Content on its way in: appended piece by piece, possibly over several connections, then verified and named.

use std::{fmt, io, str::FromStr};

use fs_err::{File, OpenOptions};
use gyre_model::{Digest, Hasher};
use uuid::Uuid;

use super::{
    BlobError,
    folder::{Folder, Seat, blocking, hash},
};

/// What is gathered before it is written.
const BUFFER: usize = 1 << 20;

/// Names an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UploadId(Uuid);

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for UploadId {
    type Err = BlobError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self).map_err(|_| BlobError::UnknownUpload)
    }
}

/// An upload that one caller writes to. Dropping it leaves it to be resumed at what was written by
/// [`Upload::pause`] or before.
#[derive(Debug)]
pub struct Upload {
    offset: u64,
    limit: u64,
    buffer: Vec<u8>,
    /// `None` only while a write is under way, and for ever if its future was dropped.
    work: Option<Work>,
}

/// What goes to the blocking thread and comes back.
#[derive(Debug)]
struct Work {
    file: File,
    hasher: Hasher,
    /// Bytes in the file, and in the hash.
    written: u64,
    seat: SeatGuard,
}

/// Keeps others from the upload until its last writer, on whatever thread, is done.
#[derive(Debug)]
struct SeatGuard {
    folder: Folder,
    id: UploadId,
}

impl Drop for SeatGuard {
    fn drop(&mut self) {
        let mut uploads = self.folder.uploads();
        if let Some(Seat::Taken) = uploads.get(&self.id) {
            uploads.remove(&self.id);
        }
    }
}

impl Upload {
    pub(super) async fn begin(folder: &Folder, limit: u64) -> Result<Self, BlobError> {
        let folder = folder.clone();
        blocking(move || {
            let id = UploadId(Uuid::new_v4());
            folder.uploads().insert(id, Seat::Taken);
            let seat = SeatGuard { folder, id };
            let file = seat.folder.disk().create(&seat.folder.upload_path(id), 0o644)?;
            let work = Work { file, hasher: Hasher::new(), written: 0, seat };
            Ok(Self { offset: 0, limit, buffer: Vec::new(), work: Some(work) })
        })
        .await
    }

    pub(super) async fn resume(
        folder: &Folder,
        id: UploadId,
        limit: u64,
    ) -> Result<Self, BlobError> {
        let folder = folder.clone();
        blocking(move || {
            let known = match folder.uploads().insert(id, Seat::Taken) {
                Some(Seat::Taken) => return Err(BlobError::Busy),
                Some(Seat::Free(hasher, length)) => Some((*hasher, length)),
                None => None,
            };
            let seat = SeatGuard { folder, id };
            let path = seat.folder.upload_path(id);
            let file = match OpenOptions::new().append(true).read(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(BlobError::UnknownUpload);
                }
                file => file?,
            };
            let length = file.metadata()?.len();
            let (hasher, written) = match known {
                Some((hasher, hashed)) if hashed == length => (hasher, hashed),
                _ => hash(File::open(&path)?)?,
            };
            let work = Work { file, hasher, written, seat };
            Ok(Self { offset: written, limit, buffer: Vec::new(), work: Some(work) })
        })
        .await
    }

    /// Its name, by which it can be resumed.
    ///
    /// # Panics
    /// If the future of an earlier call was dropped before its end.
    pub fn id(&self) -> UploadId {
        self.work.as_ref().expect("an upload is not used after a call of it was abandoned").seat.id
    }

    /// How many bytes were appended.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// The upload becomes too large, or the disk is full or fails: nothing of `bytes` counts then.
    pub async fn append(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let end = self.offset + bytes.len() as u64;
        if end > self.limit {
            return Err(BlobError::TooLarge { limit: self.limit });
        }
        self.buffer.extend_from_slice(bytes);
        self.offset = end;
        if self.buffer.len() >= BUFFER { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), BlobError> {
        let buffer = std::mem::take(&mut self.buffer);
        let work = self.work.take().ok_or(BlobError::UnknownUpload)?;
        if buffer.is_empty() {
            self.work = Some(work);
            return Ok(());
        }
        let (work, result) = blocking(move || Ok(work.write(&buffer))).await?;
        if result.is_err() {
            self.offset = work.written;
        }
        self.work = Some(work);
        result
    }

    /// Writes what was appended and lets go, for a later [`Blobs::resume`](super::Blobs::resume); returns the offset.
    ///
    /// # Errors
    /// The disk is full or fails; what was written before is kept.
    pub async fn pause(mut self) -> Result<u64, BlobError> {
        self.flush().await?;
        Ok(self.offset)
    }

    /// Ends the upload: its content becomes the blob `expected`, durably, or, if it is something else, is thrown
    /// away. Returns the blob's size.
    ///
    /// # Errors
    /// The content has another digest; or the disk is full or fails, and the upload can be resumed.
    pub async fn commit(mut self, expected: &Digest) -> Result<u64, BlobError> {
        self.flush().await?;
        let work = self.work.take().ok_or(BlobError::UnknownUpload)?;
        let expected = *expected;
        blocking(move || work.commit(expected)).await
    }

    /// Ends the upload and throws its content away.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub async fn abort(mut self) -> Result<(), BlobError> {
        let work = self.work.take().ok_or(BlobError::UnknownUpload)?;
        blocking(move || Ok(fs_err::remove_file(work.path())?)).await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(Work { hasher, written, seat, .. }) = self.work.take() else { return };
        let free = Seat::Free(Box::new(hasher), written);
        seat.folder.uploads().insert(seat.id, free);
    }
}

impl Work {
    fn path(&self) -> std::path::PathBuf {
        self.seat.folder.upload_path(self.seat.id)
    }

    /// Writes all or nothing of `bytes`.
    fn write(mut self, bytes: &[u8]) -> (Self, Result<(), BlobError>) {
        let disk = self.seat.folder.disk().clone();
        if let Err(error) = disk.write(&mut self.file, bytes) {
            // Resumed or not, the file ends where the hash ends.
            let undone = self.file.set_len(self.written).and_then(|()| {
                use std::io::Seek as _;
                self.file.seek(io::SeekFrom::Start(self.written)).map(drop)
            });
            return (self, Err(undone.err().unwrap_or(error).into()));
        }
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        (self, Ok(()))
    }

    fn commit(self, expected: Digest) -> Result<u64, BlobError> {
        let from = self.path();
        let actual = self.hasher.clone().finish();
        if actual != expected {
            fs_err::remove_file(from)?;
            return Err(BlobError::Mismatch { expected, actual });
        }
        let folder = &self.seat.folder;
        if folder.stat(&expected).is_some() {
            // Someone else brought the same.
            fs_err::remove_file(from)?;
            return Ok(self.written);
        }
        let disk = folder.disk();
        let to = folder.blob_path(&expected);
        disk.sync(&self.file)?;
        disk.make_dir(crate::files::parent(&to))?;
        disk.publish(&from, &to)?;
        Ok(self.written)
    }
}
