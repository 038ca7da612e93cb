//! One instance: who uses it, who polls it, and when it ends.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use gyre_telemetry::TraceContext;
use http::{Request, Response};
use tokio::time::{Sleep, sleep};
use wasmtime::Store;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::WasiBody;

use super::{
    Reusable,
    body::{Watched, settle},
    live,
    pool::{Counted, Instances},
};
use crate::{
    app::App,
    call::CallState,
    context::{AppContext, ComponentContext},
    failure::Failure,
    host::{CallContext, HostState},
    loaded::LoadedComponent,
    run::Ended,
};

/// An instance's event loop.
type Life = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send>>;

/// An instance with its event loop, from its first request to its end.
pub(crate) struct Instance {
    /// The event loop, with the store inside. `None` when it has ended. Locked by who polls it: the one request that
    /// uses it, or its driver.
    life: Mutex<Option<Life>>,
    /// Who uses it. Never locked while `life` is waited for.
    users: Mutex<Users>,
    /// Whether no task of the guest was left at the last turn of its event loop.
    is_quiet: AtomicBool,
    /// Whether the guest took calls then: it may say that it does not, and cannot while a call waits that is made
    /// synchronously.
    is_open: AtomicBool,
    /// Whether it holds what ends only with it, and would be missing in the end.
    is_spent: AtomicBool,
    app: Arc<AppContext>,
    component: Arc<ComponentContext>,
    pool: Weak<Instances>,
    /// Requests that it answers.
    max_served: u32,
    /// Requests that it answers at once.
    max_users: u32,
    idle_time: Duration,
    request_time: Option<Duration>,
    _counted: Counted,
}

struct Users {
    /// Requests that it has not begun with.
    inbox: Vec<(Arc<Slot>, Request<WasiBody>)>,
    /// Requests that use it.
    slots: Vec<Arc<Slot>>,
    /// Requests so far.
    served: u32,
    /// Whether a task of its own polls it.
    is_driven: bool,
    driver: Option<Waker>,
    /// What several requests together use up.
    together: Option<Arc<CallState>>,
    /// Where its processor time is noted now.
    meter: Arc<CallState>,
    /// Whether it takes no more requests.
    is_retired: bool,
    /// Whether others find it among those that wait.
    is_listed: bool,
}

/// A request at an instance.
pub(crate) struct Slot {
    call: CallContext,
    state: Arc<CallState>,
    is_body_over: AtomicBool,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// What the guest answered, until it is handed out.
    answer: Option<Result<Response<WasiBody>, String>>,
    is_answered: bool,
    /// Whether the answer needs the guest no more.
    is_whole: bool,
    /// How the instance ended, if it did.
    over: Option<Over>,
    /// Whether nobody waits for the answer any more.
    is_gone: bool,
    waker: Option<Waker>,
}

/// How an instance ended that did not just come of age.
#[derive(Clone)]
enum Over {
    /// The guest said that it is done.
    Exit,
    Failed(Failure),
}

impl Slot {
    pub(super) fn new(call: CallContext, state: &Arc<CallState>) -> Arc<Self> {
        Arc::new(Self {
            call,
            state: state.clone(),
            is_body_over: AtomicBool::new(false),
            progress: Mutex::default(),
        })
    }

    /// Takes in what the guest answered.
    pub(super) fn answer(&self, answer: Result<Response<WasiBody>, String>) {
        let mut progress = lock(&self.progress);
        if progress.is_gone {
            return;
        }
        progress.answer = Some(answer);
        wake(&mut progress.waker);
    }

    /// The answer's body was read to its end, or nobody wants it.
    pub(super) fn body_ended(&self) {
        self.is_body_over.store(true, Ordering::Release);
    }

    /// Whether its instance ended before it should.
    pub(super) fn has_failed(&self) -> bool {
        let progress = lock(&self.progress);
        progress.over.is_some() && !progress.is_whole
    }

    fn ended(&self, over: Over) {
        let mut progress = lock(&self.progress);
        progress.over.get_or_insert(over);
        wake(&mut progress.waker);
    }

    /// Reads the answer's body as far as it is there.
    fn settle(progress: &mut Progress) {
        let answer = progress.answer.take().map(|answer| {
            answer.map(|response| {
                let (head, body) = response.into_parts();
                let body = settle(body).map_or_else(|body| (body, false), |body| (body, true));
                progress.is_whole = body.1;
                Response::from_parts(head, body.0)
            })
        });
        progress.answer = answer;
    }

    /// Hands out the answer, if there is one.
    fn hand_out(self: &Arc<Self>, progress: &mut Progress) {
        let Some(answer) = progress.answer.take() else { return };
        progress.is_answered = true;
        progress.is_whole |= answer.is_err();
        let is_whole = progress.is_whole;
        self.state.answer(answer.map(|response| {
            response.map(|body| if is_whole { body } else { Watched::watch(body, self) })
        }));
    }
}

impl Instance {
    /// A fresh instance with its first request. Nothing happens before it is polled.
    pub(super) fn start(
        of: &Reusable,
        app: &Arc<App>,
        component: &LoadedComponent,
        store: Store<HostState>,
        request: Request<WasiBody>,
        slot: &Arc<Slot>,
    ) -> Arc<Self> {
        let reuse = of.instances.reuse();
        Arc::new_cyclic(|instance| Self {
            life: Mutex::new(Some(Box::pin(live(of.pre.clone(), store, instance.clone())))),
            users: Mutex::new(Users {
                inbox: vec![(slot.clone(), request)],
                slots: vec![slot.clone()],
                served: 1,
                is_driven: false,
                driver: None,
                together: None,
                meter: slot.state.clone(),
                is_retired: false,
                is_listed: false,
            }),
            is_quiet: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
            is_spent: AtomicBool::new(false),
            app: app.context().clone(),
            component: component.context.clone(),
            pool: Arc::downgrade(&of.instances),
            max_served: reuse.requests.sample().max(1),
            max_users: reuse.concurrent.sample().max(1),
            idle_time: reuse.idle_time.sample(),
            request_time: reuse.request_time.map(|range| range.sample()),
            _counted: of.instances.count(),
        })
    }

    pub(super) fn idle_time(&self) -> Duration {
        self.idle_time
    }

    pub(super) fn request_time(&self) -> Option<Duration> {
        self.request_time
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        lock(&self.users)
    }

    /// Gives a request to it that nobody uses.
    pub(super) fn resume(&self, request: Request<WasiBody>, slot: &Arc<Slot>) {
        self.is_quiet.store(false, Ordering::Relaxed);
        let mut users = self.users();
        users.served += 1;
        users.slots.push(slot.clone());
        users.inbox.push((slot.clone(), request));
    }

    /// Gives a request to it that others use. Whether it takes one more.
    pub(super) fn join(
        self: &Arc<Self>,
        request: &mut Option<Request<WasiBody>>,
        slot: &Arc<Slot>,
    ) -> bool {
        let mut users = self.users();
        let is_full =
            users.slots.len() >= self.max_users as usize || users.served >= self.max_served;
        let is_open = self.is_open.load(Ordering::Relaxed);
        // A driver that has not yet ended takes more; an instance that is being put back does not.
        let is_used = users.is_driven || !users.slots.is_empty();
        if !is_used || users.is_retired || is_full || !is_open {
            return false;
        }
        let Some(request) = request.take() else { return false };
        users.served += 1;
        users.slots.push(slot.clone());
        users.inbox.push((slot.clone(), request));
        // Whose call it is that asks the host for something is not known from now on.
        let together = || Arc::new(CallState::traced(TraceContext::unknown()));
        users.together.get_or_insert_with(together).allow_one_more();
        if users.is_driven {
            wake(&mut users.driver);
        } else {
            users.is_driven = true;
            tokio::spawn(drive(self.clone()));
        }
        true
    }

    /// The next request, for its event loop.
    pub(super) fn next_request(&self) -> Option<(Arc<Slot>, Request<WasiBody>)> {
        let mut users = self.users();
        let next = (!users.inbox.is_empty()).then(|| users.inbox.remove(0));
        next.filter(|(slot, _)| !lock(&slot.progress).is_gone)
    }

    /// Makes the store that of a request, or of all that use it.
    pub(super) fn adopt(&self, host: &mut HostState, slot: &Arc<Slot>) {
        let mut users = self.users();
        match users.together.clone() {
            None => {
                users.meter = slot.state.clone();
                host.serve(slot.call, slot.state.clone());
            }
            Some(together) => {
                if !Arc::ptr_eq(&users.meter, &together) {
                    users.meter.poll_ends();
                    together.poll_begins();
                    users.meter = together.clone();
                }
                let depth =
                    users.slots.iter().map(|slot| slot.call.depth).max().unwrap_or_default();
                host.serve(CallContext { request: None, depth }, together);
            }
        }
    }

    /// Notes how things stand at the end of a turn of its event loop.
    pub(super) fn set_turn(&self, is_quiet: bool, is_open: bool, is_spent: bool) {
        self.is_quiet.store(is_quiet, Ordering::Relaxed);
        self.is_open.store(is_open, Ordering::Relaxed);
        self.is_spent.store(is_spent, Ordering::Relaxed);
    }

    /// Reads what is there of the answers that were not handed out.
    pub(super) fn settle_all(&self) {
        for slot in &self.users().slots {
            Slot::settle(&mut lock(&slot.progress));
        }
    }

    /// Lets it take no more requests, and end with those that it has.
    pub(super) fn retire(&self) {
        let mut users = self.users();
        users.is_retired = true;
        wake(&mut users.driver);
    }

    /// Goes on with its event loop. If that ends, all who use it learn why.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut life = lock(&self.life);
        let polled = life.as_mut().map(|life| life.as_mut().poll(cx));
        let over = match polled {
            None => return Poll::Ready(()),
            Some(Poll::Pending) => return Poll::Pending,
            // Without an error it does not end.
            Some(Poll::Ready(Ok(()))) => Over::Exit,
            Some(Poll::Ready(Err(error))) => {
                if error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0) {
                    Over::Exit
                } else {
                    Over::Failed(Failure::of(&error, &self.users().meter))
                }
            }
        };
        *life = None;
        drop(life);
        self.ended(&over);
        Poll::Ready(())
    }

    /// Tells all who use it that it has ended.
    fn ended(&self, over: &Over) {
        let mut users = self.users();
        users.is_retired = true;
        users.inbox.clear();
        for slot in &users.slots {
            slot.ended(over.clone());
        }
    }

    /// Ends it: drops its store with everything in it.
    fn end(&self) {
        let life = lock(&self.life).take();
        drop(life);
    }

    /// After its last user: keeps it for the next one, or ends it.
    fn rest(self: Arc<Self>, is_listed: bool, is_over: bool) {
        let pool = self.pool.upgrade();
        if is_listed && let Some(pool) = &pool {
            pool.waits_no_more(&self);
        }
        match pool {
            Some(pool) if !is_over && !self.is_spent.load(Ordering::Relaxed) => pool.park(self),
            _ => self.end(),
        }
    }
}

impl Users {
    fn leave(&mut self, slot: &Arc<Slot>) {
        self.slots.retain(|other| !Arc::ptr_eq(other, slot));
        self.inbox.retain(|(other, _)| !Arc::ptr_eq(other, slot));
    }
}

/// The guest's future of one request: polls the instance while the request is alone in it, and waits for its driver
/// otherwise.
pub(super) struct Participant {
    /// `None` once the request is done with it.
    instance: Option<Arc<Instance>>,
    slot: Arc<Slot>,
    pool: Weak<Instances>,
}

impl Participant {
    pub(super) fn new(instance: Arc<Instance>, slot: Arc<Slot>, pool: &Arc<Instances>) -> Self {
        Self { instance: Some(instance), slot, pool: Arc::downgrade(pool) }
    }

    /// Lets go of the instance, which is well.
    fn leave(&mut self) {
        let Some(instance) = self.instance.take() else { return };
        let mut users = instance.users();
        users.leave(&self.slot);
        if users.is_driven {
            wake(&mut users.driver);
            return;
        }
        let is_over = users.is_retired || users.served >= instance.max_served;
        let is_listed = std::mem::take(&mut users.is_listed);
        drop(users);
        instance.rest(is_listed, is_over);
    }
}

impl Future for Participant {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let well = Ended { result: Ok(()), is_answer_whole: true };
        let Some(instance) = self.instance.clone() else { return Poll::Ready(well) };
        let is_alone = !instance.users().is_driven;
        let is_body_over = || self.slot.is_body_over.load(Ordering::Acquire);
        let is_quiet = || instance.is_quiet.load(Ordering::Relaxed);
        // A guest that is at rest has nothing to do for a body that was read.
        if is_alone && !(is_quiet() && is_body_over()) {
            let _ = instance.poll(cx);
        }

        let mut progress = lock(&self.slot.progress);
        if is_quiet() && progress.over.is_none() {
            Slot::settle(&mut progress);
        }
        self.slot.hand_out(&mut progress);
        if let Some(over) = progress.over.take() {
            let is_answer_whole = progress.is_whole || is_body_over();
            let result = match over {
                Over::Exit => Ok(()),
                Over::Failed(failure) => Err(wasmtime::Error::new(failure)),
            };
            progress.over = Some(Over::Exit);
            drop(progress);
            self.leave();
            return Poll::Ready(Ended { result, is_answer_whole });
        }
        let needs_guest = !(progress.is_whole || is_body_over());
        let is_done = progress.is_answered
            && !needs_guest
            // After its response a guest may have more to do: in the time of this request, if it is alone.
            && (is_quiet() || instance.users().is_driven);
        if is_done {
            drop(progress);
            self.leave();
            return Poll::Ready(well);
        }
        let waker = &mut progress.waker;
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(progress);

        let mut users = instance.users();
        let may_be_joined = instance.max_users > 1 && users.served < instance.max_served;
        if may_be_joined && !users.is_listed && !users.is_driven {
            users.is_listed = true;
            drop(users);
            if let Some(pool) = self.pool.upgrade() {
                pool.waits(&instance);
            }
        }
        Poll::Pending
    }
}

impl Drop for Participant {
    /// The request is given up: its client has gone, or it was too late.
    fn drop(&mut self) {
        let Some(instance) = self.instance.take() else { return };
        {
            let mut progress = lock(&self.slot.progress);
            progress.is_gone = true;
            progress.answer = None;
        }
        let mut users = instance.users();
        users.leave(&self.slot);
        // What the guest does for it cannot be stopped, but need not be waited for.
        users.is_retired = true;
        if users.is_driven {
            wake(&mut users.driver);
            return;
        }
        let is_listed = std::mem::take(&mut users.is_listed);
        drop(users);
        instance.rest(is_listed, true);
    }
}

/// Polls an instance that several requests use, until the last of them has left it and nothing remains to be done.
async fn drive(instance: Arc<Instance>) {
    let limit = instance.app.limits.total_time;
    let mut patience: Option<Pin<Box<Sleep>>> = None;
    let (is_over, is_listed, together) = std::future::poll_fn(|cx| {
        let meter = {
            let mut users = instance.users();
            users.driver = Some(cx.waker().clone());
            users.meter.clone()
        };
        meter.poll_begins();
        let polled = catch_unwind(AssertUnwindSafe(|| instance.poll(cx)));
        let meter = instance.users().meter.clone();
        meter.poll_ends();
        let is_over = match polled {
            Ok(Poll::Pending) => false,
            Ok(Poll::Ready(())) => true,
            // A panic of a host call ends what the instance was doing, and nothing else.
            Err(_) => {
                if let Some(app) = instance.app.app.upgrade() {
                    app.count_panic(&instance.component.id);
                }
                let reason = "the host failed while it served the guest";
                instance.ended(&Over::Failed(Failure::of_guest(reason)));
                true
            }
        };
        let mut users = instance.users();
        if !is_over && !users.slots.is_empty() {
            patience = None;
            return Poll::Pending;
        }
        let is_quiet = instance.is_quiet.load(Ordering::Relaxed);
        let is_over = if is_over || users.is_retired || instance.pool.strong_count() == 0 {
            true
        } else if is_quiet {
            users.served >= instance.max_served
        } else if let Some(limit) = limit {
            // What it does after its responses is held to the time of a request.
            let patience = patience.get_or_insert_with(|| Box::pin(sleep(limit)));
            ready!(patience.as_mut().poll(cx));
            true
        } else {
            return Poll::Pending;
        };
        users.is_driven = false;
        users.driver = None;
        let is_listed = std::mem::take(&mut users.is_listed);
        Poll::Ready((is_over, is_listed, users.together.take()))
    })
    .await;

    if let (Some(together), Some(app)) = (together, instance.app.app.upgrade()) {
        let spent = together.cpu_time().as_nanos() as u64;
        app.cpu_nanoseconds.fetch_add(spent, Ordering::Relaxed);
    }
    let component = instance.component.clone();
    let app = instance.app.clone();
    let rest = AssertUnwindSafe(move || instance.rest(is_listed, is_over));
    if catch_unwind(rest).is_err()
        && let Some(app) = app.app.upgrade()
    {
        app.count_panic(&component.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
