//! The HTTP trigger: from a request to the component that answers it, as Spin does it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::LazyLock,
};

use bytes::Bytes;
use gyre_manifest::{
    http::StaticResponse,
    routes::{RESERVED_PREFIX, Route, RouteMatch},
};
use gyre_model::{Connection, Digest};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri,
    header::{self, InvalidHeaderValue},
};
use http_body_util::Full;
use serde_json::json;
use wasmtime_wasi_http::WasiBody;

use crate::loaded::Loaded;

/// The answer to a request for the host itself, if it is one.
pub(crate) fn well_known(
    path: &str,
    loaded: &Loaded,
    image: Option<Digest>,
) -> Option<Response<Full<Bytes>>> {
    Some(match path.strip_prefix(RESERVED_PREFIX)? {
        "health" => Response::new(Full::from("OK")),
        "info" => {
            let mut info = json!({ "name": loaded.name });
            if let Some(version) = &loaded.version {
                info["version"] = json!(version);
            }
            if let Some(digest) = image {
                info["oci_image_digest"] = json!(digest);
            }
            let mut response = Response::new(Full::from(format!("{info:#}")));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        _ => status(StatusCode::NOT_FOUND),
    })
}

/// An answer that is a status and nothing more.
pub(crate) fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// The answer of a trigger without a component.
pub(crate) fn static_response(answer: &StaticResponse) -> Response<Full<Bytes>> {
    let body = answer.body.clone().unwrap_or_default();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    for (name, value) in &answer.headers {
        let pair = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value));
        if let (Ok(name), Ok(value)) = pair {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Who calls: a client, or another component of the app.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Caller {
    Client(Connection),
    Component,
}

impl Caller {
    fn address(self) -> SocketAddr {
        match self {
            Self::Client(connection) => connection.peer,
            Self::Component => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::Client(Connection { is_tls: true, .. }) => "https",
            _ => "http",
        }
    }
}

/// What a guest is told about its route: the same for each request, so made once.
pub(crate) struct RouteHeaders {
    matched: HeaderValue,
    raw: HeaderValue,
    prefix: HeaderValue,
}

impl RouteHeaders {
    /// The route, as the spans of its requests name it.
    pub(crate) fn route(&self) -> &str {
        self.matched.to_str().unwrap_or_default()
    }

    /// # Errors
    /// The route has a character that a header cannot have.
    pub(crate) fn new(route: &Route) -> Result<Self, InvalidHeaderValue> {
        Ok(Self {
            matched: HeaderValue::from_str(route.based())?,
            raw: HeaderValue::from_str(route.raw())?,
            prefix: HeaderValue::from_str(route.based_prefix())?,
        })
    }
}

/// Makes the request what the guest is to see: the client's `spin-*` headers and those about its connection are
/// gone, Spin's are there.
///
/// # Errors
/// A value that cannot be a header's.
pub(crate) fn prepare<T>(
    request: &mut Request<WasiBody>,
    found: &RouteMatch<'_, '_, T>,
    route: &RouteHeaders,
    caller: Caller,
) -> Result<(), InvalidHeaderValue> {
    let full_url = full_url(request, caller);
    let address = caller.address().to_string();
    let headers = request.headers_mut();
    headers.remove(header::CONNECTION);
    let forged: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("spin-")).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
    headers.reserve(8 + found.named.len());
    headers.insert(FULL_URL, value(full_url)?);
    headers.insert(PATH_INFO, HeaderValue::from_str(&found.path_info)?);
    headers.insert(MATCHED_ROUTE, route.matched.clone());
    headers.insert(RAW_COMPONENT_ROUTE, route.raw.clone());
    headers.insert(COMPONENT_ROUTE, route.prefix.clone());
    headers.insert(BASE_PATH, HeaderValue::from_static("/"));
    headers.insert(CLIENT_ADDR, value(address)?);
    for (name, matched) in &found.named {
        let name = format!("spin-path-match-{}", name.to_ascii_lowercase().replace('_', "-"));
        // A parameter whose name cannot be a header's is not told.
        if let Ok(name) = HeaderName::try_from(name) {
            headers.append(name, HeaderValue::from_str(matched)?);
        }
    }
    Ok(())
}

/// The same for a request of another component, whose route is `/...` whatever the callee's own is.
///
/// # Errors
/// A value that cannot be a header's.
pub(crate) fn prepare_chained(request: &mut Request<WasiBody>) -> Result<(), InvalidHeaderValue> {
    static HEADERS: LazyLock<RouteHeaders> =
        LazyLock::new(|| RouteHeaders::new(Route::everything()).expect("it is plain text"));
    let uri = request.uri().clone();
    prepare(request, &RouteMatch::synthetic(&(), uri.path()), &HEADERS, Caller::Component)
}

const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");
const RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");
const COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");
const BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");
const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");

/// A header's value out of a string, without copying it.
fn value(text: String) -> Result<HeaderValue, InvalidHeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::from(text))
}

/// Scheme, host as the client named it, path and query.
fn full_url(request: &Request<WasiBody>, caller: Caller) -> String {
    let uri = request.uri();
    let host = host(uri, request.headers()).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    format!("{}://{host}{path}", caller.scheme())
}

/// The host that the request is for, with its port, as the client named it.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    named.or(uri.authority().map(http::uri::Authority::as_str))
}

/// Whether the request is for no host, or for one that only components of one app may name: nobody outside is to
/// reach a component by its id.
pub(crate) fn is_internal(uri: &Uri, headers: &HeaderMap) -> bool {
    let Some(host) = host(uri, headers) else { return true };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_end_matches('.');
    const SUFFIX: &str = ".spin.internal";
    name.len() >= SUFFIX.len()
        && name.is_char_boundary(name.len() - SUFFIX.len())
        && name[name.len() - SUFFIX.len()..].eq_ignore_ascii_case(SUFFIX)
}

/// The length of the body that the response announces: 0 where it cannot have one.
pub(crate) fn announced_length<B>(response: &Response<B>) -> Option<u64> {
    let status = response.status();
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || status.is_informational()
    {
        return Some(0);
    }
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
