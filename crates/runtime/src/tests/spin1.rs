//! Spin 1's own interfaces of HTTP, in and out: what a guest sees of a request, a client of its response, and a server
//! of what the guest sends.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
};

use gyre_model::LogStream;
use http::{Method, Request};
use serde_json::json;

use crate::{
    engine::Abi,
    handler::{Budget, Handler},
    testing::{Builder, Got, TestApp, collect, connection, full, runtime},
};

fn builder(hosts: &[String]) -> Builder {
    let wasm = fs_err::read(gyre_testkit::guest("spin1")).unwrap();
    Builder::new().component("only", &json!("/..."), &wasm).hosts(hosts)
}

fn app(hosts: &[String]) -> TestApp {
    builder(hosts).build()
}

async fn post(app: &TestApp, path: &str, body: &str) -> Got {
    let request = Request::post(format!("http://example.com{path}")).body(full(body)).unwrap();
    collect(app.app.call(request, connection()).await).await
}

/// A server that answers the request for `/NAME` with the answer of that name, and everything else with 200 and what
/// it was sent. What it reads of each request is kept.
fn server(answers: Vec<(&'static str, String)>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut text = String::new();
            while !text.ends_with("\r\n\r\n") {
                if reader.read_line(&mut text).unwrap() == 0 {
                    break;
                }
            }
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            text.push_str(&String::from_utf8(body).unwrap());
            let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
            let answer = answers.iter().find(|(name, _)| *name == path).map_or_else(
                || {
                    format!(
                        "HTTP/1.1 200 OK\r\nx-path: {path}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                        text.len()
                    )
                },
                |(_, answer)| answer.replace("HERE", &address.to_string()),
            );
            keep.lock().unwrap().push(text);
            // Who asked may have seen enough.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, seen)
}

fn redirect(status: u16, location: &str) -> String {
    format!(
        "HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
}

#[test]
fn both_engines_have_what_it_needs() {
    let runtime = runtime();
    let wasm = fs_err::read(gyre_testkit::guest("spin1")).unwrap();
    for abi in [Abi::Sync, Abi::Async] {
        let host = runtime.host(abi).unwrap();
        let component = wasmtime::component::Component::new(&host.engine, &wasm).unwrap();
        let pre = host.linker.instantiate_pre(&component).unwrap();
        let handler = Handler::of(&pre, crate::ReuseConfig::default(), &Budget::new(1));
        assert!(matches!(handler, Ok(Handler::Spin(_))), "{abi:?}");
    }
}

#[tokio::test]
async fn a_request_is_seen_whole() {
    let app = app(&[]);
    let request = Request::builder()
        .method(Method::PATCH)
        .uri("http://example.com:81/echo?a=%20b&c")
        .header("x-own", "1")
        .header("x-own", "2")
        .header("spin-forged", "gone")
        .body(full("a body"))
        .unwrap();
    let got = collect(app.app.call(request, connection()).await).await;
    assert_eq!((got.status, got.is_whole), (201, true), "{}", app.log.host());
    assert_eq!(got.headers["content-type"], "text/plain");
    let lines: Vec<&str> = got.text.lines().collect();
    assert_eq!(lines[0], "Method::Patch /echo?a=%20b&c");
    for line in [
        "x-own: 1",
        "x-own: 2",
        "spin-path-info: /echo",
        "spin-full-url: http://example.com:81/echo?a=%20b&c",
        "spin-matched-route: /...",
        "spin-client-addr: 192.0.2.7:4711",
        "params []",
        "body Some(\"a body\")",
    ] {
        assert!(lines.contains(&line), "{line} is not in {lines:?}");
    }
    assert!(!got.text.contains("forged"));
    assert_eq!(app.log.of(LogStream::Stdout), ["on standard output"]);
    // No body is an empty one.
    let got = app.get("/echo").await;
    assert!(got.text.ends_with("body Some(\"\")"), "{}", got.text);
}

#[tokio::test]
async fn a_response_is_passed_on_as_far_as_it_may_say() {
    let app = app(&[]);
    let got = app.get("/plain").await;
    assert_eq!((got.status, got.headers.len(), got.text.as_str()), (204, 0, ""));
    let got = app.get("/headers").await;
    let cookies: Vec<_> = got.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(got.text, "short");
    assert!(!got.headers.contains_key("connection") && !got.headers.contains_key("content-length"));
    for (path, status) in [("/status?100", 100), ("/status?599", 599), ("/status?600", 600)] {
        let got = app.get(path).await;
        assert_eq!((got.status, got.text.as_str()), (status, "text"));
    }
}

#[tokio::test]
async fn what_cannot_be_a_response_is_500_with_the_reason_in_the_log() {
    let app = app(&[]);
    for (path, reason) in [
        ("/status?99", "the guest answered with status 99"),
        ("/status?601", "the guest answered with status 601"),
        ("/headers?a+b=c", "the guest's header \"a b\", or its value, is none of HTTP's"),
        ("/trap", "unreachable"),
        ("/exit?3", "exit"),
        ("/exit?0", "the guest returned without a response"),
    ] {
        let got = app.get(path).await;
        assert_eq!((got.status, got.text.as_str()), (500, ""), "{path}");
        assert!(app.log.host().contains(reason), "{path}: {}", app.log.host());
    }
}

#[tokio::test]
async fn a_method_that_the_interface_lacks_is_405_and_nothing_runs() {
    let app = app(&[]);
    for method in ["TRACE", "PURGE"] {
        let request = Request::builder().method(method).uri("http://example.com/trap");
        let got = app.send(request.body(()).unwrap()).await;
        assert_eq!((got.status, got.text.as_str()), (405, ""));
    }
    assert_eq!(app.log.host(), "");
}

#[tokio::test]
async fn a_body_that_is_too_long_to_be_kept_is_413_and_nothing_runs() {
    let app = builder(&[]).limits(|limits| limits.memory_bytes = Some(4 << 20)).build();
    let got = post(&app, "/echo", &"x".repeat((4 << 20) + 1)).await;
    assert_eq!(got.status, 413);
    assert_eq!(app.log.host(), "request_body limit of 4194304 bytes reached");
    assert!(app.log.of(LogStream::Stdout).is_empty());
    let got = post(&app, "/echo", &"x".repeat(64 << 10)).await;
    assert_eq!(got.status, 201);
}

#[tokio::test]
async fn a_header_that_is_no_text_is_400() {
    let app = app(&[]);
    let value = http::HeaderValue::from_bytes(b"\xff").unwrap();
    let request = Request::get("http://example.com/echo").header("x-own", value).body(()).unwrap();
    assert_eq!(app.send(request).await.status, 400);
    assert!(app.log.host().contains("header x-own"), "{}", app.log.host());
    let value = http::HeaderValue::from_bytes("é".as_bytes()).unwrap();
    let request = Request::get("http://example.com/echo").header("x-own", value).body(()).unwrap();
    assert!(app.send(request).await.text.contains("x-own: é"));
}

#[tokio::test]
async fn a_request_is_sent_and_its_answer_got_whole() {
    let (address, seen) = server(Vec::new());
    let app = app(&[format!("http://{address}")]);
    let got = post(&app, &format!("/post?http://{address}/a%20b?x=1"), "a body").await;
    assert!(got.text.starts_with("200 [\"x-path=/a%20b?x=1\"] "), "{}", got.text);
    let sent = seen.lock().unwrap().remove(0);
    assert!(sent.starts_with("POST /a%20b?x=1 HTTP/1.1\r\n"), "{sent}");
    for line in [
        format!("host: {address}"),
        "content-type: text/plain".into(),
        "authorization: secret".into(),
        "accept: */*".into(),
        "content-length: 6".into(),
    ] {
        assert!(sent.contains(&format!("\r\n{line}\r\n")), "{line} is not in {sent}");
    }
    assert!(sent.ends_with("\r\n\r\na body"), "{sent}");

    let got = app.get(&format!("/forbidden?http://{address}/")).await;
    assert!(got.text.starts_with("200 "), "{}", got.text);
    let sent = seen.lock().unwrap().remove(0);
    assert!(sent.starts_with("PUT / HTTP/1.1\r\n") && sent.contains("\r\nx-own: 1\r\n"), "{sent}");
    assert!(sent.contains(&format!("\r\nhost: {address}\r\n")), "{sent}");
    assert!(sent.contains("\r\ncontent-length: 4\r\n") && sent.ends_with("body"), "{sent}");

    app.get(&format!("/get?http://user:pass%20word@{address}/")).await;
    let sent = seen.lock().unwrap().remove(0);
    assert!(sent.contains("\r\nauthorization: Basic dXNlcjpwYXNzIHdvcmQ=\r\n"), "{sent}");
}

#[tokio::test]
async fn errors_have_their_names() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let app = app(&[format!("http://{free}"), "http://self".to_owned()]);
    for (uri, name) in [
        ("http://127.0.0.1:9/".to_owned(), "destination-not-allowed"),
        ("example.com/x".to_owned(), "invalid-url"),
        ("http://".to_owned(), "invalid-url"),
        ("ftp://example.com/".to_owned(), "invalid-url"),
        // It is not reached by HTTP.
        ("/echo".to_owned(), "invalid-url"),
        (format!("http://{free}/secret?key"), "runtime-error"),
    ] {
        let got = app.get(&format!("/get?{uri}")).await;
        assert_eq!((got.status, got.text.as_str()), (200, name), "{uri}");
    }
    let got = app.get(&format!("/bad-header?http://{free}/")).await;
    assert_eq!(got.text, "request-error");
    let log = app.log.host();
    assert!(log.contains("Outbound network destination not allowed: http://127.0.0.1:9"), "{log}");
    let failed = format!("Outbound HTTP request to http://{free} failed: connection refused");
    assert!(log.contains(&failed) && !log.contains("secret"), "{log}");
}

#[tokio::test]
async fn addresses_that_the_operator_blocks_are_not_allowed() {
    let (address, seen) = server(Vec::new());
    let builder = builder(&["*://*:*".to_owned()]);
    let app = builder.build_with(&runtime(), |mut spec| {
        spec.block_private_networks = true;
        spec
    });
    let got = app.get(&format!("/get?http://{address}/")).await;
    assert_eq!(got.text, "destination-not-allowed");
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn redirects_are_followed_each_by_leave() {
    let (other, at_other) = server(Vec::new());
    let (denied, at_denied) = server(Vec::new());
    let (address, seen) = server(vec![
        ("/to-get", redirect(302, "/there?a=1")),
        ("/keep", redirect(307, "there")),
        ("/to-other", redirect(301, &format!("http://{other}/"))),
        ("/to-denied", redirect(303, &format!("http://{denied}/"))),
        ("/round", redirect(302, "/round")),
        ("/nowhere", redirect(302, "mailto:nobody")),
    ]);
    let app = app(&[format!("http://{address}"), format!("http://{other}")]);

    let got = post(&app, &format!("/post?http://{address}/to-get"), "a body").await;
    assert!(got.text.starts_with("200 [\"x-path=/there?a=1\"]"), "{}", got.text);
    let sent = seen.lock().unwrap().remove(1);
    assert!(sent.starts_with("GET /there?a=1 ") && sent.ends_with("\r\n\r\n"), "{sent}");
    assert!(sent.contains("authorization: secret") && !sent.contains("content-type"), "{sent}");

    seen.lock().unwrap().clear();
    let got = post(&app, &format!("/post?http://{address}/keep"), "a body").await;
    assert!(got.text.starts_with("200 [\"x-path=/there\"]"), "{}", got.text);
    let sent = seen.lock().unwrap().remove(1);
    assert!(sent.starts_with("POST /there ") && sent.ends_with("\r\n\r\na body"), "{sent}");

    post(&app, &format!("/post?http://{address}/to-other"), "a body").await;
    let sent = at_other.lock().unwrap().remove(0);
    assert!(sent.starts_with("GET / ") && !sent.contains("secret"), "{sent}");

    let got = app.get(&format!("/get?http://{address}/to-denied")).await;
    assert_eq!(got.text, "destination-not-allowed");
    assert!(at_denied.lock().unwrap().is_empty());

    seen.lock().unwrap().clear();
    let got = app.get(&format!("/get?http://{address}/round")).await;
    assert_eq!((got.text.as_str(), seen.lock().unwrap().len()), ("runtime-error", 11));
    assert!(app.log.host().contains("more than 10 redirects"), "{}", app.log.host());

    let got = app.get(&format!("/get?http://{address}/nowhere")).await;
    assert_eq!(got.text, "302 [] 0: ");
}

#[tokio::test]
async fn an_answer_that_is_too_long_to_be_kept_is_an_error() {
    let long = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {0}\r\nconnection: close\r\n\r\n{1}",
        5 << 20,
        "x".repeat(5 << 20)
    );
    let (address, _) = server(vec![("/long", long)]);
    let app = builder(&[format!("http://{address}")])
        .limits(|limits| limits.memory_bytes = Some(4 << 20))
        .build();
    let got = app.get(&format!("/get?http://{address}/long")).await;
    assert_eq!(got.text, "runtime-error");
    assert!(app.log.host().contains("the response exceeds limit of 4194304 bytes"));
    let got = app.get(&format!("/get?http://{address}/short")).await;
    assert!(got.text.starts_with("200 "), "{}", got.text);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let short =
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nshort".to_owned();
    let (address, _) = server(vec![("/short", short)]);
    let app = app(&[format!("http://{address}")]);
    let got = app.get(&format!("/get?http://{address}/short")).await;
    assert_eq!(got.text, "runtime-error");
    let got = app.get(&format!("/head?http://{address}/")).await;
    assert!(got.text.starts_with("200 [\"x-path=/\"] 0: "), "{}", got.text);
}

#[tokio::test]
async fn another_component_is_called_in_this_process() {
    let wasm = fs_err::read(gyre_testkit::guest("spin1")).unwrap();
    let app = Builder::new()
        .component("callee", &json!({ "private": true }), &wasm)
        .component("caller", &json!("/..."), &wasm)
        .hosts(&["http://*.spin.internal".to_owned()])
        .build();
    let got = app.get("/get?http://callee.spin.internal/echo").await;
    assert!(got.text.starts_with("201 [] "), "{}", got.text);
    assert!(got.text.contains("spin-client-addr: 0.0.0.0:0"), "{}", got.text);
}
