//! Applications in folders of their own.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::programs::{guest, sdk_app};

/// A folder with a `spin.toml` and what it names.
#[derive(Debug)]
pub struct TestApp {
    folder: TempDir,
}

impl TestApp {
    /// `name`, version 0.1.0, with one component `name` on route `/...` made of a guest; `component` is
    /// added to the component's table (`key_value_stores = ["default"]`).
    #[track_caller]
    pub fn of_guest(name: &str, guest: &str, component: &str) -> Self {
        let app = Self::with_manifest(&format!(
            "spin_manifest_version = 2

[application]
name = \"{name}\"
version = \"0.1.0\"

[[trigger.http]]
route = \"/...\"
component = \"{name}\"

[component.{name}]
source = \"app.wasm\"
{component}
"
        ));
        app.put_guest("app.wasm", guest);
        app
    }

    /// A folder with this manifest and nothing else.
    #[track_caller]
    pub fn with_manifest(manifest: &str) -> Self {
        let app = Self { folder: tempfile::tempdir().unwrap() };
        app.put("spin.toml", manifest);
        app
    }

    /// A copy of an SDK's application (`rust`, `js`, `python`), named `name` on the server.
    #[track_caller]
    pub fn of_sdk(language: &str) -> Self {
        let from = sdk_app(language);
        let manifest = fs_err::read_to_string(from.join("spin.toml")).unwrap();
        let app = Self::with_manifest(&manifest);
        app.put_file("app.wasm", &from.join("app.wasm"));
        app
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder, as an argument.
    #[track_caller]
    pub fn argument(&self) -> &str {
        self.path().to_str().expect("paths in tests are text")
    }

    /// The manifest's path.
    pub fn manifest(&self) -> PathBuf {
        self.path().join("spin.toml")
    }

    /// Writes a file.
    #[track_caller]
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        fs_err::create_dir_all(path.parent().expect("it is in the folder")).unwrap();
        fs_err::write(path, content).unwrap();
    }

    /// Copies a file.
    #[track_caller]
    pub fn put_file(&self, name: &str, from: &Path) {
        fs_err::copy(from, self.path().join(name)).unwrap();
    }

    /// Copies a guest.
    #[track_caller]
    pub fn put_guest(&self, name: &str, of: &str) {
        self.put_file(name, &guest(of));
    }

    /// Replaces text in the manifest; panics if it is not there.
    #[track_caller]
    pub fn edit(&self, from: &str, to: &str) {
        let manifest = fs_err::read_to_string(self.manifest()).unwrap();
        assert!(manifest.contains(from), "{from:?} is not in the manifest");
        self.put("spin.toml", manifest.replace(from, to));
    }
}
