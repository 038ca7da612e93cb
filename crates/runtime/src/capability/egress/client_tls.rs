//! TLS as the operator wants it for some hosts: other roots, and a certificate of our own.

use std::{collections::BTreeSet, fmt, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::tls::{provider, with_protocols};

/// What is to be done with which hosts.
#[derive(Clone, Default)]
pub struct ClientTlsSettings {
    /// The components that it is for, by their ids.
    pub components: Vec<String>,
    /// The hosts that it is for, as they are named in requests, without ports.
    pub hosts: Vec<String>,
    /// Whether the machine's certificate authorities are trusted. `None`: unless something else is said of roots.
    pub platform_roots: Option<bool>,
    /// Whether those of Mozilla are trusted.
    pub webpki_roots: Option<bool>,
    /// Others that are trusted, PEM.
    pub roots: Option<Vec<u8>>,
    /// The certificate chain to show, and its private key, PEM.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
}

/// Why that cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// A list must not be empty.
    #[error("'{0}' list may not be empty")]
    Empty(&'static str),
    /// A host is none.
    #[error("invalid host {0:?}: expected a name or an address, without a port")]
    Host(String),
    /// No peer could ever be trusted.
    #[error("no certificate authority is trusted")]
    NoRoots,
    /// A file has no certificate or key in it, or a malformed one.
    #[error("{what}: {reason}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key are not for each other, or cannot be used.
    #[error("the certificate and its key cannot be used")]
    Certificate(#[source] rustls::Error),
    /// The machine's certificate authorities cannot be had.
    #[error("the machine's certificate authorities cannot be had")]
    Platform(#[source] rustls::Error),
}

/// How TLS is spoken with some hosts by some components.
#[derive(Clone)]
pub struct ClientTls {
    components: BTreeSet<String>,
    hosts: BTreeSet<String>,
    config: Arc<ClientConfig>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("components", &self.components)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl ClientTls {
    /// Reads certificates and keys, those of the machine included: blocks.
    ///
    /// # Errors
    /// Something about them is wrong.
    pub fn new(settings: ClientTlsSettings) -> Result<Self, ClientTlsError> {
        if settings.components.is_empty() {
            return Err(ClientTlsError::Empty("component_ids"));
        }
        if settings.hosts.is_empty() {
            return Err(ClientTlsError::Empty("hosts"));
        }
        let hosts = settings.hosts.iter().map(|host| canonical(host));
        let hosts = hosts.collect::<Result<_, _>>()?;
        // Who says something of roots says all.
        let (platform, webpki) = match (settings.platform_roots, settings.webpki_roots) {
            (None, None) => (settings.roots.is_none(), false),
            (platform, webpki) => (platform.unwrap_or(false), webpki.unwrap_or(false)),
        };
        let mut roots = match &settings.roots {
            Some(pem) => certificates("ca_roots_file", pem)?,
            None => Vec::new(),
        };
        if webpki {
            roots.extend(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
        }
        if !platform && roots.is_empty() {
            return Err(ClientTlsError::NoRoots);
        }
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(ClientTlsError::Certificate)?;
        let builder = if platform {
            let verifier =
                rustls_platform_verifier::Verifier::new_with_extra_roots(roots, provider)
                    .map_err(ClientTlsError::Platform)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        } else {
            let mut store = RootCertStore::empty();
            for root in roots {
                store.add(root).map_err(|error| ClientTlsError::Pem {
                    what: "ca_roots_file",
                    reason: error.to_string(),
                })?;
            }
            builder.with_root_certificates(store)
        };
        let config = match &settings.certificate {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = certificates("client_cert_file", chain)?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
                    let reason = error.to_string();
                    ClientTlsError::Pem { what: "client_private_key_file", reason }
                })?;
                builder.with_client_auth_cert(chain, key).map_err(ClientTlsError::Certificate)?
            }
        };
        let components = settings.components.into_iter().collect();
        Ok(Self { components, hosts, config: with_protocols(config) })
    }

    /// Whether it is for that component's requests to that host.
    pub(crate) fn is_for(&self, component: &str, host: &url::Host<String>) -> bool {
        self.components.contains(component) && self.hosts.contains(&host.to_string())
    }

    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

/// A host as it is written once a request was read.
fn canonical(host: &str) -> Result<String, ClientTlsError> {
    let wrong = || ClientTlsError::Host(host.to_owned());
    Ok(url::Host::parse(host).map_err(|_| wrong())?.to_string())
}

fn certificates(
    what: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, ClientTlsError> {
    let failed = |reason: String| ClientTlsError::Pem { what, reason };
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| failed(error.to_string()))?;
    if found.is_empty() {
        return Err(failed("there is no certificate in it".to_owned()));
    }
    Ok(found)
}
