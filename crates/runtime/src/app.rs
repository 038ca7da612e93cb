//! An app: registered at no cost, loaded at its first request, called, drained, unloaded.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use gyre_manifest::http::HttpRoute;
use gyre_model::{BoxError, Connection, RequestId};
use gyre_telemetry::{Span, metrics};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::Full;
use rand::RngCore as _;
use tokio::sync::{Mutex, oneshot};
use wasmtime_wasi_http::{WasiBody, p2::bindings::http::types::Scheme};

use crate::{
    AppSpec, GuestBody, LoadError, ProbeError, Runtime,
    body::request_body,
    call::Answer,
    capability::AppShared,
    context::{AppContext, ChainError},
    detached::detached,
    event::{Event, Reply},
    failure::Failure,
    gate::{Gate, Pass, Refused},
    guest_log::host_says,
    host::CallContext,
    loaded::{Loaded, LoadedComponent, Target},
    run::{Outcome, Run},
    spans::{self, CallSpans, EventSpan},
    trigger::http::{self as trigger, Caller},
};

/// An app that is registered with a [`Runtime`].
pub struct App {
    runtime: Arc<Runtime>,
    spec: AppSpec,
    context: Arc<AppContext>,
    loaded: ArcSwapOption<Loaded>,
    /// Held while the app is loaded, so that it is loaded once.
    loading: Mutex<()>,
    gate: Gate,
    /// When it was last asked, in the runtime's ticks.
    used: AtomicU64,
    requests: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) cpu_nanoseconds: AtomicU64,
}

/// What an app did since it was registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Requests that were given to a guest.
    pub requests: u64,
    /// Those whose guest failed.
    pub failures: u64,
    /// Processor time of its guests.
    pub cpu_time: Duration,
}

impl App {
    pub(crate) fn new(runtime: Arc<Runtime>, spec: AppSpec) -> Arc<Self> {
        Arc::new_cyclic(|app| {
            let context = AppContext {
                name: spec.name.as_str().into(),
                limits: spec.limits.clone(),
                log: spec.log.clone(),
                variables: spec.variables.clone(),
                self_origin: spec.self_origin.clone(),
                shared: AppShared::new(&spec),
                app: app.clone(),
            };
            Self {
                gate: Gate::new(&spec.limits),
                context: Arc::new(context),
                runtime,
                spec,
                loaded: ArcSwapOption::empty(),
                loading: Mutex::new(()),
                used: AtomicU64::new(0),
                requests: AtomicU64::new(0),
                failures: AtomicU64::new(0),
                cpu_nanoseconds: AtomicU64::new(0),
            }
        })
    }

    /// What it was registered with.
    pub fn spec(&self) -> &AppSpec {
        &self.spec
    }

    pub(crate) fn context(&self) -> &Arc<AppContext> {
        &self.context
    }

    /// What it did so far.
    pub fn stats(&self) -> Stats {
        Stats {
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            cpu_time: Duration::from_nanos(self.cpu_nanoseconds.load(Ordering::Relaxed)),
        }
    }

    /// Requests that are here, waiting for their turn or running.
    pub fn in_flight(&self) -> u32 {
        self.gate.in_flight()
    }

    /// When it was last asked, in the runtime's ticks.
    pub(crate) fn last_used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn is_used(&self) {
        let now = self.runtime.ticks();
        // Written only when it changes: cores that serve the same app would pass the cache line to and fro.
        if self.last_used() != now {
            self.used.store(now, Ordering::Relaxed);
        }
    }

    /// Whether its code is mapped.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load().is_some()
    }

    /// Loads it, unless it is loaded.
    ///
    /// # Errors
    /// Why it cannot be loaded. The next call tries again.
    pub async fn load(self: &Arc<Self>) -> Result<(), Arc<LoadError>> {
        self.loaded().await.map(drop)
    }

    /// Lets go of its code. Requests that run keep what they need; the next request loads it again.
    pub fn unload(&self) {
        self.loaded.store(None);
    }

    /// Waits until no request is here, at most for `grace`. Whether none is. It does not keep new ones away: that is
    /// for whoever leads them here.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.gate.empty(grace).await
    }

    /// Loads it, and instantiates each of its components once. No request is made.
    ///
    /// # Errors
    /// Why it is not fit to serve.
    pub async fn probe(self: &Arc<Self>) -> Result<(), ProbeError> {
        let loaded = self.loaded().await?;
        let http = loaded.components.values().map(|it| (&it.context, it.handler.instance_pre()));
        let events =
            loaded.event_components.values().map(|it| (&it.context, it.handler.instance_pre()));
        for (context, pre) in http.chain(events) {
            let mut run = Run::instantiating(self, context, pre);
            if let Outcome::Failed { failure, .. } = std::future::poll_fn(|cx| run.poll(cx)).await {
                let component = context.id.to_string();
                return Err(ProbeError::Instantiate { component, reason: failure.reason });
            }
        }
        Ok(())
    }

    /// Answers a request of a client.
    ///
    /// The guest runs in the task that polls the future and then the body; a Tokio runtime with time is expected
    /// around both. The request's URI is absolute.
    pub fn call<B>(
        self: &Arc<Self>,
        request: Request<B>,
        connection: Connection,
    ) -> impl Future<Output = Response<GuestBody>> + 'static
    where
        B: Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
    {
        let app = self.clone();
        async move {
            let limit = app.context.limits.request_body_bytes;
            if limit.is_some_and(|limit| request.body().size_hint().lower() > limit) {
                return whole(trigger::status(StatusCode::PAYLOAD_TOO_LARGE));
            }
            app.answer(request.map(|body| request_body(body, limit)), connection).await
        }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<WasiBody>,
        connection: Connection,
    ) -> Response<GuestBody> {
        let mut span = spans::of_request(&request, connection, &self.context.name);
        let response = self.route(request, connection, &mut span).await;
        // That of a component's answer is the component's by now.
        spans::answered(&mut span, response.status());
        response
    }

    async fn route(
        self: Arc<Self>,
        mut request: Request<WasiBody>,
        connection: Connection,
        span: &mut Span,
    ) -> Response<GuestBody> {
        let mut pass = self.gate.arrive();
        self.is_used();
        let loaded = if let Some(loaded) = self.loaded.load_full() {
            loaded
        } else {
            // Who waits for the app to be loaded is in the queue like everybody.
            if let Err(refused) = self.gate.admit(&mut pass).await {
                return self.refused(refused);
            }
            match self.loaded().await {
                Ok(loaded) => loaded,
                Err(error) => {
                    let text = gyre_telemetry::chain(&*error);
                    let text = format!("the application cannot be loaded: {text}");
                    self.says(&self.context.name, None, &text);
                    return whole(trigger::status(StatusCode::INTERNAL_SERVER_ERROR));
                }
            }
        };
        // Shares the bytes of the request's own.
        let uri = request.uri().clone();
        if trigger::is_internal(&uri, request.headers()) {
            return whole(trigger::status(StatusCode::BAD_REQUEST));
        }
        let path = uri.path();
        if let Some(answer) = trigger::well_known(path, &loaded, self.spec.oci_image_digest) {
            if answer.status().is_success() {
                spans::routed(span, &request, path);
            }
            return whole(answer);
        }
        let Some((_, found)) = loaded.http.find(path) else {
            return whole(trigger::status(StatusCode::NOT_FOUND));
        };
        let (component, headers) = match &loaded.targets[*found.value] {
            Target::Static(answer) => {
                let trigger = &loaded.http.triggers()[*found.value];
                metrics::request("http", &self.context.name, &trigger.id);
                if let HttpRoute::Public(route) = &trigger.route {
                    spans::routed(span, &request, route);
                }
                return whole(trigger::static_response(answer));
            }
            Target::Component { component, headers } => (component, headers),
        };
        spans::routed(span, &request, headers.route());
        if trigger::prepare(&mut request, &found, headers, Caller::Client(connection)).is_err() {
            return whole(trigger::status(StatusCode::BAD_REQUEST));
        }
        if let Err(refused) = self.gate.admit(&mut pass).await {
            return self.refused(refused);
        }
        let scheme = if connection.is_tls { Scheme::Https } else { Scheme::Http };
        let call = CallContext { request: Some(request_id()), depth: 0 };
        let execution = component.handler.execution();
        let id = &component.context.id;
        let spans = CallSpans::of_request(std::mem::take(span), execution, &self.context.name, id);
        self.run(component, call, request, scheme, pass, spans).await
    }

    /// Answers a request of another component of the app.
    pub(crate) async fn call_chained(
        self: Arc<Self>,
        caller: CallContext,
        component: String,
        mut request: Request<WasiBody>,
    ) -> Result<Response<WasiBody>, ChainError> {
        let depth = caller.depth + 1;
        if depth > self.context.limits.chaining_depth {
            return Err(ChainError::TooDeep(self.context.limits.chaining_depth));
        }
        let loaded = self.loaded().await.map_err(|_| ChainError::Gone)?;
        let Some(callee) = loaded.components.get(&component) else {
            return Err(ChainError::NoSuchComponent(component));
        };
        let response = match self.gate.admit_chained() {
            Err(refused) => self.refused(refused),
            Ok(pass) => {
                if trigger::prepare_chained(&mut request).is_ok() {
                    let call = CallContext { depth, ..caller };
                    let execution = callee.handler.execution();
                    let (name, id) = (&self.context.name, &callee.context.id);
                    let spans = CallSpans::of_chained(&request, execution, name, id);
                    if callee.is_concurrent() {
                        let (app, callee) = (self.clone(), callee.clone());
                        let response = detached(async move {
                            app.run(&callee, call, request, Scheme::Http, pass, spans).await
                        });
                        return response.await.ok_or(ChainError::Gone);
                    }
                    self.run(callee, call, request, Scheme::Http, pass, spans).await
                } else {
                    whole(trigger::status(StatusCode::BAD_REQUEST))
                }
            }
        };
        Ok(response.map(GuestBody::into_wasi))
    }

    /// Calls a component for an event and waits for what it says. It has arrived when this returns; what goes wrong
    /// is in the app's log when the future is done, and there is no reply then.
    pub(crate) fn handle(
        self: &Arc<Self>,
        kind: &'static str,
        component: &Arc<str>,
        event: Event,
        span: EventSpan,
    ) -> impl Future<Output = Option<Reply>> + Send + use<> {
        let (app, component) = (self.clone(), component.clone());
        let mut pass = self.gate.arrive();
        async move {
            app.is_used();
            let request = Some(request_id());
            if let Err(refused) = app.gate.admit(&mut pass).await {
                app.says(
                    &component,
                    request,
                    &format!("an event was refused: {}", app.why(refused)),
                );
                return None;
            }
            let loaded = match app.loaded().await {
                Ok(loaded) => loaded,
                Err(error) => {
                    let text = gyre_telemetry::chain(&*error);
                    let text = format!("the application cannot be loaded: {text}");
                    app.says(&component, request, &text);
                    return None;
                }
            };
            let callee = loaded.event_components.get(&(kind, component.to_string()))?;
            app.requests.fetch_add(1, Ordering::Relaxed);
            let (tell, told) = oneshot::channel();
            let call = CallContext { request, depth: 0 };
            metrics::request(kind, &app.context.name, &component);
            let spans = CallSpans::of_event(span, &app.context.name, &component);
            let mut run = Run::handling(&app, callee, call, pass, event, tell, spans);
            let failure = match std::future::poll_fn(|cx| run.poll(cx)).await {
                Outcome::Failed { failure, .. } => Some(failure),
                Outcome::Done => None,
            };
            if let Some(failure) = failure {
                run.report(&failure);
                return None;
            }
            let reply = told.await.ok()?;
            if let Reply::Failed(text) = &reply {
                let text = format!("the {kind} handler returned an error: {text}");
                run.report(&Failure::of_guest(text));
            }
            Some(reply)
        }
    }

    /// Runs a guest until its response has begun. The rest of it runs in the response's body.
    async fn run(
        self: &Arc<Self>,
        component: &LoadedComponent,
        call: CallContext,
        request: Request<WasiBody>,
        scheme: Scheme,
        pass: Pass,
        spans: CallSpans,
    ) -> Response<GuestBody> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        metrics::request("http", &self.context.name, &component.context.id);
        let has_no_body = request.method() == Method::HEAD;
        let mut run = Run::answering(self, component, call, Some(pass), request, scheme, spans);
        let head = std::future::poll_fn(|cx| match run.poll(cx) {
            Poll::Pending => match run.take_answer() {
                Some(answer) => Poll::Ready((Some(answer), None)),
                None => Poll::Pending,
            },
            Poll::Ready(outcome) => Poll::Ready((run.take_answer(), Some(outcome))),
        });
        let (answer, outcome) = head.await;
        let is_done = outcome.is_some();
        let answer = match outcome {
            None | Some(Outcome::Done) => {
                answer.ok_or_else(|| Failure::of_guest("the guest returned without a response"))
            }
            // It answered in full, and failed afterwards.
            Some(Outcome::Failed { failure, is_answer_whole: true }) if answer.is_some() => {
                run.report(&failure);
                Ok(answer.expect("it was just seen"))
            }
            Some(Outcome::Failed { failure, .. }) => Err(failure),
        };
        let response = match answer.and_then(|answer| self.check(answer)) {
            Ok(response) => response,
            Err(failure) => {
                run.report(&failure);
                run.spans().answered(failure.status);
                if failure.status == StatusCode::SERVICE_UNAVAILABLE {
                    return unavailable();
                }
                return whole(trigger::status(failure.status));
            }
        };
        run.spans().answered(response.status());
        let length = if has_no_body { Some(0) } else { trigger::announced_length(&response) };
        let run = (!is_done).then(|| {
            run.head_is_there();
            run
        });
        response.map(|body| GuestBody::of_guest(body, run, length))
    }

    /// The response, if it is one that may be sent.
    fn check(&self, answer: Answer) -> Result<Response<WasiBody>, Failure> {
        let response =
            answer.map_err(|code| Failure::of_guest(format!("the guest answered with {code}")))?;
        match self.context.limits.response_headers {
            Some(limit) if response.headers().len() > limit => Err(Failure::of_guest(format!(
                "response_headers limit of {limit} reached: the guest set {}",
                response.headers().len()
            ))),
            _ => Ok(response),
        }
    }

    fn refused(&self, refused: Refused) -> Response<GuestBody> {
        let text = format!("a request was refused: {}", self.why(refused));
        self.says(&self.context.name, None, &text);
        unavailable()
    }

    fn why(&self, refused: Refused) -> String {
        let limits = &self.context.limits;
        match refused {
            Refused::Full => format!(
                "concurrency limit of {} and queue limit of {} reached",
                limits.concurrency.unwrap_or_default(),
                limits.queue.unwrap_or_default()
            ),
            Refused::Late => format!("queue_time limit of {:?} reached", limits.queue_time),
        }
    }

    pub(crate) async fn loaded(self: &Arc<Self>) -> Result<Arc<Loaded>, Arc<LoadError>> {
        if let Some(loaded) = self.loaded.load_full() {
            return Ok(loaded);
        }
        let _loading = self.loading.lock().await;
        if let Some(loaded) = self.loaded.load_full() {
            return Ok(loaded);
        }
        let app = self.clone();
        let load = move || Loaded::load(&app.runtime, &app.spec);
        let loaded = tokio::task::spawn_blocking(load).await;
        let loaded = Arc::new(loaded.unwrap_or(Err(LoadError::Panicked)).map_err(Arc::new)?);
        for notice in loaded.http.notices() {
            tracing::warn!(app.name = %self.spec.name, "{notice}");
        }
        self.loaded.store(Some(loaded.clone()));
        self.is_used();
        self.runtime.loaded.add(self, self.runtime.ticks());
        Ok(loaded)
    }

    /// Writes the host's word into the app's log.
    pub(crate) fn says(&self, component: &Arc<str>, request: Option<RequestId>, text: &str) {
        host_says(&self.context.log, component, request, text);
    }

    /// Counts a panic of a host call that was caught.
    pub(crate) fn count_panic(&self, component: &str) {
        self.runtime.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!(app.name = %self.spec.name, component.id = component, "a host call panicked");
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

/// A new identifier. Made of the thread's own random numbers: the ordinary way has a lock that all cores share.
fn request_id() -> RequestId {
    let now = gyre_telemetry::Clock::System.now().as_millisecond();
    let mut random = [0; 10];
    rand::rng().fill_bytes(&mut random);
    uuid::Builder::from_unix_timestamp_millis(now.unsigned_abs(), &random).into_uuid().into()
}

fn whole(response: Response<Full<Bytes>>) -> Response<GuestBody> {
    response.map(GuestBody::whole)
}

/// 503, with the request to come back soon.
fn unavailable() -> Response<GuestBody> {
    let mut response = whole(trigger::status(StatusCode::SERVICE_UNAVAILABLE));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
