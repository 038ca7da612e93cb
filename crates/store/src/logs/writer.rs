//! The thread that writes the logs.

use std::{
    collections::HashMap,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fs_err::{File, OpenOptions};
use gyre_model::{AppId, LogEntry, LogStream};
use gyre_telemetry::chain;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{
    Followed, LogOrigin, LogsConfig, StoredLog,
    segment::{self, list, ns},
    sink::{Queue, Request},
};
use crate::files::entries;

/// How long entries are gathered before they are written: readers look this often at most.
const GATHER: Duration = Duration::from_millis(5);
/// How often drops of silent apps are noted, and age is looked at (much more seldom).
const TICK: Duration = Duration::from_millis(500);
const SWEEP: Duration = Duration::from_mins(10);
/// Logs that are kept open.
const OPEN: usize = 128;
/// What is gathered of one app before it is written.
const BUFFER: usize = 64 << 10;

pub(super) struct Writer {
    dir: PathBuf,
    config: LogsConfig,
    followed: Arc<Followed>,
    open: HashMap<AppId, Log>,
    /// When a failure was last reported, so that a full disk is not reported for each line.
    reported: Option<Instant>,
}

/// An app's log, open.
struct Log {
    dir: PathBuf,
    file: Option<(File, u64)>,
    /// Of the last line, in nanoseconds.
    last: i64,
    buffer: Vec<u8>,
    /// The time of the first line in the buffer.
    buffer_start: i64,
    /// Lines in the buffer.
    lines: u64,
    /// Lines that could not be written.
    lost: u64,
    used: Instant,
}

impl Writer {
    pub(super) fn new(dir: &Path, config: LogsConfig, followed: Arc<Followed>) -> Self {
        Self { dir: dir.to_owned(), config, followed, open: HashMap::new(), reported: None }
    }

    pub(super) fn run(mut self, queue: &Queue) {
        let mut swept: Option<Instant> = None;
        loop {
            if !queue.has_news() {
                thread::park_timeout(TICK);
            } else if !queue.has_requests() && !queue.is_closed() {
                thread::park_timeout(GATHER);
            }
            let is_closing = queue.is_closed();
            queue.listen();
            // Asked before the entries are taken, answered after they are written.
            let requests: Vec<Request> = std::iter::from_fn(|| queue.pop_request()).collect();
            while let Some(item) = queue.pop() {
                let dropped = item.app.dropped.swap(0, Ordering::Relaxed);
                self.note_dropped(&item.origin, dropped, item.entry.time);
                self.add(&item.origin, &item.entry);
            }
            while let Some((origin, app)) = queue.lossy.pop() {
                let dropped = app.dropped.swap(0, Ordering::Relaxed);
                self.note_dropped(&origin, dropped, self.config.clock.now());
            }
            self.write_all();
            if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
                swept = Some(Instant::now());
                self.sweep();
            }
            for request in requests {
                self.answer(request);
            }
            if is_closing {
                return;
            }
        }
    }

    fn answer(&mut self, request: Request) {
        let done: oneshot::Sender<()> = match request {
            Request::Flush(done) => done,
            Request::Remove(app, done) => {
                self.open.remove(&app);
                done
            }
        };
        let _ = done.send(());
    }

    fn note_dropped(&mut self, origin: &LogOrigin, dropped: u64, time: Timestamp) {
        if dropped == 0 {
            return;
        }
        let s = if dropped == 1 { "" } else { "s" };
        let entry = LogEntry {
            time,
            component: "".into(),
            request: None,
            stream: LogStream::Host,
            bytes: Bytes::from(format!("{dropped} line{s} dropped")),
        };
        self.add(origin, &entry);
    }

    fn add(&mut self, origin: &LogOrigin, entry: &LogEntry) {
        let log = self.log(origin.app);
        if log.lost > 0 {
            // The disk has let nothing through for a while; if it does now, this is said first.
            let lost = std::mem::take(&mut log.lost);
            let line = format!("{lost} lines lost: the log could not be written");
            let note = LogEntry {
                component: "".into(),
                request: None,
                stream: LogStream::Host,
                bytes: line.into(),
                ..*entry
            };
            log.append(origin, &note);
        }
        log.append(origin, entry);
        if log.buffer.len() >= BUFFER {
            self.write(origin.app);
        }
    }

    fn log(&mut self, app: AppId) -> &mut Log {
        if !self.open.contains_key(&app) && self.open.len() >= OPEN {
            let least = self.open.iter().min_by_key(|(_, log)| log.used).map(|(app, _)| *app);
            if let Some(least) = least {
                self.write(least);
                self.open.remove(&least);
            }
        }
        let dir = &self.dir;
        self.open.entry(app).or_insert_with(|| {
            let dir = dir.join(app.to_string());
            let last = segment::last_time(&dir).unwrap_or(i64::MIN);
            Log {
                dir,
                file: None,
                last,
                buffer: Vec::new(),
                buffer_start: 0,
                lines: 0,
                lost: 0,
                used: Instant::now(),
            }
        })
    }

    fn write_all(&mut self) {
        let waiting: Vec<AppId> = self
            .open
            .iter()
            .filter(|(_, log)| !log.buffer.is_empty())
            .map(|(app, _)| *app)
            .collect();
        for app in waiting {
            self.write(app);
        }
    }

    fn write(&mut self, app: AppId) {
        let Some(log) = self.open.get_mut(&app) else { return };
        if log.buffer.is_empty() {
            return;
        }
        if let Err(error) = log.write(&self.config) {
            log.lost += log.lines;
            log.file = None;
            if self.reported.is_none_or(|at| at.elapsed() > Duration::from_mins(1)) {
                self.reported = Some(Instant::now());
                tracing::error!(app.id = %app, error = %chain(&error), "cannot write an app's log");
            }
        }
        log.buffer.clear();
        log.lines = 0;
        self.followed.tell(app);
    }

    /// Removes what is too old, of all apps.
    fn sweep(&mut self) {
        let oldest = self.config.clock.now().checked_sub(self.config.max_age);
        let oldest = ns(oldest.unwrap_or(Timestamp::MIN));
        for dir in entries(&self.dir).unwrap_or_default() {
            let segments = list(&dir).unwrap_or_default();
            // A segment's lines are all older than the first of the next.
            for pair in segments.windows(2) {
                if pair[1].start < oldest {
                    let _ = fs_err::remove_file(&pair[0].path);
                }
            }
            let Some(last) = segments.last().filter(|segment| segment.start < oldest) else {
                continue;
            };
            let app = dir.file_name().and_then(|name| name.to_str()).and_then(|n| n.parse().ok());
            if segment::last_time(&dir).is_ok_and(|time| time < oldest) {
                if let Some(log) = app.and_then(|app: AppId| self.open.get_mut(&app)) {
                    log.file = None;
                }
                let _ = fs_err::remove_file(&last.path);
                // Only if nothing else is in it.
                let _ = fs_err::remove_dir(&dir);
            }
        }
    }
}

impl Log {
    fn append(&mut self, origin: &LogOrigin, entry: &LogEntry) {
        self.used = Instant::now();
        self.last = ns(entry.time).max(self.last.saturating_add(1));
        if self.buffer.is_empty() {
            self.buffer_start = self.last;
        }
        let stored = StoredLog {
            time: Timestamp::from_nanosecond(i128::from(self.last)).unwrap_or(entry.time),
            channel: origin.channel,
            release: origin.release,
            revision: origin.revision,
            component: entry.component.to_string(),
            request: entry.request,
            stream: entry.stream,
            line: String::from_utf8_lossy(&entry.bytes).into_owned(),
        };
        if serde_json::to_writer(&mut self.buffer, &stored).is_ok() {
            self.buffer.push(b'\n');
            self.lines += 1;
        }
    }

    fn write(&mut self, config: &LogsConfig) -> io::Result<()> {
        if self.file.as_ref().is_some_and(|(_, length)| *length >= config.segment_bytes) {
            if let Some((file, _)) = self.file.take() {
                file.sync_data()?;
            }
            self.make_room(config)?;
        }
        if self.file.is_none() {
            self.file = Some(self.open(config)?);
        }
        let Some((file, length)) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all(&self.buffer) {
            // What got through of it stops at the last whole line that was there before.
            let _ = file.set_len(*length);
            return Err(error);
        }
        *length += self.buffer.len() as u64;
        Ok(())
    }

    /// The newest segment if it has room, else a new one.
    fn open(&self, config: &LogsConfig) -> io::Result<(File, u64)> {
        fs_err::create_dir_all(&self.dir)?;
        if let Some(newest) = list(&self.dir)?.pop() {
            let mut file =
                OpenOptions::new().create(false).read(true).append(true).open(&newest.path)?;
            let mut length = file.metadata()?.len();
            if length < config.segment_bytes {
                if length > 0 {
                    // A crash may have cut the last line off: end it, so that the next one stands alone.
                    let mut end = [0];
                    file.seek(SeekFrom::Start(length - 1))?;
                    file.read_exact(&mut end)?;
                    if end != *b"\n" {
                        file.write_all(b"\n")?;
                        length += 1;
                    }
                }
                return Ok((file, length));
            }
        }
        let path = segment::path(&self.dir, self.buffer_start);
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    /// Removes the oldest segments until the next one fits.
    fn make_room(&self, config: &LogsConfig) -> io::Result<()> {
        let mut total = config.segment_bytes;
        for segment in list(&self.dir)?.into_iter().rev() {
            total += fs_err::metadata(&segment.path).map_or(0, |metadata| metadata.len());
            if total > config.app_bytes {
                fs_err::remove_file(&segment.path)?;
            }
        }
        Ok(())
    }
}
