//! The releases of a node as apps of its runtime: preparing them, routing to them, letting go of them.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::BoxFuture;
use gyre_control::{
    ActivationError, Activator, DEFAULT_CHANNEL, ReleaseSpec, Releases, RouteEntry, RoutePublisher,
};
use gyre_edge::{Routes, RoutingTable};
use gyre_model::{
    AppId, Application, BoxError, ChannelId, Connection, Digest, Limits, LockedApp, ReleaseId,
};
use gyre_package::artifact::{self, ArtifactError, BlobSource};
use gyre_runtime::{
    App, AppSource, AppSpec, CompileError, LoadError, ProbeError, Runtime, SelfOrigin, Variables,
    VariablesProvider,
};
use gyre_store::{AppLogs, Blobs, LogOrigin};
use gyre_telemetry::chain;
use http::Request;
use http_body_util::Full;
use tokio::runtime::Handle;

use crate::{
    data::NodeData,
    events::{self, Events},
    front::Target,
};

/// How long a release that is served no more goes on with the requests it has.
const DRAIN_TIME: Duration = Duration::from_secs(5 * 60);

/// How long the health path may take to answer.
const HEALTH_TIME: Duration = Duration::from_secs(30);

/// What of a guest's backtrace a developer is shown when a probe fails.
const BACKTRACE_LINES: usize = 8;

/// The blob store as `package` looks at it.
struct BlobFiles(Blobs);

impl BlobSource for BlobFiles {
    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        self.0.path(digest)
    }
}

/// What apps are made with.
pub(crate) struct Parts {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) releases: Releases,
    pub(crate) blobs: Blobs,
    pub(crate) logs: AppLogs,
    pub(crate) data: NodeData,
    /// Where applications' files are laid out. Disposable.
    pub(crate) applications: PathBuf,
    pub(crate) routes: Arc<Routes<Target>>,
    /// The platform's own hosts.
    pub(crate) control_hosts: Vec<String>,
    pub(crate) self_origin: SelfOrigin,
    pub(crate) block_private_networks: bool,
    /// What calls apps besides requests.
    pub(crate) events: Arc<Events>,
    /// Whether guests have `wasi:otel`.
    pub(crate) has_otel: bool,
    /// The threads of the control plane.
    pub(crate) threads: Handle,
}

/// The apps of a node.
#[derive(Clone)]
pub(crate) struct Apps(Arc<Inner>);

struct Inner {
    parts: Parts,
    known: Mutex<KnownReleases>,
    /// The control plane as the table's target: always the same.
    control: Arc<Target>,
}

#[derive(Default)]
struct KnownReleases {
    /// Those that are routed to.
    served: HashMap<ReleaseId, Known>,
    /// Those that were prepared to be. A release that is overtaken stays here until its channel's next one serves.
    prepared: HashMap<ReleaseId, Known>,
}

#[derive(Clone)]
struct Known {
    app: Arc<App>,
    target: Arc<Target>,
    digest: Digest,
    channel: ChannelId,
    number: u64,
}

impl Apps {
    pub(crate) fn new(parts: Parts) -> Self {
        let control = Arc::new(Target::Control);
        Self(Arc::new(Inner { parts, known: Mutex::default(), control }))
    }

    /// A table in which only the platform itself is.
    pub(crate) fn control_only(&self) -> RoutingTable<Target> {
        self.0.table(0)
    }
}

impl Inner {
    fn table(&self, apps: usize) -> RoutingTable<Target> {
        let mut table = RoutingTable::with_capacity(apps + self.parts.control_hosts.len());
        table.set_local(self.control.clone());
        for host in &self.parts.control_hosts {
            // Checked when the node started.
            let _ = table.insert(host, self.control.clone());
        }
        table
    }

    /// Registers a release. `prepared` saves asking for what is at hand.
    fn register(self: &Arc<Self>, route: &RouteEntry, prepared: Option<&ReleaseSpec>) -> Known {
        let parts = &self.parts;
        let limits = route.settings.limits.apply(&Limits::server(), &Limits::server_ceilings());
        let variables = Arc::new(match prepared {
            Some(spec) => Variables::new(vec![provider(spec)]),
            None => Variables::default(),
        });
        let origin = LogOrigin {
            app: route.app,
            channel: Some(route.channel),
            release: Some(route.release),
            revision: Some(route.digest),
        };
        let app = parts.runtime.app(AppSpec {
            log: parts.logs.sink(origin, &limits),
            variables: variables.clone(),
            data: parts.data.grants(&route.stores, &route.databases, &limits),
            // Without a host of its own there is no way to itself, but one to the control plane.
            self_origin: route
                .hosts
                .first()
                .map(|host| SelfOrigin { host: Some(host.clone()), ..parts.self_origin.clone() }),
            oci_image_digest: Some(route.digest),
            block_private_networks: parts.block_private_networks,
            has_otel: parts.has_otel,
            limits,
            ..AppSpec::new(route.app_name.clone(), self.source(route.release, variables))
        });
        let target = Arc::new(Target::App(app.clone()));
        let (channel, number) = (route.channel, route.number);
        Known { app, target, digest: route.digest, channel, number }
    }

    /// How a release's application is found when it is needed: on a thread that may block.
    fn source(self: &Arc<Self>, release: ReleaseId, variables: Arc<Variables>) -> AppSource {
        let weak = Arc::downgrade(self);
        Arc::new(move || {
            let inner = weak.upgrade().ok_or("the node is being shut down")?;
            let parts = &inner.parts;
            let spec = parts.threads.block_on(parts.releases.spec(release))?;
            variables.replace(vec![provider(&spec)]);
            Ok(Arc::new(inner.application(&spec.manifest)?))
        })
    }

    fn application(&self, manifest: &Bytes) -> Result<Application, ArtifactError> {
        let (blobs, dir) = (BlobFiles(self.parts.blobs.clone()), &self.parts.applications);
        match artifact::reopen(manifest, &blobs, dir)? {
            Some(application) => Ok(application),
            None => artifact::load(manifest, &blobs, dir),
        }
    }

    async fn prepare(self: Arc<Self>, spec: ReleaseSpec) -> Result<(), ActivationError> {
        let inner = self.clone();
        let manifest = spec.manifest.clone();
        let compiled = tokio::task::spawn_blocking(move || {
            let blobs = BlobFiles(inner.parts.blobs.clone());
            let application = artifact::load(&manifest, &blobs, &inner.parts.applications)
                .map_err(|error| ActivationError::new("artifact.invalid", sentence(&error)))?;
            refuse_commands(&application.locked)?;
            let compiled = inner.parts.runtime.compile(&application, &|_| {});
            compiled.map_err(|error| compile_error(&error))
        });
        compiled.await.map_err(|_| {
            ActivationError::new("internal", "preparing the application failed unexpectedly")
        })??;
        let known = self.register(&spec.route, Some(&spec));
        known.app.probe().await.map_err(|error| probe_error(&error))?;
        known
            .app
            .check_triggers(&events::options())
            .await
            .map_err(|error| ActivationError::new("trigger.invalid", sentence(&error)))?;
        if spec.route.has_events() && !spec.route.takes_events() {
            let text = format!("events are taken in the channel {DEFAULT_CHANNEL} only");
            known.app.says_of_triggers(&text);
        }
        if let Some(path) = &spec.route.settings.health_path {
            let host = spec.route.hosts.first().map_or("localhost", String::as_str);
            self.check_health(&known.app, host, path).await?;
        }
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.prepared.insert(spec.route.release, known);
        Ok(())
    }

    async fn check_health(
        &self,
        app: &Arc<App>,
        host: &str,
        path: &str,
    ) -> Result<(), ActivationError> {
        let unhealthy = |what: String| {
            ActivationError::new("probe.health", format!("the health path {path:?} {what}"))
        };
        let request = Request::get(format!("http://{host}{path}"))
            .header(http::header::HOST, host)
            .body(Full::<Bytes>::default())
            .map_err(|_| unhealthy("is not the path of a URL".to_owned()))?;
        let request = request.map(|body| {
            http_body_util::BodyExt::map_err(body, |never| -> BoxError { match never {} })
        });
        let address = self.parts.self_origin.address;
        let connection = Connection { peer: address, local: address, is_tls: false };
        let answer = tokio::time::timeout(HEALTH_TIME, app.call(request, connection)).await;
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(unhealthy(format!("answered {}", answer.status()))),
            Err(_) => Err(unhealthy(format!("did not answer within {HEALTH_TIME:?}"))),
        }
    }

    async fn publish(self: Arc<Self>, routes: Vec<Arc<RouteEntry>>) {
        let listening = self.route(&routes);
        self.parts.events.set(listening).await;
    }

    /// Routes requests. Returns the apps that events are listened to for.
    fn route(self: &Arc<Self>, routes: &[Arc<RouteEntry>]) -> HashMap<AppId, Arc<App>> {
        let mut listening = HashMap::new();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = self.table(routes.len());
        let mut served = HashMap::with_capacity(routes.len());
        for route in routes {
            let app = known.served.remove(&route.release);
            let app = app.or_else(|| known.prepared.remove(&route.release));
            let app = app.unwrap_or_else(|| self.register(route, None));
            known
                .prepared
                .retain(|_, other| other.channel != route.channel || other.number > route.number);
            for host in &route.hosts {
                if let Err(error) = table.insert(host, app.target.clone()) {
                    tracing::error!(app = %route.app_name, "cannot route to {host:?}: {error}");
                }
            }
            if route.takes_events() {
                listening.insert(route.app, app.app.clone());
            }
            served.insert(route.release, app);
        }
        let gone = std::mem::replace(&mut known.served, served);
        drop(known);
        self.parts.routes.store(Arc::new(table));
        for gone in gone.into_values() {
            self.parts.threads.spawn(async move {
                gone.app.drain(DRAIN_TIME).await;
                gone.app.unload();
                tracing::debug!(revision = %gone.digest, "a release was drained and unloaded");
            });
        }
        listening
    }
}

impl Activator for Apps {
    fn prepare(&self, release: ReleaseSpec) -> BoxFuture<'_, Result<(), ActivationError>> {
        // The guest's futures run on the control plane's threads here, wherever control itself is polled.
        let prepare = self.0.parts.threads.spawn(self.0.clone().prepare(release));
        Box::pin(async move {
            let _abort = AbortOnDrop(prepare.abort_handle());
            prepare.await.unwrap_or_else(|_| {
                Err(ActivationError::new(
                    "internal",
                    "preparing the application failed unexpectedly",
                ))
            })
        })
    }
}

/// Abandons a task with whoever waits for it.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl RoutePublisher for Apps {
    fn publish(&self, routes: Vec<Arc<RouteEntry>>) -> BoxFuture<'_, ()> {
        Box::pin(self.0.clone().publish(routes))
    }
}

/// A table that leads nowhere yet.
pub(crate) fn empty_routes() -> Arc<Routes<Target>> {
    Arc::new(ArcSwap::from_pointee(RoutingTable::new()))
}

fn provider(spec: &ReleaseSpec) -> VariablesProvider {
    VariablesProvider::Values(spec.variables.clone())
}

/// An error and its causes as one sentence.
fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error)
}

/// A server does not run programs for themselves: what would never be called must not be taken for served.
fn refuse_commands(app: &LockedApp) -> Result<(), ActivationError> {
    if app.triggers.iter().any(|trigger| trigger.trigger_type == "command") {
        let text = "triggers of type 'command' run under `gyre up`, not on a server";
        return Err(ActivationError::new("trigger.unsupported", text));
    }
    Ok(())
}

fn compile_error(error: &CompileError) -> ActivationError {
    let code = if matches!(error, CompileError::Limit { .. }) {
        "compile.limit"
    } else {
        "compile.failed"
    };
    ActivationError::new(code, sentence(error))
}

fn probe_error(error: &ProbeError) -> ActivationError {
    match error {
        ProbeError::Load(load) => match &**load {
            LoadError::Compile(error) => compile_error(error),
            error @ LoadError::Link { .. } => {
                ActivationError::new("link.missing_import", sentence(error))
            }
            error @ LoadError::Handler { .. } => {
                ActivationError::new("link.no_handler", sentence(error))
            }
            error @ (LoadError::EventHandler { .. } | LoadError::EventTrigger(_)) => {
                ActivationError::new("trigger.invalid", sentence(error))
            }
            error => ActivationError::new("load.failed", sentence(error)),
        },
        error @ ProbeError::Instantiate { .. } => {
            let text = sentence(error);
            let lines: Vec<&str> = text.lines().take(BACKTRACE_LINES).collect();
            ActivationError::new("probe.trapped", lines.join("\n"))
        }
    }
}
