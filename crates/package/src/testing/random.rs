//! Applications at random.

use std::{collections::BTreeMap, fmt::Write as _};

use fs_err as fs;
use gyre_model::{Application, Digest, LimitSettings, Settings};
use proptest::prelude::*;

use super::{Folder, tree};

/// Code and files.
pub(crate) type RandomComponent = (Vec<u8>, BTreeMap<String, Vec<u8>>);

/// An application at random: some components, each with code and files.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    pub(crate) components: BTreeMap<String, RandomComponent>,
    pub(crate) settings: Settings,
    description: String,
    /// Whether its manifest is of version 1.
    is_old: bool,
    pub(crate) archives: bool,
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        // Around the size from which content is no longer inline.
        (127_usize..130, any::<u8>()).prop_map(|(n, byte)| vec![byte; n]),
    ]
}

fn path() -> impl Strategy<Value = String> {
    // Folders and files have different names, so that none is both.
    ("(d[a-c]/){0,3}", "f[a-zA-Z0-9 ._ü&'\\[\\]*-]{0,12}").prop_map(|(folder, file)| folder + &file)
}

pub(crate) fn application() -> impl Strategy<Value = Random> {
    let component = (bytes(), prop::collection::btree_map(path(), bytes(), 0..6));
    let settings = (prop::option::of("/[a-z]{1,5}"), prop::option::of(1_u32..9000));
    (
        prop::collection::btree_map("[a-z]{1,6}(-[a-z][a-z0-9]{0,3})?", component, 1..4),
        settings,
        "[ -~ü]{0,20}",
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(components, (health_path, cpu_ms), description, is_old, archives)| {
            Random {
                components,
                settings: Settings {
                    health_path,
                    limits: LimitSettings { cpu_ms, ..LimitSettings::default() },
                },
                description,
                is_old,
                archives,
            }
        })
}

impl Random {
    fn manifest(&self) -> String {
        let description = serde_json::to_string(&self.description).unwrap();
        let mut text = if self.is_old {
            format!(
                "spin_manifest_version = \"1\"\nname = \"random\"\nversion = \"1.2.3\"\ndescription = {description}\n\
                 trigger = {{ type = \"http\", base = \"/\" }}\n[variables]\na = {{ default = \"b\" }}\n"
            )
        } else {
            format!(
                "spin_manifest_version = 2\n[application]\nname = \"random\"\nversion = \"1.2.3\"\ndescription = {description}\n\
                 [variables]\na = {{ default = \"b\" }}\n"
            )
        };
        for (id, (_, files)) in &self.components {
            if self.is_old {
                write!(
                    text,
                    "[[component]]\nid = \"{id}\"\nsource = \"{id}.wasm\"\ntrigger = {{ route = \"/{id}\" }}\n"
                )
                .unwrap();
            } else {
                write!(
                    text,
                    "[[trigger.http]]\nroute = \"/{id}\"\ncomponent = \"{id}\"\n\
                     [component.{id}]\nsource = \"{id}.wasm\"\n"
                )
                .unwrap();
            }
            if !files.is_empty() {
                writeln!(text, "files = [{{ source = \"files-{id}\", destination = \"/\" }}]")
                    .unwrap();
            }
        }
        text
    }

    /// Writes it, and loads what was written.
    pub(crate) fn load(&self) -> (Folder, Application) {
        let mut folder = Folder::new(&self.manifest());
        for (id, (code, files)) in &self.components {
            folder = folder.write(&format!("app/{id}.wasm"), code);
            for (path, content) in files {
                folder = folder.write(&format!("app/files-{id}/{path}"), content);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut app = runtime.block_on(folder.load()).unwrap();
        app.settings = self.settings.clone();
        (folder, app)
    }
}

/// The code, whose digests have to be right, and the files of a loaded application.
pub(crate) fn content(app: &Application) -> BTreeMap<String, RandomComponent> {
    let of = |(id, wasm): (&String, &gyre_model::WasmFile)| {
        let code = fs::read(&wasm.path).unwrap();
        assert_eq!(wasm.digest, Digest::of(&code));
        let files = match app.mounts.get(id) {
            Some(mounts) => tree(&mounts[0].host).into_iter().collect(),
            None => BTreeMap::new(),
        };
        (id.clone(), (code, files))
    };
    app.wasm.iter().map(of).collect()
}
