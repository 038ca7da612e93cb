//! What an edge is to whoever runs it: its threads, its counts, and how it ends.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use gyre_model::Upstream;
use tokio::sync::{oneshot, watch};

use crate::{
    Bound,
    admission::Admission,
    bind::Hold,
    request::Service,
    worker::{self, Phase, Worker},
};

/// A running edge. Dropping it ends it at once.
#[derive(Debug)]
pub struct EdgeHandle {
    addresses: Vec<SocketAddr>,
    phase: watch::Sender<Phase>,
    drained: Vec<oneshot::Receiver<Drained>>,
    ended: Vec<oneshot::Receiver<()>>,
    threads: Vec<JoinHandle<()>>,
    admission: Arc<Admission>,
    _holds: Vec<Hold>,
}

/// How a drain went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were open, and ended by themselves.
    pub finished: usize,
    /// Connections that had to be cut when the grace was over.
    pub aborted: usize,
}

/// What has happened at an edge since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EdgeStats {
    /// Connections that are open now.
    pub open: u32,
    /// Connections that were taken.
    pub accepted: u64,
    /// Connections that were closed as they came, since there were too many.
    pub shed: u64,
    /// Connections that were ended since their client was too slow.
    pub timed_out: u64,
    /// Requests that the edge answered itself: malformed, too large, or for a host that leads nowhere.
    pub refused_requests: u64,
    /// Requests that were answered 503, since there were too many.
    pub overloaded_requests: u64,
}

impl EdgeHandle {
    /// The addresses it listens on.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What has happened so far.
    pub fn stats(&self) -> EdgeStats {
        self.admission.stats()
    }

    /// Stops accepting, asks clients to leave, and waits until they have or `grace` is over. No request that has
    /// reached us is dropped before that. The workers' executors go on running, so that what guests do after their
    /// answers can end; [`EdgeHandle::stop`] ends them.
    pub async fn drain(&mut self, grace: Duration) -> Drained {
        let deadline = Instant::now() + grace;
        self.phase.send_if_modified(|phase| {
            let is_serving = *phase == Phase::Serving;
            if is_serving {
                *phase = Phase::Draining { deadline };
            }
            is_serving
        });
        let mut sum = Drained::default();
        for drained in self.drained.drain(..) {
            // A worker that is gone has nothing left to drain.
            let drained = drained.await.unwrap_or_default();
            sum.finished += drained.finished;
            sum.aborted += drained.aborted;
        }
        sum
    }

    /// Ends the workers, whatever they are doing.
    pub async fn stop(mut self) {
        self.phase.send_replace(Phase::Stopped);
        for ended in self.ended.drain(..) {
            let _ = ended.await;
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }

    /// Drains, then stops.
    pub async fn shutdown(mut self, grace: Duration) -> Drained {
        let drained = self.drain(grace).await;
        self.stop().await;
        drained
    }
}

impl Drop for EdgeHandle {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Stopped);
    }
}

pub(crate) fn start<U: Upstream>(
    bound: Bound,
    service: impl Fn(usize) -> Service<U> + Send + Sync + 'static,
) -> EdgeHandle {
    let Bound { config, tls, addresses, listeners, holds } = bound;
    let (phase, receiver) = watch::channel(Phase::Serving);
    let admission = Arc::new(Admission::default());
    let service = Arc::new(service);
    let (mut drained, mut ended, mut threads) = (Vec::new(), Vec::new(), Vec::new());
    for (number, listeners) in listeners.into_iter().enumerate() {
        let (on_drained, drained_receiver) = oneshot::channel();
        let (on_ended, ended_receiver) = oneshot::channel();
        let worker = Worker {
            listeners,
            tls: tls.clone(),
            limits: config.limits.clone(),
            phase: receiver.clone(),
            admission: admission.clone(),
            drained: on_drained,
        };
        let service = service.clone();
        let body = move || {
            worker::run(worker, || service(number));
            drop(service);
            let _ = on_ended.send(());
        };
        let thread = std::thread::Builder::new().name(format!("edge-{number}")).spawn(body);
        threads.push(thread.expect("a process that has just started can have a thread per core"));
        drained.push(drained_receiver);
        ended.push(ended_receiver);
    }
    EdgeHandle { addresses, phase, drained, ended, threads, admission, _holds: holds }
}
