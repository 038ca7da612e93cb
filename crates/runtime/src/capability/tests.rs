//! The capabilities against real stores, real sockets and a log that is read back. Loopback only.

mod data;
mod grants;
mod http;
mod http_hostile;
mod linking;
mod outbound;
mod sockets;
mod tls;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, Weak},
};

use gyre_data::{Databases, KeyValueStores, Location};
use gyre_model::{Application, Limits, LogEntry, LogShape, LogSink, LogStream, Settings};
use serde_json::{Value, json};

use super::*;
use crate::{call::CallState, host::HostState, spec::SelfOrigin};

/// What was logged.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl LogSink for Log {
    fn shape(&self) -> LogShape {
        LogShape::Lines { max_bytes: 1 << 14 }
    }
    fn write(&self, entry: LogEntry) {
        assert_eq!(entry.stream, LogStream::Host);
        assert_eq!(&*entry.component, "a");
        self.0.lock().unwrap().push(String::from_utf8(entry.bytes.to_vec()).unwrap());
    }
}

/// An app with a component `a` and a component `b`, as the node would register it.
pub(super) struct Fixture {
    pub(super) spec: AppSpec,
    application: Application,
    log: Arc<Log>,
}

impl Fixture {
    /// `metadata` is that of component `a`.
    pub(super) fn new(metadata: &Value) -> Self {
        let source = json!({"content_type": "application/wasm", "source": "file:///a.wasm"});
        let locked = json!({
            "spin_lock_version": 1,
            "metadata": {"name": "test"},
            "variables": {
                "greeting": {"default": "hi"}, "needed": {}, "port": {"default": "1"},
            },
            "triggers": [],
            "components": [
                {"id": "a", "source": source, "metadata": metadata,
                 "config": {"said": "{{ greeting }}!", "lacking": "{{ needed }}"}},
                {"id": "b", "source": source},
            ],
        });
        let application = Application {
            locked: serde_json::from_value(locked).unwrap(),
            settings: Settings::default(),
            wasm: BTreeMap::new(),
            mounts: BTreeMap::new(),
        };
        let log = Arc::new(Log::default());
        let spec = AppSpec {
            log: log.clone(),
            ..AppSpec::new("test", Arc::new(|| Err("not loaded by these tests".into())))
        };
        Self { spec, application, log }
    }

    /// That may connect to those hosts.
    pub(super) fn with_hosts(hosts: &[&str]) -> Self {
        Self::new(&json!({"allowed_outbound_hosts": hosts}))
    }

    fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.spec.limits);
        self
    }

    fn blocked(mut self) -> Self {
        self.spec.block_private_networks = true;
        self
    }

    fn with_origin(mut self, origin: SelfOrigin) -> Self {
        self.spec.self_origin = Some(origin);
        self
    }

    /// With a store and a database, both called `default`.
    fn with_data(mut self, dir: &Path) -> Self {
        let limits = &self.spec.limits;
        let store = KeyValueStores::new().open(
            &Location::file(dir.join("kv.db")),
            "default",
            limits.into(),
        );
        let database = Databases::new().open(&Location::file(dir.join("data.db")), limits.into());
        self.spec.data = DataGrants::default()
            .with_key_value("default", store)
            .with_database("default", database);
        self
    }

    fn grants(&self) -> Result<Grants, GrantError> {
        Grants::resolve(&self.spec, &self.application, &self.application.locked.components[0])
    }

    pub(super) fn origin(&self) -> Origin {
        let app = AppContext {
            name: "test".into(),
            limits: self.spec.limits.clone(),
            log: self.spec.log.clone(),
            variables: self.spec.variables.clone(),
            self_origin: self.spec.self_origin.clone(),
            shared: AppShared::new(&self.spec),
            app: Weak::new(),
        };
        let component = ComponentContext {
            id: "a".into(),
            grants: self.grants().unwrap(),
            env: Vec::new(),
            mounts: Vec::new(),
        };
        Origin {
            app: Arc::new(app),
            component: Arc::new(component),
            call: CallContext::default(),
            trace: InstanceTrace::default(),
        }
    }

    pub(super) fn host(&self) -> HostState {
        let origin = self.origin();
        let state = Arc::new(CallState::new());
        HostState::new(origin.app, origin.component, origin.call, state)
    }

    fn logged(&self) -> Vec<String> {
        self.log.0.lock().unwrap().clone()
    }
}
