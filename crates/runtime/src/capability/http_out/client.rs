//! `wasi:http/client` 0.3, on the same way out as 0.2's outgoing handler.

use http::uri::{Authority, PathAndQuery, Scheme};
use wasmtime::component::{Accessor, HasData, Linker, Resource};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::{
    WasiHttp, WasiHttpCtxView, WasiHttpView as _,
    p3::{
        Request, Response,
        bindings::http::{
            client::{self, HostWithStore},
            types::ErrorCode,
        },
    },
};

use super::SELF_HOST;
use crate::host::HostState;

/// Links `wasi:http/client`.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    client::add_to_linker::<_, HasClient>(linker, HostState::http)
}

/// Names what `wasi:http` works on, with a client of our own.
struct HasClient;

impl HasData for HasClient {
    type Data<'a> = WasiHttpCtxView<'a>;
}

impl HostWithStore<HostState> for HasClient {
    async fn send(
        store: &Accessor<HostState, Self>,
        request: Resource<Request>,
    ) -> Result<Resource<Response>, TrappableError<ErrorCode>> {
        store
            .with(|mut store| {
                complete(store.get().table.get_mut(&request)?);
                wasmtime::error::Ok(())
            })
            .map_err(TrappableError::trap)?;
        let store = store.with_getter::<WasiHttp>(HostState::http);
        <WasiHttp as HostWithStore<HostState>>::send(&store, request).await
    }
}

/// Makes a request without a host one to the app itself, and one without a path one for `/`.
fn complete(request: &mut Request) {
    let host = request.authority.as_ref().map(Authority::as_str).unwrap_or_default();
    if host.is_empty() || host.starts_with(':') {
        request.authority = Some(Authority::from_static(SELF_HOST));
        request.scheme = Some(Scheme::HTTP);
    }
    request.path_with_query.get_or_insert(PathAndQuery::from_static("/"));
}
