//! Components put together: a dependency behind what denies, a component with its dependencies, a handler behind
//! its middleware.

use std::collections::BTreeMap;

use gyre_manifest::schema::DependencyName;
use wac_graph::{
    CompositionGraph, NodeId, PackageId,
    types::{Package, SubtypeChecker, WorldId},
};

use super::{ComposeError, capabilities::Inherited, deny};

/// What satisfies imports of a component.
pub(super) struct Part {
    pub(super) name: DependencyName,
    pub(super) bytes: Vec<u8>,
    /// The export to use, where it is not named as the import.
    pub(super) export: Option<String>,
}

/// The interface of middleware and of what is behind it.
const HANDLER: &str = "wasi:http/handler@";

/// A component that can use nothing of the host but what it inherits.
pub(super) fn confine(
    name: &str,
    component: Vec<u8>,
    inherited: &Inherited,
) -> Result<Vec<u8>, ComposeError> {
    let failed = |reason: String| ComposeError::Deny { dependency: name.to_owned(), reason };
    let Some(adapter) = deny::adapter(&component, inherited).map_err(failed)? else {
        return Ok(component);
    };
    let denied = adapter.interfaces;
    let mut graph = CompositionGraph::new();
    let adapter = register(&mut graph, "deny-adapter", adapter.bytes).map_err(failed)?;
    let dependency = register(&mut graph, "dependency", component).map_err(failed)?;
    let adapter = graph.instantiate(adapter);
    let world = graph[dependency].ty();
    let instance = graph.instantiate(dependency);
    for interface in denied {
        let export =
            graph.alias_instance_export(adapter, &interface).map_err(|e| failed(text(&e)))?;
        graph
            .set_instantiation_argument(instance, &interface, export)
            .map_err(|e| failed(text(&e)))?;
    }
    export_all(&mut graph, world, instance).map_err(failed)?;
    graph.encode(wac_graph::EncodeOptions::default()).map_err(|err| failed(text(&err)))
}

/// A component whose imports are satisfied by `parts`. It exports what it did.
pub(super) fn with_dependencies(
    id: &str,
    component: Vec<u8>,
    parts: Vec<Part>,
) -> Result<Vec<u8>, ComposeError> {
    let prepare = |reason: String| ComposeError::Prepare { component: id.to_owned(), reason };
    let mut graph = CompositionGraph::new();
    let parent = register(&mut graph, "component", component).map_err(prepare)?;
    let parent_world = graph[parent].ty();
    let instance = graph.instantiate(parent);
    let imports: Vec<String> = graph.types()[parent_world].imports.keys().cloned().collect();

    let mut chosen: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, part) in parts.iter().enumerate() {
        let mut is_used = false;
        for import in imports.iter().filter(|import| matches(&part.name, import)) {
            chosen.entry(import).or_default().push(index);
            is_used = true;
        }
        if !is_used {
            let (dependency, component) = (part.name.to_string(), id.to_owned());
            return Err(ComposeError::Unmatched { dependency, component });
        }
    }
    let conflicts: Vec<String> = chosen
        .iter()
        .filter(|(_, indices)| indices.len() > 1)
        .map(|(import, indices)| {
            let names: Vec<_> =
                indices.iter().map(|index| parts[*index].name.to_string()).collect();
            format!("import '{import}' satisfied by dependencies: '{}'", names.join(", "))
        })
        .collect();
    if !conflicts.is_empty() {
        let conflicts = conflicts.join("; ");
        return Err(ComposeError::Conflicts { component: id.to_owned(), conflicts });
    }

    let mut instances = Vec::new();
    let names: Vec<(String, Option<String>)> =
        parts.iter().map(|part| (part.name.to_string(), part.export.clone())).collect();
    for (index, part) in parts.into_iter().enumerate() {
        let package =
            register(&mut graph, &format!("dependency{index}"), part.bytes).map_err(prepare)?;
        instances.push((graph[package].ty(), graph.instantiate(package)));
    }
    for (import, indices) in chosen {
        let (world, dependency) = instances[indices[0]];
        let (name, export) = &names[indices[0]];
        let export = export.as_deref().unwrap_or(import);
        let types = graph.types();
        let Some(export_type) = types[world].exports.get(export) else {
            return Err(ComposeError::MissingExport {
                dependency: name.clone(),
                export: export.to_owned(),
                import: import.to_owned(),
            });
        };
        let import_type = types[parent_world].imports[import];
        let mut cache = std::collections::HashSet::new();
        SubtypeChecker::new(&mut cache)
            .is_subtype(*export_type, types, import_type, types)
            .map_err(|err| ComposeError::Incompatible {
                dependency: name.clone(),
                export: export.to_owned(),
                import: import.to_owned(),
                reason: format!("{err:#}"),
            })?;
        let export =
            graph.alias_instance_export(dependency, export).map_err(|err| prepare(text(&err)))?;
        graph
            .set_instantiation_argument(instance, import, export)
            .map_err(|err| prepare(text(&err)))?;
    }
    export_all(&mut graph, parent_world, instance).map_err(prepare)?;
    graph.encode(wac_graph::EncodeOptions::default()).map_err(|err| prepare(text(&err)))
}

/// A handler behind its middleware, the outermost first.
pub(super) fn with_middleware(
    id: &str,
    component: Vec<u8>,
    middleware: Vec<Vec<u8>>,
) -> Result<Vec<u8>, ComposeError> {
    let prepare = |reason: String| ComposeError::Prepare { component: id.to_owned(), reason };
    let mut graph = CompositionGraph::new();
    let innermost = register(&mut graph, "component", component).map_err(prepare)?;
    let exports = &graph.types()[graph[innermost].ty()].exports;
    let Some(handler) = exports.keys().find(|name| name.starts_with(HANDLER)).cloned() else {
        return Err(ComposeError::NoHandler(id.to_owned()));
    };
    let instance = graph.instantiate(innermost);
    let mut next =
        graph.alias_instance_export(instance, &handler).map_err(|err| prepare(text(&err)))?;
    for (index, bytes) in middleware.into_iter().enumerate().rev() {
        let package =
            register(&mut graph, &format!("middleware{index}"), bytes).map_err(prepare)?;
        let world = &graph.types()[graph[package].ty()];
        for (verb, is_there) in [
            ("import", world.imports.contains_key(&handler)),
            ("export", world.exports.contains_key(&handler)),
        ] {
            if !is_there {
                return Err(ComposeError::NoMiddleware {
                    index: index + 1,
                    component: id.to_owned(),
                    verb,
                    handler,
                });
            }
        }
        let instance = graph.instantiate(package);
        graph
            .set_instantiation_argument(instance, &handler, next)
            .map_err(|err| prepare(text(&err)))?;
        next =
            graph.alias_instance_export(instance, &handler).map_err(|err| prepare(text(&err)))?;
    }
    graph.export(next, &handler).map_err(|err| prepare(text(&err)))?;
    graph.encode(wac_graph::EncodeOptions::default()).map_err(|err| prepare(text(&err)))
}

fn register(graph: &mut CompositionGraph, name: &str, bytes: Vec<u8>) -> Result<PackageId, String> {
    let package = Package::from_bytes(name, None, bytes, graph.types_mut());
    graph.register_package(package.map_err(|err| format!("{err:#}"))?).map_err(|err| text(&err))
}

fn export_all(graph: &mut CompositionGraph, world: WorldId, of: NodeId) -> Result<(), String> {
    let names: Vec<String> = graph.types()[world].exports.keys().cloned().collect();
    for name in names {
        let export = graph.alias_instance_export(of, &name).map_err(|err| text(&err))?;
        graph.export(export, &name).map_err(|err| text(&err))?;
    }
    Ok(())
}

/// An error and its sources in one line.
fn text(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        text = format!("{text}: {err}");
        source = err.source();
    }
    text
}

/// Whether a dependency of that name satisfies an import.
fn matches(name: &DependencyName, import: &str) -> bool {
    match name {
        DependencyName::Plain(name) => name.as_str() == import,
        DependencyName::Package(name) => {
            let Some((package, rest)) = import.split_once('/') else { return false };
            let (interface, version) = match rest.split_once('@') {
                Some((interface, version)) => (interface, Some(version)),
                None => (rest, None),
            };
            package == name.package
                && name.interface.as_ref().is_none_or(|one| one.as_str() == interface)
                && name.version.as_ref().is_none_or(|one| version == Some(&*one.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_the_imports_of_its_package() {
        let matches = |name: &str, import: &str| matches(&name.parse().unwrap(), import);
        for (name, import) in [
            ("a:b/c@0.1.0", "a:b/c@0.1.0"),
            ("a:b/c", "a:b/c@0.1.0"),
            ("a:b", "a:b/c@0.1.0"),
            ("a:b", "a:b/c"),
            ("a:b@0.1.0", "a:b/c@0.1.0"),
            ("a-b", "a-b"),
        ] {
            assert!(matches(name, import), "{name} {import}");
        }
        for (name, import) in [
            ("a:b/c@0.1.0", "a:b/c"),
            ("a:b/c@0.1.0", "a:b/c@0.1.1"),
            ("a:b/c", "a:b/d"),
            ("a:b", "a:x/c"),
            ("a:b/c", "a:b/c-d"),
            ("a:b", "a-b"),
            ("a", "a:b/a"),
        ] {
            assert!(!matches(name, import), "{name} {import}");
        }
    }
}
