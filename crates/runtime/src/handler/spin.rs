//! `fermyon:spin/inbound-http`: request and response are all there before they are passed on.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::CONTENT_LENGTH, request, uri::PathAndQuery,
};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use wasmtime::{Store, component::InstancePre};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, WasiBody};

use crate::{
    call::CallState,
    capability::spin_http::{SpinHttpPre, spin::http_types as types},
    failure::Failure,
    host::HostState,
    run::{Ended, Guest},
};

/// Its name.
pub(super) const NAME: &str = "fermyon:spin/inbound-http";

/// The longest body of a request that is kept for a guest, in bytes: as much as the other interfaces buffer.
pub(super) const REQUEST_BODY_BYTES: u64 = 128 << 20;

/// A component that can be instantiated and has the handler.
pub(super) fn pre(pre: &InstancePre<HostState>) -> wasmtime::Result<SpinHttpPre<HostState>> {
    SpinHttpPre::new(pre.clone())
}

/// A fresh instance that is to answer a request.
pub(super) fn answer(
    pre: SpinHttpPre<HostState>,
    mut store: Store<HostState>,
    request: Request<WasiBody>,
    call: Arc<CallState>,
) -> Guest {
    Box::pin(async move {
        let result = match method(request.method()) {
            Some(method) => respond(&pre, &mut store, method, request).await,
            None => Ok(Some(status(StatusCode::METHOD_NOT_ALLOWED))),
        };
        let result = result.map(|response| {
            if let Some(response) = response {
                call.answer(Ok(response));
            }
        });
        Ended { is_answer_whole: result.is_ok(), result }
    })
}

/// What the guest says; nothing if it ends as a program does that is done.
async fn respond(
    pre: &SpinHttpPre<HostState>,
    store: &mut Store<HostState>,
    method: types::Method,
    request: Request<WasiBody>,
) -> wasmtime::Result<Option<Response<WasiBody>>> {
    let (head, body) = request.into_parts();
    let is_head = head.method == Method::HEAD;
    // A guest cannot take more than it has memory.
    let memory = store.data().app.limits.memory_bytes.unwrap_or(u64::MAX);
    let body = whole(body, REQUEST_BODY_BYTES.min(memory)).await?;
    let request = of_client(method, &head, body)?;
    let instance = pre.instantiate_async(&mut *store).await?;
    store.data_mut().instantiated();
    let said =
        instance.fermyon_spin_inbound_http().call_handle_request(&mut *store, &request).await;
    match said {
        Ok(response) => Ok(Some(of_guest(response, is_head)?)),
        Err(error) if error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn whole(body: WasiBody, limit: u64) -> Result<Bytes, Failure> {
    let too_large = || {
        let reason = format!("request_body limit of {limit} bytes reached");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => {
            if let Some(Error::HttpRequestBodySize(_)) = error.downcast_ref() {
                return Err(too_large());
            }
            let reason = format!("the request's body did not come: {error}");
            Err(Failure::new(StatusCode::BAD_REQUEST, reason))
        }
    }
}

/// The method, if the interface has it.
fn method(method: &Method) -> Option<types::Method> {
    Some(match *method {
        Method::GET => types::Method::Get,
        Method::POST => types::Method::Post,
        Method::PUT => types::Method::Put,
        Method::DELETE => types::Method::Delete,
        Method::PATCH => types::Method::Patch,
        Method::HEAD => types::Method::Head,
        Method::OPTIONS => types::Method::Options,
        _ => return None,
    })
}

/// The request as the guest sees it. It always has a body, if an empty one.
fn of_client(
    method: types::Method,
    head: &request::Parts,
    body: Bytes,
) -> Result<types::Request, Failure> {
    let mut headers = Vec::with_capacity(head.headers.len());
    for (name, value) in &head.headers {
        let value = str::from_utf8(value.as_bytes()).map_err(|_| {
            let reason =
                format!("the request's header {name} is no text, which its interface has only");
            Failure::new(StatusCode::BAD_REQUEST, reason)
        })?;
        headers.push((name.to_string(), value.to_owned()));
    }
    let uri = head.uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
    // The interface has parameters, which Spin has not filled in since they are in the URI.
    Ok(types::Request { method, uri, headers, params: Vec::new(), body: Some(body.into()) })
}

/// The guest's response as the client sees it.
fn of_guest(said: types::Response, is_head: bool) -> Result<Response<WasiBody>, Failure> {
    let number = said.status;
    let status = StatusCode::from_u16(number).ok().filter(|_| (100..=600).contains(&number));
    let Some(status) = status else {
        let reason = format!("the guest answered with status {number}, which is none of HTTP's");
        return Err(Failure::of_guest(reason));
    };
    let mut headers = HeaderMap::new();
    for (name, value) in said.headers.unwrap_or_default() {
        let name: HeaderName = name.parse().map_err(|_| not_a_header(&name))?;
        let value: HeaderValue = value.parse().map_err(|_| not_a_header(name.as_str()))?;
        // How the body is sent is not the guest's to say, unless there is none.
        if DEFAULT_FORBIDDEN_HEADERS.contains(&name) || (name == CONTENT_LENGTH && !is_head) {
            continue;
        }
        headers.append(name, value);
    }
    let body = Full::from(said.body.unwrap_or_default()).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn not_a_header(name: &str) -> Failure {
    Failure::of_guest(format!("the guest's header {name:?}, or its value, is none of HTTP's"))
}

fn status(status: StatusCode) -> Response<WasiBody> {
    let body = Full::default().map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}
