//! From a normalized manifest to a locked app, as far as that goes without content.
//!
//! Sources, files and dependencies have empty content references here: `package` finds the content and fills them.

#[cfg(test)]
mod tests;

use gyre_model::locked::{
    ContentRef, LockedApp, LockedComponent, LockedDependency, LockedSource, LockedTrigger,
    LockedVariable, ValuesMap,
};
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::{
    hosts::AllowedHost,
    schema::{
        AppManifest, BuildConfig, Commands, Component, ComponentSpec, Inherit, Spanned, Trigger,
        TriggerDependency, values,
    },
};

/// The host must lead requests from one component to another.
pub const SERVICE_CHAINING: &str = "local_service_chaining";
/// The host must compose middleware with the component; also the role of those dependencies of a trigger.
pub const MIDDLEWARE: &str = "middleware";
/// The key of a component's metadata that says for which type of trigger its `trigger_dependencies` are.
pub const RESOLVE_USING: &str = "resolve-trigger-dependencies-using";

/// The locked app of a manifest that [`Manifest::normalize`](crate::Manifest::normalize) returned. Its metadata
/// has no `origin`; its content references are empty, and no component has files. Dependencies of triggers are still
/// the triggers': [`move_trigger_dependencies`] when it is known which of them stay.
pub fn lock(app: &AppManifest, profile: Option<&str>) -> LockedApp {
    let components: Vec<_> = app
        .components
        .iter()
        .map(|(id, component)| lock_component(id.as_str(), component))
        .collect();
    let variables = app.variables.iter().map(|(name, variable)| {
        let locked = LockedVariable {
            description: variable.description.clone(),
            default: variable.default.clone(),
            secret: variable.secret,
        };
        (name.to_string(), locked)
    });
    let mut locked = LockedApp {
        spin_lock_version: 0,
        must_understand: Vec::new(),
        metadata: metadata(app, profile),
        host_requirements: Map::new(),
        variables: sorted(variables),
        triggers: app
            .all_triggers()
            .map(|(kind, trigger)| LockedTrigger {
                id: trigger.id.clone(),
                trigger_type: kind.to_owned(),
                trigger_config: trigger_config(trigger),
                trigger_dependencies: trigger
                    .dependencies
                    .iter()
                    .filter(|(_, list)| !list.is_empty())
                    .map(|(role, list)| {
                        let lock = |one: &Spanned<TriggerDependency>| LockedDependency {
                            source: empty_source(),
                            export: None,
                            inherit: inherit(one.inherit.as_ref()),
                        };
                        (role.clone(), list.iter().map(lock).collect())
                    })
                    .collect(),
            })
            .collect(),
        components,
    };
    set_version(&mut locked);
    locked
}

/// Sets the version and what must be understood by what the components require.
pub fn set_version(locked: &mut LockedApp) {
    const COMPONENTS: &str = "component_host_requirements";
    locked.must_understand.retain(|field| field != COMPONENTS);
    if locked.components.iter().any(|component| !component.host_requirements.is_empty()) {
        locked.must_understand.push(COMPONENTS.to_owned());
    }
    let is_new = !locked.must_understand.is_empty() || !locked.host_requirements.is_empty();
    locked.spin_lock_version = u32::from(is_new);
}

/// Gives the dependencies of triggers to the components that they call. A component that other triggers call as well
/// is cloned as `<component>-for-<trigger id>`; `cloned` is told of each clone, the original's id first.
pub fn move_trigger_dependencies(locked: &mut LockedApp, mut cloned: impl FnMut(&str, &str)) {
    let called = |trigger: &LockedTrigger| {
        trigger.trigger_config.get("component").and_then(Value::as_str).map(str::to_owned)
    };
    let calls: Vec<Option<String>> = locked.triggers.iter().map(called).collect();
    for (trigger, call) in locked.triggers.iter_mut().zip(&calls) {
        trigger.trigger_dependencies.retain(|_, list| !list.is_empty());
        if trigger.trigger_dependencies.is_empty() {
            continue;
        }
        let Some(called) = call else { continue };
        let Some(index) = locked.components.iter().position(|one| one.id == *called) else {
            continue;
        };
        let index = if calls.iter().filter(|other| *other == call).count() > 1 {
            let base = format!("{called}-for-{}", trigger.id);
            let is_free = |id: &String| locked.components.iter().all(|one| one.id != *id);
            let numbered = (1_u32..).map(|number| format!("{base}-{number}"));
            let id = std::iter::once(base.clone()).chain(numbered).find(is_free);
            let id = id.expect("there are more numbers than components");
            let mut clone = locked.components[index].clone();
            cloned(called, &id);
            clone.id.clone_from(&id);
            locked.components.push(clone);
            if let Some(config) = trigger.trigger_config.as_object_mut() {
                config.insert("component".to_owned(), id.into());
            }
            locked.components.len() - 1
        } else {
            index
        };
        let component = &mut locked.components[index];
        component.trigger_dependencies = std::mem::take(&mut trigger.trigger_dependencies);
        component.metadata.insert(RESOLVE_USING.to_owned(), trigger.trigger_type.as_str().into());
        if component.trigger_dependencies.contains_key(MIDDLEWARE) {
            component.host_requirements.insert(MIDDLEWARE.to_owned(), "required".into());
        }
    }
    set_version(locked);
}

fn inherit(inherit: Option<&Inherit>) -> Value {
    match inherit {
        Some(Inherit::All(true)) => "All".into(),
        Some(Inherit::Some(keys)) if !keys.is_empty() => json!({ "Some": keys }),
        _ => Value::Null,
    }
}

/// The settings of a trigger, its component among them.
pub(crate) fn trigger_config(trigger: &Trigger) -> Value {
    let mut config = trigger.config.clone();
    if let Some(ComponentSpec::Reference(id)) = trigger.component.as_ref().map(Spanned::value) {
        config.insert("component".to_owned(), id.as_str().into());
    }
    Value::Object(config)
}

fn metadata(app: &AppManifest, profile: Option<&str>) -> ValuesMap {
    let details = &app.application;
    let mut metadata = Map::new();
    put_text(&mut metadata, "name", &details.name);
    put_text(&mut metadata, "version", &details.version);
    put_text(&mut metadata, "description", &details.description);
    put_list(&mut metadata, "authors", details.authors.clone());
    metadata.insert("triggers".to_owned(), json!(details.trigger));
    // Old readers know one type of triggers only, and look for its settings here.
    if let (Some(kind), 1) = (app.triggers.keys().next(), app.triggers.len()) {
        let mut settings = details.trigger.get(kind).cloned().unwrap_or_default();
        settings.insert("type".to_owned(), kind.as_str().into());
        metadata.insert("trigger".to_owned(), Value::Object(settings));
    }
    put_text(&mut metadata, "profile", profile.unwrap_or_default());
    metadata
}

fn lock_component(id: &str, component: &Component) -> LockedComponent {
    let hosts =
        component.outbound_hosts().unwrap_or_else(|_| values(&component.allowed_outbound_hosts));
    let chains = hosts
        .iter()
        .any(|host| AllowedHost::parse(host).is_ok_and(|host| host.is_for_service_chaining()));
    let mut host_requirements = Map::new();
    if chains {
        host_requirements.insert(SERVICE_CHAINING.to_owned(), "required".into());
    }
    let mut metadata = Map::new();
    put_text(&mut metadata, "description", &component.description);
    put_list(&mut metadata, "allowed_outbound_hosts", hosts);
    put_list(&mut metadata, "key_value_stores", values(&component.key_value_stores));
    put_list(&mut metadata, "databases", values(&component.sqlite_databases));
    put_list(&mut metadata, "ai_models", values(&component.ai_models));
    if let Some(build) = &component.build {
        metadata.insert("build".to_owned(), build_metadata(build));
    }
    LockedComponent {
        id: id.to_owned(),
        metadata,
        source: empty_source(),
        env: sorted(component.environment.clone()),
        files: Vec::new(),
        config: sorted(
            component
                .variables
                .iter()
                .map(|(name, template)| (name.to_string(), template.value().clone())),
        ),
        dependencies: sorted(component.dependencies.iter().map(|(name, dependency)| {
            let locked = LockedDependency {
                source: empty_source(),
                export: dependency.export.clone(),
                inherit: inherit(dependency.inherit.as_ref()),
            };
            (name.to_string(), locked)
        })),
        trigger_dependencies: IndexMap::new(),
        host_requirements,
    }
}

fn build_metadata(build: &BuildConfig) -> Value {
    let mut table = Map::new();
    let command = match &build.command {
        Commands::Single(command) => command.as_str().into(),
        Commands::Multiple(commands) => commands.clone().into(),
    };
    table.insert("command".to_owned(), command);
    put_text(&mut table, "workdir", build.workdir.as_deref().unwrap_or_default());
    put_list(&mut table, "watch", build.watch.clone());
    Value::Object(table)
}

fn empty_source() -> LockedSource {
    LockedSource { content_type: "application/wasm".to_owned(), content: ContentRef::default() }
}

fn put_text(table: &mut ValuesMap, key: &str, text: &str) {
    if !text.is_empty() {
        table.insert(key.to_owned(), text.into());
    }
}

fn put_list(table: &mut ValuesMap, key: &str, items: Vec<String>) {
    if !items.is_empty() {
        table.insert(key.to_owned(), items.into());
    }
}

/// By name: a locked app is the same whatever the order of the manifest's tables.
fn sorted<V>(entries: impl IntoIterator<Item = (String, V)>) -> IndexMap<String, V> {
    let mut map: IndexMap<String, V> = entries.into_iter().collect();
    map.sort_unstable_keys();
    map
}

/// Why an application cannot be reduced to some of its components.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetainError {
    /// There is no such component.
    #[error("Specified component \"{0}\" not found in application")]
    Unknown(String),
    /// A component that stays chains to any.
    #[error(
        "Selected component '{0}' cannot use wildcard service chaining: allowed_outbound_hosts = [\"http://*.spin.internal\"]"
    )]
    WildcardChaining(String),
    /// A component that stays chains to one that goes.
    #[error(
        "Selected component '{component}' cannot use service chaining to unselected component: allowed_outbound_hosts = [\"http://{target}.spin.internal\"]"
    )]
    Chaining {
        /// The one that stays.
        component: String,
        /// The one that goes.
        target: String,
    },
}

/// Reduces an application to those of its components, and the triggers that call them.
///
/// # Errors
/// If a component is unknown, or if one that stays needs one that goes.
pub fn retain_components(app: &mut LockedApp, ids: &[impl AsRef<str>]) -> Result<(), RetainError> {
    let stays = |id: &str| ids.iter().any(|one| one.as_ref() == id);
    if let Some(unknown) = ids.iter().find(|id| app.component(id.as_ref()).is_none()) {
        return Err(RetainError::Unknown(unknown.as_ref().to_owned()));
    }
    for component in app.components.iter().filter(|component| stays(&component.id)) {
        for entry in component.metadata_list("allowed_outbound_hosts") {
            let host = entry.split_once("://").map_or("", |(_, rest)| rest);
            let host = host.split([':', '/']).next().unwrap_or_default();
            match crate::hosts::service_chaining_target(host) {
                Some("*") => return Err(RetainError::WildcardChaining(component.id.clone())),
                Some(target) if !target.contains('{') && !stays(target) => {
                    let (component, target) = (component.id.clone(), target.to_owned());
                    return Err(RetainError::Chaining { component, target });
                }
                _ => {}
            }
        }
    }
    app.triggers.retain(|trigger| {
        trigger.trigger_config.get("component").and_then(Value::as_str).is_some_and(stays)
    });
    app.components.retain(|component| stays(&component.id));
    Ok(())
}
