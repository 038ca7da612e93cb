//! What the guest programs share: a request and a responder over plain `wasi:http` 0.2, and the bindings
//! of Spin's interfaces. No SDK: what goes over the wire is decided here.

pub mod spin;

use std::io::{Read, Write};

pub use wasip2;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// Makes `handler: fn(Request, Responder)` the component's `wasi:http/incoming-handler`.
#[macro_export]
macro_rules! serve {
    ($handler:path) => {
        struct Guest;

        impl wasip2::exports::http::incoming_handler::Guest for Guest {
            fn handle(
                request: wasip2::http::types::IncomingRequest,
                out: wasip2::http::types::ResponseOutparam,
            ) {
                $handler($crate::Request::new(request), $crate::Responder::new(out));
            }
        }

        wasip2::http::proxy::export!(Guest);
    };
}

/// A request to this component.
pub struct Request {
    inner: IncomingRequest,
}

impl Request {
    pub fn new(inner: IncomingRequest) -> Self {
        Self { inner }
    }

    /// The method as it is written in the request line.
    pub fn method(&self) -> String {
        match self.inner.method() {
            Method::Get => "GET".into(),
            Method::Head => "HEAD".into(),
            Method::Post => "POST".into(),
            Method::Put => "PUT".into(),
            Method::Delete => "DELETE".into(),
            Method::Connect => "CONNECT".into(),
            Method::Options => "OPTIONS".into(),
            Method::Trace => "TRACE".into(),
            Method::Patch => "PATCH".into(),
            Method::Other(name) => name,
        }
    }

    /// Path and query as received.
    pub fn path_and_query(&self) -> String {
        self.inner.path_with_query().unwrap_or_default()
    }

    /// The path alone.
    pub fn path(&self) -> String {
        self.path_and_query().split('?').next().unwrap_or_default().to_owned()
    }

    /// The first value of `name` in the query, percent-decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let whole = self.path_and_query();
        let (_, query) = whole.split_once('?')?;
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| percent_decode(value))
        })
    }

    /// As `query`, as a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.query(name)?.parse().ok()
    }

    /// Headers in the order received.
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.inner.headers().entries()
    }

    /// The first header of that name, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let value = self.inner.headers().get(name).into_iter().next()?;
        Some(String::from_utf8_lossy(&value).into_owned())
    }

    /// The scheme and authority that the host reports.
    pub fn scheme_and_authority(&self) -> (String, String) {
        let scheme = self.inner.scheme().map(|scheme| format!("{scheme:?}")).unwrap_or_default();
        (scheme, self.inner.authority().unwrap_or_default())
    }

    /// The body, to be read as it arrives.
    pub fn body(&self) -> Body {
        let body = self.inner.consume().expect("the body is asked for once");
        let stream = body.stream().expect("the stream is asked for once");
        Body { stream: Some(stream), body: Some(body) }
    }

    /// The body, to be moved elsewhere without being read.
    pub fn splice_source(&self) -> Source {
        let body = self.body();
        Source { body }
    }

    /// The whole body.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.body().read_to_end(&mut bytes).expect("the body arrives");
        bytes
    }
}

/// An incoming body: a request's or a response's.
pub struct Body {
    stream: Option<InputStream>,
    body: Option<IncomingBody>,
}

impl Body {
    pub fn of_response(response: &wasip2::http::types::IncomingResponse) -> Self {
        let body = response.consume().expect("the body is asked for once");
        let stream = body.stream().expect("the stream is asked for once");
        Self { stream: Some(stream), body: Some(body) }
    }

    /// The next piece, or `None` at the end.
    pub fn piece(&mut self) -> Option<Vec<u8>> {
        let stream = self.stream.as_ref()?;
        match stream.blocking_read(64 * 1024) {
            Ok(bytes) => Some(bytes),
            Err(StreamError::Closed) => None,
            Err(StreamError::LastOperationFailed(error)) => {
                panic!("reading a body: {}", error.to_debug_string())
            }
        }
    }
}

/// A body that is moved elsewhere.
pub struct Source {
    body: Body,
}

impl Source {
    /// Moves what is there, at most `length` bytes; says how much.
    pub fn splice(&self, to: &OutputStream, length: u64) -> u64 {
        self.moved(|from| to.splice(from, length))
    }

    /// Waits for something to move.
    pub fn blocking_splice(&self, to: &OutputStream, length: u64) -> u64 {
        self.moved(|from| to.blocking_splice(from, length))
    }

    fn moved(&self, step: impl FnOnce(&InputStream) -> Result<u64, StreamError>) -> u64 {
        let from = self.body.stream.as_ref().expect("it is open");
        step(from).expect("it can be moved")
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.stream.as_mut() {
            Some(stream) => stream.read(buffer),
            None => Ok(0),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.stream.take();
        if let Some(body) = self.body.take() {
            drop(IncomingBody::finish(body));
        }
    }
}

/// Where the answer goes.
pub struct Responder {
    out: ResponseOutparam,
}

impl Responder {
    pub fn new(out: ResponseOutparam) -> Self {
        Self { out }
    }

    /// Sends a whole answer.
    pub fn send(self, status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let length = body.len().to_string();
        let mut headers = headers.to_vec();
        headers.push(("content-length", &length));
        let mut stream = self.start(status, &headers);
        stream.write_all(body).expect("the body is taken");
        stream.finish();
    }

    /// Sends text with status 200.
    pub fn text(self, text: impl AsRef<str>) {
        self.send(200, &[("content-type", "text/plain")], text.as_ref().as_bytes());
    }

    /// Sends the head; the body is written to what is returned.
    pub fn start(self, status: u16, headers: &[(&str, &str)]) -> Stream {
        let fields = Fields::new();
        for (name, value) in headers {
            fields.append(name, value.as_bytes()).expect("the header is allowed");
        }
        self.start_with(status, fields)
    }

    /// As `start`, with fields made elsewhere.
    pub fn start_with(self, status: u16, fields: Fields) -> Stream {
        let response = OutgoingResponse::new(fields);
        response.set_status_code(status).expect("the status is allowed");
        let body = response.body().expect("the body is asked for once");
        let stream = body.write().expect("the stream is asked for once");
        ResponseOutparam::set(self.out, Ok(response));
        Stream { stream: Some(stream), body: Some(body) }
    }

    /// Never answers: the outparam is dropped without having been set.
    pub fn abandon(self) {
        drop(self.out);
    }
}

/// An outgoing body.
pub struct Stream {
    stream: Option<OutputStream>,
    body: Option<OutgoingBody>,
}

impl Stream {
    /// Of a body that is about to be sent.
    pub fn of(body: OutgoingBody) -> Self {
        let stream = body.write().expect("the stream is asked for once");
        Self { stream: Some(stream), body: Some(body) }
    }

    /// Ends the body properly. Dropping a `Stream` instead leaves it cut off.
    pub fn finish(mut self) {
        self.stream.take();
        let body = self.body.take().expect("finish takes self");
        OutgoingBody::finish(body, None).expect("the body ends");
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.as_mut().expect("finish takes self").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.as_mut().expect("finish takes self").flush()
    }
}

/// `%41` → `A`, `+` → space; what is not well-formed stays.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match (bytes[at], hex.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// What came back from elsewhere.
pub struct Fetched {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// Fetches `url`; the error is the host's code as text.
pub fn fetch(
    method: &Method,
    url: &str,
    headers: &[(&str, &str)],
    content: Option<&[u8]>,
) -> Result<Fetched, String> {
    use wasip2::http::outgoing_handler;
    use wasip2::http::types::{OutgoingRequest, Scheme};

    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value.as_bytes()).map_err(|error| format!("{error:?}"))?;
    }
    let request = OutgoingRequest::new(fields);
    request.set_method(method).map_err(|()| "method refused".to_owned())?;
    let (scheme, rest) = match url.split_once("://") {
        Some(("http", rest)) => (Some(Scheme::Http), rest),
        Some(("https", rest)) => (Some(Scheme::Https), rest),
        Some((other, rest)) => (Some(Scheme::Other(other.to_owned())), rest),
        None => (None, url),
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    request.set_scheme(scheme.as_ref()).map_err(|()| "scheme refused".to_owned())?;
    let authority = (!authority.is_empty()).then_some(authority);
    request.set_authority(authority).map_err(|()| "authority refused".to_owned())?;
    request.set_path_with_query(Some(path)).map_err(|()| "path refused".to_owned())?;
    let body = request.body().map_err(|()| "no body".to_owned())?;
    let response = outgoing_handler::handle(request, None).map_err(|error| format!("{error:?}"))?;
    if let Some(content) = content {
        let mut stream = Stream::of(body);
        stream.write_all(content).map_err(|error| error.to_string())?;
        stream.finish();
    } else {
        OutgoingBody::finish(body, None).map_err(|error| format!("{error:?}"))?;
    }
    response.subscribe().block();
    let response = response
        .get()
        .expect("it is ready")
        .expect("it is taken once")
        .map_err(|error| format!("{error:?}"))?;
    let headers = response.headers().entries();
    let mut bytes = Vec::new();
    Body::of_response(&response)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("body: {error}"))?;
    Ok(Fetched { status: response.status(), headers, body: bytes })
}

/// Sleeps without using the processor.
pub fn sleep(milliseconds: u64) {
    wasip2::clocks::monotonic_clock::subscribe_duration(milliseconds * 1_000_000).block();
}
