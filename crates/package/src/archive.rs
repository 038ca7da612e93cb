//! Archives of files, tar in gzip: written deterministically, read entry by entry under caps.
//!
//! Reading creates regular files and the folders above them, inside a folder of its own that takes its final name
//! only once all of the archive was read: whatever the archive says, nothing outside that folder changes.

use std::{
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

pub(crate) use flate2::Compression;
use flate2::{GzBuilder, read::MultiGzDecoder};

use crate::limits;

mod path;
mod read;
#[cfg(test)]
mod tests;

pub(crate) use path::ensure_relative;
use read::Entries;

/// What an archive may be at most. The default is that of [`limits`].
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// All files together, in bytes.
    pub unpacked_bytes: u64,
    /// Entries, folders included.
    pub entries: usize,
    /// How many times larger than the archive its content may be, once past [`limits::RATIO_FREE_BYTES`].
    pub ratio: u64,
    /// A path, in bytes.
    pub path_bytes: usize,
    /// The parts of a path.
    pub path_depth: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            unpacked_bytes: limits::UNPACKED_BYTES,
            entries: limits::ENTRIES,
            ratio: limits::RATIO,
            path_bytes: limits::PATH_BYTES,
            path_depth: limits::PATH_DEPTH,
        }
    }
}

/// Why an archive was refused. Nothing of it is left on disk.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is no tar, no gzip, or cut short.
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    /// A path that is absolute, leaves its folder, is too long, or otherwise not one.
    #[error("the archive has an entry with an unusable path: {0}")]
    Path(#[from] PathError),
    /// The same path twice, or a file where a folder is needed.
    #[error("the archive has more than one entry for {0:?}")]
    Duplicate(String),
    /// A link, a device, or anything else that is neither a file nor a folder.
    #[error("the archive's entry {path:?} is a {kind}; only files and folders are allowed")]
    Kind {
        /// The entry's path, as far as it is known.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// Two headers that disagree about one entry.
    #[error("the archive contradicts itself about {0:?}")]
    Contradiction(String),
    /// A cap was reached.
    #[error("the archive has more than {limit} {of}")]
    TooLarge {
        /// The cap.
        limit: u64,
        /// What it counts.
        of: &'static str,
    },
    /// The target exists and is not an empty folder.
    #[error("the folder {0:?} is not empty")]
    NotEmpty(PathBuf),
    /// The disk.
    #[error("cannot lay out the archive's files")]
    Io(#[source] io::Error),
}

/// Why a path cannot be one inside an artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Of no parts at all.
    #[error("it is empty")]
    Empty,
    /// Not text.
    #[error("it is not UTF-8")]
    NotText,
    /// Begins with `/`.
    #[error("{0:?} is absolute")]
    Absolute(String),
    /// Has a `..` in it.
    #[error("{0:?} leaves its folder")]
    Escapes(String),
    /// Has a NUL, a `.` or an empty part in it.
    #[error("{0:?} is not a plain path")]
    Odd(String),
    /// Too many bytes or parts.
    #[error("it has {found} {of}; at most {limit} are allowed")]
    TooLong {
        /// Bytes or parts it has.
        found: usize,
        /// The cap.
        limit: usize,
        /// What is counted.
        of: &'static str,
    },
}

/// Lays out the archive in the file `archive` as the folder `into`, which must be absent or empty; returns how many
/// bytes the files have together.
///
/// Modes, owners and times are not taken over.
///
/// # Errors
/// A damaged or hostile archive, a cap, or the disk; then `into` is as it was.
pub fn extract(archive: &Path, into: &Path, caps: &Caps) -> Result<u64, ArchiveError> {
    if into.exists() && fs_err::read_dir(into).map_err(ArchiveError::Io)?.next().is_some() {
        return Err(ArchiveError::NotEmpty(into.to_owned()));
    }
    let parent = into.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(parent).map_err(ArchiveError::Io)?;
    let work = tempfile::Builder::new().prefix(".unpack-").tempdir_in(parent);
    let work = work.map_err(ArchiveError::Io)?;
    let file = fs_err::File::open(archive).map_err(ArchiveError::Io)?;
    let size = extract_from(file, work.path(), caps)?;
    fs_err::rename(work.path(), into).map_err(ArchiveError::Io)?;
    // It has moved away: there is nothing left to delete.
    let _moved = work.keep();
    Ok(size)
}

/// Reads the archive into the empty folder `root`. What is there after an error is for the caller to remove.
fn extract_from(archive: impl Read, root: &Path, caps: &Caps) -> Result<u64, ArchiveError> {
    let compressed = CountedReader { inner: archive, count: 0 };
    let tar = MultiGzDecoder::new(BufReader::new(compressed));
    let mut entries = Entries::new(tar, *caps, |tar| tar.get_ref().get_ref().count);
    let mut total = 0;
    while let Some(entry) = entries.next_entry()? {
        let target = root.join(&entry.path);
        let duplicate = |err: io::Error| match err.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                ArchiveError::Duplicate(entry.path.clone())
            }
            _ => ArchiveError::Io(err),
        };
        if entry.is_folder {
            fs_err::create_dir_all(&target).map_err(duplicate)?;
            continue;
        }
        if let Some(folder) = target.parent() {
            fs_err::create_dir_all(folder).map_err(duplicate)?;
        }
        let file = fs_err::OpenOptions::new().write(true).create_new(true).open(&target);
        entries.read_content(&mut file.map_err(duplicate)?)?;
        total += entry.size;
    }
    Ok(total)
}

struct CountedReader<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for CountedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count += n as u64;
        Ok(n)
    }
}

/// Writes `files` — their paths inside the archive and where they are here — as an archive.
///
/// The same files in the same order make the same bytes, on every machine: no times, owners or modes are kept.
///
/// # Errors
/// Reading a file or writing the archive.
pub(crate) fn create<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a Path)>,
    to: impl Write,
    compression: Compression,
) -> io::Result<()> {
    let gzip = GzBuilder::new().mtime(0).operating_system(255).write(to, compression);
    let mut tar = tar::Builder::new(BufWriter::new(gzip));
    for (path, host) in files {
        let file = fs_err::File::open(host)?;
        let size = file.metadata()?.len();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(size);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        // A file that grows meanwhile must not spill into the next entry.
        tar.append_data(&mut header, path, file.take(size))?;
    }
    let gzip = tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    gzip.finish()?.flush()
}
