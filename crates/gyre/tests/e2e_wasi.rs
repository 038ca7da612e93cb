//! Every function of WASI 0.2, called by a guest on `gyre up`.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;

use gyre_testkit::{Gyre, TestApp, Up};

/// The guest, allowed to reach `hosts`, with a folder that it may write to.
fn up(hosts: &str) -> (Up, TestApp) {
    let app = TestApp::of_guest(
        "wasi",
        "wasi",
        &format!(
            "files = [{{ source = \"assets\", destination = \"/\" }}]\n\
             environment = {{ COLOUR = \"blue\" }}\nallowed_outbound_hosts = [{hosts}]"
        ),
    );
    app.put("assets/there.txt", "there");
    let up = Gyre::new().up(app.path(), &["--allow-transient-write"]);
    (up, app)
}

#[track_caller]
fn is_ok(up: &Up, path: &str) {
    let answer = up.site().post(path, "a body");
    let output = up.program.output();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{path}\n{output}");
}

#[test]
fn what_needs_no_network() {
    let (up, _app) = up("");
    for path in ["/cli", "/clocks", "/files", "/io", "/random", "/names"] {
        is_ok(&up, path);
    }
    let output = up.program.output();
    assert!(output.contains("on standard output") && output.contains("on standard error"));
}

#[test]
fn sockets() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp_address = tcp.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = tcp.accept().unwrap();
        let mut buffer = [0; 4];
        stream.read_exact(&mut buffer).unwrap();
        stream.write_all(&buffer).unwrap();
    });
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp_address = udp.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 64];
        let (count, from) = udp.recv_from(&mut buffer).unwrap();
        udp.send_to(&buffer[..count], from).unwrap();
    });
    let (up, _app) = up(&format!("\"tcp://{tcp_address}\", \"udp://{udp_address}\""));
    is_ok(&up, &format!("/tcp?address={tcp_address}"));
    is_ok(&up, &format!("/udp?address={udp_address}"));
}

#[test]
fn http() {
    let address = http_echo();
    let (up, _app) = up(&format!("\"http://{address}\""));
    is_ok(&up, &format!("/http?url={address}"));
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
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nsome bytes").unwrap();
    });
    address
}
