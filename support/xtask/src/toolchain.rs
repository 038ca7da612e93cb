//! The Rust that compiles guests: the one at hand if it knows `wasm32-wasip2`, else with the target that
//! rustup offers, else Debian's.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::{debian, paths, process};

/// Every target that a guest is compiled for.
pub(crate) const TARGETS: [&str; 2] = ["wasm32-wasip1", "wasm32-wasip2"];

/// How long rustup may take. What has not come by then is not on its way.
const RUSTUP_LIMIT: Duration = Duration::from_mins(3);

/// A Rust that compiles for WebAssembly.
#[derive(Serialize)]
pub(crate) struct Toolchain {
    /// What made it, with its version: part of every guest's digest.
    pub(crate) identity: String,
    /// What `cargo build --target wasm32-wasip2` must find in its environment.
    pub(crate) environment: BTreeMap<String, String>,
}

impl Toolchain {
    /// A cargo that builds with this toolchain, for the developer's environment taken away.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = process::command("cargo");
        command.envs(&self.environment);
        command
    }
}

/// Finds or makes one. `GYRE_GUEST_TOOLCHAIN=native|rustup|debian` asks for one in particular.
pub(crate) fn provide() -> Result<Toolchain> {
    let wish = std::env::var("GYRE_GUEST_TOOLCHAIN").unwrap_or_default();
    let may = |name: &str| wish.is_empty() || wish == name;
    let mut reasons = Vec::new();
    if may("native") || may("rustup") {
        if knows_targets() {
            return native();
        }
        reasons.push("this Rust has no wasm32-wasip2".to_owned());
    }
    if may("rustup") {
        match add_with_rustup() {
            Ok(()) if knows_targets() => return native(),
            Ok(()) => reasons.push("rustup added the targets, but rustc does not see them".into()),
            Err(reason) => reasons.push(format!("rustup: {reason}")),
        }
    }
    if may("debian") {
        match debian::provide() {
            Ok(toolchain) => return Ok(toolchain),
            Err(error) => reasons.push(format!("Debian's Rust: {error:#}")),
        }
    }
    bail!(
        "guests cannot be compiled here: run `rustup target add wasm32-wasip1 wasm32-wasip2` \
         where rustup reaches its server, or this command as root on Debian or Ubuntu ({})",
        reasons.join("; ")
    )
}

fn native() -> Result<Toolchain> {
    let Some(version) = process::output_of(process::command("rustc").arg("-vV")) else {
        bail!("there is no rustc on the path");
    };
    Ok(Toolchain { identity: version, environment: BTreeMap::new() })
}

/// Whether the rustc on the path has the standard library of every target.
fn knows_targets() -> bool {
    TARGETS.iter().all(|target| {
        let mut command = process::command("rustc");
        process::output_of(command.args(["--print", "target-libdir", "--target", target]))
            .is_some_and(|folder| has_standard_library(Path::new(&folder)))
    })
}

/// Whether `folder` holds a compiled `std`.
pub(crate) fn has_standard_library(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

fn add_with_rustup() -> Result<(), String> {
    if !process::exists("rustup") {
        return Err("not installed".to_owned());
    }
    println!("Adding {} with rustup", TARGETS.join(" and "));
    let mut command = process::command("rustup");
    // From the checkout: a toolchain file there decides which toolchain is meant.
    command.current_dir(paths::root()).args(["target", "add"]).args(TARGETS);
    process::run_within(&mut command, RUSTUP_LIMIT)
}
