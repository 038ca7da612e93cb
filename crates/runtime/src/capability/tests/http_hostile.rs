//! Outgoing HTTP against servers and hosts that are slow, broken, endless or forbidden.

use std::time::Duration;

use ::http::Request;
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wasmtime_wasi_http::Error;

use super::{
    http::{Instance, answering, get, listen, read_head, settle, within},
    *,
};

#[tokio::test]
async fn failures_have_spins_codes() {
    let fixture = Fixture::with_hosts(&["*://*:*"]);
    let mut origin = fixture.origin();
    let app = Arc::get_mut(&mut origin.app).unwrap();
    app.shared.egress = egress::Door::new(false, None).with_resolver(|_| Vec::new());
    let mut instance = Instance::new(&origin);

    let result = instance.get("http://nowhere.example/").await;
    assert!(
        matches!(&result, Err(Error::DnsError { rcode: Some(text), info_code: Some(0) }) if text == "address not available"),
        "{result:?}"
    );

    let (listener, address) = listen().await;
    drop(listener);
    let result = instance.get(&format!("http://{address}/")).await;
    assert!(matches!(result, Err(Error::ConnectionRefused)), "{result:?}");

    let silent = answering(b"").await;
    let uri = format!("http://{silent}/");
    let result = instance.send(get(&uri), within(1000, 50, 1000)).await;
    assert!(matches!(result, Err(Error::ConnectionReadTimeout)), "{result:?}");

    let result = instance.send(get(&format!("https://{silent}/")), within(50, 1000, 1000)).await;
    assert!(matches!(result, Err(Error::ConnectionTimeout)), "{result:?}");

    let stalls = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123").await;
    let response = instance.send(get(&format!("http://{stalls}/")), within(1000, 1000, 50)).await;
    let result = response.unwrap().into_body().collect().await;
    assert!(matches!(result, Err(Error::ConnectionReadTimeout)), "{result:?}");

    let garbage = answering(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
    let result = instance.get(&format!("http://{garbage}/")).await;
    assert!(matches!(result, Err(Error::HttpProtocolError)), "{result:?}");

    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let result = instance.get(&format!("https://{address}/")).await;
    assert!(matches!(result, Err(Error::TlsProtocolError)), "{result:?}");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
        let mut sent = 0_usize;
        while stream.write_all(&[b'a'; 4096]).await.is_ok() {
            sent += 4096;
        }
        sent
    });
    let mut instance = Instance::new(&Fixture::with_hosts(&["http://127.0.0.1:*"]).origin());
    let result = instance.get(&format!("http://{address}/")).await;
    assert!(matches!(result, Err(Error::HttpResponseHeaderSectionSize(Some(65536)))), "{result:?}");
    // What the kernel's buffers took is not what was read, but it ended.
    server.await.unwrap();
}

#[tokio::test]
async fn ten_thousand_headers_are_refused() {
    let lines = "x: y\r\n".repeat(10_000);
    let answer: &'static str = Box::leak(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").into());
    let address = answering(answer.as_bytes()).await;
    let mut instance = Instance::new(&Fixture::with_hosts(&["http://127.0.0.1:*"]).origin());
    let result = instance.get(&format!("http://{address}/")).await;
    assert!(matches!(result, Err(Error::HttpResponseHeaderSectionSize(_))), "{result:?}");
}

#[tokio::test]
async fn an_endless_body_is_only_read_as_far_as_the_guest_reads_it() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut sent = 0_usize;
        while stream.write_all(&vec![0; 1 << 16]).await.is_ok() {
            sent += 1 << 16;
        }
        sent
    });
    let mut instance = Instance::new(&Fixture::with_hosts(&["http://127.0.0.1:*"]).origin());
    let mut body = instance.get(&format!("http://{address}/")).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.len() <= 1 << 20, "{}", first.len());
    settle().await;
    drop(body);
    // The server could only fill the buffers, and notices that nobody reads.
    let sent = server.await.unwrap();
    assert!(sent < 64 << 20, "{sent}");
}

#[tokio::test]
async fn no_way_of_writing_a_private_host_gets_through_a_blocked_network() {
    let (canary, address) = listen().await;
    let port = address.port();
    let fixture = Fixture::with_hosts(&["*://*:*"]).blocked();
    let mut instance = Instance::new(&fixture.origin());
    let hosts = [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "localhost",
        "LocalHost",
        "localhost.",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "100.64.0.1",
        "example.com@127.0.0.1",
        "example.com:80@127.0.0.1",
        "8.8.8.8@127.0.0.1",
        "%31%32%37.0.0.1",
    ];
    for host in hosts {
        for scheme in ["http", "https"] {
            let Ok(request) = Request::get(format!("{scheme}://{host}:{port}/")).body(()) else {
                continue;
            };
            let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
            let result = instance.send(request.map(|()| body), within(500, 500, 500)).await;
            assert!(
                matches!(
                    result,
                    Err(Error::DestinationIpProhibited
                        | Error::DnsError { .. }
                        | Error::HttpRequestUriInvalid)
                ),
                "{scheme}://{host}: {result:?}"
            );
        }
    }
    let touched = tokio::time::timeout(Duration::from_millis(20), canary.accept()).await;
    assert!(touched.is_err());
    let log = fixture.logged();
    assert!(log[0].starts_with("Outbound network address prohibited: 127.0.0.1"), "{log:?}");
}
