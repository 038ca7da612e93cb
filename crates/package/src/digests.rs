//! Digests of files, and copies that are verified while they are made.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use gyre_model::{Digest, Hasher};

const BUFFER_BYTES: usize = 128 << 10;

/// The digest and the size of a file.
pub(crate) fn of_file(path: &Path) -> io::Result<(Digest, u64)> {
    copy(&mut fs_err::File::open(path)?, &mut io::sink(), u64::MAX)
}

/// Copies at most `limit` bytes and returns the digest and the size of what was copied; more is an error of kind
/// [`io::ErrorKind::FileTooLarge`].
pub(crate) fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    limit: u64,
) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut size = 0;
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), size)),
            Ok(n) => n,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(err),
        };
        size += n as u64;
        if size > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n])?;
    }
}

/// Writes `content` to `path` by way of a temporary name beside it, so that `path` is whole or absent.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(parent)?;
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(content)?;
    file.persist(path).map_err(|err| err.error)?;
    Ok(())
}
