//! What the platform is called and how the world reaches it.

use gyre_package::bindle::{Strategy, keys::Keyring};

/// Which bindles are taken in, and deployed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BindlePolicy {
    /// Whether a bindle must be signed. Spin up to 0.10 and Bindle up to 0.8 sign nothing.
    pub is_signature_required: bool,
    /// What must be true of the signatures, and whose keys are believed. Without it, every signature has to be valid,
    /// whoever made it.
    pub trust: Option<Trust>,
}

/// Whose signatures are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// What must be true of the signatures.
    pub strategy: Strategy,
    /// The keys. Our own is one of them without being here.
    pub keyring: Keyring,
}

/// Names, and the scheme and port by which they are reached; and what is taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlConfig {
    /// The host of API, registry and pages: `gyre.localhost`, `cloud.example.com`.
    pub domain: String,
    /// Under which the apps have their hosts.
    pub apps_domain: String,
    /// `http` or `https`, as the world sees it.
    pub public_scheme: String,
    /// The port as the world sees it; `None` where it is the scheme's own.
    pub public_port: Option<u16>,
    /// Which bindles are taken in.
    pub bindles: BindlePolicy,
}

impl ControlConfig {
    /// `host`, with the port where the world needs it.
    pub fn authority(&self, host: &str) -> String {
        match self.public_port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// The base address of API and pages, with a trailing `/`.
    pub fn url(&self) -> String {
        self.host_url(&self.domain)
    }

    /// The host of an app with that label.
    pub fn app_host(&self, label: &str) -> String {
        format!("{label}.{}", self.apps_domain)
    }

    /// The address of an app with that label, with a trailing `/`.
    pub fn app_url(&self, label: &str) -> String {
        self.host_url(&self.app_host(label))
    }

    /// The address of a host, with a trailing `/`.
    pub fn host_url(&self, host: &str) -> String {
        format!("{}://{}/", self.public_scheme, self.authority(host))
    }
}
