//! Core modules as the SDKs of 2022 made them, through the whole binary and against real servers. The programs are
//! written out by the ABI of those SDKs, since what generated their bindings is in no registry.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use gyre_testkit::services::{DATABASE, PASSWORD, USER};
use gyre_testkit::{Gyre, Server, Service, TestApp, Up, guest};

/// What `spin new http-rust` wrote in October 2022.
fn hello() -> TestApp {
    let app = TestApp::with_manifest(
        r#"spin_version = "1"
authors = ["Somebody <somebody@example.com>"]
description = "Of October 2022"
name = "hello-rust"
trigger = { type = "http", base = "/" }
version = "0.1.0"

[[component]]
id = "hello-rust"
source = "target/wasm32-wasi/release/hello_rust.wasm"
[component.trigger]
route = "/..."
[component.build]
command = "cargo build --target wasm32-wasi --release"
"#,
    );
    let module = fs_err::read(guest("hello-2022")).unwrap();
    assert!(module.starts_with(b"\0asm\x01\0\0\0"), "it is a core module");
    app.put("target/wasm32-wasi/release/hello_rust.wasm", module);
    app
}

#[test]
fn the_application_of_october_2022_answers_again() {
    let app = hello();
    let gyre = Gyre::new();
    let mut up = gyre.up(app.path(), &[]);
    let answer = up.site().get("/hello").expect(200);
    assert_eq!([answer.text(), answer.header("foo")], ["Hello, Fermyon", "bar"]);
    // It prints the headers that it got.
    up.program.wait_for("its output", |line| {
        line.contains("\"spin-path-info\": \"/hello\"").then_some(())
    });
    // Every request has an instance of its own.
    for _ in 0..20 {
        assert_eq!(up.site().post("/", "x").expect(200).text(), "Hello, Fermyon");
    }
}

#[test]
fn it_is_deployed_like_any_other() {
    let server = Server::start();
    let app = hello();
    let site = server.deploy(app.path()).site();
    assert_eq!(site.get("/").expect(200).text(), "Hello, Fermyon");
}

/// With every function of the SDK; `component` is in its table.
fn sdk(component: &str) -> (Up, TestApp) {
    let app = TestApp::with_manifest(&format!(
        "spin_version = \"1\"
name = \"sdk\"
version = \"1.0.0\"
trigger = {{ type = \"http\", base = \"/\" }}

[variables]
greeting = {{ default = \"Hi\" }}

[[component]]
id = \"sdk\"
source = \"sdk.wasm\"
{component}
[component.trigger]
route = \"/...\"
[component.config]
said = \"{{{{ greeting }}}} there\"
"
    ));
    app.put_guest("sdk.wasm", "sdk-2022");
    (Gyre::new().up(app.path(), &[]), app)
}

#[track_caller]
fn says(up: &Up, path: &str, expected: &str) {
    let answer = up.site().get(path);
    let text = answer.text();
    assert_eq!((answer.status, text.as_str()), (200, expected), "{path}\n{}", up.program.output());
}

#[test]
fn requests_and_responses_are_passed_whole() {
    let (mut up, _app) = sdk("");
    let site = up.site().with_header("x-own", "a value");
    let answer = site.post("/echo?a=%20b", "a body").expect(201);
    assert_eq!([answer.header("x-one"), answer.header("x-two")], ["1", "2"]);
    let text = answer.text();
    assert!(text.starts_with("1 /echo?a=%20b 0 Some(\"a body\")\n"), "{text}");
    for line in ["x-own: a value", "spin-path-info: /echo", "spin-matched-route: /..."] {
        assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
    }
    up.program.wait_for("its output", |line| line.contains("on standard output").then_some(()));
    let text = site.get("/echo").expect(201).text();
    assert!(text.starts_with("0 /echo 0 Some(\"\")\n"), "{text}");

    let answer = site.get("/plain").expect(204);
    assert_eq!(answer.text(), "");
    assert_eq!(site.get("/status?404").expect(404).text(), "");
    let _ = site.get("/status?99").expect(500);
    let _ = site.get("/trap").expect(500);
    up.program.wait_for("the reason", |line| line.contains("as asked").then_some(()));
    // A neighbour of the failure.
    let _ = site.get("/plain").expect(204);
}

#[test]
fn variables_stores_and_databases() {
    let (up, _app) = sdk("key_value_stores = [\"default\"]\nsqlite_databases = [\"default\"]");
    says(&up, "/config?said", "Hi there");
    let answer = up.site().get("/config?unknown").expect(200).text();
    assert!(answer.starts_with("provider("), "{answer}");
    says(&up, "/key-value", "ok");
    says(&up, "/sqlite", "ok");
    let answer = up.site().get("/llm").expect(200).text();
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines.len(), 2, "{answer}");
    assert!(lines.iter().all(|line| line.starts_with("invalid-input(")), "{answer}");
}

/// Answers requests with what it got of them.
fn http_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut body) = (String::new(), [0; 6]);
            while !head.ends_with("\r\n\r\n") {
                reader.read_line(&mut head).unwrap();
            }
            reader.read_exact(&mut body).unwrap();
            let first = head.lines().next().unwrap().to_owned();
            let own = head.lines().find(|line| line.starts_with("x-own")).unwrap_or_default();
            let text = format!("{first}, {own}, {}", String::from_utf8_lossy(&body));
            let length = text.len();
            let head = format!(
                "HTTP/1.1 203 Fine\r\ncontent-type: text/x-echo\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all((head + &text).as_bytes()).unwrap();
        }
    });
    address
}

#[test]
fn requests_go_out() {
    let address = http_echo();
    let (up, _app) = sdk(&format!("allowed_http_hosts = [\"http://{address}\", \"self\"]"));
    let expected = "203 Some(\"text/x-echo\")\nPOST /a?b HTTP/1.1, x-own: old, a body";
    says(&up, &format!("/http?http://{address}/a?b"), expected);
    says(&up, "/http?http://127.0.0.1:1/", "destination-not-allowed");
    says(&up, "/http?nonsense", "invalid-url");
    let answer = up.site().get("/http?/echo").expect(200).text();
    assert!(answer.starts_with("201 None\n1 /echo 0 Some(\"a body\")\n"), "{answer}");
}

#[test]
fn redis_as_of_2022() {
    let redis = Service::redis();
    // Nothing about it is in such a manifest: databases are open to it.
    let (up, _app) = sdk("");
    says(&up, &format!("/redis?redis://{}", redis.address()), "ok");
}

#[test]
fn postgres_as_of_2022() {
    let postgres = Service::postgres();
    let (up, _app) = sdk("");
    let address = format!("postgres://{USER}:{PASSWORD}@{}/{DATABASE}", postgres.address());
    says(&up, &format!("/pg?{address}?sslmode=disable"), "ok");
}

#[test]
fn mysql_as_of_2022() {
    let mariadb = Service::mariadb();
    let (up, _app) = sdk("");
    let address = format!("mysql://{USER}:{PASSWORD}@{}/{DATABASE}", mariadb.address());
    says(&up, &format!("/mysql?{address}"), "ok");
}

#[test]
fn what_is_not_allowed_is_refused_in_the_words_of_then() {
    let (up, _app) = sdk("allowed_outbound_hosts = []");
    let expected = "error\n\
        connection-failed(\"address postgres://localhost:1 is not permitted\")\n\
        connection-failed(\"address mysql://localhost:1/db is not permitted\")\n\
        destination-not-allowed";
    says(&up, "/denied?localhost:1", expected);
}

#[test]
fn messages_of_redis_are_taken() {
    let redis = Service::redis();
    let address = redis.address();
    let app = TestApp::with_manifest(&format!(
        "spin_version = \"1\"
name = \"sdk\"
version = \"1.0.0\"
trigger = {{ type = \"redis\", address = \"redis://{address}\" }}

[[component]]
id = \"sdk\"
source = \"sdk.wasm\"
[component.trigger]
channel = \"old\"
"
    ));
    app.put_guest("sdk.wasm", "sdk-2022");
    let gyre = Gyre::new();
    let mut program = gyre.start(&["up", "--from", app.argument()]);
    let mut says = |text: &str| program.wait_for(text, |line| line.contains(text).then_some(()));
    says(&format!("\t{address}/old: [sdk]"));
    for (message, said) in [
        ("one", "old redis: one"),
        ("fail", "the redis handler returned an error: error"),
        ("two", "old redis: two"),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "PUBLISH old {message}\r\n").unwrap();
        says(said);
    }
}
