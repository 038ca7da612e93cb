//! Components, and the parts that both versions have in common.

use gyre_model::Settings;
use indexmap::IndexMap;
use serde::Deserialize as _;
use serde_json::Value as Json;
use toml::de::DeValue;

use super::{
    Fields, Key, Node, boolean, dependency, entries, free_tables, list, string, string_map,
    strings, text, texts, unknown_key, wrong_type,
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    id::{IdError, KebabId, LowerSnakeId, is_valid_label},
    schema::{
        BuildConfig, Commands, Component, ComponentProfile, ComponentSource, FilesMount, Spanned,
        Variable,
    },
    suggest::nearest,
};

/// A component of version 2. `span` is where it is named, or begins.
pub(super) fn component(
    out: &mut Diagnostics,
    node: &Node<'_>,
    span: std::ops::Range<usize>,
    shown: &str,
) -> Option<Component> {
    let mut fields = Fields::of(out, node, span.clone())?;
    let source = fields.required(out, "source", |out, node| source(out, node, shown));
    let component = Component {
        span,
        description: fields.optional(out, "description", string).unwrap_or_default(),
        variables: fields.optional(out, "variables", templates).unwrap_or_default(),
        environment: fields.optional(out, "environment", string_map).unwrap_or_default(),
        files: fields.optional(out, "files", files).unwrap_or_default(),
        exclude_files: fields.optional(out, "exclude_files", texts).unwrap_or_default(),
        allowed_http_hosts: fields.optional(out, "allowed_http_hosts", texts).unwrap_or_default(),
        allowed_outbound_hosts: fields
            .optional(out, "allowed_outbound_hosts", texts)
            .unwrap_or_default(),
        key_value_stores: fields.optional(out, "key_value_stores", labels).unwrap_or_default(),
        sqlite_databases: fields.optional(out, "sqlite_databases", labels).unwrap_or_default(),
        ai_models: fields.optional(out, "ai_models", texts).unwrap_or_default(),
        targets: fields.optional(out, "targets", dependency::targets),
        build: fields.optional(out, "build", build),
        tool: fields.optional(out, "tool", component_tool).unwrap_or_default(),
        dependencies_inherit_configuration: fields.optional(
            out,
            "dependencies_inherit_configuration",
            boolean,
        ),
        dependencies: fields.optional(out, "dependencies", dependency::all).unwrap_or_default(),
        profile: fields
            .optional(out, "profile", |out, node| profiles(out, node, shown))
            .unwrap_or_default(),
        source: Spanned::new(ComponentSource::Local(String::new()), 0..0),
    };
    fields.finish(out);
    // Without a source it is a component nevertheless, so that its triggers are not wrong as well.
    Some(match source {
        Some(source) => Component { source, ..component },
        None => component,
    })
}

/// Where a component's code is.
pub(super) fn source(
    out: &mut Diagnostics,
    node: &Node<'_>,
    shown: &str,
) -> Option<Spanned<ComponentSource>> {
    let read = match node.get_ref() {
        DeValue::String(path) => Some(ComponentSource::Local(path.clone().into_owned())),
        DeValue::Table(_) => {
            let mut fields = Fields::of(out, node, node.span())?;
            if fields.has("url") || fields.has("digest") {
                let url = fields.required(out, "url", string);
                let digest = fields.required(out, "digest", digest);
                fields.finish(out);
                Some(ComponentSource::Remote { url: url?, digest: digest? })
            } else {
                let registry = fields.optional(out, "registry", string);
                let package = fields.required(out, "package", dependency::package);
                let version = fields.required(out, "version", text);
                // Known here, too, so that a wrong key is compared with them.
                fields.entry("url");
                fields.entry("digest");
                fields.finish(out);
                let (package, version) = (package?, version?);
                let Ok(version) = semver::Version::parse(&version) else {
                    let message = format!(
                        "Component {shown} specifies an invalid semantic version ({:?}) for its package version",
                        version.value()
                    );
                    out.push(
                        Diagnostic::error("manifest.source", message)
                            .at(version.span())
                            .with_help("a component's source is one exact version, such as 1.2.3"),
                    );
                    return None;
                };
                Some(ComponentSource::Registry { registry, package, version })
            }
        }
        _ => {
            out.push(wrong_type(
                node,
                "a path, `{ url, digest }` or `{ registry, package, version }`",
            ));
            None
        }
    };
    Some(Spanned::new(read?, node.span()))
}

/// A digest. Only its beginning is checked: the rest is when the content is there to be compared.
pub(super) fn digest(out: &mut Diagnostics, node: &Node<'_>) -> Option<String> {
    let digest = text(out, node)?;
    if digest.starts_with("sha256:") {
        return Some(digest.into_value());
    }
    let message = format!("invalid `digest` {:?}; must start with 'sha256:'", digest.value());
    out.push(Diagnostic::error("manifest.digest", message).at(node.span()));
    None
}

pub(super) fn files(out: &mut Diagnostics, node: &Node<'_>) -> Option<Vec<Spanned<FilesMount>>> {
    list(out, node, |out, node| {
        let mount = match node.get_ref() {
            DeValue::String(pattern) => FilesMount::Pattern(pattern.clone().into_owned()),
            DeValue::Table(_) => {
                let mut fields = Fields::of(out, node, node.span())?;
                let source = fields.required(out, "source", string);
                let destination = fields.required(out, "destination", string);
                fields.finish(out);
                FilesMount::Placement { source: source?, destination: destination? }
            }
            _ => {
                out.push(wrong_type(node, "a path, a glob pattern or `{ source, destination }`"));
                return None;
            }
        };
        Some(Spanned::new(mount, node.span()))
    })
}

fn labels(out: &mut Diagnostics, node: &Node<'_>) -> Option<Vec<Spanned<String>>> {
    list(out, node, |out, node| {
        let label = text(out, node)?;
        if !is_valid_label(&label) {
            let message = format!("{:?}: expected kebab-case or snake_case", label.value());
            out.push(Diagnostic::error("manifest.id", message).at(node.span()));
        }
        Some(label)
    })
}

/// A table of templates by the names of variables.
pub(super) fn templates(
    out: &mut Diagnostics,
    node: &Node<'_>,
) -> Option<IndexMap<LowerSnakeId, Spanned<String>>> {
    entries(out, node, |out, key, node| {
        let (name, value) = (variable_name(out, key), text(out, node));
        Some((name?, value?))
    })
}

pub(super) fn variable_name(out: &mut Diagnostics, key: &Key<'_>) -> Option<LowerSnakeId> {
    let text: &str = key.get_ref();
    let fixed = text.replace(['-', '.', ' '], "_").to_lowercase();
    id(out, key, "variable name", text.parse(), fixed.parse::<LowerSnakeId>().ok())
}

pub(super) fn component_id(out: &mut Diagnostics, key: &Key<'_>) -> Option<KebabId> {
    let text: &str = key.get_ref();
    let fixed = text.replace(['_', '.', ' '], "-").to_lowercase();
    id(out, key, "component id", text.parse(), fixed.parse::<KebabId>().ok())
}

fn id<T>(
    out: &mut Diagnostics,
    key: &Key<'_>,
    what: &str,
    parsed: Result<T, IdError>,
    fixed: Option<impl AsRef<str>>,
) -> Option<T> {
    match parsed {
        Ok(id) => Some(id),
        Err(error) => {
            let message = format!("invalid {what} {:?}: {error}", key.get_ref());
            let diagnostic = Diagnostic::error("manifest.id", message).at(key.span());
            out.push(match fixed {
                Some(fixed) => diagnostic.with_help(format!("did you mean `{}`?", fixed.as_ref())),
                None => diagnostic,
            });
            None
        }
    }
}

/// A variable of the application; `key` is its name.
pub(super) fn variable(out: &mut Diagnostics, key: &Key<'_>, node: &Node<'_>) -> Option<Variable> {
    let mut fields = Fields::of(out, node, key.span())?;
    let variable = Variable {
        span: key.span(),
        description: fields.optional(out, "description", string),
        required: fields.optional(out, "required", boolean).is_some_and(Spanned::into_value),
        default: fields.optional(out, "default", string),
        secret: fields.optional(out, "secret", boolean).is_some_and(Spanned::into_value),
    };
    // A default of the wrong type has been noted, and is one nevertheless.
    if variable.required == fields.has("default") {
        let name = key.get_ref();
        let message = format!(
            "invalid variable definition for `{name}`: must be `required` OR have a `default`"
        );
        let help = if variable.required {
            "remove one of `required` and `default`"
        } else {
            "add `required = true` or a `default`"
        };
        out.push(Diagnostic::error("manifest.variable", message).at(key.span()).with_help(help));
    }
    fields.finish(out);
    Some(variable)
}

pub(super) fn build(out: &mut Diagnostics, node: &Node<'_>) -> Option<BuildConfig> {
    let mut fields = Fields::of(out, node, node.span())?;
    let command = fields.required(out, "command", commands);
    let workdir = fields.optional(out, "workdir", string);
    let watch = fields.optional(out, "watch", strings).unwrap_or_default();
    fields.finish(out);
    Some(BuildConfig { command: command?, workdir, watch })
}

fn commands(out: &mut Diagnostics, node: &Node<'_>) -> Option<Commands> {
    match node.get_ref() {
        DeValue::String(command) => Some(Commands::Single(command.clone().into_owned())),
        DeValue::Array(_) => strings(out, node).map(Commands::Multiple),
        _ => {
            out.push(wrong_type(node, "a command or a list of commands"));
            None
        }
    }
}

fn profiles(
    out: &mut Diagnostics,
    node: &Node<'_>,
    shown: &str,
) -> Option<IndexMap<String, ComponentProfile>> {
    entries(out, node, |out, key, node| {
        let mut fields = Fields::of(out, node, key.span())?;
        let profile = ComponentProfile {
            source: fields.optional(out, "source", |out, node| source(out, node, shown)),
            environment: fields.optional(out, "environment", string_map).unwrap_or_default(),
            dependencies: fields.optional(out, "dependencies", dependency::all).unwrap_or_default(),
            build_command: fields.optional(out, "build", |out, node| {
                let mut fields = Fields::of(out, node, node.span())?;
                let command = fields.required(out, "command", commands);
                fields.finish(out);
                command
            }),
        };
        fields.finish(out);
        Some((key.get_ref().to_string(), profile))
    })
}

pub(super) fn tool(out: &mut Diagnostics, node: &Node<'_>) -> Option<IndexMap<String, Json>> {
    let tools = free_tables(out, node)?;
    Some(tools.into_iter().map(|(name, table)| (name, Json::Object(table))).collect())
}

/// The tools of a component. Ours has no settings there yet, so any would be a mistake.
fn component_tool(out: &mut Diagnostics, node: &Node<'_>) -> Option<IndexMap<String, Json>> {
    if let DeValue::Table(tools) = node.get_ref()
        && let Some(DeValue::Table(gyre)) = tools.get("gyre").map(toml::Spanned::get_ref)
    {
        for (key, _) in gyre {
            let help = "settings of Gyre belong to `[application.tool.gyre]`";
            out.push(unknown_key(key.get_ref(), key.span(), &[]).with_help(help));
        }
    }
    tool(out, node)
}

/// `[application.tool.gyre]`.
pub(super) fn settings(out: &mut Diagnostics, node: &Node<'_>) -> Option<Settings> {
    let settings = match Settings::deserialize(toml::de::ValueDeserializer::from(node.clone())) {
        Ok(settings) => settings,
        Err(error) => {
            let message = error.message();
            let span = error.span().unwrap_or_else(|| node.span());
            let diagnostic = Diagnostic::error("manifest.settings", message).at(span);
            // "unknown field `a`, expected one of `b`, `c`"
            let mut quoted = message.split('`').skip(1).step_by(2);
            let suggestion = message
                .starts_with("unknown field")
                .then(|| quoted.next().and_then(|word| nearest(word, quoted)))
                .flatten();
            out.push(match suggestion {
                Some(known) => diagnostic.with_help(format!("did you mean `{known}`?")),
                None => diagnostic,
            });
            return None;
        }
    };
    if let Some(path) = &settings.health_path
        && !path.starts_with('/')
    {
        let message = format!("`health-path` {path:?} must start with '/'");
        let span = match node.get_ref() {
            DeValue::Table(table) => table.get("health-path").map(toml::Spanned::span),
            _ => None,
        };
        let span = span.unwrap_or_else(|| node.span());
        out.push(Diagnostic::error("manifest.settings", message).at(span));
    }
    Some(settings)
}
