//! A loaded application: everything that is needed to run it, resolved to files on this machine.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{Digest, LockedApp, Settings};

/// An application as `package` hands it to whoever runs, packs or deploys it, whatever it was loaded from.
#[derive(Debug, Clone)]
pub struct Application {
    /// What it is made of. Content references in it are superseded by `wasm` and `mounts`.
    pub locked: LockedApp,
    /// What `spin.toml` cannot say.
    pub settings: Settings,
    /// The WebAssembly of each component, by component id. Complete.
    pub wasm: BTreeMap<String, WasmFile>,
    /// The folders a component sees, by component id. A component without files has no entry.
    pub mounts: BTreeMap<String, Vec<Mount>>,
}

/// A component's code on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WasmFile {
    /// Where it is.
    pub path: PathBuf,
    /// The digest of its bytes, verified when it was loaded.
    pub digest: Digest,
}

/// A folder of this machine that a component sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The folder here.
    pub host: PathBuf,
    /// Where the guest finds it, absolute: `/` or `/assets`.
    pub guest: String,
}
