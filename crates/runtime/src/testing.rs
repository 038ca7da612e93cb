//! What the tests of this crate share: guests made of a few lines of WebAssembly text, apps made of them, a log that
//! can be read, and clients.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use bytes::Bytes;
use gyre_model::{
    Application, BoxError, Connection, Digest, Limits, LogEntry, LogShape, LogSink, LogStream,
    Mount, RequestId, Settings, WasmFile,
};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use crate::{App, AppSpec, GuestBody, Runtime, RuntimeConfig};

const SHELL: &str = include_str!("testing/guest.wat");

/// A guest that answers 200 and `hello`.
pub(crate) const HELLO: &str = r#"
    (data (i32.const 1024) "hello")
    (func (export "handle") (param $request i32) (param $out i32)
      (call $respond (local.get $out) (i32.const 200) (i32.const 1024) (i32.const 5)))"#;

/// A component whose module is the library of `guest.wat` and `body`.
pub(crate) fn guest(body: &str) -> Vec<u8> {
    wat::parse_str(SHELL.replace(";; BODY", body)).expect("the guest is valid")
}

/// A component of WASI 0.3 that does what the path's first letter says; each is explained where it is done.
pub(crate) const GUEST_03: &str = include_str!("testing/guest03.wat");

/// One runtime for all tests: apps share nothing that a test could see.
pub(crate) fn runtime() -> Arc<Runtime> {
    static RUNTIME: LazyLock<Arc<Runtime>> = LazyLock::new(|| {
        let config = RuntimeConfig { instances: 50, ..RuntimeConfig::default() };
        Runtime::new(config).expect("the engine starts")
    });
    RUNTIME.clone()
}

/// Keeps what is logged.
#[derive(Default)]
pub(crate) struct Log {
    lines: Mutex<Vec<(LogStream, String, Option<RequestId>)>>,
}

impl LogSink for Log {
    fn shape(&self) -> LogShape {
        LogShape::Lines { max_bytes: 1000 }
    }

    fn write(&self, entry: LogEntry) {
        let text = String::from_utf8_lossy(&entry.bytes).into_owned();
        self.lines.lock().unwrap().push((entry.stream, text, entry.request));
    }
}

impl Log {
    /// The lines of a stream so far.
    pub(crate) fn of(&self, stream: LogStream) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|(of, ..)| *of == stream).map(|(_, text, _)| text.clone()).collect()
    }

    /// The requests that the lines of a stream belong to.
    pub(crate) fn requests(&self, stream: LogStream) -> Vec<Option<RequestId>> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|(of, ..)| *of == stream).map(|(.., request)| *request).collect()
    }

    /// What the host said, in one text.
    pub(crate) fn host(&self) -> String {
        self.of(LogStream::Host).join("\n")
    }
}

/// Makes an app out of guests.
pub(crate) struct Builder {
    triggers: Vec<Value>,
    components: Vec<Value>,
    wasm: BTreeMap<String, WasmFile>,
    mounts: BTreeMap<String, Vec<Mount>>,
    dir: tempfile::TempDir,
    pub(crate) limits: Limits,
    pub(crate) env: BTreeMap<String, String>,
}

/// An app, its log, and the folder it is in.
pub(crate) struct TestApp {
    pub(crate) app: Arc<App>,
    pub(crate) log: Arc<Log>,
    _dir: tempfile::TempDir,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            triggers: Vec::new(),
            components: Vec::new(),
            wasm: BTreeMap::new(),
            mounts: BTreeMap::new(),
            dir: tempfile::tempdir().unwrap(),
            limits: Limits::unlimited(),
            env: BTreeMap::new(),
        }
    }

    /// A component that is called for `/...`.
    pub(crate) fn only(body: &str) -> Self {
        Self::new().component("only", &json!("/..."), &guest(body))
    }

    pub(crate) fn component(self, id: &str, route: &Value, wasm: &[u8]) -> Self {
        self.source(id, wasm).trigger(&json!({ "component": id, "route": route }))
    }

    /// A component that is run as a program.
    pub(crate) fn program(self, id: &str, route: &str, wasm: &[u8]) -> Self {
        let executor = json!({ "type": "wagi" });
        let trigger = json!({ "component": id, "route": route, "executor": executor });
        self.source(id, wasm).trigger(&trigger)
    }

    /// A component that nothing calls.
    pub(crate) fn source(mut self, id: &str, wasm: &[u8]) -> Self {
        let path = self.dir.path().join(format!("{id}.wasm"));
        fs_err::write(&path, wasm).unwrap();
        self.wasm.insert(id.to_owned(), WasmFile { path, digest: Digest::of(wasm) });
        self.components.push(json!({
            "id": id,
            "source": { "content_type": "application/wasm", "digest": "sha256:0" },
            "env": { "FROM": "manifest", "OTHER": "x" },
        }));
        self
    }

    /// Where the last component may connect to.
    pub(crate) fn hosts(mut self, hosts: &[String]) -> Self {
        let component = self.components.last_mut().expect("a component is there");
        component["metadata"] = json!({ "allowed_outbound_hosts": hosts });
        self
    }

    pub(crate) fn trigger(mut self, config: &Value) -> Self {
        let id = format!("trigger-{}", self.triggers.len());
        self.triggers.push(json!({ "id": id, "trigger_type": "http", "trigger_config": config }));
        self
    }

    pub(crate) fn mount(mut self, component: &str, mount: Mount) -> Self {
        self.mounts.entry(component.to_owned()).or_default().push(mount);
        self
    }

    pub(crate) fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// The application as such, and the folder that it is in.
    pub(crate) fn application(self) -> (Application, tempfile::TempDir) {
        let locked = json!({
            "spin_lock_version": 0,
            "metadata": { "name": "test", "version": "1.2.3" },
            "triggers": self.triggers,
            "components": self.components,
        });
        let application = Application {
            locked: serde_json::from_value(locked).unwrap(),
            settings: Settings::default(),
            wasm: self.wasm,
            mounts: self.mounts,
        };
        (application, self.dir)
    }

    pub(crate) fn build(self) -> TestApp {
        self.build_with(&runtime(), |spec| spec)
    }

    pub(crate) fn build_with(
        mut self,
        runtime: &Arc<Runtime>,
        change: impl FnOnce(AppSpec) -> AppSpec,
    ) -> TestApp {
        let log = Arc::new(Log::default());
        let (limits, env) = (self.limits.clone(), std::mem::take(&mut self.env));
        let (application, dir) = self.application();
        let application = Arc::new(application);
        let spec = AppSpec::new("test", Arc::new(move || Ok(application.clone())));
        let spec = AppSpec { log: log.clone(), limits, env, ..spec };
        TestApp { app: runtime.app(change(spec)), log, _dir: dir }
    }
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
    /// Whether the response ended as it should.
    pub(crate) is_whole: bool,
}

pub(crate) fn connection() -> Connection {
    Connection {
        peer: ([192, 0, 2, 7], 4711).into(),
        local: ([127, 0, 0, 1], 80).into(),
        is_tls: false,
    }
}

/// A body that is all there.
pub(crate) fn full(
    text: &str,
) -> impl http_body::Body<Data = Bytes, Error = BoxError> + Send + Unpin + use<> {
    Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {})
}

pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(format!("http://example.com{path}")).body(()).unwrap()
}

impl TestApp {
    pub(crate) async fn begin(&self, request: Request<()>) -> Response<GuestBody> {
        self.app.call(request.map(|()| full("")), connection()).await
    }

    pub(crate) async fn send(&self, request: Request<()>) -> Got {
        collect(self.begin(request).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        self.send(get(path)).await
    }
}

/// Reads a response to its end.
pub(crate) async fn collect(response: Response<GuestBody>) -> Got {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let is_whole = loop {
        match body.frame().await {
            None => break true,
            Some(Err(_)) => break false,
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
        }
    };
    let text = String::from_utf8(bytes).unwrap();
    Got { status: head.status.as_u16(), headers: head.headers, text, is_whole }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never became so: {what}");
}
