//! Segment files: lines of JSON, named after the time of their first, so that their names sort by time.
//!
//! A line is there when its end is: what a crash cut off is skipped by readers and ended by the writer.

use std::{
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use fs_err::File;
use jiff::Timestamp;

use super::{LogFilter, StoredLog};
use crate::files::entries;

const SUFFIX: &str = ".jsonl";
/// What a follower reads at once.
const PIECE: u64 = 1 << 20;

/// A segment: its file, and the time of its first line in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    pub(super) start: i64,
    pub(super) path: PathBuf,
}

pub(super) fn path(dir: &Path, start: i64) -> PathBuf {
    dir.join(format!("{:020}{SUFFIX}", start.max(0)))
}

/// The segments of a log, oldest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments: Vec<Segment> = entries(dir)?
        .into_iter()
        .filter_map(|path| {
            let start = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.parse().ok()?;
            Some(Segment { start, path })
        })
        .collect();
    segments.sort();
    Ok(segments)
}

pub(super) fn ns(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// Opens a segment that may have been removed meanwhile.
fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

/// The whole lines of a piece of a file, and how many bytes they take.
fn whole_lines(bytes: &[u8]) -> (impl DoubleEndedIterator<Item = StoredLog>, usize) {
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let lines = bytes[..end].split(|&byte| byte == b'\n');
    (lines.filter_map(|line| serde_json::from_slice(line).ok()), end)
}

/// The newest lines that `filter` wants, oldest first.
pub(super) fn query(dir: &Path, filter: &LogFilter) -> io::Result<Vec<StoredLog>> {
    let max = filter.max();
    let since = filter.since.map_or(i64::MIN, ns);
    let until = filter.until.map_or(i64::MAX, ns);
    let mut found = Vec::new();
    let mut next_start = i64::MAX;
    for segment in list(dir)?.into_iter().rev() {
        // All lines of this one and those before it are older than the next one's first.
        if found.len() >= max || next_start <= since {
            break;
        }
        next_start = segment.start;
        if segment.start >= until {
            continue;
        }
        let Some(mut file) = open(&segment.path)? else { continue };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (lines, _) = whole_lines(&bytes);
        let room = max - found.len();
        found.extend(
            lines
                .rev()
                .take_while(|log| filter.since.is_none_or(|since| log.time > since))
                .filter(|log| filter.wants(log))
                .take(room),
        );
    }
    found.reverse();
    Ok(found)
}

/// The time of the newest line, in nanoseconds; the lowest number if there is none.
pub(super) fn last_time(dir: &Path) -> io::Result<i64> {
    let newest = query(dir, &LogFilter { max: Some(1), ..LogFilter::default() })?;
    Ok(newest.last().map_or(i64::MIN, |log| ns(log.time)))
}

/// How far a follower has read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    /// The segment, by its start.
    start: i64,
    offset: u64,
}

impl Cursor {
    /// Where the log ends now.
    pub(super) fn end(dir: &Path) -> io::Result<Self> {
        let Some(newest) = list(dir)?.pop() else { return Ok(Self { start: i64::MIN, offset: 0 }) };
        let offset = match open(&newest.path)? {
            None => 0,
            Some(mut file) => {
                // Back to the end of a whole line: the writer may be in the middle of one.
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                whole_lines(&bytes).1 as u64
            }
        };
        Ok(Self { start: newest.start, offset })
    }
}

/// The lines after `cursor` that `filter` wants, oldest first, and where they end.
pub(super) fn read_on(
    dir: &Path,
    mut cursor: Cursor,
    filter: &LogFilter,
) -> io::Result<(Vec<StoredLog>, Cursor)> {
    let segments = list(dir)?;
    let mut found = Vec::new();
    for segment in segments {
        if segment.start < cursor.start {
            continue;
        }
        if segment.start > cursor.start {
            cursor = Cursor { start: segment.start, offset: 0 };
        }
        let Some(mut file) = open(&segment.path)? else { continue };
        loop {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(cursor.offset))?;
            file.by_ref().take(PIECE).read_to_end(&mut bytes)?;
            let (lines, length) = whole_lines(&bytes);
            found.extend(lines.filter(|log| filter.wants(log)));
            cursor.offset += length as u64;
            if found.len() >= filter.max() {
                return Ok((found, cursor));
            }
            if length == 0 {
                break;
            }
        }
    }
    Ok((found, cursor))
}
