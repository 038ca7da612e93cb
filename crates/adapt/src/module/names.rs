//! Core modules of Spin's first SDKs, which name what they import and export after the files of their interfaces.
//!
//! Their bindings are wit-bindgen's of 2022 (0.2, and its forerunner of June), which lays values out in memory as the
//! canonical ABI does now: only the names differ, and nothing in the module says what its interfaces are. So the names
//! are changed and the types put in, and what comes out is a module as today's tools make them.

use std::{borrow::Cow, convert::Infallible};

use wasm_encoder::{
    CustomSection, ExportSection, ImportSection, RawSection,
    reencode::{Error, Reencode as _, RoundtripReencoder},
};
use wasmparser::{Parser, Payload};
use wit_component::StringEncoding;
use wit_parser::{Resolve, SourceMap};

use super::Module;
use crate::AdaptError;

/// The interfaces that they import: their name, then today's in the package `fermyon:spin`.
const IMPORTS: [(&str, &str); 8] = [
    ("wasi-outbound-http", "http"),
    ("spin-config", "config"),
    ("outbound-redis", "redis"),
    ("outbound-pg", "postgres"),
    ("outbound-mysql", "mysql"),
    ("key-value", "key-value"),
    ("sqlite", "sqlite"),
    ("llm", "llm"),
];

/// The functions that they export: their name, then today's interface and function.
const EXPORTS: [(&str, &str, &str); 2] = [
    ("handle-http-request", "inbound-http", "handle-request"),
    ("handle-redis-message", "inbound-redis", "handle-message"),
];

macro_rules! package {
    ($($file:literal)*) => {
        [$(($file, include_str!(concat!("../../../../wit/deps/fermyon-spin/", $file)))),*]
    };
}

/// The package, file by file.
const PACKAGE: [(&str, &str); 13] = package!(
    "config.wit" "http-types.wit" "http.wit" "inbound-http.wit" "inbound-redis.wit" "key-value.wit" "llm.wit"
    "mysql.wit" "postgres.wit" "rdbms-types.wit" "redis-types.wit" "redis.wit" "sqlite.wit"
);

/// Whether the module is one of those.
pub(super) fn are_old(module: &Module) -> bool {
    let imports = IMPORTS.iter().any(|(old, _)| module.imports.contains(*old));
    module.bindings.is_none() && (imports || has_handler(module))
}

/// Whether it is called for requests or messages. Then it is not run as a program, even if it has a `_start`, as those
/// of TinyGo have: nor did Spin, and what their `init` functions do is done when they are compiled.
pub(super) fn has_handler(module: &Module) -> bool {
    EXPORTS.iter().any(|(old, ..)| module.exports.contains(*old))
}

/// The module with the names of today, and with the types of its interfaces.
pub(super) fn renew(bytes: &[u8], module: &Module) -> Result<Vec<u8>, AdaptError> {
    let invalid = |error: wasmparser::BinaryReaderError| AdaptError::Invalid(error.to_string());
    let mut renewed = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(invalid)? {
            Payload::ImportSection(section) => {
                let mut imports = ImportSection::new();
                for import in section.into_imports() {
                    let import = import.map_err(invalid)?;
                    let ty =
                        RoundtripReencoder.entity_type(import.ty).map_err(|it| unknown(&it))?;
                    let (module, name) = import_name(import.module, import.name);
                    imports.import(&module, name, ty);
                }
                renewed.section(&imports);
            }
            Payload::ExportSection(section) => {
                let mut exports = ExportSection::new();
                for export in section {
                    let export = export.map_err(invalid)?;
                    let Some(name) = export_name(export.name, module) else { continue };
                    let kind =
                        RoundtripReencoder.export_kind(export.kind).map_err(|it| unknown(&it))?;
                    exports.export(&name, kind, export.index);
                }
                renewed.section(&exports);
            }
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    renewed.section(&RawSection { id, data: &bytes[range] });
                }
            }
        }
    }
    let data = types(module).map_err(|error| AdaptError::Encode(error.to_string()))?;
    renewed.section(&CustomSection { name: "component-type".into(), data: data.into() });
    Ok(renewed.finish())
}

fn unknown(error: &Error<Infallible>) -> AdaptError {
    AdaptError::Invalid(error.to_string())
}

fn import_name<'a>(module: &'a str, name: &'a str) -> (Cow<'a, str>, &'a str) {
    let Some((_, new)) = IMPORTS.iter().find(|(old, _)| *old == module) else {
        return (module.into(), name);
    };
    // The one function that was called otherwise.
    let name = if (*new, name) == ("http", "request") { "send-request" } else { name };
    (format!("fermyon:spin/{new}").into(), name)
}

/// The name that an export has now; none for what nobody would call.
fn export_name<'a>(name: &'a str, module: &Module) -> Option<Cow<'a, str>> {
    if let Some((_, interface, function)) = EXPORTS.iter().find(|(old, ..)| *old == name) {
        return Some(format!("fermyon:spin/{interface}#{function}").into());
    }
    match name {
        "canonical_abi_realloc" if !module.exports.contains("cabi_realloc") => {
            Some("cabi_realloc".into())
        }
        "canonical_abi_realloc" | "canonical_abi_free" => None,
        "_start" if has_handler(module) => None,
        _ => Some(name.into()),
    }
}

/// The types of the interfaces that the module imports and exports, as tools put them into modules.
fn types(module: &Module) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut files = SourceMap::new();
    for (name, text) in PACKAGE {
        files.push_str(name, text);
    }
    let mut resolve = Resolve::default();
    let package = files.parse().map_err(|(_, error)| format!("{error:?}"))?;
    resolve.push_group(package).map_err(|error| format!("{error:?}"))?;

    let imports = IMPORTS.iter().filter(|(old, _)| module.imports.contains(*old));
    let imports = imports.map(|(_, new)| format!("import fermyon:spin/{new};"));
    let exports = EXPORTS.iter().filter(|(old, ..)| module.exports.contains(*old));
    let exports = exports.map(|(_, interface, _)| format!("export fermyon:spin/{interface};"));
    let items: Vec<String> = imports.chain(exports).collect();
    let world = format!("package gyre:adapt; world module {{ {} }}", items.join(" "));
    let package = resolve.push_source("world.wit", &world)?;
    let world = resolve.select_world(&[package], None)?;
    Ok(wit_component::metadata::encode(&resolve, world, StringEncoding::UTF8, None)?)
}
