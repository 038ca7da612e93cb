//! WASI 0.3 as a program made with its bindings uses it: bodies, outgoing requests, and the rest of its interfaces.

use std::time::Duration;

use bytes::Bytes;
use gyre_model::{LogStream, Mount};
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::streaming::pipe;
use crate::{
    AppSpec, SelfOrigin,
    testing::{Builder, TestApp, collect, connection, full, get, runtime},
};

fn program() -> Vec<u8> {
    fs_err::read(gyre_testkit::guest("wasi03")).unwrap()
}

fn builder() -> Builder {
    Builder::new().component("only", &json!("/..."), &program())
}

async fn post(app: &TestApp, path: &str, body: &str) -> String {
    let request = Request::post(format!("http://example.com{path}")).body(full(body)).unwrap();
    let got = collect(app.app.call(request, connection()).await).await;
    assert!(got.is_whole && got.status == 200, "{got:?}: {}", app.log.host());
    got.text
}

/// Answers every connection's one request with what it was.
async fn mirror() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"0\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let line = String::from_utf8_lossy(&head).lines().next().unwrap().to_owned();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}", line.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address.to_string()
}

#[tokio::test]
async fn pieces_and_trailers_pass_both_ways() {
    let app = builder().build();
    for path in ["/echo", "/pass"] {
        let (sender, body) = pipe();
        let response = app.app.call(get(path).map(|()| body), connection()).await;
        let mut body = response.into_body();
        for n in 0..50 {
            let piece = Bytes::from(format!("piece {n}"));
            sender.send(Ok(piece.clone())).unwrap();
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece, "{path}");
        }
        drop(sender);
        assert!(body.frame().await.is_none(), "{path}");
        assert!(app.app.drain(Duration::from_secs(10)).await);
    }

    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "42".parse().unwrap());
    let frames = [Ok(Frame::data(Bytes::from("body"))), Ok(Frame::trailers(trailers.clone()))];
    let body = http_body_util::StreamBody::new(futures::stream::iter(frames));
    let response = app.app.call(get("/echo").map(|()| body), connection()).await;
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), "body");
}

#[tokio::test]
async fn a_large_body_is_not_kept_in_memory() {
    let app = builder().limits(|limits| limits.memory_bytes = Some(8 << 20)).build();
    for path in ["/echo", "/pass"] {
        const PIECES: usize = 500;
        let piece = Bytes::from(vec![7; 128 << 10]);
        let frames = futures::stream::iter((0..PIECES).map({
            let piece = piece.clone();
            move |_| Ok(Frame::data(piece.clone()))
        }));
        let body = http_body_util::StreamBody::new(frames);
        let response = app.app.call(get(path).map(|()| body), connection()).await;
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(length, PIECES * piece.len(), "{path}");
    }
}

#[tokio::test]
async fn requests_go_out_by_the_same_door() {
    let to = mirror().await;
    let hosts = [format!("http://{to}")];
    let app = builder().hosts(&hosts).build();
    assert_eq!(app.get(&format!("/send?http://{to}/a?b")).await.text, "GET /a?b HTTP/1.1");
    assert_eq!(app.get(&format!("/send?http://{to}")).await.text, "GET / HTTP/1.1");
    assert_eq!(post(&app, &format!("/send?http://{to}/"), "x").await, "POST / HTTP/1.1");
    for (url, code) in [
        ("http://127.0.0.1:1/", "ErrorCode::HttpRequestDenied"),
        ("https://example.com/", "ErrorCode::HttpRequestDenied"),
        ("/self", "ErrorCode::HttpRequestDenied"),
    ] {
        assert_eq!(app.get(&format!("/send?{url}")).await.text, code, "{url}");
    }
    let host = app.log.host();
    assert!(
        host.contains("Outbound network destination not allowed: http://127.0.0.1:1"),
        "{host}"
    );

    let hosts = [
        "http://self".to_owned(),
        "http://127.0.0.1:1".to_owned(),
        "http://*.spin.internal".to_owned(),
    ];
    let origin =
        SelfOrigin { scheme: http::uri::Scheme::HTTP, address: to.parse().unwrap(), host: None };
    let app = builder()
        .hosts(&hosts)
        .component("other", &json!({ "private": true }), &program())
        .build_with(&runtime(), |spec| AppSpec { self_origin: Some(origin), ..spec });
    assert_eq!(app.get("/send?/to/self").await.text, "GET /to/self HTTP/1.1");
    assert_eq!(app.get("/send?http://127.0.0.1:1/").await.text, "ErrorCode::ConnectionRefused");
    let other = app.get("/send?http://other.spin.internal/nowhere").await;
    assert_eq!(other.text, "nothing is at /nowhere", "{}", app.log.host());
    // Into the very instance that asks, and within limits.
    let itself = app.get("/send?http://only.spin.internal/nowhere").await;
    assert_eq!(itself.text, "nothing is at /nowhere", "{}", app.log.host());
}

#[tokio::test]
async fn calls_within_one_another_are_limited_in_shared_instances_too() {
    let mut path = "/nowhere".to_owned();
    for _ in 0..4 {
        path = format!("/send?http://only.spin.internal{path}");
    }
    let hosts = ["http://*.spin.internal".to_owned()];
    let app = builder().hosts(&hosts).limits(|limits| limits.chaining_depth = 4).build();
    assert_eq!(app.get(&path).await.text, "nothing is at /nowhere", "{}", app.log.host());
    let deeper = format!("/send?http://only.spin.internal{path}");
    assert_eq!(app.get(&deeper).await.text, "ErrorCode::LoopDetected");
}

#[tokio::test]
async fn the_other_interfaces_say_what_those_of_0_2_say() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("there.txt"), "there").unwrap();
    let mount = Mount { host: folder.path().to_owned(), guest: "/".to_owned() };
    let mut builder = builder().mount("only", mount).limits(|limits| limits.random_bytes = 100);
    builder.env.insert("COLOUR".to_owned(), "blue".to_owned());
    let app = builder.build();
    let got = app.get("/rest").await;
    let expected = "\
scheme: Some(Scheme::Http)
authority: Some(\"example.com\")
colour: Some(\"blue\")
arguments: []
cwd: None
input: []
its end: Ok(())
terminal: false
waited: true
ticks: 1
after 2020: true
seconds: 1
random: 7
most: 100
differs: true
insecure: 3
seeds: true
folder: \"/\"
file: Ok(\"there\")
its end: Ok(())
new file: Some(ErrorCode::NotPermitted)
socket: Some(ErrorCode::AccessDenied)
name: Some(ErrorCode::PermanentResolverFailure)";
    assert_eq!(got.text, expected, "{}", app.log.host());
    assert!(!folder.path().join("new.txt").exists());
}

#[tokio::test]
async fn what_is_printed_belongs_to_its_request() {
    let app = builder().build();
    for text in ["one", "two"] {
        assert_eq!(app.get(&format!("/print?{text}")).await.text, "printed");
    }
    assert_eq!(app.log.of(LogStream::Stdout), ["one", "two"]);
    assert_eq!(app.log.of(LogStream::Stderr), ["one", "two"]);
    let requests: Vec<_> = app.log.requests(LogStream::Stdout);
    assert!(
        requests[0].is_some() && requests[1].is_some() && requests[0] != requests[1],
        "{requests:?}"
    );
    // A program that fails by its own word.
    let got = app.get("/exit").await;
    assert_eq!(got.status, 500);
    assert!(
        app.log.host().contains("the guest failed: Exited with i32 exit status 3"),
        "{}",
        app.log.host()
    );
}
