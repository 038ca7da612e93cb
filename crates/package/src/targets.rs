//! Whether an application's components could run in the environments that its manifest names as `targets`.
//!
//! An environment's definition says, for each type of trigger, which worlds its components may be of:
//!
//! ```toml
//! [triggers]
//! http = { worlds = [{ path = "wit", world = "spin:up/http-trigger@3.2.0" }], capabilities = ["local_service_chaining"] }
//! [default]
//! worlds = [{ path = "wit", world = "spin:up/platform@3.2.0" }]
//! ```
//!
//! Nothing is fetched: an environment is known where its definition and its worlds are files.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use gyre_manifest::{
    AppManifest,
    schema::{Component, TargetEnvironment},
};
use gyre_model::{Application, locked::LockedComponent};
use serde::{Deserialize, de::IgnoredAny};
use wac_graph::types::{
    ItemKind, Package, TargetValidationReport, Type, Types, WorldId, validate_target,
};
use wit_parser::Resolve;

use crate::{compose, limits};

/// What the check found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Why components cannot run in an environment, each with its component and environment.
    pub problems: Vec<String>,
    /// Environments whose definition or worlds are not on this machine.
    pub unknown: Vec<String>,
}

/// Why components cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The definition of an environment cannot be read.
    #[error("cannot read the target environment {}", path.display())]
    Read {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The definition of an environment is none.
    #[error("the target environment {} is not valid", path.display())]
    Definition {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A world of an environment is not what its definition says.
    #[error("the world {world} of the target environment {environment} cannot be used: {reason}")]
    World {
        /// The environment.
        environment: String,
        /// The world's name.
        world: String,
        /// Why.
        reason: String,
    },
    /// A trigger that an environment does not have.
    #[error("Environment {environment} does not support trigger type {trigger}")]
    Trigger {
        /// The environment.
        environment: String,
        /// The trigger's type.
        trigger: String,
    },
    /// A component that cannot be read.
    #[error("component {component:?} cannot be checked: {reason}")]
    Component {
        /// Its id.
        component: String,
        /// Why.
        reason: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    triggers: BTreeMap<String, TriggerDefinition>,
    /// For triggers that are not listed; without it they are not supported.
    default: Option<TriggerDefinition>,
    #[serde(default, rename = "metadata")]
    _metadata: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TriggerDefinition {
    worlds: Vec<WorldDefinition>,
    #[serde(default)]
    capabilities: Vec<String>,
}

/// Where a world is.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum WorldDefinition {
    File {
        path: PathBuf,
        world: String,
    },
    /// In a registry.
    Elsewhere(IgnoredAny),
}

/// An environment, its worlds read.
struct Environment {
    name: String,
    triggers: BTreeMap<String, TriggerTarget>,
    default: Option<TriggerTarget>,
}

#[derive(Default)]
struct TriggerTarget {
    worlds: Vec<World>,
    /// Whether there are worlds that are not on this machine.
    has_unknown: bool,
    capabilities: Vec<String>,
}

struct World {
    /// `namespace:package/world@version`.
    name: String,
    /// Its package, encoded.
    package: Vec<u8>,
}

/// Checks what triggers call against the targets of the manifest, which lies in `root`. `application` is what the manifest
/// was loaded as, composed.
///
/// Blocks: call it where that is allowed.
///
/// # Errors
/// An environment or a component that cannot be read, or an environment without a trigger that the application has.
pub fn check(
    app: &AppManifest,
    root: &Path,
    application: &Application,
) -> Result<Checked, TargetError> {
    let mut checked = Checked::default();
    let mut known = BTreeMap::new();
    for trigger in &application.locked.triggers {
        let mut called: Vec<_> =
            compose::called(std::slice::from_ref(trigger)).into_iter().collect();
        called.sort();
        for id in called {
            let targets = component_of(app, &id).and_then(|component| component.targets.as_ref());
            for target in targets.unwrap_or(&app.application.targets) {
                let TargetEnvironment::Path(path) = target.value() else {
                    checked.is_unknown(name_of(target.value()));
                    continue;
                };
                if !known.contains_key(path) {
                    known.insert(path.clone(), Environment::read(&root.join(path), path)?);
                }
                let component = application.locked.components.iter().find(|it| it.id == id);
                if let (Some(environment), Some(component)) = (known.get(path), component) {
                    environment.check(
                        &trigger.trigger_type,
                        component,
                        application,
                        &mut checked,
                    )?;
                }
            }
        }
    }
    Ok(checked)
}

/// The manifest's component of that id; with middleware, a component is called `<id>-for-<trigger>`.
fn component_of<'a>(app: &'a AppManifest, id: &str) -> Option<&'a Component> {
    let named = |name: &str| {
        app.components.iter().find(|(id, _)| id.as_str() == name).map(|(_, component)| component)
    };
    named(id).or_else(|| named(id.split_once("-for-")?.0))
}

/// What an environment is called in messages.
fn name_of(target: &TargetEnvironment) -> &str {
    match target {
        TargetEnvironment::Catalogue(name)
        | TargetEnvironment::Url(name)
        | TargetEnvironment::Path(name) => name,
    }
}

impl Checked {
    fn is_unknown(&mut self, name: &str) {
        if !self.unknown.iter().any(|known| known == name) {
            self.unknown.push(name.to_owned());
        }
    }
}

impl Environment {
    fn read(file: &Path, name: &str) -> Result<Self, TargetError> {
        let failed = |source| TargetError::Read { path: file.to_owned(), source };
        let text = fs_err::read_to_string(file).map_err(failed)?;
        let definition: Definition = toml::from_str(&text).map_err(|source| {
            TargetError::Definition { path: file.to_owned(), source: Box::new(source) }
        })?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let trigger = |it: TriggerDefinition| TriggerTarget::read(it, folder, name);
        Ok(Self {
            name: name.to_owned(),
            triggers: definition
                .triggers
                .into_iter()
                .map(|(of, it)| Ok((of, trigger(it)?)))
                .collect::<Result<_, TargetError>>()?,
            default: definition.default.map(trigger).transpose()?,
        })
    }

    fn check(
        &self,
        trigger: &str,
        component: &LockedComponent,
        application: &Application,
        checked: &mut Checked,
    ) -> Result<(), TargetError> {
        let Some(target) = self.triggers.get(trigger).or(self.default.as_ref()) else {
            let (environment, trigger) = (self.name.clone(), trigger.to_owned());
            return Err(TargetError::Trigger { environment, trigger });
        };
        let unreadable =
            |reason: String| TargetError::Component { component: component.id.clone(), reason };
        let wasm = application.wasm.get(&component.id);
        let wasm = wasm.ok_or_else(|| unreadable("it is not on this machine".to_owned()))?;
        let bytes = fs_err::read(&wasm.path).map_err(|error| unreadable(error.to_string()))?;
        let bytes = gyre_adapt::adapt(bytes).map_err(|error| unreadable(error.to_string()))?;
        let mut last = None;
        let mut fits = false;
        for world in &target.worlds {
            // The input is anybody's, and the libraries that read it assert much.
            let found = catch_unwind(AssertUnwindSafe(|| world.fits(&component.id, bytes.clone())));
            let found = found.unwrap_or_else(|_| Err("the check failed unexpectedly".to_owned()));
            match found.map_err(&unreadable)? {
                None => {
                    fits = true;
                    break;
                }
                Some(misfit) => last = Some((world, misfit)),
            }
        }
        if !fits && target.has_unknown {
            checked.is_unknown(&self.name);
        } else if !fits {
            let (world, misfit) =
                last.map_or(("none", String::new()), |(world, misfit)| (&*world.name, misfit));
            let problem = format!(
                "Component {} can't run in environment {} (world {world}).\n{misfit}",
                component.id, self.name
            );
            let problem = problem.trim_end().to_owned();
            checked.problems.push(problem);
        }
        let lacks = |name: &&String| !target.capabilities.contains(name);
        let lacking: Vec<_> = component.host_requirements.keys().filter(lacks).cloned().collect();
        if !lacking.is_empty() {
            checked.problems.push(format!(
                "Component {} can't run in environment {} because it requires the feature(s) '{}' which the environment does not support",
                component.id,
                self.name,
                lacking.join(", ")
            ));
        }
        Ok(())
    }
}

impl TriggerTarget {
    fn read(definition: TriggerDefinition, folder: &Path, name: &str) -> Result<Self, TargetError> {
        let TriggerDefinition { worlds, capabilities } = definition;
        let mut target = Self { capabilities, ..Self::default() };
        for world in worlds {
            match world {
                WorldDefinition::Elsewhere(_) => target.has_unknown = true,
                WorldDefinition::File { path, world } => {
                    let package = package_of(&folder.join(path), &world).map_err(|reason| {
                        let (environment, world) = (name.to_owned(), world.clone());
                        TargetError::World { environment, world, reason }
                    })?;
                    target.worlds.push(World { name: world, package });
                }
            }
        }
        Ok(target)
    }
}

/// The package of a world's name, encoded, out of a file or folder of WIT or an encoded package.
fn package_of(path: &Path, world: &str) -> Result<Vec<u8>, String> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(path).map_err(|error| format!("{error:#}"))?;
    let (of, name) = world.split_once('/').ok_or("its name is not namespace:package/world")?;
    let (name, version) = name.split_once('@').map_or((name, None), |(name, of)| (name, Some(of)));
    let found = &resolve.packages[package];
    let is_named = format!("{}:{}", found.name.namespace, found.name.name) == of
        && found.name.version.as_ref().map(ToString::to_string).as_deref() == version;
    if !is_named {
        return Err(format!("{} is the package {}", path.display(), found.name));
    }
    if !found.worlds.contains_key(name) {
        return Err(format!("{} has no such world", path.display()));
    }
    let bytes = wit_component::encode(&resolve, package).map_err(|error| format!("{error:#}"))?;
    if bytes.len() as u64 > limits::COMPOSED_BYTES {
        return Err(format!("its package is larger than {} bytes", limits::COMPOSED_BYTES));
    }
    Ok(bytes)
}

impl World {
    /// Nothing if the component is of this world, else how it differs.
    fn fits(&self, id: &str, component: Vec<u8>) -> Result<Option<String>, String> {
        let mut types = Types::default();
        let mut package = |name: &str, bytes: Vec<u8>| {
            Package::from_bytes(name, None, bytes, &mut types).map_err(|error| format!("{error:#}"))
        };
        let target = package("target", self.package.clone())?;
        let component = package(id, component)?;
        let world =
            self.in_package(&types, target.ty()).ok_or("its world is not encoded as worlds are")?;
        Ok(validate_target(&types, world, component.ty())
            .err()
            .map(|report| misfit(&types, &report)))
    }

    /// The world of that name in a package of interfaces: it is the type of a component that exports one.
    fn in_package(&self, types: &Types, package: WorldId) -> Option<WorldId> {
        let name = self.name.split_once('/')?.1;
        let name = name.split_once('@').map_or(name, |(name, _)| name);
        let ItemKind::Type(Type::World(outer)) = types[package].exports.get(name)? else {
            return None;
        };
        match types[*outer].exports.values().next()? {
            ItemKind::Component(world) => Some(*world),
            _ => None,
        }
    }
}

/// How a component differs from a world, in Spin's words.
fn misfit(types: &Types, report: &TargetValidationReport) -> String {
    let imports = report.imports_not_in_target().map(|name| format!("  - {name}"));
    let exports =
        report.missing_exports().map(|(name, kind)| format!("  - {name} ({})", kind.desc(types)));
    let mismatches = report
        .mismatched_types()
        .map(|(name, kind, error)| format!("Found a type mismatch for {kind} {name}: {error:#}"));
    let mut lines = Vec::new();
    lines.extend(imports);
    if !lines.is_empty() {
        lines.insert(0, NOT_PROVIDED.to_owned());
    }
    let before = lines.len();
    lines.extend(exports);
    if lines.len() > before {
        lines.insert(before, NOT_EXPORTED.to_owned());
    }
    lines.extend(mismatches);
    lines.join("\n")
}

const NOT_PROVIDED: &str =
    "The component requires the following imports, which the environment does not provide:";
const NOT_EXPORTED: &str =
    "The environment requires the following exports, which the component does not provide:";

#[cfg(test)]
mod tests;
