//! A guest that runs: polled in the task of whoever asked, charged for its processor time, held to its deadlines.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use gyre_telemetry::{Blame, metrics};
use http::{Request, StatusCode};
use tokio::{
    sync::oneshot,
    task::AbortHandle,
    time::{Sleep, sleep_until},
};
use wasmtime::{Engine, Store, UpdateDeadline, component::InstancePre};
use wasmtime_wasi_http::{WasiBody, p2::bindings::http::types::Scheme};

use crate::{
    app::App,
    call::{Answer, CallState, Stop},
    context::ComponentContext,
    event::{Event, Reply},
    failure::Failure,
    gate::Pass,
    host::{CallContext, HostState},
    loaded::{EventComponent, LoadedComponent},
    spans::CallSpans,
};

/// How the guest's own future ended.
pub(crate) struct Ended {
    pub(crate) result: wasmtime::Result<()>,
    /// Whether the body of its response, if it gave one, has been finished.
    pub(crate) is_answer_whole: bool,
}

/// What a guest does, with its store and instance inside.
pub(crate) type Guest = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// How a guest ended.
pub(crate) enum Outcome {
    /// As it should.
    Done,
    /// Otherwise; not in the app's log yet.
    Failed {
        failure: Failure,
        /// Whether it had finished the body of its response before.
        is_answer_whole: bool,
    },
}

/// Which deadline holds.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// The response's head is to come.
    Head,
    /// The response's end is to come, and what the guest does after it.
    Body,
    /// The same, with a [`Watched`] that looks at the clock.
    Watched,
}

/// A guest that runs. Dropping it ends the guest wherever it is.
pub(crate) struct Run {
    app: Arc<App>,
    component: Arc<str>,
    call: CallContext,
    state: Arc<CallState>,
    guest: Option<Guest>,
    /// The deadline of the phase. Made when the guest first waits, which most never do.
    deadline: Option<Pin<Box<Sleep>>>,
    phase: Phase,
    spans: CallSpans,
    /// Whether it is a call, and not only to see whether there could be one.
    is_call: bool,
    _pass: Option<Pass>,
}

impl Run {
    /// A guest that is to answer a request. Nothing happens before it is polled.
    pub(crate) fn answering(
        app: &Arc<App>,
        component: &LoadedComponent,
        call: CallContext,
        pass: Option<Pass>,
        request: Request<WasiBody>,
        scheme: Scheme,
        spans: CallSpans,
    ) -> Self {
        let state = Arc::new(CallState::traced(spans.context()));
        let guest = component.handler.answer(app, component, call, request, scheme, &state);
        Self::new(app, &component.context, call, pass, state, guest, spans)
    }

    /// A guest that is to deal with an event. What it says goes into `reply`.
    pub(crate) fn handling(
        app: &Arc<App>,
        component: &EventComponent,
        call: CallContext,
        pass: Pass,
        event: Event,
        reply: oneshot::Sender<Reply>,
        spans: CallSpans,
    ) -> Self {
        let state = Arc::new(CallState::traced(spans.context()));
        let engine = component.handler.instance_pre().engine();
        let store = store_for(app, &component.context, engine, call, &state);
        let guest = component.handler.handle(store, event, reply);
        let mut run = Self::new(app, &component.context, call, Some(pass), state, guest, spans);
        // There is no response: only the end has a deadline.
        run.phase = Phase::Body;
        run
    }

    /// A guest that is instantiated and then let go.
    pub(crate) fn instantiating(
        app: &Arc<App>,
        context: &Arc<ComponentContext>,
        pre: &InstancePre<HostState>,
    ) -> Self {
        let (state, call) = (Arc::new(CallState::new()), CallContext::default());
        let mut store = store_for(app, context, pre.engine(), call, &state);
        let pre = pre.clone();
        let guest: Guest = Box::pin(async move {
            let result = pre.instantiate_async(&mut store).await.map(drop);
            Ended { result, is_answer_whole: false }
        });
        let mut run = Self::new(app, context, call, None, state, guest, CallSpans::default());
        run.is_call = false;
        run
    }

    fn new(
        app: &Arc<App>,
        context: &ComponentContext,
        call: CallContext,
        pass: Option<Pass>,
        state: Arc<CallState>,
        guest: Guest,
        spans: CallSpans,
    ) -> Self {
        Self {
            app: app.clone(),
            component: context.id.clone(),
            call,
            state,
            guest: Some(guest),
            deadline: None,
            phase: Phase::Head,
            spans,
            is_call: true,
            _pass: pass,
        }
    }

    /// Its spans.
    pub(crate) fn spans(&self) -> &CallSpans {
        &self.spans
    }

    /// Takes what the guest answered so far, once.
    pub(crate) fn take_answer(&self) -> Option<Answer> {
        self.state.take_answer()
    }

    /// The response's head is there: from now on the deadline is that of its end.
    pub(crate) fn head_is_there(&mut self) {
        self.phase = Phase::Body;
        self.deadline = None;
    }

    /// Goes on with the guest until it waits, yields or ends. Not to be called after its end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Some(guest) = &mut self.guest else { return Poll::Ready(Outcome::Done) };
        self.state.poll_begins();
        // A panic of a host call is the host's fault, and the guest's to provoke: it ends this request only.
        let polled = catch_unwind(AssertUnwindSafe(|| guest.as_mut().poll(cx)));
        self.state.poll_ends();
        let (failure, is_answer_whole) = match polled {
            Ok(Poll::Pending) => match self.poll_deadline(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(failure) => (failure, false),
            },
            Ok(Poll::Ready(Ended { result: Ok(()), .. })) => {
                self.end();
                return Poll::Ready(Outcome::Done);
            }
            Ok(Poll::Ready(Ended { result: Err(error), is_answer_whole })) => {
                (Failure::of(&error, &self.state), is_answer_whole)
            }
            Err(_) => {
                self.app.count_panic(&self.component);
                (Failure::of_guest("the host failed while it served the guest"), false)
            }
        };
        self.end();
        Poll::Ready(Outcome::Failed { failure, is_answer_whole })
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let limits = &self.app.context().limits;
        let (limit, stop) = match self.phase {
            Phase::Head => match (limits.first_byte_time, self.state.request_time()) {
                (limit, Some(time)) if limit.is_none_or(|limit| time < limit) => {
                    (Some(time), Stop::Request as fn(Duration) -> Stop)
                }
                (limit, _) => (limit, Stop::FirstByte as fn(Duration) -> Stop),
            },
            Phase::Body => (limits.total_time, Stop::Total as fn(Duration) -> Stop),
            Phase::Watched => return Poll::Pending,
        };
        let Some(limit) = limit else { return Poll::Pending };
        let end = self.state.begin() + limit;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(end.into())));
        if deadline.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.state.stop(stop(limit));
        Poll::Ready(Failure::late(&self.state))
    }

    /// Drops the guest: its store with everything in it.
    fn end(&mut self) {
        if let Some(guest) = self.guest.take()
            && catch_unwind(AssertUnwindSafe(|| drop(guest))).is_err()
        {
            self.app.count_panic(&self.component);
        }
    }

    /// Writes into the app's log why the guest failed, and counts it.
    pub(crate) fn report(&self, failure: &Failure) {
        self.app.failures.fetch_add(1, Ordering::Relaxed);
        self.app.says(&self.component, self.call.request, &failure.reason);
        let is_ours = failure.status == StatusCode::SERVICE_UNAVAILABLE;
        self.spans.failed(failure, if is_ours { Blame::Host } else { Blame::Guest });
    }

    /// Runs the guest to its end when its response is over, throwing away what it may still write to `rest`.
    pub(crate) async fn finish(mut self, mut rest: Option<WasiBody>) {
        use http_body::Body as _;
        self.phase = Phase::Body;
        let outcome = std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(outcome) = self.poll(cx) {
                    return Poll::Ready(outcome);
                }
                match rest.as_mut().map(|body| Pin::new(body).poll_frame(cx)) {
                    Some(Poll::Ready(Some(Ok(_)))) => {}
                    Some(Poll::Ready(_)) => rest = None,
                    Some(Poll::Pending) | None => return Poll::Pending,
                }
            }
        });
        if let Outcome::Failed { failure, .. } = outcome.await {
            self.report(&failure);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.end();
        let spent = self.state.cpu_time().as_nanos() as u64;
        self.app.cpu_nanoseconds.fetch_add(spent, Ordering::Relaxed);
        if self.is_call {
            metrics::cpu_time(&self.component, self.state.cpu_time());
        }
    }
}

/// A guest whose response is being sent, ended at its deadline even if the client has stopped reading, so that
/// nobody polls the response any more.
pub(crate) struct Watched {
    run: Arc<Mutex<Option<Run>>>,
    watch: AbortHandle,
}

impl Watched {
    /// Begins to watch `run`. Gives it back where it has no deadline.
    pub(crate) fn begin(mut run: Run) -> Result<Self, Run> {
        let Some(limit) = run.app.context().limits.total_time else { return Err(run) };
        let end = run.state.begin() + limit;
        run.phase = Phase::Watched;
        let run = Arc::new(Mutex::new(Some(run)));
        let watched = run.clone();
        let watch = tokio::spawn(async move {
            sleep_until(end.into()).await;
            let late = watched.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(run) = late {
                run.state.stop(Stop::Total(limit));
                run.report(&Failure::late(&run.state));
            }
        });
        Ok(Self { run, watch: watch.abort_handle() })
    }

    /// Goes on with the guest; nothing where its time was up.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Option<Poll<Outcome>> {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        run.as_mut().map(|run| run.poll(cx))
    }

    /// Whether the guest's time was up.
    pub(crate) fn is_late(&self) -> bool {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    pub(crate) fn report(&self, failure: &Failure) {
        if let Some(run) = &*self.run.lock().unwrap_or_else(PoisonError::into_inner) {
            run.report(failure);
        }
    }

    /// Ends the watch. Nothing is left where the guest's time was up.
    pub(crate) fn into_run(self) -> Option<Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// The store of a new instance: its state, and its limits in time and space.
pub(crate) fn store(
    app: &Arc<App>,
    component: &LoadedComponent,
    call: CallContext,
    state: &Arc<CallState>,
) -> Store<HostState> {
    store_for(app, &component.context, component.handler.instance_pre().engine(), call, state)
}

fn store_for(
    app: &Arc<App>,
    component: &Arc<ComponentContext>,
    engine: &Engine,
    call: CallContext,
    state: &Arc<CallState>,
) -> Store<HostState> {
    let context = app.context();
    let host = HostState::new(context.clone(), component.clone(), call, state.clone());
    let mut store = Store::new(engine, host);
    store.limiter(|host| &mut host.limiter);
    store.set_hostcall_fuel(context.limits.hostcall_bytes);
    store.set_epoch_deadline(1);
    let limit = context.limits.cpu_time;
    // At each tick the guest yields, so that others on this core have their turn: those that wait for a turn and,
    // since it is woken only after the executor has looked at its sockets, those whose requests have come meanwhile.
    store.epoch_deadline_callback(move |store| {
        let state = &store.data().state;
        if let Some(limit) = limit
            && state.cpu_time_within() > state.allowance(limit)
        {
            state.stop(Stop::Cpu(limit));
            return Ok(UpdateDeadline::Interrupt);
        }
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    store
}
