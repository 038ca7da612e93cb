//! The small node behind `gyre up`: one application at every host, its state in one folder in Spin's formats.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gyre_data::{
    Database, DatabaseError, DatabaseLimits, Databases, KeyValueError, KeyValueStore,
    KeyValueStores, Location,
};
use gyre_edge::{BindError, Bound, Edge, EdgeConfig, EdgeHandle, Routes, RoutingTable};
use gyre_model::{Application, Limits};
use gyre_runtime::{
    App, AppSpec, CacheConfig, CompileError, CompileEvent, Compiler, DataGrants, LoadError,
    ReuseConfig, Runtime, RuntimeConfig, RuntimeError, SelfOrigin, SqsAccess, TriggerError,
    TriggerOptions, Triggers, Variables,
};
use gyre_store::{Keyring, KeyringError};
use ipnet::IpNet;

use crate::{
    front::{Front, Target},
    local_log::LocalLog,
    node::reachable,
    runtime_config::{DatabaseKind, StoreKind},
};

/// The label of the store and of the database that every local application has.
const DEFAULT: &str = "default";

/// How a local application runs.
#[derive(Debug)]
pub struct LocalConfig {
    /// The application.
    pub application: Application,
    /// How it listens, if it has HTTP triggers.
    pub edge: Option<EdgeConfig>,
    /// With what its queue triggers ask queues.
    pub sqs: Option<SqsAccess>,
    /// What its guests are held to.
    pub limits: Limits,
    /// How its instances are used again, where their world allows for it.
    pub reuse: ReuseConfig,
    /// Its variables' values.
    pub variables: Variables,
    /// Environment variables for every component.
    pub env: BTreeMap<String, String>,
    /// Where its stores and databases are; without it they are in memory.
    pub state: Option<PathBuf>,
    /// Its stores that are elsewhere, by label.
    pub stores: BTreeMap<String, StoreKind>,
    /// Its databases that are elsewhere, by label.
    pub databases: BTreeMap<String, DatabaseKind>,
    /// Networks that its guests must not reach.
    pub blocked_networks: Vec<IpNet>,
    /// How its guests reach the world.
    pub outbound: gyre_runtime::OutboundConfig,
    /// What runs language models for its components.
    pub llm: gyre_runtime::LlmBackend,
    /// Whether they may reach no private, loopback, link-local or otherwise special address.
    pub block_private_networks: bool,
    /// What is put into them before it serves.
    pub seed: Seed,
    /// Where its guests' output goes.
    pub log: Arc<LocalLog>,
    /// Where compiled code is kept; without it, it is compiled in memory.
    pub cache: Option<PathBuf>,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// Instances that may exist at once.
    pub instances: u32,
    /// The other measures of their pool.
    pub pool: gyre_runtime::PoolSettings,
    /// Whether instances come from a pool.
    pub is_pooling: bool,
    /// Whether guests have `wasi:otel`.
    pub has_otel: bool,
    /// Whether guests may write to their files.
    pub allow_transient_write: bool,
}

/// What is put into the stores and databases of a local application before it serves.
#[derive(Debug, Clone, Default)]
pub struct Seed {
    /// Keys and values of the default store.
    pub key_values: Vec<(String, String)>,
    /// Statements, by the label of their database.
    pub statements: Vec<(String, String)>,
}

/// Why a local application does not start.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The address cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The engine does not start.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The key of the cache cannot be had.
    #[error("cannot use the cache of compiled code (--disable-cache does without)")]
    Keyring(#[from] KeyringError),
    /// A component does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A trigger does not start.
    #[error(transparent)]
    Trigger(#[from] TriggerError),
    /// The application cannot be loaded.
    #[error(transparent)]
    Load(#[from] Arc<LoadError>),
    /// Required variables have no value.
    #[error(
        "provider error: no provider resolved required variable(s): [{}]",
        .0.iter().map(|name| format!("Key({name:?})")).collect::<Vec<_>>().join(", ")
    )]
    Variables(Vec<String>),
    /// `--key-value` failed.
    #[error("cannot set key {key:?} in the default key-value store")]
    KeyValue {
        /// The key.
        key: String,
        /// Why not.
        #[source]
        source: KeyValueError,
    },
    /// A key-value store's settings are wrong.
    #[error("cannot use key_value_store.{label}")]
    Store {
        /// Its label.
        label: String,
        /// Why not.
        #[source]
        source: KeyValueError,
    },
    /// A database's settings are wrong.
    #[error("cannot use sqlite_database.{label}")]
    Database {
        /// Its label.
        label: String,
        /// Why not.
        #[source]
        source: DatabaseError,
    },
    /// Variables that are needed at the start cannot be had.
    #[error("provider error: {0}")]
    Provider(String),
    /// `--sqlite` names a database that is not there.
    #[error("no database is called {0:?}")]
    NoDatabase(String),
    /// `--sqlite` failed.
    #[error("failed to execute SQL statement: {statement:?}")]
    Sql {
        /// The statement.
        statement: String,
        /// Why not.
        #[source]
        source: DatabaseError,
    },
}

/// A local application that serves.
#[derive(Debug)]
pub struct LocalNode {
    edge: Option<EdgeHandle>,
    address: Option<SocketAddr>,
    app: Arc<App>,
    triggers: Triggers,
    stores: KeyValueStores,
    databases: Databases,
    log: Arc<LocalLog>,
}

impl LocalNode {
    /// Starts it. It serves when this returns. `progress` hears of components that are being compiled, on other threads.
    ///
    /// # Errors
    /// Whatever is in the way; nothing runs then.
    pub async fn start(
        config: LocalConfig,
        progress: impl Fn(CompileEvent) + Send + Sync + 'static,
    ) -> Result<Self, LocalError> {
        let missing = config.variables.missing_required(&config.application.locked);
        if !missing.is_empty() {
            return Err(LocalError::Variables(missing));
        }
        let remembered = config.variables.remember(&config.application.locked).await;
        remembered.map_err(LocalError::Provider)?;
        let is_tls = config.edge.as_ref().is_some_and(|edge| edge.tls.is_some());
        let bound = config.edge.map(Edge::bind).transpose()?;
        let address = bound.as_ref().map(Bound::local_addr);
        let cache = config.cache.map(|dir| cache_config(&dir)).transpose()?;
        let is_cached = cache.is_some();
        let runtime = Runtime::new(RuntimeConfig {
            cache,
            compiler: config.compiler,
            is_pooling: config.is_pooling,
            instances: config.instances,
            pool: config.pool,
            ..RuntimeConfig::default()
        })?;
        let application = Arc::new(config.application);
        if is_cached {
            let (runtime, application) = (runtime.clone(), application.clone());
            let compiled =
                tokio::task::spawn_blocking(move || runtime.compile(&application, &progress)).await;
            compiled.map_err(|_| Arc::new(LoadError::Panicked))??;
        }
        let (stores, databases) = (KeyValueStores::new(), Databases::new());
        let location = |file: &str| match &config.state {
            Some(folder) => Location::file(folder.join(file)),
            None => Location::Memory,
        };
        let mut data = DataGrants::default();
        let default =
            stores.open(&location("sqlite_key_value.db"), DEFAULT, (&config.limits).into());
        let mut all = BTreeMap::from([(DEFAULT.to_owned(), default)]);
        for (label, kind) in config.stores {
            let limits = (&config.limits).into();
            let store = match kind {
                StoreKind::Memory => Ok(stores.open(&Location::Memory, &label, limits)),
                StoreKind::File(path) => Ok(stores.open(&Location::File(path), &label, limits)),
                StoreKind::Redis(url) => KeyValueStore::redis(url.expose(), limits),
                StoreKind::Dynamo(settings) => KeyValueStore::dynamo(settings, limits),
                StoreKind::Cosmos(settings) => KeyValueStore::cosmos(&settings, limits),
            };
            let failed = |source| LocalError::Store { label: label.clone(), source };
            all.insert(label.clone(), store.map_err(failed)?);
        }
        for (key, value) in &config.seed.key_values {
            all[DEFAULT]
                .set(key, value.clone().into_bytes())
                .await
                .map_err(|source| LocalError::KeyValue { key: key.clone(), source })?;
        }
        for (label, store) in all {
            data = data.with_key_value(label, store);
        }
        let default = databases.open(&location("sqlite_db.db"), (&config.limits).into());
        let mut all = BTreeMap::from([(DEFAULT.to_owned(), default)]);
        for (label, kind) in config.databases {
            let limits: DatabaseLimits = (&config.limits).into();
            let database = match kind {
                DatabaseKind::Local { path, allow_attach_file } => {
                    let location = path.map_or(Location::Memory, Location::File);
                    let may_attach_files = allow_attach_file;
                    Ok(databases.open(&location, DatabaseLimits { may_attach_files, ..limits }))
                }
                DatabaseKind::Libsql { url, token } => Database::libsql(&url, token, limits),
            };
            let failed = |source| LocalError::Database { label: label.clone(), source };
            let database = database.map_err(failed)?;
            all.insert(label, database);
        }
        for (statement, label) in &config.seed.statements {
            let Some(database) = all.get(label) else {
                return Err(LocalError::NoDatabase(label.clone()));
            };
            let failed = |source| LocalError::Sql { statement: statement.clone(), source };
            database.connect().execute_batch(statement).await.map_err(failed)?;
        }
        for (label, database) in all {
            data = data.with_database(label, database);
        }
        let scheme = if is_tls { "https" } else { "http" };
        let source = application.clone();
        let app = runtime.app(AppSpec {
            log: config.log.clone(),
            limits: config.limits,
            reuse: config.reuse,
            variables: Arc::new(config.variables),
            data,
            blocked_networks: config.blocked_networks,
            outbound: config.outbound,
            llm: config.llm,
            block_private_networks: config.block_private_networks,
            env: config.env,
            oci_image_digest: application
                .locked
                .metadata
                .get(gyre_package::registry::DIGEST_KEY)
                .and_then(|digest| digest.as_str()?.parse().ok()),
            has_otel: config.has_otel,
            allow_transient_write: config.allow_transient_write,
            self_origin: address.map(|address| SelfOrigin {
                scheme: scheme.parse().expect("it is http or https"),
                address: reachable(address),
                host: None,
            }),
            ..AppSpec::new(application.locked.name(), Arc::new(move || Ok(source.clone())))
        });
        app.load().await?;
        let options = TriggerOptions { sqs: config.sqs, ..TriggerOptions::default() };
        let triggers = app.start_triggers(&options).await?;
        let target = Arc::new(Target::App(app.clone()));
        let edge = bound.map(|bound| {
            let routes: Arc<Routes<Target>> =
                Arc::new(Routes::from_pointee(RoutingTable::single(target)));
            bound.serve(|_worker| Front { control: None }, routes)
        });
        Ok(Self { edge, address, app, triggers, stores, databases, log: config.log })
    }

    /// The address it listens on, if it has HTTP triggers.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// What Spin prints of its other triggers, line by line.
    pub fn trigger_lines(&self) -> &[String] {
        self.triggers.lines()
    }

    /// Runs the program of its first command trigger to its end. Returns its exit code.
    ///
    /// # Errors
    /// It has none.
    pub async fn run_command(&self, arguments: Vec<String>) -> Result<u8, LocalError> {
        Ok(self.app.run_command(arguments).await?)
    }

    /// Lets requests in flight finish, at most for `grace`; brings everything to disk; ends.
    pub async fn shutdown(self, grace: Duration) {
        let edge = async {
            if let Some(edge) = self.edge {
                edge.shutdown(grace).await;
            }
        };
        tokio::join!(edge, self.triggers.stop(grace));
        self.stores.close().await;
        self.databases.close().await;
        let log = self.log.clone();
        let _ = tokio::task::spawn_blocking(move || log.close()).await;
    }
}

/// The cache of a user's compiled code, and the key that authenticates it. The key is made with the folder and never
/// leaves it: whoever can write there can run what they like as this user anyway.
fn cache_config(dir: &Path) -> Result<CacheConfig, KeyringError> {
    let keyring = Keyring::open(&dir.join("keys"))?;
    Ok(CacheConfig { dir: dir.join("compiled"), key: keyring.derive("compiled code") })
}
