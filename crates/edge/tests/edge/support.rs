//! A running edge with an upstream that does what the path says, and clients of several kinds.

use std::{
    cell::Cell,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use gyre_edge::{Edge, EdgeConfig, EdgeHandle, Routes, RoutingTable};
use gyre_model::{BoxError, Connection, Upstream};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;

/// What a host leads to: a name to answer with.
pub(crate) struct Target(pub(crate) &'static str);

/// Counts what reaches it, and lives on one thread.
#[derive(Clone)]
pub(crate) struct Paths {
    calls: Arc<AtomicUsize>,
    /// Bodies that were dropped before their end.
    dropped: Arc<AtomicUsize>,
    _not_send: Rc<Cell<u32>>,
}

/// A body that is not `Send`, and says when it was dropped early.
pub(crate) struct LocalBody {
    frames: Pin<Box<dyn Stream<Item = Bytes>>>,
    length: Option<u64>,
    at_end: bool,
    dropped: Arc<AtomicUsize>,
    _not_send: Rc<()>,
}

impl Body for LocalBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = self.frames.as_mut().poll_next(cx);
        if matches!(next, Poll::Ready(None)) {
            self.at_end = true;
        }
        next.map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.length.map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}

impl Drop for LocalBody {
    fn drop(&mut self) {
        if !self.at_end && self.length.is_none() {
            self.dropped.fetch_add(1, SeqCst);
        }
    }
}

impl Upstream for Paths {
    type Target = Target;
    type Body = LocalBody;

    fn call<B>(
        &self,
        target: &Arc<Target>,
        request: Request<B>,
        connection: Connection,
    ) -> impl Future<Output = Response<LocalBody>> + 'static
    where
        B: Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
    {
        self.calls.fetch_add(1, SeqCst);
        let target = target.0;
        let dropped = self.dropped.clone();
        async move {
            let (head, body) = request.into_parts();
            let frames = |frames: Pin<Box<dyn Stream<Item = Bytes>>>, length| LocalBody {
                frames,
                length,
                at_end: false,
                dropped,
                _not_send: Rc::new(()),
            };
            let whole = |bytes: Bytes| {
                let length = bytes.len() as u64;
                (
                    Box::pin(stream::iter([bytes])) as Pin<Box<dyn Stream<Item = Bytes>>>,
                    Some(length),
                )
            };
            let number = || {
                let query = head.uri.query().unwrap_or_default();
                query.parse::<u64>().expect("a test gives a number")
            };
            let (stream, length) = match head.uri.path() {
                "/echo" => {
                    let body = body.into_data_stream();
                    let body = body.take_while(|piece| std::future::ready(piece.is_ok()));
                    (Box::pin(body.map(Result::unwrap_or_default)) as _, None)
                }
                "/collect" => whole(match body.collect().await {
                    Ok(body) => format!("{} bytes", body.to_bytes().len()).into(),
                    Err(error) => format!("error: {error}").into(),
                }),
                "/wait" => {
                    tokio::time::sleep(Duration::from_millis(number())).await;
                    whole(target.into())
                }
                "/drip" => {
                    // So many pieces, one each 20 ms.
                    let pieces = stream::iter(0..number()).then(|n| async move {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        Bytes::from(format!("{n};"))
                    });
                    (Box::pin(pieces) as _, None)
                }
                "/endless" => {
                    let piece = Bytes::from(vec![b'x'; 16 << 10]);
                    (Box::pin(stream::repeat(piece)) as _, None)
                }
                "/panic" => panic!("a test asked for it"),
                "/block" => {
                    // Holds up the whole worker: whoever connects meanwhile has to wait.
                    std::thread::sleep(Duration::from_millis(number()));
                    whole(target.into())
                }
                "/early-hints" => {
                    let (stream, length) = whole(Bytes::new());
                    let mut response = Response::new(frames(stream, length));
                    *response.status_mut() = StatusCode::EARLY_HINTS;
                    return response;
                }
                "/seen" => {
                    let names: Vec<_> = head.headers.keys().map(http::HeaderName::as_str).collect();
                    whole(format!("{} {}", connection.is_tls, names.join(",")).into())
                }
                _ => whole(format!("{target} {} {}", head.method, head.uri).into()),
            };
            Response::new(frames(stream, length))
        }
    }
}

/// A running edge.
pub(crate) struct TestEdge {
    pub(crate) address: SocketAddr,
    pub(crate) routes: Arc<Routes<Target>>,
    pub(crate) handle: EdgeHandle,
    calls: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

impl TestEdge {
    /// One with the limits of a server, on which `a.example` and `b.example` lead somewhere.
    pub(crate) fn start(change: impl FnOnce(&mut EdgeConfig)) -> Self {
        let mut config = EdgeConfig::server(vec![([127, 0, 0, 1], 0).into()]);
        config.workers = Some(2);
        change(&mut config);
        let mut table = RoutingTable::new();
        table.insert("a.example", Arc::new(Target("a"))).unwrap();
        table.insert("b.example", Arc::new(Target("b"))).unwrap();
        table.set_local(Arc::new(Target("local")));
        let routes = Arc::new(Routes::new(Arc::new(table)));
        let bound = Edge::bind(config).unwrap();
        let (calls, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let address = bound.local_addr();
        let counted = (calls.clone(), dropped.clone());
        let upstream = move |_| Paths {
            calls: counted.0.clone(),
            dropped: counted.1.clone(),
            _not_send: Rc::default(),
        };
        let handle = bound.serve(upstream, routes.clone());
        Self { address, routes, handle, calls, dropped }
    }

    /// How many requests have reached the upstream.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    /// How many answers the upstream was told to give up.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(SeqCst)
    }

    /// A connection on which nothing has been said.
    pub(crate) fn connect(&self) -> Raw {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Raw(stream)
    }

    /// What is answered to `bytes` until the edge closes the connection.
    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut raw = self.connect();
        // The edge may close before it has read all.
        let _ = raw.0.write_all(bytes.as_ref());
        raw.rest()
    }

    /// A connection for an asynchronous client.
    pub(crate) fn connect_async(&self) -> hyper_util::rt::TokioIo<tokio::net::TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        hyper_util::rt::TokioIo::new(tokio::net::TcpStream::from_std(stream).unwrap())
    }
}

/// A client that says what it is told to, byte by byte.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn say(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).unwrap();
    }

    /// All that is answered until the connection ends; however it ends.
    pub(crate) fn rest(&mut self) -> String {
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        loop {
            match self.0.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => answer.extend_from_slice(&piece[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&answer)),
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One answer with a `content-length`.
    pub(crate) fn answer(&mut self) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut answer = Answer::parse(&head);
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    pub(crate) fn get(&mut self, host: &str, path: &str) -> Answer {
        self.say(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        self.answer()
    }
}

/// An answer, read without the help of a library.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { status, headers, body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(header, _)| header == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

/// Waits for something that happens on another thread.
pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if happened() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it never happened that {what}");
}

/// An executor for a test's clients.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A body that is sent whole.
pub(crate) fn full(text: &str) -> http_body_util::Full<Bytes> {
    http_body_util::Full::new(Bytes::copy_from_slice(text.as_bytes()))
}

/// The whole body of an answer, as text.
pub(crate) async fn text<B: Body<Data = Bytes>>(body: B) -> Result<String, B::Error> {
    let bytes = body.collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
