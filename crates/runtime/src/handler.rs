//! The ways in which a component answers HTTP requests, by what it exports.
//!
//! Each is a module of its own, which makes of a store and a request the future that runs the guest; how that is
//! polled, charged and ended is the same for all: see `run`.

mod snapshots;
mod wasi02;

use std::sync::Arc;

use http::Request;
use wasmtime::{Store, component::InstancePre};
use wasmtime_wasi_http::{
    WasiBody,
    p2::bindings::{ProxyPre, http::types::Scheme},
};

use crate::{call::CallState, host::HostState, run::Guest};

/// How a component is called for a request.
pub(crate) enum Handler {
    /// `wasi:http/incoming-handler` 0.2: a fresh instance for each request.
    Wasi02(ProxyPre<HostState>),
    /// That of a release candidate of 0.2: a fresh instance for each request.
    Snapshot(snapshots::SnapshotPre),
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
    /// It exports one that is not as it should be.
    #[error("its handler is not as published: {0}")]
    Shape(String),
}

/// The handlers that a component may export, as people are told.
const NAMES: [&str; 3] =
    ["wasi:http/incoming-handler@0.2.x", snapshots::NAMES[0], snapshots::NAMES[1]];

impl Handler {
    /// The handler that a component exports: exactly one.
    pub(crate) fn of(pre: &InstancePre<HostState>) -> Result<Self, HandlerError> {
        let component = pre.component();
        let ty = component.component_type();
        let exports = ty.exports(component.engine()).map(|(name, _)| name.to_owned());
        let handlers: Vec<String> = exports.filter(|name| is_handler(name)).collect();
        let [handler] = &handlers[..] else {
            return Err(if handlers.is_empty() {
                HandlerError::None
            } else {
                HandlerError::Several(handlers)
            });
        };
        let shape = |error: wasmtime::Error| HandlerError::Shape(format!("{error:#}"));
        if snapshots::snapshot(handler).is_some() {
            let pre = snapshots::SnapshotPre::new(pre.clone(), handler).map_err(shape)?;
            return Ok(Self::Snapshot(pre));
        }
        Ok(Self::Wasi02(ProxyPre::new(pre.clone()).map_err(shape)?))
    }

    /// What is instantiated.
    pub(crate) fn instance_pre(&self) -> &InstancePre<HostState> {
        match self {
            Self::Wasi02(pre) => pre.instance_pre(),
            Self::Snapshot(pre) => pre.instance_pre(),
        }
    }

    /// A guest that is to answer a request. What it answers goes into `call`.
    pub(crate) fn answer(
        &self,
        store: Store<HostState>,
        request: Request<WasiBody>,
        scheme: Scheme,
        call: Arc<CallState>,
    ) -> Guest {
        match self {
            Self::Wasi02(pre) => wasi02::answer(pre.clone(), store, request, scheme, call),
            Self::Snapshot(pre) => snapshots::answer(pre.clone(), store, request, scheme, call),
        }
    }
}

/// Whether an export of that name is a handler that is known here.
fn is_handler(name: &str) -> bool {
    let patch = name.strip_prefix("wasi:http/incoming-handler@0.2.");
    patch.is_some_and(|patch| !patch.contains('-')) || snapshots::snapshot(name).is_some()
}
