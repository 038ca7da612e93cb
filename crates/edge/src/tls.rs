//! The certificate and key of a listener, and what is offered in a handshake: TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1.

use std::{path::PathBuf, sync::Arc};

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Where a listener's certificate chain and its key are, both as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read the TLS certificate or its key")]
    Io(#[from] std::io::Error),
    /// A file is not what it should be.
    #[error("{path} holds no usable {what}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// The two do not fit together, or the key is of a kind that is not supported.
    #[error("the TLS certificate and its key cannot be used")]
    Config(#[from] rustls::Error),
}

/// Reads the files and makes of them what a handshake needs.
pub(crate) fn load(config: &TlsConfig) -> Result<Arc<ServerConfig>, TlsError> {
    let cert_pem = fs_err::read(&config.cert)?;
    let key_pem = fs_err::read(&config.key)?;
    let no = |path: &PathBuf, what| TlsError::Pem { path: path.clone(), what };
    let chain = CertificateDer::pem_slice_iter(&cert_pem)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| no(&config.cert, "certificate"))?;
    let key =
        PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| no(&config.key, "private key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}
