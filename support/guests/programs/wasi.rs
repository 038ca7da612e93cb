//! Uses every function of WASI 0.2, a part for each path (`/cli`, `/clocks`, `/files`, `/http`, `/io`, `/random`,
//! `/tcp`, `/udp`, `/names`), and answers `ok`. An expectation that fails is a panic: a 500, with the line in the log.
//! `/tcp` and `/udp` want `?address=`, an echo's.

use std::net::SocketAddrV4;

use guests::{Request, Responder, Stream};
use wasip2::cli::{environment, terminal_stderr, terminal_stdin, terminal_stdout};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{
    Advice, Descriptor, DescriptorFlags, DescriptorType, ErrorCode, NewTimestamp, OpenFlags,
    PathFlags, filesystem_error_code,
};
use wasip2::http::types::{
    Fields, Method, OutgoingBody, OutgoingRequest, OutgoingResponse, RequestOptions, Scheme,
    http_error_code,
};
use wasip2::io::poll;
use wasip2::io::streams::StreamError;
use wasip2::random::{insecure, insecure_seed, random};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{
    ErrorCode as NetworkError, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress,
};
use wasip2::sockets::tcp::{ShutdownType, TcpSocket};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp::{OutgoingDatagram, UdpSocket};
use wasip2::sockets::udp_create_socket::create_udp_socket;

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    match request.path().as_str() {
        "/cli" => cli(),
        "/clocks" => clocks(),
        "/files" => files(),
        "/http" => http(&request),
        "/io" => io(&request),
        "/random" => randomness(),
        "/tcp" => tcp(address(&request)),
        "/udp" => udp(address(&request)),
        "/names" => names(),
        other => panic!("no part {other}"),
    }
    responder.text("ok");
}

fn address(request: &Request) -> IpSocketAddress {
    let text = request.query("address").expect("?address= says where to");
    let address: SocketAddrV4 = text.parse().expect("an IPv4 address and port");
    let [a, b, c, d] = address.ip().octets();
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) })
}

fn cli() {
    let variables = environment::get_environment();
    assert!(variables.contains(&("COLOUR".to_owned(), "blue".to_owned())), "{variables:?}");
    assert_eq!(environment::get_arguments(), Vec::<String>::new());
    assert_eq!(environment::initial_cwd(), None);
    assert!(terminal_stdin::get_terminal_stdin().is_none());
    assert!(terminal_stdout::get_terminal_stdout().is_none());
    assert!(terminal_stderr::get_terminal_stderr().is_none());
    let input = wasip2::cli::stdin::get_stdin();
    assert!(matches!(input.blocking_read(1), Err(StreamError::Closed)));
    let out = wasip2::cli::stdout::get_stdout();
    out.blocking_write_and_flush(b"on standard output\n").expect("it is taken");
    let err = wasip2::cli::stderr::get_stderr();
    err.blocking_write_and_flush(b"on standard error\n").expect("it is taken");
}

fn clocks() {
    let before = monotonic_clock::now();
    assert!(monotonic_clock::resolution() > 0);
    monotonic_clock::subscribe_duration(2_000_000).block();
    let between = monotonic_clock::now();
    assert!(between >= before + 2_000_000);
    monotonic_clock::subscribe_instant(between + 2_000_000).block();
    assert!(monotonic_clock::now() >= between + 2_000_000);
    // Later than the year 2020.
    assert!(wall_clock::now().seconds > 1_577_836_800);
    assert!(wall_clock::resolution().nanoseconds > 0 || wall_clock::resolution().seconds > 0);
}

fn files() {
    let (root, name) = get_directories().into_iter().next().expect("a folder is mounted");
    assert_eq!(name, "/");
    let create = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    let both = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let open = |path: &str, how, flags| root.open_at(PathFlags::empty(), path, how, flags);
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
    let stream = root.read_via_stream(0);
    let code = match stream {
        Err(code) => Some(code),
        Ok(stream) => match stream.blocking_read(1) {
            Err(StreamError::LastOperationFailed(error)) => {
                assert!(!error.to_debug_string().is_empty());
                assert!(http_error_code(&error).is_none());
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
    let room = output.check_write().expect("there is room");
    assert!(room > 0);
    output.write(b"gh").expect("it is taken");
    output.flush().expect("flushing begins");
    output.subscribe().block();
    output.blocking_flush().expect("it is written");
    output.check_write().expect("there is room again");
    output.write_zeroes(1).expect("it is taken");
    output.blocking_flush().expect("it is written");
    drop(output);
    let input = file.read_via_stream(0).expect("it can be read");
    assert_eq!(input.blocking_skip(1).expect("a byte is passed over"), 1);
    input.subscribe().block();
    let mut read = Vec::new();
    loop {
        match input.read(3) {
            Ok(bytes) if bytes.is_empty() => input.subscribe().block(),
            Ok(bytes) => read.extend(bytes),
            Err(StreamError::Closed) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(read, b"bcdef\0\0gh\0");
    let input = file.read_via_stream(9).expect("it can be read");
    input.subscribe().block();
    // What is there may come in several pieces.
    let mut skipped = 0;
    while skipped < 2 {
        match input.skip(2 - skipped) {
            Ok(0) => input.subscribe().block(),
            Ok(count) => skipped += count,
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn http(request: &Request) {
    let fields = Fields::from_list(&[("a".to_owned(), b"1".to_vec())]).expect("they are valid");
    fields.append("a", b"2").and_then(|()| fields.set("b", &[b"3".to_vec()])).expect("valid");
    assert!(fields.has("A") && !fields.has("c"));
    assert_eq!(fields.get("a"), [b"1".to_vec(), b"2".to_vec()]);
    let copy = fields.clone();
    copy.delete("a").expect("they can be changed");
    assert_eq!(copy.entries(), [("b".to_owned(), b"3".to_vec())]);
    assert!(fields.append("a b", b"1").is_err());
    assert!(Fields::from_list(&[("a".to_owned(), b"1\n2".to_vec())]).is_err());

    let response = OutgoingResponse::new(fields);
    assert_eq!(response.status_code(), 200);
    response.set_status_code(404).expect("it is a status");
    assert_eq!(response.status_code(), 404);
    assert_eq!(response.headers().entries().len(), 3);
    assert!(response.headers().append("x", b"y").is_err(), "they cannot be changed any more");

    let options = RequestOptions::new();
    options.set_connect_timeout(Some(1_000_000_000)).expect("it is kept");
    options.set_first_byte_timeout(Some(2_000_000_000)).expect("it is kept");
    options.set_between_bytes_timeout(Some(3_000_000_000)).expect("it is kept");
    assert_eq!(options.connect_timeout(), Some(1_000_000_000));
    assert_eq!(options.first_byte_timeout(), Some(2_000_000_000));
    assert_eq!(options.between_bytes_timeout(), Some(3_000_000_000));

    let url = request.query("url").expect("?url= says whom to ask");
    let outgoing = OutgoingRequest::new(Fields::new());
    outgoing.set_method(&Method::Put).expect("it is a method");
    outgoing.set_scheme(Some(&Scheme::Http)).expect("it is a scheme");
    outgoing.set_authority(Some(&url)).expect("it is an authority");
    outgoing.set_path_with_query(Some("/echo?x=1")).expect("it is a path");
    assert!(matches!(outgoing.method(), Method::Put));
    assert!(matches!(outgoing.scheme(), Some(Scheme::Http)));
    assert_eq!(outgoing.authority().as_deref(), Some(url.as_str()));
    assert_eq!(outgoing.path_with_query().as_deref(), Some("/echo?x=1"));
    assert!(outgoing.headers().entries().is_empty());
    assert!(outgoing.set_path_with_query(Some("a b\n")).is_err());
    let body = outgoing.body().expect("it is asked for once");
    let future = wasip2::http::outgoing_handler::handle(outgoing, Some(options)).expect("allowed");
    let mut stream = Stream::of(body);
    std::io::Write::write_all(&mut stream, b"some bytes").expect("they are taken");
    stream.finish();
    future.subscribe().block();
    let response = future.get().expect("it is there").expect("it is taken once").expect("it came");
    assert_eq!(response.status(), 200);
    assert!(response.headers().has("content-length"));
    let body = response.consume().expect("it is asked for once");
    let stream = body.stream().expect("it is asked for once");
    assert_eq!(stream.blocking_read(100).expect("it has a body"), b"some bytes");
    assert!(matches!(stream.blocking_read(100), Err(StreamError::Closed)));
    drop(stream);
    let trailers = wasip2::http::types::IncomingBody::finish(body);
    trailers.subscribe().block();
    assert!(trailers.get().expect("they are there").expect("taken once").expect("fine").is_none());
}

fn io(request: &Request) {
    let long = monotonic_clock::subscribe_duration(60_000_000_000);
    let short = monotonic_clock::subscribe_duration(1_000_000);
    assert!(!long.ready());
    assert_eq!(poll::poll(&[&long, &short]), [1]);
    assert!(short.ready());
    short.block();

    // From the request's body into the body of a request that is never sent.
    let incoming = request.splice_source();
    let outgoing = OutgoingRequest::new(Fields::new());
    let body = outgoing.body().expect("it is asked for once");
    let output = body.write().expect("it is asked for once");
    let mut moved = 0;
    while moved < 4 {
        let step = incoming.splice(&output, 4 - moved);
        moved += step;
    }
    assert_eq!(moved, 4);
    assert!(incoming.blocking_splice(&output, 100) > 0);
    drop(output);
    drop(OutgoingBody::finish(body, None));
}

fn randomness() {
    assert_eq!(random::get_random_bytes(32).len(), 32);
    assert_ne!(random::get_random_bytes(32), random::get_random_bytes(32));
    assert_ne!(random::get_random_u64(), random::get_random_u64());
    assert_eq!(insecure::get_insecure_random_bytes(7).len(), 7);
    assert_ne!(insecure::get_insecure_random_u64(), insecure::get_insecure_random_u64());
    assert_ne!(insecure_seed::insecure_seed(), (0, 0));
}

fn any() -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 0, address: (0, 0, 0, 0) })
}

fn tcp(remote: IpSocketAddress) {
    let network = instance_network();
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).expect("a socket");
    assert_eq!(socket.address_family(), IpAddressFamily::Ipv4);
    assert!(!socket.is_listening());
    tcp_options(&socket);
    socket.start_connect(&network, remote).expect("it is allowed");
    let ready = socket.subscribe();
    let (input, output) = loop {
        match socket.finish_connect() {
            Err(NetworkError::WouldBlock) => ready.block(),
            other => break other.expect("it is connected"),
        }
    };
    assert_eq!(format!("{:?}", socket.remote_address()), format!("{:?}", Ok::<_, ()>(remote)));
    socket.local_address().expect("it has one");
    output.blocking_write_and_flush(b"echo").expect("it is sent");
    assert_eq!(input.blocking_read(4).expect("an answer"), b"echo");
    socket.shutdown(ShutdownType::Both).expect("it is open");

    // Nobody outside reaches a guest: it may not listen.
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).expect("a socket");
    let local = IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 0, address: (127, 0, 0, 1) });
    let bound = socket.start_bind(&network, local).and_then(|()| {
        socket.subscribe().block();
        socket.finish_bind()
    });
    assert_eq!(bound, Err(NetworkError::AccessDenied));
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).expect("a socket");
    let listening = socket.start_listen().and_then(|()| socket.finish_listen());
    assert!(listening.is_err(), "it listens");
    assert!(socket.accept().is_err(), "somebody came");
}

fn tcp_options(socket: &TcpSocket) {
    let _ = socket.set_listen_backlog_size(16);
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
    socket.set_receive_buffer_size(65_536).expect("an option");
    assert!(socket.receive_buffer_size().expect("an option") > 0);
    socket.set_send_buffer_size(65_536).expect("an option");
    assert!(socket.send_buffer_size().expect("an option") > 0);
}

fn udp(remote: IpSocketAddress) {
    let network = instance_network();
    let socket: UdpSocket = create_udp_socket(IpAddressFamily::Ipv4).expect("a socket");
    assert_eq!(socket.address_family(), IpAddressFamily::Ipv4);
    socket.start_bind(&network, any()).expect("it is allowed");
    socket.subscribe().block();
    socket.finish_bind().expect("it is bound");
    socket.local_address().expect("it has one");
    socket.set_unicast_hop_limit(60).expect("an option");
    assert_eq!(socket.unicast_hop_limit(), Ok(60));
    socket.set_receive_buffer_size(65_536).expect("an option");
    assert!(socket.receive_buffer_size().expect("an option") > 0);
    socket.set_send_buffer_size(65_536).expect("an option");
    assert!(socket.send_buffer_size().expect("an option") > 0);
    let (incoming, outgoing) = socket.stream(Some(remote)).expect("it is allowed");
    socket.remote_address().expect("it has one");
    outgoing.subscribe().block();
    assert!(outgoing.check_send().expect("there is room") > 0);
    let datagram = OutgoingDatagram { data: b"echo".to_vec(), remote_address: None };
    assert_eq!(outgoing.send(&[datagram]), Ok(1));
    let received = loop {
        incoming.subscribe().block();
        let received = incoming.receive(1).expect("it is open");
        if let Some(datagram) = received.into_iter().next() {
            break datagram.data;
        }
    };
    assert_eq!(received, b"echo");
}

fn names() {
    // No rule of a manifest says which names may be looked up, so none may.
    let found = resolve_addresses(&instance_network(), "localhost").and_then(|stream| {
        loop {
            match stream.resolve_next_address() {
                Err(NetworkError::WouldBlock) => stream.subscribe().block(),
                other => return other,
            }
        }
    });
    assert!(found.is_err(), "{found:?}");
}
