//! Connections that are kept and used again, by address and component.
//!
//! A connection stays on the thread that opened it, since its bytes are moved by a task there. Before it is used
//! again, what a guest set up in the session is taken back; one that is in a transaction or in the middle of an answer
//! is closed instead.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::connect::{Address, Link};
use crate::{
    capability::{Origin, egress, sql},
    context::AppContext,
};

/// Connections to one address that a component may have.
const CONNECTIONS: usize = 64;

/// Addresses for which connections are kept.
const ADDRESSES: usize = 16;

/// How long a connection is kept without being used.
const IDLE: Duration = Duration::from_secs(30);

/// How often it is looked whether an idle connection's place is wanted.
const LOOK: Duration = Duration::from_secs(1);

/// Takes back what a session may have set up, except prepared statements, which only our library has.
const RESET: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
    SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// Whose connections, to where, and trusting whom besides the machine's authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) component: Arc<str>,
    pub(super) address: String,
    pub(super) roots: Option<String>,
}

/// The connections of one app that are kept.
#[derive(Default)]
pub(crate) struct Pools {
    /// The one used last is the last.
    pools: Mutex<Vec<Arc<Pool>>>,
}

struct Pool {
    key: Key,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    since: Instant,
    thread: ThreadId,
    kept: Kept,
}

/// A connection and its places: in its pool, and among the app's connections.
struct Kept {
    link: Link,
    permit: egress::Permit,
    _place: OwnedSemaphorePermit,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pools {
    fn pool(&self, key: Key) -> Arc<Pool> {
        let mut pools = lock(&self.pools);
        let pool = match pools.iter().position(|pool| pool.key == key) {
            Some(index) => pools.remove(index),
            None => Arc::new(Pool {
                key,
                places: Arc::new(Semaphore::new(CONNECTIONS)),
                idle: Mutex::default(),
            }),
        };
        if pools.len() >= ADDRESSES {
            pools.remove(0);
        }
        pools.push(pool.clone());
        pool
    }

    /// A connection, an idle one or a new one.
    pub(super) async fn get(
        &self,
        origin: &Origin,
        key: Key,
        address: &Address,
    ) -> Result<Lease, String> {
        let pool = self.pool(key);
        while let Some(kept) = pool.take() {
            let reset = kept.link.client.batch_execute(RESET);
            if let Ok(Ok(())) = tokio::time::timeout(sql::CONNECT_TIMEOUT, reset).await {
                return Ok(Lease::new(kept, pool, &origin.app));
            }
        }
        let opened = tokio::time::timeout(sql::CONNECT_TIMEOUT, async {
            let place = pool.places.clone().acquire_owned().await;
            let place = place.expect("the semaphore is never closed");
            let door = origin.app.shared.door();
            let permit = door.permit(egress::Purpose::Postgres, || self.close_oldest()).await;
            let roots = match &pool.key.roots {
                Some(pem) => Some(egress::trusting(pem).await.map_err(|it| it.to_string())?),
                None => None,
            };
            let link = address.connect(door, roots).await?;
            Ok::<_, String>(Kept { link, permit, _place: place })
        });
        let kept = opened.await.map_err(|_| sql::no_answer(sql::CONNECT_TIMEOUT))??;
        Ok(Lease::new(kept, pool, &origin.app))
    }

    /// Closes the connection that has been idle for the longest.
    fn close_oldest(&self) {
        let pools = lock(&self.pools).clone();
        let oldest = pools.iter().filter_map(|pool| Some((lock(&pool.idle).first()?.since, pool)));
        if let Some((_, pool)) = oldest.min_by_key(|(since, _)| *since) {
            let mut idle = lock(&pool.idle);
            if !idle.is_empty() {
                idle.remove(0);
            }
        }
    }
}

impl Pool {
    /// The connection of this thread that was used last.
    fn take(&self) -> Option<Kept> {
        let here = thread::current().id();
        let mut idle = lock(&self.idle);
        loop {
            let index = idle.iter().rposition(|it| it.thread == here)?;
            let found = idle.remove(index).kept;
            if found.link.is_at_rest() {
                return Some(found);
            }
        }
    }

    fn put(self: &Arc<Self>, kept: Kept, app: &Arc<AppContext>) {
        let is_wanted = |app: &AppContext| app.shared.door().is_wanted();
        if kept.permit.is_counted() && is_wanted(app) {
            return;
        }
        // Outside of a runtime nothing would close it in time.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let since = Instant::now();
        let thread = thread::current().id();
        let is_counted = kept.permit.is_counted();
        lock(&self.idle).push(Idle { since, thread, kept });
        let (pool, app) = (Arc::downgrade(self), Arc::downgrade(app));
        runtime.spawn(async move {
            let is_it = |it: &Idle| it.since == since && it.thread == thread;
            loop {
                tokio::time::sleep(if is_counted { LOOK } else { IDLE }).await;
                let Some(pool) = Weak::upgrade(&pool) else { return };
                let is_over = since.elapsed() >= IDLE
                    || app.upgrade().is_none_or(|app| is_counted && is_wanted(&app));
                let mut idle = lock(&pool.idle);
                if is_over {
                    idle.retain(|it| !is_it(it));
                }
                if !idle.iter().any(is_it) {
                    return;
                }
            }
        });
    }
}

/// A connection while a guest has it.
pub(super) struct Lease {
    kept: Option<Kept>,
    pool: Arc<Pool>,
    app: Weak<AppContext>,
    /// Statements that are not over, or were given up.
    running: AtomicUsize,
}

impl Lease {
    fn new(kept: Kept, pool: Arc<Pool>, app: &Arc<AppContext>) -> Self {
        Self { kept: Some(kept), pool, app: Arc::downgrade(app), running: AtomicUsize::new(0) }
    }

    pub(super) fn client(&self) -> &tokio_postgres::Client {
        &self.kept.as_ref().expect("it is there until the end").link.client
    }

    /// A statement begins. If [`Self::ends`] is never called, the connection is not used again.
    pub(super) fn begins(&self) {
        self.running.fetch_add(1, Ordering::SeqCst);
    }

    /// A statement's answer has come to its end.
    pub(super) fn ends(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        if *self.running.get_mut() == 0
            && kept.link.is_at_rest()
            && let Some(app) = self.app.upgrade()
        {
            self.pool.put(kept, &app);
        }
    }
}
