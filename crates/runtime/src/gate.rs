//! Lets so many requests of an app run at once, keeps so many waiting in order, and refuses the rest.
//!
//! Each app has its own gate, so that one app's crowd is only its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use gyre_model::Limits;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The gate of one app.
pub(crate) struct Gate {
    permits: Option<Arc<Semaphore>>,
    /// For calls of the app's components among one another. Places of their own, and nobody waits for one: who
    /// held a place while waiting for another could wait for ever.
    chained: Option<Arc<Semaphore>>,
    waiting: AtomicU32,
    queue: u32,
    queue_time: Duration,
    presence: Arc<Presence>,
}

/// Who is here: waiting or running.
#[derive(Default)]
struct Presence {
    count: AtomicU32,
    empty: Notify,
}

/// A request that is here, and its right to run once it is admitted. Given back when dropped.
pub(crate) struct Pass {
    permit: Option<OwnedSemaphorePermit>,
    presence: Arc<Presence>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.permit = None;
        if self.presence.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.presence.empty.notify_waiters();
        }
    }
}

/// Why a request may not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue is full.
    Full,
    /// Its turn did not come in time.
    Late,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        let places = || limits.concurrency.map(|n| Arc::new(Semaphore::new(n.max(1) as usize)));
        Self {
            permits: places(),
            chained: places(),
            waiting: AtomicU32::new(0),
            queue: limits.queue.unwrap_or(u32::MAX),
            queue_time: limits.queue_time,
            presence: Arc::default(),
        }
    }

    /// Requests that are here, waiting or running.
    pub(crate) fn in_flight(&self) -> u32 {
        self.presence.count.load(Ordering::Acquire)
    }

    /// Waits until nobody is here, at most for `grace`. Whether nobody is.
    pub(crate) async fn empty(&self, grace: Duration) -> bool {
        let left = async {
            loop {
                let empty = self.presence.empty.notified();
                tokio::pin!(empty);
                // Before it looks, so that who leaves in between is noticed.
                empty.as_mut().enable();
                if self.in_flight() == 0 {
                    return;
                }
                empty.await;
            }
        };
        tokio::time::timeout(grace, left).await.is_ok()
    }

    /// A request comes.
    pub(crate) fn arrive(&self) -> Pass {
        self.presence.count.fetch_add(1, Ordering::AcqRel);
        Pass { permit: None, presence: self.presence.clone() }
    }

    /// Waits for the request's turn, first come first served. Once admitted it stays so.
    pub(crate) async fn admit(&self, pass: &mut Pass) -> Result<(), Refused> {
        /// Counts one out, also when the client goes away while it waits.
        struct Waiting<'a>(&'a AtomicU32);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
            }
        }

        let Some(permits) = self.permits.as_ref().filter(|_| pass.permit.is_none()) else {
            return Ok(());
        };
        if let Ok(permit) = permits.clone().try_acquire_owned() {
            pass.permit = Some(permit);
            return Ok(());
        }
        let ahead = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        if ahead >= self.queue {
            return Err(Refused::Full);
        }
        match tokio::time::timeout(self.queue_time, permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => {
                pass.permit = Some(permit);
                Ok(())
            }
            _ => Err(Refused::Late),
        }
    }

    /// A component of the app calls another.
    pub(crate) fn admit_chained(&self) -> Result<Pass, Refused> {
        let mut pass = self.arrive();
        if let Some(permits) = &self.chained {
            let permit = permits.clone().try_acquire_owned();
            pass.permit = Some(permit.map_err(|_| Refused::Full)?);
        }
        Ok(pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(concurrency: u32, queue: u32) -> Gate {
        let limits = Limits::unlimited();
        let queue_time = Duration::from_millis(20);
        let (concurrency, queue) = (Some(concurrency), Some(queue));
        Gate::new(&Limits { concurrency, queue, queue_time, ..limits })
    }

    async fn enter(gate: &Gate) -> Result<Pass, Refused> {
        let mut pass = gate.arrive();
        gate.admit(&mut pass).await?;
        Ok(pass)
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_and_who_finds_no_place_to_wait_is_refused() {
        let gate = gate(1, 1);
        let first = enter(&gate).await.ok().unwrap();
        assert_eq!(gate.in_flight(), 1);
        let (late, full) = tokio::join!(enter(&gate), enter(&gate));
        assert_eq!(late.err(), Some(Refused::Late));
        assert_eq!(full.err(), Some(Refused::Full));
        let (second, ()) = tokio::join!(enter(&gate), async { drop(first) });
        drop(second.ok().unwrap());
        assert_eq!(gate.in_flight(), 0);
    }

    #[tokio::test]
    async fn who_waits_gets_in_in_the_order_of_arrival() {
        let gate = gate(1, 10);
        let order = std::sync::Mutex::new(Vec::new());
        let first = enter(&gate).await.ok().unwrap();
        let visit = async |n: u32| {
            let _pass = enter(&gate).await.ok().unwrap();
            order.lock().unwrap().push(n);
        };
        tokio::join!(visit(1), visit(2), visit(3), async { drop(first) });
        assert_eq!(*order.lock().unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn calls_within_the_app_have_places_of_their_own_and_never_wait() {
        let gate = gate(1, 10);
        let _client = enter(&gate).await.ok().unwrap();
        let chained = gate.admit_chained().ok().unwrap();
        assert_eq!(gate.admit_chained().err(), Some(Refused::Full));
        drop(chained);
        assert!(gate.admit_chained().is_ok());
    }

    #[tokio::test]
    async fn it_is_empty_once_the_last_one_left() {
        let gate = gate(2, 2);
        let waiting = gate.arrive();
        assert!(!gate.empty(Duration::from_millis(5)).await);
        let (is_empty, ()) =
            tokio::join!(gate.empty(Duration::from_mins(1)), async { drop(waiting) });
        assert!(is_empty);
    }
}
