//! Bounds how many connections to files are open: descriptors are finite and apps are many.
//!
//! The least recently used file closes what it does not need at the moment. Nothing here is on the path of a
//! read or write of an open file, except for noting the time.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

/// Connections, each with two or three descriptors. Those in use may exceed it.
const LIMIT: usize = 512;

/// Something that holds connections open to be quick when asked again.
pub(crate) trait Holder: Send + Sync {
    /// When it was last used, in the time of [`now`].
    fn last_used(&self) -> u64;
    /// Closes what is not in use at this moment; must not wait.
    fn release(&self);
}

#[derive(Debug)]
pub(crate) struct OpenFiles {
    open: AtomicUsize,
    limit: usize,
    holders: Mutex<Vec<Weak<dyn Holder>>>,
}

/// Milliseconds of this process's life.
pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// Notes that something was used now.
pub(crate) fn touch(last_used: &AtomicU64) {
    last_used.store(now(), Ordering::Relaxed);
}

/// Counts one open connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenFile(Arc<OpenFiles>);

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl OpenFiles {
    /// The process's.
    pub(crate) fn shared() -> &'static Arc<Self> {
        static SHARED: OnceLock<Arc<OpenFiles>> = OnceLock::new();
        SHARED.get_or_init(|| Self::new(LIMIT))
    }

    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), limit, holders: Mutex::default() })
    }

    /// Makes a holder known. It is forgotten when it is gone.
    pub(crate) fn register(&self, holder: Weak<dyn Holder>) {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if holders.len() == holders.capacity() {
            holders.retain(|holder| holder.strong_count() > 0);
        }
        holders.push(holder);
    }

    /// Counts a connection that is about to be opened, making room for it first. Called without holding any lock
    /// that [`Holder::release`] would need to wait for.
    pub(crate) fn admit(self: &Arc<Self>) -> OpenFile {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.make_room();
        }
        OpenFile(self.clone())
    }

    fn make_room(&self) {
        let mut holders: Vec<_> = {
            let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
            holders.retain(|holder| holder.strong_count() > 0);
            holders.iter().filter_map(Weak::upgrade).collect()
        };
        holders.sort_by_cached_key(|holder| holder.last_used());
        // Some more than needed, so that the next ones do not sort again.
        let goal = self.limit - self.limit / 16;
        for holder in holders {
            if self.open.load(Ordering::Relaxed) <= goal {
                break;
            }
            holder.release();
        }
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}
