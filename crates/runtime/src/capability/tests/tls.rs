//! TLS: our own listener is trusted for being ours, nobody else is without a certificate.

use std::{convert::Infallible, net::SocketAddr};

use ::http::{Request, Response, Version, uri::Scheme};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use wasmtime_wasi_http::Error;

use super::{http::Instance, *};

/// A server with a certificate for `not.the.address`, signed by itself, that answers with the version spoken and
/// the authority asked for.
async fn server(protocols: &[&str]) -> SocketAddr {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("own.cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("own.key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut number = 0;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            number += 1;
            let answer = service_fn(move |request: Request<Incoming>| async move {
                let authority = request.uri().authority().map(ToString::to_string);
                let host = request.headers().get("host").map(|it| it.to_str().unwrap().to_owned());
                let text = format!("{number} {:?} {authority:?} {host:?}", request.version());
                Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::from(text)))
            });
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            tokio::spawn(async move {
                let stream = TokioIo::new(stream);
                if is_http2 {
                    let builder = conn::http2::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(stream, answer).await;
                } else {
                    let _ = conn::http1::Builder::new().serve_connection(stream, answer).await;
                }
            });
        }
    });
    address
}

fn own(address: SocketAddr) -> Fixture {
    let host = Some("app.example:8443".to_owned());
    let own = SelfOrigin { scheme: Scheme::HTTPS, address, host };
    Fixture::with_hosts(&["https://self", "https://127.0.0.1:*"]).with_origin(own)
}

#[tokio::test]
async fn http2_is_spoken_where_the_server_knows_it_over_one_connection() {
    let fixture = own(server(&["h2", "http/1.1"]).await);
    let mut instance = Instance::new(&fixture.origin());
    let expected = format!("1 {:?} Some(\"app.example:8443\") None", Version::HTTP_2);
    for _ in 0..3 {
        assert_eq!(instance.text("http://self.alt/").await, expected);
    }
}

#[tokio::test]
async fn http1_is_spoken_where_the_server_knows_no_other() {
    for protocols in [&["http/1.1"][..], &[]] {
        let fixture = own(server(protocols).await);
        let text = Instance::new(&fixture.origin()).text("http://self.alt/").await;
        assert_eq!(text, format!("1 {:?} None Some(\"app.example:8443\")", Version::HTTP_11));
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_signed_is_refused_even_where_our_own_is_taken() {
    let address = server(&["h2"]).await;
    let fixture = own(address);
    let mut instance = Instance::new(&fixture.origin());
    instance.get("http://self.alt/").await.unwrap();
    let result = instance.get(&format!("https://{address}/")).await;
    assert!(matches!(result, Err(Error::TlsProtocolError)), "{result:?}");
}
