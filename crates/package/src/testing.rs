//! What the tests of several modules need: applications in folders, blobs in folders, folders as lists.

use std::path::{Path, PathBuf};

use fs_err as fs;
use gyre_model::{Application, LockedApp, locked::ContentRef};

use crate::{
    artifact::BlobFolder,
    load::{self, FileStrategy, LoadError, LoadOptions},
    pack::{Data, Packed},
};

pub(crate) mod random;

/// All files below `root` with their content, in order. Anything else than files and folders is a failure.
pub(crate) fn tree(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.unwrap();
        if !entry.file_type().is_dir() {
            assert!(entry.file_type().is_file(), "{entry:?} is neither file nor folder");
            let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read(entry.path()).unwrap()));
        }
    }
    files.sort();
    files
}

/// A folder with an application, and room to load it.
pub(crate) struct Folder {
    pub(crate) dir: tempfile::TempDir,
}

impl Folder {
    /// An application with the manifest `manifest`.
    pub(crate) fn new(manifest: &str) -> Self {
        let folder = Self { dir: tempfile::tempdir().unwrap() };
        folder.write("app/spin.toml", manifest)
    }

    /// An application of one HTTP component `a` with the code `code`; `rest` is in the component's table.
    pub(crate) fn of_one(rest: &str) -> Self {
        Self::new(&format!(
            "spin_manifest_version = 2\n[application]\nname = \"hello\"\nversion = \"0.1.0\"\n\
             [[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n\
             [component.a]\nsource = \"a.wasm\"\n{rest}\n"
        ))
        .write("app/a.wasm", "code")
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn write(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn options(&self) -> LoadOptions {
        LoadOptions::new(&self.path("work"), self.path("cache"))
    }

    pub(crate) async fn load(&self) -> Result<Application, LoadError> {
        load::from_manifest(&self.path("app/spin.toml"), self.options()).await
    }

    pub(crate) async fn load_directly(&self) -> Result<Application, LoadError> {
        let options = LoadOptions { files: FileStrategy::Direct, ..self.options() };
        load::from_manifest(&self.path("app/spin.toml"), options).await
    }

    /// What the component `a` sees, after loading.
    pub(crate) async fn files(&self) -> Vec<(String, Vec<u8>)> {
        tree(&self.load().await.unwrap().mounts["a"][0].host)
    }

    /// The names of what the component `a` sees.
    pub(crate) async fn names(&self) -> Vec<String> {
        self.files().await.into_iter().map(|(name, _)| name).collect()
    }
}

/// Puts an artifact's blobs below `dir`.
pub(crate) fn store(packed: &Packed, dir: &Path) -> BlobFolder {
    let folder = BlobFolder::new(dir);
    for blob in &packed.blobs {
        let place = folder.place(&blob.digest);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        match &blob.data {
            Data::Bytes(bytes) => fs::write(place, bytes).unwrap(),
            data => drop(fs::copy(data.path().unwrap(), place).unwrap()),
        }
    }
    folder
}

/// The locked app without what differs between machines.
pub(crate) fn portable(locked: &LockedApp) -> LockedApp {
    let mut locked = locked.clone();
    locked.metadata.shift_remove("origin");
    for component in &mut locked.components {
        component.source.content = ContentRef::default();
        component.files.clear();
        for dependency in component.dependencies.values_mut() {
            dependency.source.content = ContentRef::default();
        }
    }
    locked
}

/// An error and its sources, as a terminal shows them.
pub(crate) fn chain(err: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(err), |err| err.source()).map(ToString::to_string).collect()
}
