//! `wasi:http/incoming-handler` 0.2.

use std::sync::Arc;

use http::Request;
use wasmtime::{Store, component::Resource};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::{
    WasiBody, WasiHttpView as _,
    p2::{
        bindings::{ProxyPre, http::types::Scheme},
        body::HostOutgoingBody,
        types::{HostIncomingRequest, HostResponseOutparam},
    },
};

use crate::{
    call::CallState,
    host::HostState,
    run::{Ended, Guest},
};

/// A fresh instance that is to answer a request.
pub(super) fn answer(
    pre: ProxyPre<HostState>,
    mut store: Store<HostState>,
    request: Request<WasiBody>,
    scheme: Scheme,
    call: Arc<CallState>,
) -> Guest {
    let handle = async move |store: &mut Store<HostState>| {
        let proxy = pre.instantiate_async(&mut *store).await?;
        store.data_mut().instantiated();
        let (request, out) = arguments(store, request, scheme, call)?;
        proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, out).await
    };
    Box::pin(async move {
        let result = handle(&mut store).await;
        ended(&mut store, result)
    })
}

/// What its handler is called with.
pub(super) fn arguments(
    store: &mut Store<HostState>,
    request: Request<WasiBody>,
    scheme: Scheme,
    call: Arc<CallState>,
) -> wasmtime::Result<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>)> {
    let mut view = store.data_mut().http();
    let request = view.new_incoming_request(scheme, request)?;
    let out = view.new_response_outparam_from_callback(move |answer| {
        call.answer(answer.map_err(|code| format!("{code:?}")));
    })?;
    Ok((request, out))
}

/// How its handler ended.
pub(super) fn ended(store: &mut Store<HostState>, result: wasmtime::Result<()>) -> Ended {
    let result = match result {
        // A program that says it is done is done.
        Err(error) if error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0) => Ok(()),
        result => result,
    };
    let is_answer_whole = result.is_ok() || !has_unfinished_body(store);
    Ended { result, is_answer_whole }
}

/// Whether the guest began the body of a message and neither finished nor dropped it.
fn has_unfinished_body(store: &mut Store<HostState>) -> bool {
    store.data_mut().table.iter_mut().any(|entry| (*entry).is::<HostOutgoingBody>())
}
