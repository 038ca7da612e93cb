//! One thread of the edge: its executor, its sockets, its connections, and the sweep that keeps them in time.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use gyre_model::Upstream;
use tokio::{
    net::TcpStream,
    sync::{Notify, oneshot, watch},
    task::{JoinHandle, spawn_local},
};

use crate::{
    Drained, EdgeLimits,
    admission::{Admission, Permit},
    connection::{self, Order, Watch},
    request::Service,
    socket::Rounds,
};

/// How often connections are looked at while draining.
const DRAIN_SWEEP: Duration = Duration::from_millis(20);
/// How long to wait after an accept failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the edge as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    Draining { deadline: Instant },
    Stopped,
}

/// What a worker is given.
pub(crate) struct Worker {
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) limits: EdgeLimits,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) drained: oneshot::Sender<Drained>,
}

/// What the connections of a worker share.
#[derive(Debug)]
pub(crate) struct WorkerState {
    pub(crate) limits: EdgeLimits,
    pub(crate) admission: Arc<Admission>,
    /// Requests whose answers have not ended.
    pub(crate) requests: Cell<u32>,
    pub(crate) rounds: Rc<Rounds>,
    now: Cell<Instant>,
    draining_since: Cell<Option<Instant>>,
    connections: RefCell<HashMap<u64, Rc<Watch>>>,
    opened: Cell<u64>,
    closed: Notify,
}

impl WorkerState {
    /// The time at the last sweep: good enough for deadlines, and it costs nothing.
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining_since.get().is_some()
    }

    fn sweep(&self) {
        self.now.set(Instant::now());
        let draining_since = self.draining_since.get();
        for watch in self.connections.borrow().values() {
            watch.sweep(&self.limits, draining_since);
        }
    }
}

/// A connection's entry in the worker's list.
struct Entry {
    state: Rc<WorkerState>,
    id: u64,
    _permit: Permit,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.state.connections.borrow_mut().remove(&self.id);
        self.state.closed.notify_one();
    }
}

/// Serves until the edge is stopped.
pub(crate) fn run<U: Upstream>(worker: Worker, service: impl FnOnce() -> Service<U>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    match runtime {
        Ok(runtime) => runtime.block_on(serve(worker, service)),
        Err(error) => tracing::error!(%error, "an edge thread cannot start its executor"),
    }
}

async fn serve<U: Upstream>(worker: Worker, service: impl FnOnce() -> Service<U>) {
    let Worker { listeners, tls, limits, mut phase, admission, drained } = worker;
    let interval = limits.sweep_interval();
    let state = Rc::new(WorkerState {
        limits,
        admission,
        requests: Cell::new(0),
        rounds: Rc::default(),
        now: Cell::new(Instant::now()),
        draining_since: Cell::new(None),
        connections: RefCell::default(),
        opened: Cell::new(0),
        closed: Notify::new(),
    });
    let service = service();
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let (tls, state) = (tls.clone(), state.clone());
            spawn_local(accept(listener, tls, state, service.clone(), phase.clone()))
        })
        .collect();
    let sweeper = spawn_local({
        let state = state.clone();
        async move {
            loop {
                tokio::time::sleep(interval).await;
                state.sweep();
            }
        }
    });
    let mut once = Some((drained, accepting));
    loop {
        let current = *phase.borrow_and_update();
        match current {
            Phase::Serving => {}
            Phase::Draining { deadline } => {
                sweeper.abort();
                let Some((drained, accepting)) = once.take() else { continue };
                tokio::select! {
                    outcome = drain(&state, accepting, deadline) => {
                        let _ = drained.send(outcome);
                    }
                    _ = phase.wait_for(|phase| *phase == Phase::Stopped) => return,
                }
            }
            Phase::Stopped => return,
        }
        if phase.changed().await.is_err() {
            return;
        }
    }
}

async fn accept<U: Upstream>(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    state: Rc<WorkerState>,
    service: Service<U>,
    mut phase: watch::Receiver<Phase>,
) {
    let open = |stream: TcpStream, peer: SocketAddr| {
        let Some(permit) = state.admission.admit(peer.ip(), &state.limits) else {
            tracing::debug!(%peer, "connection shed");
            return;
        };
        let id = state.opened.get();
        state.opened.set(id + 1);
        let watch = Rc::new(Watch::new(state.clone()));
        state.connections.borrow_mut().insert(id, watch.clone());
        let entry = Entry { state: state.clone(), id, _permit: permit };
        let serving = connection::run(stream, peer, tls.clone(), watch, service.clone());
        spawn_local(async move {
            serving.await;
            drop(entry);
        });
    };
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listening socket cannot be used"),
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => break,
        };
        match accepted {
            Ok((stream, peer)) => open(stream, peer),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Whoever has connected by now is served: closing the socket would reset them.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            open(stream, peer);
        }
    }
}

/// Whether an accept failed for a reason that lies with the client.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Waits until all connections have ended, and ends them at `deadline`.
async fn drain(
    state: &Rc<WorkerState>,
    accepting: Vec<JoinHandle<()>>,
    deadline: Instant,
) -> Drained {
    // They have been told at the same time, and take in whoever has connected.
    for task in accepting {
        let _ = task.await;
    }
    state.now.set(Instant::now());
    state.draining_since.set(Some(state.now()));
    for watch in state.connections.borrow().values() {
        watch.drain();
    }
    let total = state.connections.borrow().len();
    let mut aborted = 0;
    loop {
        let open = state.connections.borrow().len();
        if open == 0 {
            return Drained { finished: total - aborted, aborted };
        }
        if aborted == 0 && Instant::now() >= deadline {
            aborted = open;
            for watch in state.connections.borrow().values() {
                watch.give(Order::Abort);
            }
        }
        let _ = tokio::time::timeout(DRAIN_SWEEP, state.closed.notified()).await;
        state.sweep();
    }
}
