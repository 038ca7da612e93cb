//! Who may use whom. A crate exists because it hides something; an arrow the wrong way would show it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{guests, paths, process};

/// The arrows between our crates that are allowed beside those to `model` and `telemetry`.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "gyre",
        &[
            "api", "control", "data", "dev", "edge", "manifest", "node", "package", "runtime",
            "server", "store",
        ],
    ),
    ("node", &["control", "data", "edge", "manifest", "package", "runtime", "server", "store"]),
    ("server", &["api", "control", "package"]),
    ("control", &["package", "store"]),
    ("runtime", &["adapt", "data", "manifest"]),
    ("edge", &[]),
    ("dev", &["api", "manifest", "package"]),
    ("package", &["adapt", "manifest"]),
    ("data", &[]),
    ("store", &[]),
    ("adapt", &[]),
    ("manifest", &[]),
    ("api", &[]),
    ("model", &[]),
    ("telemetry", &[]),
    ("testkit", &["api"]),
    ("bench", &["testkit"]),
    ("xtask", &[]),
];

/// These do not log: they say what happened in what they return.
const WITHOUT_TELEMETRY: &[&str] = &["manifest", "package", "adapt", "api", "model", "xtask"];

/// Used by tests alone.
const FOR_TESTS: &[&str] = &["testkit", "bench"];

/// What only some crates may know, and why.
const SECRETS: &[(&str, &[&str], &str)] = &[
    ("wasmtime", &["runtime"], "only the runtime knows the engine"),
    (
        "rusqlite",
        &["store", "data", "control", "testkit"],
        "engines of state are behind store and data",
    ),
    ("axum", &["server", "node"], "only the server has HTTP faces"),
    (
        "hyper",
        &["edge", "runtime", "node", "testkit", "bench"],
        "HTTP is spoken at the edge and at the door",
    ),
    (
        "reqwest",
        &["api", "data", "package", "runtime", "telemetry", "gyre", "testkit"],
        "clients of other servers are where their protocol is",
    ),
    ("clap", &["gyre", "bench", "xtask"], "only programs have a command line"),
    ("anyhow", &["gyre", "testkit", "bench", "xtask"], "libraries have errors of their own"),
];

/// Domains that do no input or output of any kind.
const PURE: &[&str] = &["adapt", "manifest", "model"];
const IMPURE: &[&str] = &["tokio", "hyper", "reqwest", "rusqlite", "wasmtime", "axum"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

pub(crate) fn run() -> Result<()> {
    let mut cargo = process::command("cargo");
    cargo.current_dir(paths::root());
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--locked"]);
    let output = cargo.output().context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let arrows = metadata.packages.iter().flat_map(|package| {
        package.dependencies.iter().map(|dependency| Arrow {
            from: short(&package.name),
            to: &dependency.name,
            is_for_tests: dependency.kind.as_deref() == Some("dev"),
        })
    });
    let faults: BTreeSet<String> = arrows.filter_map(|arrow| arrow.fault()).collect();
    if !faults.is_empty() {
        for fault in &faults {
            eprintln!("{fault}");
        }
        bail!("{} dependencies go the wrong way (ARCHITECTURE.md has the map)", faults.len());
    }
    guests::check_example()?;
    println!("Layers: {} crates, every arrow goes the right way", metadata.packages.len());
    Ok(())
}

/// One crate's dependency on another.
struct Arrow<'a> {
    from: &'a str,
    to: &'a str,
    is_for_tests: bool,
}

impl Arrow<'_> {
    /// What is wrong with it, if anything is.
    fn fault(&self) -> Option<String> {
        let reason = if self.to == "gyre" || self.to.starts_with("gyre-") {
            self.inner_fault(short(self.to))
        } else {
            self.outer_fault()
        };
        reason.map(|reason| format!("{} → {}: {reason}", self.from, short(self.to)))
    }

    fn inner_fault(&self, to: &str) -> Option<String> {
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == self.from) else {
            return Some(format!("{} has no row in support/xtask/src/layers.rs", self.from));
        };
        if to == "model" || allowed.contains(&to) || (self.is_for_tests && reaches(self.from, to)) {
            return None;
        }
        if FOR_TESTS.contains(&to) {
            return (!self.is_for_tests)
                .then(|| format!("{to} is for tests: make it a dev-dependency"));
        }
        if to == "telemetry" {
            return WITHOUT_TELEMETRY
                .contains(&self.from)
                .then(|| format!("{} does not log, it returns what happened", self.from));
        }
        let list = if allowed.is_empty() { "only model".into() } else { allowed.join(", ") };
        Some(format!("{} may use {list}", self.from))
    }

    fn outer_fault(&self) -> Option<String> {
        if self.is_for_tests {
            return None;
        }
        let is = |name: &str| self.to == name || self.to.starts_with(&format!("{name}-"));
        if PURE.contains(&self.from) && IMPURE.iter().any(|name| is(name)) {
            return Some(format!("{} is pure: no input, no output", self.from));
        }
        SECRETS
            .iter()
            .find(|(name, may, _)| is(name) && !may.contains(&self.from))
            .map(|(_, _, reason)| (*reason).to_owned())
    }
}

/// Whether `from` is built on `to`, directly or not: tests may look at what their crate stands on.
fn reaches(from: &str, to: &str) -> bool {
    let row = ARROWS.iter().find(|(name, _)| *name == from);
    row.is_some_and(|(_, below)| below.iter().any(|next| *next == to || reaches(next, to)))
}

/// `gyre-model` → `model`.
fn short(name: &str) -> &str {
    name.strip_prefix("gyre-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(from: &str, to: &str) -> Option<String> {
        Arrow { from, to, is_for_tests: false }.fault()
    }

    #[test]
    fn arrows_of_the_map_are_allowed() {
        for (from, to) in [
            ("gyre", "gyre-node"),
            ("node", "gyre-runtime"),
            ("runtime", "gyre-model"),
            ("edge", "gyre-telemetry"),
            ("runtime", "wasmtime-wasi"),
        ] {
            assert_eq!(fault(from, to), None);
        }
    }

    #[test]
    fn an_arrow_the_wrong_way_is_named_with_the_rule() {
        assert_eq!(
            fault("store", "gyre-runtime").unwrap(),
            "store → runtime: store may use only model"
        );
        assert_eq!(
            fault("manifest", "gyre-telemetry").unwrap(),
            "manifest → telemetry: manifest does not log, it returns what happened"
        );
        assert_eq!(
            fault("edge", "gyre-testkit").unwrap(),
            "edge → testkit: testkit is for tests: make it a dev-dependency"
        );
    }

    #[test]
    fn what_one_crate_hides_no_other_uses() {
        assert!(fault("server", "wasmtime").unwrap().contains("only the runtime"));
        assert!(fault("manifest", "tokio").unwrap().contains("pure"));
        assert_eq!(fault("runtime", "wasmtime"), None);
    }

    #[test]
    fn tests_may_use_what_their_crate_stands_on_and_nothing_above_it() {
        let fault = |from, to| Arrow { from, to, is_for_tests: true }.fault();
        assert_eq!(fault("server", "gyre-store"), None);
        assert_eq!(fault("edge", "gyre-testkit"), None);
        assert!(fault("store", "gyre-server").is_some());
        assert!(Arrow { from: "server", to: "gyre-store", is_for_tests: false }.fault().is_some());
    }

    #[test]
    fn a_crate_without_a_row_is_refused() {
        assert!(fault("novelty", "gyre-store").unwrap().contains("no row"));
    }
}
