//! Applications that are measured: a component and the manifest around it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::tools::Tools;

/// An application with one component.
#[derive(Debug, Clone)]
pub(crate) struct App {
    /// Its component.
    pub(crate) component: PathBuf,
    manifest: Manifest,
    /// Whether its component is of WASI 0.3.
    pub(crate) is_0_3: bool,
}

#[derive(Debug, Clone)]
enum Manifest {
    Given(PathBuf),
    Made { name: String, trigger: &'static str, component: &'static str },
}

/// The name of the component's file beside the manifest.
const FILE: &str = "app.wasm";

impl App {
    /// A component that answers every path.
    pub(crate) fn of(name: &str, component: PathBuf) -> Self {
        let manifest = Manifest::Made { name: name.to_owned(), trigger: "", component: "" };
        Self { component, manifest, is_0_3: false }
    }

    /// A guest program.
    pub(crate) fn guest(tools: &Tools, name: &str) -> Self {
        Self::of(name, tools.guest(name))
    }

    /// One of the sample applications, with the manifest it has.
    pub(crate) fn sample(tools: &Tools, name: &str) -> Self {
        let folder = tools.apps.join(name);
        let manifest = Manifest::Given(folder.join("spin.toml"));
        Self { component: folder.join(FILE), manifest, is_0_3: false }
    }

    /// The greeting of WASI 0.2.
    pub(crate) fn hello(tools: &Tools) -> Self {
        Self::guest(tools, "hello")
    }

    /// The greeting of WASI 0.3.
    pub(crate) fn hello_0_3(tools: &Tools) -> Self {
        Self { is_0_3: true, ..Self::guest(tools, "hello03") }
    }

    /// The program whose paths do one thing each, with its stores.
    pub(crate) fn measured(tools: &Tools) -> Self {
        let stores = "key_value_stores = [\"default\"]\nsqlite_databases = [\"default\"]\n";
        Self::guest(tools, "measured").with("", stores)
    }

    /// The program of the common gateway interface.
    pub(crate) fn wagi(tools: &Tools) -> Self {
        Self::guest(tools, "cgi").with("executor = { type = \"wagi\" }\n", "")
    }

    /// Adds lines to the trigger and to the component of the manifest.
    fn with(mut self, trigger_lines: &'static str, component_lines: &'static str) -> Self {
        if let Manifest::Made { trigger, component, .. } = &mut self.manifest {
            *trigger = trigger_lines;
            *component = component_lines;
        }
        self
    }

    /// Writes manifest and component into a folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        fs_err::create_dir_all(folder)?;
        let how = match self.manifest {
            Manifest::Given(_) => "`cargo xtask apps` builds it",
            Manifest::Made { .. } => "`cargo xtask guests` builds it",
        };
        let place = folder.join(FILE);
        fs_err::copy(&self.component, place)
            .with_context(|| format!("no component {} ({how})", self.component.display()))?;
        let manifest = match &self.manifest {
            Manifest::Given(file) => fs_err::read_to_string(file)?,
            Manifest::Made { name, trigger, component } => format!(
                "spin_manifest_version = 2\n\n[application]\nname = \"{name}\"\n\
                 version = \"0.1.0\"\n\n[[trigger.http]]\nroute = \"/...\"\n\
                 component = \"{name}\"\n{trigger}\n[component.{name}]\nsource = \"{FILE}\"\n\
                 {component}"
            ),
        };
        fs_err::write(folder.join("spin.toml"), manifest)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_has_what_the_application_needs() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        let tools = Tools {
            gyre: PathBuf::new(),
            bench: PathBuf::new(),
            guests: place.to_owned(),
            apps: place.to_owned(),
            peers: PathBuf::new(),
            spin: None,
        };
        let missing = App::wagi(&tools).write(&place.join("cgi")).unwrap_err().to_string();
        assert!(missing.contains("cargo xtask guests"), "{missing}");
        for name in ["cgi", "measured"] {
            fs_err::write(place.join(format!("{name}.wasm")), "").unwrap();
        }
        let manifest = |app: App, name: &str| -> toml::Table {
            app.write(&place.join(name)).unwrap();
            let text = fs_err::read_to_string(place.join(name).join("spin.toml")).unwrap();
            toml::from_str(&text).unwrap()
        };
        let cgi = manifest(App::wagi(&tools), "cgi");
        assert_eq!(cgi["trigger"]["http"][0]["executor"]["type"].as_str(), Some("wagi"));
        let measured = manifest(App::measured(&tools), "measured");
        let component = &measured["component"]["measured"];
        assert_eq!(component["source"].as_str(), Some(FILE));
        assert_eq!(component["sqlite_databases"][0].as_str(), Some("default"));
    }
}
