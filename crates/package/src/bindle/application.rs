//! Applications as bindles, as Spin 0.1 to 0.10 wrote and read them.
//!
//! A parcel for each component's code, one for each file, which is in the group of the components that see it, and one that says what
//! the application is: Spin's manifest ([`SPIN_MANIFEST`]). What that cannot say is in the locked app that OCI artifacts have
//! ([`oci::LOCKED_APP`]), in a parcel of its own. Spin's manifest is left out where it would say something else than the
//! application, so that old hosts refuse it rather than run another one; the locked app where it would say nothing more. Of a
//! bindle with both, the locked app counts.
//!
//! Parcels' names, types and groups are not signed, only their content is. An application whose locked app is a parcel has the
//! paths of its files there; of one that has Spin's manifest alone they are the names of parcels.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    io,
    path::{Component, Path, PathBuf},
};

use gyre_manifest::Diagnostics;
use gyre_model::{
    Application, Digest, LockedApp, Settings,
    locked::{ContentPath, ContentRef, LockedSource},
};
use semver::BuildMetadata;
use serde_json::Value;
use url::Url;

use super::{
    BindleId, Conditions, Group, Invoice, InvoiceError, Label, Parcel, ParseIdError, SatisfiedBy,
    media_type,
    standalone::{Standalone, StandaloneError, Writer},
};
use crate::{
    archive::Caps,
    artifact::{self, ArtifactError, BlobSource, Contents},
    limits,
    oci::{self, Descriptor, Manifest},
    pack::{self, Blob, Data, PackError},
};

mod spin;
#[cfg(test)]
mod tests;

/// The media type of the manifest that Spin's bindles have.
pub const SPIN_MANIFEST: &str = "application/vnd.fermyon.spin+toml";
/// The media type of Gyre's settings, as JSON: a parcel that is there if there are any.
pub const SETTINGS: &str = "application/vnd.gyre.settings+json";
/// What Spin notes on its manifest's parcel.
const DELETE_ON_WRITE: (&str, &str) = ("fermyon:spin:delete_on_write", ".");

/// Why an application cannot become a bindle.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Its name or version.
    #[error(
        "an application with the name {name:?} and the version {version:?} cannot be a bindle: it needs a version such as 1.2.3"
    )]
    Id {
        /// The application's name.
        name: String,
        /// The version that the bindle would have.
        version: String,
        /// What is wrong.
        #[source]
        source: ParseIdError,
    },
    /// Its content.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// What it would be is more than an invoice may hold.
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
    /// The folder that it is written to.
    #[error(transparent)]
    Standalone(#[from] StandaloneError),
    /// A file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a bindle cannot be loaded as an application.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is none.
    #[error(
        "the bindle is not a Spin application: it has no parcel of the type {SPIN_MANIFEST} or {locked}",
        locked = oci::LOCKED_APP
    )]
    NotAnApplication,
    /// More than one parcel of a kind of which there may be one.
    #[error("the bindle has more than one parcel of the type {0}")]
    Several(&'static str),
    /// A parcel without a digest.
    #[error("the parcel {0:?} has no valid digest")]
    Digest(String),
    /// Spin's manifest is no TOML, or not of that shape.
    #[error("the bindle's Spin manifest is malformed")]
    Toml(#[source] toml::de::Error),
    /// Spin's manifest is no text.
    #[error("the bindle's Spin manifest is not UTF-8")]
    NotText,
    /// Spin's manifest has mistakes.
    #[error("the bindle's Spin manifest is wrong")]
    Manifest(#[source] Diagnostics),
    /// The locked app is malformed.
    #[error("the bindle's locked app is malformed")]
    LockedApp(#[source] serde_json::Error),
    /// The settings are malformed.
    #[error("the bindle's settings are malformed")]
    Settings(#[source] serde_json::Error),
    /// A component's code is no parcel.
    #[error("the source {stated:?} of component {component:?} is no parcel's digest")]
    Source {
        /// The component's id.
        component: String,
        /// What the manifest says.
        stated: String,
    },
    /// More than a limit allows.
    #[error("the bindle has more than {limit} {of}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// What it counts.
        of: &'static str,
    },
    /// Its content.
    #[error(transparent)]
    Content(#[from] ArtifactError),
}

/// Writes an application as a bindle below `into`, in a folder of its own. Its version is the application's, with `build` as its
/// build metadata.
///
/// The same application makes the same bindle but for the names of the parcels with code, which are their places beside the manifest
/// if they have one. Blocks: call it where that is allowed.
///
/// # Errors
/// The application's name or version cannot be a bindle's, its content is incomplete or too large, or the disk.
pub fn write(
    app: &Application,
    build: Option<&BuildMetadata>,
    into: &Path,
) -> Result<Standalone, WriteError> {
    let id = id(&app.locked, build)?;
    let content = pack::content(app)?;
    let mut parcels = Parcels::new(content.blobs);
    let locked = &content.locked;

    let spin = spin::Manifest::of(locked);
    // The bindle's version with its build metadata is not the application's.
    let plain = Invoice::of(&self::id(&app.locked, None)?, locked);
    let said = spin.as_ref().and_then(|spin| spin.to_locked(&plain).ok());
    let is_said = said.as_ref().is_some_and(|said| essence(said, true) == essence(locked, true));
    let is_all_said =
        is_said && said.as_ref().is_some_and(|said| essence(said, false) == essence(locked, false));
    if let (Some(spin), true) = (&spin, is_said) {
        let text = spin.to_toml();
        let name = format!("spin.{}.toml", Digest::of(&text).hex());
        let label = parcels.add_bytes(name, SPIN_MANIFEST, text.into_bytes());
        label.annotations = BTreeMap::from([DELETE_ON_WRITE].map(|(k, v)| (k.into(), v.into())));
    }
    if !is_all_said {
        let json = serde_json::to_vec(locked).expect("a locked app serialises");
        let limit = limits::LOCKED_APP_BYTES;
        if json.len() as u64 > limit {
            let (found, of) = (json.len() as u64, "bytes in its locked app");
            return Err(PackError::TooLarge { found, limit, of }.into());
        }
        let name = format!("locked.{}.json", Digest::of(&json).hex());
        let _ = parcels.add_bytes(name, oci::LOCKED_APP, json);
    }
    if app.settings != Settings::default() {
        let json = serde_json::to_vec(&app.settings).expect("settings serialise");
        let _ = parcels.add_bytes("settings.json".to_owned(), SETTINGS, json);
    }
    parcels.add_code(app, locked);
    parcels.add_files(locked);

    let mut invoice = Invoice::of(&id, locked);
    invoice.parcel = parcels.list;
    invoice.group = locked
        .components
        .iter()
        .map(|component| Group {
            name: spin::group(&component.id),
            required: false,
            satisfied_by: SatisfiedBy::default(),
        })
        .collect();
    // As it will be read, so that nothing is written that nobody takes.
    let invoice = Invoice::from_toml(&invoice.to_toml())?;
    let labels: Vec<_> = invoice.parcel.iter().map(|parcel| parcel.label.clone()).collect();
    let writer = Writer::new(into, invoice)?;
    let mut written = HashSet::new();
    for label in labels {
        let Some(data) = parcels.content.get(&label.sha256) else { continue };
        if !written.insert(label.sha256.clone()) {
            continue;
        }
        match data {
            Data::Bytes(bytes) => writer.add(&label, &mut bytes.as_ref())?,
            Data::File(path) => writer.add(&label, &mut fs_err::File::open(path)?)?,
            Data::Temporary(path) => writer.add(&label, &mut fs_err::File::open(&**path)?)?,
        }
    }
    Ok(writer.finish()?)
}

/// The bindle that an application becomes.
fn id(locked: &LockedApp, build: Option<&BuildMetadata>) -> Result<BindleId, WriteError> {
    let name = locked.name();
    let mut version = locked.version().unwrap_or_default().to_owned();
    if let Some(build) = build {
        version = format!("{version}+{build}");
    }
    format!("{name}/{version}").parse().map_err(|source| {
        let name = name.to_owned();
        WriteError::Id { name, version, source }
    })
}

/// What is the same of an application wherever it is; if so wanted, without what makes no difference to whom runs it.
fn essence(locked: &LockedApp, is_run: bool) -> LockedApp {
    let mut locked = locked.clone();
    if is_run {
        let of_http = locked.metadata.get_mut("triggers").and_then(|all| all.get_mut("http"));
        forget_base(of_http);
        forget_base(locked.metadata.get_mut("trigger"));
    }
    let forget = |source: &mut LockedSource| source.content = ContentRef::default();
    for component in &mut locked.components {
        forget(&mut component.source);
        component.files.clear();
        component.dependencies.values_mut().for_each(|one| forget(&mut one.source));
        let of_trigger = component.trigger_dependencies.values_mut().flatten();
        of_trigger.for_each(|one| forget(&mut one.source));
        if is_run {
            component.metadata.shift_remove("build");
        }
    }
    locked
}

/// Removes the base that all routes have anyway.
fn forget_base(settings: Option<&mut Value>) {
    if let Some(settings) = settings.and_then(Value::as_object_mut)
        && settings.get("base").and_then(Value::as_str) == Some("/")
    {
        settings.shift_remove("base");
    }
}

impl Invoice {
    /// An invoice with what the metadata says of the application, and no parcels.
    fn of(id: &BindleId, locked: &LockedApp) -> Self {
        let mut invoice = Self::new(id);
        let text = |key: &str| locked.metadata.get(key).and_then(Value::as_str).map(str::to_owned);
        invoice.bindle.description = text("description").filter(|text| !text.is_empty());
        let authors = locked.metadata.get("authors").and_then(Value::as_array);
        let authors = authors.into_iter().flatten().filter_map(Value::as_str);
        invoice.bindle.authors = authors.map(str::to_owned).collect();
        invoice
    }
}

/// The parcels of an invoice, and where their content is.
struct Parcels {
    list: Vec<Parcel>,
    content: HashMap<String, Data>,
    sizes: HashMap<String, u64>,
}

impl Parcels {
    fn new(blobs: Vec<Blob>) -> Self {
        let sizes = blobs.iter().map(|blob| (blob.digest.hex(), blob.size)).collect();
        let content = blobs.into_iter().map(|blob| (blob.digest.hex(), blob.data)).collect();
        Self { list: Vec::new(), content, sizes }
    }

    fn add(&mut self, name: String, media_type: &str, sha256: String) -> &mut Parcel {
        let size = self.sizes.get(&sha256).copied().unwrap_or_default();
        let label = Label {
            sha256,
            media_type: media_type.to_owned(),
            name,
            size,
            annotations: BTreeMap::new(),
            feature: BTreeMap::new(),
            origin: None,
        };
        self.list.push(Parcel { label, conditions: Conditions::default() });
        self.list.last_mut().expect("it was just put there")
    }

    fn add_bytes(&mut self, name: String, media_type: &str, bytes: Vec<u8>) -> &mut Label {
        let sha256 = Digest::of(&bytes).hex();
        self.sizes.insert(sha256.clone(), bytes.len() as u64);
        self.content.insert(sha256.clone(), Data::Bytes(bytes.into()));
        &mut self.add(name, media_type, sha256).label
    }

    /// The code of the components, and what is composed with them, each once.
    fn add_code(&mut self, app: &Application, locked: &LockedApp) {
        let root = locked_root(&app.locked);
        let mut known = BTreeSet::new();
        for component in &locked.components {
            let id = &component.id;
            let path = app.wasm.get(id).map(|file| file.path.as_path());
            let name = root.as_deref().zip(path).and_then(|(root, path)| name_below(root, path));
            let own = (&component.source, name.unwrap_or_else(|| format!("{id}.wasm")));
            let of_trigger = component.trigger_dependencies.values().flatten();
            let others = component.dependencies.values().chain(of_trigger).map(|dependency| {
                let sha256 = sha256(&dependency.source.content);
                (&dependency.source, format!("{}.wasm", sha256.unwrap_or_default()))
            });
            for (source, name) in std::iter::once(own).chain(others) {
                if let Some(sha256) = sha256(&source.content)
                    && known.insert(sha256.to_owned())
                {
                    let _ = self.add(name, oci::WASM_PACKAGE, sha256.to_owned());
                }
            }
        }
    }

    /// The files, those that several components see in one place once.
    fn add_files(&mut self, locked: &LockedApp) {
        let mut known: HashMap<(String, String), usize> = HashMap::new();
        for component in &locked.components {
            let group = spin::group(&component.id);
            for file in &component.files {
                let Some(sha256) = sha256(&file.content) else { continue };
                let key = (file.path.clone(), sha256.to_owned());
                if let Some(index) = known.get(&key) {
                    self.list[*index].conditions.member_of.push(group.clone());
                    continue;
                }
                let kind = media_type(Path::new(&file.path));
                let parcel = self.add(file.path.clone(), kind, sha256.to_owned());
                parcel.conditions.member_of.push(group.clone());
                known.insert(key, self.list.len() - 1);
            }
        }
    }
}

fn sha256(content: &ContentRef) -> Option<&str> {
    content.digest.as_deref()?.strip_prefix("sha256:")
}

/// The folder of the manifest that the application was loaded from.
fn locked_root(locked: &LockedApp) -> Option<PathBuf> {
    let origin = locked.metadata.get("origin")?.as_str()?.parse::<Url>().ok()?;
    let path = origin.to_file_path().ok()?;
    path.parent().map(Path::to_owned)
}

/// The path from the folder to the file, if it leads down only.
fn name_below(root: &Path, path: &Path) -> Option<String> {
    let below = path.strip_prefix(root).ok()?;
    let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
    below.to_str().filter(|name| is_plain && !name.is_empty()).map(str::to_owned)
}

/// Whether the invoice is that of an application that may be loaded, before any parcel is there.
///
/// # Errors
/// It is not, or its parcels are more than an application may have.
pub fn check(invoice: &Invoice) -> Result<(), LoadError> {
    let forms = (only(invoice, SPIN_MANIFEST)?, only(invoice, oci::LOCKED_APP)?);
    if forms == (None, None) {
        return Err(LoadError::NotAnApplication);
    }
    let mut seen = HashSet::new();
    let labels = invoice.parcel.iter().map(|parcel| &parcel.label);
    let labels = labels.filter(|label| seen.insert(&label.sha256));
    let bytes = labels.fold(0_u64, |sum, label| sum.saturating_add(label.size));
    let limit = limits::UNPACKED_BYTES;
    if bytes > limit {
        return Err(LoadError::TooLarge { limit, of: "bytes in its parcels" });
    }
    Ok(())
}

/// Loads the application of a bindle: verifies its code and lays out its files below `dir`, as
/// [`artifact::load`] does.
///
/// Whether the invoice is to be believed has to be known before. Blocks: call it where that is allowed.
///
/// # Errors
/// It is no application, or a parcel is missing, damaged, hostile or too large. Nothing half done keeps its place.
pub fn load(
    invoice: &Invoice,
    parcels: &dyn BlobSource,
    dir: &Path,
) -> Result<Application, LoadError> {
    check(invoice)?;
    let locked = if let Some(label) = only(invoice, oci::LOCKED_APP)? {
        let json = read(label, parcels)?;
        serde_json::from_slice(&json).map_err(LoadError::LockedApp)?
    } else {
        let label = only(invoice, SPIN_MANIFEST)?.ok_or(LoadError::NotAnApplication)?;
        let text = String::from_utf8(read(label, parcels)?).map_err(|_| LoadError::NotText)?;
        spin::Manifest::from_toml(&text)?.to_locked(invoice)?
    };
    let settings = match only(invoice, SETTINGS)? {
        Some(label) => {
            serde_json::from_slice(&read(label, parcels)?).map_err(LoadError::Settings)?
        }
        None => Settings::default(),
    };
    let mut seen = HashSet::new();
    let layers = invoice.parcel.iter().filter_map(|parcel| {
        let digest = parcel.label.digest().filter(|digest| seen.insert(*digest))?;
        // None is an archive to be unpacked: a file that looks like one is a file.
        Some(Descriptor::new(oci::FILE, digest, parcel.label.size))
    });
    let layers = layers.collect();
    let json = serde_json::to_vec(&locked).expect("a locked app serialises");
    let config = Descriptor::new(oci::LOCKED_APP, Digest::of(&json), json.len() as u64);
    let manifest = Manifest::new(config, layers, BTreeMap::new());
    let identity = manifest.to_bytes();
    let contents = Contents { manifest, locked, settings };
    Ok(artifact::load_contents(&contents, &identity, parcels, dir, &Caps::default())?)
}

/// The only parcel of that type, if there is one.
fn only<'a>(
    invoice: &'a Invoice,
    media_type: &'static str,
) -> Result<Option<&'a Label>, LoadError> {
    let labels = invoice.parcel.iter().map(|parcel| &parcel.label);
    let mut labels = labels.filter(|label| label.media_type == media_type);
    match (labels.next(), labels.next()) {
        (only, None) => Ok(only),
        (_, Some(_)) => Err(LoadError::Several(media_type)),
    }
}

fn read(label: &Label, parcels: &dyn BlobSource) -> Result<Vec<u8>, LoadError> {
    let digest = label.digest().ok_or_else(|| LoadError::Digest(label.name.clone()))?;
    let limit = limits::LOCKED_APP_BYTES;
    if label.size > limit {
        return Err(LoadError::TooLarge { limit, of: "bytes in its manifest" });
    }
    let of = Descriptor::new(&label.media_type, digest, label.size);
    Ok(artifact::read_blob(&of, parcels)?)
}

/// The files of a group, each where its parcel's name says.
fn files_of(invoice: &Invoice) -> HashMap<&str, Vec<ContentPath>> {
    let mut groups: HashMap<&str, Vec<ContentPath>> = HashMap::new();
    let mut seen = HashSet::new();
    for parcel in &invoice.parcel {
        let Label { name, sha256, .. } = &parcel.label;
        for group in &parcel.conditions.member_of {
            // The same file twice is one file: Spin's tools wrote such invoices.
            if seen.insert((group, name, sha256)) {
                let digest = Some(format!("sha256:{sha256}"));
                let content = ContentRef { digest, ..ContentRef::default() };
                let file = ContentPath { content, path: name.clone() };
                groups.entry(group.as_str()).or_default().push(file);
            }
        }
    }
    groups
}
