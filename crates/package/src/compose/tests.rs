//! Components of text are composed; what comes out is looked at from outside. That it runs, and refuses as it
//! should, is for the tests of the whole binary.

use std::{collections::BTreeSet, fmt::Write as _, path::Path};

use gyre_model::locked::LockedDependency;
use serde_json::json;
use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding};
use wit_parser::{
    LiftLowerAbi, ManglingAndAbi, Resolve, WasmImport, WorldItem, WorldKey, abi::AbiVariant,
};

use super::*;
use crate::testing::{Folder, chain};

const GREETS: &str = r#"(component
  (component $greet
    (core module $m (func (export "f") (result i32) i32.const 42))
    (core instance $i (instantiate $m))
    (func $f (result u32) (canon lift (core func $i "f")))
    (export "greet" (func $f)))
  (instance $i (instantiate $greet))
  (export "test:dep/greeter@1.0.0" (instance $i)))"#;

const ASKS: &str = r#"(component
  (import "test:dep/greeter@1.0.0" (instance $greeter (export "greet" (func (result u32)))))
  (alias export $greeter "greet" (func $greet))
  (export "run" (func $greet)))"#;

fn compile(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// The names of what a component imports and exports.
fn outside(component: &[u8]) -> (BTreeSet<String>, BTreeSet<String>) {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component).unwrap() else {
        panic!("it is no component")
    };
    let world = &resolve.worlds[world];
    let name = |key: &WorldKey| resolve.name_world_key(key);
    (world.imports.keys().map(name).collect(), world.exports.keys().map(name).collect())
}

fn part(name: &str, text: &str) -> graph::Part {
    graph::Part { name: name.parse().unwrap(), bytes: compile(text), export: None }
}

#[test]
fn a_dependency_takes_the_place_of_an_import() {
    for name in ["test:dep", "test:dep/greeter", "test:dep@1.0.0", "test:dep/greeter@1.0.0"] {
        let composed =
            graph::with_dependencies("a", compile(ASKS), vec![part(name, GREETS)]).unwrap();
        let (imports, exports) = outside(&composed);
        assert_eq!(imports, BTreeSet::new(), "{name}");
        assert_eq!(exports, BTreeSet::from(["run".to_owned()]));
    }
}

#[test]
fn what_does_not_fit_is_refused_in_spins_words() {
    let compose = |parts| {
        let err = graph::with_dependencies("a", compile(ASKS), parts).unwrap_err();
        err.to_string()
    };
    assert_eq!(
        compose(vec![part("test:other", GREETS)]),
        "dependency 'test:other' doesn't match any imports of component 'a'"
    );
    assert_eq!(
        compose(vec![part("test:dep", GREETS), part("test:dep/greeter", GREETS)]),
        "component 'a' has dependency conflicts: import 'test:dep/greeter@1.0.0' satisfied by dependencies: \
         'test:dep, test:dep/greeter'"
    );
    assert_eq!(
        compose(vec![part("test:dep", "(component)")]),
        "dependency 'test:dep' doesn't export 'test:dep/greeter@1.0.0' to satisfy import 'test:dep/greeter@1.0.0'"
    );
    let named = graph::Part { export: Some("nope".into()), ..part("test:dep", GREETS) };
    assert_eq!(
        compose(vec![named]),
        "dependency 'test:dep' doesn't export 'nope' to satisfy import 'test:dep/greeter@1.0.0'"
    );
    let other_type = GREETS.replace("(result u32)", "(result s32)");
    let incompatible = compose(vec![part("test:dep", &other_type)]);
    assert!(
        incompatible.starts_with(
            "dependency 'test:dep' exports 'test:dep/greeter@1.0.0' which is not compatible with import \
             'test:dep/greeter@1.0.0'"
        ),
        "{incompatible}"
    );
}

#[test]
fn an_export_of_another_name_can_be_chosen() {
    let greets = GREETS.replace("test:dep/greeter@1.0.0", "test:else/greeter@2.0.0");
    let chosen =
        graph::Part { export: Some("test:else/greeter@2.0.0".into()), ..part("test:dep", &greets) };
    let composed = graph::with_dependencies("a", compile(ASKS), vec![chosen]).unwrap();
    assert_eq!(outside(&composed).0, BTreeSet::new());
}

#[test]
fn middleware_stands_before_the_handler_and_before_other_middleware() {
    let handler = |inner: &str, export: &str| {
        format!(
            r#"(component {inner}
              (component $c
                (core module $m (func (export "f")))
                (core instance $i (instantiate $m))
                (func $f (canon lift (core func $i "f")))
                (export "handle" (func $f)))
              (instance $i (instantiate $c))
              (export "{export}" (instance $i)))"#
        )
    };
    let import = r#"(import "wasi:http/handler@0.3.0" (instance (export "handle" (func))))"#;
    let innermost = compile(&handler("", "wasi:http/handler@0.3.0"));
    let middle = compile(&handler(import, "wasi:http/handler@0.3.0"));
    let composed =
        graph::with_middleware("a", innermost.clone(), vec![middle.clone(), middle.clone()]);
    let (imports, exports) = outside(&composed.unwrap());
    assert_eq!(imports, BTreeSet::new());
    assert_eq!(exports, BTreeSet::from(["wasi:http/handler@0.3.0".to_owned()]));

    let refused = |component: &[u8], middleware: &[u8]| {
        let middleware = vec![middle.clone(), middleware.to_owned()];
        graph::with_middleware("a", component.to_owned(), middleware).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&compile("(component)"), &middle),
        "component 'a' has middleware but does not export 'wasi:http/handler' (WASI 0.3)"
    );
    assert_eq!(
        refused(&innermost, &innermost),
        "middleware 2 of component 'a' does not import 'wasi:http/handler@0.3.0'"
    );
    let other = compile(&handler(import, "wasi:http/handler@0.3.0-rc-2026-03-15"));
    assert_eq!(
        refused(&innermost, &other),
        "middleware 2 of component 'a' does not export 'wasi:http/handler@0.3.0'"
    );
}

/// A component that imports every function of an interface, and calls none.
fn importer(resolve: &mut Resolve, interface: &str) -> Vec<u8> {
    let path = interface.replace('/', "/%");
    let text = format!("package t:importer;\nworld w {{ import {path}; }}");
    let mut resolve = resolve.clone();
    let package = resolve.push_source("t.wit", &text).unwrap();
    let world = resolve.packages[package].worlds["w"];
    let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let mut module = "(module\n".to_owned();
    for (key, item) in &resolve.worlds[world].imports {
        let WorldItem::Interface { id, .. } = item else { continue };
        for func in resolve.interfaces[*id].functions.values() {
            let (from, name) =
                resolve.wasm_import_name(abi, WasmImport::Func { interface: Some(key), func });
            let signature = resolve.wasm_signature(AbiVariant::GuestImport, func);
            let types = |kind: &str, types: &[wit_parser::abi::WasmType]| -> String {
                types.iter().fold(String::new(), |mut text, ty| {
                    let _ = write!(text, " ({kind} {})", deny::core_type(*ty));
                    text
                })
            };
            let (params, results) =
                (types("param", &signature.params), types("result", &signature.results));
            let _ = writeln!(module, "(import \"{from}\" \"{name}\" (func{params}{results}))");
        }
    }
    module.push_str(
        "(memory (export \"memory\") 1)
         (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable))",
    );
    let mut module = compile(&module);
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

#[test]
fn every_interface_of_every_capability_can_be_denied() {
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    resolve.push_path(folder).unwrap();
    let none = Inherited::Sets(Vec::new());
    let names: Vec<String> = resolve
        .interfaces
        .iter()
        .filter(|(_, interface)| interface.name.is_some() && interface.package.is_some())
        .filter_map(|(id, _)| resolve.id_of(id))
        .filter(|name| none.denies(name))
        .collect();
    assert!(names.len() >= 25, "{names:?}");
    for name in &names {
        let component = importer(&mut resolve, name);
        assert!(outside(&component).0.contains(name), "{name}");
        let confined = graph::confine("d", component.clone(), &none);
        let confined = confined.unwrap_or_else(|err| panic!("{name}: {err}"));
        let left: Vec<_> = outside(&confined).0.into_iter().filter(|it| none.denies(it)).collect();
        assert_eq!(left, Vec::<String>::new(), "{name}");
        let all = graph::confine("d", component.clone(), &Inherited::All).unwrap();
        assert_eq!(all, component, "{name}");
    }
}

fn inheriting(path: &Path, inherit: serde_json::Value) -> LockedDependency {
    LockedDependency {
        source: gyre_model::locked::LockedSource {
            content_type: "application/wasm".into(),
            content: artifact::local_content(path, None),
        },
        export: None,
        inherit,
    }
}

#[tokio::test]
async fn an_application_is_composed_once_and_has_no_dependencies_then() {
    let folder =
        Folder::of_one("[component.a.dependencies]\n\"test:dep\" = { path = \"d.wasm\" }\n")
            .write("app/a.wasm", compile(ASKS))
            .write("app/d.wasm", compile(GREETS));
    let mut app = folder.load().await.unwrap();
    assert_eq!(app.locked.components[0].dependencies.len(), 1);
    compose(&mut app, &folder.path("cache")).unwrap();
    assert_eq!(app.locked.components[0].dependencies.len(), 0);
    let first = app.wasm["a"].clone();
    assert_eq!(outside(&fs_err::read(&first.path).unwrap()).0, BTreeSet::new());
    assert_eq!(Digest::of(fs_err::read(&first.path).unwrap()), first.digest);

    let written = || fs_err::metadata(&first.path).unwrap().modified().unwrap();
    let before = written();
    let mut again = folder.load().await.unwrap();
    compose(&mut again, &folder.path("cache")).unwrap();
    assert_eq!((&again.wasm["a"], written()), (&first, before));
}

#[tokio::test]
async fn limits_hold() {
    let folder = Folder::of_one("").write("app/d.wasm", "\0asm");
    let mut app = folder.load().await.unwrap();
    let dependency = inheriting(&folder.path("app/d.wasm"), json!("All"));
    for index in 0..=limits::DEPENDENCIES {
        let name = format!("test:d{index}");
        app.locked.components[0].dependencies.insert(name, dependency.clone());
    }
    let err = compose(&mut app, &folder.path("cache")).unwrap_err();
    assert_eq!(chain(&err), ["component 'a' has 65 dependencies; at most 64 are allowed"]);
}

#[tokio::test]
async fn triggers_with_the_same_component_have_their_own_middleware() {
    let folder = Folder::new(
        "spin_manifest_version = 2\n[application]\nname = \"hello\"\n\
         [[trigger.http]]\nroute = \"/plain\"\ncomponent = \"a\"\n\
         [[trigger.http]]\nid = \"one\"\nroute = \"/one\"\ncomponent = \"a\"\n\
         dependencies.middleware = [{ path = \"m.wasm\" }, { component = \"m\" }]\n\
         [component.a]\nsource = \"a.wasm\"\n[component.m]\nsource = \"m2.wasm\"\n",
    )
    .write("app/a.wasm", "a")
    .write("app/m.wasm", "m")
    .write("app/m2.wasm", "m2");
    let app = folder.load().await.unwrap();
    let ids: Vec<_> = app.locked.components.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["a", "m", "a-for-one"]);
    assert_eq!(app.locked.triggers[0].trigger_config["component"], "a");
    assert_eq!(app.locked.triggers[1].trigger_config["component"], "a-for-one");
    let clone = &app.locked.components[2];
    assert_eq!(app.wasm["a-for-one"], app.wasm["a"]);
    assert_eq!(clone.metadata[lock::RESOLVE_USING], "http");
    assert_eq!(clone.host_requirements["middleware"], "required");
    assert_eq!(app.locked.spin_lock_version, 1);
    let sources: Vec<_> = clone.trigger_dependencies["middleware"]
        .iter()
        .map(|one| local_path(one).unwrap().file_name().unwrap().to_owned())
        .collect();
    assert_eq!(sources, ["m.wasm", "m2.wasm"]);
    assert!(app.locked.components[0].trigger_dependencies.is_empty());
    assert!(app.locked.triggers[1].trigger_dependencies.is_empty());
}

#[test]
fn the_interfaces_of_dependencies_are_written_as_wit() {
    let dependency = |name: &str, text: &str| (name.parse().unwrap(), compile(text));
    let other = GREETS.replace("test:dep/greeter@1.0.0", "test:else/greeter@2.0.0");
    let text = dependencies_wit(&[
        dependency("test:dep", GREETS),
        dependency("test:else/greeter", &other),
    ])
    .unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_source("spin-dependencies.wit", &text).unwrap();
    let world = &resolve.worlds[resolve.packages[package].worlds["root"]];
    let imports: Vec<_> = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
    assert_eq!(imports, ["test:dep/greeter@1.0.0", "test:else/greeter@2.0.0"], "{text}");
    assert!(text.contains("greet: func() -> u32"), "{text}");

    let err = dependencies_wit(&[dependency("test:dep/other", GREETS)]).unwrap_err();
    assert_eq!(err, "dependency 'test:dep/other': it exports no interface of that name");
}
