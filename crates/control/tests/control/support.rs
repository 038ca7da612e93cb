//! A control with a store of its own in a temporary folder and doubles for what a node does.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use gyre_control::{
    ActivationError, Activator, Actor, AppRef, Control, ControlConfig, GuestData, GuestDataError,
    NewRelease, Parts, ReleaseSpec, ReleaseView, RouteEntry, RoutePublisher, Source, StoreAddress,
    registry::Reference,
};
use gyre_model::{Digest, Secret};
use gyre_package::oci::{self, Descriptor, ImageConfig, Manifest};
use gyre_store::{AppLogs, Blobs, Db, Keyring, LogsConfig};
use gyre_telemetry::Clock;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

/// Long enough for anything that ought to happen.
pub const SOON: Duration = Duration::from_secs(20);

/// Runs nothing; remembers what it was asked to run.
pub struct FakeActivator {
    /// What was prepared, to its end.
    pub prepared: Mutex<Vec<ReleaseSpec>>,
    /// Which digests fail, and why.
    pub failures: Mutex<HashMap<Digest, String>>,
    /// While false, nothing gets ready.
    pub gate: watch::Sender<bool>,
    /// How many wait at the gate.
    pub waiting: watch::Sender<usize>,
    pub panics: Mutex<bool>,
}

impl Default for FakeActivator {
    fn default() -> Self {
        Self {
            prepared: Mutex::default(),
            failures: Mutex::default(),
            gate: watch::Sender::new(true),
            waiting: watch::Sender::new(0),
            panics: Mutex::default(),
        }
    }
}

struct Waiting<'a>(&'a watch::Sender<usize>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

impl Activator for FakeActivator {
    fn prepare(&self, release: ReleaseSpec) -> BoxFuture<'_, Result<(), ActivationError>> {
        Box::pin(async move {
            assert!(!*self.panics.lock().unwrap(), "asked to panic");
            self.waiting.send_modify(|n| *n += 1);
            let waiting = Waiting(&self.waiting);
            self.gate.subscribe().wait_for(|open| *open).await.unwrap();
            drop(waiting);
            if let Some(why) = self.failures.lock().unwrap().get(&release.route.digest) {
                return Err(ActivationError::new("compile.failed", why.clone()));
            }
            self.prepared.lock().unwrap().push(release);
            Ok(())
        })
    }
}

/// Remembers the tables that were published.
#[derive(Default)]
pub struct FakePublisher(pub Mutex<Vec<Vec<Arc<RouteEntry>>>>);

impl RoutePublisher for FakePublisher {
    fn publish(&self, routes: Vec<Arc<RouteEntry>>) -> BoxFuture<'_, ()> {
        self.0.lock().unwrap().push(routes);
        Box::pin(std::future::ready(()))
    }
}

impl FakePublisher {
    /// What is served: hosts and digests.
    pub fn now(&self) -> BTreeMap<String, Digest> {
        let tables = self.0.lock().unwrap();
        let table = tables.last().into_iter().flatten();
        table.flat_map(|e| e.hosts.iter().map(|host| (host.clone(), e.digest))).collect()
    }
}

/// Remembers the keys that were set.
#[derive(Default)]
pub struct FakeData(pub Mutex<BTreeMap<(String, String), Vec<u8>>>);

impl GuestData for FakeData {
    fn set_key_value<'a>(
        &'a self,
        store: StoreAddress,
        key: &'a str,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), GuestDataError>> {
        let result = if key == "refused" {
            Err(GuestDataError::Refused("the store is full".to_owned()))
        } else {
            let key = (store.store.to_string(), key.to_owned());
            self.0.lock().unwrap().insert(key, value);
            Ok(())
        };
        Box::pin(std::future::ready(result))
    }
}

/// A platform without a node.
pub struct Platform {
    pub dir: TempDir,
    pub clock: Clock,
    pub activator: Arc<FakeActivator>,
    pub publisher: Arc<FakePublisher>,
    pub data: Arc<FakeData>,
    pub db: Db,
    pub blobs: Blobs,
    pub logs: AppLogs,
    pub control: Arc<Control>,
    pub admin_token: Secret<String>,
    pub admin: Actor,
}

pub const DOMAIN: &str = "gyre.test";

pub async fn platform() -> Platform {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp::from_second(1_800_000_000).unwrap());
    open(dir, clock, Arc::default(), None).await
}

/// The same folder, in a new process as it were.
pub async fn reopened(platform: Platform) -> Platform {
    let Platform { dir, clock, control, db, logs, admin_token, .. } = platform;
    control.stop().await;
    db.close().await;
    logs.close().await;
    open(dir, clock, Arc::default(), Some(admin_token)).await
}

async fn open(
    dir: TempDir,
    clock: Clock,
    activator: Arc<FakeActivator>,
    token: Option<Secret<String>>,
) -> Platform {
    let at = |name: &str| -> PathBuf { dir.path().join(name) };
    let db = Db::open_sqlite(&at("gyre.db")).await.unwrap();
    let blobs = Blobs::folder(&at("blobs")).unwrap();
    let config = LogsConfig { clock: Clock::System, ..LogsConfig::default() };
    let logs = AppLogs::open(&at("logs"), config).unwrap();
    let publisher = Arc::new(FakePublisher::default());
    let data = Arc::new(FakeData::default());
    let control = Control::new(Parts {
        db: db.clone(),
        blobs: blobs.clone(),
        keyring: Arc::new(Keyring::open(&at("keys")).unwrap()),
        logs: logs.clone(),
        clock: clock.clone(),
        activator: activator.clone(),
        publisher: publisher.clone(),
        data: data.clone(),
        config: ControlConfig {
            domain: DOMAIN.to_owned(),
            apps_domain: "apps.test".to_owned(),
            public_scheme: "http".to_owned(),
            public_port: Some(8000),
            bindles: gyre_control::BindlePolicy::default(),
        },
    });
    let new = control.bootstrap(|_| Ok(())).await.unwrap();
    assert_eq!(new.is_some(), token.is_none(), "only the first start makes a token");
    let admin_token = new.or(token).unwrap();
    control.start().await.unwrap();
    let admin = control.authenticate(admin_token.expose(), None).await.unwrap();
    Platform {
        dir,
        clock,
        activator,
        publisher,
        data,
        db,
        blobs,
        logs,
        control,
        admin_token,
        admin,
    }
}

impl Platform {
    /// Another account, and a token of it.
    pub async fn stranger(&self, name: &str) -> (Actor, Secret<String>) {
        let account = self.control.create_account(name, false).await.unwrap();
        let (_, token) = self.control.issue_token(account.id, "test", None).await.unwrap();
        (self.control.authenticate(token.expose(), None).await.unwrap(), token)
    }

    /// Pushes an artifact as a client would and returns the manifest's digest.
    pub async fn push(
        &self,
        actor: &Actor,
        repository: &str,
        artifact: &Artifact,
        tag: &str,
    ) -> Digest {
        for blob in &artifact.blobs {
            let mut upload = self.control.begin_upload(actor, repository).await.unwrap();
            upload.append(blob).await.unwrap();
            let digest = Digest::of(blob);
            self.control.finish_upload(actor, upload, &digest).await.unwrap();
        }
        let reference = Reference::Tag(tag.to_owned());
        let manifest = artifact.manifest.clone();
        self.control
            .put_manifest(actor, repository, &reference, oci::MANIFEST, manifest)
            .await
            .unwrap()
    }

    /// Makes the app `hello` and pushes an artifact of it.
    pub async fn pushed(&self, artifact: &Artifact) -> Digest {
        self.control.ensure_app(&self.admin, "hello", None).await.unwrap();
        self.push(&self.admin, "hello", artifact, "0.1.0").await
    }

    /// Pushes and releases `hello`; returns the release as it was made.
    pub async fn release(&self, artifact: &Artifact) -> ReleaseView {
        let digest = self.pushed(artifact).await;
        let new = NewRelease::of(Source::Digest(digest));
        self.control.create_release(&self.admin, &hello(), new).await.unwrap()
    }

    /// Pushes, releases and waits.
    pub async fn deploy(&self, artifact: &Artifact) -> ReleaseView {
        let release = self.release(artifact).await;
        self.wait(&release).await
    }

    pub async fn wait(&self, release: &ReleaseView) -> ReleaseView {
        self.control.wait_for_release(&self.admin, &hello(), release.id, SOON).await.unwrap()
    }
}

pub fn hello() -> AppRef {
    AppRef::Name("hello".to_owned())
}

/// An application, packed.
pub struct Artifact {
    pub manifest: Vec<u8>,
    /// Code, locked app, config.
    pub blobs: Vec<Vec<u8>>,
}

/// An application of one component whose code is `code`; `more` goes into its locked app.
pub fn artifact(code: &str, more: Value) -> Artifact {
    annotated(code, more, BTreeMap::new())
}

pub fn annotated(code: &str, more: Value, annotations: BTreeMap<String, String>) -> Artifact {
    let code = code.as_bytes().to_vec();
    let digest = Digest::of(&code);
    let mut locked = json!({
        "spin_lock_version": 0,
        "metadata": { "name": "hello", "version": "0.1.0", "trigger": { "type": "http" } },
        "triggers": [{
            "id": "http-1",
            "trigger_type": "http",
            "trigger_config": { "component": "hello", "route": "/..." },
        }],
        "components": [{
            "id": "hello",
            "metadata": { "key_value_stores": ["default"], "databases": ["default"] },
            "source": { "content_type": "application/wasm", "digest": digest.to_string() },
        }],
    });
    for (key, value) in more.as_object().unwrap() {
        locked[key] = value.clone();
    }
    let locked = serde_json::to_vec(&locked).unwrap();
    let config = ImageConfig::of_locked_app(Digest::of(&locked)).to_bytes();
    let layer = |kind, bytes: &[u8]| Descriptor::new(kind, Digest::of(bytes), bytes.len() as u64);
    let layers = vec![layer(oci::WASM, &code), layer(oci::LOCKED_APP, &locked)];
    let manifest = Manifest::new(layer(oci::CONFIG, &config), layers, annotations);
    Artifact { manifest: manifest.to_bytes(), blobs: vec![code, locked, config] }
}

/// An application that needs nothing.
pub fn plain(code: &str) -> Artifact {
    artifact(code, json!({}))
}

/// An application that needs the variable `greeting`.
pub fn needs_greeting(code: &str) -> Artifact {
    artifact(code, json!({ "variables": { "greeting": {}, "place": { "default": "world" } } }))
}
