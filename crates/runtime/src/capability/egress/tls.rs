//! TLS to where guests connect: trust as the machine has it, made when first needed.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, IpAddr, ServerName, UnixTime},
};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::{net::TcpStream, sync::OnceCell};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::Host;

use crate::spec::SelfOrigin;

/// Whom TLS is spoken with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TlsPeer<'a> {
    /// A host of the world, which must prove that it is the one named.
    Host(&'a Host<String>),
    /// The same, as the operator wants it.
    Configured(&'a Host<String>, &'a Arc<ClientConfig>),
    /// A listener of this process. Its certificate need not be for the address by which it is reached here: that
    /// the listener is ours is known without it.
    Own(&'a SelfOrigin),
}

/// Speaks TLS, offering HTTP/2 and HTTP/1.1. Returns the stream and whether HTTP/2 was agreed on.
///
/// # Errors
/// The peer's certificate is not to be trusted, or the protocol failed.
pub(crate) async fn handshake(
    stream: TcpStream,
    peer: TlsPeer<'_>,
) -> io::Result<(TlsStream<TcpStream>, bool)> {
    static WORLD: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();
    static OWN: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();
    let (config, name) = match peer {
        TlsPeer::Host(host) => (WORLD.get_or_try_init(world).await?, server_name(host)?),
        TlsPeer::Configured(host, config) => (config, server_name(host)?),
        TlsPeer::Own(own) => {
            let name = match &own.host {
                // Without its port, if it has one.
                Some(host) => host.parse::<http::uri::Authority>().map_err(io::Error::other)?,
                None => own.address.to_string().parse().map_err(io::Error::other)?,
            };
            let name = Host::parse(name.host()).map_err(io::Error::other)?;
            (OWN.get_or_try_init(async || trusting_ourselves()).await?, server_name(&name)?)
        }
    };
    let stream = TlsConnector::from(config.clone()).connect(name, stream).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((stream, is_http2))
}

/// Speaks TLS with a server of another protocol than HTTP; `config` says whom to trust, if not those whom the machine
/// trusts.
///
/// # Errors
/// The peer's certificate is not to be trusted, or the protocol failed.
pub(crate) async fn secure(
    stream: TcpStream,
    host: &Host<String>,
    config: Option<Arc<ClientConfig>>,
) -> io::Result<TlsStream<TcpStream>> {
    static PLAIN: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();
    let config = if let Some(config) = config {
        config
    } else {
        let made = PLAIN.get_or_try_init(async || {
            let mut config = ClientConfig::clone(&*world().await?);
            config.alpn_protocols.clear();
            io::Result::Ok(Arc::new(config))
        });
        made.await?.clone()
    };
    TlsConnector::from(config).connect(server_name(host)?, stream).await
}

/// What trusts the machine's certificates and those in `pem` besides.
///
/// # Errors
/// There is no certificate in it, or one that is malformed.
pub(crate) async fn trusting(pem: &str) -> io::Result<Arc<ClientConfig>> {
    use rustls::pki_types::pem::PemObject as _;
    let roots: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)?;
    if roots.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "there is no certificate in it"));
    }
    let made = tokio::task::spawn_blocking(|| {
        let provider = provider();
        let verifier =
            rustls_platform_verifier::Verifier::new_with_extra_roots(roots, provider.clone())?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        Ok::<_, rustls::Error>(Arc::new(builder.with_no_client_auth()))
    });
    made.await.map_err(io::Error::other)?.map_err(io::Error::other)
}

fn server_name(host: &Host<String>) -> io::Result<ServerName<'static>> {
    Ok(match host {
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name).to_owned();
            ServerName::try_from(name).map_err(io::Error::other)?
        }
        Host::Ipv4(address) => ServerName::IpAddress(IpAddr::from(std::net::IpAddr::V4(*address))),
        Host::Ipv6(address) => ServerName::IpAddress(IpAddr::from(std::net::IpAddr::V6(*address))),
    })
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Reading the machine's certificates takes a while, so it is done beside the guests.
async fn world() -> io::Result<Arc<ClientConfig>> {
    let made = tokio::task::spawn_blocking(|| {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_platform_verifier()?;
        Ok::<_, rustls::Error>(with_protocols(builder.with_no_client_auth()))
    });
    made.await.map_err(io::Error::other)?.map_err(io::Error::other)
}

fn trusting_ourselves() -> io::Result<Arc<ClientConfig>> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Ourselves(provider)));
    Ok(with_protocols(builder.with_no_client_auth()))
}

pub(super) fn with_protocols(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Takes any certificate, of a peer that is known to be this process.
#[derive(Debug)]
struct Ourselves(Arc<CryptoProvider>);

impl ServerCertVerifier for Ourselves {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
