//! Dependencies of components and triggers, and target environments.

use indexmap::IndexMap;
use toml::de::DeValue;

use super::{Fields, Node, component::digest, entries, list, string, strings, text, wrong_type};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    id::KebabId,
    schema::{
        ComponentDependency, DependencyName, DependencySource, Inherit, Spanned, TargetEnvironment,
        TriggerDependency, capabilities,
    },
    suggest::did_you_mean,
};

/// `[component.<id>.dependencies]`.
pub(super) fn all(
    out: &mut Diagnostics,
    node: &Node<'_>,
) -> Option<IndexMap<DependencyName, Spanned<ComponentDependency>>> {
    entries(out, node, |out, key, node| {
        let name = match key.get_ref().parse::<DependencyName>() {
            Ok(name) => Some(name),
            Err(error) => {
                let message = format!("invalid dependency name {:?}: {error}", key.get_ref());
                out.push(Diagnostic::error("manifest.dependency", message).at(key.span()));
                None
            }
        };
        let dependency = component_dependency(out, node)?;
        Some((name?, Spanned::new(dependency, key.span())))
    })
}

fn component_dependency(out: &mut Diagnostics, node: &Node<'_>) -> Option<ComponentDependency> {
    match node.get_ref() {
        DeValue::String(version) => Some(ComponentDependency {
            source: DependencySource::Package {
                version: requirement(out, node, version)?,
                registry: None,
                package: None,
            },
            export: None,
            inherit: None,
        }),
        DeValue::Table(_) => {
            let mut fields = Fields::of(out, node, node.span())?;
            let source = source(out, &mut fields, false);
            let export = fields.optional(out, "export", string);
            let inherit = fields.optional(out, "inherit_configuration", inherit);
            fields.finish(out);
            Some(ComponentDependency { source: source?, export, inherit })
        }
        _ => {
            out.push(wrong_type(node, "a version requirement or a table"));
            None
        }
    }
}

/// An entry of `dependencies.<role>` of a trigger.
pub(super) fn of_trigger(
    out: &mut Diagnostics,
    node: &Node<'_>,
) -> Option<Spanned<TriggerDependency>> {
    let mut fields = Fields::of(out, node, node.span())?;
    let source = source(out, &mut fields, true);
    let inherit = fields.optional(out, "inherit_configuration", inherit);
    fields.finish(out);
    Some(Spanned::new(TriggerDependency { source: source?, inherit }, node.span()))
}

fn source(
    out: &mut Diagnostics,
    fields: &mut Fields<'_, '_>,
    needs_package: bool,
) -> Option<DependencySource> {
    if fields.has("path") {
        let path = fields.required(out, "path", string);
        return Some(DependencySource::Local { path: path? });
    }
    if fields.has("url") || fields.has("digest") {
        let url = fields.required(out, "url", string);
        let digest = fields.required(out, "digest", digest);
        return Some(DependencySource::Http { url: url?, digest: digest? });
    }
    if fields.has("component") {
        let component = fields.required(out, "component", |out, node| {
            let id = text(out, node)?;
            match id.parse::<KebabId>() {
                Ok(id) => Some(id),
                Err(error) => {
                    let message = format!("invalid component id {:?}: {error}", id.value());
                    out.push(Diagnostic::error("manifest.id", message).at(node.span()));
                    None
                }
            }
        });
        return Some(DependencySource::Component { component: component? });
    }
    let version = fields.required(out, "version", |out, node| {
        let version = text(out, node)?;
        requirement(out, node, &version)
    });
    let registry = fields.optional(out, "registry", string);
    let package = if needs_package {
        fields.required(out, "package", package)
    } else {
        fields.optional(out, "package", package)
    };
    for other in ["path", "url", "digest", "component"] {
        fields.entry(other);
    }
    if needs_package && package.is_none() {
        return None;
    }
    Some(DependencySource::Package { version: version?, registry, package })
}

fn requirement(out: &mut Diagnostics, node: &Node<'_>, version: &str) -> Option<String> {
    match semver::VersionReq::parse(version) {
        Ok(_) => Some(version.to_owned()),
        Err(error) => {
            let message = format!("invalid version requirement {version:?}: {error}");
            out.push(Diagnostic::error("manifest.dependency", message).at(node.span()));
            None
        }
    }
}

pub(super) fn package(out: &mut Diagnostics, node: &Node<'_>) -> Option<String> {
    let package = text(out, node)?;
    if crate::schema::is_package(&package) {
        return Some(package.into_value());
    }
    let message = format!(
        "invalid package name {:?}; it must have the form 'namespace:name'",
        package.value()
    );
    out.push(Diagnostic::error("manifest.package", message).at(node.span()));
    None
}

fn inherit(out: &mut Diagnostics, node: &Node<'_>) -> Option<Inherit> {
    match node.get_ref() {
        DeValue::Boolean(all) => Some(Inherit::All(*all)),
        DeValue::Array(items) => {
            let keys = strings(out, node)?;
            for (key, item) in keys.iter().zip(items) {
                if !capabilities().contains(&key.as_str()) {
                    let message = format!("unknown configuration `{key}` to inherit");
                    let diagnostic =
                        Diagnostic::error("manifest.dependency", message).at(item.span());
                    let known = format!("it is one of {}", capabilities().join(", "));
                    let help = did_you_mean(key, capabilities()).unwrap_or(known);
                    out.push(diagnostic.with_help(help));
                }
            }
            Some(Inherit::Some(keys))
        }
        _ => {
            out.push(wrong_type(node, "a boolean or a list of configuration keys"));
            None
        }
    }
}

/// `targets`.
pub(super) fn targets(
    out: &mut Diagnostics,
    node: &Node<'_>,
) -> Option<Vec<Spanned<TargetEnvironment>>> {
    list(out, node, |out, node| {
        let target = match node.get_ref() {
            DeValue::String(name) => TargetEnvironment::Catalogue(name.clone().into_owned()),
            DeValue::Table(_) => {
                let mut fields = Fields::of(out, node, node.span())?;
                let target = if fields.has("path") {
                    fields.required(out, "path", string).map(TargetEnvironment::Path)
                } else {
                    fields.required(out, "url", string).map(TargetEnvironment::Url)
                };
                fields.finish(out);
                target?
            }
            _ => {
                out.push(wrong_type(node, "a name, `{ url }` or `{ path }`"));
                return None;
            }
        };
        Some(Spanned::new(target, node.span()))
    })
}
