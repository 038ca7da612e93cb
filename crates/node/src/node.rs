//! A node of the cloud: what it is started with, in which order its parts start, and how it ends.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use gyre_control::{Control, ControlConfig};
use gyre_edge::{BindError, Edge, EdgeConfig, EdgeHandle, TlsConfig};
use gyre_model::Secret;
use gyre_runtime::{CacheConfig, Compiler, Runtime, RuntimeConfig, RuntimeError, SelfOrigin};
use gyre_server::ServerState;
use gyre_store::{AppLogs, BlobError, Blobs, Db, DbError, Keyring, KeyringError, LogsConfig};
use gyre_telemetry::Clock;
use tokio::runtime::Handle;

use crate::{
    apps::{Apps, Parts, empty_routes},
    data::NodeData,
    events::Events,
    front::Front,
    lock::{FolderLock, LockError},
};

/// How a node is set up.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The folder for everything that is kept.
    pub data: PathBuf,
    /// The address to listen on; port 0 is any free one.
    pub listen: SocketAddr,
    /// The platform's own host name.
    pub domain: String,
    /// The domain below which apps have their hosts; by default the platform's.
    pub apps_domain: Option<String>,
    /// Set, only TLS is spoken.
    pub tls: Option<TlsConfig>,
    /// Scheme and port by which clients reach the node, where they differ from what it listens on.
    pub public: Option<(String, Option<u16>)>,
    /// Threads that serve requests; by default one per core.
    pub workers: Option<usize>,
    /// Whether guests may reach private and local addresses that their manifests allow.
    pub allow_private_egress: bool,
    /// Whether guests have `wasi:otel`.
    pub has_otel: bool,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// The server's version, as it tells it.
    pub version: String,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file or folder of it cannot be used.
    #[error("cannot use the data folder")]
    Io(#[from] std::io::Error),
    /// Its keys cannot be used.
    #[error("cannot use the keys in the data folder")]
    Keyring(#[from] KeyringError),
    /// Its database cannot be used.
    #[error("cannot open the database")]
    Db(#[from] DbError),
    /// Its blobs cannot be used.
    #[error("cannot open the blob store")]
    Blobs(#[from] BlobError),
    /// The address cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The engine does not start.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The control plane does not start.
    #[error("cannot start the control plane")]
    Control(#[from] gyre_control::Error),
    /// A host name that is none.
    #[error("{0:?} is not a domain name")]
    Domain(String),
}

/// A running node.
pub struct Node {
    edge: EdgeHandle,
    control: Arc<Control>,
    db: Db,
    logs: AppLogs,
    data: NodeData,
    events: Arc<Events>,
    address: SocketAddr,
    admin_token: Option<Secret<String>>,
    _lock: FolderLock,
}

impl Node {
    /// Starts a node. It serves when this returns. To be called on a Tokio runtime of several threads, which becomes the control
    /// plane's.
    ///
    /// # Errors
    /// Whatever is in the way; nothing of it runs then.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        let lock = FolderLock::take(&config.data)?;
        let folder = |name: &str| config.data.join(name);
        let apps_domain = config.apps_domain.clone().unwrap_or_else(|| config.domain.clone());
        for domain in [&config.domain, &apps_domain] {
            let host = gyre_edge::Host::parse(domain);
            if host.is_err() || host.is_ok_and(|host| host.is_ip() || host.port().is_some()) {
                return Err(StartError::Domain(domain.clone()));
            }
        }
        // The address first: whoever started a second node by mistake should learn that at once.
        let mut edge_config = EdgeConfig::server(vec![config.listen]);
        edge_config.workers = config.workers;
        edge_config.tls.clone_from(&config.tls);
        let bound = Edge::bind(edge_config)?;
        let address = bound.local_addr();

        let keyring = Arc::new(Keyring::open(&folder("keys"))?);
        let db = Db::open_sqlite(&folder("gyre.db")).await?;
        let blobs = Blobs::folder(&folder("blobs"))?;
        let logs = AppLogs::open(&folder("logs"), LogsConfig::default())?;
        let data = NodeData::new(folder("data"));
        let applications = folder("cache").join("applications");
        fs_err::create_dir_all(&applications)?;
        gyre_package::artifact::sweep(&applications)?;
        let runtime = Runtime::new(RuntimeConfig {
            cache: Some(CacheConfig {
                dir: folder("cache").join("compiled"),
                key: keyring.derive("compiled code"),
            }),
            compiler: config.compiler.clone(),
            ..RuntimeConfig::default()
        })?;

        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let usual = if config.tls.is_some() { 443 } else { 80 };
        let own_port = (address.port() != usual).then_some(address.port());
        let (public_scheme, public_port) =
            config.public.clone().unwrap_or_else(|| (scheme.to_owned(), own_port));
        let control_config = ControlConfig {
            domain: config.domain.clone(),
            apps_domain,
            public_scheme,
            public_port,
            bindles: gyre_control::BindlePolicy::default(),
        };
        let routes = empty_routes();
        let events = Arc::new(Events::new()?);
        let apps = Apps::new(Parts {
            runtime,
            releases: gyre_control::Releases::new(
                db.clone(),
                keyring.clone(),
                control_config.clone(),
            ),
            blobs: blobs.clone(),
            logs: logs.clone(),
            data: data.clone(),
            applications,
            routes: routes.clone(),
            control_hosts: vec![
                config.domain.clone(),
                format!("registry.{}", config.domain),
                format!("bindle.{}", config.domain),
            ],
            self_origin: SelfOrigin {
                scheme: scheme.parse().expect("it is http or https"),
                address: reachable(address),
                host: None,
            },
            block_private_networks: !config.allow_private_egress,
            events: events.clone(),
            has_otel: config.has_otel,
            threads: Handle::current(),
        });
        routes.store(Arc::new(apps.control_only()));
        let control = Control::new(gyre_control::Parts {
            db: db.clone(),
            blobs,
            keyring,
            logs: logs.clone(),
            clock: Clock::System,
            activator: Arc::new(apps.clone()),
            publisher: Arc::new(apps),
            data: Arc::new(data.clone()),
            config: control_config,
        });
        let token_file = folder("admin-token");
        let admin_token = control
            .bootstrap(|token| {
                gyre_store::write_secret(&token_file, format!("{}\n", token.expose()).as_bytes())
            })
            .await?;
        control.start().await?;
        let router = gyre_server::router(ServerState {
            control: control.clone(),
            version: config.version.as_str().into(),
        });
        let threads = Handle::current();
        let front = move |_worker| Front { control: Some((router.clone(), threads.clone())) };
        let edge = bound.serve(front, routes);
        Ok(Self { edge, control, db, logs, data, events, address, admin_token, _lock: lock })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base address of API and pages, with a trailing `/`.
    pub fn url(&self) -> String {
        self.control.config().url()
    }

    /// The administrator's token, if this start made it.
    pub fn admin_token(&self) -> Option<&Secret<String>> {
        self.admin_token.as_ref()
    }

    /// Lets requests in flight finish, at most for `grace`; brings everything to disk; ends.
    pub async fn shutdown(mut self, grace: Duration) {
        // Whoever waits for a release, or follows a log, is told to come back; the drain would wait for them.
        let ((), drained, ()) =
            tokio::join!(self.control.stop(), self.edge.drain(grace), self.events.stop(grace));
        if drained.aborted > 0 {
            tracing::warn!("{} connections were cut when the grace was over", drained.aborted);
        }
        self.edge.stop().await;
        self.data.close().await;
        self.logs.close().await;
        self.db.close().await;
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("address", &self.address).finish_non_exhaustive()
    }
}

/// How this machine reaches itself on an address that it listens on.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}
