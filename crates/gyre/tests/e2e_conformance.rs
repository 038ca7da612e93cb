//! The cases of the public conformance suite of Spin's runtimes, by guests and manifests of our own: each starts the
//! binary as its users do and looks at the whole answer. A header that a case does not name fails it.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use gyre_testkit::services::{DATABASE, PASSWORD, Service, USER};
use gyre_testkit::{Answer, Gyre, TestApp};

/// One case: what its manifest says, what is asked, what must come back.
struct Case {
    guest: &'static str,
    route: &'static str,
    address: String,
    /// Lines of the component's table.
    component: String,
    /// Lines before it.
    application: String,
}

impl Case {
    fn new(guest: &'static str) -> Self {
        Self {
            guest,
            route: "/...",
            address: String::new(),
            component: String::new(),
            application: String::new(),
        }
    }

    fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    fn component(mut self, lines: impl Into<String>) -> Self {
        self.component = lines.into();
        self
    }

    fn application(mut self, lines: impl Into<String>) -> Self {
        self.application = lines.into();
        self
    }

    fn app(&self) -> TestApp {
        let Self { guest, route, address, component, application } = self;
        let app = TestApp::with_manifest(&format!(
            "spin_manifest_version = 2

[application]
name = \"conformance\"
version = \"1.0.0\"
authors = [\"Somebody <somebody@example.com>\"]

[[trigger.http]]
route = {route:?}
component = \"test\"

{application}
[component.test]
source = \"test.wasm\"
environment = {{ CASE = {guest:?}, ADDRESS = {address:?} }}
{component}
"
        ));
        app.put_guest("test.wasm", "conformance");
        app
    }

    #[track_caller]
    fn gives(&self, status: u16, body: &str) {
        let app = self.app();
        let up = Gyre::new().up(app.path(), &[]);
        check(&up.site().get("/"), status, body);
    }
}

/// Status, body, and no header but those that every case allows.
#[track_caller]
fn check(answer: &Answer, status: u16, body: &str) {
    assert_eq!((answer.status, answer.text().as_str()), (status, body));
    assert_eq!(answer.header("content-length"), body.len().to_string());
    for name in answer.headers.keys() {
        let is_expected = ["content-length", "date"].contains(&name.as_str());
        assert!(is_expected, "a header that is not expected: {name}");
    }
}

/// Gives back what it gets.
fn tcp_echo() -> SocketAddr {
    serve(|mut stream| {
        let mut buffer = [0; 1024];
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 || stream.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
    })
}

/// Answers a request with its own body.
fn http_echo() -> SocketAddr {
    serve(|mut stream| {
        let mut got = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            let count = stream.read(&mut buffer).unwrap_or_default();
            got.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&got).to_ascii_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                assert!(count > 0, "no whole request came: {text}");
                continue;
            };
            let is_whole = if head.contains("transfer-encoding: chunked") {
                body.ends_with("0\r\n\r\n")
            } else {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                body.len() >= length.map_or(0, |length| length.parse().unwrap())
            };
            if !is_whole {
                continue;
            }
            assert!(head.starts_with("post / "), "{head}");
            let body = if head.contains("transfer-encoding: chunked") {
                unchunked(&got[got.windows(4).position(|at| at == b"\r\n\r\n").unwrap() + 4..])
            } else {
                got[got.len() - body.len()..].to_vec()
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            return;
        }
    })
}

fn unchunked(mut chunks: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = chunks.windows(2).position(|at| at == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 4 + size..];
    }
}

/// Gives every connection on a port of its own to `answer`, for as long as the test's process runs.
fn serve(answer: impl Fn(std::net::TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || answer(stream));
        }
    });
    address
}

#[test]
fn key_value() {
    Case::new("key-value").component("key_value_stores = [\"default\"]").gives(200, "");
}

#[test]
fn key_value_no_permission() {
    Case::new("key-value").gives(500, "Error::AccessDenied");
}

#[test]
fn sqlite() {
    Case::new("sqlite").component("sqlite_databases = [\"default\"]").gives(200, "");
}

#[test]
fn sqlite_no_permission() {
    Case::new("sqlite").gives(500, "Error::AccessDenied");
}

#[test]
fn variables() {
    Case::new("variables")
        .application("[variables]\nvariable = { default = \"value\" }\n")
        .component("variables = { variable = \"{{ variable }}\" }")
        .gives(200, "");
}

#[test]
fn request_shape() {
    let case = Case { route: "/base/:path_segment/:path_end/...", ..Case::new("request-shape") };
    let app = case.app();
    let up = Gyre::new().up(app.path(), &[]);
    let site = up.site().with_host("example.com").with_header("my-header", "my-value");
    // What a client says about itself is not believed.
    let site = site.with_header("spin-path-info", "evil").with_header("spin-evil", "yes");
    check(&site.get("/base/path/end/rest?key=value"), 200, "");
}

#[test]
fn outbound_redis() {
    let redis = Service::redis();
    let address = format!("redis://{}", redis.address());
    let component = format!("allowed_outbound_hosts = [{address:?}]");
    Case::new("redis").address(address).component(component).gives(200, "");
}

#[test]
fn outbound_redis_no_permission() {
    Case::new("redis").address("redis://localhost:6379").gives(500, "Error::InvalidAddress");
}

#[test]
fn outbound_redis_variable_permission() {
    let redis = Service::redis();
    Case::new("redis")
        .address(format!("redis://{}", redis.address()))
        .application(format!("[variables]\nredis_port = {{ default = \"{}\" }}\n", redis.port()))
        .component("allowed_outbound_hosts = [\"redis://127.0.0.1:{{ redis_port }}\"]")
        .gives(200, "");
}

#[test]
fn outbound_mqtt() {
    let mosquitto = Service::mosquitto();
    let component = format!("allowed_outbound_hosts = [\"mqtt://{}\"]", mosquitto.address());
    Case::new("mqtt")
        .address(format!("mqtt://{}?client_id=spintest", mosquitto.address()))
        .component(component)
        .gives(200, "");
}

#[test]
fn outbound_mqtt_no_permission() {
    Case::new("mqtt").address("mqtt://localhost:1883?client_id=spintest").gives(
        500,
        "Error::ConnectionFailed(\"address mqtt://localhost:1883?client_id=spintest is not permitted\")",
    );
}

#[test]
fn outbound_wasi_http() {
    let address = format!("http://{}", http_echo());
    let component = format!("allowed_outbound_hosts = [{address:?}]");
    let case = Case::new("http").address(address).component(component);
    let app = case.app();
    let up = Gyre::new().up(app.path(), &[]);
    check(&up.site().post("/", "Hello, world!"), 200, "Hello, world!");
}

#[test]
fn outbound_wasi_http_no_permission() {
    Case::new("http")
        .address("http://localhost:80")
        .gives(500, "incoming-response#get: ErrorCode::HttpRequestDenied");
}

#[test]
fn postgres() {
    let server = Service::postgres();
    let port = server.port();
    Case::new("postgres")
        .address(format!(
            "host=localhost port={port} user={USER} password={PASSWORD} dbname={DATABASE} sslmode=disable"
        ))
        .component(format!("allowed_outbound_hosts = [\"*://localhost:{port}\"]"))
        .gives(200, "");
}

#[test]
fn tcp_sockets() {
    let address = tcp_echo();
    let component = format!("allowed_outbound_hosts = [\"*://{address}\"]");
    Case::new("tcp").address(address.to_string()).component(component).gives(200, "");
}

#[test]
fn tcp_sockets_ip_range() {
    let address = tcp_echo();
    let component = format!("allowed_outbound_hosts = [\"*://127.0.0.0/24:{}\"]", address.port());
    Case::new("tcp").address(address.to_string()).component(component).gives(200, "");
}

#[test]
fn tcp_sockets_ip_range_variable_permission() {
    let address = tcp_echo();
    let variables = "[variables]\naddr_prefix = { default = \"127.0.0.0\" }\nprefix_len = { default = \"24\" }\n";
    let component = format!(
        "allowed_outbound_hosts = [\"*://{{{{ addr_prefix }}}}/{{{{ prefix_len }}}}:{}\"]",
        address.port()
    );
    let case = Case::new("tcp").address(address.to_string()).application(variables);
    case.component(component).gives(200, "");
}

#[test]
fn tcp_sockets_no_ip_permission() {
    Case::new("tcp")
        .address("127.0.0.1:6123")
        .component("allowed_outbound_hosts = [\"*://127.0.0.2:6123\"]")
        .gives(500, "access-denied (error 1)");
}

#[test]
fn tcp_sockets_no_port_permission() {
    let address = tcp_echo();
    let component = format!(
        "allowed_outbound_hosts = [\"*://127.0.0.1:{}\"]",
        address.port().checked_add(1).unwrap_or(1)
    );
    let case = Case::new("tcp").address(address.to_string()).component(component);
    case.gives(500, "access-denied (error 1)");
}
