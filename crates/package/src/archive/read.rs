//! The entries of a tar stream, one after the other, every header and every byte counted.
//!
//! Only what is needed is understood: regular files, folders, and the two ways of writing long names. All of the
//! rest is refused by name, so that there is nothing for two readers to understand differently.

use std::io::{self, Read, Write};

use super::{ArchiveError, Caps, PathError, ensure_relative};
use crate::limits;

const BLOCK: usize = 512;
/// An extension header, in bytes: far beyond what a path of the allowed length needs.
const EXTENSION_BYTES: u64 = 64 << 10;

/// A file or folder of the archive.
#[derive(Debug)]
pub(super) struct Entry {
    /// Relative and plain.
    pub(super) path: String,
    pub(super) is_folder: bool,
    /// In bytes; 0 for folders.
    pub(super) size: u64,
}

pub(super) struct Entries<R, C> {
    tar: R,
    caps: Caps,
    /// How many compressed bytes have gone into `tar`.
    compressed: C,
    unpacked: u64,
    /// The part of it that is files' content.
    content: u64,
    count: usize,
    extensions: usize,
    /// Bytes of the present entry that were not read yet, and the padding after them.
    pending: u64,
    padding: u64,
}

impl<R: Read, C: Fn(&R) -> u64> Entries<R, C> {
    pub(super) fn new(tar: R, caps: Caps, compressed: C) -> Self {
        Self {
            tar,
            caps,
            compressed,
            unpacked: 0,
            content: 0,
            count: 0,
            extensions: 0,
            pending: 0,
            padding: 0,
        }
    }

    /// The next file or folder; `None` after the last, once the end of the stream was seen to be clean.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        self.read_content(&mut io::sink())?;
        let mut long_name: Option<Vec<u8>> = None;
        let mut pax_size: Option<u64> = None;
        loop {
            let Some(header) = self.header()? else {
                if long_name.is_some() || pax_size.is_some() {
                    return Err(damaged("it ends within an entry"));
                }
                return Ok(None);
            };
            let short_name = header.path_bytes().into_owned();
            let shown = long_name.as_deref().unwrap_or(&short_name);
            let shown = String::from_utf8_lossy(shown).into_owned();
            let size = header.entry_size().map_err(|_| damaged("an entry has no valid size"))?;
            let kind = header.entry_type();
            let refused = |kind| Err(ArchiveError::Kind { path: shown.clone(), kind });
            match kind.as_byte() {
                b'L' => {
                    let mut name = self.extension(size)?;
                    if name.last() == Some(&0) {
                        name.pop();
                    }
                    if long_name.replace(name).is_some() {
                        return Err(ArchiveError::Contradiction(shown));
                    }
                }
                b'x' => {
                    let records = self.extension(size)?;
                    for (key, value) in pax_records(&records)? {
                        match key {
                            b"path" if long_name.is_some() => {
                                return Err(ArchiveError::Contradiction(shown));
                            }
                            b"path" => long_name = Some(value.to_vec()),
                            b"size" => {
                                let text = std::str::from_utf8(value).ok();
                                let size = text.and_then(|text| text.parse().ok());
                                pax_size = Some(
                                    size.ok_or_else(|| damaged("an entry has no valid size"))?,
                                );
                            }
                            _ if key.starts_with(b"GNU.sparse.") => return refused("sparse file"),
                            _ => {}
                        }
                    }
                }
                // Global headers carry comments (`git archive` writes its commit); paths and sizes they may not set.
                b'g' => {
                    let records = self.extension(size)?;
                    let steers =
                        |key: &[u8]| key == b"path" || key == b"size" || key == b"linkpath";
                    if pax_records(&records)?.iter().any(|(key, _)| steers(key)) {
                        return Err(ArchiveError::Contradiction(shown));
                    }
                }
                b'0' | b'\0' | b'7' | b'5' => {
                    if pax_size.is_some_and(|pax| pax != size) {
                        return Err(ArchiveError::Contradiction(shown));
                    }
                    let name = long_name.take().unwrap_or(short_name);
                    pax_size = None;
                    if let Some(entry) = self.entry(name, kind.as_byte() == b'5', size)? {
                        return Ok(Some(entry));
                    }
                }
                b'1' => return refused("hard link"),
                b'2' | b'K' => return refused("symbolic link"),
                b'3' | b'4' => return refused("device"),
                b'6' => return refused("pipe"),
                b'S' => return refused("sparse file"),
                _ => return refused("thing of an unknown kind"),
            }
        }
    }

    /// Begins an entry; `None` for the root folder itself.
    fn entry(
        &mut self,
        name: Vec<u8>,
        is_folder: bool,
        size: u64,
    ) -> Result<Option<Entry>, ArchiveError> {
        self.count += 1;
        if self.count > self.caps.entries {
            return Err(too_large(self.caps.entries as u64, "entries"));
        }
        let name = String::from_utf8(name).map_err(|_| PathError::NotText)?;
        if is_folder && size != 0 {
            return Err(ArchiveError::Contradiction(name));
        }
        if is_folder && matches!(name.as_str(), "." | "./") {
            return Ok(None);
        }
        if !is_folder && name.ends_with('/') {
            return Err(ArchiveError::Contradiction(name));
        }
        let path = ensure_relative(&name, self.caps.path_bytes, self.caps.path_depth)?.to_owned();
        if size > self.caps.unpacked_bytes - self.content {
            return Err(too_large(self.caps.unpacked_bytes, "bytes"));
        }
        self.content += size;
        self.begin(size);
        Ok(Some(Entry { path, is_folder, size }))
    }

    fn begin(&mut self, size: u64) {
        self.pending = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    /// Copies the rest of the present entry.
    pub(super) fn read_content(&mut self, to: &mut dyn Write) -> Result<(), ArchiveError> {
        let mut buffer = vec![0; self.pending.clamp(1, 64 << 10) as usize];
        while self.pending > 0 {
            let want = buffer.len().min(usize::try_from(self.pending).unwrap_or(usize::MAX));
            let n = self.read_some(&mut buffer[..want])?;
            self.pending -= n as u64;
            to.write_all(&buffer[..n]).map_err(ArchiveError::Io)?;
        }
        let mut block = [0; BLOCK];
        while self.padding > 0 {
            let n = self.read_some(&mut block[..self.padding as usize])?;
            self.padding -= n as u64;
        }
        Ok(())
    }

    /// The content of an extension header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > EXTENSION_BYTES {
            return Err(too_large(EXTENSION_BYTES, "bytes in an extended header"));
        }
        self.extensions += 1;
        if self.extensions > self.caps.entries.saturating_add(1) {
            return Err(too_large(self.caps.entries as u64, "extended headers"));
        }
        self.begin(size);
        let mut content = Vec::with_capacity(size as usize);
        self.read_content(&mut content)?;
        Ok(content)
    }

    /// The next header, or `None` at the end.
    fn header(&mut self) -> Result<Option<tar::Header>, ArchiveError> {
        let mut block = [0; BLOCK];
        if !self.fill(&mut block)? {
            return Ok(None);
        }
        if block.iter().all(|byte| *byte == 0) {
            self.ensure_nothing_follows()?;
            return Ok(None);
        }
        let header = tar::Header::from_byte_slice(&block);
        let sum: u32 = block[..148].iter().chain(&block[156..]).map(|b| u32::from(*b)).sum();
        if header.cksum().ok() != Some(sum + 8 * u32::from(b' ')) {
            return Err(damaged("a header's checksum is wrong"));
        }
        Ok(Some(header.clone()))
    }

    /// After the end mark there are zeros, to fill a tape's block, and nothing else.
    fn ensure_nothing_follows(&mut self) -> Result<(), ArchiveError> {
        let mut block = [0; BLOCK];
        let mut total = 0;
        loop {
            let n = self.read_up_to(&mut block)?;
            if n == 0 {
                return Ok(());
            }
            total += n;
            if block[..n].iter().any(|byte| *byte != 0) || total > 1 << 20 {
                return Err(damaged("something follows its end"));
            }
        }
    }

    /// Fills the block, or returns false at a clean end of the stream.
    fn fill(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, ArchiveError> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.read_up_to(&mut block[filled..])? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(damaged("it is cut short")),
                n => filled += n,
            }
        }
        Ok(true)
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        match self.read_up_to(buffer)? {
            0 => Err(damaged("it is cut short")),
            n => Ok(n),
        }
    }

    fn read_up_to(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let n = loop {
            match self.tar.read(buffer) {
                Ok(n) => break n,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(damaged(&err.to_string())),
            }
        };
        self.unpacked += n as u64;
        let allowed = self.caps.unpacked_bytes.saturating_add(
            // Headers and padding come on top of the content.
            (self.caps.entries as u64).saturating_mul(4 * BLOCK as u64),
        );
        if self.unpacked > allowed {
            return Err(too_large(self.caps.unpacked_bytes, "bytes"));
        }
        let by_ratio = (self.compressed)(&self.tar).saturating_mul(self.caps.ratio);
        if self.unpacked > by_ratio.max(limits::RATIO_FREE_BYTES) {
            return Err(too_large(self.caps.ratio, "times its own size in content"));
        }
        Ok(n)
    }
}

fn damaged(what: &str) -> ArchiveError {
    ArchiveError::Damaged(what.to_owned())
}

fn too_large(limit: u64, of: &'static str) -> ArchiveError {
    ArchiveError::TooLarge { limit, of }
}

/// A key and its value.
type Record<'a> = (&'a [u8], &'a [u8]);

/// `<length> <key>=<value>\n`, again and again; the length counts the whole record.
fn pax_records(mut bytes: &[u8]) -> Result<Vec<Record<'_>>, ArchiveError> {
    let malformed = || damaged("an extended header is malformed");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(8).position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let length = std::str::from_utf8(&bytes[..space]).ok().and_then(|text| text.parse().ok());
        let length: usize = length.ok_or_else(malformed)?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(malformed());
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
        records.push((&record[..equals], &record[equals + 1..]));
        bytes = &bytes[length..];
    }
    Ok(records)
}
