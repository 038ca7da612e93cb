//! Waiting for something to become true. Nothing here asserts a duration: `PATIENCE` only ends a test
//! whose condition never comes.

use std::thread;
use std::time::{Duration, Instant};

/// After this, what has not happened will not happen.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Calls `look` until it gives something; panics with `what` when patience ends.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "still not so after {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
