//! Version 1, converted to version 2 as it is read.

use indexmap::IndexMap;
use serde_json::Map;
use toml::de::DeTable;

use super::{
    Fields, Key, Node, component, entries, json, json_table, list, spans, string, string_map,
    strings, table, text, texts, v2,
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    hosts::{convert_http_hosts, database_hosts},
    id::{IdError, KebabId, LowerSnakeId},
    schema::{AppDetails, AppManifest, Component, ComponentSpec, Spanned, Trigger, values},
};

/// A whole manifest.
pub(crate) fn manifest(out: &mut Diagnostics, root: &DeTable<'_>) -> Option<AppManifest> {
    let mut fields = Fields::new(root, 0..0);
    fields.entry("spin_manifest_version");
    fields.entry("spin_version");
    let name = fields.required(out, "name", text);
    let version = fields.optional(out, "version", string).unwrap_or_default();
    let description = fields.optional(out, "description", string).unwrap_or_default();
    let authors = fields.optional(out, "authors", strings).unwrap_or_default();
    let trigger = fields.required(out, "trigger", app_trigger);
    let variables = fields.optional(out, "variables", |out, node| {
        entries(out, node, |out, key, node| {
            let variable = component::variable(out, key, node);
            Some((name_of_variable(out, key)?, variable?))
        })
    });
    let components = fields
        .optional(out, "component", |out, node| list(out, node, one_component))
        .unwrap_or_default();
    fields.finish(out);
    let (kind, settings) = trigger?;

    let mut manifest = AppManifest {
        application: AppDetails {
            name: name?,
            version,
            description,
            authors,
            targets: Vec::new(),
            trigger: IndexMap::from([(kind.clone(), settings)]),
            tool: IndexMap::new(),
        },
        variables: variables.unwrap_or_default(),
        triggers: IndexMap::new(),
        components: IndexMap::new(),
    };
    for (id, component, mut trigger) in components {
        let (at, id) = (id.span(), id.into_value());
        trigger.id = format!("trigger-{id}");
        trigger.component = Some(Spanned::new(ComponentSpec::Reference(id.clone()), at.clone()));
        manifest.triggers.entry(kind.clone()).or_default().push(trigger);
        if let Some(earlier) = manifest.components.insert(id.clone(), component) {
            let message = format!("component `{id}` is there twice; the second one is used");
            out.push(
                Diagnostic::warning("manifest.duplicate", message)
                    .at(at)
                    .with_label(earlier.span, "the first one"),
            );
        }
    }
    Some(manifest)
}

/// `trigger = { type = "http", … }`.
fn app_trigger(
    out: &mut Diagnostics,
    node: &Node<'_>,
) -> Option<(String, Map<String, serde_json::Value>)> {
    let mut fields = Fields::of(out, node, node.span())?;
    let kind = fields.required(out, "type", string)?;
    if kind == "http" {
        v2::http_base(out, &mut fields);
        fields.finish(out);
    }
    let mut settings = json_table(table(out, node)?);
    settings.shift_remove("type");
    Some((kind, settings))
}

fn one_component(
    out: &mut Diagnostics,
    node: &Node<'_>,
) -> Option<(Spanned<KebabId>, Component, Trigger)> {
    let mut fields = Fields::of(out, node, first_key(node))?;
    let id = fields.required(out, "id", component_id);
    let span = id.as_ref().map_or_else(|| fields.span(), Spanned::span);
    let shown = id.as_ref().map(ToString::to_string).unwrap_or_default();
    let source = fields.required(out, "source", |out, node| component::source(out, node, &shown));
    let trigger = fields.required(out, "trigger", trigger);
    let http_hosts = fields.optional(out, "allowed_http_hosts", texts).unwrap_or_default();
    let outbound_hosts = fields.optional(out, "allowed_outbound_hosts", texts);
    let component = Component {
        allowed_outbound_hosts: hosts(out, &http_hosts, outbound_hosts, &span),
        span,
        description: fields.optional(out, "description", string).unwrap_or_default(),
        variables: fields.optional(out, "config", config).unwrap_or_default(),
        environment: fields.optional(out, "environment", string_map).unwrap_or_default(),
        files: fields.optional(out, "files", component::files).unwrap_or_default(),
        exclude_files: fields.optional(out, "exclude_files", texts).unwrap_or_default(),
        allowed_http_hosts: Vec::new(),
        key_value_stores: fields.optional(out, "key_value_stores", texts).unwrap_or_default(),
        sqlite_databases: fields.optional(out, "sqlite_databases", texts).unwrap_or_default(),
        ai_models: fields.optional(out, "ai_models", texts).unwrap_or_default(),
        targets: None,
        build: fields.optional(out, "build", component::build),
        tool: IndexMap::new(),
        dependencies_inherit_configuration: None,
        dependencies: IndexMap::new(),
        profile: IndexMap::new(),
        source: source?,
    };
    fields.finish(out);
    Some((id?, component, trigger?))
}

fn first_key(node: &Node<'_>) -> std::ops::Range<usize> {
    match node.get_ref() {
        toml::de::DeValue::Table(table) => {
            table.keys().next().map_or_else(|| node.span(), toml::Spanned::span)
        }
        _ => node.span(),
    }
}

/// The ids of version 1 were freer: underscores and capitals are put right.
fn component_id(out: &mut Diagnostics, node: &Node<'_>) -> Option<Spanned<KebabId>> {
    let id = text(out, node)?;
    let fixed = id.replace('_', "-").to_lowercase();
    match id.parse().or_else(|_| fixed.parse()) {
        Ok(id) => Some(Spanned::new(id, node.span())),
        Err(error) => {
            out.push(invalid_id(&fixed, &error).at(node.span()));
            None
        }
    }
}

fn invalid_id(id: &str, error: &IdError) -> Diagnostic {
    Diagnostic::error("manifest.id", format!("invalid ID `{id}`: {error}"))
}

fn name_of_variable(out: &mut Diagnostics, key: &Key<'_>) -> Option<LowerSnakeId> {
    match key.get_ref().parse() {
        Ok(name) => Some(name),
        Err(error) => {
            out.push(invalid_id(key.get_ref(), &error).at(key.span()));
            None
        }
    }
}

fn config(
    out: &mut Diagnostics,
    node: &Node<'_>,
) -> Option<IndexMap<LowerSnakeId, Spanned<String>>> {
    entries(out, node, |out, key, node| {
        let template = text(out, node);
        Some((name_of_variable(out, key)?, template?))
    })
}

fn trigger(out: &mut Diagnostics, node: &Node<'_>) -> Option<Trigger> {
    let settings = table(out, node)?;
    let entry =
        |(key, node): (&Key<'_>, &Node<'_>)| (key.get_ref().to_string(), json(node.get_ref()));
    Some(Trigger {
        span: first_key(node),
        id: String::new(),
        component: None,
        components: IndexMap::new(),
        dependencies: IndexMap::new(),
        config: settings.iter().map(entry).collect(),
        config_spans: spans(settings),
    })
}

/// `allowed_http_hosts` and `allowed_outbound_hosts` as the latter. Without the latter databases are open.
fn hosts(
    out: &mut Diagnostics,
    http: &[Spanned<String>],
    outbound: Option<Vec<Spanned<String>>>,
    component: &std::ops::Range<usize>,
) -> Vec<Spanned<String>> {
    let http_span = http.first().map_or_else(|| component.clone(), Spanned::span);
    let converted = convert_http_hosts(&values(http)).unwrap_or_else(|error| {
        out.push(
            Diagnostic::error("manifest.allowed_http_hosts", error.full()).at(http_span.clone()),
        );
        Vec::new()
    });
    let mut hosts = outbound.unwrap_or_else(|| {
        let at = |host: &str| Spanned::new(host.to_owned(), component.clone());
        database_hosts().map(at).into()
    });
    hosts.extend(converted.into_iter().map(|host| Spanned::new(host, http_span.clone())));
    hosts
}
