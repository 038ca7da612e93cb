//! An application out of a folder with a `spin.toml`, or out of a bare component.
//!
//! Errors chain as Spin's do and use its words; those about a place in the manifest know it ([`LoadError::span`]).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
};

use gyre_manifest::{
    AppManifest, Manifest,
    id::KebabId,
    lock::{self, RetainError},
    schema::{Component, Trigger},
};
use gyre_model::{
    Application, LockedApp, Mount, Settings, WasmFile,
    locked::{ContentPath, LockedComponent, LockedTrigger},
};
use serde_json::Value;

mod error;
mod files;
mod source;
#[cfg(test)]
mod tests;

pub use error::{FilesError, LoadError, SourceError};
use source::{Remote, Sources};

use crate::{SUPPORTED_FEATURES, artifact, compose, registry::Packages};

/// How an application is loaded from its folder.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The build profile, if not the default one.
    pub profile: Option<String>,
    /// Load these components only, and the triggers that call them.
    pub component_ids: Option<Vec<String>>,
    /// What becomes of the components' files.
    pub files: FileStrategy,
    /// Where downloads are kept, under their digests. Disposable.
    pub cache_dir: PathBuf,
    /// Where packages of registries come from.
    pub packages: Packages,
}

impl LoadOptions {
    /// The default profile and all components; files are copied below `work_dir`, downloads kept in `cache_dir`.
    pub fn new(work_dir: &Path, cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            profile: None,
            component_ids: None,
            files: FileStrategy::Copy { into: work_dir.join("assets") },
            cache_dir: cache_dir.into(),
            packages: Packages::default(),
        }
    }
}

/// What becomes of components' files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileStrategy {
    /// Copied to `<into>/<component>`, which the component sees as `/`. What is there already stays there.
    Copy {
        /// The folder, of the caller's own.
        into: PathBuf,
    },
    /// Seen where they are: `--direct-mounts`. Folders only.
    Direct,
}

/// Loads the application of the manifest at `path`.
///
/// # Errors
/// The manifest is wrong, or something that it names is not there. See [`LoadError`].
pub async fn from_manifest(path: &Path, options: LoadOptions) -> Result<Application, LoadError> {
    let plan = Plan::read(path.to_owned(), options);
    let (plan, remote) = blocking(move || {
        let plan = plan?;
        let remote = plan.remote();
        Ok((plan, remote))
    })
    .await?;
    let mut sources = Sources::new(&plan.root, &plan.options.cache_dir);
    let packages = plan.options.packages.clone();
    sources.download(remote, &packages).await.map_err(|err| plan.in_app(err))?;
    blocking(move || {
        let path = plan.path.clone();
        plan.fill(&sources).map_err(|err| LoadError::App { path, source: Box::new(err) })
    })
    .await
}

/// The interfaces that the dependencies of a component offer it, as WIT; `None` if it has no dependencies. `app` is
/// normalized, its manifest lies in `root`.
///
/// # Errors
/// A dependency that cannot be had, or whose interfaces cannot be written.
pub async fn dependencies_wit(
    app: &AppManifest,
    root: &Path,
    component: &str,
    cache_dir: &Path,
    packages: &Packages,
) -> Result<Option<String>, LoadError> {
    let Some((_, component)) = app.components.iter().find(|(id, _)| id.as_str() == component)
    else {
        return Err(LoadError::NoSuchComponent(component.to_owned()));
    };
    if component.dependencies.is_empty() {
        return Ok(None);
    }
    let dependencies: Vec<_> = component.dependencies.clone().into_iter().collect();
    let remote: HashSet<Remote> = dependencies
        .iter()
        .filter_map(|(name, dependency)| Remote::of_dependency(Some(name), &dependency.source))
        .collect();
    let mut sources = Sources::new(root, cache_dir);
    sources.download(remote.into_iter().collect(), packages).await?;
    blocking(move || {
        let mut found = Vec::new();
        for (name, dependency) in dependencies {
            let file = sources.code(Some(&name), &dependency.source, dependency.span())?;
            found.push((name, fs_err::read(&file.path)?));
        }
        compose::dependencies_wit(&found).map(Some).map_err(LoadError::Interfaces)
    })
    .await
}

/// Loads a bare component, WebAssembly or its text: all HTTP requests go to it. What a text compiles to is written
/// below `cache_dir`.
///
/// # Errors
/// The file is not there, or is a text that does not compile.
pub async fn from_wasm(path: &Path, cache_dir: &Path) -> Result<Application, LoadError> {
    let (path, cache_dir) = (path.to_owned(), cache_dir.to_owned());
    blocking(move || {
        let shown = format!("\"{}\"", path.display());
        let file = source::local(&path, &cache_dir).map_err(|source| LoadError::Source {
            shown,
            span: None,
            source,
        })?;
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("wasm-file");
        let content = artifact::local_content(&file.path, Some(file.digest));
        let locked = artifact::single_component(name, content);
        let wasm = BTreeMap::from([(locked.components[0].id.clone(), file)]);
        Ok(Application { locked, settings: Settings::default(), wasm, mounts: BTreeMap::new() })
    })
    .await
}

/// Reduces a loaded application to these components and the triggers that call them.
///
/// # Errors
/// One of them is not there, or calls one that would be gone.
pub fn retain_components(app: &mut Application, ids: &[String]) -> Result<(), LoadError> {
    retain(&mut app.locked, ids)?;
    app.wasm.retain(|id, _| ids.contains(id));
    app.mounts.retain(|id, _| ids.contains(id));
    Ok(())
}

fn retain(locked: &mut LockedApp, ids: &[String]) -> Result<(), LoadError> {
    lock::retain_components(locked, ids).map_err(|err| match err {
        RetainError::Unknown(id) => LoadError::NoSuchComponent(id),
        err => LoadError::Chaining(err),
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work).await.map_err(|err| LoadError::Io(io::Error::other(err)))?
}

/// A manifest that was read, and what is still to be done.
struct Plan {
    path: PathBuf,
    /// The manifest's folder, absolute.
    root: PathBuf,
    options: LoadOptions,
    manifest: AppManifest,
    locked: LockedApp,
    settings: Settings,
}

impl Plan {
    fn read(path: PathBuf, options: LoadOptions) -> Result<Self, LoadError> {
        let text = fs_err::read_to_string(&path)
            .map_err(|source| LoadError::Read { path: path.clone(), source })?;
        let diagnosed = |diagnostics| LoadError::Manifest {
            path: path.clone(),
            text: text.clone(),
            diagnostics,
        };
        let manifest = Manifest::parse(&text).map_err(diagnosed)?;
        let settings = manifest.settings().clone();
        let manifest = manifest.normalize(options.profile.as_deref()).map_err(diagnosed)?;
        let mut locked = lock::lock(&manifest, options.profile.as_deref());
        if let Some(ids) = &options.component_ids {
            retain(&mut locked, ids)?;
        }
        locked.ensure_understood(SUPPORTED_FEATURES)?;
        let absolute = std::path::absolute(&path)?;
        if let Ok(origin) = url::Url::from_file_path(&absolute) {
            locked.metadata.insert("origin".to_owned(), Value::String(origin.into()));
        }
        let root = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { path, root, options, manifest, locked, settings })
    }

    fn in_app(&self, err: LoadError) -> LoadError {
        LoadError::App { path: self.path.clone(), source: Box::new(err) }
    }

    /// The manifest's side of the components that are loaded.
    fn components(&self) -> impl Iterator<Item = (&str, &Component)> {
        let components = self.manifest.components.iter().map(|(id, c)| (id.as_str(), c));
        components.filter(|(id, _)| self.locked.component(id).is_some())
    }

    /// The triggers that are loaded, each with the manifest's side of it. They are in the manifest's order, and may
    /// have the same id.
    fn described<'a>(
        &'a self,
        triggers: &'a mut [LockedTrigger],
    ) -> impl Iterator<Item = (&'a mut LockedTrigger, &'a Trigger)> {
        let mut described = self.manifest.all_triggers();
        triggers.iter_mut().filter_map(move |locked| {
            let component = locked.trigger_config.get("component").and_then(Value::as_str);
            let is_same = |(kind, trigger): &(&str, &Trigger)| {
                *kind == locked.trigger_type
                    && trigger.id == locked.id
                    && trigger.component_id().map(KebabId::as_str) == component
            };
            let (_, found) = described.find(is_same)?;
            Some((locked, found))
        })
    }

    /// What has to be downloaded.
    fn remote(&self) -> Vec<Remote> {
        let mut remote = HashSet::new();
        for (_, component) in self.components() {
            remote.extend(Remote::of_component(&component.source));
            for (name, dependency) in &component.dependencies {
                remote.extend(Remote::of_dependency(Some(name), &dependency.source));
            }
        }
        for (_, trigger) in self.described(&mut self.locked.triggers.clone()) {
            for dependency in trigger.dependencies.values().flatten() {
                remote.extend(Remote::of_dependency(None, &dependency.source));
            }
        }
        remote.into_iter().collect()
    }

    /// Finds the code and the files of every component.
    fn fill(mut self, sources: &Sources) -> Result<Application, LoadError> {
        let mut components = std::mem::take(&mut self.locked.components);
        let mut filled = Filled::default();
        let described: HashMap<&str, &Component> =
            self.manifest.components.iter().map(|(id, c)| (id.as_str(), c)).collect();
        for component in &mut components {
            let Some(described) = described.get(component.id.as_str()) else { continue };
            self.fill_component(component, described, sources, &mut filled).map_err(|source| {
                LoadError::Component { id: component.id.clone(), source: Box::new(source) }
            })?;
        }
        let mut triggers = std::mem::take(&mut self.locked.triggers);
        for (trigger, described) in self.described(&mut triggers) {
            fill_trigger(trigger, described, sources)?;
        }
        let Filled { mut wasm, mut mounts } = filled;
        let mut locked = LockedApp { components, triggers, ..self.locked };
        lock::move_trigger_dependencies(&mut locked, |original, clone| {
            if let Some(wasm_file) = wasm.get(original).cloned() {
                wasm.insert(clone.to_owned(), wasm_file);
            }
            if let Some(mount) = mounts.get(original).cloned() {
                mounts.insert(clone.to_owned(), mount);
            }
        });
        Ok(Application { locked, settings: self.settings, wasm, mounts })
    }

    fn fill_component(
        &self,
        component: &mut LockedComponent,
        described: &Component,
        sources: &Sources,
        filled: &mut Filled,
    ) -> Result<(), LoadError> {
        let file = sources.component(&described.source)?;
        component.source.content = artifact::local_content(&file.path, Some(file.digest));
        for (name, dependency) in &described.dependencies {
            let found = sources.code(Some(name), &dependency.source, dependency.span());
            let name = name.to_string();
            let file = found.map_err(|source| LoadError::Dependency {
                name: name.clone(),
                component: component.id.clone(),
                source: Box::new(source),
            })?;
            if let Some(locked) = component.dependencies.get_mut(&name) {
                locked.source.content = artifact::local_content(&file.path, Some(file.digest));
            }
        }
        filled.wasm.insert(component.id.clone(), file);
        component.files.clear();
        if described.files.is_empty() {
            return Ok(());
        }
        let mounts = match &self.options.files {
            FileStrategy::Copy { into } => {
                let host = into.join(&component.id);
                files::copy(&self.root, &described.files, &described.exclude_files, &host)?;
                vec![Mount { host, guest: "/".to_owned() }]
            }
            FileStrategy::Direct => {
                files::direct(&self.root, &described.files, &described.exclude_files)?
            }
        };
        component.files = mounts
            .iter()
            .map(|mount| ContentPath {
                content: artifact::local_content(&mount.host, None),
                path: mount.guest.clone(),
            })
            .collect();
        filled.mounts.insert(component.id.clone(), mounts);
        Ok(())
    }
}

/// Finds the code of what a trigger composes with its component.
fn fill_trigger(
    trigger: &mut LockedTrigger,
    described: &Trigger,
    sources: &Sources,
) -> Result<(), LoadError> {
    for (role, list) in &mut trigger.trigger_dependencies {
        let described = described.dependencies.get(role).into_iter().flatten();
        for (locked, described) in list.iter_mut().zip(described) {
            let file =
                sources.code(None, &described.source, described.span()).map_err(|source| {
                    LoadError::TriggerDependency {
                        role: role.clone(),
                        trigger: trigger.id.clone(),
                        source: Box::new(source),
                    }
                })?;
            locked.source.content = artifact::local_content(&file.path, Some(file.digest));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Filled {
    wasm: BTreeMap<String, WasmFile>,
    mounts: BTreeMap<String, Vec<Mount>>,
}
