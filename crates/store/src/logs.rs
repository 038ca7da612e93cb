//! What apps print: taken from the request path without ever holding it up, kept for a while, found again.
//!
//! A sink pushes an entry onto one bounded queue and returns; one thread gives the entries their times, unique and
//! increasing within an app, and appends them to the app's segment files. What does not fit (an app above its rate,
//! a full queue, a full disk) is dropped and counted, and the count appears in the log.

mod segment;
mod sink;
mod writer;

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use gyre_model::{AppId, ChannelId, Digest, Limits, LogSink, LogStream, ReleaseId, RequestId};
use gyre_telemetry::Clock;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use segment::Cursor;
use sink::{App, Queue, Sink};

/// How logs are kept.
#[derive(Debug, Clone)]
pub struct LogsConfig {
    /// What one app's log may take on disk, in bytes; the oldest goes first.
    pub app_bytes: u64,
    /// How long an entry is kept.
    pub max_age: Duration,
    /// When a segment file ends and the next begins, in bytes.
    pub segment_bytes: u64,
    /// What may wait to be written, in bytes, of all apps together.
    pub queue_bytes: usize,
    /// Tells the age of entries.
    pub clock: Clock,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self {
            app_bytes: 64 << 20,
            max_age: Duration::from_hours(7 * 24),
            segment_bytes: 4 << 20,
            queue_bytes: 32 << 20,
            clock: Clock::System,
        }
    }
}

/// What printed something: the app, and which release of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOrigin {
    /// The app.
    pub app: AppId,
    /// The channel that the release belongs to.
    pub channel: Option<ChannelId>,
    /// The release.
    pub release: Option<ReleaseId>,
    /// The revision that it serves.
    pub revision: Option<Digest>,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredLog {
    /// When it was printed; no two lines of an app have the same time, and later lines have later ones.
    pub time: Timestamp,
    /// The channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelId>,
    /// The release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// The revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Digest>,
    /// The component.
    pub component: String,
    /// The request that was being served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// Which stream.
    pub stream: LogStream,
    /// The line without its end; what was not UTF-8 is replaced. May hold control characters: whoever shows it on a
    /// terminal escapes them.
    pub line: String,
}

/// Which lines are wanted. The default is the last 1,000.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Only lines after this time, not including it.
    pub since: Option<Timestamp>,
    /// Only lines before this time, not including it.
    pub until: Option<Timestamp>,
    /// At most this many, the newest; never more than 10,000. `None`: 1,000.
    pub max: Option<usize>,
    /// Only of this component.
    pub component: Option<String>,
    /// Only of this stream.
    pub stream: Option<LogStream>,
    /// Only of this channel.
    pub channel: Option<ChannelId>,
    /// Only of this request.
    pub request: Option<RequestId>,
    /// Only lines that contain this.
    pub contains: Option<String>,
}

impl LogFilter {
    fn max(&self) -> usize {
        self.max.unwrap_or(1_000).min(10_000)
    }

    fn wants(&self, log: &StoredLog) -> bool {
        self.since.is_none_or(|since| log.time > since)
            && self.until.is_none_or(|until| log.time < until)
            && self.component.as_ref().is_none_or(|component| *component == log.component)
            && self.stream.is_none_or(|stream| stream == log.stream)
            && self.channel.is_none_or(|channel| Some(channel) == log.channel)
            && self.request.is_none_or(|request| Some(request) == log.request)
            && self.contains.as_ref().is_none_or(|text| log.line.contains(text.as_str()))
    }
}

/// The logs of all apps. Cheap to clone.
#[derive(Clone)]
pub struct AppLogs(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    queue: Arc<Queue>,
    apps: Mutex<HashMap<AppId, Arc<App>>>,
    followed: Arc<Followed>,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
}

/// Tells those who follow an app's log that there is more.
#[derive(Default)]
struct Followed(Mutex<HashMap<AppId, watch::Sender<()>>>);

impl Followed {
    fn subscribe(&self, app: AppId) -> watch::Receiver<()> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.retain(|_, sender| sender.receiver_count() > 0);
        map.entry(app).or_insert_with(|| watch::channel(()).0).subscribe()
    }

    fn tell(&self, app: AppId) {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = map.get(&app) {
            sender.send_replace(());
        }
    }

    fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl fmt::Debug for AppLogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AppLogs").field(&self.0.dir).finish()
    }
}

impl AppLogs {
    /// The logs in the folder `dir`, made if it is missing, and the thread that writes them. Blocks.
    ///
    /// # Errors
    /// The folder cannot be made, or no thread started.
    pub fn open(dir: &Path, config: LogsConfig) -> io::Result<Self> {
        fs_err::create_dir_all(dir)?;
        let queue = Arc::new(Queue::new(config.queue_bytes));
        let followed = Arc::<Followed>::default();
        let writer = writer::Writer::new(dir, config, followed.clone());
        let taking = queue.clone();
        let thread = thread::Builder::new()
            .name("gyre-logs".to_owned())
            .spawn(move || writer.run(&taking))?;
        queue.set_taker(thread.thread().clone());
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            queue,
            apps: Mutex::default(),
            followed,
            writer: Mutex::new(Some(thread)),
        })))
    }

    /// Where the guests of one release write. All sinks of an app share its allowance of `log_bytes_per_second` and
    /// `log_burst_bytes`; the newest sink's limits count.
    pub fn sink(&self, origin: LogOrigin, limits: &Limits) -> Arc<dyn LogSink> {
        let mut apps = self.0.apps.lock().unwrap_or_else(PoisonError::into_inner);
        if apps.len() == apps.capacity() {
            apps.retain(|_, app| Arc::strong_count(app) > 1);
        }
        let app = apps.entry(origin.app).or_default().clone();
        app.set_limits(limits);
        Arc::new(Sink::new(app, origin, limits.log_line_bytes, self.0.queue.clone()))
    }

    /// Waits until everything that was written before this call can be found.
    pub async fn flush(&self) {
        let flushed = self.0.queue.ask_flush();
        let _ = flushed.await;
    }

    /// The lines of an app that `filter` wants, oldest first.
    ///
    /// # Errors
    /// The files cannot be read.
    pub async fn query(&self, app: AppId, filter: &LogFilter) -> io::Result<Vec<StoredLog>> {
        self.flush().await;
        let dir = self.dir_of(app);
        let filter = filter.clone();
        blocking(move || segment::query(&dir, &filter)).await
    }

    /// The lines of an app that `filter` wants as they come; begins with those that a query would return.
    pub fn follow(&self, app: AppId, filter: LogFilter) -> LogFollower {
        LogFollower {
            news: self.0.followed.subscribe(app),
            logs: self.clone(),
            app,
            filter,
            cursor: None,
        }
    }

    /// Removes an app's log: when the app is purged.
    ///
    /// # Errors
    /// The files cannot be removed.
    pub async fn remove(&self, app: AppId) -> io::Result<()> {
        let gone = self.0.queue.ask_remove(app);
        let _ = gone.await;
        let dir = self.dir_of(app);
        blocking(move || match fs_err::remove_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        })
        .await
    }

    /// Writes what was taken and stops. Sinks forget what they get from then on; followers end.
    pub async fn close(&self) {
        self.0.queue.close();
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let joined = blocking(move || {
            if let Some(writer) = writer {
                let _ = writer.join();
            }
            Ok(())
        });
        let _ = joined.await;
        self.0.followed.end();
    }

    fn dir_of(&self, app: AppId) -> PathBuf {
        self.0.dir.join(app.to_string())
    }
}

/// Follows an app's log.
#[derive(Debug)]
pub struct LogFollower {
    logs: AppLogs,
    app: AppId,
    filter: LogFilter,
    news: watch::Receiver<()>,
    cursor: Option<Cursor>,
}

impl LogFollower {
    /// The next lines, oldest first, never none; `None` when the logs are closed.
    ///
    /// # Errors
    /// The files cannot be read.
    pub async fn next(&mut self) -> Option<io::Result<Vec<StoredLog>>> {
        loop {
            self.news.mark_unchanged();
            let lines = match self.read().await {
                Ok(lines) => lines,
                Err(error) => return Some(Err(error)),
            };
            if !lines.is_empty() {
                return Some(Ok(lines));
            }
            self.news.changed().await.ok()?;
        }
    }

    async fn read(&mut self) -> io::Result<Vec<StoredLog>> {
        let dir = self.logs.dir_of(self.app);
        let filter = self.filter.clone();
        if let Some(cursor) = self.cursor.take() {
            let (lines, cursor) = blocking(move || segment::read_on(&dir, cursor, &filter)).await?;
            self.cursor = Some(cursor);
            return Ok(lines);
        }
        self.logs.flush().await;
        // Where the log ends is noted first: what comes between the two is read twice, and dropped by its time.
        let (lines, cursor) = blocking(move || {
            let cursor = Cursor::end(&dir)?;
            Ok((segment::query(&dir, &filter)?, cursor))
        })
        .await?;
        if let Some(last) = lines.last() {
            self.filter.since = Some(last.time);
        }
        self.cursor = Some(cursor);
        Ok(lines)
    }
}

async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(f).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
