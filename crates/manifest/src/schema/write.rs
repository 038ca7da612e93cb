//! A manifest as text, in version 2.

use serde_json::Value as Json;
use toml::{Table, Value};

use super::{
    AppManifest, BuildConfig, Commands, Component, ComponentDependency, ComponentProfile,
    ComponentSource, ComponentSpec, DependencySource, FilesMount, Inherit, Spanned,
    TargetEnvironment, Trigger, TriggerDependency, Variable, values,
};

/// A table to which only what is there is added.
#[derive(Default)]
struct Builder(Table);

impl Builder {
    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.put(key, text);
        }
    }

    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn list<T: Into<Value>>(&mut self, key: &str, items: impl IntoIterator<Item = T>) {
        let items: Vec<Value> = items.into_iter().map(Into::into).collect();
        if !items.is_empty() {
            self.put(key, items);
        }
    }

    fn table<K: Into<String>, V: Into<Value>>(
        &mut self,
        key: &str,
        entries: impl IntoIterator<Item = (K, V)>,
    ) {
        let table: Table =
            entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        if !table.is_empty() {
            self.put(key, table);
        }
    }
}

impl From<Builder> for Value {
    fn from(builder: Builder) -> Self {
        Value::Table(builder.0)
    }
}

pub(super) fn to_toml(manifest: &AppManifest) -> String {
    let mut root = Builder::default();
    root.put("spin_manifest_version", 2);
    let details = &manifest.application;
    let mut application = Builder::default();
    application.put("name", details.name.value().as_str());
    application.text("version", &details.version);
    application.text("description", &details.description);
    application.list("authors", details.authors.iter().map(String::as_str));
    application.list("targets", details.targets.iter().map(|target| target_value(target)));
    let settings = details.trigger.iter();
    application.table("trigger", settings.map(|(kind, table)| (kind, json_table(table))));
    application.table("tool", details.tool.iter().map(|(name, tool)| (name, json(tool))));
    root.put("application", application);
    root.table(
        "variables",
        manifest.variables.iter().map(|(name, variable)| (name.as_str(), variable_value(variable))),
    );
    let triggers = manifest.triggers.iter().map(|(kind, triggers)| {
        (kind.clone(), triggers.iter().map(trigger_value).collect::<Vec<Value>>())
    });
    root.put("trigger", triggers.map(|(kind, list)| (kind, list.into())).collect::<Table>());
    root.table(
        "component",
        manifest.components.iter().map(|(id, component)| (id.as_str(), component_value(component))),
    );
    toml::to_string_pretty(&root.0).expect("tables of strings, numbers and lists can be written")
}

fn variable_value(variable: &Variable) -> Builder {
    let mut table = Builder::default();
    table.some("description", variable.description.as_deref());
    table.some("required", variable.required.then_some(true));
    table.some("default", variable.default.as_deref());
    table.some("secret", variable.secret.then_some(true));
    table
}

fn trigger_value(trigger: &Trigger) -> Value {
    let mut table = Builder::default();
    table.text("id", &trigger.id);
    table.some("component", trigger.component.as_ref().map(|spec| spec_value(spec)));
    table.table(
        "components",
        trigger.components.iter().map(|(role, specs)| {
            (role, specs.iter().map(|spec| spec_value(spec)).collect::<Vec<_>>())
        }),
    );
    table.table(
        "dependencies",
        trigger.dependencies.iter().map(|(role, list)| {
            (role, list.iter().map(|item| trigger_dependency_value(item)).collect::<Vec<_>>())
        }),
    );
    table.0.extend(json_table(&trigger.config));
    table.into()
}

fn spec_value(spec: &ComponentSpec) -> Value {
    match spec {
        ComponentSpec::Reference(id) => id.as_str().into(),
        ComponentSpec::Inline(component) => component_value(component).into(),
    }
}

fn component_value(component: &Component) -> Builder {
    let strings = |list: &[Spanned<String>]| values(list);
    let mut table = Builder::default();
    table.put("source", source_value(&component.source));
    table.text("description", &component.description);
    table.list("files", component.files.iter().map(|mount| files_value(mount)));
    table.list("exclude_files", strings(&component.exclude_files));
    table.list("allowed_http_hosts", strings(&component.allowed_http_hosts));
    table.list("allowed_outbound_hosts", strings(&component.allowed_outbound_hosts));
    table.list("key_value_stores", strings(&component.key_value_stores));
    table.list("sqlite_databases", strings(&component.sqlite_databases));
    table.list("ai_models", strings(&component.ai_models));
    table.some(
        "targets",
        component
            .targets
            .as_ref()
            .map(|targets| targets.iter().map(|target| target_value(target)).collect::<Vec<_>>()),
    );
    table.some(
        "dependencies_inherit_configuration",
        component.dependencies_inherit_configuration.as_ref().map(|all| *all.value()),
    );
    let variables = component.variables.iter();
    table.table("variables", variables.map(|(name, value)| (name.as_str(), value.as_str())));
    let environment = component.environment.iter();
    table.table("environment", environment.map(|(name, value)| (name, value.as_str())));
    table.some("build", component.build.as_ref().map(build_value));
    table.table("tool", component.tool.iter().map(|(name, tool)| (name, json(tool))));
    let dependencies = component.dependencies.iter();
    table.table(
        "dependencies",
        dependencies.map(|(name, item)| (name.to_string(), dependency_value(item))),
    );
    table
        .table("profile", component.profile.iter().map(|(name, item)| (name, profile_value(item))));
    table
}

fn profile_value(profile: &ComponentProfile) -> Builder {
    let mut table = Builder::default();
    table.some("source", profile.source.as_ref().map(|source| source_value(source)));
    table.table(
        "environment",
        profile.environment.iter().map(|(name, value)| (name, value.as_str())),
    );
    let dependencies = profile.dependencies.iter();
    table.table(
        "dependencies",
        dependencies.map(|(name, item)| (name.to_string(), dependency_value(item))),
    );
    if let Some(command) = &profile.build_command {
        table.table("build", [("command", command_value(command))]);
    }
    table
}

fn source_value(source: &ComponentSource) -> Value {
    let mut table = Builder::default();
    match source {
        ComponentSource::Local(path) => return path.as_str().into(),
        ComponentSource::Remote { url, digest } => {
            table.put("url", url.as_str());
            table.put("digest", digest.as_str());
        }
        ComponentSource::Registry { registry, package, version } => {
            table.some("registry", registry.as_deref());
            table.put("package", package.as_str());
            table.put("version", version.to_string());
        }
    }
    table.into()
}

fn files_value(mount: &FilesMount) -> Value {
    match mount {
        FilesMount::Pattern(pattern) => pattern.as_str().into(),
        FilesMount::Placement { source, destination } => {
            let mut table = Builder::default();
            table.put("source", source.as_str());
            table.put("destination", destination.as_str());
            table.into()
        }
    }
}

fn build_value(build: &BuildConfig) -> Builder {
    let mut table = Builder::default();
    table.put("command", command_value(&build.command));
    table.some("workdir", build.workdir.as_deref());
    table.list("watch", build.watch.iter().map(String::as_str));
    table
}

fn command_value(command: &Commands) -> Value {
    match command {
        Commands::Single(command) => command.as_str().into(),
        Commands::Multiple(commands) => commands.clone().into(),
    }
}

fn target_value(target: &TargetEnvironment) -> Value {
    let mut table = Builder::default();
    match target {
        TargetEnvironment::Catalogue(name) => return name.as_str().into(),
        TargetEnvironment::Url(url) => table.put("url", url.as_str()),
        TargetEnvironment::Path(path) => table.put("path", path.as_str()),
    }
    table.into()
}

fn dependency_value(dependency: &ComponentDependency) -> Value {
    let ComponentDependency { source, export, inherit } = dependency;
    if let (DependencySource::Package { version, registry: None, package: None }, None, None) =
        (source, export, inherit)
    {
        return version.as_str().into();
    }
    let mut table = dependency_source(source, inherit.as_ref());
    table.some("export", export.as_deref());
    table.into()
}

fn trigger_dependency_value(dependency: &TriggerDependency) -> Value {
    dependency_source(&dependency.source, dependency.inherit.as_ref()).into()
}

fn dependency_source(source: &DependencySource, inherit: Option<&Inherit>) -> Builder {
    let mut table = Builder::default();
    match source {
        DependencySource::Package { version, registry, package } => {
            table.put("version", version.as_str());
            table.some("registry", registry.as_deref());
            table.some("package", package.as_deref());
        }
        DependencySource::Local { path } => table.put("path", path.as_str()),
        DependencySource::Http { url, digest } => {
            table.put("url", url.as_str());
            table.put("digest", digest.as_str());
        }
        DependencySource::Component { component } => table.put("component", component.as_str()),
    }
    match inherit {
        None => {}
        Some(Inherit::All(all)) => table.put("inherit_configuration", *all),
        Some(Inherit::Some(some)) => table.put("inherit_configuration", some.clone()),
    }
    table
}

fn json_table(table: &serde_json::Map<String, Json>) -> Table {
    table.iter().map(|(key, value)| (key.clone(), json(value))).collect()
}

/// What was TOML before it was JSON: nulls stand for numbers that JSON does not have.
fn json(value: &Json) -> Value {
    match value {
        Json::Null => Value::Float(f64::NAN),
        Json::Bool(value) => Value::Boolean(*value),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Integer(integer),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::Array(items.iter().map(json).collect()),
        Json::Object(table) => Value::Table(json_table(table)),
    }
}
