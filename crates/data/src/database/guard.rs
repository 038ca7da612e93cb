//! Ends statements that take too long, too much memory, or that nobody waits for.
//!
//! SQLite calls the guard every so many steps of its virtual machine; the guard's word is final. The memory of all
//! databases of the process is bounded by SQLite's own hard limit, and long statements are ended before it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Steps of the virtual machine between two looks.
pub(super) const STEPS: i32 = 100;
/// What a statement may take where it was called: looks, and time.
const INLINE_LOOKS: u32 = 200;
const INLINE_TIME: Duration = Duration::from_millis(1);
/// Statements on the pool are ended when all databases together take more than this. What the caches of all open
/// connections may take is well below it.
const MEMORY: i64 = 768 << 20;
/// SQLite refuses to take more than this, whoever asks.
pub(super) const HARD_MEMORY: i64 = 1 << 30;

/// Why a statement was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Ended {
    Not,
    /// It is too long for where it runs: run it elsewhere.
    OverBudget,
    /// It ran into its time limit.
    TooSlow,
    OutOfMemory,
    /// Nobody waits for it.
    Cancelled,
}

impl Ended {
    fn from_u8(n: u8) -> Self {
        [Self::OverBudget, Self::TooSlow, Self::OutOfMemory, Self::Cancelled]
            .into_iter()
            .find(|ended| *ended as u8 == n)
            .unwrap_or(Self::Not)
    }
}

/// What the guard of one connection knows. SQLite calls it on the thread that runs the statement.
#[derive(Debug, Default)]
pub(super) struct Guard {
    looks: AtomicU32,
    ended: AtomicU8,
    /// Set by the policy: the connection is no longer as it was opened.
    pub(super) is_dirty: AtomicBool,
}

/// For how long a statement may run.
#[derive(Debug, Clone)]
pub(super) enum Watch {
    /// Not at all: no statement runs.
    Off,
    /// Where it was called.
    Inline { until: Instant },
    /// On the pool.
    Pool { until: Option<Instant>, cancelled: Arc<AtomicBool> },
}

impl Watch {
    pub(super) fn inline() -> Self {
        Self::Inline { until: Instant::now() + INLINE_TIME }
    }
}

impl Guard {
    pub(super) fn start(&self) {
        self.looks.store(0, Ordering::Relaxed);
        self.ended.store(Ended::Not as u8, Ordering::Relaxed);
    }

    /// Why the statement was ended, if the guard did that.
    pub(super) fn ended(&self) -> Ended {
        Ended::from_u8(self.ended.load(Ordering::Relaxed))
    }

    /// Called every [`STEPS`] steps; whether the statement is to end.
    pub(super) fn look(&self, watch: &Watch) -> bool {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        let ended = match watch {
            Watch::Off => Ended::Not,
            Watch::Inline { until } => {
                if looks >= INLINE_LOOKS || Instant::now() >= *until {
                    Ended::OverBudget
                } else {
                    Ended::Not
                }
            }
            Watch::Pool { cancelled, .. } if cancelled.load(Ordering::Relaxed) => Ended::Cancelled,
            Watch::Pool { until, .. } => match until {
                Some(until) if Instant::now() >= *until => Ended::TooSlow,
                Some(_) if looks % 8 == 7 && memory_used() > MEMORY => Ended::OutOfMemory,
                _ => Ended::Not,
            },
        };
        if ended != Ended::Not {
            self.ended.store(ended as u8, Ordering::Relaxed);
        }
        ended != Ended::Not
    }
}

/// What all SQLite databases of the process take, in bytes.
#[allow(unsafe_code, reason = "rusqlite has no name for it")]
fn memory_used() -> i64 {
    // SAFETY: takes nothing, and may be called from any thread at any time.
    unsafe { rusqlite::ffi::sqlite3_memory_used() }
}

/// Tells a statement on the pool when the future that waits for it is dropped.
#[derive(Debug)]
pub(super) struct CancelOnDrop(Arc<AtomicBool>, bool);

impl CancelOnDrop {
    pub(super) fn new() -> Self {
        Self(Arc::default(), true)
    }

    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    pub(super) fn disarm(mut self) {
        self.1 = false;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if self.1 {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
