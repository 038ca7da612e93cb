//! What the operator says of connections: limits of kinds, connections that are not kept, TLS of some hosts.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use ::http::{Request, Response};
use gyre_testkit::Service;
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi_http::Error;

use super::{
    super::{mqtt, redis, sockets},
    http::{Instance, answering, get, numbered, settle, within},
    *,
};
use crate::{ConnectionLimits, OutboundConfig};

fn fixture(outbound: OutboundConfig) -> Fixture {
    let mut fixture = Fixture::with_hosts(&["*://127.0.0.1:*", "*://localhost:*"]);
    fixture.spec.outbound = outbound;
    fixture
}

fn limited(connections: ConnectionLimits) -> Fixture {
    fixture(OutboundConfig { connections, ..Default::default() })
}

#[tokio::test]
async fn connections_of_http_are_kept_unless_they_are_not_to_be() {
    let (address, _heads) = numbered().await;
    let url = format!("http://{address}/");
    for (is_http_pooled, expected) in [(true, ["0", "0"]), (false, ["1", "2"])] {
        let origin = fixture(OutboundConfig { is_http_pooled, ..Default::default() }).origin();
        let mut instance = Instance::new(&origin);
        for number in expected {
            assert_eq!(instance.text(&url).await, number);
            settle().await;
        }
    }
}

#[tokio::test]
async fn http2_is_spoken_in_the_clear_with_whom_it_is_known_of() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = service_fn(|request: Request<Incoming>| async move {
                let text = format!("{:?}", request.version());
                Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::from(text)))
            });
            let serve = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move {
                let _ = serve.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    let h2c_authority = Some(address.to_string());
    let origin = fixture(OutboundConfig { h2c_authority, ..Default::default() }).origin();
    let mut instance = Instance::new(&origin);
    for _ in 0..2 {
        assert_eq!(instance.text(&format!("http://{address}/")).await, "HTTP/2.0");
    }
    let other = format!("http://localhost:{}/", address.port());
    assert_eq!(instance.text(&other).await, "HTTP/1.1");
}

#[tokio::test]
async fn connections_of_http_beyond_their_limit_wait() {
    let address = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n1").await;
    let (other, _other_heads) = numbered().await;
    let origin = limited(ConnectionLimits { http: Some(1), ..Default::default() }).origin();
    let mut instance = Instance::new(&origin);
    let held = instance.get(&format!("http://{address}/")).await.unwrap();
    let late = instance.send(get(&format!("http://{other}/")), within(100, 1000, 1000)).await;
    assert!(matches!(late, Err(Error::ConnectionTimeout)), "{late:?}");
    // A connection is in use until its response has ended, or is given up.
    drop(held);
    assert_eq!(instance.text(&format!("http://{other}/")).await, "0");
    let none = limited(ConnectionLimits { http: Some(0), ..Default::default() }).origin();
    let request = get(&format!("http://{address}/"));
    let late = Instance::new(&none).send(request, within(100, 1000, 1000)).await;
    assert!(matches!(late, Err(Error::ConnectionTimeout)), "{late:?}");
}

#[tokio::test]
async fn connections_to_redis_beyond_their_limit_wait() {
    let server = tokio::task::spawn_blocking(Service::redis).await.unwrap();
    let address = format!("redis://{}", server.address());
    let limits = ConnectionLimits { redis: Some(1), mqtt: Some(0), ..Default::default() };
    let origin = limited(limits).origin();
    let open = || redis::Connection::open(&origin, &address);
    let held = open().await.unwrap();
    let late = open().await.err();
    assert!(
        matches!(&late, Some(redis::Error::Other(text)) if text.contains("no connection within")),
        "{late:?}"
    );
    drop(held);
    open().await.unwrap();
}

fn settings(address: SocketAddr) -> mqtt::Settings {
    mqtt::Settings {
        address: format!("mqtt://{address}"),
        username: String::new(),
        password: String::new(),
        keep_alive: Duration::from_secs(30),
    }
}

#[tokio::test]
async fn mqtt_has_a_limit_of_connections_and_one_of_payloads() {
    let server = tokio::task::spawn_blocking(Service::mosquitto).await.unwrap();
    let settings = settings(server.address());
    let none = limited(ConnectionLimits { mqtt: Some(0), ..Default::default() }).origin();
    let late = mqtt::Connection::open(&none, &settings).await.err();
    assert!(
        matches!(&late, Some(mqtt::Error::ConnectionFailed(text)) if text.contains("within")),
        "{late:?}"
    );
    let outbound = OutboundConfig { mqtt_payload_bytes: Some(3), ..Default::default() };
    let origin = fixture(outbound).origin();
    let connection = mqtt::Connection::open(&origin, &settings).await.unwrap();
    let publish = |text: &str| {
        let payload = text.as_bytes().to_vec();
        connection.publish("topic", payload, rumqttc::QoS::AtLeastOnce)
    };
    publish("abc").await.unwrap();
    let text = "payload size 4 exceeds the maximum allowed size of 3 bytes";
    assert_eq!(publish("abcd").await, Err(mqtt::Error::Other(text.to_owned())));
    publish("").await.unwrap();
}

#[test]
fn sockets_beyond_their_limit_are_refused() {
    let origin = limited(ConnectionLimits { sockets: Some(1), ..Default::default() }).origin();
    let used = sockets::Used::default();
    let to = "127.0.0.1:1".parse().unwrap();
    let ask = |held: &_| sockets::allows(&origin, &used, held, to, SocketAddrUse::TcpConnect);
    let (first, second) = (sockets::Held::default(), sockets::Held::default());
    assert!(ask(&first));
    assert!(!ask(&second));
    drop(first);
    assert!(ask(&second));
}

/// An authority, and a certificate for `localhost` and its key that it signed.
struct Signed {
    authority: String,
    certificate: String,
    key: String,
}

fn signed() -> Signed {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    Signed { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
}

/// A server that asks for a certificate of that authority, and answers with the number of its connection.
async fn mutual(own: &Signed, clients: &str) -> u16 {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(der(clients)).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        .with_single_cert(vec![der(&own.certificate)], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let is_known = stream.get_ref().1.peer_certificates().is_some();
            let answer = service_fn(move |_: Request<Incoming>| async move {
                let text = if is_known { "known" } else { "unknown" };
                Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::from(text)))
            });
            tokio::spawn(async move {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    port
}

fn tls(change: impl FnOnce(&mut ClientTlsSettings)) -> Result<ClientTls, ClientTlsError> {
    let mut settings = ClientTlsSettings {
        components: vec!["a".to_owned()],
        hosts: vec!["LOCALHOST".to_owned()],
        ..Default::default()
    };
    change(&mut settings);
    ClientTls::new(settings)
}

fn with_tls(client_tls: Vec<ClientTls>) -> Origin {
    fixture(OutboundConfig { client_tls, ..Default::default() }).origin()
}

#[tokio::test]
async fn some_hosts_have_roots_of_their_own_and_are_shown_a_certificate() {
    let (own, client) = (signed(), signed());
    let port = mutual(&own, &client.authority).await;
    let url = format!("https://localhost:{port}/");
    let roots = Some(own.authority.clone().into_bytes());
    let trusting = tls(|it| it.roots.clone_from(&roots)).unwrap();
    let showing = tls(|it| {
        it.roots.clone_from(&roots);
        it.certificate = Some((client.certificate.into_bytes(), client.key.into_bytes()));
    })
    .unwrap();

    let denied = Instance::new(&with_tls(Vec::new())).get(&url).await;
    assert!(matches!(denied, Err(Error::TlsProtocolError)), "{denied:?}");
    let text = Instance::new(&with_tls(vec![trusting.clone()])).text(&url).await;
    assert_eq!(text, "unknown");
    let mut shown = Instance::new(&with_tls(vec![showing.clone(), trusting.clone()]));
    assert_eq!(shown.text(&url).await, "known");
    // It is for that host, as it is named, and for that component only.
    let other = shown.get(&format!("https://127.0.0.1:{port}/")).await;
    assert!(matches!(other, Err(Error::TlsProtocolError)), "{other:?}");
    let foreign = tls(|it| {
        it.components = vec!["b".to_owned()];
        it.roots.clone_from(&roots);
    })
    .unwrap();
    let denied = Instance::new(&with_tls(vec![foreign])).get(&url).await;
    assert!(matches!(denied, Err(Error::TlsProtocolError)), "{denied:?}");
    // Mozilla's authorities did not sign it, alone or beside others.
    let mozilla = tls(|it| it.webpki_roots = Some(true)).unwrap();
    let denied = Instance::new(&with_tls(vec![mozilla])).get(&url).await;
    assert!(matches!(denied, Err(Error::TlsProtocolError)), "{denied:?}");
    let all = tls(|it| {
        it.roots.clone_from(&roots);
        (it.platform_roots, it.webpki_roots) = (Some(true), Some(true));
    });
    assert_eq!(Instance::new(&with_tls(vec![all.unwrap()])).text(&url).await, "unknown");
}

#[tokio::test]
async fn who_shows_a_certificate_shares_no_connection_with_who_does_not() {
    let (own, client) = (signed(), signed());
    let port = mutual(&own, &client.authority).await;
    let url = format!("https://localhost:{port}/");
    let roots = Some(own.authority.clone().into_bytes());
    let showing = tls(|it| {
        it.roots.clone_from(&roots);
        it.certificate = Some((client.certificate.into_bytes(), client.key.into_bytes()));
    });
    let trusting = tls(|it| {
        it.components = vec!["b".to_owned()];
        it.roots.clone_from(&roots);
    });
    let first = with_tls(vec![showing.unwrap(), trusting.unwrap()]);
    assert_eq!(Instance::new(&first).text(&url).await, "known");
    settle().await;
    // The same app, another component of it.
    let component = ComponentContext {
        id: "b".into(),
        grants: fixture(OutboundConfig::default()).grants().unwrap(),
        env: Vec::new(),
        mounts: Vec::new(),
    };
    let second = Origin { component: Arc::new(component), ..first };
    assert_eq!(Instance::new(&second).text(&url).await, "unknown");
}

#[test]
fn settings_of_tls_that_cannot_be_are_errors() {
    let (one, other) = (signed(), signed());
    let pem = |text: &str| Some(text.as_bytes().to_vec());
    let wrong: [&dyn Fn(&mut ClientTlsSettings); 8] = [
        &|it| it.components.clear(),
        &|it| it.hosts.clear(),
        &|it| it.hosts.push("localhost:443".to_owned()),
        &|it| it.roots = pem("no certificate"),
        &|it| it.roots = pem(&one.key),
        &|it| it.platform_roots = Some(false),
        &|it| it.certificate = pem(&one.certificate).zip(pem(&other.key)),
        &|it| it.certificate = pem(&one.certificate).zip(pem("no key")),
    ];
    for (index, change) in wrong.iter().enumerate() {
        assert!(tls(change).is_err(), "{index}");
    }
    let fits = tls(|it| it.certificate = pem(&one.certificate).zip(pem(&one.key))).unwrap();
    assert!(!format!("{fits:?}").contains("PRIVATE"));
}
