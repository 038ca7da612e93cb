//! The release candidates of WASI 0.2: every interface is linked, and guests that use every function of them find what
//! they expect, and no way around a policy.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    thread,
};

use bytes::Bytes;
use gyre_model::{LogStream, Mount};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::json;
use wasmtime::component::Component;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use super::streaming::pipe;
use crate::{
    ReuseConfig,
    engine::Abi,
    handler::{Budget, Handler},
    testing::{Builder, Got, TestApp, collect, connection, full, get, runtime},
};

/// The programs' names, and the versions that they are of.
const SNAPSHOTS: [(&str, &str); 2] = [
    ("snapshot-2023-10-18", "0.2.0-rc-2023-10-18"),
    ("snapshot-2023-11-10", "0.2.0-rc-2023-11-10"),
];

/// A component that imports every function of every interface of that version, and how many there are.
fn everything(version: &str) -> (Vec<u8>, usize) {
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")).unwrap();
    let is_import = |name: &str| {
        let is_export = name.contains("/incoming-handler@") || name.contains("/run@");
        name.starts_with("wasi:") && name.ends_with(version) && !is_export
    };
    let mut functions = 0;
    let mut world = format!(
        "package gyre:test; world everything {{ export wasi:http/incoming-handler@{version};"
    );
    for (id, interface) in &resolve.interfaces {
        if let Some(name) = resolve.id_of(id).filter(|name| is_import(name)) {
            functions += interface.functions.len();
            let _ = write!(world, "import {name};");
        }
    }
    world.push('}');
    let package = resolve.push_str("everything.wit", &world).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let mut encoder = ComponentEncoder::default().module(&module).unwrap();
    (encoder.encode().unwrap(), functions)
}

#[test]
fn every_function_is_linked_on_both_engines() {
    let runtime = runtime();
    for (_, version) in SNAPSHOTS {
        let (component, functions) = everything(version);
        assert!(functions > 150, "{functions}");
        for abi in [Abi::Sync, Abi::Async] {
            let host = runtime.host(abi).unwrap();
            let component = Component::new(&host.engine, &component).unwrap();
            let pre = host.linker.instantiate_pre(&component).unwrap();
            assert!(
                matches!(
                    Handler::of(&pre, ReuseConfig::default(), &Budget::new(1)),
                    Ok(Handler::Snapshot(_))
                ),
                "{version} {abi:?}"
            );
        }
    }
}

#[test]
fn a_handler_of_another_shape_is_refused() {
    let text = r#"(component
        (core module $m (func (export "handle")))
        (core instance $i (instantiate $m))
        (func $handle (canon lift (core func $i "handle")))
        (instance $handler (export "handle" (func $handle)))
        (export "wasi:http/incoming-handler@0.2.0-rc-2023-10-18" (instance $handler)))"#;
    let runtime = runtime();
    let host = runtime.host(Abi::Sync).unwrap();
    let component = Component::new(&host.engine, text).unwrap();
    let pre = host.linker.instantiate_pre(&component).unwrap();
    let error =
        Handler::of(&pre, ReuseConfig::default(), &Budget::new(1)).err().unwrap().to_string();
    assert!(error.contains("its handler is not as published"), "{error}");
}

/// The program of a snapshot, with an environment, and with a folder that has a file.
fn builder(program: &str, hosts: &[String]) -> (Builder, tempfile::TempDir) {
    let wasm = fs_err::read(gyre_testkit::guest(program)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("there.txt"), "there").unwrap();
    let mount = Mount { host: folder.path().to_owned(), guest: "/".to_owned() };
    let builder = Builder::new().component("only", &json!("/..."), &wasm).hosts(hosts);
    let mut builder = builder.mount("only", mount);
    builder.env.insert("COLOUR".to_owned(), "blue".to_owned());
    (builder, folder)
}

/// What a part answers, in an app whose guests may write to their files.
async fn part(program: &str, hosts: &[String], path: &str) -> (Got, TestApp) {
    let (builder, _folder) = builder(program, hosts);
    let app = builder.build_with(&runtime(), |mut spec| {
        spec.allow_transient_write = true;
        spec
    });
    let request = Request::post(format!("http://example.com{path}")).body(full("a body")).unwrap();
    let got = collect(app.app.call(request, connection()).await).await;
    (got, app)
}

async fn is_ok(program: &str, hosts: &[String], path: &str) -> TestApp {
    let (got, app) = part(program, hosts, path).await;
    assert_eq!(
        (got.status, got.text.as_str(), got.is_whole),
        (200, "ok", true),
        "{program} {path}\n{}\n{:?}",
        app.log.host(),
        app.log.of(LogStream::Stderr)
    );
    app
}

#[tokio::test]
async fn what_needs_no_network() {
    for (program, _) in SNAPSHOTS {
        for path in ["/clocks", "/files", "/io", "/random", "/names"] {
            is_ok(program, &[], path).await;
        }
        let app = is_ok(program, &[], "/cli").await;
        assert_eq!(app.log.of(LogStream::Stdout), ["on standard output"]);
        assert_eq!(app.log.of(LogStream::Stderr), ["on standard error"]);
    }
}

#[tokio::test]
async fn files_are_only_read() {
    for (program, _) in SNAPSHOTS {
        let (builder, folder) = builder(program, &[]);
        let app = builder.build();
        let got = app.get("/read-only").await;
        assert_eq!((got.status, got.text.as_str()), (200, "ok"), "{:?}", app.log.host());
        let entries: Vec<_> = fs_err::read_dir(folder.path()).unwrap().collect();
        assert_eq!(entries.len(), 1);
        assert_eq!(fs_err::read(folder.path().join("there.txt")).unwrap(), b"there");
    }
}

#[tokio::test]
async fn a_request_is_seen_whole_and_answered_with_status_headers_and_body() {
    for (program, _) in SNAPSHOTS {
        let (builder, _folder) = builder(program, &[]);
        let app = builder.build();
        let request = Request::builder()
            .method(Method::from_bytes(b"PURGE").unwrap())
            .uri("http://example.com:81/request?to=x%20y")
            .header("x-asked", "for");
        let got = app.send(request.body(()).unwrap()).await;
        assert_eq!((got.status, got.is_whole), (201, true), "{}", app.log.host());
        assert_eq!(got.headers["content-type"], "text/plain");
        let two: Vec<_> = got.headers.get_all("x-two").iter().collect();
        assert_eq!(two, ["a", "b"]);
        let expected = r#"Method::Other("PURGE") Some(Scheme::Http) Some("example.com:81") Some("/request?to=x%20y") for"#;
        assert_eq!(got.text, expected);
    }
}

#[tokio::test]
async fn each_piece_is_echoed_before_the_next_is_sent() {
    for (program, _) in SNAPSHOTS {
        let (builder, _folder) = builder(program, &[]);
        let app = builder.build();
        let (sender, body) = pipe();
        let response = app.app.call(get("/echo").map(|()| body), connection()).await;
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        for n in 0..20 {
            let piece = Bytes::from(format!("piece {n}"));
            sender.send(Ok(piece.clone())).unwrap();
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece);
        }
        drop(sender);
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test]
async fn failures_are_those_of_any_handler() {
    for (program, _) in SNAPSHOTS {
        let cases = [
            ("/unset", "returned without a response"),
            ("/error", "protocol error: of the guest's own"),
            ("/exit-badly", "xit"),
            ("/nothing", "unreachable"),
        ];
        for (path, reason) in cases {
            let (got, app) = part(program, &[], path).await;
            assert_eq!((got.status, got.text.as_str()), (500, ""), "{program} {path}");
            let log = app.log.host();
            assert!(log.contains(reason), "{program} {path}: {log}");
        }
        let (got, _) = part(program, &[], "/exit-well").await;
        assert_eq!((got.status, got.text.as_str(), got.is_whole), (200, "done", true));
        let (got, _) = part(program, &[], "/unfinished").await;
        assert_eq!((got.status, got.text.as_str(), got.is_whole), (200, "begun", false));
    }
}

#[tokio::test]
async fn what_the_first_one_cannot_report_traps() {
    let cases = [
        ("/invalid-path", "invalid path-with-query supplied"),
        ("/invalid-method", "invalid method supplied"),
        ("/invalid-authority", "invalid authority supplied"),
        ("/invalid-scheme", "invalid scheme supplied"),
        ("/invalid-status", "invalid status code supplied"),
        ("/invalid-header", "invalid name or value of a header"),
        ("/received-headers", "headers that were received cannot be changed"),
    ];
    for (path, reason) in cases {
        let (got, app) = part("snapshot-2023-10-18", &[], path).await;
        assert_eq!((got.status, got.text.as_str()), (500, ""), "{path}");
        let log = app.log.host();
        assert!(log.contains(reason), "{path}: {log}");
    }
    // A body that is shorter than was said is cut off.
    let (got, app) = part("snapshot-2023-10-18", &[], "/short").await;
    assert_eq!((got.status, got.is_whole), (200, false));
    let log = app.log.host();
    assert!(log.contains("HttpResponseBodySize"), "{log}");
}

#[tokio::test]
async fn requests_go_only_to_allowed_hosts() {
    for (program, _) in SNAPSHOTS {
        let address = http_echo();
        is_ok(program, &[format!("http://{address}")], &format!("/http?to={address}")).await;

        // A listener that must see nobody.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let app = is_ok(program, &[], &format!("/denied?to={address}")).await;
        let log = app.log.host();
        let expected = format!("Outbound network destination not allowed: http://{address}");
        assert!(log.contains(&expected), "{log}");
        saw_nobody(&listener);
    }
}

#[tokio::test]
async fn failed_requests_say_why() {
    for (program, _) in SNAPSHOTS {
        // Nobody listens there any more.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        is_ok(program, &[format!("http://{address}")], &format!("/refused?to={address}")).await;

        // Connections are made, and nothing comes of them.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        is_ok(program, &[format!("http://{address}")], &format!("/slow?to={address}")).await;

        let garbage = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = garbage.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = garbage.accept().unwrap();
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).unwrap();
            stream.write_all(b"this is not HTTP\r\n\r\n").unwrap();
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        });
        is_ok(program, &[format!("http://{address}")], &format!("/garbage?to={address}")).await;
        // No path is the root.
        let asked = server.join().unwrap();
        assert!(asked.starts_with("GET / HTTP/1.1\r\n"), "{asked}");

        // Without a host it is a request to the app itself, which has no listener here.
        is_ok(program, &["http://self".to_owned()], "/itself").await;
    }
}

#[tokio::test]
async fn sockets_go_only_to_allowed_addresses() {
    for (program, _) in SNAPSHOTS {
        let (tcp, udp) = (tcp_echo(), udp_echo());
        let hosts = [format!("tcp://{tcp}"), format!("udp://{udp}")];
        is_ok(program, &hosts, &format!("/tcp?to={tcp}")).await;
        is_ok(program, &hosts, &format!("/udp?to={udp}")).await;

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Allowed for the other protocol only.
        let hosts = [format!("udp://{address}"), format!("http://{address}")];
        let app = is_ok(program, &hosts, &format!("/tcp-denied?to={address}")).await;
        let log = app.log.host();
        let expected = format!("Outbound network destination not allowed: tcp://{address}");
        assert!(log.contains(&expected), "{log}");
        saw_nobody(&listener);

        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let hosts = [format!("tcp://{address}")];
        is_ok(program, &hosts, &format!("/udp-denied?to={address}")).await;
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut [0; 8]).is_err());
    }
}

fn saw_nobody(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
}

/// Answers one connection with the four bytes that it sends.
fn tcp_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4];
        stream.read_exact(&mut buffer).unwrap();
        stream.write_all(&buffer).unwrap();
    });
    address
}

/// Answers two datagrams.
fn udp_echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        for _ in 0..2 {
            let mut buffer = [0; 64];
            let (count, from) = socket.recv_from(&mut buffer).unwrap();
            socket.send_to(&buffer[..count], from).unwrap();
        }
    });
    address
}

/// Answers one request with its body, which is short.
fn http_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut got = String::new();
        let mut buffer = [0; 1024];
        while !got.contains("some bytes") {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "no body came: {got}");
            got.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        assert!(got.starts_with("PUT /echo?x=1 HTTP/1.1\r\n"), "{got}");
        assert!(got.contains("\r\nb: 3\r\n"), "{got}");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nsome bytes").unwrap();
    });
    address
}
