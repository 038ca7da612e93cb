//! Core modules that were built for WASI's first preview: with the component types of an SDK in custom sections, of an
//! SDK from before there were any, or plain programs with a `_start`.

mod names;

use std::{borrow::Cow, collections::BTreeSet};

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{KnownCustom, Parser, Payload};
use wit_component::ComponentEncoder;

use crate::AdaptError;

/// Clang up to here laid out C's memory so that data which the host passes in is overwritten later on, unless the
/// module allocates for the host itself (`cabi_realloc`).
const SOUND_CLANG: (u32, u32, u32) = (15, 0, 7);

/// What decides how a module becomes a component.
#[derive(Debug, Default)]
struct Module {
    /// The modules that it imports from.
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
    /// The version of the tool that made its bindings, where it says so.
    bindings: Option<String>,
    /// The version of the C compiler, where it says so.
    clang: Option<(u32, u32, u32)>,
}

/// The component that does what the module does.
pub(crate) fn adapt(bytes: &[u8]) -> Result<Vec<u8>, AdaptError> {
    let module = Module::read(bytes)?;
    if let Some(version) = &module.bindings
        && !is_current(version)
    {
        return Err(AdaptError::Bindings(version.clone()));
    }
    let is_old = names::are_old(&module);
    if !is_old
        && module.clang.is_some_and(|clang| clang < SOUND_CLANG)
        && !module.exports.contains("cabi_realloc")
    {
        return Err(AdaptError::Clang);
    }
    let bytes: Cow<'_, [u8]> =
        if is_old { names::renew(bytes, &module)?.into() } else { bytes.into() };
    let is_program = module.exports.contains("_start") && !(is_old && names::has_handler(&module));
    let adapter = if is_program {
        WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
    } else {
        WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
    };
    let encode = || {
        ComponentEncoder::default()
            .validate(true)
            .module(&bytes)?
            .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)?
            .encode()
    };
    encode().map_err(|error| AdaptError::Encode(format!("{error:#}")))
}

impl Module {
    fn read(bytes: &[u8]) -> Result<Self, AdaptError> {
        let invalid = |error: wasmparser::BinaryReaderError| AdaptError::Invalid(error.to_string());
        let mut module = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(invalid)? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        module.imports.insert(import.map_err(invalid)?.module.to_owned());
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        module.exports.insert(export.map_err(invalid)?.name.to_owned());
                    }
                }
                Payload::CustomSection(section) => {
                    if let KnownCustom::Producers(producers) = section.as_known() {
                        // Who made it is said by whoever made it: what cannot be read says nothing.
                        module.read_producers(producers).unwrap_or_default();
                    }
                }
                _ => {}
            }
        }
        Ok(module)
    }

    fn read_producers(
        &mut self,
        producers: wasmparser::ProducersSectionReader<'_>,
    ) -> wasmparser::Result<()> {
        for field in producers {
            for value in field?.values {
                let value = value?;
                if value.name.starts_with("wit-bindgen-") {
                    self.bindings = Some(value.version.to_owned());
                }
                if value.name == "clang" {
                    self.clang = numbers(value.version);
                }
            }
        }
        Ok(())
    }
}

/// Whether bindings of that version speak today's ABI: from 0.5 on. Versions of two numbers are other tools' own.
fn is_current(version: &str) -> bool {
    match numbers(version) {
        Some(version) => version >= (0, 5, 0),
        None => true,
    }
}

/// The three numbers that a version begins with.
fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let mut parts = version.splitn(3, '.');
    let mut next = || {
        let part = parts.next()?;
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse().ok()
    };
    Some((next()?, next()?, next()?))
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{ProducersField, ProducersSection, Section as _};
    use wit_component::DecodedWasm;

    use super::*;

    fn exports(component: &[u8]) -> Vec<String> {
        let decoded = wit_component::decode(component).expect("it is a component");
        let DecodedWasm::Component(resolve, world) = decoded else { panic!("it is a package") };
        let world = &resolve.worlds[world];
        world.exports.keys().map(|key| resolve.name_world_key(key)).collect()
    }

    fn module(text: &str) -> Vec<u8> {
        wat::parse_str(text).expect("it is valid")
    }

    const PROGRAM: &str = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
        (memory (export "memory") 1)
        (func (export "_start")))"#;

    fn made_by(name: &str, version: &str) -> Vec<u8> {
        let mut field = ProducersField::new();
        field.value(name, version);
        let mut section = ProducersSection::new();
        section.field("processed-by", &field);
        let mut bytes = module(PROGRAM);
        section.append_to(&mut bytes);
        bytes
    }

    #[test]
    fn a_program_exports_run() {
        let component = adapt(&module(PROGRAM)).expect("it is adapted");
        let exports = exports(&component);
        assert!(exports[0].starts_with("wasi:cli/run@0.2."), "{exports:?}");
        assert!(!crate::is_async(&component));
    }

    #[test]
    fn tools_that_speak_another_abi_are_named() {
        let adapt = |name, version| adapt(&made_by(name, version)).map_err(|it| it.to_string());
        assert_eq!(
            adapt("wit-bindgen-rust", "0.3.0").unwrap_err(),
            "cannot adapt modules created with wit-bindgen version 0.3.0"
        );
        assert!(adapt("wit-bindgen-rust", "0.5.0").is_ok());
        assert!(adapt("wit-bindgen-c", "1.2").is_ok());
        assert!(adapt("clang", "15.0.6").unwrap_err().contains("15.0.7"));
        assert!(adapt("clang", "19.1.0 (Debian)").is_ok());
    }

    /// A module as the SDK of 2022 made it: `more` is within it.
    fn of_2022(imports: &str, more: &str) -> Vec<u8> {
        module(&format!(
            r#"(module {imports}
                (memory (export "memory") 1)
                (func (export "canonical_abi_realloc") (param i32 i32 i32 i32) (result i32)
                    i32.const 64)
                (func (export "canonical_abi_free") (param i32 i32 i32))
                {more})"#
        ))
    }

    const HTTP_2022: &str = r#"(func (export "handle-http-request")
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 8)"#;

    #[test]
    fn the_names_of_2022_become_those_of_today() {
        let imports = r#"
            (import "wasi-outbound-http" "request"
                (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
            (import "spin-config" "get-config" (func (param i32 i32 i32)))
            (import "outbound-redis" "incr" (func (param i32 i32 i32 i32 i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))"#;
        // The SDKs of 2023 marked their modules with functions of no use.
        let redis = r#"(func (export "handle-redis-message") (param i32 i32) (result i32)
            i32.const 8)
            (func (export "spin-sdk-version-0-10-1")) (func (export "spin-sdk-language-rust"))"#;
        let component = adapt(&of_2022(imports, &format!("{HTTP_2022} {redis}"))).unwrap();
        assert_eq!(
            exports(&component),
            ["fermyon:spin/inbound-http", "fermyon:spin/inbound-redis"]
        );
        let DecodedWasm::Component(resolve, world) = wit_component::decode(&component).unwrap()
        else {
            panic!("it is a package")
        };
        let world = &resolve.worlds[world];
        let imports: Vec<_> = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
        for name in ["fermyon:spin/http", "fermyon:spin/config", "fermyon:spin/redis"] {
            assert!(imports.iter().any(|import| import == name), "{name} is not in {imports:?}");
        }
        assert!(!imports.iter().any(|import| import == "fermyon:spin/mysql"), "{imports:?}");
    }

    #[test]
    fn a_module_of_2022_with_a_start_is_no_program_if_it_has_a_handler() {
        let start = r#"(func (export "_start") unreachable)"#;
        let component = adapt(&of_2022("", &format!("{HTTP_2022} {start}"))).unwrap();
        assert_eq!(exports(&component), ["fermyon:spin/inbound-http"]);
        let import = r#"(import "spin-config" "get-config" (func (param i32 i32 i32)))"#;
        let component = adapt(&of_2022(import, r#"(func (export "_start"))"#)).unwrap();
        assert!(exports(&component)[0].starts_with("wasi:cli/run@0.2."));
    }

    #[test]
    fn a_module_of_2022_that_is_not_as_its_sdk_made_it_is_refused() {
        let handler =
            r#"(func (export "handle-http-request") (param i32) (result i32) i32.const 8)"#;
        let error = adapt(&of_2022("", handler)).unwrap_err().to_string();
        assert!(error.contains("fermyon:spin/inbound-http#handle-request"), "{error}");
        let import = r#"(import "outbound-redis" "nonsense" (func))"#;
        let error = adapt(&of_2022(import, HTTP_2022)).unwrap_err().to_string();
        assert!(error.contains("fermyon:spin/redis") && error.contains("nonsense"), "{error}");
    }

    #[test]
    fn what_no_adapter_has_is_named() {
        let text = r#"(module (import "env" "magic" (func)) (func (export "_start")))"#;
        let error = adapt(&module(text)).unwrap_err().to_string();
        assert!(error.contains("env") || error.contains("magic"), "{error}");
        assert!(matches!(adapt(b"\0asm\x01\0\0\0garbage"), Err(AdaptError::Invalid(_))));
    }
}
