//! How long to wait before the next attempt at what failed.

use std::time::Duration;

use rand::Rng as _;

/// Before the second attempt.
const FIRST: Duration = Duration::from_millis(250);

/// Before any later one, at most.
const LONGEST: Duration = Duration::from_secs(30);

/// Counts attempts.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Until the next attempt: twice as long each time, and between half of that and all of it, so that those who lost
    /// the same server do not all come back at once.
    pub(super) fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.attempts.min(16)).min(LONGEST);
        self.attempts += 1;
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// It went well.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_up_to_a_limit_and_begins_anew() {
        let mut backoff = Backoff::default();
        let mut full = FIRST;
        for _ in 0..40 {
            let next = backoff.next();
            assert!(next >= full / 2 && next <= full, "{next:?} of {full:?}");
            full = (full * 2).min(LONGEST);
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
