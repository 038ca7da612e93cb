//! What is known of one call while it runs: its processor time, its response, and why it was stopped.

use std::{
    fmt,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gyre_telemetry::TraceContext;
use http::Response;
use wasmtime_wasi_http::WasiBody;

/// Up to here a call's processor time is what the clock on the wall says of its polls, which is cheap to ask.
/// From here on the thread's own processor time counts, so that a call is not charged for others' use of the core.
const ROUGH: Duration = Duration::from_millis(20);

/// Why the host stopped a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It used up its processor time.
    Cpu(Duration),
    /// Its response's head did not come in time.
    FirstByte(Duration),
    /// Its response's head did not come within the time that an instance has for a request.
    Request(Duration),
    /// Its response's end did not come in time.
    Total(Duration),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(limit) => write!(f, "cpu_time limit of {limit:?} reached"),
            Self::FirstByte(limit) => write!(f, "first_byte_time limit of {limit:?} reached"),
            Self::Request(limit) => write!(f, "request timeout of {limit:?} reached"),
            Self::Total(limit) => write!(f, "total_time limit of {limit:?} reached"),
        }
    }
}

/// What the host refused a guest. A guest may live with that; most trap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    /// More memory than it may have, in bytes.
    Memory(u64),
    /// A larger table than it may have, in elements.
    Table(usize),
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(limit) if limit % (1 << 20) == 0 => {
                write!(f, "memory limit of {} MiB reached", limit >> 20)
            }
            Self::Memory(limit) => write!(f, "memory limit of {limit} bytes reached"),
            Self::Table(limit) => write!(f, "table limit of {limit} elements reached"),
        }
    }
}

/// What a guest answers: a response, or the name of the error code that it gave instead.
pub(crate) type Answer = Result<Response<WasiBody>, String>;

/// Shared by the future that runs the guest and the state within its store. Both are on one thread at a time.
pub(crate) struct CallState {
    begin: Instant,
    /// Nanoseconds of processor time in polls that have ended.
    used: AtomicU64,
    /// When the poll under way began: by the clock that [`Self::counts_thread_time`] says.
    poll_began: AtomicU64,
    /// Requests besides the first that its processor time is for.
    others: AtomicU32,
    /// What there is for the response's head, beside the app's limits.
    request_time: OnceLock<Duration>,
    stopped: OnceLock<Stop>,
    denied: OnceLock<Denied>,
    answer: Mutex<Option<Answer>>,
    trace: TraceContext,
}

impl CallState {
    pub(crate) fn new() -> Self {
        Self::traced(TraceContext::default())
    }

    /// Of a call whose spans belong there.
    pub(crate) fn traced(trace: TraceContext) -> Self {
        Self {
            begin: Instant::now(),
            used: AtomicU64::new(0),
            poll_began: AtomicU64::new(0),
            others: AtomicU32::new(0),
            request_time: OnceLock::new(),
            stopped: OnceLock::new(),
            denied: OnceLock::new(),
            answer: Mutex::new(None),
            trace,
        }
    }

    /// Where its spans belong.
    pub(crate) fn trace(&self) -> &TraceContext {
        &self.trace
    }

    /// When the call began.
    pub(crate) fn begin(&self) -> Instant {
        self.begin
    }

    fn counts_thread_time(&self) -> bool {
        // Changes between polls only, since `used` does.
        self.used.load(Ordering::Relaxed) > ROUGH.as_nanos() as u64
    }

    fn now(&self) -> u64 {
        if self.counts_thread_time() {
            thread_time()
        } else {
            self.begin.elapsed().as_nanos() as u64
        }
    }

    /// Notes that the guest is about to be polled.
    pub(crate) fn poll_begins(&self) {
        self.poll_began.store(self.now(), Ordering::Relaxed);
    }

    /// Notes that the guest has been polled.
    pub(crate) fn poll_ends(&self) {
        let spent = self.now().saturating_sub(self.poll_began.load(Ordering::Relaxed));
        self.used.fetch_add(spent, Ordering::Relaxed);
    }

    /// Processor time so far, asked between polls.
    pub(crate) fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// Processor time so far, asked within a poll.
    pub(crate) fn cpu_time_within(&self) -> Duration {
        let since = self.now().saturating_sub(self.poll_began.load(Ordering::Relaxed));
        Duration::from_nanos(self.used.load(Ordering::Relaxed).saturating_add(since))
    }

    /// One more request is served for the same processor time.
    pub(crate) fn allow_one_more(&self) {
        self.others.fetch_add(1, Ordering::Relaxed);
    }

    /// What those that it is for may use up together, where one may use up `limit`.
    pub(crate) fn allowance(&self, limit: Duration) -> Duration {
        limit.saturating_mul(self.others.load(Ordering::Relaxed).saturating_add(1))
    }

    /// Limits the time until the response's head, once.
    pub(crate) fn set_request_time(&self, limit: Duration) {
        let _ = self.request_time.set(limit);
    }

    /// The limit of the time until the response's head, beside the app's.
    pub(crate) fn request_time(&self) -> Option<Duration> {
        self.request_time.get().copied()
    }

    /// Notes why the guest is stopped. The first reason counts.
    pub(crate) fn stop(&self, reason: Stop) {
        let _ = self.stopped.set(reason);
    }

    /// Why the guest was stopped, if it was.
    pub(crate) fn stopped(&self) -> Option<&Stop> {
        self.stopped.get()
    }

    /// Notes what the guest was refused. The first one counts.
    pub(crate) fn deny(&self, what: Denied) {
        let _ = self.denied.set(what);
    }

    /// What the guest was refused first, if anything.
    pub(crate) fn denied(&self) -> Option<&Denied> {
        self.denied.get()
    }

    /// Takes the guest's answer in.
    pub(crate) fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    /// The guest's answer, if there is one and it was not taken yet.
    pub(crate) fn take_answer(&self) -> Option<Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Nanoseconds of processor time of the current thread.
#[cfg(unix)]
#[allow(unsafe_code, reason = "the only way to ask for it")]
fn thread_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, which the call fills in.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

#[cfg(not(unix))]
fn thread_time() -> u64 {
    use std::sync::LazyLock;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spin(time: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn only_polls_are_charged_and_waiting_within_long_ones_is_not() {
        let call = CallState::new();
        call.poll_begins();
        spin(ROUGH * 2);
        assert!(call.cpu_time_within() >= ROUGH * 2);
        call.poll_ends();
        let first = call.cpu_time();
        assert!(first >= ROUGH * 2);
        // Between polls nothing is charged; and from now on the thread's time counts, not the wall's.
        spin(ROUGH);
        call.poll_begins();
        std::thread::sleep(ROUGH * 4);
        call.poll_ends();
        let second = call.cpu_time().saturating_sub(first);
        assert!(second < ROUGH, "{second:?}");
    }

    #[test]
    fn the_first_reason_to_stop_counts() {
        let call = CallState::new();
        call.stop(Stop::Cpu(Duration::from_secs(5)));
        call.stop(Stop::Total(Duration::from_secs(9)));
        assert_eq!(call.stopped().unwrap().to_string(), "cpu_time limit of 5s reached");
    }
}
