//! HTTP/2 without TLS, by prior knowledge: served like HTTP/1.1, and held to its own limits.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioExecutor;

use crate::support::{TestEdge, eventually, full, runtime, text};

type Client = SendRequest<Full<Bytes>>;

async fn connect(edge: &TestEdge) -> (Client, tokio::task::JoinHandle<hyper::Result<()>>) {
    let (client, connection) =
        http2::handshake(TokioExecutor::new(), edge.connect_async()).await.unwrap();
    (client, tokio::spawn(connection))
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(full("")).unwrap()
}

#[test]
fn requests_on_one_connection_are_answered_side_by_side() {
    let edge = TestEdge::start(|_| {});
    runtime().block_on(async {
        let (client, _connection) = connect(&edge).await;
        let answers = (0..100).map(|n| {
            let mut client = client.clone();
            async move {
                let uri = format!("http://{}.example/{n}", if n % 2 == 0 { "a" } else { "b" });
                let response = client.send_request(get(&uri)).await.unwrap();
                (n, text(response.into_body()).await.unwrap())
            }
        });
        for (n, answer) in futures::future::join_all(answers).await {
            let name = if n % 2 == 0 { "a" } else { "b" };
            assert_eq!(answer, format!("{name} GET http://{name}.example/{n}"));
        }
    });
}

#[test]
fn bodies_stream_in_both_directions() {
    let edge = TestEdge::start(|_| {});
    runtime().block_on(async {
        let (mut client, _connection) = connect(&edge).await;
        let body = "x".repeat(3 << 20);
        let request = Request::post("http://a.example/echo").body(full(&body)).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(text(response.into_body()).await.unwrap().len(), body.len());
    });
}

#[test]
fn the_host_is_named_once_or_twice_in_the_same_way() {
    let edge = TestEdge::start(|_| {});
    runtime().block_on(async {
        let (mut client, _connection) = connect(&edge).await;
        for (host, status) in [("a.example", 200), ("A.example:80", 200), ("b.example", 400)] {
            let request = Request::get("http://a.example/").header("host", host);
            let response = client.send_request(request.body(full("")).unwrap()).await.unwrap();
            assert_eq!(response.status(), status, "{host}");
        }
        let response = client.send_request(get("http://c.example/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert!(!response.headers().contains_key("connection"));
    });
}

#[test]
fn a_head_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let edge = TestEdge::start(|_| {});
    runtime().block_on(async {
        let (mut client, _connection) = connect(&edge).await;
        let mut request = get("http://a.example/");
        for _ in 0..101 {
            request.headers_mut().append("x", "y".parse().unwrap());
        }
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let long = format!("http://a.example/{}", "x".repeat(9 << 10));
        let response = client.send_request(get(&long)).await.unwrap();
        assert_eq!(response.status(), StatusCode::URI_TOO_LONG);
        let response = client.send_request(get("http://a.example/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    });
    assert_eq!(edge.calls(), 1);
}

#[test]
fn a_client_that_does_not_read_one_of_its_answers_is_let_go() {
    let edge = TestEdge::start(|config| {
        config.limits.unread_time = Some(Duration::from_millis(300));
    });
    runtime().block_on(async {
        let (mut client, connection) = connect(&edge).await;
        let response = client.send_request(get("http://a.example/endless")).await.unwrap();
        // The connection is read, the answer is not: its window fills up.
        let _ = connection.await.unwrap();
        drop(response);
    });
    eventually("the answer is given up", || edge.dropped() == 1);
    assert_eq!(edge.handle.stats().timed_out, 1);
}

#[test]
fn an_idle_client_is_asked_to_leave() {
    let edge = TestEdge::start(|config| {
        config.limits.idle_time = Some(Duration::from_millis(200));
    });
    runtime().block_on(async {
        let (mut client, connection) = connect(&edge).await;
        let response = client.send_request(get("http://a.example/wait?600")).await.unwrap();
        assert_eq!(text(response.into_body()).await.unwrap(), "a");
        connection.await.unwrap().expect("it ends in good order");
    });
    eventually("the connection is gone", || edge.handle.stats().open == 0);
}

#[test]
fn a_client_that_resets_what_it_asks_for_again_and_again_is_cut_off() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    raw.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    raw.say(frame(4, 0, 0, &[]));
    let mut neighbour = edge.connect();
    let mut cut_off = false;
    for burst in 0..1000_u32 {
        let mut frames = Vec::new();
        for n in 0..100 {
            let stream = (burst * 100 + n) * 2 + 1;
            // GET, http, /, with an authority of one byte in plain: the smallest request there is.
            frames.extend(frame(1, 0b101, stream, &[0x82, 0x86, 0x84, 0x41, 1, b'a']));
            frames.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
        }
        if std::io::Write::write_all(&mut raw.0, &frames).is_err() {
            cut_off = true;
            break;
        }
    }
    assert!(cut_off, "100,000 resets were taken");
    assert_eq!(neighbour.get("a.example", "/").status, 200);
}

#[test]
fn a_flood_of_continuations_is_cut_off() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    raw.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    raw.say(frame(4, 0, 0, &[]));
    raw.say(frame(1, 1, 1, &[0x82, 0x86, 0x84]));
    // A literal field without indexing, name and value of 127 bytes and less, over and over.
    let field = [&[0, 1, b'x', 126][..], &[b'y'; 126]].concat().repeat(100);
    let cut_off = (0..10_000)
        .any(|_| std::io::Write::write_all(&mut raw.0, &frame(9, 0, 1, &field)).is_err());
    assert!(cut_off, "130 MB of header fields were taken");
    assert_eq!(edge.connect().get("a.example", "/").status, 200);
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
