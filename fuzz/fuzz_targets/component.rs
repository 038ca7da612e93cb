//! A component, or a module that becomes one, as a stranger deploys it: adapted and compiled, or refused.
#![no_main]

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use gyre_model::{Application, Digest, Settings, WasmFile};
use gyre_runtime::{Runtime, RuntimeConfig};
use libfuzzer_sys::fuzz_target;

static RUNTIME: LazyLock<Arc<Runtime>> = LazyLock::new(|| {
    Runtime::new(RuntimeConfig { is_pooling: false, ..RuntimeConfig::default() })
        .expect("the engine starts")
});

fuzz_target!(|bytes: &[u8]| {
    // Text is tried as WebAssembly's, so that a mutation need not keep lengths right.
    let wasm = match std::str::from_utf8(bytes).ok().and_then(|text| wat::parse_str(text).ok()) {
        Some(wasm) => wasm,
        None => bytes.to_vec(),
    };
    let Ok(component) = gyre_adapt::adapt(wasm.clone()) else { return };
    gyre_adapt::is_async(&component);
    let mut file = tempfile::NamedTempFile::new().expect("there is a temporary folder");
    std::io::Write::write_all(&mut file, &wasm).expect("it can be written to");
    let wasm = WasmFile { path: file.path().to_owned(), digest: Digest::of(&wasm) };
    let locked = r#"{"spin_lock_version":1,"metadata":{"name":"x"},"triggers":[],"components":[]}"#;
    let application = Application {
        locked: serde_json::from_str(locked).expect("it is valid"),
        settings: Settings::default(),
        wasm: BTreeMap::from([("x".to_owned(), wasm)]),
        mounts: BTreeMap::new(),
    };
    let _ = RUNTIME.compile(&application, &|_| {});
});
