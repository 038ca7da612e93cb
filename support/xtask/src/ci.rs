//! Everything that must pass before a change lands.

use std::process::ExitCode;

use anyhow::Result;

use crate::{interfaces, layers, paths, process, test};

pub(crate) fn run() -> ExitCode {
    match checks() {
        Ok(()) => test::run(&test::Args::default()),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn checks() -> Result<()> {
    println!("Format");
    cargo(&["fmt", "--all", "--check"])?;
    for folder in ["support/guests", "examples/hello", "tests/apps/rust"] {
        let manifest = paths::root().join(folder).join("Cargo.toml");
        cargo(&["fmt", "--check", "--manifest-path", &manifest.to_string_lossy()])?;
    }
    layers::run()?;
    interfaces::run(&interfaces::Args { check: true })?;
    println!("Lints");
    // The profile of the tests: build scripts and macros are compiled once for both.
    cargo(&[
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ])?;
    println!("Dependencies");
    if !process::exists("cargo-deny") {
        println!("Installing cargo-deny with cargo (some minutes)");
        cargo(&["install", "cargo-deny", "--locked"])?;
    }
    // Advisories are fetched from a server that not every machine reaches: they are a job of their own.
    cargo(&["deny", "--log-level", "error", "check", "bans", "licenses", "sources"])
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let mut command = process::command("cargo");
    command.current_dir(paths::root()).env("CARGO_TARGET_DIR", paths::cargo_target());
    process::run(command.args(arguments), "checking")
}
