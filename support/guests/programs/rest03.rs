//! What `wasi03` leaves out of WASI 0.3: every function of files (`/files`), header fields, requests and their options
//! (`/http`), and sockets (`/tcp?ADDRESS`, `/udp?ADDRESS`, with servers there that send back what they get), which it
//! answers with `ok`; `/terminals`. `/exit` ends without success, `/exit-with-code` with 7, by WASI 0.2.

use std::net::SocketAddrV4;

use wasip3::filesystem::types::{
    Advice, Descriptor, DescriptorFlags, DescriptorType, ErrorCode as FileError, NewTimestamp,
    OpenFlags, PathFlags,
};
use wasip3::http::types::{ErrorCode, Fields, HeaderError, Request, RequestOptions, Response};
use wasip3::sockets::types::{
    ErrorCode as SocketError, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket,
    UdpSocket,
};
use wasip3::wit_bindgen::{self, FutureReader};
use wasip3::{cli, clocks, filesystem, wit_future, wit_stream};

/// What WASI 0.2 has besides what its programs' library knows.
mod older {
    #![allow(clippy::all, clippy::pedantic, reason = "bindings are written by wit-bindgen")]
    wasip3::wit_bindgen::generate!({
        inline: r#"
            package guests:older;

            world older {
                import wasi:cli/exit@0.2.12;
            }

            package wasi:cli@0.2.12 {
                interface exit {
                    exit: func(status: result);
                    exit-with-code: func(status-code: u8);
                }
            }
        "#,
        generate_all,
        runtime_path: "wasip3::wit_bindgen::rt",
    });

    pub use wasi::cli::exit::exit_with_code;
}

wasip3::http::service::export!(Guest);

struct Guest;

impl wasip3::exports::http::handler::Guest for Guest {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (path, address) = path.split_once('?').unwrap_or((&path, ""));
        match path {
            "/files" => files().await,
            "/http" => http(&request),
            "/tcp" => tcp(address).await,
            "/udp" => udp(address).await,
            "/terminals" => {
                assert!(cli::terminal_stdin::get_terminal_stdin().is_none());
                assert!(cli::terminal_stderr::get_terminal_stderr().is_none());
            }
            "/exit" => cli::exit::exit(Err(())),
            "/exit-with-code" => older::exit_with_code(7),
            other => panic!("no part {other}"),
        }
        let (mut body, contents) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(Fields::new(), Some(contents), trailers);
        wit_bindgen::spawn(async move {
            body.write_all(b"ok".to_vec()).await;
        });
        Ok(response)
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

async fn files() {
    let (root, name) = filesystem::preopens::get_directories().into_iter().next().expect("mounted");
    assert_eq!(name, "/");
    let create = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    let both = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let none = PathFlags::empty();
    let open = async |path: &str, how, flags| root.open_at(none, text(path), how, flags).await;
    let missing = open("nothing", OpenFlags::empty(), both).await;
    assert!(matches!(missing, Err(FileError::NoEntry)), "{missing:?}");
    let escape = open("../outside", OpenFlags::empty(), DescriptorFlags::READ).await;
    assert!(matches!(escape, Err(FileError::NotPermitted | FileError::NoEntry)), "{escape:?}");

    root.create_directory_at(text("folder")).await.expect("a folder is made");
    let file = open("folder/file", create, both).await.expect("a file is made");
    let again = open("folder/file", create, both).await;
    assert!(matches!(again, Err(FileError::Exist)), "{again:?}");
    assert!(matches!(file.get_type().await, Ok(DescriptorType::RegularFile)));
    assert!(file.get_flags().await.expect("it has flags").contains(both));
    write(&file, async |data| file.write_via_stream(data, 0), b"0123456789").await;
    file.set_size(6).await.expect("it is cut");
    assert_eq!(file.stat().await.expect("it is there").size, 6);
    write(&file, async |data| file.append_via_stream(data), b"ab").await;
    let (bytes, end) = file.read_via_stream(4);
    assert_eq!(bytes.collect().await, b"45ab");
    end.await.expect("it came to its end");
    file.advise(0, 6, Advice::Sequential).await.expect("advice is free");
    file.sync_data().await.expect("it is on disk");
    file.sync().await.expect("it is on disk");

    let then = || {
        NewTimestamp::Timestamp(clocks::system_clock::Instant {
            seconds: 1_000_000_000,
            nanoseconds: 0,
        })
    };
    let modified = async || {
        let stat = file.stat().await.expect("it is there");
        stat.data_modification_timestamp.expect("it was modified once").seconds
    };
    file.set_times(NewTimestamp::NoChange, then()).await.expect("the time is set");
    assert_eq!(modified().await, 1_000_000_000);
    root.set_times_at(none, text("folder/file"), then(), NewTimestamp::Now)
        .await
        .expect("it is set");
    assert!(modified().await > 1_000_000_000);

    let same = open("folder/file", OpenFlags::empty(), both).await.expect("it is there");
    assert!(file.is_same_object(&same).await && !file.is_same_object(&root).await);
    let hash = file.metadata_hash().await.expect("it has one");
    let at = root.metadata_hash_at(none, text("folder/file")).await.expect("it has one");
    assert_eq!((hash.lower, hash.upper), (at.lower, at.upper));

    root.link_at(none, text("folder/file"), &root, text("linked")).await.expect("it is linked");
    root.symlink_at(text("folder/file"), text("pointer")).await.expect("it is linked");
    assert_eq!(root.readlink_at(text("pointer")).await.expect("it is a link"), "folder/file");
    let kind = async |flags| root.stat_at(flags, text("pointer")).await.expect("it is there").type_;
    assert!(matches!(kind(none).await, DescriptorType::SymbolicLink));
    assert!(matches!(kind(PathFlags::SYMLINK_FOLLOW).await, DescriptorType::RegularFile));
    root.rename_at(text("linked"), &root, text("renamed")).await.expect("it is renamed");
    let (entries, end) = root.read_directory();
    let found: Vec<_> = entries.collect().await.into_iter().map(|entry| entry.name).collect();
    end.await.expect("it came to its end");
    for name in ["folder", "pointer", "renamed", "there.txt"] {
        assert!(found.iter().any(|each| each == name), "{name}: {found:?}");
    }
    root.unlink_file_at(text("renamed")).await.expect("gone");
    root.unlink_file_at(text("pointer")).await.expect("gone");
    let full = root.remove_directory_at(text("folder")).await;
    assert!(matches!(full, Err(FileError::NotEmpty)), "{full:?}");
    root.unlink_file_at(text("folder/file")).await.expect("gone");
    root.remove_directory_at(text("folder")).await.expect("gone");

    // A folder is no file: the stream is empty, and its end says why.
    let (bytes, end) = root.read_via_stream(0);
    assert!(bytes.collect().await.is_empty());
    let code = end.await;
    assert!(matches!(code, Err(FileError::IsDirectory | FileError::BadDescriptor)), "{code:?}");
}

async fn write(
    _: &Descriptor,
    start: impl AsyncFnOnce(wit_bindgen::StreamReader<u8>) -> FutureReader<Result<(), FileError>>,
    bytes: &[u8],
) {
    let (mut to, from) = wit_stream::new();
    let written = start(from).await;
    assert!(to.write_all(bytes.to_vec()).await.is_empty(), "all of it is taken");
    drop(to);
    written.await.expect("it is written");
}

fn http(request: &Request) {
    let pairs =
        [(text("a"), b"1".to_vec()), (text("b"), b"2".to_vec()), (text("a"), b"3".to_vec())];
    let fields = Fields::from_list(&pairs).expect("they are allowed");
    assert_eq!(fields.get("a"), [b"1", b"3"]);
    assert!(fields.has("B") && !fields.has("c"));
    fields.set("c", &[b"4".to_vec(), b"5".to_vec()]).expect("it is allowed");
    assert_eq!(fields.get_and_delete("a").expect("it is allowed"), [b"1", b"3"]);
    fields.delete("b").expect("it is allowed");
    fields.append("d", b"6").expect("it is allowed");
    let copy = fields.clone();
    fields.delete("c").expect("it is allowed");
    assert_eq!(fields.copy_all(), [(text("d"), b"6".to_vec())]);
    assert_eq!(copy.copy_all().len(), 3);
    let wrong = fields.set("no name", &[b"".to_vec()]);
    assert!(matches!(wrong, Err(HeaderError::InvalidSyntax)), "{wrong:?}");
    let wrong = Fields::from_list(&[(text("connection"), b"close".to_vec())]).map(drop);
    assert!(matches!(wrong, Err(HeaderError::Forbidden)), "{wrong:?}");

    let headers = request.get_headers();
    assert!(headers.has("spin-full-url"), "{:?}", headers.copy_all());
    assert!(matches!(headers.delete("spin-full-url"), Err(HeaderError::Immutable)));
    assert!(request.get_options().is_none());

    let options = RequestOptions::new();
    assert_eq!(options.get_connect_timeout(), None);
    options.set_connect_timeout(Some(1_000_000)).expect("it is kept");
    options.set_first_byte_timeout(Some(2_000_000)).expect("it is kept");
    options.set_between_bytes_timeout(Some(3_000_000)).expect("it is kept");
    let copy = options.clone();
    options.set_connect_timeout(None).expect("it is kept");
    assert_eq!(
        (options.get_connect_timeout(), copy.get_connect_timeout()),
        (None, Some(1_000_000))
    );
    assert_eq!(copy.get_first_byte_timeout(), Some(2_000_000));
    assert_eq!(copy.get_between_bytes_timeout(), Some(3_000_000));
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (out, _) = Request::new(fields, None, trailers, Some(copy));
    let kept = out.get_options().expect("it was given some");
    assert_eq!(kept.get_first_byte_timeout(), Some(2_000_000));
    assert!(kept.set_connect_timeout(None).is_err(), "they are the request's now");
    assert_eq!(out.get_headers().get("d"), [b"6"]);
}

fn address(of: &str) -> IpSocketAddress {
    let address: SocketAddrV4 = of.parse().expect("an address follows ?");
    let [a, b, c, d] = address.ip().octets();
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) })
}

async fn tcp(to: &str) {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).expect("a socket");
    assert!(matches!(socket.get_address_family(), IpAddressFamily::Ipv4));
    assert!(!socket.get_is_listening());
    tcp_options(&socket);
    assert!(matches!(socket.get_remote_address(), Err(SocketError::InvalidState)));
    socket.connect(address(to)).await.expect("it is allowed");
    let remote = socket.get_remote_address().expect("it has one");
    assert_eq!(format!("{remote:?}"), format!("{:?}", address(to)));
    socket.get_local_address().expect("it has one");
    let (received, end) = socket.receive();
    let (mut data, from) = wit_stream::new();
    let sent = socket.send(from);
    assert!(data.write_all(b"echo".to_vec()).await.is_empty(), "all of it is taken");
    drop(data);
    sent.await.expect("it is sent");
    assert_eq!(received.collect().await, b"echo");
    end.await.expect("it came to its end");

    // Nobody outside reaches a guest: it may not listen.
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).expect("a socket");
    let bound = socket.bind(address("127.0.0.1:0"));
    assert!(matches!(bound, Err(SocketError::AccessDenied)), "{bound:?}");
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).expect("a socket");
    let listening = socket.listen().map(drop);
    assert!(matches!(listening, Err(SocketError::AccessDenied)), "{listening:?}");
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).expect("a socket");
    let denied = socket.connect(address("127.0.0.1:1")).await;
    assert!(matches!(denied, Err(SocketError::AccessDenied)), "{denied:?}");
}

fn tcp_options(socket: &TcpSocket) {
    let _ = socket.set_listen_backlog_size(16);
    socket.set_keep_alive_enabled(true).expect("an option");
    assert!(socket.get_keep_alive_enabled().expect("an option"));
    socket.set_keep_alive_idle_time(10_000_000_000).expect("an option");
    assert_eq!(socket.get_keep_alive_idle_time().expect("an option"), 10_000_000_000);
    socket.set_keep_alive_interval(5_000_000_000).expect("an option");
    assert_eq!(socket.get_keep_alive_interval().expect("an option"), 5_000_000_000);
    socket.set_keep_alive_count(3).expect("an option");
    assert_eq!(socket.get_keep_alive_count().expect("an option"), 3);
    socket.set_hop_limit(60).expect("an option");
    assert_eq!(socket.get_hop_limit().expect("an option"), 60);
    socket.set_receive_buffer_size(65_536).expect("an option");
    assert!(socket.get_receive_buffer_size().expect("an option") > 0);
    socket.set_send_buffer_size(65_536).expect("an option");
    assert!(socket.get_send_buffer_size().expect("an option") > 0);
}

async fn udp(to: &str) {
    let socket = UdpSocket::create(IpAddressFamily::Ipv4).expect("a socket");
    assert!(matches!(socket.get_address_family(), IpAddressFamily::Ipv4));
    socket.set_unicast_hop_limit(60).expect("an option");
    assert_eq!(socket.get_unicast_hop_limit().expect("an option"), 60);
    socket.set_receive_buffer_size(65_536).expect("an option");
    assert!(socket.get_receive_buffer_size().expect("an option") > 0);
    socket.set_send_buffer_size(65_536).expect("an option");
    assert!(socket.get_send_buffer_size().expect("an option") > 0);
    socket.bind(address("0.0.0.0:0")).expect("it is allowed");
    socket.get_local_address().expect("it has one");
    // To an address that is said with the datagram, and to one that was said before.
    for is_connected in [false, true] {
        let said = if is_connected {
            socket.connect(address(to)).expect("it is allowed");
            let remote = socket.get_remote_address().expect("it has one");
            assert_eq!(format!("{remote:?}"), format!("{:?}", address(to)));
            None
        } else {
            Some(address(to))
        };
        socket.send(b"echo".to_vec(), said).await.expect("it is sent");
        let (data, from) = socket.receive().await.expect("an answer");
        assert_eq!(
            (data.as_slice(), format!("{from:?}")),
            (&b"echo"[..], format!("{:?}", address(to)))
        );
    }
    socket.disconnect().expect("it was connected");
    assert!(socket.get_remote_address().is_err());
    let denied = socket.send(b"no".to_vec(), Some(address("127.0.0.1:1"))).await;
    assert!(matches!(denied, Err(SocketError::AccessDenied)), "{denied:?}");
}
