//! Uses every function of WASI 0.2.0-rc-2023-10-18, a part for each path, and answers `ok`. An expectation that fails
//! is a panic: a 500, with the line in the log. Parts that need the network want `?to=`, an address.

#![allow(clippy::too_many_lines, reason = "the bindings' are")]

#[allow(clippy::all, clippy::pedantic, reason = "bindings are written by wit-bindgen")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: r#"
            package guests:snapshot;

            world snapshot {
                import wasi:cli/environment@0.2.0-rc-2023-10-18;
                import wasi:cli/exit@0.2.0-rc-2023-10-18;
                import wasi:cli/stdin@0.2.0-rc-2023-10-18;
                import wasi:cli/stdout@0.2.0-rc-2023-10-18;
                import wasi:cli/stderr@0.2.0-rc-2023-10-18;
                import wasi:cli/terminal-stdin@0.2.0-rc-2023-10-18;
                import wasi:cli/terminal-stdout@0.2.0-rc-2023-10-18;
                import wasi:cli/terminal-stderr@0.2.0-rc-2023-10-18;
                import wasi:clocks/monotonic-clock@0.2.0-rc-2023-10-18;
                import wasi:clocks/timezone@0.2.0-rc-2023-10-18;
                import wasi:clocks/wall-clock@0.2.0-rc-2023-10-18;
                import wasi:filesystem/preopens@0.2.0-rc-2023-10-18;
                import wasi:filesystem/types@0.2.0-rc-2023-10-18;
                import wasi:http/outgoing-handler@0.2.0-rc-2023-10-18;
                import wasi:http/types@0.2.0-rc-2023-10-18;
                import wasi:io/poll@0.2.0-rc-2023-10-18;
                import wasi:io/streams@0.2.0-rc-2023-10-18;
                import wasi:random/insecure-seed@0.2.0-rc-2023-10-18;
                import wasi:random/insecure@0.2.0-rc-2023-10-18;
                import wasi:random/random@0.2.0-rc-2023-10-18;
                import wasi:sockets/instance-network@0.2.0-rc-2023-10-18;
                import wasi:sockets/ip-name-lookup@0.2.0-rc-2023-10-18;
                import wasi:sockets/network@0.2.0-rc-2023-10-18;
                import wasi:sockets/tcp-create-socket@0.2.0-rc-2023-10-18;
                import wasi:sockets/tcp@0.2.0-rc-2023-10-18;
                import wasi:sockets/udp-create-socket@0.2.0-rc-2023-10-18;
                import wasi:sockets/udp@0.2.0-rc-2023-10-18;
                export wasi:http/incoming-handler@0.2.0-rc-2023-10-18;
            }
        "#,
        world: "guests:snapshot/snapshot",
        generate_all,
    });
}

use bindings::export;

mod wasi {
    pub use super::bindings::wasi::{
        cli0_2_0_rc_2023_10_18 as cli, clocks0_2_0_rc_2023_10_18 as clocks,
        filesystem0_2_0_rc_2023_10_18 as filesystem, http0_2_0_rc_2023_10_18 as http,
        io0_2_0_rc_2023_10_18 as io, random0_2_0_rc_2023_10_18 as random,
        sockets0_2_0_rc_2023_10_18 as sockets,
    };
}

use bindings::exports::wasi::http0_2_0_rc_2023_10_18::incoming_handler;

include!("snapshots/both.rs");

use wasi::clocks::timezone;
use wasi::filesystem::types::{AccessType, Modes};
use wasi::http::types::{Error, FutureTrailers, RequestOptions};
use wasi::io::poll::{poll_list, poll_one};
use wasi::sockets::ip_name_lookup::resolve_addresses;
use wasi::sockets::udp::Datagram;

fn block(pollable: &Pollable) {
    poll_one(pollable);
}

fn after(nanoseconds: u64) -> Pollable {
    monotonic_clock::subscribe(nanoseconds, false)
}

fn at(instant: u64) -> Pollable {
    monotonic_clock::subscribe(instant, true)
}

fn more_clocks() {
    let now = wall_clock::now();
    assert_eq!(timezone::utc_offset(now), 0);
    let shown = timezone::display(now);
    assert_eq!((shown.utc_offset, shown.name.as_str()), (0, "UTC"));
    assert!(!shown.in_daylight_saving_time);
}

fn open(
    root: &Descriptor,
    path_flags: PathFlags,
    path: &str,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> Result<Descriptor, ErrorCode> {
    root.open_at(path_flags, path, how, flags, Modes::READABLE | Modes::WRITABLE)
}

fn access(root: &Descriptor, path: &str, modes: Modes) -> Result<(), ErrorCode> {
    root.access_at(PathFlags::empty(), path, AccessType::Access(modes))
}

fn more_files(root: &Descriptor, file: &Descriptor) {
    let none = PathFlags::empty();
    assert_eq!(root.access_at(none, "folder/file", AccessType::Exists), Ok(()));
    let missing = root.access_at(none, "nothing", AccessType::Exists);
    assert_eq!(missing, Err(ErrorCode::NoEntry));
    assert_eq!(access(root, "folder/file", Modes::empty()), Ok(()));
    assert_eq!(access(root, "folder/file", Modes::READABLE | Modes::WRITABLE), Ok(()));
    assert_eq!(access(root, "folder/file", Modes::EXECUTABLE), Err(ErrorCode::Access));
    assert_eq!(access(root, "folder", Modes::all()), Ok(()));
    // What nothing keeps is refused, and said to be.
    let unsupported = Err(ErrorCode::Unsupported);
    let modes = Modes::READABLE;
    assert_eq!(root.change_file_permissions_at(none, "folder/file", modes), unsupported);
    assert_eq!(root.change_directory_permissions_at(none, "folder", modes), unsupported);
    assert_eq!(file.lock_shared(), unsupported);
    assert_eq!(file.lock_exclusive(), unsupported);
    assert_eq!(file.try_lock_shared(), unsupported);
    assert_eq!(file.try_lock_exclusive(), unsupported);
    assert_eq!(file.unlock(), unsupported);
}

fn more_read_only(root: &Descriptor) {
    assert_eq!(access(root, "there.txt", Modes::READABLE), Ok(()));
    assert!(access(root, "there.txt", Modes::WRITABLE).is_err());
}

fn response(status: u16, headers: &[(&str, &str)]) -> (OutgoingResponse, OutgoingBody) {
    let entries: Vec<(String, Vec<u8>)> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect();
    let headers = Fields::new(&entries);
    let response = OutgoingResponse::new(status, &headers);
    // They were copied.
    headers.delete("x-part");
    let body = response.write().expect("asked for once");
    assert!(response.write().is_err());
    (response, body)
}

fn finish(body: OutgoingBody) {
    OutgoingBody::finish(body, None);
}

fn error() -> Error {
    Error::ProtocolError("of the guest's own".to_owned())
}

fn http(authority: &str) {
    let fields = Fields::new(&[("a".to_owned(), b"1".to_vec())]);
    fields.append("a", b"2");
    fields.set("b", &[b"3".to_vec()]);
    assert_eq!(fields.get("A"), [b"1".to_vec(), b"2".to_vec()]);
    let copy = fields.clone();
    copy.delete("a");
    assert_eq!(copy.entries(), [("b".to_owned(), b"3".to_vec())]);
    // The host's own are left out, as they were.
    copy.append("connection", b"close");
    copy.set("host", &[b"elsewhere".to_vec()]);
    copy.delete("transfer-encoding");
    assert_eq!(copy.entries().len(), 1);
    assert!(Fields::new(&[("host".to_owned(), b"elsewhere".to_vec())]).entries().is_empty());

    let request = OutgoingRequest::new(
        &Method::Put,
        Some("/echo?x=1"),
        Some(&Scheme::Http),
        Some(authority),
        &copy,
    );
    let body = request.write().expect("asked for once");
    let options = RequestOptions {
        connect_timeout_ms: Some(10_000),
        first_byte_timeout_ms: Some(20_000),
        between_bytes_timeout_ms: None,
    };
    let future = outgoing_handler::handle(request, Some(options)).expect("it is sent");
    exchange(&future, body);
}

fn no_trailers(trailers: &FutureTrailers) {
    let fields = trailers.get().expect("they are there").expect("taken once");
    assert!(fields.entries().is_empty());
    assert!(matches!(trailers.get(), Some(Err(Error::UnexpectedError(_)))));
}

fn denied(authority: &str) {
    let none = Fields::new(&[]);
    let request =
        OutgoingRequest::new(&Method::Get, Some("/"), Some(&Scheme::Http), Some(authority), &none);
    let future = outgoing_handler::handle(request, None).expect("it is judged later");
    block(&future.subscribe());
    let result = future.get().expect("it is there").expect("it is taken once");
    match result {
        Err(Error::UnexpectedError(text)) => {
            assert!(text.contains("HttpRequestDenied"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

fn outgoing(
    authority: Option<&str>,
    first_byte_ms: Option<u32>,
) -> Result<FutureIncomingResponse, Error> {
    let none = Fields::new(&[]);
    let scheme = Some(&Scheme::Http);
    let request = OutgoingRequest::new(&Method::Get, None, scheme, authority, &none);
    let options = first_byte_ms.map(|ms| RequestOptions {
        connect_timeout_ms: None,
        first_byte_timeout_ms: Some(ms),
        between_bytes_timeout_ms: None,
    });
    outgoing_handler::handle(request, options)
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::InvalidUrl(_) => "url",
        Error::TimeoutError(_) => "timeout",
        Error::ProtocolError(_) => "protocol",
        Error::UnexpectedError(text) if text.contains("ConnectionRefused") => "refused",
        Error::UnexpectedError(text) => panic!("{text}"),
    }
}

/// What has no other way to fail.
fn trapping(part: &str, request: &IncomingRequest, out: ResponseOutparam) {
    let none = Fields::new(&[]);
    match part {
        "/invalid-path" => drop(OutgoingRequest::new(&Method::Get, Some("a b"), None, None, &none)),
        "/invalid-method" => {
            let method = Method::Other("a b".to_owned());
            drop(OutgoingRequest::new(&method, None, None, None, &none));
        }
        "/invalid-authority" => {
            drop(OutgoingRequest::new(&Method::Get, None, None, Some("a b"), &none));
        }
        "/invalid-scheme" => {
            let scheme = Scheme::Other("a b".to_owned());
            drop(OutgoingRequest::new(&Method::Get, None, Some(&scheme), None, &none));
        }
        "/invalid-status" => drop(OutgoingResponse::new(7, &none)),
        "/invalid-header" => none.append("a b", b"1"),
        "/received-headers" => request.headers().append("a", b"1"),
        "/short" => whole(out, 200, &[("content-length", "10")], b"abc"),
        other => panic!("no part {other}"),
    }
}

fn io(request: &IncomingRequest) {
    let long = after(60_000_000_000);
    let short = after(1_000_000);
    assert_eq!(poll_list(&[&long, &short]), [1]);

    // From the request's body into the body of a request that is never sent.
    let body = request.consume().expect("asked for once");
    let input = body.stream().expect("asked for once");
    let (_unsent, output, outgoing) = unsent();
    assert_eq!(output.forward(input).expect("all of it"), 6);
    drop(output);
    finish(outgoing);
    // What was moved from is closed.
    drop(IncomingBody::finish(body));

    let root = folder();
    let file =
        open(&root, PathFlags::empty(), "there.txt", OpenFlags::empty(), DescriptorFlags::READ);
    let file = file.expect("it is there");
    let (_unsent, output, outgoing) = unsent();
    let input = file.read_via_stream(0).expect("it can be read");
    assert_eq!(output.blocking_splice(input, 3).expect("a part"), 3);
    let input = file.read_via_stream(0).expect("it can be read");
    block(&input.subscribe());
    assert!(output.check_write().expect("there is room") > 0);
    assert!(output.splice(input, 4).expect("a part") <= 4);
    drop(output);
    finish(outgoing);
}

fn unsent() -> (OutgoingRequest, wasi::io::streams::OutputStream, OutgoingBody) {
    let request = OutgoingRequest::new(&Method::Post, None, None, None, &Fields::new(&[]));
    let body = request.write().expect("asked for once");
    let output = body.write().expect("asked for once");
    (request, output, body)
}

fn more_tcp(socket: &TcpSocket) {
    socket.set_keep_alive(true).expect("an option");
    assert_eq!(socket.keep_alive(), Ok(true));
    socket.set_unicast_hop_limit(60).expect("an option");
    assert_eq!(socket.unicast_hop_limit(), Ok(60));
    assert_eq!(socket.no_delay(), Ok(false));
    assert_eq!(socket.set_no_delay(false), Ok(()));
    assert_eq!(socket.set_no_delay(true), Err(NetworkError::NotSupported));
}

fn udp(remote: IpSocketAddress) {
    let network = instance_network();
    let socket = create_udp_socket(IpAddressFamily::Ipv4).expect("a socket");
    assert_eq!(socket.receive(1).err(), Some(NetworkError::InvalidState));
    assert_eq!(socket.send(&[]), Err(NetworkError::InvalidState));
    drop(socket);

    let datagram = || Datagram { data: b"echo".to_vec(), remote_address: remote };
    let socket = bound_udp();
    udp_options(&socket);
    assert!(socket.remote_address().is_err());
    assert_eq!(socket.send(&[]), Ok(0));
    assert_eq!(socket.receive(0).map(|received| received.len()), Ok(0));
    assert_eq!(socket.receive(1).err(), Some(NetworkError::WouldBlock));
    assert_eq!(socket.send(&[datagram()]), Ok(1));
    receive(&socket);

    // Connecting binds where nothing did before.
    let socket = create_udp_socket(IpAddressFamily::Ipv4).expect("a socket");
    assert_eq!(socket.finish_connect(), Err(NetworkError::NotInProgress));
    socket.start_connect(&network, remote).expect("it is allowed");
    block(&socket.subscribe());
    socket.finish_connect().expect("it is connected");
    socket.local_address().expect("it is bound");
    assert_eq!(format!("{:?}", socket.remote_address()), format!("{:?}", Ok::<_, ()>(remote)));
    let elsewhere = Datagram { data: Vec::new(), remote_address: address("192.0.2.1:9") };
    assert_eq!(socket.send(&[elsewhere]), Err(NetworkError::InvalidArgument));
    assert_eq!(socket.send(&[datagram()]), Ok(1));
    receive(&socket);
}

fn receive(socket: &UdpSocket) {
    let received = loop {
        match socket.receive(4) {
            Err(NetworkError::WouldBlock) => block(&socket.subscribe()),
            other => break other.expect("it is open"),
        }
    };
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].data, b"echo");
}

fn udp_denied(remote: IpSocketAddress) {
    let socket = bound_udp();
    let datagram = Datagram { data: b"echo".to_vec(), remote_address: remote };
    assert_eq!(socket.send(&[datagram]), Err(NetworkError::AccessDenied));
    let socket = create_udp_socket(IpAddressFamily::Ipv4).expect("a socket");
    let connected = socket.start_connect(&instance_network(), remote);
    assert_eq!(connected, Err(NetworkError::AccessDenied));
    let socket = create_udp_socket(IpAddressFamily::Ipv4).expect("a socket");
    let bound = socket.start_bind(&instance_network(), address("127.0.0.1:0"));
    assert_eq!(bound, Err(NetworkError::AccessDenied));
}

fn names() {
    // No rule of a manifest says which names may be looked up, so none may.
    let found =
        resolve_addresses(&instance_network(), "localhost", None, false).and_then(|stream| {
            loop {
                match stream.resolve_next_address() {
                    Err(NetworkError::WouldBlock) => block(&stream.subscribe()),
                    other => return other,
                }
            }
        });
    assert!(found.is_err(), "{found:?}");
}
