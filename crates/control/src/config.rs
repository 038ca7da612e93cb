//! What the platform is called and how the world reaches it.

/// Names, and the scheme and port by which they are reached.
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
