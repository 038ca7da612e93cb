//! Instances between requests, and those that wait with one.

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::Request;
use wasmtime_wasi_http::WasiBody;

use super::instance::{Instance, Slot};
use crate::reuse::ReuseConfig;

/// How often is looked for instances that were idle for too long.
pub(crate) const SWEEP: Duration = Duration::from_millis(100);

/// What all reusable instances of a process share.
pub(crate) struct Budget {
    /// Instances that there are.
    live: AtomicU32,
    /// With more than this none is kept idle: the places are for those that work.
    most: u32,
    /// The components that have such instances.
    pools: Mutex<Vec<Weak<Instances>>>,
}

impl Budget {
    /// For a process of `instances`.
    pub(crate) fn new(instances: u32) -> Arc<Self> {
        Arc::new(Self { live: AtomicU32::new(0), most: instances / 2, pools: Mutex::default() })
    }

    /// Ends what was idle for too long.
    pub(crate) fn sweep(&self) {
        let mut pools = lock(&self.pools);
        pools.retain(|pool| pool.strong_count() > 0);
        let pools: Vec<_> = pools.iter().filter_map(Weak::upgrade).collect();
        for pool in pools {
            pool.sweep();
        }
    }
}

/// One of the instances of a [`Budget`].
pub(super) struct Counted(Arc<Budget>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The instances of one component. Dropped with the component when its app is unloaded, and the idle ones with it.
///
/// Each thread has a shard of its own, so an instance stays on the core that made it and no lock is contended; that
/// threads beyond the processor's number share one costs time only.
pub(crate) struct Instances {
    reuse: ReuseConfig,
    budget: Arc<Budget>,
    shards: Box<[Shard]>,
    /// Whether there may be idle ones: spares the sweep from looking into every shard.
    has_idle: AtomicBool,
}

/// Aligned so that threads do not share a cache line.
#[derive(Default)]
#[repr(align(64))]
struct Shard(Mutex<Held>);

#[derive(Default)]
struct Held {
    /// Used by nobody; the latest last, so that it is used first and the others may go.
    idle: Vec<(Arc<Instance>, Instant)>,
    /// Used, and waiting, so that others may join.
    waiting: Vec<Arc<Instance>>,
}

impl Instances {
    pub(super) fn new(reuse: ReuseConfig, budget: &Arc<Budget>) -> Arc<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = Arc::new(Self {
            reuse,
            budget: budget.clone(),
            shards: (0..threads).map(|_| Shard::default()).collect(),
            has_idle: AtomicBool::new(false),
        });
        lock(&budget.pools).push(Arc::downgrade(&pool));
        pool
    }

    pub(super) fn reuse(&self) -> &ReuseConfig {
        &self.reuse
    }

    /// Counts an instance that is made.
    pub(super) fn count(&self) -> Counted {
        self.budget.live.fetch_add(1, Ordering::Relaxed);
        Counted(self.budget.clone())
    }

    fn shard(&self) -> MutexGuard<'_, Held> {
        lock(&self.shards[thread_index() % self.shards.len()].0)
    }

    /// Gives the request to an instance that there is, if one takes it.
    pub(super) fn take(
        &self,
        request: &mut Option<Request<WasiBody>>,
        slot: &Arc<Slot>,
    ) -> Option<Arc<Instance>> {
        let mut held = self.shard();
        if let Some((instance, _)) = held.idle.pop() {
            instance.resume(request.take()?, slot);
            return Some(instance);
        }
        held.waiting.iter().find(|instance| instance.join(request, slot)).cloned()
    }

    /// Lets others join an instance.
    pub(super) fn waits(&self, instance: &Arc<Instance>) {
        self.shard().waiting.push(instance.clone());
    }

    /// Lets nobody join it any more.
    pub(super) fn waits_no_more(&self, instance: &Arc<Instance>) {
        let is_other = |other: &Arc<Instance>| !Arc::ptr_eq(other, instance);
        // It may have moved with its request to another thread, where threads share tasks.
        let here = thread_index();
        for shard in 0..self.shards.len() {
            let mut held = lock(&self.shards[(here + shard) % self.shards.len()].0);
            let before = held.waiting.len();
            held.waiting.retain(is_other);
            if held.waiting.len() < before {
                return;
            }
        }
    }

    /// Keeps an instance that nobody uses for the next request, if there is room. Otherwise it ends.
    pub(super) fn park(&self, instance: Arc<Instance>) {
        if self.budget.live.load(Ordering::Relaxed) > self.budget.most {
            return;
        }
        self.shard().idle.push((instance, Instant::now()));
        // Seldom written: cores would pass the cache line to and fro.
        if !self.has_idle.load(Ordering::Relaxed) {
            self.has_idle.store(true, Ordering::Relaxed);
        }
    }

    fn sweep(&self) {
        if !self.has_idle.swap(false, Ordering::Relaxed) {
            return;
        }
        for shard in &self.shards {
            let mut held = lock(&shard.0);
            let is_late = |(instance, since): &mut (Arc<Instance>, Instant)| {
                since.elapsed() >= instance.idle_time()
            };
            let late: Vec<_> = held.idle.extract_if(.., is_late).collect();
            if !held.idle.is_empty() {
                self.has_idle.store(true, Ordering::Relaxed);
            }
            drop(held);
            // Outside of the lock: it takes a while.
            drop(late);
        }
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        for shard in &mut self.shards {
            let held = shard.0.get_mut().unwrap_or_else(PoisonError::into_inner);
            for instance in held.waiting.drain(..) {
                instance.retire();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of the current thread among those that ask.
fn thread_index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static INDEX: Cell<Option<usize>> = const { Cell::new(None) };
    }
    INDEX.with(|index| {
        index.get().unwrap_or_else(|| {
            let new = NEXT.fetch_add(1, Ordering::Relaxed);
            index.set(Some(new));
            new
        })
    })
}
