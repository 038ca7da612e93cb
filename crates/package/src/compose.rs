//! Components with dependencies and middleware become single components.
//!
//! Each dependency is first confined: what it does not inherit from the component that depends on it is answered by
//! a generated adapter (`deny`) instead of by the host. The host sees one component, and holds it to what the
//! component's own table of the manifest allows.
//!
//! What was composed is kept under a digest of everything that went into it, so that it is composed once.

use std::{
    collections::HashSet,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use gyre_manifest::{lock, schema::DependencyName};
use gyre_model::{
    Application, Digest, Hasher, WasmFile,
    locked::{LockedComponent, LockedDependency, LockedTrigger},
};
use serde_json::Value;

use crate::{artifact, digests, limits};

mod capabilities;
mod deny;
mod graph;
#[cfg(test)]
mod tests;
mod wit;

use capabilities::Inherited;
pub use wit::dependencies_wit;

/// Changes when the same inputs would be composed differently.
const VERSION: &str = "1";

/// Why a component cannot be composed with its dependencies.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// Nothing that the component imports is of that name.
    #[error("dependency '{dependency}' doesn't match any imports of component '{component}'")]
    Unmatched {
        /// The dependency's name.
        dependency: String,
        /// The component's id.
        component: String,
    },
    /// More than one dependency for an import.
    #[error("component '{component}' has dependency conflicts: {conflicts}")]
    Conflicts {
        /// The component's id.
        component: String,
        /// Which imports, and which dependencies.
        conflicts: String,
    },
    /// The dependency does not have what is needed of it.
    #[error("dependency '{dependency}' doesn't export '{export}' to satisfy import '{import}'")]
    MissingExport {
        /// The dependency's name.
        dependency: String,
        /// What it should export.
        export: String,
        /// The component's import.
        import: String,
    },
    /// The dependency has it, but with other types.
    #[error(
        "dependency '{dependency}' exports '{export}' which is not compatible with import '{import}': {reason}"
    )]
    Incompatible {
        /// The dependency's name.
        dependency: String,
        /// Its export.
        export: String,
        /// The component's import.
        import: String,
        /// How they differ.
        reason: String,
    },
    /// The component behind middleware is no handler of the kind that can be composed.
    #[error("component '{0}' has middleware but does not export 'wasi:http/handler' (WASI 0.3)")]
    NoHandler(String),
    /// What should be middleware is none.
    #[error("middleware {index} of component '{component}' does not {verb} '{handler}'")]
    NoMiddleware {
        /// Which, counted from 1.
        index: usize,
        /// The component's id.
        component: String,
        /// `import` or `export`.
        verb: &'static str,
        /// The handler's interface.
        handler: String,
    },
    /// A dependency of a trigger in a role that the trigger does not have.
    #[error("the {trigger} trigger has no dependencies `{role}`{}", if trigger == "http" {
        ": the HTTP trigger's only allowed trigger dependency is `middleware`"
    } else {
        ""
    })]
    Role {
        /// The trigger's type.
        trigger: String,
        /// The role.
        role: String,
    },
    /// A name that is none.
    #[error("component '{component}' has a dependency with the invalid name '{name}'")]
    Name {
        /// The component's id.
        component: String,
        /// The name.
        name: String,
    },
    /// Code that cannot be made a component.
    #[error("{what} cannot be composed")]
    Adapt {
        /// Whose code.
        what: String,
        /// Why.
        #[source]
        source: gyre_adapt::AdaptError,
    },
    /// A dependency that cannot be confined to what it inherits.
    #[error(
        "dependency '{dependency}' cannot be confined to the capabilities that it inherits: {reason}"
    )]
    Deny {
        /// The dependency's name.
        dependency: String,
        /// Why.
        reason: String,
    },
    /// Something is wrong with a component.
    #[error(
        "an error occurred when preparing the dependencies of component '{component}': {reason}"
    )]
    Prepare {
        /// The component's id.
        component: String,
        /// What.
        reason: String,
    },
    /// Code that is not on this machine.
    #[error("{0} is not on this machine")]
    Missing(String),
    /// More than a limit allows.
    #[error("component '{component}' has {found} {of}; at most {limit} are allowed")]
    TooLarge {
        /// The component's id.
        component: String,
        /// What it has.
        found: u64,
        /// The limit.
        limit: u64,
        /// What is counted.
        of: &'static str,
    },
    /// A mistake of ours, or of a library, that was caught.
    #[error("composing component '{0}' failed unexpectedly")]
    Internal(String),
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Composes every component that a trigger calls and that has dependencies. Afterwards none of these has any. What is
/// composed is kept below `dir`, or found there.
///
/// Blocks: call it where that is allowed.
///
/// # Errors
/// See [`ComposeError`]; the application is then to be thrown away.
pub fn compose(app: &mut Application, dir: &Path) -> Result<(), ComposeError> {
    lock::move_trigger_dependencies(&mut app.locked, |original, clone| {
        if let Some(wasm) = app.wasm.get(original).cloned() {
            app.wasm.insert(clone.to_owned(), wasm);
        }
        if let Some(mounts) = app.mounts.get(original).cloned() {
            app.mounts.insert(clone.to_owned(), mounts);
        }
    });
    let called = called(&app.locked.triggers);
    for component in &mut app.locked.components {
        let has_none =
            component.dependencies.is_empty() && component.trigger_dependencies.is_empty();
        // Components that are only other components' dependencies may have imports that nobody satisfies.
        if has_none || !called.contains(&component.id) {
            continue;
        }
        let wasm = app
            .wasm
            .get_mut(&component.id)
            .ok_or_else(|| ComposeError::Missing(format!("component {:?}", component.id)))?;
        *wasm = composed(component, wasm, dir)?;
        component.source.content = artifact::local_content(&wasm.path, Some(wasm.digest));
        component.dependencies.clear();
        component.trigger_dependencies.clear();
        component.metadata.shift_remove(lock::RESOLVE_USING);
        component.host_requirements.shift_remove(lock::MIDDLEWARE);
    }
    lock::set_version(&mut app.locked);
    Ok(())
}

/// The components that triggers call: `component`, and all that `components` names.
pub(crate) fn called(triggers: &[LockedTrigger]) -> HashSet<String> {
    fn collect(value: &Value, into: &mut HashSet<String>) {
        match value {
            Value::String(id) => drop(into.insert(id.clone())),
            Value::Array(list) => list.iter().for_each(|one| collect(one, into)),
            Value::Object(table) => table.values().for_each(|one| collect(one, into)),
            _ => {}
        }
    }
    let mut ids = HashSet::new();
    for trigger in triggers {
        for key in ["component", "components"] {
            trigger.trigger_config.get(key).into_iter().for_each(|it| collect(it, &mut ids));
        }
    }
    ids
}

/// One dependency of a component, or middleware.
struct Input<'a> {
    name: String,
    dependency: &'a LockedDependency,
    path: PathBuf,
    digest: Digest,
    inherited: Inherited,
}

fn composed(
    component: &LockedComponent,
    wasm: &WasmFile,
    dir: &Path,
) -> Result<WasmFile, ComposeError> {
    let id = component.id.as_str();
    let trigger = component.metadata.get(lock::RESOLVE_USING).and_then(Value::as_str);
    for role in component.trigger_dependencies.keys() {
        if (trigger.unwrap_or("http"), role.as_str()) != ("http", lock::MIDDLEWARE) {
            let trigger = trigger.unwrap_or("http").to_owned();
            return Err(ComposeError::Role { trigger, role: role.clone() });
        }
    }
    let middleware = component.trigger_dependencies.get(lock::MIDDLEWARE);
    let middleware = middleware.map_or(&[][..], Vec::as_slice);
    let count = component.dependencies.len() + middleware.len();
    ensure_within(id, count as u64, limits::DEPENDENCIES as u64, "dependencies")?;

    let mut total = 0;
    let mut find = |name: String, dependency| {
        let Some(path) = local_path(dependency) else {
            return Err(ComposeError::Missing(format!("dependency '{name}' of component '{id}'")));
        };
        total += fs_err::metadata(&path)?.len();
        ensure_within(id, total, limits::COMPOSED_BYTES, "bytes in its dependencies")?;
        let stated = dependency.source.content.digest.as_deref().map(str::parse);
        let digest = match stated {
            Some(Ok(digest)) => digest,
            _ => digests::of_file(&path)?.0,
        };
        let inherited = Inherited::of_locked(&dependency.inherit);
        Ok(Input { name, dependency, path, digest, inherited })
    };
    let dependencies = component
        .dependencies
        .iter()
        .map(|(name, dependency)| find(name.clone(), dependency))
        .collect::<Result<Vec<_>, _>>()?;
    let middleware = middleware
        .iter()
        .enumerate()
        .map(|(index, dependency)| find(format!("middleware {}", index + 1), dependency))
        .collect::<Result<Vec<_>, _>>()?;

    let folder = dir.join("composed").join(key(wasm.digest, &dependencies, &middleware));
    let folder = std::path::absolute(folder)?;
    if let Some(found) = find_composed(&folder)? {
        return Ok(found);
    }
    let build = || build(id, wasm, &dependencies, &middleware);
    // The input is anybody's, and the libraries that read it assert much.
    let bytes = catch_unwind(AssertUnwindSafe(build))
        .map_err(|_| ComposeError::Internal(id.to_owned()))??;
    ensure_within(id, bytes.len() as u64, limits::COMPOSED_BYTES, "bytes once composed")?;
    let digest = Digest::of(&bytes);
    let path = folder.join(format!("{}.wasm", digest.hex()));
    digests::write_whole(&path, &bytes)?;
    Ok(WasmFile { path, digest })
}

/// What was composed earlier: its name is its digest.
fn find_composed(folder: &Path) -> io::Result<Option<WasmFile>> {
    let entries = match fs_err::read_dir(folder) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let hex = name.and_then(|name| name.strip_suffix(".wasm"));
        if let Some(digest) = hex.and_then(|hex| format!("sha256:{hex}").parse().ok()) {
            return Ok(Some(WasmFile { path, digest }));
        }
    }
    Ok(None)
}

fn build(
    id: &str,
    parent: &WasmFile,
    dependencies: &[Input<'_>],
    middleware: &[Input<'_>],
) -> Result<Vec<u8>, ComposeError> {
    let read = |what: String, path: &Path| {
        let bytes = fs_err::read(path)?;
        gyre_adapt::adapt(bytes).map_err(|source| ComposeError::Adapt { what, source })
    };
    let confined = |input: &Input<'_>| {
        let what = format!("dependency '{}' of component '{id}'", input.name);
        graph::confine(&input.name, read(what, &input.path)?, &input.inherited)
    };
    let mut component = read(format!("component '{id}'"), &parent.path)?;
    if !dependencies.is_empty() {
        let mut parts = Vec::new();
        for input in dependencies {
            let Ok(name) = input.name.parse::<DependencyName>() else {
                let name = input.name.clone();
                return Err(ComposeError::Name { component: id.to_owned(), name });
            };
            let bytes = confined(input)?;
            parts.push(graph::Part { name, bytes, export: input.dependency.export.clone() });
        }
        component = graph::with_dependencies(id, component, parts)?;
    }
    if !middleware.is_empty() {
        let chain = middleware.iter().map(confined).collect::<Result<_, _>>()?;
        component = graph::with_middleware(id, component, chain)?;
    }
    Ok(component)
}

/// The digest of all that decides what is composed.
fn key(parent: Digest, dependencies: &[Input<'_>], middleware: &[Input<'_>]) -> String {
    let mut hasher = Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(VERSION.as_bytes());
    field(env!("CARGO_PKG_VERSION").as_bytes());
    field(parent.to_string().as_bytes());
    field(&(dependencies.len() as u64).to_le_bytes());
    for input in dependencies.iter().chain(middleware) {
        field(input.name.as_bytes());
        field(format!("{:?}", input.dependency.export).as_bytes());
        field(format!("{:?}", input.inherited).as_bytes());
        field(input.digest.to_string().as_bytes());
    }
    hasher.finish().hex()
}

/// Where a dependency's code is on this machine.
pub(crate) fn local_path(dependency: &LockedDependency) -> Option<PathBuf> {
    let source = dependency.source.content.source.as_deref()?;
    url::Url::parse(source).ok()?.to_file_path().ok()
}

fn ensure_within(
    component: &str,
    found: u64,
    limit: u64,
    of: &'static str,
) -> Result<(), ComposeError> {
    if found <= limit {
        return Ok(());
    }
    Err(ComposeError::TooLarge { component: component.to_owned(), found, limit, of })
}
