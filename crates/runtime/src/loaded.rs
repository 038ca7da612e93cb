//! An app that is loaded: its code mapped and linked, its routes read, its grants decided.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::PathBuf,
    sync::Arc,
};

use crate::{
    AppSpec, CompileError, Runtime,
    capability::{Defaults, GrantError, Grants, OTEL, defaults},
    compile::Code,
    context::ComponentContext,
    engine::Abi,
    event::EventHandler,
    handler::{Handler, HandlerError},
    host::HostState,
    trigger::http::RouteHeaders,
};
use gyre_manifest::{
    events::{EventTriggerError, EventTriggers},
    http::{Executor, HttpApp, HttpRoute, HttpTrigger, HttpTriggerError, StaticResponse},
    routes::Route,
};
use gyre_model::{Application, BoxError, Mount};
use wasmtime::component::InstancePre;
use wasmtime_wasi::{FsPerms, OpenMode, filesystem::Dir};

/// Features that an application may require of its host.
const SUPPORTED_FEATURES: [&str; 1] = ["local_service_chaining"];

/// Why an app cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The application itself is not there or not valid.
    #[error("cannot read the application")]
    Source(#[source] BoxError),
    /// It needs what this version does not have.
    #[error(transparent)]
    Features(#[from] gyre_model::locked::UnderstandError),
    /// Its HTTP triggers cannot be used.
    #[error(transparent)]
    Trigger(#[from] HttpTriggerError),
    /// A trigger calls what is not there.
    #[error(
        "trigger {trigger:?} calls component {component:?}, which the application does not have"
    )]
    NoSuchComponent {
        /// The trigger's id.
        trigger: String,
        /// The component's id.
        component: String,
    },
    /// Its other triggers cannot be used.
    #[error(transparent)]
    EventTrigger(#[from] EventTriggerError),
    /// It has no trigger.
    #[error("No triggers in app")]
    NoTriggers,
    /// A component does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A component imports what there is not, or not in that shape.
    #[error("component {component:?} cannot be linked")]
    Link {
        /// The component's id.
        component: String,
        /// What is missing.
        #[source]
        source: BoxError,
    },
    /// A component cannot be called as an HTTP component.
    #[error("component {component:?} cannot answer HTTP requests")]
    Handler {
        /// The component's id.
        component: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// A component cannot be called by a trigger of its.
    #[error("component {component:?} cannot be called by a {kind} trigger")]
    EventHandler {
        /// The component's id.
        component: String,
        /// The trigger's type.
        kind: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The manifest asks for what the app was not given.
    #[error("{0}")]
    Grant(String),
    /// A route that cannot be told to a component, since headers cannot have all characters.
    #[error("the route of trigger {trigger:?} has characters that are not allowed")]
    Route {
        /// The trigger's id.
        trigger: String,
    },
    /// A folder of a component cannot be opened.
    #[error("cannot open {folder:?}, which is mounted into component {component:?}", folder = folder.display())]
    Mount {
        /// The component's id.
        component: String,
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The thread that loaded it panicked.
    #[error("loading the application failed unexpectedly")]
    Panicked,
}

impl From<GrantError> for LoadError {
    fn from(error: GrantError) -> Self {
        Self::Grant(gyre_telemetry::chain(&error))
    }
}

/// Why an app that loads is not fit to serve.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It does not even load.
    #[error(transparent)]
    Load(#[from] Arc<LoadError>),
    /// A component traps, or meets a limit, while it is instantiated.
    #[error("component {component:?} cannot be instantiated: {reason}")]
    Instantiate {
        /// The component's id.
        component: String,
        /// The trap, with the guest's backtrace.
        reason: String,
    },
}

/// A component, ready to be instantiated.
pub(crate) struct LoadedComponent {
    pub(crate) context: Arc<ComponentContext>,
    pub(crate) handler: Handler,
    /// Held so that other apps with the same component share its code.
    code: Code,
}

impl LoadedComponent {
    /// Whether it is run by an event loop of the component model.
    pub(crate) fn is_concurrent(&self) -> bool {
        self.code.abi == Abi::Async
    }
}

/// A component, ready to be instantiated for events of one kind.
pub(crate) struct EventComponent {
    pub(crate) context: Arc<ComponentContext>,
    pub(crate) handler: EventHandler,
    _code: Code,
}

/// What answers a trigger's requests.
pub(crate) enum Target {
    /// The trigger itself.
    Static(StaticResponse),
    /// A component.
    Component {
        component: Arc<LoadedComponent>,
        /// What it is told of the trigger's route.
        headers: RouteHeaders,
    },
}

/// An app, ready to serve.
pub(crate) struct Loaded {
    /// Its name and version as `/.well-known/spin/info` tells them.
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) http: HttpApp,
    /// What its triggers lead to, by their place in `http`.
    pub(crate) targets: Vec<Target>,
    pub(crate) components: HashMap<String, Arc<LoadedComponent>>,
    /// What its other triggers call, by the trigger's type and the component's id.
    pub(crate) event_components: HashMap<(&'static str, String), Arc<EventComponent>>,
    /// Its other triggers.
    pub(crate) events: EventTriggers,
    /// Its variables' defaults, for the templates of triggers.
    pub(crate) defaults: Defaults,
}

impl Loaded {
    /// Loads an app. Blocks: reads files, and compiles what is not in the cache.
    pub(crate) fn load(runtime: &Runtime, spec: &AppSpec) -> Result<Self, LoadError> {
        let application = (spec.source)().map_err(LoadError::Source)?;
        let locked = &application.locked;
        locked.ensure_understood(&SUPPORTED_FEATURES)?;
        let http = HttpApp::from_locked(locked)?;
        let events = EventTriggers::from_locked(locked)?;
        if http.triggers().is_empty() && events.is_empty() {
            return Err(LoadError::NoTriggers);
        }
        // A component that triggers call in several ways is there once for each; its code is there once.
        let mut ways: Vec<(&str, &Executor, Arc<LoadedComponent>)> = Vec::new();
        let mut targets = Vec::new();
        for trigger in http.triggers() {
            let Some(id) = &trigger.component else {
                let answer = trigger.static_response.clone();
                targets.push(Target::Static(answer.ok_or(LoadError::NoTriggers)?));
                continue;
            };
            let known = ways.iter().find(|(each, way, _)| each == id && *way == &trigger.executor);
            let component = if let Some((_, _, component)) = known {
                component.clone()
            } else {
                let component = load_component(runtime, spec, &application, trigger, id)?;
                let component = Arc::new(component);
                ways.push((id, &trigger.executor, component.clone()));
                component
            };
            let route = match &trigger.route {
                HttpRoute::Public(route) => Route::parse(route).ok(),
                HttpRoute::Private => None,
            };
            let headers = RouteHeaders::new(route.as_ref().unwrap_or(Route::everything()))
                .map_err(|_| LoadError::Route { trigger: trigger.id.clone() })?;
            targets.push(Target::Component { component, headers });
        }
        let mut event_components = HashMap::new();
        for (kind, id) in events.components() {
            if let Entry::Vacant(place) = event_components.entry((kind, id.to_owned())) {
                let component = load_event_component(runtime, spec, &application, kind, id)?;
                place.insert(Arc::new(component));
            }
        }
        let defaults = defaults(locked);
        // The other components of the app call it as what it is first of all.
        ways.sort_by_key(|(_, executor, _)| **executor != Executor::Http);
        let mut components = HashMap::new();
        for (id, _, component) in &ways {
            components.entry((*id).to_owned()).or_insert_with(|| component.clone());
        }
        let (name, version) = (locked.name().to_owned(), locked.version().map(str::to_owned));
        Ok(Self { name, version, http, targets, components, event_components, events, defaults })
    }
}

fn load_component(
    runtime: &Runtime,
    spec: &AppSpec,
    application: &Application,
    trigger: &HttpTrigger,
    id: &str,
) -> Result<LoadedComponent, LoadError> {
    let (code, pre, context) = link_component(runtime, spec, application, &trigger.id, id)?;
    let handler = Handler::new(&pre, &trigger.executor, spec.reuse, runtime.reusable());
    let handler = handler.map_err(|source: HandlerError| LoadError::Handler {
        component: id.to_owned(),
        source: source.into(),
    })?;
    Ok(LoadedComponent { context, handler, code })
}

fn load_event_component(
    runtime: &Runtime,
    spec: &AppSpec,
    application: &Application,
    kind: &'static str,
    id: &str,
) -> Result<EventComponent, LoadError> {
    let (code, pre, context) = link_component(runtime, spec, application, kind, id)?;
    let handler = EventHandler::of(&pre, kind).map_err(|source| LoadError::EventHandler {
        component: id.to_owned(),
        kind,
        source: source.into(),
    })?;
    Ok(EventComponent { context, handler, _code: code })
}

/// A component's code, linked, and what is fixed for it.
fn link_component(
    runtime: &Runtime,
    spec: &AppSpec,
    application: &Application,
    trigger: &str,
    id: &str,
) -> Result<(Code, InstancePre<HostState>, Arc<ComponentContext>), LoadError> {
    let missing = || LoadError::NoSuchComponent { trigger: trigger.into(), component: id.into() };
    let locked = application.locked.component(id).ok_or_else(missing)?;
    let wasm = application.wasm.get(id).ok_or_else(missing)?;
    let code = runtime.code(id, wasm)?;
    let host = runtime.host(code.abi).map_err(|error| LoadError::Source(error.into()))?;
    let linked = host.linker(spec.has_otel).and_then(|linker| linker.instantiate_pre(&code));
    let pre = linked.map_err(|source| {
        let ty = code.component_type();
        let mut imports = ty.imports(code.engine()).map(|(name, _)| name);
        // The engine's own words only say that it is not there.
        let source = if !spec.has_otel && imports.any(|name| name.starts_with(OTEL)) {
            source
                .context("wasi:otel is experimental, and only there with --experimental-wasi-otel")
        } else {
            source
        };
        LoadError::Link { component: id.to_owned(), source: source.into() }
    })?;
    let mut env: Vec<(String, String)> = locked.env.clone().into_iter().collect();
    for (name, value) in &spec.env {
        env.retain(|(each, _)| each != name);
        env.push((name.clone(), value.clone()));
    }
    let mounts = application.mounts.get(id).into_iter().flatten();
    let mounts = mounts.map(|mount| open_mount(id, mount, spec.allow_transient_write));
    let context = ComponentContext {
        id: id.into(),
        grants: Grants::resolve(spec, application, locked)?,
        env,
        mounts: mounts.collect::<Result<_, _>>()?,
    };
    Ok((code, pre, Arc::new(context)))
}

/// Opens a folder once, for all of the component's instances.
fn open_mount(
    component: &str,
    mount: &Mount,
    is_writable: bool,
) -> Result<(Dir, String), LoadError> {
    let opened = std::fs::OpenOptions::new().read(true).open(&mount.host).and_then(|folder| {
        if folder.metadata()?.is_dir() {
            Ok(folder)
        } else {
            Err(std::io::ErrorKind::NotADirectory.into())
        }
    });
    let folder = opened.map_err(|source| LoadError::Mount {
        component: component.to_owned(),
        folder: mount.host.clone(),
        source,
    })?;
    let (perms, mode) = if is_writable {
        (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE)
    } else {
        (FsPerms::ReadOnly, OpenMode::READ)
    };
    // Files are read on the blocking pool: a slow disk must not hold up a core.
    let may_block_here = false;
    Ok((Dir::new(folder, perms, mode, may_block_here), mount.guest.clone()))
}
