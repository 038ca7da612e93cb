//! Version 2.

use gyre_model::Settings;
use toml::de::{DeTable, DeValue};

use super::{
    Fields, Key, Node, component, dependency, entries, free_tables, json, list, spans, string,
    strings, text, wrong_type,
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    schema::{AppDetails, AppManifest, ComponentSpec, Spanned, Trigger},
};

/// A whole manifest.
pub(crate) fn manifest(
    out: &mut Diagnostics,
    root: &DeTable<'_>,
) -> Option<(AppManifest, Settings)> {
    let mut fields = Fields::new(root, 0..0);
    fields.entry("spin_manifest_version");
    let application = fields.entry("application");
    let application = match application {
        Some((key, node)) => details(out, key, node),
        None => fields.required(out, "application", |_, _| None),
    };
    let variables = fields.optional(out, "variables", |out, node| {
        entries(out, node, |out, key, node| {
            let (name, variable) =
                (component::variable_name(out, key), component::variable(out, key, node));
            Some((name?, variable?))
        })
    });
    let triggers = fields.required(out, "trigger", |out, node| {
        entries(out, node, |out, key, node| {
            let triggers = list(out, node, |out, node| trigger(out, key, node));
            Some((key.get_ref().to_string(), triggers?))
        })
    });
    let components = fields.optional(out, "component", |out, node| {
        entries(out, node, |out, key, node| {
            let id = component::component_id(out, key);
            let component = component::component(out, node, key.span(), key.get_ref());
            Some((id?, component?))
        })
    });
    fields.finish(out);
    let (application, settings) = application?;
    let manifest = AppManifest {
        application,
        variables: variables.unwrap_or_default(),
        triggers: triggers?,
        components: components.unwrap_or_default(),
    };
    Some((manifest, settings))
}

fn details(
    out: &mut Diagnostics,
    key: &Key<'_>,
    node: &Node<'_>,
) -> Option<(AppDetails, Settings)> {
    let mut fields = Fields::of(out, node, key.span())?;
    let name = fields.required(out, "name", text);
    let version = fields.optional(out, "version", string).unwrap_or_default();
    let description = fields.optional(out, "description", string).unwrap_or_default();
    let authors = fields.optional(out, "authors", strings).unwrap_or_default();
    let targets = fields.optional(out, "targets", dependency::targets).unwrap_or_default();
    let trigger = fields.optional(out, "trigger", |out, node| {
        base(out, node);
        free_tables(out, node)
    });
    let tools = fields.entry("tool").map(|(_, node)| node);
    let tool = tools.and_then(|node| component::tool(out, node)).unwrap_or_default();
    let ours = match tools.map(Node::get_ref) {
        Some(DeValue::Table(tools)) => tools.get("gyre"),
        _ => None,
    };
    let settings = match ours {
        Some(node) => component::settings(out, node),
        None => Some(Settings::default()),
    };
    fields.finish(out);
    let trigger = trigger.unwrap_or_default();
    let details = AppDetails { name: name?, version, description, authors, targets, trigger, tool };
    Some((details, settings?))
}

/// The deprecated `base` of the HTTP trigger, the only key that it has ever had here.
pub(super) fn base(out: &mut Diagnostics, node: &Node<'_>) {
    let DeValue::Table(kinds) = node.get_ref() else { return };
    let Some((key, node)) = kinds.get_key_value("http") else { return };
    let Some(mut fields) = Fields::of(out, node, key.span()) else { return };
    http_base(out, &mut fields);
    fields.finish(out);
}

pub(super) fn http_base(out: &mut Diagnostics, fields: &mut Fields<'_, '_>) {
    let Some(base) = fields.optional(out, "base", text) else { return };
    let diagnostic = if *base.value() == "/" {
        let message = "This application has the deprecated trigger 'base' set to the default value '/'. This may be an error in the future!";
        Diagnostic::warning("manifest.deprecated", message).with_help("remove it")
    } else {
        let error = crate::http::HttpTriggerError::Base;
        Diagnostic::error("manifest.base", error.to_string())
    };
    out.push(diagnostic.at(base.span()));
}

fn trigger(out: &mut Diagnostics, kind: &Key<'_>, node: &Node<'_>) -> Option<Trigger> {
    let table = super::table(out, node)?;
    // A table of an array has no name of its own: its first key is the best place to point at.
    let span = table.keys().next().map_or_else(|| kind.span(), toml::Spanned::span);
    let mut fields = Fields::new(table, span.clone());
    let id = fields.optional(out, "id", string).unwrap_or_default();
    let component = fields.entry("component").map(|(_, node)| spec(out, node));
    let components = fields.optional(out, "components", |out, node| {
        entries(out, node, |out, key, node| {
            let specs = match node.get_ref() {
                DeValue::Array(_) => list(out, node, spec)?,
                _ => vec![spec(out, node)?],
            };
            Some((key.get_ref().to_string(), specs))
        })
    });
    let dependencies = fields.optional(out, "dependencies", |out, node| {
        entries(out, node, |out, key, node| {
            if kind.get_ref() == "http" && key.get_ref() != "middleware" {
                let message = format!(
                    "unknown dependency role `{}` of an HTTP trigger, expected `middleware`",
                    key.get_ref()
                );
                out.push(Diagnostic::error("manifest.dependency", message).at(key.span()));
            }
            Some((key.get_ref().to_string(), list(out, node, dependency::of_trigger)?))
        })
    });
    let settings: Vec<_> = fields.rest().collect();
    let entry =
        |(key, node): &(&Key<'_>, &Node<'_>)| (key.get_ref().to_string(), json(node.get_ref()));
    Some(Trigger {
        span,
        id,
        // Noted as wrong: without it the trigger would be wrong in other ways as well.
        component: component.map_or(Some(None), |read| read.map(Some))?,
        components: components.unwrap_or_default(),
        dependencies: dependencies.unwrap_or_default(),
        config: settings.iter().map(entry).collect(),
        config_spans: spans(settings),
    })
}

fn spec(out: &mut Diagnostics, node: &Node<'_>) -> Option<Spanned<ComponentSpec>> {
    let spec = match node.get_ref() {
        DeValue::String(id) => match id.parse() {
            Ok(id) => ComponentSpec::Reference(id),
            Err(error) => {
                let message = format!("invalid component id {id:?}: {error}");
                out.push(Diagnostic::error("manifest.id", message).at(node.span()));
                return None;
            }
        },
        DeValue::Table(_) => {
            let component = component::component(out, node, node.span(), "inline")?;
            ComponentSpec::Inline(Box::new(component))
        }
        _ => {
            out.push(wrong_type(node, "a component id or a component"));
            return None;
        }
    };
    Some(Spanned::new(spec, node.span()))
}
