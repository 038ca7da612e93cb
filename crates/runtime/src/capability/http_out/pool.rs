//! The connections of one app that can be used again.
//!
//! A connection stays on the thread that opened it, since its bytes are moved by a task there. A connection that
//! is not used for a while, or whose place another one needs, is closed.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread::{self, ThreadId},
    time::Duration,
};

use tokio::time::Instant;
use url::Host;

use super::connection::Connection;

/// How long a connection is kept without being used.
const IDLE: Duration = Duration::from_secs(30);

/// How many idle connections are kept for one origin on one thread, and for all.
const IDLE_PER_ORIGIN: usize = 16;
const IDLE_IN_ALL: usize = 128;

/// Where a connection leads: only requests for the very same may share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    pub(super) is_tls: bool,
    /// Our own listener, whose certificate is not asked for.
    pub(super) is_own: bool,
    pub(super) host: Host<String>,
    pub(super) port: u16,
    /// Which of the app's settings of TLS is for it: who shows a certificate shares a connection with nobody who does
    /// not.
    pub(super) client_tls: Option<usize>,
    /// Whether HTTP/2 is spoken without TLS.
    pub(super) is_h2c: bool,
}

type Key = (ThreadId, Destination);

/// The idle connections of one app.
pub(crate) struct Pool {
    is_enabled: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Oldest first.
    idle: HashMap<Key, VecDeque<Idle>>,
    count: usize,
    has_reaper: bool,
}

struct Idle {
    since: Instant,
    connection: Connection,
}

impl Pool {
    /// One that keeps connections, or one that never does.
    pub(crate) fn new(is_enabled: bool) -> Self {
        Self { is_enabled, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to that destination that is not known to be closed. One of HTTP/2 can be had many times.
    pub(super) fn take(&self, to: &Destination) -> Option<Connection> {
        let key = (thread::current().id(), to.clone());
        let mut inner = self.lock();
        let inner = &mut *inner;
        let idle = inner.idle.get_mut(&key)?;
        let mut found = None;
        // The one used last is the likeliest to be open.
        while let Some(mut last) = idle.pop_back() {
            inner.count -= 1;
            if last.connection.is_closed() {
                continue;
            }
            if let Connection::Http2(sender) = &last.connection {
                found = Some(Connection::Http2(sender.clone()));
                last.since = Instant::now();
                inner.count += 1;
                idle.push_back(last);
            } else {
                found = Some(last.connection);
            }
            break;
        }
        if idle.is_empty() {
            inner.idle.remove(&key);
        }
        found
    }

    /// Keeps a connection for later.
    pub(super) fn put(self: &Arc<Self>, to: Destination, connection: Connection) {
        if !self.is_enabled || connection.is_closed() {
            return;
        }
        let mut inner = self.lock();
        if inner.count >= IDLE_IN_ALL {
            inner.close_oldest();
        }
        let idle = inner.idle.entry((thread::current().id(), to)).or_default();
        idle.push_back(Idle { since: Instant::now(), connection });
        if idle.len() > IDLE_PER_ORIGIN {
            idle.pop_front();
        } else {
            inner.count += 1;
        }
        if !inner.has_reaper {
            inner.has_reaper = true;
            tokio::spawn(reap(Arc::downgrade(self)));
        }
    }

    /// Closes the connection that has been idle for the longest, so that another can be opened in its place.
    pub(super) fn close_oldest(&self) {
        self.lock().close_oldest();
    }
}

impl Inner {
    fn close_oldest(&mut self) {
        let ages = self.idle.iter().filter_map(|(key, idle)| Some((idle.front()?.since, key)));
        let Some(key) = ages.min_by_key(|(since, _)| *since).map(|(_, key)| key.clone()) else {
            return;
        };
        if let Some(idle) = self.idle.get_mut(&key) {
            if idle.pop_front().is_some() {
                self.count -= 1;
            }
            if idle.is_empty() {
                self.idle.remove(&key);
            }
        }
    }

    fn close_stale(&mut self) {
        self.idle.retain(|_, idle| {
            idle.retain(|it| it.since.elapsed() < IDLE && !it.connection.is_closed());
            !idle.is_empty()
        });
        self.count = self.idle.values().map(VecDeque::len).sum();
    }
}

/// Closes what has been idle for too long, until nothing is idle or the app is gone.
async fn reap(pool: Weak<Pool>) {
    // When the thread ends before its time, the next connection that is put down starts another reaper.
    struct Ends(Weak<Pool>);
    impl Drop for Ends {
        fn drop(&mut self) {
            if let Some(pool) = self.0.upgrade() {
                pool.lock().has_reaper = false;
            }
        }
    }
    let ends = Ends(pool);
    loop {
        tokio::time::sleep(IDLE / 2).await;
        let Some(pool) = ends.0.upgrade() else { return };
        let mut inner = pool.lock();
        inner.close_stale();
        if inner.count == 0 {
            // Under the lock: what is put down from here on starts another one.
            inner.has_reaper = false;
            return;
        }
    }
}
