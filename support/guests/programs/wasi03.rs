//! WASI 0.3: bodies with trailers both ways, outgoing requests, and one function after the other of the rest.

use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme, Trailers};
use wasip3::wit_bindgen::{FutureReader, StreamReader, StreamResult};
use wasip3::{cli, clocks, filesystem, http, random, sockets, wit_bindgen, wit_future, wit_stream};

wasip3::http::service::export!(Guest);

struct Guest;

type Ending = FutureReader<Result<Option<Trailers>, ErrorCode>>;

impl wasip3::exports::http::handler::Guest for Guest {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        match path.split_once('?').unwrap_or((&path, "")) {
            ("/echo", _) => Ok(echo(request)),
            ("/pass", _) => Ok(pass(request)),
            ("/send", to) => match send(request, to).await {
                Ok(response) => Ok(response),
                Err(code) => Ok(text(format!("{code:?}"))),
            },
            ("/count", milliseconds) => Ok(text(count(milliseconds).await)),
            ("/socket", port) => Ok(text(exchange(port).await)),
            ("/rest", _) => Ok(text(rest(&request).await)),
            ("/print", what) => {
                print(what).await;
                Ok(text("printed".to_owned()))
            }
            ("/exit", _) => {
                cli::exit::exit_with_code(3);
                unreachable!("it has exited")
            }
            (other, _) => Ok(text(format!("nothing is at {other}"))),
        }
    }
}

fn text(text: String) -> Response {
    let (mut to, from) = wit_stream::new();
    let (ending, end) = wit_future::new(|| Ok(None));
    drop(ending);
    wit_bindgen::spawn(async move {
        to.write_all(text.into_bytes()).await;
    });
    Response::new(Fields::new(), Some(from), end).0
}

fn received(request: Request) -> (StreamReader<u8>, Ending) {
    let (done, is_done) = wit_future::new(|| Ok(()));
    drop(done);
    Request::consume_body(request, is_done)
}

/// Sends the body back piece by piece, and the trailers after it.
fn echo(request: Request) -> Response {
    let (mut body, trailers) = received(request);
    let (mut to, from) = wit_stream::new();
    let (ending, end) = wit_future::new(|| Ok(None));
    wit_bindgen::spawn(async move {
        loop {
            let (result, piece) = body.read(Vec::with_capacity(64 << 10)).await;
            if !piece.is_empty() && !to.write_all(piece).await.is_empty() {
                return;
            }
            if !matches!(result, StreamResult::Complete(_)) {
                break;
            }
        }
        drop(to);
        let _ = ending.write(trailers.await).await;
    });
    Response::new(Fields::new(), Some(from), end).0
}

/// The same without ever seeing it.
fn pass(request: Request) -> Response {
    let (body, trailers) = received(request);
    Response::new(Fields::new(), Some(body), trailers).0
}

/// Sends the body on, to a URL or to the application itself.
async fn send(request: Request, to: &str) -> Result<Response, ErrorCode> {
    let method = request.get_method();
    let (body, trailers) = received(request);
    let body = matches!(method, Method::Post).then_some(body);
    let (out, _) = Request::new(Fields::new(), body, trailers, None);
    let _ = out.set_method(&method);
    if let Some((scheme, rest)) = to.split_once("://") {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
        let _ = out.set_scheme(Some(&scheme));
        let _ = out.set_authority(Some(host));
        if !path.is_empty() {
            let _ = out.set_path_with_query(Some(&format!("/{path}")));
        }
    } else {
        let _ = out.set_path_with_query(Some(to));
    }
    http::client::send(out).await
}

async fn print(what: &str) {
    for write in [cli::stdout::write_via_stream, cli::stderr::write_via_stream] {
        let (mut to, from) = wit_stream::new();
        let written = write(from);
        to.write_all(format!("{what}\n").into_bytes()).await;
        drop(to);
        written.await.expect("it is written");
    }
}

/// What the rest of the interfaces say.
async fn rest(request: &Request) -> String {
    let mut lines = Vec::new();
    let mut say =
        |name: &str, value: &dyn std::fmt::Debug| lines.push(format!("{name}: {value:?}"));
    say("scheme", &request.get_scheme());
    say("authority", &request.get_authority());
    let colour = cli::environment::get_environment().into_iter().find(|(name, _)| name == "COLOUR");
    say("colour", &colour.map(|(_, value)| value));
    say("arguments", &cli::environment::get_arguments());
    say("cwd", &cli::environment::get_initial_cwd());
    let (input, end) = cli::stdin::read_via_stream();
    say("input", &input.collect().await);
    say("its end", &end.await);
    say("terminal", &cli::terminal_stdout::get_terminal_stdout().is_some());

    let before = clocks::monotonic_clock::now();
    clocks::monotonic_clock::wait_for(2_000_000).await;
    clocks::monotonic_clock::wait_until(before + 3_000_000).await;
    clocks::monotonic_clock::wait_for(0).await;
    say("waited", &(clocks::monotonic_clock::now() - before >= 3_000_000));
    say("ticks", &clocks::monotonic_clock::get_resolution());
    say("after 2020", &(clocks::system_clock::now().seconds > 1_577_836_800));
    say("seconds", &clocks::system_clock::get_resolution());

    say("random", &random::random::get_random_bytes(7).len());
    say("most", &random::random::get_random_bytes(u64::MAX).len());
    say("differs", &(random::random::get_random_u64() != random::random::get_random_u64()));
    say("insecure", &random::insecure::get_insecure_random_bytes(3).len());
    let _ = random::insecure::get_insecure_random_u64();
    say("seeds", &(random::insecure_seed::get_insecure_seed() != (0, 0)));

    for (folder, name) in filesystem::preopens::get_directories() {
        use filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
        say("folder", &name);
        let read = DescriptorFlags::READ;
        let file = folder
            .open_at(PathFlags::empty(), "there.txt".to_owned(), OpenFlags::empty(), read)
            .await
            .expect("it is there");
        let (bytes, end) = file.read_via_stream(0);
        say("file", &String::from_utf8(bytes.collect().await));
        say("its end", &end.await);
        let new = folder.open_at(
            PathFlags::empty(),
            "new.txt".to_owned(),
            OpenFlags::CREATE,
            DescriptorFlags::WRITE,
        );
        say("new file", &new.await.err());
    }

    use sockets::types::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket};
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).expect("there are sockets");
    let to = Ipv4SocketAddress { address: (127, 0, 0, 1), port: 9 };
    say("socket", &socket.connect(IpSocketAddress::Ipv4(to)).await.err());
    say("name", &sockets::ip_name_lookup::resolve_addresses("example.com".to_owned()).await.err());
    lines.join("\n")
}

/// Sends a word to a port of this machine by a socket, and returns what comes back.
async fn exchange(port: &str) -> String {
    use sockets::types::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket};
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).expect("there are sockets");
    let port = port.parse().expect("a port");
    let to = IpSocketAddress::Ipv4(Ipv4SocketAddress { address: (127, 0, 0, 1), port });
    if let Err(error) = socket.connect(to).await {
        return format!("{error:?}");
    }
    let (mut words, sent) = wit_stream::new();
    let sending = socket.send(sent);
    words.write_all(b"hello".to_vec()).await;
    drop(words);
    sending.await.expect("it is sent");
    let (answer, received) = socket.receive();
    let answer = answer.collect().await;
    received.await.expect("it is received");
    String::from_utf8(answer).expect("it is text")
}

/// Waits, if it is told how many milliseconds. Says the how-manieth request of its instance it is.
async fn count(milliseconds: &str) -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
    if let Ok(milliseconds) = milliseconds.parse::<u64>() {
        clocks::monotonic_clock::wait_for(milliseconds * 1_000_000).await;
    }
    count.to_string()
}
