//! The ways in which a component answers HTTP requests, by what it exports.
//!
//! Each is a module of its own, which makes of a store and a request the future that runs the guest; how that is
//! polled, charged and ended is the same for all: see `run`.

mod snapshots;
mod spin;
mod wagi;
mod wasi02;
mod wasi03;

use std::sync::Arc;

use gyre_manifest::http::Executor;
use http::Request;
use wasmtime::component::InstancePre;
use wasmtime_wasi_http::{
    WasiBody,
    p2::bindings::{ProxyPre, http::types::Scheme},
};

pub(crate) use wasi03::{Budget, SWEEP as INSTANCE_SWEEP};

use self::wasi03::Reusable;
use crate::{
    app::App,
    call::CallState,
    capability::spin_http::SpinHttpPre,
    host::{CallContext, HostState},
    loaded::LoadedComponent,
    reuse::ReuseConfig,
    run::{self, Guest},
    spans::Execution,
};

/// How a component is called for a request.
pub(crate) enum Handler {
    /// `wasi:http/incoming-handler` 0.2: a fresh instance for each request.
    Wasi02(ProxyPre<HostState>),
    /// That of a release candidate of 0.2: a fresh instance for each request.
    Snapshot(snapshots::SnapshotPre),
    /// `fermyon:spin/inbound-http`: a fresh instance for each request.
    Spin(SpinHttpPre<HostState>),
    /// `wasi:http/handler` 0.3: an instance answers many.
    Wasi03(Box<Reusable>),
    /// That of a program: a fresh instance for each request.
    Wagi(wagi::WagiPre),
}

/// Why a component cannot be called for a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandlerError {
    /// It exports no handler.
    #[error(
        "it exports no HTTP handler that is known here (expected one of {}); was it built as an HTTP component?",
        NAMES.join(", ")
    )]
    None,
    /// It exports several, and which is meant cannot be known.
    #[error(
        "component exports multiple different handlers but it's expected to export only one: {}",
        .0.join(", ")
    )]
    Several(Vec<String>),
    /// It is to be run as a program, and is none.
    #[error("it exports no wasi:cli/run@0.2.x, which the wagi executor calls")]
    NoProgram,
    /// It exports one that is not as it should be.
    #[error("its handler is not as published: {0}")]
    Shape(String),
}

/// The handlers that a component may export, as people are told.
const NAMES: [&str; 6] = [
    "wasi:http/incoming-handler@0.2.x",
    snapshots::NAMES[0],
    snapshots::NAMES[1],
    "wasi:http/handler@0.3.0-rc-2026-03-15",
    "wasi:http/handler@0.3.x",
    spin::NAME,
];

impl Handler {
    /// How a trigger's executor calls a component.
    pub(crate) fn new(
        pre: &InstancePre<HostState>,
        executor: &Executor,
        reuse: ReuseConfig,
        budget: &Arc<Budget>,
    ) -> Result<Self, HandlerError> {
        let Executor::Wagi { argv } = executor else { return Self::of(pre, reuse, budget) };
        wagi::WagiPre::new(pre.clone(), argv).map(Self::Wagi).map_err(|_| HandlerError::NoProgram)
    }

    /// The handler that a component exports: exactly one.
    ///
    /// `reuse` and `budget` are for those of which an instance may answer several requests.
    pub(crate) fn of(
        pre: &InstancePre<HostState>,
        reuse: ReuseConfig,
        budget: &Arc<Budget>,
    ) -> Result<Self, HandlerError> {
        let component = pre.component();
        let ty = component.component_type();
        let exports = ty.exports(component.engine()).map(|(name, _)| name.to_owned());
        let handlers: Vec<String> = exports.filter(|name| is_handler(name)).collect();
        let [handler] = &handlers[..] else {
            return Err(if handlers.is_empty() {
                HandlerError::None
            } else {
                HandlerError::Several(handlers.iter().map(|name| published(name)).collect())
            });
        };
        let shape = |error: wasmtime::Error| HandlerError::Shape(format!("{error:#}"));
        if snapshots::snapshot(handler).is_some() {
            let pre = snapshots::SnapshotPre::new(pre.clone(), handler).map_err(shape)?;
            return Ok(Self::Snapshot(pre));
        }
        if handler == spin::NAME {
            return spin::pre(pre).map(Self::Spin).map_err(shape);
        }
        if is_wasi03(handler) {
            let reusable = Reusable::new(pre.clone(), reuse, budget).map_err(shape)?;
            return Ok(Self::Wasi03(Box::new(reusable)));
        }
        Ok(Self::Wasi02(ProxyPre::new(pre.clone()).map_err(shape)?))
    }

    /// How the component's span says that it is called.
    pub(crate) fn execution(&self) -> Execution {
        match self {
            Self::Wagi(_) => Execution::Wagi,
            Self::Wasi02(_) | Self::Snapshot(_) | Self::Spin(_) | Self::Wasi03(_) => {
                Execution::Wasm
            }
        }
    }

    /// What is instantiated.
    pub(crate) fn instance_pre(&self) -> &InstancePre<HostState> {
        match self {
            Self::Wasi02(pre) => pre.instance_pre(),
            Self::Snapshot(pre) => pre.instance_pre(),
            Self::Spin(pre) => pre.instance_pre(),
            Self::Wasi03(reusable) => reusable.instance_pre(),
            Self::Wagi(pre) => pre.instance_pre(),
        }
    }

    /// A guest that is to answer a request. What it answers goes into its [`CallState`].
    pub(crate) fn answer(
        &self,
        app: &Arc<App>,
        component: &LoadedComponent,
        call: CallContext,
        request: Request<WasiBody>,
        scheme: Scheme,
        state: &Arc<CallState>,
    ) -> Guest {
        let fresh = || run::store(app, component, call, state);
        match self {
            Self::Wasi02(pre) => {
                wasi02::answer(pre.clone(), fresh(), request, scheme, state.clone())
            }
            Self::Snapshot(pre) => {
                snapshots::answer(pre.clone(), fresh(), request, scheme, state.clone())
            }
            Self::Spin(pre) => spin::answer(pre.clone(), fresh(), request, state.clone()),
            Self::Wasi03(reusable) => {
                reusable.answer(app, component, call, request, &scheme, state)
            }
            Self::Wagi(pre) => pre.answer(fresh(), request, &scheme, state.clone()),
        }
    }
}

/// Whether an export of that name is a handler that is known here.
fn is_handler(name: &str) -> bool {
    let patch = name.strip_prefix("wasi:http/incoming-handler@0.2.");
    patch.is_some_and(|patch| !patch.contains('-'))
        || snapshots::snapshot(name).is_some()
        || name == spin::NAME
        || is_wasi03(name)
}

/// Whether it is 0.3's, or the release candidate as it is adapted.
fn is_wasi03(name: &str) -> bool {
    name.strip_prefix("wasi:http/handler@0.3.").is_some_and(|patch| {
        let (number, build) = patch.split_once('+').unwrap_or((patch, ""));
        !number.contains('-') && (build.is_empty() || build == "rc-2026-03-15")
    })
}

/// The name as the component's author knows it.
fn published(name: &str) -> String {
    name.replace("+rc-", "-rc-")
}
