//! The interfaces of PostgreSQL, MySQL and language models are linked: the asynchronous functions where the engine has
//! them, the others everywhere.

use std::path::Path;

use wasmtime::component::Component;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use crate::{engine::Abi, testing::runtime};

fn interfaces() -> Resolve {
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")).unwrap();
    resolve
}

/// A component that imports every function of those interfaces.
fn component(mut resolve: Resolve, imports: &[&str]) -> Vec<u8> {
    let imports = imports.join("; import ");
    let world = format!("package gyre:test; world everything {{ import {imports}; }}");
    let package = resolve.push_str("everything.wit", &world).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

fn is_linked(component: &[u8], abi: Abi) -> bool {
    let runtime = runtime();
    let host = runtime.host(abi).unwrap();
    Component::new(&host.engine, component).is_ok_and(|it| host.linker.instantiate_pre(&it).is_ok())
}

const SYNCHRONOUS: &[&str] = &[
    "spin:postgres/postgres@3.0.0",
    "fermyon:spin/postgres@2.0.0",
    "fermyon:spin/postgres",
    "fermyon:spin/mysql@2.0.0",
    "fermyon:spin/mysql",
    "fermyon:spin/llm@2.0.0",
    "fermyon:spin/llm",
];

#[test]
fn synchronous_functions_are_linked_on_both_engines() {
    let older = component(interfaces(), SYNCHRONOUS);
    assert!(is_linked(&older, Abi::Sync));
    assert!(is_linked(&older, Abi::Async));
    // As 4.0 and 4.1 have it.
    let newest = fs_err::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../wit/deps/spin-postgres-4.2.0/postgres.wit"),
    )
    .unwrap();
    for version in ["4.0.0", "4.1.0"] {
        let is_there = |line: &&str| {
            let is_builder =
                ["constructor", "set-ca-root", "build:"].iter().any(|it| line.contains(it));
            !line.contains("async func") && (version != "4.0.0" || !is_builder)
        };
        let text: Vec<_> = newest.lines().filter(is_there).collect();
        let text = text.join("\n").replace("postgres@4.2.0", &format!("postgres@{version}"));
        let mut resolve = Resolve::default();
        resolve.push_str("postgres.wit", &text).unwrap();
        let older = component(resolve, &[&format!("spin:postgres/postgres@{version}")]);
        assert!(is_linked(&older, Abi::Sync), "{version}");
        assert!(is_linked(&older, Abi::Async), "{version}");
    }
}

#[test]
fn asynchronous_functions_are_linked_where_they_can_be() {
    for import in ["spin:postgres/postgres@4.2.0", "spin:mysql/mysql@3.0.0"] {
        let component = component(interfaces(), &[import]);
        assert!(is_linked(&component, Abi::Async), "{import}");
        assert!(!is_linked(&component, Abi::Sync), "{import}");
    }
}
