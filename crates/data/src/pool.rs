//! The threads on which blocking work is done: few, shared by all stores and databases of the process.
//!
//! Threads come when all others are busy, up to a limit, and go when there is nothing to do. A job may wait for
//! the disk or for SQLite, but only as long as its own time limit says. Key-value writes, which are short, do not stand
//! in line behind statements, which need not be.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Duration,
};

/// Each is waiting for a disk most of the time.
const KEY_VALUE_THREADS: usize = 8;
/// Slow statements of one database hold at most a few of these: see `database`.
const STATEMENT_THREADS: usize = 32;
/// Most of these wait for a guest that takes rows.
const STREAM_THREADS: usize = 256;
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Pool {
    state: Mutex<State>,
    wake: Condvar,
    limit: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

impl Pool {
    /// The process's threads for key-value stores.
    pub(crate) fn key_value() -> &'static Self {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| Self::new(KEY_VALUE_THREADS))
    }

    /// The process's threads for statements of databases.
    pub(crate) fn statements() -> &'static Self {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| Self::new(STATEMENT_THREADS))
    }

    /// The process's threads for queries whose rows guests take one by one.
    pub(crate) fn streams() -> &'static Self {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| Self::new(STREAM_THREADS))
    }

    fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `job` on some thread, soon.
    pub(crate) fn run(&'static self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        state.queue.push_back(Box::new(job));
        if state.queue.len() <= state.idle || state.threads >= self.limit {
            drop(state);
            self.wake.notify_one();
            return;
        }
        state.threads += 1;
        let name = format!("gyre-data-{}", state.threads);
        drop(state);
        if let Err(error) = thread::Builder::new().name(name).spawn(move || self.work()) {
            let mut state = self.lock();
            state.threads -= 1;
            if state.threads == 0 {
                // Nobody else will: better slow than never.
                let job = state.queue.pop_front();
                drop(state);
                tracing::warn!(%error, "no thread for guests' data");
                if let Some(job) = job {
                    job();
                }
            }
        }
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                // The job's caller notices by its answer never coming.
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a job on guests' data panicked");
                }
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (woken, timeout) =
                self.wake.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_that_wait_do_not_keep_others_from_running_until_the_limit() {
        let pool: &'static Pool = Box::leak(Box::new(Pool::new(3)));
        let (done, results) = mpsc::channel();
        let gates: Vec<_> = (0..2)
            .map(|n| {
                let (gate, wait) = mpsc::channel::<()>();
                let done = done.clone();
                pool.run(move || {
                    let _ = wait.recv();
                    done.send(n).unwrap();
                });
                gate
            })
            .collect();
        for n in 2..50 {
            let done = done.clone();
            pool.run(move || done.send(n).unwrap());
        }
        let quick: Vec<i32> = results.iter().take(48).collect();
        assert!(quick.iter().all(|&n| n >= 2));
        assert!(pool.lock().threads <= 3);
        drop(gates);
        assert_eq!(results.iter().take(2).count(), 2);
    }

    #[test]
    fn a_job_that_panics_takes_nobody_with_it() {
        let pool: &'static Pool = Box::leak(Box::new(Pool::new(1)));
        let (done, results) = mpsc::channel();
        pool.run(|| panic!("on purpose"));
        pool.run(move || done.send(()).unwrap());
        results.recv().unwrap();
    }
}
