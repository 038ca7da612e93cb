//! From a request as hyper read it to the upstream that answers it: hygiene, the host, the routing table.

use std::{cell::RefCell, convert::Infallible, rc::Rc, sync::Arc, sync::atomic::Ordering::Relaxed};

use gyre_model::{Connection, Upstream};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER},
    uri::{Authority, Scheme},
};
use hyper::body::Incoming;

use crate::{
    Forwarded, Host, RequestBody, Routes,
    body::ResponseBody,
    connection::{Answering, Watch},
};

/// What answers the requests of one worker.
pub(crate) struct Service<U: Upstream> {
    pub(crate) upstream: U,
    pub(crate) routes: Arc<Routes<U::Target>>,
    pub(crate) forwarded: Forwarded,
    pub(crate) unknown_host: &'static str,
}

impl<U: Upstream> Clone for Service<U> {
    fn clone(&self) -> Self {
        Self {
            upstream: self.upstream.clone(),
            routes: self.routes.clone(),
            forwarded: self.forwarded,
            unknown_host: self.unknown_host,
        }
    }
}

impl<U: Upstream> Service<U> {
    pub(crate) fn on(self, watch: Rc<Watch>, connection: Connection) -> OnConnection<U> {
        let on_loopback = connection.local.ip().to_canonical().is_loopback();
        OnConnection { service: self, watch, connection, on_loopback, last: RefCell::default() }
    }
}

/// What answers the requests of one connection.
pub(crate) struct OnConnection<U: Upstream> {
    service: Service<U>,
    watch: Rc<Watch>,
    connection: Connection,
    on_loopback: bool,
    /// The host of the request before: on one connection it is nearly always the same.
    last: RefCell<Option<(Authority, Host)>>,
}

/// Why the edge answers a request itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// Not a request that a server could answer, or one that could be read in two ways. Ends the connection.
    Malformed,
    /// CONNECT: Gyre is no proxy.
    Method,
    UriTooLong,
    HeadTooLarge,
    /// `OPTIONS *`: there is nothing to say about the server as such.
    NoResource,
    UnknownHost,
    Overloaded,
}

/// Answers one request.
pub(crate) fn answer<U: Upstream>(
    service: &Rc<OnConnection<U>>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody<U::Body>>, Infallible>> + use<U> {
    let on = service.clone();
    async move {
        let answering = Answering::new(on.watch.clone());
        let is_http2 = request.version() == Version::HTTP_2;
        // The upstream's future borrows nothing: neither the table nor the target is held while it runs.
        let future = match on.prepare(request) {
            Err(refusal) => Err(refusal),
            Ok((request, host)) => match on.service.routes.load().find(&host, on.on_loopback) {
                None => Err(Refusal::UnknownHost),
                Some(target) => Ok(on.service.upstream.call(target, request, on.connection)),
            },
        };
        let mut response = match future {
            Ok(future) => {
                let response = future.await;
                // What is informational to HTTP/1 is no answer; hyper would not send it.
                if response.status().is_informational() {
                    status(StatusCode::INTERNAL_SERVER_ERROR)
                } else {
                    response.map(|body| ResponseBody::upstream(body, Some(answering)))
                }
            }
            Err(refusal) => on.refuse(refusal, is_http2),
        };
        if on.watch.worker().is_draining() && !is_http2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

impl<U: Upstream> OnConnection<U> {
    /// Checks a request, and makes its URI absolute.
    fn prepare(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<(Request<RequestBody>, Host), Refusal> {
        let worker = self.watch.worker();
        let limits = &worker.limits;
        if limits.requests_per_worker.is_some_and(|limit| worker.requests.get() > limit) {
            return Err(Refusal::Overloaded);
        }
        if request.method() == Method::CONNECT {
            return Err(Refusal::Method);
        }
        let Some(target) = request.uri().path_and_query() else { return Err(Refusal::Malformed) };
        if target.as_str().len() > limits.uri_bytes {
            return Err(Refusal::UriTooLong);
        }
        if request.headers().len() > limits.headers {
            return Err(Refusal::HeadTooLarge);
        }
        let (authority, host) = self.host(request.uri(), request.headers())?;
        if target.path() == "*" {
            let is_options = request.method() == Method::OPTIONS;
            return Err(if is_options { Refusal::NoResource } else { Refusal::Malformed });
        }
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if self.connection.is_tls { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(authority);
        parts.path_and_query = Some(target.clone());
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Refusal::Malformed)?;
        if self.service.forwarded == Forwarded::Strip {
            strip_forwarded(request.headers_mut());
        }
        Ok((request.map(|body| RequestBody::new(body, limits.body_rate)), host))
    }

    /// The host that a request is for: named once, or twice in the same way.
    fn host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(Authority, Host), Refusal> {
        let mut named = headers.get_all(HOST).iter();
        let (header, second) = (named.next(), named.next());
        if second.is_some() {
            return Err(Refusal::Malformed);
        }
        let Some(authority) = uri.authority() else {
            return self.known_host(header.ok_or(Refusal::Malformed)?);
        };
        // The target names a host: always in HTTP/2, and in HTTP/1 where a client takes us for a proxy.
        let host = Host::parse(authority.as_str()).map_err(|_| Refusal::Malformed)?;
        let default_port = if self.connection.is_tls { 443 } else { 80 };
        match header.map(|header| Host::parse(header.as_bytes())) {
            Some(Ok(header)) if header.is_same(&host, default_port) => {}
            // HTTP/2 needs no such header.
            None if self.watch.is_http2() => {}
            _ => return Err(Refusal::Malformed),
        }
        Ok((authority.clone(), host))
    }

    fn known_host(&self, header: &HeaderValue) -> Result<(Authority, Host), Refusal> {
        let mut last = self.last.borrow_mut();
        if let Some((authority, host)) = &*last
            && authority.as_str().as_bytes() == header.as_bytes()
        {
            return Ok((authority.clone(), host.clone()));
        }
        let host = Host::parse(header.as_bytes()).map_err(|_| Refusal::Malformed)?;
        let authority = Authority::try_from(header.as_bytes()).map_err(|_| Refusal::Malformed)?;
        *last = Some((authority.clone(), host.clone()));
        Ok((authority, host))
    }

    fn refuse(&self, refusal: Refusal, is_http2: bool) -> Response<ResponseBody<U::Body>> {
        let admission = &self.watch.worker().admission;
        let counter = match refusal {
            Refusal::Overloaded => &admission.overloaded_requests,
            _ => &admission.refused_requests,
        };
        counter.fetch_add(1, Relaxed);
        let mut response = match refusal {
            Refusal::Malformed => status(StatusCode::BAD_REQUEST),
            Refusal::Method => status(StatusCode::METHOD_NOT_ALLOWED),
            Refusal::UriTooLong => status(StatusCode::URI_TOO_LONG),
            Refusal::HeadTooLarge => status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Refusal::NoResource => status(StatusCode::NOT_FOUND),
            Refusal::Overloaded => status(StatusCode::SERVICE_UNAVAILABLE),
            Refusal::UnknownHost => {
                let mut response = Response::new(ResponseBody::own(self.service.unknown_host));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        };
        let headers = response.headers_mut();
        if refusal == Refusal::UnknownHost && !self.service.unknown_host.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        }
        if refusal == Refusal::Overloaded {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        let ends = matches!(refusal, Refusal::Malformed | Refusal::Method | Refusal::HeadTooLarge);
        if ends && !is_http2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

fn status<B>(status: StatusCode) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::own(""));
    *response.status_mut() = status;
    response
}

/// Removes what a client says of proxies that it came through.
fn strip_forwarded(headers: &mut HeaderMap) {
    let is_forwarded =
        |name: &str| name.starts_with("x-forwarded") || matches!(name, "forwarded" | "x-real-ip");
    if !headers.keys().any(|name| is_forwarded(name.as_str())) {
        return;
    }
    let names: Vec<_> =
        headers.keys().filter(|name| is_forwarded(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_of_proxies_is_removed() {
        let mut headers = HeaderMap::new();
        for name in ["x-forwarded-for", "X-Forwarded-Host", "forwarded", "x-real-ip", "x-forward"] {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(&name, HeaderValue::from_static("a"));
            headers.append(name, HeaderValue::from_static("b"));
        }
        strip_forwarded(&mut headers);
        assert_eq!(headers.len(), 2);
        assert!(headers.contains_key("x-forward"));
    }
}
