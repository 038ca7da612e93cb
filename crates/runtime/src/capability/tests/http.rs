//! Outgoing HTTP: where requests go, as what they arrive, and how connections are shared.

use std::{net::SocketAddr, time::Duration};

use ::http::{Method, Request, Response, StatusCode, uri::Scheme};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::*;

/// Sends requests as one instance does.
pub(super) struct Instance(http_out::Hooks);

impl Instance {
    pub(super) fn new(origin: &Origin) -> Self {
        Self(http_out::Hooks::new(origin.clone()))
    }

    pub(super) async fn send(
        &mut self,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<Response<WasiBody>, Error> {
        let sent = self.0.send_request(request, Some(options), Box::new(async { Ok(()) }));
        Box::into_pin(sent).await.map(|(response, _)| response)
    }

    pub(super) async fn get(&mut self, uri: &str) -> Result<Response<WasiBody>, Error> {
        self.send(get(uri), RequestOptions::default()).await
    }

    /// The whole body, of a request that must succeed.
    pub(super) async fn text(&mut self, uri: &str) -> String {
        let body = self.get(uri).await.unwrap().into_body().collect().await.unwrap();
        String::from_utf8(body.to_bytes().to_vec()).unwrap()
    }
}

pub(super) fn get(uri: &str) -> Request<WasiBody> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    Request::get(uri).body(body).unwrap()
}

pub(super) fn within(connect_ms: u64, first_byte_ms: u64, between_ms: u64) -> RequestOptions {
    RequestOptions {
        connect_timeout: Some(Duration::from_millis(connect_ms)),
        first_byte_timeout: Some(Duration::from_millis(first_byte_ms)),
        between_bytes_timeout: Some(Duration::from_millis(between_ms)),
    }
}

pub(super) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The head of the next request on a stream, or nothing if the client closed it.
pub(super) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// A server that answers every request with the number of its connection, and tells what it read.
pub(super) async fn numbered() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (listener, address) = listen().await;
    let (heads, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let heads = heads.clone();
            tokio::spawn(async move {
                while let Some(head) = read_head(&mut stream).await {
                    let _ = heads.send(head);
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, received)
}

/// A server that answers each connection's first request with these bytes and then keeps the stream open.
pub(super) async fn answering(answer: &'static [u8]) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                read_head(&mut stream).await;
                let _ = stream.write_all(answer).await;
                let _ = stream.read_u8().await;
            });
        }
    });
    address
}

/// Lets tasks that have become ready run: connections are put down by one.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[tokio::test]
async fn a_destination_that_is_not_allowed_is_denied_and_logged_with_a_hint() {
    let fixture = Fixture::with_hosts(&["https://example.com"]);
    let mut instance = Instance::new(&fixture.origin());
    let result = instance.get("http://127.0.0.1:9/x").await;
    assert!(matches!(result, Err(Error::HttpRequestDenied)), "{result:?}");
    assert_eq!(
        fixture.logged(),
        [
            "Outbound network destination not allowed: http://127.0.0.1:9",
            "To allow this request, add 'allowed_outbound_hosts = [\"http://127.0.0.1:9\"]' to the manifest component section.",
        ]
    );
    let result = instance.get("http://example.com/").await;
    assert!(matches!(result, Err(Error::HttpRequestDenied)), "{result:?}");
    assert_eq!(fixture.logged()[2], "Outbound network destination not allowed: http://example.com");
}

#[tokio::test]
async fn allowed_hosts_follow_the_variables_in_them() {
    let (address, _heads) = numbered().await;
    let fixture = Fixture::with_hosts(&["http://127.0.0.1:{{ port }}"]);
    let mut instance = Instance::new(&fixture.origin());
    let uri = format!("http://{address}/");
    assert!(matches!(instance.get(&uri).await, Err(Error::HttpRequestDenied)));
    let port = ("port".to_owned(), address.port().to_string());
    fixture.spec.variables.replace(vec![VariablesProvider::values([port])]);
    assert_eq!(instance.text(&uri).await, "0");
}

#[tokio::test]
async fn a_request_arrives_as_the_guest_made_it() {
    let (address, mut heads) = numbered().await;
    let mut instance = Instance::new(&Fixture::with_hosts(&["http://127.0.0.1:*"]).origin());
    let mut request = get(&format!("http://user:secret@{address}/a%20b?x=1"));
    request.headers_mut().insert("x-mine", "1".parse().unwrap());
    instance.send(request, RequestOptions::default()).await.unwrap();
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("GET /a%20b?x=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: {address}\r\n")), "{head}");
    assert!(head.contains("\r\nx-mine: 1\r\n") && !head.contains("secret"), "{head}");

    instance.get(&format!("http://{address}?only=query")).await.unwrap();
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("GET /?only=query HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn a_body_is_streamed_and_connect_is_no_request() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await.unwrap();
        let mut body = [0; 5];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        (head, body)
    });
    let mut instance = Instance::new(&Fixture::with_hosts(&["http://127.0.0.1:*"]).origin());
    let body = Full::new(Bytes::from_static(b"hello")).map_err(|never| match never {});
    let uri = format!("http://{address}/");
    let request = Request::post(&uri).body(body.boxed_unsync()).unwrap();
    let response = instance.send(request, RequestOptions::default()).await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let (head, body) = server.await.unwrap();
    assert!(head.contains("content-length: 5") && &body == b"hello", "{head}");

    let mut request = get(&uri);
    *request.method_mut() = Method::CONNECT;
    let result = instance.send(request, RequestOptions::default()).await;
    assert!(matches!(result, Err(Error::HttpRequestMethodInvalid)), "{result:?}");
}

#[tokio::test]
async fn connections_are_used_again_within_an_app_and_not_between_apps() {
    let (address, _heads) = numbered().await;
    let uri = format!("http://{address}/");
    let fixture = Fixture::with_hosts(&["http://127.0.0.1:*"]);
    let origin = fixture.origin();
    for _ in 0..3 {
        assert_eq!(Instance::new(&origin).text(&uri).await, "0");
        settle().await;
    }
    assert_eq!(Instance::new(&fixture.origin()).text(&uri).await, "1");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            // Says nothing of closing, and closes.
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let mut instance = Instance::new(&Fixture::with_hosts(&["http://127.0.0.1:*"]).origin());
    let uri = format!("http://{address}/");
    for number in 0..4 {
        assert_eq!(instance.text(&uri).await, number.to_string());
        settle().await;
    }
}

#[tokio::test]
async fn an_instance_waits_for_its_own_turn_and_not_forever() {
    let (address, _heads) = numbered().await;
    let fixture = Fixture::with_hosts(&["http://127.0.0.1:*"])
        .limits(|limits| limits.outbound_per_instance = Some(1));
    let origin = fixture.origin();
    let mut instance = Instance::new(&origin);
    let uri = format!("http://{address}/");
    let unread = instance.get(&uri).await.unwrap();
    let result = instance.send(get(&uri), within(50, 1000, 1000)).await;
    assert!(matches!(result, Err(Error::ConnectionTimeout)), "{result:?}");
    Instance::new(&origin).get(&uri).await.unwrap();
    drop(unread);
    instance.get(&uri).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_gives_its_place_to_one_that_is_needed() {
    let ((one, _one), (two, _two)) = (numbered().await, numbered().await);
    let fixture = Fixture::with_hosts(&["http://127.0.0.1:*"])
        .limits(|limits| limits.outbound_per_app = Some(1));
    let mut instance = Instance::new(&fixture.origin());
    for number in 0..3 {
        for address in [one, two] {
            assert_eq!(instance.text(&format!("http://{address}/")).await, number.to_string());
            settle().await;
        }
    }
}

#[tokio::test]
async fn a_connection_that_becomes_idle_gives_its_place_to_one_that_waits() {
    let ((one, _one), (two, _two)) = (numbered().await, numbered().await);
    let fixture = Fixture::with_hosts(&["http://127.0.0.1:*"])
        .limits(|limits| limits.outbound_per_app = Some(1));
    let origin = fixture.origin();
    let mut instance = Instance::new(&origin);
    let answer = instance.get(&format!("http://{one}/")).await.unwrap();
    let waits = async {
        let request = get(&format!("http://{two}/"));
        Instance::new(&origin).send(request, within(10_000, 1000, 1000)).await
    };
    let reads = async {
        settle().await;
        answer.into_body().collect().await
    };
    let (waited, read) = tokio::join!(waits, reads);
    waited.unwrap();
    assert_eq!(read.unwrap().to_bytes(), "0");

    // What has not ended gives its place to nobody.
    let slow = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1").await;
    let unread = instance.get(&format!("http://{slow}/")).await.unwrap();
    let result = instance.send(get(&format!("http://{two}/")), within(50, 1000, 1000)).await;
    assert!(matches!(result, Err(Error::ConnectionTimeout)), "{result:?}");
    drop(unread);
    instance.get(&format!("http://{two}/")).await.unwrap();
}

#[tokio::test]
async fn requests_to_the_app_itself_go_to_our_listener_wherever_it_is() {
    let (address, mut heads) = numbered().await;
    let own = SelfOrigin { scheme: Scheme::HTTP, address, host: Some("app.example".to_owned()) };
    // Loopback is private, and still ours.
    let fixture = Fixture::with_hosts(&["http://self"]).blocked().with_origin(own);
    let mut instance = Instance::new(&fixture.origin());
    instance.get("http://self.alt/path?q").await.unwrap();
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("GET /path?q HTTP/1.1\r\nhost: app.example\r\n"), "{head}");
    // A permission is not a host name.
    let result = instance.get("http://self/").await;
    assert!(result.is_err(), "{result:?}");
    let result = instance.get(&format!("http://{address}/")).await;
    assert!(matches!(result, Err(Error::HttpRequestDenied)), "{result:?}");
}

#[tokio::test]
async fn requests_to_the_app_itself_need_a_permission_and_a_listener() {
    let fixture = Fixture::with_hosts(&["http://127.0.0.1:*"]);
    let result = Instance::new(&fixture.origin()).get("http://self.alt/").await;
    assert!(matches!(result, Err(Error::HttpRequestDenied)), "{result:?}");
    assert!(fixture.logged()[0].ends_with("not allowed: http://self"), "{:?}", fixture.logged());
    let fixture = Fixture::with_hosts(&["http://self"]);
    let result = Instance::new(&fixture.origin()).get("http://self.alt/").await;
    assert!(matches!(result, Err(Error::HttpRequestUriInvalid)), "{result:?}");
}

#[tokio::test]
async fn chained_requests_need_a_permission_and_never_leave_the_process() {
    let fixture = Fixture::with_hosts(&["http://b.spin.internal"]);
    let mut origin = fixture.origin();
    let app = Arc::get_mut(&mut origin.app).unwrap();
    app.shared.egress =
        egress::Door::new(false, None).with_resolver(|name| panic!("{name} was looked up"));
    let mut instance = Instance::new(&origin);
    // The app behind these tests is gone, so the call gets as far as that.
    let result = instance.get("http://b.spin.internal/").await;
    assert!(matches!(result, Err(Error::DestinationUnavailable)), "{result:?}");
    let result = instance.get("http://a.spin.internal/").await;
    assert!(matches!(result, Err(Error::HttpRequestDenied)), "{result:?}");
}

#[test]
fn headers_that_belong_to_the_connection_are_forbidden() {
    let mut hooks = http_out::Hooks::new(Fixture::with_hosts(&[]).origin());
    let filter = hooks.forbidden_header_filter();
    for (name, expected) in [("host", true), ("transfer-encoding", true), ("x-mine", false)] {
        let name = name.parse().unwrap();
        assert_eq!(hooks.is_forbidden_header(&name), expected, "{name}");
        assert_eq!(filter(&name), expected, "{name}");
    }
}
