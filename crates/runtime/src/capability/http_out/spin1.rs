//! `fermyon:spin/http`, without a version: the request is all there before it is sent, and the response before the
//! guest sees it. On the same way out as `wasi:http`, each hop of a redirect for itself.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{
        ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION,
    },
};
use http_body_util::{BodyExt as _, Full};
use url::Url;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, WasiBody, WasiHttpHooks as _};

use super::SELF_HOST;
use crate::{
    capability::{
        bindings::http::spin::{
            http::{self as interface, Host},
            http_types::{self as types, HttpError},
        },
        server::RESULT_BYTES,
    },
    host::{HasHost, HostState},
};

/// How many redirects are followed, as Spin's client does.
const REDIRECTS: usize = 10;

/// Links the interface and the types that `fermyon:spin/inbound-http` shares with it.
pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    types::add_to_linker::<HostState, HasHost>(linker, |host| host)?;
    interface::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

/// A request that can be sent again.
struct Outgoing {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

impl Outgoing {
    fn new(request: types::Request) -> Result<Self, HttpError> {
        let relative = request.uri.starts_with('/').then(|| format!("http://{SELF_HOST}"));
        let uri = relative.unwrap_or_default() + &request.uri;
        let url = Url::parse(&uri).ok().filter(is_http).ok_or(HttpError::InvalidUrl)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let name: HeaderName = name.parse().map_err(|_| HttpError::RequestError)?;
            let value: HeaderValue = value.parse().map_err(|_| HttpError::RequestError)?;
            // What these say is decided by where the request goes and how long its body is.
            if !DEFAULT_FORBIDDEN_HEADERS.contains(&name) && name != CONTENT_LENGTH {
                headers.append(name, value);
            }
        }
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let method = match request.method {
            types::Method::Get => Method::GET,
            types::Method::Post => Method::POST,
            types::Method::Put => Method::PUT,
            types::Method::Delete => Method::DELETE,
            types::Method::Patch => Method::PATCH,
            types::Method::Head => Method::HEAD,
            types::Method::Options => Method::OPTIONS,
        };
        let body = request.body.map(Bytes::from).unwrap_or_default();
        Ok(Self { method, url, headers, body })
    }

    /// As it is sent.
    fn request(&self) -> Result<http::Request<WasiBody>, HttpError> {
        let mut url = self.url.clone();
        url.set_fragment(None);
        let uri: Uri = url.as_str().parse().map_err(|_| HttpError::InvalidUrl)?;
        let body = Full::new(self.body.clone()).map_err(|never| match never {});
        let mut request = http::Request::new(body.boxed_unsync());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        request.headers_mut().clone_from(&self.headers);
        if !self.headers.contains_key(AUTHORIZATION)
            && let Some(credentials) = credentials(&self.url)
        {
            request.headers_mut().insert(AUTHORIZATION, credentials);
        }
        Ok(request)
    }

    /// Makes it the one that the answer leads to. Whether it leads anywhere.
    fn follow(&mut self, status: StatusCode, answer: &HeaderMap) -> bool {
        let keeps_body =
            matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        let is_redirect = keeps_body
            || matches!(
                status,
                StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER
            );
        let location = answer.get(LOCATION).and_then(|location| location.to_str().ok());
        let next = location.and_then(|location| self.url.join(location).ok()).filter(is_http);
        let Some(next) = next.filter(|_| is_redirect) else { return false };
        if !keeps_body {
            if self.method != Method::HEAD {
                self.method = Method::GET;
            }
            self.body = Bytes::new();
            self.headers.remove(CONTENT_TYPE);
            self.headers.remove(CONTENT_ENCODING);
        }
        // What one host is told in confidence is not for another.
        if next.host() != self.url.host()
            || next.port_or_known_default() != self.url.port_or_known_default()
        {
            self.headers.remove(AUTHORIZATION);
            self.headers.remove(COOKIE);
        }
        self.url = next;
        true
    }
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

/// The user and password of a URL, as a header.
fn credentials(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    let mut pair = decoded(url.username());
    pair.push(b':');
    pair.extend(decoded(url.password().unwrap_or_default()));
    let mut value: HeaderValue = format!("Basic {}", BASE64.encode(pair)).parse().ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl HostState {
    async fn send_whole(&mut self, request: types::Request) -> Result<types::Response, HttpError> {
        let mut outgoing = Outgoing::new(request)?;
        for _ in 0..=REDIRECTS {
            let done = Box::new(async { Ok(()) });
            let hooks = &mut self.capabilities.http;
            let sent = hooks.send_request(outgoing.request()?, None, done);
            let answer = Box::into_pin(sent).await;
            let (response, _) = answer.map_err(|error| self.not_sent(&outgoing.url, &error))?;
            let (head, body) = response.into_parts();
            if outgoing.follow(head.status, &head.headers) {
                continue;
            }
            return self.whole(&outgoing.url, &head, body).await;
        }
        self.sending_failed(&outgoing.url, &format!("more than {REDIRECTS} redirects"));
        Err(HttpError::RuntimeError)
    }

    /// The response with its body. Its header's values that are no text are left out.
    async fn whole(
        &mut self,
        url: &Url,
        head: &http::response::Parts,
        mut body: WasiBody,
    ) -> Result<types::Response, HttpError> {
        let headers: Vec<(String, String)> = head
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect();
        // A guest cannot take more than it has memory.
        let memory = self.app.limits.memory_bytes.unwrap_or(u64::MAX);
        let limit = usize::try_from(RESULT_BYTES.min(memory)).unwrap_or(usize::MAX);
        let mut left = headers.iter().try_fold(limit, |left, (name, value)| {
            left.checked_sub(size_of::<(String, String)>() + name.len() + value.len())
        });
        let mut bytes = Vec::new();
        while let Some(room) = left {
            let Some(frame) = body.frame().await else {
                return Ok(types::Response {
                    status: head.status.as_u16(),
                    headers: Some(headers),
                    body: Some(bytes),
                });
            };
            let frame = frame.map_err(|error| self.not_sent(url, &error))?;
            if let Ok(data) = frame.into_data() {
                left = room.checked_sub(data.len());
                if left.is_some() {
                    bytes.extend_from_slice(&data);
                }
            }
        }
        self.sending_failed(url, &format!("the response exceeds limit of {limit} bytes"));
        Err(HttpError::RuntimeError)
    }

    /// What the guest is told when a request or its response breaks.
    fn not_sent(&self, url: &Url, error: &Error) -> HttpError {
        match error {
            // It is in the log already, with what to do.
            Error::HttpRequestDenied | Error::DestinationIpProhibited => {
                HttpError::DestinationNotAllowed
            }
            Error::HttpRequestUriInvalid => HttpError::InvalidUrl,
            Error::ConnectionLimitReached => HttpError::TooManyRequests,
            _ => {
                self.sending_failed(url, &error.to_string());
                HttpError::RuntimeError
            }
        }
    }

    /// Says in the app's log what the interface has no words for. Path and query may hold what is secret.
    fn sending_failed(&self, url: &Url, reason: &str) {
        let to = url.origin().ascii_serialization();
        self.capabilities.origin().log(&format!("Outbound HTTP request to {to} failed: {reason}"));
    }
}

impl types::Host for HostState {}

impl Host for HostState {
    async fn send_request(
        &mut self,
        request: types::Request,
    ) -> wasmtime::Result<Result<types::Response, HttpError>> {
        Ok(self.send_whole(request).await)
    }
}
