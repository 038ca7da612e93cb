//! TLS: what is agreed on in the handshake is what is spoken.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use gyre_edge::TlsConfig;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{TestEdge, eventually, full, runtime, text};

fn start(folder: &Path) -> (TestEdge, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let tls = TlsConfig { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
    fs_err::write(&tls.cert, made.cert.pem()).unwrap();
    fs_err::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    let edge = TestEdge::start(|config| {
        config.tls = Some(tls);
        config.limits.head_time = Some(Duration::from_millis(400));
    });
    (edge, made.cert.der().clone())
}

async fn connect(
    edge: &TestEdge,
    cert: &CertificateDer<'static>,
    offered: &[&[u8]],
) -> TlsStream<tokio::net::TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("a.example").unwrap();
    let stream = edge.connect_async().into_inner();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).header("host", "a.example").body(full("")).unwrap()
}

#[test]
fn http2_is_spoken_where_both_can() {
    let folder = tempfile::tempdir().unwrap();
    let (edge, cert) = start(folder.path());
    runtime().block_on(async {
        let stream = connect(&edge, &cert, &[b"http/1.1", b"h2"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let response = client.send_request(get("https://a.example/x")).await.unwrap();
        assert_eq!(text(response.into_body()).await.unwrap(), "a GET https://a.example/x");
    });
}

#[test]
fn http1_is_spoken_where_a_client_cannot_or_does_not_say() {
    let folder = tempfile::tempdir().unwrap();
    let (edge, cert) = start(folder.path());
    runtime().block_on(async {
        for offered in [&[&b"http/1.1"[..]][..], &[]] {
            let stream = connect(&edge, &cert, offered).await;
            let (mut client, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let response = client.send_request(get("/x")).await.unwrap();
            assert_eq!(text(response.into_body()).await.unwrap(), "a GET https://a.example/x");
            let body = "x".repeat(1 << 20);
            let request = Request::post("/echo").header("host", "a.example").body(full(&body));
            client.ready().await.unwrap();
            let response = client.send_request(request.unwrap()).await.unwrap();
            assert_eq!(text(response.into_body()).await.unwrap().len(), body.len());
        }
    });
}

#[test]
fn a_client_that_does_not_finish_its_handshake_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let (edge, _) = start(folder.path());
    let mut silent = edge.connect();
    let mut plain = edge.connect();
    plain.say("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(silent.rest(), "");
    // What does not speak TLS gets an alert and no answer.
    assert!(!plain.rest().contains("HTTP"));
    eventually("both are gone", || edge.handle.stats().open == 0);
    assert_eq!(edge.calls(), 0);
}

#[test]
fn a_certificate_that_is_none_is_refused_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cert.pem");
    fs_err::write(&path, "not a certificate").unwrap();
    let mut config = gyre_edge::EdgeConfig::server(vec![([127, 0, 0, 1], 0).into()]);
    config.tls = Some(TlsConfig { cert: path.clone(), key: path.clone() });
    let error = gyre_edge::Edge::bind(config).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, format!("{} holds no usable certificate", path.display()));
}
