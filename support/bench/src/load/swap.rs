//! What a deploy must never do: answer with a mixture, or go back to the old after the new.

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::Instant,
};

use super::Answer;

/// Watches the answers of a load while the old gives way to the new. Use one for each swap; [`Swap::check`] is the
/// check of the load.
#[derive(Debug)]
pub struct Swap {
    old: Vec<u8>,
    new: Vec<u8>,
    began: Instant,
    olds: AtomicU64,
    news: AtomicU64,
    others: AtomicU64,
    /// When the first new answer was complete, in nanoseconds.
    first_new_ended: AtomicU64,
    /// When the last request with an old answer was sent.
    last_old_started: AtomicU64,
}

/// What was seen during a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwapReport {
    /// Answers that were wholly old.
    pub old: u64,
    /// Answers that were wholly new.
    pub new: u64,
    /// Answers that were neither.
    pub other: u64,
    /// Whether a request that was sent after a new answer had come was given the old.
    pub went_back: bool,
}

impl SwapReport {
    /// Whether all was as it should be.
    pub fn is_clean(&self) -> bool {
        self.other == 0 && !self.went_back
    }
}

impl Swap {
    /// Watches bodies: `old` before, `new` after.
    pub fn new(old: impl Into<Vec<u8>>, new: impl Into<Vec<u8>>) -> Self {
        Self {
            old: old.into(),
            new: new.into(),
            began: Instant::now(),
            olds: AtomicU64::new(0),
            news: AtomicU64::new(0),
            others: AtomicU64::new(0),
            first_new_ended: AtomicU64::new(u64::MAX),
            last_old_started: AtomicU64::new(0),
        }
    }

    /// Looks at an answer. A mixture, or a status other than 200, is an error at once.
    pub fn check(&self, answer: &Answer<'_>) -> Result<(), String> {
        let at = |instant: Instant| {
            u64::try_from(instant.saturating_duration_since(self.began).as_nanos())
                .unwrap_or(u64::MAX)
        };
        if answer.status == 200 && answer.body == self.old {
            self.olds.fetch_add(1, SeqCst);
            self.last_old_started.fetch_max(at(answer.started), SeqCst);
            Ok(())
        } else if answer.status == 200 && answer.body == self.new {
            self.news.fetch_add(1, SeqCst);
            self.first_new_ended.fetch_min(at(answer.ended), SeqCst);
            Ok(())
        } else {
            self.others.fetch_add(1, SeqCst);
            let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]);
            Err(format!("neither old nor new: {} {body:?}", answer.status))
        }
    }

    /// Whether a new answer has come.
    pub fn has_begun(&self) -> bool {
        self.news.load(SeqCst) > 0
    }

    /// What was seen. Ask once the load is over.
    pub fn report(&self) -> SwapReport {
        SwapReport {
            old: self.olds.load(SeqCst),
            new: self.news.load(SeqCst),
            other: self.others.load(SeqCst),
            went_back: self.last_old_started.load(SeqCst) > self.first_new_ended.load(SeqCst),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn see(swap: &Swap, body: &str, started: u64, ended: u64) -> Result<(), String> {
        let at = |milliseconds| swap.began + Duration::from_millis(milliseconds);
        let body = body.as_bytes();
        let (started, ended) = (at(started), at(ended));
        swap.check(&Answer { status: 200, head: b"", body, started, ended })
    }

    #[test]
    fn old_and_new_may_overlap_but_not_go_back() {
        let swap = Swap::new("old", "new");
        see(&swap, "old", 1, 2).unwrap();
        see(&swap, "new", 3, 6).unwrap();
        // Sent before the first new answer had come, complete after it.
        see(&swap, "old", 5, 9).unwrap();
        let report = swap.report();
        assert_eq!((report.old, report.new, report.is_clean()), (2, 1, true));
        see(&swap, "old", 7, 8).unwrap();
        assert!(swap.report().went_back);
    }

    #[test]
    fn it_does_not_matter_in_which_order_answers_are_looked_at() {
        let swap = Swap::new("old", "new");
        see(&swap, "old", 7, 8).unwrap();
        assert!(!swap.has_begun() && swap.report().is_clean());
        see(&swap, "new", 3, 6).unwrap();
        assert!(swap.has_begun() && swap.report().went_back);
    }

    #[test]
    fn a_mixture_is_refused() {
        let swap = Swap::new("old", "new");
        let told = see(&swap, "oldnew", 1, 2).unwrap_err();
        assert_eq!(told, "neither old nor new: 200 \"oldnew\"");
        assert!(!swap.report().is_clean());
    }
}
