//! One connection from its first byte to its last: which protocol, serving it, and ending it in time.
//!
//! Nothing is timed with a timer of its own. What happens is noted with the worker's coarse clock, and one sweep
//! per worker and interval looks at all connections and gives orders to those whose time has come.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use gyre_model::{Connection, Upstream};
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{
    EdgeLimits,
    body::ResponseBody,
    framing::Framing,
    request::{Service, answer},
    socket::Socket,
    wire::{Transport, Wire},
    worker::WorkerState,
};

/// How an HTTP/2 connection begins when it was not agreed upon before.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a refused client may take to read why.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// How long an HTTP/2 client may take to leave once it was asked to and nothing is being answered.
const LEAVE_TIME: Duration = Duration::from_secs(5);

/// What a connection is told by its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    GoOn,
    /// Take no further request, finish those in hand.
    Finish,
    /// End now.
    Abort,
}

/// What is known of a connection while it is open, shared by its parts on one thread.
#[derive(Debug)]
pub(crate) struct Watch {
    worker: Rc<WorkerState>,
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
    /// Until it is known which protocol is spoken.
    is_opening: Cell<bool>,
    is_http2: Cell<bool>,
    /// Requests whose answers have not ended.
    answering: Cell<u32>,
    /// Bodies of which the client has not taken what it was given last.
    unread: Cell<u32>,
    taken_at: Cell<Instant>,
    idle_since: Cell<Instant>,
    head_since: Cell<Option<Instant>>,
    blocked_since: Cell<Option<Instant>>,
    leaving_since: Cell<Option<Instant>>,
    lingering_since: Cell<Option<Instant>>,
}

impl Watch {
    pub(crate) fn new(worker: Rc<WorkerState>) -> Self {
        let now = worker.now();
        Self {
            worker,
            order: Cell::new(Order::GoOn),
            waker: RefCell::default(),
            is_opening: Cell::new(true),
            is_http2: Cell::new(false),
            answering: Cell::new(0),
            unread: Cell::new(0),
            taken_at: Cell::new(now),
            idle_since: Cell::new(now),
            head_since: Cell::new(None),
            blocked_since: Cell::new(None),
            leaving_since: Cell::new(None),
            lingering_since: Cell::new(None),
        }
    }

    pub(crate) fn worker(&self) -> &WorkerState {
        &self.worker
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.is_http2.get()
    }

    /// Notes whether a part of a head has come.
    pub(crate) fn is_in_head(&self, is_in_head: bool) {
        if !is_in_head {
            self.head_since.set(None);
        } else if self.head_since.get().is_none() {
            self.head_since.set(Some(self.worker.now()));
        }
    }

    /// Notes whether the client takes what is written.
    pub(crate) fn writes<T>(&self, polled: Poll<T>) -> Poll<T> {
        match (polled.is_pending(), self.blocked_since.get()) {
            (true, None) => self.blocked_since.set(Some(self.worker.now())),
            (false, Some(_)) => self.blocked_since.set(None),
            _ => {}
        }
        polled
    }

    /// Notes that only the client's end of the connection is waited for.
    pub(crate) fn lingers(&self) {
        self.lingering_since.set(Some(self.worker.now()));
    }

    pub(crate) fn refused_request(&self) {
        self.worker.admission.refused_requests.fetch_add(1, Relaxed);
    }

    /// Gives an order, unless a stronger one was given, and wakes the connection to follow it.
    pub(crate) fn give(&self, order: Order) {
        if order > self.order.get() {
            self.order.set(order);
            if let Some(waker) = self.waker.borrow().as_ref() {
                waker.wake_by_ref();
            }
        }
    }

    /// The order to follow once the worker drains. HTTP/1 connections are left open a while: a request may be on
    /// its way, and its answer will say that it is the last.
    pub(crate) fn drain(&self) {
        if self.is_http2.get() {
            self.give(Order::Finish);
        }
    }

    /// Looks at what is overdue and orders accordingly.
    pub(crate) fn sweep(&self, limits: &EdgeLimits, draining_since: Option<Instant>) {
        let now = self.worker.now();
        let over = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        let overdue = |since: Option<Instant>, limit: Option<Duration>| match (since, limit) {
            (Some(since), Some(limit)) => over(since, limit),
            _ => false,
        };
        let is_idle = self.answering.get() == 0;
        let opening_since = self.is_opening.get().then(|| self.idle_since.get());
        let unread_since = (self.unread.get() > 0).then(|| self.taken_at.get());
        let is_late = overdue(opening_since, limits.head_time)
            || overdue(self.blocked_since.get(), limits.unread_time)
            || overdue(unread_since, limits.unread_time)
            || (is_idle && overdue(self.head_since.get(), limits.head_time));
        if is_late {
            self.worker.admission.timed_out.fetch_add(1, Relaxed);
            return self.give(Order::Abort);
        }
        let linger_time = if draining_since.is_some() { LINGER_TIME / 4 } else { LINGER_TIME };
        if overdue(self.lingering_since.get(), Some(linger_time))
            || (is_idle && overdue(self.leaving_since.get(), Some(LEAVE_TIME)))
        {
            return self.give(Order::Abort);
        }
        if !is_idle || self.head_since.get().is_some() {
            return;
        }
        let idle_since = self.idle_since.get();
        let drained = draining_since
            .is_some_and(|draining| over(draining.max(idle_since), limits.drain_idle_time));
        if drained && self.is_opening.get() {
            self.give(Order::Abort);
        } else if drained || overdue(Some(idle_since), limits.idle_time) {
            self.give(Order::Finish);
        }
    }

    /// The order in force; the task that asks is woken by the next.
    fn poll_order(&self, cx: &Context<'_>) -> Order {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        self.order.get()
    }
}

/// A request that is being answered; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Answering {
    watch: Rc<Watch>,
    is_unread: bool,
}

impl Answering {
    pub(crate) fn new(watch: Rc<Watch>) -> Self {
        watch.answering.set(watch.answering.get() + 1);
        watch.worker.requests.set(watch.worker.requests.get() + 1);
        Self { watch, is_unread: false }
    }

    /// Notes that the client's side asked for the next piece, and whether it was given one.
    pub(crate) fn handed(&mut self, is_unread: bool) {
        let watch = &self.watch;
        watch.taken_at.set(watch.worker.now());
        if is_unread != self.is_unread {
            let unread = watch.unread.get();
            watch.unread.set(if is_unread { unread + 1 } else { unread - 1 });
            self.is_unread = is_unread;
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let watch = &self.watch;
        if self.is_unread {
            watch.unread.set(watch.unread.get() - 1);
        }
        watch.worker.requests.set(watch.worker.requests.get() - 1);
        watch.answering.set(watch.answering.get() - 1);
        watch.idle_since.set(watch.worker.now());
    }
}

/// Runs a connection to its end.
pub(crate) async fn run<U: Upstream>(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
    watch: Rc<Watch>,
    service: Service<U>,
) {
    let mut serving = pin!(serve(stream, peer, tls, watch.clone(), service));
    let outcome = poll_fn(|cx| match watch.poll_order(cx) {
        Order::Abort => Poll::Ready(Ok(())),
        Order::GoOn | Order::Finish => serving.as_mut().poll(cx),
    });
    if let Err(error) = outcome.await {
        tracing::debug!(%peer, error = gyre_telemetry::chain(&*error), "connection ended early");
    }
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn serve<U: Upstream>(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
    watch: Rc<Watch>,
    service: Service<U>,
) -> Outcome {
    stream.set_nodelay(true)?;
    // Asked of the socket, since the listener's own address may stand for many.
    let local = stream.local_addr()?;
    let is_tls = tls.is_some();
    let stream = Socket::new(stream, watch.worker.rounds.clone());
    let (mut transport, mut is_http2) = match tls {
        None => (Transport::Plain(stream), false),
        Some(config) => {
            let stream = TlsAcceptor::from(config).accept(stream).await?;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            (Transport::Tls(Box::new(stream)), is_http2)
        }
    };
    let mut ahead = Bytes::new();
    if !is_http2 {
        match begins_with_preface(&mut transport).await? {
            Some((preface, read)) => (is_http2, ahead) = (preface, read),
            None => return Ok(()),
        }
    }
    watch.is_opening.set(false);
    watch.idle_since.set(watch.worker.now());
    watch.is_http2.set(is_http2);
    if watch.worker.is_draining() {
        watch.drain();
    }
    let connection = Connection { peer, local, is_tls };
    let service = Rc::new(service.on(watch.clone(), connection));
    let call = move |request: Request<Incoming>| answer(&service, request);
    let framing = (!is_http2).then(Framing::default);
    let io = TokioIo::new(Wire::new(transport, watch.clone(), ahead, framing));
    if is_http2 { serve_http2(io, &watch, call).await } else { serve_http1(io, &watch, call).await }
}

async fn serve_http1<C, F, B>(io: TokioIo<Wire>, watch: &Rc<Watch>, call: C) -> Outcome
where
    C: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<ResponseBody<B>>, Infallible>> + 'static,
    ResponseBody<B>: http_body::Body<Data = Bytes, Error = gyre_model::BoxError> + 'static,
{
    let limits = &watch.worker.limits;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new());
    // Heads are timed by the sweep, which tells an idle connection from a slow one.
    http.header_read_timeout(None);
    if let Some(bytes) = limits.head_bytes {
        http.max_header_size(bytes);
    }
    if limits.headers != 100 {
        http.max_headers(limits.headers);
    }
    if let Some(bytes) = limits.http1_max_buf_size {
        http.max_buf_size(bytes.max(8192));
    }
    let mut connection = pin!(http.serve_connection(io, service_fn(call)));
    let mut is_finishing = false;
    poll_fn(|cx| {
        if watch.poll_order(cx) == Order::Finish && !std::mem::replace(&mut is_finishing, true) {
            // A request that has come by now is served first.
            if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await
    .map_err(Into::into)
}

async fn serve_http2<C, F, B>(io: TokioIo<Wire>, watch: &Rc<Watch>, call: C) -> Outcome
where
    C: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<ResponseBody<B>>, Infallible>> + 'static,
    ResponseBody<B>: http_body::Body<Data = Bytes, Error = gyre_model::BoxError> + 'static,
{
    let limits = &watch.worker.limits.http2;
    let mut http = http2::Builder::new(Here);
    http.timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_send_buf_size(limits.send_buffer)
        .max_header_list_size(limits.header_list_bytes)
        .max_pending_accept_reset_streams(limits.pending_resets)
        .max_local_error_reset_streams(limits.local_error_resets)
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_time);
    let mut connection = pin!(http.serve_connection(io, service_fn(call)));
    poll_fn(|cx| {
        if watch.poll_order(cx) == Order::Finish && watch.leaving_since.get().is_none() {
            watch.leaving_since.set(Some(watch.worker.now()));
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await
    .map_err(Into::into)
}

/// Whether a connection begins as HTTP/2 does, and what was read to find out. `None`: it ended before that.
async fn begins_with_preface(transport: &mut Transport) -> io::Result<Option<(bool, Bytes)>> {
    let mut read = BytesMut::with_capacity(2048);
    loop {
        if transport.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
        let compared = read.len().min(PREFACE.len());
        let is_same = read[..compared] == PREFACE[..compared];
        if !is_same || compared == PREFACE.len() {
            return Ok(Some((is_same, read.freeze())));
        }
    }
}

/// Spawns on this thread.
#[derive(Debug, Clone, Copy)]
struct Here;

impl<F: Future + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async {
            future.await;
        });
    }
}
