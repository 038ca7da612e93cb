//! The side of the logs that is on the request path: no lock shared between apps, no file, no waiting.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::Thread,
    time::Instant,
};

use crossbeam_queue::{ArrayQueue, SegQueue};
use gyre_model::{AppId, Limits, LogEntry, LogShape, LogSink};
use tokio::sync::oneshot;

use super::LogOrigin;

/// Entries that may wait to be written.
const QUEUE: usize = 32 << 10;
/// What an entry costs beside its text: its fields in the file.
const OVERHEAD: usize = 64;

/// What the sinks of one app share: its allowance, and what was dropped.
///
/// The allowance is a leaky bucket kept as one number: the time at which it will be empty.
#[derive(Default)]
pub(super) struct App {
    /// Nanoseconds per byte, times 1024; 0: not limited.
    pace: AtomicU64,
    /// How far the bucket may be ahead of the time, in nanoseconds.
    burst: AtomicU64,
    empty_at: AtomicU64,
    pub(super) dropped: AtomicU64,
}

/// Nanoseconds of this process's life.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

impl App {
    pub(super) fn set_limits(&self, limits: &Limits) {
        let rate = limits.log_bytes_per_second;
        let pace = rate.map_or(0, |rate| (1_000_000_000 * 1024 / rate.max(1)).max(1));
        self.pace.store(pace, Ordering::Relaxed);
        self.burst.store(cost(limits.log_burst_bytes, pace), Ordering::Relaxed);
    }

    /// Whether the app may log that much now.
    pub(super) fn admit(&self, bytes: usize, now: u64) -> bool {
        let pace = self.pace.load(Ordering::Relaxed);
        if pace == 0 {
            return true;
        }
        let cost = cost(bytes as u64, pace);
        let burst = self.burst.load(Ordering::Relaxed);
        self.empty_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |empty_at| {
                let then = empty_at.max(now).saturating_add(cost);
                (then - now <= burst).then_some(then)
            })
            .is_ok()
    }
}

fn cost(bytes: u64, pace: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(pace) / 1024).unwrap_or(u64::MAX)
}

/// What goes through the queue.
pub(super) struct Item {
    pub(super) origin: Arc<LogOrigin>,
    pub(super) app: Arc<App>,
    pub(super) entry: LogEntry,
}

/// What the writer is asked to do, in order with nothing: everything queued before is written first.
pub(super) enum Request {
    Flush(oneshot::Sender<()>),
    Remove(AppId, oneshot::Sender<()>),
}

/// From all sinks to the one writer.
pub(super) struct Queue {
    items: ArrayQueue<Item>,
    bytes: AtomicUsize,
    max_bytes: usize,
    requests: SegQueue<Request>,
    /// Apps that something was dropped of, to be noted though they may be silent from now on.
    pub(super) lossy: SegQueue<(Arc<LogOrigin>, Arc<App>)>,
    /// Whether the writer has been told that there is something.
    is_told: AtomicBool,
    is_closed: AtomicBool,
    taker: OnceLock<Thread>,
}

impl Queue {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            items: ArrayQueue::new(QUEUE),
            bytes: AtomicUsize::new(0),
            max_bytes,
            requests: SegQueue::new(),
            lossy: SegQueue::new(),
            is_told: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            taker: OnceLock::new(),
        }
    }

    pub(super) fn set_taker(&self, taker: Thread) {
        // It may have parked before it was known here.
        self.taker.get_or_init(|| taker).unpark();
    }

    fn tell(&self) {
        if !self.is_told.swap(true, Ordering::AcqRel)
            && let Some(taker) = self.taker.get()
        {
            taker.unpark();
        }
    }

    /// Takes an item, unless it is full.
    fn push(&self, item: Item) -> bool {
        let size = item.entry.bytes.len() + OVERHEAD;
        if self.bytes.fetch_add(size, Ordering::Relaxed) + size > self.max_bytes
            || self.is_closed()
            || self.items.push(item).is_err()
        {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            return false;
        }
        self.tell();
        true
    }

    pub(super) fn pop(&self) -> Option<Item> {
        let item = self.items.pop()?;
        self.bytes.fetch_sub(item.entry.bytes.len() + OVERHEAD, Ordering::Relaxed);
        Some(item)
    }

    pub(super) fn pop_request(&self) -> Option<Request> {
        self.requests.pop()
    }

    /// Called by the writer before it looks: what comes from now on tells it again.
    pub(super) fn listen(&self) {
        self.is_told.store(false, Ordering::Release);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    pub(super) fn has_news(&self) -> bool {
        self.is_told.load(Ordering::Acquire)
    }

    pub(super) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn ask(&self, request: Request) {
        if self.is_closed() {
            return; // The request's sender is gone: its answer comes at once.
        }
        self.requests.push(request);
        if self.is_closed() {
            // The writer may be gone already.
            while self.requests.pop().is_some() {}
        }
        self.tell();
        // Also when it is gathering entries.
        if let Some(taker) = self.taker.get() {
            taker.unpark();
        }
    }

    pub(super) fn ask_flush(&self) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        self.ask(Request::Flush(done));
        wait
    }

    pub(super) fn ask_remove(&self, app: AppId) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        self.ask(Request::Remove(app, done));
        wait
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.is_told.store(true, Ordering::Release);
        if let Some(taker) = self.taker.get() {
            taker.unpark();
        }
    }
}

/// Where the guests of one release write.
pub(super) struct Sink {
    app: Arc<App>,
    origin: Arc<LogOrigin>,
    line_bytes: usize,
    queue: Arc<Queue>,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sink").field(&self.origin).finish()
    }
}

impl Sink {
    pub(super) fn new(
        app: Arc<App>,
        origin: LogOrigin,
        line_bytes: usize,
        queue: Arc<Queue>,
    ) -> Self {
        Self { app, origin: Arc::new(origin), line_bytes, queue }
    }
}

impl LogSink for Sink {
    fn shape(&self) -> LogShape {
        LogShape::Lines { max_bytes: self.line_bytes }
    }

    fn write(&self, entry: LogEntry) {
        let admitted = self.app.admit(entry.bytes.len() + OVERHEAD, now());
        let item = Item { origin: self.origin.clone(), app: self.app.clone(), entry };
        if admitted && self.queue.push(item) {
            return;
        }
        if self.app.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            self.queue.lossy.push((self.origin.clone(), self.app.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_may_log_its_burst_at_once_and_its_rate_for_ever() {
        let app = App::default();
        let limits =
            Limits { log_bytes_per_second: Some(1000), log_burst_bytes: 5000, ..Limits::server() };
        app.set_limits(&limits);
        let second = 1_000_000_000;
        let admitted = |at: u64| (0..1000).take_while(|_| app.admit(100, at)).count();
        assert_eq!(admitted(10 * second), 50);
        assert_eq!(admitted(11 * second), 10);
        assert_eq!(admitted(11 * second), 0);
        assert_eq!(admitted(1000 * second), 50, "what was not used is not saved up");
        app.set_limits(&Limits::unlimited());
        assert!((0..1_000_000).all(|_| app.admit(1 << 20, 1000 * second)));
    }
}
