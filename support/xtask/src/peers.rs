//! Installs what Gyre is measured beside, from the crate registry, outside of the tests.

use anyhow::Result;

use crate::{paths, process};

/// The same release line as our engine, so that the measurement compares hosts and not compilers.
const WASMTIME: &str = "48.0.8";

/// What serving a component takes, and nothing else: it compiles in minutes.
const FEATURES: &str = "run,serve,cranelift,component-model,component-model-async,wasi-http,\
                        wasi-config,parallel-compilation,pooling-allocator,wat";

pub(crate) fn run() -> Result<()> {
    let place = paths::target().join("peers");
    let program = place.join("bin/wasmtime");
    let installed = process::output_of(process::command(&program).arg("--version"));
    if installed.is_some_and(|version| version.contains(WASMTIME)) {
        println!("{} is there already", program.display());
        return Ok(());
    }
    println!("Installing wasmtime {WASMTIME} in {} (some minutes)", place.display());
    let mut cargo = process::command("cargo");
    cargo.args(["install", "wasmtime-cli", "--version", WASMTIME, "--locked", "--force"]);
    cargo.args(["--no-default-features", "--features", FEATURES]).arg("--root").arg(&place);
    process::run(&mut cargo, "installing wasmtime")
}
