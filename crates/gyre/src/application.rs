//! Finding, building and loading the application that a verb is about.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use gyre_manifest::Manifest;
use gyre_model::Application;
use gyre_package::{
    bindle::BindleId,
    compose,
    load::{self, FileStrategy, LoadError, LoadOptions},
    registry::{ImageReference, Remote},
};
use tempfile::TempDir;

use crate::{
    cli::{
        FromArgs,
        bindle::{BindleServerArgs, BindleSourceArgs},
    },
    commands::bindle::application as bindle,
    config, diagnostics, printer,
};

/// The name of an application's manifest.
const MANIFEST: &str = "spin.toml";

/// Where an application is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its manifest.
    Manifest(PathBuf),
    /// A component that is the whole application.
    Component(PathBuf),
    /// An artifact in a registry, and whether that is to be spoken to without TLS.
    Registry(ImageReference, bool),
    /// A bindle, and how to get it.
    Bindle(BindleId, Box<BindleServerArgs>),
}

impl Place {
    /// The folder of a manifest; empty for the one where we are.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Manifest(path) => Some(path.parent().unwrap_or(Path::new(""))),
            Self::Component(_) | Self::Registry(..) | Self::Bindle(..) => None,
        }
    }
}

/// What the arguments of a verb mean that takes bindles, too.
pub(crate) fn find_source(from: &FromArgs, bindle: &BindleSourceArgs) -> Result<Place> {
    match bindle.source(from.insecure) {
        Some((id, server)) => Ok(Place::Bindle(id, Box::new(server))),
        None => find_from(from),
    }
}

/// What the arguments of a verb mean.
pub(crate) fn find_from(args: &FromArgs) -> Result<Place> {
    if let Some(text) = &args.from_registry {
        return Ok(Place::Registry(text.parse()?, args.insecure));
    }
    match (args.from.as_deref(), find(args.from.as_deref())) {
        (Some(from), Err(error)) if !from.exists() => {
            let image = from.to_str().and_then(|text| text.parse::<ImageReference>().ok());
            let is_file = from.extension().is_some_and(|end| {
                ["toml", "wasm", "wat"].iter().any(|known| end.eq_ignore_ascii_case(known))
            });
            // Every relative path could be a repository of a default registry; only what says more is taken for one.
            match image.filter(|it| !is_file && (it.is_explicit || it.registry.is_some())) {
                Some(image) => Ok(Place::Registry(image, args.insecure)),
                None => Err(error),
            }
        }
        (_, found) => found,
    }
}

/// What `--from` means; without it the manifest here, or in a folder above up to the repository's.
pub(crate) fn find(from: Option<&Path>) -> Result<Place> {
    let Some(from) = from else { return find_above(&std::env::current_dir()?) };
    if from.is_dir() {
        let manifest = from.join(MANIFEST);
        if !manifest.is_file() {
            bail!("no '{MANIFEST}' in {}", from.display());
        }
        return Ok(Place::Manifest(manifest));
    }
    if !from.exists() {
        bail!("the application {} does not exist", from.display());
    }
    let is_component = from.extension().is_some_and(|end| end == "wasm" || end == "wat");
    Ok(if is_component { Place::Component(from.into()) } else { Place::Manifest(from.into()) })
}

fn find_above(start: &Path) -> Result<Place> {
    for folder in start.ancestors() {
        let manifest = folder.join(MANIFEST);
        if manifest.is_file() {
            let is_here = folder == start;
            return Ok(Place::Manifest(if is_here { PathBuf::from(MANIFEST) } else { manifest }));
        }
        if folder.join(".git").exists() {
            break;
        }
    }
    bail!(
        "Default file '{MANIFEST}' not found. Run this in an application's folder, or name the application with --from"
    )
}

/// How an application is loaded.
#[derive(Debug, Default)]
pub(crate) struct Loading {
    pub(crate) profile: Option<String>,
    pub(crate) components: Vec<String>,
    pub(crate) direct_mounts: bool,
    /// The folder for copied files; by default a temporary one.
    pub(crate) temp: Option<PathBuf>,
    pub(crate) cache: Option<PathBuf>,
    /// Leave components and their dependencies apart.
    pub(crate) keep_dependencies: bool,
}

/// A loaded application and the folder of its copied files, which goes with it.
pub(crate) struct Loaded {
    pub(crate) application: Application,
    pub(crate) _files: Option<TempDir>,
}

/// Loads an application. What is wrong with its manifest is shown beside its lines.
pub(crate) async fn load(place: &Place, how: Loading) -> Result<Loaded> {
    let cache = match &how.cache {
        Some(cache) => cache.clone(),
        None => config::cache_folder()?,
    };
    let downloads = cache.join("components");
    match place {
        Place::Component(path) => {
            let application = load::from_wasm(path, &downloads).await?;
            Ok(Loaded { application, _files: None })
        }
        Place::Registry(image, is_insecure) => {
            let (work, files) = work_folder(how.temp.as_deref())?;
            let mut application = pull(image, *is_insecure, &cache, &work).await?;
            if !how.components.is_empty() {
                load::retain_components(&mut application, &how.components)?;
            }
            Ok(Loaded { application, _files: files })
        }
        Place::Bindle(id, server) => {
            let (work, files) = work_folder(how.temp.as_deref())?;
            let mut application = bindle::load(id, server, &cache, &work).await?;
            if !how.components.is_empty() {
                load::retain_components(&mut application, &how.components)?;
            }
            Ok(Loaded { application, _files: files })
        }
        Place::Manifest(path) => {
            show_warnings(path);
            let (work, files) = work_folder(how.temp.as_deref())?;
            let mut options = LoadOptions::new(&work, downloads);
            options.profile = how.profile;
            options.packages = config::packages()?;
            if how.direct_mounts {
                options.files = FileStrategy::Direct;
            }
            options.component_ids = (!how.components.is_empty()).then_some(how.components);
            let mut application =
                load::from_manifest(path, options).await.map_err(|error| explain(path, error))?;
            if !how.keep_dependencies {
                application = tokio::task::spawn_blocking(move || {
                    compose::compose(&mut application, &cache).map(|()| application)
                })
                .await??;
            }
            Ok(Loaded { application, _files: files })
        }
    }
}

/// The folder for an application's files: the one that is asked for, or a temporary one.
fn work_folder(temp: Option<&Path>) -> Result<(PathBuf, Option<TempDir>)> {
    if let Some(folder) = temp {
        fs_err::create_dir_all(folder)?;
        return Ok((folder.to_owned(), None));
    }
    let folder = tempfile::Builder::new().prefix("gyre-").tempdir()?;
    Ok((folder.path().to_owned(), Some(folder)))
}

/// An artifact in a registry, with the user's credentials for it.
pub(crate) async fn remote(image: &ImageReference, is_insecure: bool) -> Result<Remote> {
    let (image, credentials) = (image.clone(), config::credentials()?);
    let found = tokio::task::spawn_blocking(move || Remote::new(&image, is_insecure, &credentials));
    Ok(found.await??)
}

async fn pull(
    image: &ImageReference,
    is_insecure: bool,
    cache: &Path,
    work: &Path,
) -> Result<Application> {
    let remote = remote(image, is_insecure).await?;
    let spinner = printer::spinner("Pulling the application");
    let pulled = remote.pull(cache, |_| {}).await;
    spinner.finish_and_clear();
    let pulled = pulled.with_context(|| format!("cannot pull {image}"))?;
    let (cache, work) = (cache.to_owned(), work.to_owned());
    let loaded = tokio::task::spawn_blocking(move || remote.load(&pulled, &cache, &work));
    loaded.await?.with_context(|| format!("cannot run {image}"))
}

fn show_warnings(path: &Path) {
    if let Ok(text) = fs_err::read_to_string(path)
        && let Ok(manifest) = Manifest::parse(&text)
    {
        diagnostics::show(&path.display().to_string(), &text, manifest.warnings());
    }
}

fn explain(path: &Path, error: LoadError) -> anyhow::Error {
    match error {
        LoadError::Manifest { text, diagnostics, .. } => {
            diagnostics::show(&path.display().to_string(), &text, &diagnostics);
            let n = diagnostics.errors().count();
            let mistakes = if n == 1 { "a mistake".to_owned() } else { format!("{n} mistakes") };
            anyhow!("the manifest {} has {mistakes}", path.display())
        }
        error => error.into(),
    }
}

/// Reads a manifest for a verb that does not load the application.
pub(crate) fn read_manifest(path: &Path) -> Result<Manifest> {
    let text = fs_err::read_to_string(path)
        .with_context(|| format!("Failed to read Spin app manifest from {path:?}"))?;
    Manifest::parse(&text).map_err(|diagnostics| {
        diagnostics::show(&path.display().to_string(), &text, &diagnostics);
        anyhow!("the manifest {} has mistakes", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_found_from_a_folder_below_it() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("src/deep");
        fs_err::create_dir_all(&below).unwrap();
        fs_err::create_dir_all(dir.path().join(".git")).unwrap();
        assert!(find_above(&below).unwrap_err().to_string().contains("not found"));
        fs_err::write(dir.path().join(MANIFEST), "").unwrap();
        assert_eq!(find_above(&below).unwrap(), Place::Manifest(dir.path().join(MANIFEST)));
    }

    #[test]
    fn from_names_a_folder_a_manifest_or_a_component() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = dir.path().join(MANIFEST);
        fs_err::write(&manifest, "").unwrap();
        let component = dir.path().join("a.wat");
        fs_err::write(&component, "").unwrap();
        assert_eq!(find(Some(dir.path())).unwrap(), Place::Manifest(manifest.clone()));
        assert_eq!(find(Some(&manifest)).unwrap(), Place::Manifest(manifest));
        assert_eq!(find(Some(&component)).unwrap(), Place::Component(component));
        assert!(find(Some(&dir.path().join("nope"))).is_err());
    }
}
