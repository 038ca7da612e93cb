//! An HTTP/1.1 client that connects to loopback whatever the host's name, shows everything that was
//! answered, and follows nothing.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;

/// The longest that an answer may take: longer than any limit of the server's that a test waits for.
const ANSWER_PATIENCE: Duration = Duration::from_mins(2);

/// A URL of a test: scheme, host, port, path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlParts {
    /// `http` or `https`.
    pub scheme: String,
    /// The host's name, without port.
    pub host: String,
    /// The port, also where it is the scheme's own.
    pub port: u16,
    /// The path, at least `/`.
    pub path: String,
}

impl UrlParts {
    /// Takes `url` apart; panics if it is none.
    #[track_caller]
    pub fn of(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or_else(|| panic!("not a URL: {url:?}"));
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => {
                (host, port.parse().unwrap_or_else(|_| panic!("not a port: {url:?}")))
            }
            None => (authority, if scheme == "https" { 443 } else { 80 }),
        };
        Self { scheme: scheme.to_owned(), host: host.to_owned(), port, path: path.to_owned() }
    }

    /// That port on loopback.
    pub fn loopback(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

/// Something that answers HTTP under a host name, on loopback.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where to connect.
    pub address: SocketAddr,
    /// What to send as `Host`.
    pub host: String,
    /// Sent with every request.
    pub headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value, empty if there is none.
    pub fn header(&self, name: &str) -> String {
        let value = self.headers.get(name).map(|value| value.to_str().unwrap_or_default());
        value.unwrap_or_default().to_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON: {error}: {} {}", self.status, self.text()))
    }

    /// Panics unless the status is `status`.
    #[track_caller]
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}: {}", self.headers, self.text());
        self
    }
}

/// Why there was no whole answer.
#[derive(Debug)]
pub enum Failure {
    /// Nobody listens.
    Connect(std::io::Error),
    /// The connection ended before the head.
    Head(String),
    /// The connection ended inside of the body; what had come is kept.
    Body {
        /// The status that was announced.
        status: u16,
        /// What came.
        received: Vec<u8>,
        /// Why it ended.
        reason: String,
    },
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "connecting: {error}"),
            Self::Head(error) => write!(f, "no head: {error}"),
            Self::Body { status, received, reason } => {
                write!(f, "{status}, cut after {} bytes: {reason}", received.len())
            }
        }
    }
}

impl std::error::Error for Failure {}

impl Site {
    /// The site of a URL, on loopback.
    #[track_caller]
    pub fn at(url: &str) -> Self {
        let parts = UrlParts::of(url);
        let host = match (parts.scheme.as_str(), parts.port) {
            ("http", 80) => parts.host.clone(),
            (_, port) => format!("{}:{port}", parts.host),
        };
        Self { address: parts.loopback(), host, headers: Vec::new() }
    }

    /// The same address under another host name.
    #[must_use]
    pub fn with_host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// With a header on every request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With an access token.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.with_header("authorization", &format!("Bearer {token}"))
    }

    /// GET; panics if there is no whole answer.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// POST; panics if there is no whole answer.
    #[track_caller]
    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(Method::POST, path, &[], body)
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// POST of JSON; panics if there is no whole answer.
    #[track_caller]
    pub fn post_json(&self, path: &str, body: &serde_json::Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.to_string())
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Sends one request on a connection of its own.
    pub fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, Failure> {
        let body = body.into();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let exchange = async {
                let mut connection = Connection::open(self.address).await?;
                let request = self.request(method, path, headers, body);
                connection.exchange(request).await
            };
            tokio::time::timeout(ANSWER_PATIENCE, exchange)
                .await
                .unwrap_or_else(|_| Err(Failure::Head(format!("none within {ANSWER_PATIENCE:?}"))))
        })
    }

    /// A request as this site gets it.
    #[track_caller]
    pub fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body)).unwrap()
    }

    /// Whether the site answers a GET of `path` with `status`.
    pub fn answers(&self, path: &str, status: u16) -> bool {
        self.send(Method::GET, path, &[], "").is_ok_and(|answer| answer.status == status)
    }
}

/// One connection, kept open between requests.
pub struct Connection {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    driver: tokio::task::JoinHandle<()>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self, Failure> {
        // Blocking: loopback answers or refuses at once.
        let stream = TcpStream::connect(address).map_err(Failure::Connect)?;
        stream.set_nodelay(true).map_err(Failure::Connect)?;
        stream.set_nonblocking(true).map_err(Failure::Connect)?;
        let stream = tokio::net::TcpStream::from_std(stream).map_err(Failure::Connect)?;
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_headers(20_000)
            .max_buf_size(4 << 20)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::Head(error.to_string()))?;
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, driver })
    }

    /// Whether another request can be sent on it.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request and reads the whole answer.
    pub async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let head = |error: hyper::Error| Failure::Head(chain(&error));
        self.sender.ready().await.map_err(head)?;
        let response = self.sender.send_request(request).await.map_err(head)?;
        let (parts, mut body) = response.into_parts();
        let mut received = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => received.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Err(error) => {
                    let status = parts.status.as_u16();
                    return Err(Failure::Body { status, received, reason: chain(&error) });
                }
            }
        }
        let status: StatusCode = parts.status;
        Ok(Answer { status: status.as_u16(), headers: parts.headers, body: received.into() })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// An error with its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
