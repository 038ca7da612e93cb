//! What the node says of an app when it registers it.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};

use gyre_model::{Application, BoxError, Digest, Limits, LogSink, NullLog};
use ipnet::IpNet;

use crate::{
    OutboundConfig, ReuseConfig,
    capability::{DataGrants, LlmBackend, Variables},
};

/// Yields the application when it is first needed, on a thread that may block. Called again after an unload.
pub type AppSource = Arc<dyn Fn() -> Result<Arc<Application>, BoxError> + Send + Sync>;

/// Where an app's requests to itself (`self`) go: our own listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfOrigin {
    /// `http` or `https`.
    pub scheme: http::uri::Scheme,
    /// The listener as it is reached from this machine: never an unspecified address such as `0.0.0.0`.
    pub address: SocketAddr,
    /// The host name by which our edge knows the app, if the address alone does not lead to it. Sent as `Host`.
    pub host: Option<String>,
}

/// An app, as it is registered with [`crate::Runtime::app`].
#[derive(Clone)]
pub struct AppSpec {
    /// Its name.
    pub name: String,
    /// What it is made of.
    pub source: AppSource,
    /// Where its guests' output goes.
    pub log: Arc<dyn LogSink>,
    /// Its limits.
    pub limits: Limits,
    /// Its variables' values.
    pub variables: Arc<Variables>,
    /// Its key-value stores and databases, by label.
    pub data: DataGrants,
    /// Environment variables for all of its components; they win over the manifest's.
    pub env: BTreeMap<String, String>,
    /// Whether guests have `wasi:otel`, which is experimental.
    pub has_otel: bool,
    /// Whether guests may write to their files.
    pub allow_transient_write: bool,
    /// Where requests to `self` go; without it they fail.
    pub self_origin: Option<SelfOrigin>,
    /// Shown by `/.well-known/spin/info`.
    pub oci_image_digest: Option<Digest>,
    /// How often and how much at once an instance is used whose world allows for it.
    pub reuse: ReuseConfig,
    /// Whether guests may reach no private, loopback, link-local or otherwise special address.
    pub block_private_networks: bool,
    /// Networks that guests must not reach either.
    pub blocked_networks: Vec<IpNet>,
    /// How they reach what they may.
    pub outbound: OutboundConfig,
    /// What runs language models for its components.
    pub llm: LlmBackend,
}

impl AppSpec {
    /// An app of that name with nothing limited, no data, no variables and its output thrown away.
    pub fn new(name: impl Into<String>, source: AppSource) -> Self {
        Self {
            name: name.into(),
            source,
            log: Arc::new(NullLog),
            limits: Limits::unlimited(),
            variables: Arc::default(),
            data: DataGrants::default(),
            env: BTreeMap::new(),
            has_otel: false,
            allow_transient_write: false,
            self_origin: None,
            oci_image_digest: None,
            reuse: ReuseConfig::default(),
            block_private_networks: false,
            blocked_networks: Vec::new(),
            outbound: OutboundConfig::default(),
            llm: LlmBackend::None,
        }
    }
}

impl fmt::Debug for AppSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppSpec").field("name", &self.name).finish_non_exhaustive()
    }
}
