//! Every function of WASI 0.2 and 0.3, called by guests on `gyre up`.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;

use gyre_testkit::{Gyre, TestApp, Up};

/// The guest, allowed to reach `hosts`, with a folder that it may write to.
fn up(hosts: &str) -> (Up, TestApp) {
    up_of("wasi", hosts)
}

fn up_of(guest: &str, hosts: &str) -> (Up, TestApp) {
    let app = TestApp::of_guest(
        "wasi",
        guest,
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
fn what_needs_no_network_by_wasi_0_3() {
    let (up, app) = up_of("rest03", "");
    for path in ["/files", "/http", "/terminals"] {
        is_ok(&up, path);
    }
    assert!(app.path().join("assets/there.txt").exists());
    for (path, status) in [("/exit", 1), ("/exit-with-code", 7)] {
        let _ = up.site().get(path).expect(500);
        let said = format!("Exited with i32 exit status {status}");
        gyre_testkit::until(&said, || up.program.output().contains(&said).then_some(()));
    }
}

#[test]
fn sockets() {
    let (tcp, udp) = (tcp_echo(), udp_echo());
    let (up, _app) = up(&format!("\"tcp://{tcp}\", \"udp://{udp}\""));
    is_ok(&up, &format!("/tcp?address={tcp}"));
    is_ok(&up, &format!("/udp?address={udp}"));
}

#[test]
fn sockets_by_wasi_0_3() {
    let (tcp, udp) = (tcp_echo(), udp_echo());
    let (up, _app) = up_of("rest03", &format!("\"tcp://{tcp}\", \"udp://{udp}\""));
    is_ok(&up, &format!("/tcp?{tcp}"));
    is_ok(&up, &format!("/udp?{udp}"));
}

/// Sends back four bytes of one connection.
fn tcp_echo() -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = tcp.accept().unwrap();
        let mut buffer = [0; 4];
        stream.read_exact(&mut buffer).unwrap();
        stream.write_all(&buffer).unwrap();
    });
    address
}

/// Sends two datagrams back.
fn udp_echo() -> SocketAddr {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = udp.local_addr().unwrap();
    thread::spawn(move || {
        for _ in 0..2 {
            let mut buffer = [0; 64];
            let (count, from) = udp.recv_from(&mut buffer).unwrap();
            udp.send_to(&buffer[..count], from).unwrap();
        }
    });
    address
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
