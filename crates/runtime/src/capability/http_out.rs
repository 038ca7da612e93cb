//! Outgoing HTTP, of `wasi:http` and of Spin 1: to the world, to the app itself and to its other components.
//!
//! A request is checked against `allowed_outbound_hosts`, then goes one of three ways: to another component of
//! the app in this process, to our own listener, or through the egress door. Connections are kept and used again
//! within one app, never between apps.

mod body;
mod client;
mod connection;
mod error;
mod pool;
mod send;
mod spin1;

use std::sync::{Arc, OnceLock};

use gyre_telemetry::{Blame, Span};
use http::HeaderName;
use tokio::sync::Semaphore;
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody,
    WasiHttpHooks, WasiHttpView,
    p2::{
        HttpResult,
        bindings::http::{
            outgoing_handler,
            types::{ErrorCode, Scheme},
        },
        types::{HostFutureIncomingResponse, HostOutgoingRequest},
    },
};

pub(crate) use client::add_to_linker as add_async_to_linker;
pub(crate) use pool::Pool;

use super::{
    Origin,
    traced::{Blamed, noted},
};
use crate::host::HostState;

/// Requests to this host go to the app itself: for SDKs that cannot send one without a host.
const SELF_HOST: &str = "self.alt";

/// The latest version of `wasi:http` 0.2; the engine gives it to guests of every earlier one.
const OUTGOING_HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";

type Request = Resource<HostOutgoingRequest>;
type FutureResponse = Resource<HostFutureIncomingResponse>;

/// Links `wasi:http/outgoing-handler` and Spin 1's own interface.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin1::add_to_linker(linker)?;
    linker.instance(OUTGOING_HANDLER)?.func_wrap(
        "handle",
        |mut store: StoreContextMut<'_, HostState>,
         (request, options): (Request, Option<Resource<RequestOptions>>)|
         -> wasmtime::Result<(Result<FutureResponse, ErrorCode>,)> {
            let response = store.data_mut().handle_outgoing(request, options);
            Ok((match response {
                Ok(response) => Ok(response),
                Err(error) => Err(error.downcast()?),
            },))
        },
    )
}

impl HostState {
    /// Sends a guest's request.
    pub(crate) fn handle_outgoing(
        &mut self,
        request: Request,
        options: Option<Resource<RequestOptions>>,
    ) -> HttpResult<FutureResponse> {
        // A request without a host is one to the app itself. Behind this there is no URI without one.
        let outgoing = self.table.get_mut(&request)?;
        let host = outgoing.authority.as_deref().unwrap_or_default();
        if host.is_empty() || host.starts_with(':') {
            outgoing.authority = Some(SELF_HOST.to_owned());
            outgoing.scheme = Some(Scheme::Http);
        }
        // No path means the empty one, which HTTP writes as this.
        outgoing.path_with_query.get_or_insert_with(|| "/".to_owned());
        outgoing_handler::Host::handle(&mut self.http(), request, options)
    }
}

/// How one instance's `wasi:http` sends requests.
pub(crate) struct Hooks {
    origin: Origin,
    /// Requests that the instance may have under way; made by the first.
    permits: Option<Arc<Semaphore>>,
}

impl Hooks {
    pub(crate) fn new(origin: Origin) -> Self {
        Self { origin, permits: None }
    }

    /// Whose hooks they are.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn origin_mut(&mut self) -> &mut Origin {
        &mut self.origin
    }

    fn permits(&mut self) -> Option<Arc<Semaphore>> {
        let limit = self.origin.app.limits.outbound_per_instance?;
        let made = || Arc::new(Semaphore::new(limit as usize));
        Some(self.permits.get_or_insert_with(made).clone())
    }
}

/// What becomes of a request, or of a response's rest.
type Sent = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        static FILTER: OnceLock<ForbiddenHeaderFilter> = OnceLock::new();
        FILTER.get_or_init(|| Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name))).clone()
    }

    /// With the next one, what is buffered of one body between guest and connection: 256 KiB at most.
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        3
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        64 << 10
    }

    /// Two of these at once are buffered between guest and connection.
    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        64 << 10
    }

    /// It is set when it is known where the request goes.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Sent,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Sent), Error>> + Send> {
        let (origin, permits) = (self.origin.clone(), self.permits());
        // Now, and not when it is polled: who asks is known now.
        let mut span = begin(&origin, &mut request);
        Box::new(async move {
            let sent = send::send(origin, permits, request, options.unwrap_or_default()).await;
            if let (true, Ok(response)) = (span.is_on(), &sent) {
                span.set("http.response.status_code", response.status().as_u16());
            }
            let response = noted(span, sent)?;
            Ok((response, Box::new(async { Ok(()) }) as Sent))
        })
    }
}

/// The span of a request, which is named in its headers.
fn begin(origin: &Origin, request: &mut http::Request<WasiBody>) -> Span {
    let mut span = origin.trace.client("spin_outbound_http.send_request");
    if span.is_on() {
        let (method, uri) = (request.method().to_string(), request.uri());
        span.set("url.full", without_credentials(uri));
        if let Some(authority) = uri.authority() {
            let usual = if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { 443 } else { 80 };
            span.set("server.address", authority.host().to_owned());
            span.set("server.port", authority.port_u16().unwrap_or(usual));
        }
        span.set("http.request.method", method.clone());
        span.rename(|| method);
        span.inject(request.headers_mut());
    }
    span
}

/// The address as anybody may read it.
fn without_credentials(uri: &http::Uri) -> String {
    let text = uri.to_string();
    match uri.authority().and_then(|it| it.as_str().rsplit_once('@')) {
        Some((credentials, _)) => text.replacen(&format!("{credentials}@"), "", 1),
        None => text,
    }
}

impl Blamed for Error {
    fn blame(&self) -> Blame {
        match self {
            Self::HttpRequestDenied
            | Self::HttpRequestUriInvalid
            | Self::HttpRequestMethodInvalid => Blame::Guest,
            _ => Blame::Host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spans_address_has_no_credentials() {
        let shown = |uri: &str| without_credentials(&uri.parse().unwrap());
        assert_eq!(shown("http://user:secret@a.example/@x?y=@"), "http://a.example/@x?y=@");
        assert_eq!(shown("https://a.example:8443/x@y"), "https://a.example:8443/x@y");
        assert_eq!(shown("/only/a/path"), "/only/a/path");
    }
}
