//! The programs that are measured, and what they are measured with.

use std::{path::PathBuf, process::Command};

use serde::Serialize;

/// Where everything is. Paths are absolute: servers are started in folders of their own.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The `gyre` binary.
    pub gyre: PathBuf,
    /// The binary that has `hello-hyper`: this crate's.
    pub bench: PathBuf,
    /// The guest programs, as `cargo xtask guests` places them.
    pub guests: PathBuf,
    /// The sample applications, as `cargo xtask apps` places them.
    pub apps: PathBuf,
    /// Where `cargo xtask peers` installs them.
    pub peers: PathBuf,
    /// A `spin` binary.
    pub spin: Option<PathBuf>,
}

/// What a program says that it is.
#[derive(Debug, Clone, Serialize)]
pub struct Version {
    /// The program.
    pub program: &'static str,
    /// The first line of its `--version`.
    pub version: String,
}

impl Tools {
    /// The component of a guest program.
    pub(crate) fn guest(&self, name: &str) -> PathBuf {
        self.guests.join(format!("{name}.wasm"))
    }

    /// The `gyre` binary, or why there is none.
    pub(crate) fn gyre(&self) -> Result<PathBuf, String> {
        let gyre = self.gyre.clone();
        let missing = || format!("no {} (`cargo build --release` makes it)", gyre.display());
        if gyre.is_file() { Ok(gyre) } else { Err(missing()) }
    }

    /// The `wasmtime` binary: the installed one, or that of the path.
    pub(crate) fn wasmtime(&self) -> Result<PathBuf, String> {
        let installed = self.peers.join("wasmtime");
        if installed.is_file() { Some(installed) } else { on_path("wasmtime") }
            .ok_or_else(|| "not found (`cargo xtask peers` installs it)".to_owned())
    }

    /// The `spin` binary, which only the environment names: none is downloaded.
    pub(crate) fn spin(&self) -> Result<PathBuf, String> {
        match &self.spin {
            None => Err("SPIN_BIN does not name one".to_owned()),
            Some(spin) if !spin.is_file() => Err(format!("SPIN_BIN: no {}", spin.display())),
            Some(spin) => Ok(spin.clone()),
        }
    }

    /// The versions of those that are there.
    pub(crate) fn versions(&self) -> Vec<Version> {
        let programs =
            [("gyre", self.gyre()), ("wasmtime", self.wasmtime()), ("spin", self.spin())];
        let version = |(program, path): (&'static str, Result<PathBuf, String>)| {
            let output = Command::new(path.ok()?).arg("--version").output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout);
            let version = text.lines().next()?.trim().to_owned();
            Some(Version { program, version })
        };
        programs.into_iter().filter_map(version).collect()
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
