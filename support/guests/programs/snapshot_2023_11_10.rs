//! Uses every function of WASI 0.2.0-rc-2023-11-10, a part for each path, and answers `ok`. An expectation that fails
//! is a panic: a 500, with the line in the log. Parts that need the network want `?to=`, an address.

#![allow(clippy::too_many_lines, reason = "the bindings' are")]

#[allow(clippy::all, clippy::pedantic, reason = "bindings are written by wit-bindgen")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: r#"
            package guests:snapshot;

            world snapshot {
                import wasi:cli/environment@0.2.0-rc-2023-11-10;
                import wasi:cli/exit@0.2.0-rc-2023-11-10;
                import wasi:cli/stdin@0.2.0-rc-2023-11-10;
                import wasi:cli/stdout@0.2.0-rc-2023-11-10;
                import wasi:cli/stderr@0.2.0-rc-2023-11-10;
                import wasi:cli/terminal-stdin@0.2.0-rc-2023-11-10;
                import wasi:cli/terminal-stdout@0.2.0-rc-2023-11-10;
                import wasi:cli/terminal-stderr@0.2.0-rc-2023-11-10;
                import wasi:clocks/monotonic-clock@0.2.0-rc-2023-11-10;
                import wasi:clocks/wall-clock@0.2.0-rc-2023-11-10;
                import wasi:filesystem/preopens@0.2.0-rc-2023-11-10;
                import wasi:filesystem/types@0.2.0-rc-2023-11-10;
                import wasi:http/outgoing-handler@0.2.0-rc-2023-11-10;
                import wasi:http/types@0.2.0-rc-2023-11-10;
                import wasi:io/error@0.2.0-rc-2023-11-10;
                import wasi:io/poll@0.2.0-rc-2023-11-10;
                import wasi:io/streams@0.2.0-rc-2023-11-10;
                import wasi:random/insecure-seed@0.2.0-rc-2023-11-10;
                import wasi:random/insecure@0.2.0-rc-2023-11-10;
                import wasi:random/random@0.2.0-rc-2023-11-10;
                import wasi:sockets/instance-network@0.2.0-rc-2023-11-10;
                import wasi:sockets/ip-name-lookup@0.2.0-rc-2023-11-10;
                import wasi:sockets/network@0.2.0-rc-2023-11-10;
                import wasi:sockets/tcp-create-socket@0.2.0-rc-2023-11-10;
                import wasi:sockets/tcp@0.2.0-rc-2023-11-10;
                import wasi:sockets/udp-create-socket@0.2.0-rc-2023-11-10;
                import wasi:sockets/udp@0.2.0-rc-2023-11-10;
                export wasi:http/incoming-handler@0.2.0-rc-2023-11-10;
            }
        "#,
        world: "guests:snapshot/snapshot",
        generate_all,
    });
}

use bindings::export;

mod wasi {
    pub use super::bindings::wasi::{
        cli0_2_0_rc_2023_11_10 as cli, clocks0_2_0_rc_2023_11_10 as clocks,
        filesystem0_2_0_rc_2023_11_10 as filesystem, http0_2_0_rc_2023_11_10 as http,
        io0_2_0_rc_2023_11_10 as io, random0_2_0_rc_2023_11_10 as random,
        sockets0_2_0_rc_2023_11_10 as sockets,
    };
}

use bindings::exports::wasi::http0_2_0_rc_2023_11_10::incoming_handler;

include!("snapshots/both.rs");

use wasi::http::types::{
    ErrorCode as HttpError, FutureTrailers, HeaderError, RequestOptions, http_error_code,
};
use wasi::io::poll::poll;
use wasi::sockets::ip_name_lookup::resolve_addresses;
use wasi::sockets::udp::OutgoingDatagram;

fn block(pollable: &Pollable) {
    pollable.block();
}

fn after(nanoseconds: u64) -> Pollable {
    monotonic_clock::subscribe_duration(nanoseconds)
}

fn at(instant: u64) -> Pollable {
    monotonic_clock::subscribe_instant(instant)
}

fn more_clocks() {}

fn open(
    root: &Descriptor,
    path_flags: PathFlags,
    path: &str,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> Result<Descriptor, ErrorCode> {
    root.open_at(path_flags, path, how, flags)
}

fn more_files(root: &Descriptor, _: &Descriptor) {
    let error = match root.read_via_stream(0).map(|stream| stream.blocking_read(1)) {
        Ok(Err(StreamError::LastOperationFailed(error))) => error,
        _ => return,
    };
    assert!(http_error_code(&error).is_none());
}

fn more_read_only(_: &Descriptor) {}

fn response(status: u16, headers: &[(&str, &str)]) -> (OutgoingResponse, OutgoingBody) {
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(&(*name).to_owned(), &value.as_bytes().to_vec()).expect("it is allowed");
    }
    let response = OutgoingResponse::new(fields);
    assert_eq!(response.status_code(), 200);
    response.set_status_code(status).expect("it is a status");
    assert_eq!(response.status_code(), status);
    assert_eq!(response.headers().entries().len(), headers.len());
    let body = response.body().expect("asked for once");
    assert!(response.body().is_err());
    (response, body)
}

fn finish(body: OutgoingBody) {
    OutgoingBody::finish(body, None).expect("it is whole");
}

fn error() -> HttpError {
    HttpError::InternalError(Some("protocol error: of the guest's own".to_owned()))
}

fn http(authority: &str) {
    let fields = Fields::from_list(&[("a".to_owned(), b"1".to_vec())]).expect("they are valid");
    let (a, b) = ("a".to_owned(), "b".to_owned());
    fields.append(&a, &b"2".to_vec()).expect("valid");
    fields.set(&b, &[b"3".to_vec()]).expect("valid");
    assert_eq!(fields.get(&"A".to_owned()), [b"1".to_vec(), b"2".to_vec()]);
    let copy = fields.clone();
    copy.delete(&a).expect("they can be changed");
    assert_eq!(copy.entries(), [("b".to_owned(), b"3".to_vec())]);
    let forbidden = copy.append(&"connection".to_owned(), &b"close".to_vec());
    assert!(matches!(forbidden, Err(HeaderError::Forbidden)));
    assert!(fields.append(&"a b".to_owned(), &b"1".to_vec()).is_err());
    assert!(Fields::from_list(&[("a".to_owned(), b"1\n2".to_vec())]).is_err());

    // Their names say milliseconds.
    let options = RequestOptions::new();
    options.set_connect_timeout_ms(Some(10_000)).expect("it is kept");
    options.set_first_byte_timeout_ms(Some(20_000)).expect("it is kept");
    options.set_between_bytes_timeout_ms(None).expect("it is kept");
    assert_eq!(options.connect_timeout_ms(), Some(10_000));
    assert_eq!(options.first_byte_timeout_ms(), Some(20_000));
    assert_eq!(options.between_bytes_timeout_ms(), None);

    let request = OutgoingRequest::new(copy);
    request.set_method(&Method::Put).expect("it is a method");
    request.set_scheme(Some(&Scheme::Http)).expect("it is a scheme");
    request.set_authority(Some(authority)).expect("it is an authority");
    request.set_path_with_query(Some("/echo?x=1")).expect("it is a path");
    assert!(matches!(request.method(), Method::Put));
    assert!(matches!(request.scheme(), Some(Scheme::Http)));
    assert_eq!(request.authority().as_deref(), Some(authority));
    assert_eq!(request.path_with_query().as_deref(), Some("/echo?x=1"));
    assert_eq!(request.headers().entries().len(), 1);
    assert!(request.set_path_with_query(Some("a b\n")).is_err());
    let body = request.body().expect("asked for once");
    let future = outgoing_handler::handle(request, Some(options)).expect("it is sent");
    exchange(&future, body);
}

fn no_trailers(trailers: &FutureTrailers) {
    assert!(trailers.get().expect("they are there").expect("taken once").is_none());
    assert!(matches!(trailers.get(), Some(Err(HttpError::InternalError(Some(_))))));
}

fn denied(authority: &str) {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("it is a scheme");
    request.set_authority(Some(authority)).expect("it is an authority");
    let future = outgoing_handler::handle(request, None).expect("it is judged later");
    block(&future.subscribe());
    let result = future.get().expect("it is there").expect("it is taken once");
    assert!(matches!(result, Err(HttpError::HttpRequestDenied)), "{result:?}");
}

fn outgoing(
    authority: Option<&str>,
    first_byte_ms: Option<u32>,
) -> Result<FutureIncomingResponse, HttpError> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("it is a scheme");
    request.set_authority(authority).expect("it is an authority");
    let options = first_byte_ms.map(|ms| {
        let options = RequestOptions::new();
        options.set_first_byte_timeout_ms(Some(ms.into())).expect("it is kept");
        options
    });
    outgoing_handler::handle(request, options)
}

fn kind(error: &HttpError) -> &'static str {
    match error {
        HttpError::HttpRequestUriInvalid => "url",
        HttpError::ConnectionReadTimeout => "timeout",
        HttpError::HttpProtocolError => "protocol",
        HttpError::ConnectionRefused => "refused",
        other => panic!("{other:?}"),
    }
}

fn trapping(part: &str, _: &IncomingRequest, _: ResponseOutparam) {
    panic!("no part {part}");
}

fn io(request: &IncomingRequest) {
    let long = after(60_000_000_000);
    let short = after(1_000_000);
    assert!(!long.ready());
    assert_eq!(poll(&[&long, &short]), [1]);
    assert!(short.ready());

    // From the request's body into the body of a request that is never sent.
    let body = request.consume().expect("asked for once");
    let input = body.stream().expect("asked for once");
    let unsent = OutgoingRequest::new(Fields::new());
    let outgoing = unsent.body().expect("asked for once");
    let output = outgoing.write().expect("asked for once");
    let mut moved = 0;
    while moved < 4 {
        moved += output.splice(&input, 4 - moved).expect("a part");
    }
    assert_eq!(moved, 4);
    assert_eq!(output.blocking_splice(&input, 100).expect("the rest"), 2);
    drop((input, output));
    finish(outgoing);
    drop(IncomingBody::finish(body));
}

fn more_tcp(socket: &TcpSocket) {
    assert!(!socket.is_listening());
    socket.set_keep_alive_enabled(true).expect("an option");
    assert_eq!(socket.keep_alive_enabled(), Ok(true));
    socket.set_keep_alive_idle_time(10_000_000_000).expect("an option");
    assert_eq!(socket.keep_alive_idle_time(), Ok(10_000_000_000));
    socket.set_keep_alive_interval(5_000_000_000).expect("an option");
    assert_eq!(socket.keep_alive_interval(), Ok(5_000_000_000));
    socket.set_keep_alive_count(3).expect("an option");
    assert_eq!(socket.keep_alive_count(), Ok(3));
    socket.set_hop_limit(60).expect("an option");
    assert_eq!(socket.hop_limit(), Ok(60));
}

fn udp(remote: IpSocketAddress) {
    let socket = bound_udp();
    udp_options(&socket);
    for connected in [None, Some(remote)] {
        let (incoming, outgoing) = socket.stream(connected).expect("it is allowed");
        assert_eq!(socket.remote_address().is_ok(), connected.is_some());
        block(&outgoing.subscribe());
        assert!(outgoing.check_send().expect("there is room") > 0);
        let remote_address = if connected.is_some() { None } else { Some(remote) };
        let datagram = OutgoingDatagram { data: b"echo".to_vec(), remote_address };
        assert_eq!(outgoing.send(&[datagram]), Ok(1));
        let received = loop {
            block(&incoming.subscribe());
            let received = incoming.receive(1).expect("it is open");
            if let Some(datagram) = received.into_iter().next() {
                break datagram.data;
            }
        };
        assert_eq!(received, b"echo");
    }
}

fn udp_denied(remote: IpSocketAddress) {
    let socket = bound_udp();
    let (_incoming, outgoing) = socket.stream(None).expect("nobody in particular");
    assert!(outgoing.check_send().expect("there is room") > 0);
    let datagram = OutgoingDatagram { data: b"echo".to_vec(), remote_address: Some(remote) };
    assert_eq!(outgoing.send(&[datagram]), Err(NetworkError::AccessDenied));
    let socket = bound_udp();
    assert_eq!(socket.stream(Some(remote)).err(), Some(NetworkError::AccessDenied));
    let socket = create_udp_socket(IpAddressFamily::Ipv4).expect("a socket");
    let bound = socket.start_bind(&instance_network(), address("127.0.0.1:0"));
    assert_eq!(bound, Err(NetworkError::AccessDenied));
}

fn names() {
    // No rule of a manifest says which names may be looked up, so none may.
    let found = resolve_addresses(&instance_network(), "localhost").and_then(|stream| {
        loop {
            match stream.resolve_next_address() {
                Err(NetworkError::WouldBlock) => block(&stream.subscribe()),
                other => return other,
            }
        }
    });
    assert!(found.is_err(), "{found:?}");
}
