//! Components made by hand, linked and run.

use wasmtime::{Config, Engine, Store, component::Component};

use super::*;

const EVERYTHING: &str = include_str!("everything.wat");
const KEY_VALUE: &str = include_str!("key_value.wat");

fn linker() -> (Engine, Linker<HostState>) {
    let mut config = Config::new();
    config.wasm_component_model(true);
    let engine = Engine::new(&config).unwrap();
    let mut linker = Linker::new(&engine);
    crate::host::add_to_linker(&mut linker).unwrap();
    add_to_linker(&mut linker).unwrap();
    (engine, linker)
}

async fn run(fixture: &Fixture) -> u32 {
    let (engine, linker) = linker();
    let component = Component::new(&engine, KEY_VALUE).unwrap();
    let mut store = Store::new(&engine, fixture.host());
    let instance = linker.instantiate_async(&mut store, &component).await.unwrap();
    let run = instance.get_typed_func::<(), (u32,)>(&mut store, "run").unwrap();
    run.call_async(&mut store, ()).await.unwrap().0
}

#[test]
fn a_component_that_imports_every_interface_as_published_is_linked() {
    let (engine, linker) = linker();
    let component = Component::new(&engine, EVERYTHING).unwrap();
    linker.instantiate_pre(&component).unwrap();
}

#[tokio::test]
async fn a_guest_reads_what_it_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(&json!({"key_value_stores": ["default"]})).with_data(dir.path());
    assert_eq!(run(&fixture).await, u32::from(b'v'));
}

#[tokio::test]
async fn a_guest_without_the_store_fails_to_open_it() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run(&Fixture::new(&json!({})).with_data(dir.path())).await, 1001);
}
