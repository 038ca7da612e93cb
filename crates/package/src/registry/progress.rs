//! How far a push or a pull is, told to whoever wants to show it.

use std::sync::{Arc, Mutex, PoisonError};

/// Where a transfer stands. Each report is complete in itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// Bytes transferred, or found to be there already. Falls when a blob has to be begun again.
    pub bytes_done: u64,
    /// Bytes of all blobs.
    pub bytes_total: u64,
    /// Blobs transferred, or found to be there already.
    pub blobs_done: usize,
    /// Blobs that were there already.
    pub blobs_skipped: usize,
    /// All blobs.
    pub blobs_total: usize,
}

/// The parts of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Blobs are on their way.
    Blobs,
    /// The manifest is: the last thing of a push.
    Manifest,
    /// All is there.
    Done,
}

/// Counts, and reports each change. Clones count together.
#[derive(Clone)]
pub(super) struct Tracker(Arc<Inner>);

struct Inner {
    state: Mutex<Progress>,
    report: Box<dyn Fn(Progress) + Send + Sync>,
}

impl Tracker {
    pub(super) fn new(
        bytes_total: u64,
        blobs_total: usize,
        report: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Self {
        let state = Progress {
            step: Step::Blobs,
            bytes_done: 0,
            bytes_total,
            blobs_done: 0,
            blobs_skipped: 0,
            blobs_total,
        };
        report(state);
        Self(Arc::new(Inner { state: Mutex::new(state), report: Box::new(report) }))
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        // Reported under the lock, so that reports come in order.
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        (self.0.report)(*state);
    }

    pub(super) fn step(&self, step: Step) {
        self.change(|progress| progress.step = step);
    }

    pub(super) fn skip(&self, bytes: u64) {
        self.change(|progress| {
            progress.bytes_done += bytes;
            progress.blobs_done += 1;
            progress.blobs_skipped += 1;
        });
    }

    pub(super) fn advance(&self, bytes: u64) {
        self.change(|progress| progress.bytes_done += bytes);
    }

    pub(super) fn go_back(&self, bytes: u64) {
        self.change(|progress| progress.bytes_done -= bytes.min(progress.bytes_done));
    }

    pub(super) fn finish_blob(&self) {
        self.change(|progress| progress.blobs_done += 1);
    }
}

/// One blob's part of the count: taken back when it has to begin again.
#[derive(Clone)]
pub(super) struct BlobTracker {
    tracker: Tracker,
    counted: Arc<Mutex<u64>>,
}

impl BlobTracker {
    pub(super) fn new(tracker: &Tracker) -> Self {
        Self { tracker: tracker.clone(), counted: Arc::default() }
    }

    pub(super) fn advance(&self, bytes: u64) {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        self.tracker.advance(bytes);
    }

    /// Sets the count to `bytes`.
    pub(super) fn restart_at(&self, bytes: u64) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if *counted > bytes {
            self.tracker.go_back(*counted - bytes);
        } else if *counted < bytes {
            self.tracker.advance(bytes - *counted);
        }
        *counted = bytes;
    }

    pub(super) fn finish(&self, size: u64) {
        self.restart_at(size);
        self.tracker.finish_blob();
    }
}
