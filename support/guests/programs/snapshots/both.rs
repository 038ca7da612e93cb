// What the release candidates of WASI 0.2 have in common: included by the program of each, which declares its
// bindings before and what differs after.

use std::net::SocketAddrV4;

use wasi::cli::{
    environment, exit, stderr, stdin, stdout, terminal_stderr, terminal_stdin, terminal_stdout,
};
use wasi::clocks::{monotonic_clock, wall_clock};
use wasi::filesystem::preopens::get_directories;
use wasi::filesystem::types::{
    Advice, Descriptor, DescriptorFlags, DescriptorType, ErrorCode, NewTimestamp, OpenFlags,
    PathFlags, filesystem_error_code,
};
use wasi::http::outgoing_handler;
use wasi::http::types::{
    Fields, FutureIncomingResponse, IncomingBody, IncomingRequest, IncomingResponse, Method,
    OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};
use wasi::io::poll::Pollable;
use wasi::io::streams::{InputStream, StreamError};
use wasi::random::{insecure, insecure_seed, random};
use wasi::sockets::instance_network::instance_network;
use wasi::sockets::network::{
    ErrorCode as NetworkError, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress,
};
use wasi::sockets::tcp::{ShutdownType, TcpSocket};
use wasi::sockets::tcp_create_socket::create_tcp_socket;
use wasi::sockets::udp::UdpSocket;
use wasi::sockets::udp_create_socket::create_udp_socket;

struct Guest;

export!(Guest with_types_in bindings);

impl incoming_handler::Guest for Guest {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, value) = target.split_once("?to=").unwrap_or((&target, ""));
        match path {
            "/cli" => cli(),
            "/clocks" => clocks(),
            "/files" => files(),
            "/read-only" => read_only(),
            "/http" => http(value),
            "/denied" => denied(value),
            "/refused" => assert_eq!(failure(Some(value), None), "refused"),
            "/garbage" => assert_eq!(failure(Some(value), None), "protocol"),
            "/itself" => assert_eq!(failure(None, None), "url"),
            "/slow" => slow(value),
            "/io" => io(&request),
            "/random" => randomness(),
            "/tcp" => tcp(address(value)),
            "/udp" => udp(address(value)),
            "/tcp-denied" => tcp_denied(address(value)),
            "/udp-denied" => udp_denied(address(value)),
            "/names" => names(),
            "/request" => return about(&request, out),
            "/echo" => return echo(&request, out),
            "/unset" => return,
            "/error" => return ResponseOutparam::set(out, Err(error())),
            "/unfinished" => return unfinished(out),
            "/exit-well" => {
                whole(out, 200, &[], b"done");
                exit::exit(Ok(()));
                unreachable!("exit returned");
            }
            "/exit-badly" => exit::exit(Err(())),
            other => return trapping(other, &request, out),
        }
        whole(out, 200, &[("x-part", path)], b"ok");
    }
}

fn address(text: &str) -> IpSocketAddress {
    let address: SocketAddrV4 = text.parse().expect("?to= has an IPv4 address and port");
    let [a, b, c, d] = address.ip().octets();
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) })
}

fn whole(out: ResponseOutparam, status: u16, headers: &[(&str, &str)], text: &[u8]) {
    let (response, body) = response(status, headers);
    let stream = body.write().expect("asked for once");
    ResponseOutparam::set(out, Ok(response));
    stream.blocking_write_and_flush(text).expect("it is taken");
    drop(stream);
    finish(body);
}

fn about(request: &IncomingRequest, out: ResponseOutparam) {
    let value = request.headers().get("x-asked").remove(0);
    let text = format!(
        "{:?} {:?} {:?} {:?} {}",
        request.method(),
        request.scheme(),
        request.authority(),
        request.path_with_query(),
        String::from_utf8_lossy(&value),
    );
    whole(
        out,
        201,
        &[("content-type", "text/plain"), ("x-two", "a"), ("x-two", "b")],
        text.as_bytes(),
    );
}

/// Sends each piece of the body back before it reads the next.
fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("asked for once");
    assert!(request.consume().is_err());
    let input = incoming.stream().expect("asked for once");
    let (response, body) = response(200, &[]);
    ResponseOutparam::set(out, Ok(response));
    let output = body.write().expect("asked for once");
    loop {
        match input.blocking_read(4096) {
            Ok(piece) => output.blocking_write_and_flush(&piece).expect("it is taken"),
            Err(StreamError::Closed) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    drop((input, output));
    finish(body);
}

fn unfinished(out: ResponseOutparam) {
    let (response, body) = response(200, &[]);
    ResponseOutparam::set(out, Ok(response));
    let output = body.write().expect("asked for once");
    output.blocking_write_and_flush(b"begun").expect("it is taken");
    block(&after(20_000_000));
    panic!("no more");
}

fn cli() {
    let variables = environment::get_environment();
    assert!(variables.contains(&("COLOUR".to_owned(), "blue".to_owned())), "{variables:?}");
    assert_eq!(environment::get_arguments(), Vec::<String>::new());
    assert_eq!(environment::initial_cwd(), None);
    assert!(terminal_stdin::get_terminal_stdin().is_none());
    assert!(terminal_stdout::get_terminal_stdout().is_none());
    assert!(terminal_stderr::get_terminal_stderr().is_none());
    assert!(matches!(stdin::get_stdin().blocking_read(1), Err(StreamError::Closed)));
    let out = stdout::get_stdout();
    out.blocking_write_and_flush(b"on standard output\n").expect("it is taken");
    let err = stderr::get_stderr();
    err.blocking_write_and_flush(b"on standard error\n").expect("it is taken");
}

fn clocks() {
    let before = monotonic_clock::now();
    assert!(monotonic_clock::resolution() > 0);
    block(&after(2_000_000));
    let between = monotonic_clock::now();
    assert!(between >= before + 2_000_000);
    block(&at(between + 2_000_000));
    assert!(monotonic_clock::now() >= between + 2_000_000);
    // Later than the year 2020.
    assert!(wall_clock::now().seconds > 1_577_836_800);
    assert!(wall_clock::resolution().nanoseconds > 0 || wall_clock::resolution().seconds > 0);
    more_clocks();
}

fn folder() -> Descriptor {
    let (root, name) = get_directories().into_iter().next().expect("a folder is mounted");
    assert_eq!(name, "/");
    root
}

fn read_only() {
    let root = folder();
    let open = |path, how, flags| open(&root, PathFlags::empty(), path, how, flags);
    let file = open("there.txt", OpenFlags::empty(), DescriptorFlags::READ).expect("it is there");
    assert_eq!(file.read(100, 0).expect("it can be read").0, b"there");
    let denied = |result: Result<(), ErrorCode>| {
        assert!(
            matches!(
                result,
                Err(ErrorCode::NotPermitted | ErrorCode::ReadOnly | ErrorCode::BadDescriptor)
            ),
            "{result:?}"
        );
    };
    let both = DescriptorFlags::READ | DescriptorFlags::WRITE;
    denied(open("there.txt", OpenFlags::empty(), both).map(drop));
    denied(open("new", OpenFlags::CREATE, both).map(drop));
    denied(file.write(b"x", 0).map(drop));
    denied(file.write_via_stream(0).map(drop));
    denied(file.append_via_stream().map(drop));
    denied(file.set_size(0));
    denied(file.set_times(NewTimestamp::Now, NewTimestamp::Now));
    denied(root.create_directory_at("folder"));
    denied(root.unlink_file_at("there.txt"));
    denied(root.rename_at("there.txt", &root, "gone.txt"));
    denied(root.symlink_at("there.txt", "link"));
    denied(root.link_at(PathFlags::empty(), "there.txt", &root, "link"));
    denied(root.remove_directory_at("folder"));
    let now = NewTimestamp::Now;
    denied(root.set_times_at(PathFlags::empty(), "there.txt", now, NewTimestamp::Now));
    more_read_only(&root);
}

fn files() {
    let root = folder();
    let create = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    let both = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let open = |path, how, flags| open(&root, PathFlags::empty(), path, how, flags);
    assert_eq!(open("nothing", OpenFlags::empty(), both).err(), Some(ErrorCode::NoEntry));
    let escape = open("../outside", OpenFlags::empty(), DescriptorFlags::READ).err();
    assert!(matches!(escape, Some(ErrorCode::NotPermitted | ErrorCode::NoEntry)), "{escape:?}");

    root.create_directory_at("folder").expect("a folder is made");
    let file = open("folder/file", create, both).expect("a file is made");
    assert_eq!(open("folder/file", create, both).err(), Some(ErrorCode::Exist));
    assert_eq!(file.get_type(), Ok(DescriptorType::RegularFile));
    assert!(file.get_flags().expect("it has flags").contains(both));
    assert_eq!(file.write(b"0123456789", 0), Ok(10));
    assert_eq!(file.read(4, 2), Ok((b"2345".to_vec(), false)));
    file.set_size(6).expect("it is cut");
    assert_eq!(file.stat().expect("it is there").size, 6);
    file.advise(0, 6, Advice::Sequential).expect("advice is free");
    file.sync_data().and_then(|()| file.sync()).expect("it is on disk");
    times(&root, &file);
    streams(&file);
    more_files(&root, &file);

    assert!(file.is_same_object(&open("folder/file", OpenFlags::empty(), both).expect("again")));
    assert!(!file.is_same_object(&root));
    let hash = file.metadata_hash().expect("it has one");
    let at = root.metadata_hash_at(PathFlags::empty(), "folder/file").expect("it has one");
    assert_eq!((hash.lower, hash.upper), (at.lower, at.upper));

    root.link_at(PathFlags::empty(), "folder/file", &root, "linked").expect("a link is made");
    root.symlink_at("folder/file", "pointer").expect("a symbolic link is made");
    assert_eq!(root.readlink_at("pointer"), Ok("folder/file".to_owned()));
    let kind = root.stat_at(PathFlags::empty(), "pointer").expect("it is there").type_;
    assert_eq!(kind, DescriptorType::SymbolicLink);
    let kind = root.stat_at(PathFlags::SYMLINK_FOLLOW, "pointer").expect("it is there").type_;
    assert_eq!(kind, DescriptorType::RegularFile);
    root.rename_at("linked", &root, "renamed").expect("it is renamed");
    let mut found = Vec::new();
    let entries = root.read_directory().expect("it is a folder");
    while let Some(entry) = entries.read_directory_entry().expect("an entry or the end") {
        found.push(entry.name);
    }
    for name in ["folder", "pointer", "renamed"] {
        assert!(found.iter().any(|each| each == name), "{name}: {found:?}");
    }
    root.unlink_file_at("renamed").and_then(|()| root.unlink_file_at("pointer")).expect("gone");
    assert_eq!(root.remove_directory_at("folder").err(), Some(ErrorCode::NotEmpty));
    root.unlink_file_at("folder/file").expect("gone");
    root.remove_directory_at("folder").expect("gone");

    // Reading a folder as a file fails within the stream, and the stream's error says why.
    let code = match root.read_via_stream(0) {
        Err(code) => Some(code),
        Ok(stream) => match stream.blocking_read(1) {
            Err(StreamError::LastOperationFailed(error)) => {
                assert!(!error.to_debug_string().is_empty());
                filesystem_error_code(&error)
            }
            other => panic!("a folder was read: {other:?}"),
        },
    };
    assert!(matches!(code, Some(ErrorCode::IsDirectory | ErrorCode::BadDescriptor)), "{code:?}");
}

fn times(root: &Descriptor, file: &Descriptor) {
    let then = wall_clock::Datetime { seconds: 1_000_000_000, nanoseconds: 0 };
    let stamp = || NewTimestamp::Timestamp(then);
    file.set_times(NewTimestamp::NoChange, stamp()).expect("the time is set");
    let modified = |file: &Descriptor| {
        let stat = file.stat().expect("it is there");
        stat.data_modification_timestamp.expect("it was modified once").seconds
    };
    assert_eq!(modified(file), 1_000_000_000);
    root.set_times_at(PathFlags::empty(), "folder/file", stamp(), NewTimestamp::Now)
        .expect("the time is set");
    assert!(modified(file) > 1_000_000_000);
}

fn streams(file: &Descriptor) {
    let output = file.write_via_stream(0).expect("it can be written");
    output.blocking_write_and_flush(b"abcdef").expect("it is written");
    output.blocking_write_zeroes_and_flush(2).expect("it is written");
    drop(output);
    let output = file.append_via_stream().expect("it can be appended to");
    assert!(output.check_write().expect("there is room") > 0);
    output.write(b"gh").expect("it is taken");
    output.flush().expect("flushing begins");
    block(&output.subscribe());
    output.blocking_flush().expect("it is written");
    output.check_write().expect("there is room again");
    output.write_zeroes(1).expect("it is taken");
    output.blocking_flush().expect("it is written");
    drop(output);
    let input = file.read_via_stream(0).expect("it can be read");
    assert_eq!(input.blocking_skip(1).expect("a byte is passed over"), 1);
    block(&input.subscribe());
    assert_eq!(rest(&input), b"bcdef\0\0gh\0");
    let input = file.read_via_stream(9).expect("it can be read");
    // What is there may come in several pieces.
    let mut skipped = 0;
    while skipped < 2 {
        match input.skip(2 - skipped) {
            Ok(0) => block(&input.subscribe()),
            Ok(count) => skipped += count,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// What is still to be read.
fn rest(input: &InputStream) -> Vec<u8> {
    let mut read = Vec::new();
    loop {
        match input.read(3) {
            Ok(bytes) if bytes.is_empty() => block(&input.subscribe()),
            Ok(bytes) => read.extend(bytes),
            Err(StreamError::Closed) => return read,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Writes a request's body and reads the response, which is an echo.
fn exchange(future: &FutureIncomingResponse, body: OutgoingBody) {
    let stream = body.write().expect("asked for once");
    assert!(body.write().is_err());
    stream.blocking_write_and_flush(b"some bytes").expect("they are taken");
    drop(stream);
    finish(body);
    block(&future.subscribe());
    let response: IncomingResponse =
        future.get().expect("it is there").expect("it is taken once").expect("it came");
    assert!(matches!(future.get(), Some(Err(()))));
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers().get("content-length"), [b"10".to_vec()]);
    let body = response.consume().expect("asked for once");
    let stream = body.stream().expect("asked for once");
    assert!(body.stream().is_err());
    assert_eq!(stream.blocking_read(100).expect("it has a body"), b"some bytes");
    assert!(matches!(stream.blocking_read(100), Err(StreamError::Closed)));
    drop(stream);
    let trailers = IncomingBody::finish(body);
    block(&trailers.subscribe());
    no_trailers(&trailers);
}

/// Why there is no response.
fn failure(authority: Option<&str>, first_byte_ms: Option<u32>) -> &'static str {
    let result = outgoing(authority, first_byte_ms).and_then(|future| {
        block(&future.subscribe());
        future.get().expect("it is there").expect("it is taken once")
    });
    kind(&result.expect_err("there is no response"))
}

/// Somebody who never answers.
fn slow(authority: &str) {
    let before = monotonic_clock::now();
    assert_eq!(failure(Some(authority), Some(50)), "timeout");
    assert!(monotonic_clock::now() >= before + 40_000_000);
}

fn randomness() {
    assert_eq!(random::get_random_bytes(32).len(), 32);
    assert_ne!(random::get_random_bytes(32), random::get_random_bytes(32));
    assert_ne!(random::get_random_u64(), random::get_random_u64());
    assert_eq!(insecure::get_insecure_random_bytes(7).len(), 7);
    assert_ne!(insecure::get_insecure_random_u64(), insecure::get_insecure_random_u64());
    assert_ne!(insecure_seed::insecure_seed(), (0, 0));
}

fn tcp(remote: IpSocketAddress) {
    let network = instance_network();
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).expect("a socket");
    assert_eq!(socket.address_family(), IpAddressFamily::Ipv4);
    assert_eq!(socket.ipv6_only(), Err(NetworkError::NotSupported));
    assert_eq!(socket.set_ipv6_only(true), Err(NetworkError::NotSupported));
    if let Ok(socket) = create_tcp_socket(IpAddressFamily::Ipv6) {
        assert_eq!(socket.ipv6_only(), Ok(true));
        assert_eq!(socket.set_ipv6_only(true), Ok(()));
        assert_eq!(socket.set_ipv6_only(false), Err(NetworkError::NotSupported));
    }
    let _ = socket.set_listen_backlog_size(16);
    socket.set_receive_buffer_size(65_536).expect("an option");
    assert!(socket.receive_buffer_size().expect("an option") > 0);
    socket.set_send_buffer_size(65_536).expect("an option");
    assert!(socket.send_buffer_size().expect("an option") > 0);
    more_tcp(&socket);
    socket.start_connect(&network, remote).expect("it is allowed");
    let ready = socket.subscribe();
    let (input, output) = loop {
        match socket.finish_connect() {
            Err(NetworkError::WouldBlock) => block(&ready),
            other => break other.expect("it is connected"),
        }
    };
    assert_eq!(format!("{:?}", socket.remote_address()), format!("{:?}", Ok::<_, ()>(remote)));
    socket.local_address().expect("it has one");
    output.blocking_write_and_flush(b"echo").expect("it is sent");
    assert_eq!(input.blocking_read(4).expect("an answer"), b"echo");
    socket.shutdown(ShutdownType::Both).expect("it is open");
}

fn tcp_denied(remote: IpSocketAddress) {
    let network = instance_network();
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).expect("a socket");
    let connected = socket.start_connect(&network, remote).and_then(|()| {
        loop {
            match socket.finish_connect() {
                Err(NetworkError::WouldBlock) => block(&socket.subscribe()),
                other => return other.map(drop),
            }
        }
    });
    assert_eq!(connected, Err(NetworkError::AccessDenied));

    // Nobody outside reaches a guest: it may not listen.
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).expect("a socket");
    let local = IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 0, address: (127, 0, 0, 1) });
    let bound = socket.start_bind(&network, local).and_then(|()| socket.finish_bind());
    assert_eq!(bound, Err(NetworkError::AccessDenied));
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).expect("a socket");
    let any = IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 0, address: (0, 0, 0, 0) });
    socket.start_bind(&network, any).and_then(|()| socket.finish_bind()).expect("to connect from");
    let listening = socket.start_listen().and_then(|()| socket.finish_listen());
    assert_eq!(listening, Err(NetworkError::AccessDenied));
    assert!(socket.accept().is_err(), "somebody came");
}

fn any() -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 0, address: (0, 0, 0, 0) })
}

fn bound_udp() -> UdpSocket {
    let socket = create_udp_socket(IpAddressFamily::Ipv4).expect("a socket");
    socket.start_bind(&instance_network(), any()).expect("it is allowed");
    block(&socket.subscribe());
    socket.finish_bind().expect("it is bound");
    assert_eq!(socket.finish_bind(), Err(NetworkError::NotInProgress));
    socket
}

fn udp_options(socket: &UdpSocket) {
    assert_eq!(socket.address_family(), IpAddressFamily::Ipv4);
    assert_eq!(socket.ipv6_only(), Err(NetworkError::NotSupported));
    assert_eq!(socket.set_ipv6_only(true), Err(NetworkError::NotSupported));
    socket.local_address().expect("it has one");
    socket.set_unicast_hop_limit(60).expect("an option");
    assert_eq!(socket.unicast_hop_limit(), Ok(60));
    socket.set_receive_buffer_size(65_536).expect("an option");
    assert!(socket.receive_buffer_size().expect("an option") > 0);
    socket.set_send_buffer_size(65_536).expect("an option");
    assert!(socket.send_buffer_size().expect("an option") > 0);
}
