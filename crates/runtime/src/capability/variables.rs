//! Variables: where their values come from, and how a component reads its own.
//!
//! A value is looked up at every use, so that it can change under a running app: see [`Variables::replace`].

mod azure;
mod guest;
mod vault;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use gyre_manifest::{
    hosts::HostTemplates,
    template::{Template, TemplateError},
    variable::check_key,
};
use gyre_model::{LockedApp, Secret, locked::LockedComponent};

pub use azure::{AzureCloud, AzureKeyVault, AzurePrincipal};
pub use vault::Vault;

pub(crate) use guest::{add_async_to_linker, add_to_linker};

/// The values that an app's variables have, apart from the defaults in its manifest. Shared by whoever changes
/// them and by the app; a change holds from the next use on.
#[derive(Debug, Default)]
pub struct Variables {
    current: ArcSwap<Providers>,
}

/// Asked one after the other: the first that knows a variable gives its value.
pub(crate) type Providers = Vec<VariablesProvider>;

/// Knows variables by asking someone else for them, at every use.
pub trait RemoteVariables: fmt::Debug + Send + Sync {
    /// The value of a variable, or none if others are to be asked.
    ///
    /// # Errors
    /// Why nobody is to be asked any more: the text that the guest gets.
    fn value<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, String>>;
}

/// Knows the values of some variables.
#[derive(Clone)]
pub enum VariablesProvider {
    /// Values that were given, by the variables' names.
    Values(BTreeMap<String, Secret<String>>),
    /// Environment variables named `SPIN_VARIABLE_` and the variable's name in capitals; here without that prefix.
    Environment(BTreeMap<String, Secret<String>>),
    /// Values that someone else is asked for.
    Remote {
        /// Who is asked.
        source: Arc<dyn RemoteVariables>,
        /// What it said of the variables that are used where nobody can wait: see [`Variables::remember`].
        remembered: BTreeMap<String, Secret<String>>,
    },
}

impl VariablesProvider {
    /// The prefix of environment variables that are values.
    pub const ENVIRONMENT_PREFIX: &'static str = "SPIN_VARIABLE_";

    /// Values that were given, by the variables' names.
    pub fn values(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::Values(values.into_iter().map(|(name, value)| (name, value.into())).collect())
    }

    /// What is a value among these environment variables.
    pub fn environment(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::environment_with(Self::ENVIRONMENT_PREFIX, variables)
    }

    /// The same with another prefix.
    pub fn environment_with(
        prefix: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let values = variables.into_iter().filter_map(|(name, value)| {
            Some((name.strip_prefix(prefix)?.to_owned(), value.into()))
        });
        Self::Environment(values.collect())
    }

    /// Values that `source` is asked for.
    pub fn remote(source: Arc<dyn RemoteVariables>) -> Self {
        Self::Remote { source, remembered: BTreeMap::new() }
    }

    /// The value, if it is known here and now.
    fn value(&self, name: &str) -> Option<&Secret<String>> {
        match self {
            Self::Values(values) => values.get(name),
            Self::Environment(values) => values.get(&name.to_ascii_uppercase()),
            Self::Remote { remembered, .. } => remembered.get(name),
        }
    }
}

impl fmt::Debug for VariablesProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, values) = match self {
            Self::Values(values) => ("Values", values),
            Self::Environment(values) => ("Environment", values),
            Self::Remote { source, .. } => return source.fmt(f),
        };
        f.debug_tuple(kind).field(&values.keys()).finish()
    }
}

impl Variables {
    /// From providers, the first that knows a variable gives its value.
    pub fn new(providers: Vec<VariablesProvider>) -> Self {
        Self { current: ArcSwap::from_pointee(providers) }
    }

    /// From values only.
    pub fn from_values(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::new(vec![VariablesProvider::values(values)])
    }

    /// Puts other providers in place of those before, for running guests as well.
    pub fn replace(&self, providers: Vec<VariablesProvider>) {
        self.current.store(Arc::new(providers));
    }

    /// Asks remote providers for the variables in `allowed_outbound_hosts` and in the triggers' settings, and keeps the
    /// answers: these are looked at where nobody can wait.
    ///
    /// # Errors
    /// Such a variable cannot be had.
    pub async fn remember(&self, app: &LockedApp) -> Result<(), String> {
        let mut providers = Providers::clone(&self.snapshot());
        if !has_remote(&providers) {
            return Ok(());
        }
        let mut names = BTreeSet::new();
        for component in &app.components {
            // What cannot be parsed is reported when the app is loaded.
            let entries = component.metadata_list("allowed_outbound_hosts");
            if let Ok(hosts) = HostTemplates::parse(&entries) {
                names.extend(hosts.names().map(str::to_owned));
            }
        }
        for trigger in &app.triggers {
            names_in(&trigger.trigger_config, &mut names);
        }
        app.metadata.values().for_each(|value| names_in(value, &mut names));
        for name in names.iter().filter(|name| app.variables.contains_key(*name)) {
            for provider in &mut providers {
                if let VariablesProvider::Remote { source, remembered } = provider
                    && let Some(value) = source.value(name).await?
                {
                    remembered.insert(name.clone(), value.into());
                }
            }
        }
        self.replace(providers);
        Ok(())
    }

    /// The names of the app's required variables (those without a default) that have no value, in the
    /// manifest's order. An app that lacks one cannot serve. A remote provider may have any.
    pub fn missing_required(&self, app: &LockedApp) -> Vec<String> {
        let providers = self.current.load();
        if has_remote(&providers) {
            return Vec::new();
        }
        let required = app.variables.iter().filter(|(_, variable)| variable.default.is_none());
        let missing = required.filter(|(name, _)| lookup(&providers, name).is_none());
        missing.map(|(name, _)| name.clone()).collect()
    }

    /// A template over the app's variables with its value of this moment.
    ///
    /// # Errors
    /// A variable has no value.
    pub(crate) fn resolve(
        &self,
        defaults: &Defaults,
        template: &Template,
    ) -> Result<String, VariableError> {
        let providers = self.snapshot();
        resolve(template, |name| app_value(&providers, defaults, name))
    }

    /// A value for the host itself, which the manifest need not declare: what was given, or else a default that is declared.
    pub(crate) fn given(&self, defaults: &Defaults, name: &str) -> Option<String> {
        lookup(&self.snapshot(), name).or_else(|| defaults.get(name).cloned().flatten())
    }

    /// The providers of this moment. Two calls give the same pointer unless there was a change in between.
    pub(crate) fn snapshot(&self) -> Arc<Providers> {
        self.current.load_full()
    }
}

/// The names in all texts of `value` that are templates.
fn names_in(value: &serde_json::Value, names: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::String(text) => {
            if let Ok(template) = Template::parse(text) {
                names.extend(template.names().map(str::to_owned));
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|it| names_in(it, names)),
        serde_json::Value::Object(values) => values.values().for_each(|it| names_in(it, names)),
        _ => {}
    }
}

fn has_remote(providers: &Providers) -> bool {
    providers.iter().any(|provider| matches!(provider, VariablesProvider::Remote { .. }))
}

fn lookup(providers: &Providers, name: &str) -> Option<String> {
    providers.iter().find_map(|provider| provider.value(name)).map(|value| value.expose().clone())
}

/// Why a component gets no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VariableError {
    /// The name cannot name a variable.
    #[error("invalid variable name: {0}")]
    InvalidName(String),
    /// The component has no such variable.
    #[error("undefined variable: {0}")]
    Undefined(String),
    /// Nothing gives a value to a variable that the component's is made of.
    #[error("provider error: {0}")]
    Provider(String),
}

/// The variables of the application as its manifest declares them: their defaults, by name.
pub(crate) type Defaults = BTreeMap<String, Option<String>>;

/// What an application declares of its variables.
pub(crate) fn defaults(app: &LockedApp) -> Defaults {
    let variables = app.variables.iter();
    variables.map(|(name, variable)| (name.clone(), variable.default.clone())).collect()
}

/// The app's value of a variable, by the providers or else by default, as far as that is known here and now.
///
/// # Errors
/// It is declared without a default and has no value, or is not declared (`None`).
pub(crate) fn app_value(
    providers: &Providers,
    defaults: &Defaults,
    name: &str,
) -> Result<Option<String>, VariableError> {
    let Some(default) = defaults.get(name) else { return Ok(None) };
    or_default(name, lookup(providers, name), default.as_ref()).map(Some)
}

fn or_default(
    name: &str,
    value: Option<String>,
    default: Option<&String>,
) -> Result<String, VariableError> {
    value
        .or_else(|| default.cloned())
        .ok_or_else(|| VariableError::Provider(format!("no provider resolved variable {name:?}")))
}

/// The same, with remote providers asked in their turn.
async fn asked_value(
    providers: &Providers,
    defaults: &Defaults,
    name: &str,
) -> Result<Option<String>, VariableError> {
    let Some(default) = defaults.get(name) else { return Ok(None) };
    for provider in providers {
        let value = match provider {
            VariablesProvider::Remote { source, .. } => {
                source.value(name).await.map_err(VariableError::Provider)?
            }
            known => known.value(name).map(|value| value.expose().clone()),
        };
        if value.is_some() {
            return Ok(value);
        }
    }
    or_default(name, None, default.as_ref()).map(Some)
}

/// The variables of one component: templates over the application's.
#[derive(Debug, Default)]
pub(crate) struct ComponentVariables {
    component: String,
    templates: BTreeMap<String, Template>,
    defaults: Arc<Defaults>,
}

impl ComponentVariables {
    /// # Errors
    /// A template that cannot be parsed, or that uses a variable which the application does not have.
    pub(crate) fn new(app: &LockedApp, component: &LockedComponent) -> Result<Self, TemplateError> {
        let defaults = defaults(app);
        let templates = component.config.iter().map(|(name, template)| {
            let template = Template::parse(template)?;
            if let Some(unknown) = template.names().find(|name| !defaults.contains_key(*name)) {
                return Err(TemplateError::Unknown(unknown.to_owned()));
            }
            Ok((name.clone(), template))
        });
        Ok(Self {
            component: component.id.clone(),
            templates: templates.collect::<Result<_, _>>()?,
            defaults: Arc::new(defaults),
        })
    }

    pub(crate) fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// The value of a variable, as it is now.
    pub(crate) async fn value(
        &self,
        variables: &Variables,
        name: &str,
    ) -> Result<String, VariableError> {
        check_key(name).map_err(|error| {
            let text = error.to_string();
            let reason = text.strip_prefix("invalid variable name: ").unwrap_or(&text);
            VariableError::InvalidName(reason.to_owned())
        })?;
        let template = self.templates.get(name).ok_or_else(|| {
            let component = &self.component;
            VariableError::Undefined(format!("no variable for {component:?}.{name:?}"))
        })?;
        self.resolve(&variables.snapshot(), template).await
    }

    /// All variables with their values, as they are now.
    pub(crate) async fn all(
        &self,
        variables: &Variables,
    ) -> Result<Vec<(String, String)>, VariableError> {
        let providers = variables.snapshot();
        let mut all = Vec::with_capacity(self.templates.len());
        for (name, template) in &self.templates {
            all.push((name.clone(), self.resolve(&providers, template).await?));
        }
        Ok(all)
    }

    async fn resolve(&self, providers: &Providers, it: &Template) -> Result<String, VariableError> {
        if !has_remote(providers) {
            return resolve(it, |name| app_value(providers, &self.defaults, name));
        }
        let mut asked = BTreeMap::new();
        for name in it.names() {
            asked.insert(name, asked_value(providers, &self.defaults, name).await?);
        }
        resolve(it, |name| Ok(asked.get(name).cloned().flatten()))
    }
}

/// A template with the values that `value` knows.
fn resolve(
    template: &Template,
    value: impl Fn(&str) -> Result<Option<String>, VariableError>,
) -> Result<String, VariableError> {
    let mut failure = None;
    let resolved = template.resolve(|name| {
        value(name).unwrap_or_else(|error| {
            failure = Some(error);
            None
        })
    });
    resolved.map_err(|error| failure.unwrap_or(VariableError::Provider(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> LockedApp {
        serde_json::from_str(
            r#"{"spin_lock_version":1,"metadata":{"name":"v"},"triggers":[],
            "variables":{"token":{},"host":{"default":"localhost"},"color":{"default":"red"}},
            "components":[{"id":"a","source":{"content_type":"application/wasm","source":"file:///a"},
            "config":{"url":"http://{{ host }}/?t={{token}}","plain":"x","shade":"{{color}}"}}]}"#,
        )
        .unwrap()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[tokio::test]
    async fn the_first_provider_that_knows_a_variable_wins_and_defaults_come_last() {
        let app = app();
        let component = ComponentVariables::new(&app, &app.components[0]).unwrap();
        let variables = Variables::new(vec![
            VariablesProvider::values(pairs(&[("token", "given")])),
            VariablesProvider::environment(pairs(&[
                ("SPIN_VARIABLE_TOKEN", "environment"),
                ("SPIN_VARIABLE_COLOR", "blue"),
                ("COLOR", "green"),
            ])),
        ]);
        assert_eq!(component.value(&variables, "url").await.unwrap(), "http://localhost/?t=given");
        assert_eq!(component.value(&variables, "shade").await.unwrap(), "blue");
        assert_eq!(
            component.all(&variables).await.unwrap(),
            pairs(&[("plain", "x"), ("shade", "blue"), ("url", "http://localhost/?t=given")])
        );
    }

    #[tokio::test]
    async fn a_change_holds_from_the_next_use_on() {
        let app = app();
        let component = ComponentVariables::new(&app, &app.components[0]).unwrap();
        let variables = Variables::from_values(pairs(&[("color", "one")]));
        assert_eq!(component.value(&variables, "shade").await.unwrap(), "one");
        let before = variables.snapshot();
        assert!(Arc::ptr_eq(&before, &variables.snapshot()));
        variables.replace(vec![VariablesProvider::values(pairs(&[("color", "two")]))]);
        assert_eq!(component.value(&variables, "shade").await.unwrap(), "two");
        assert!(!Arc::ptr_eq(&before, &variables.snapshot()));
    }

    #[test]
    fn required_variables_without_a_value_are_missing() {
        let variables = Variables::default();
        assert_eq!(variables.missing_required(&app()), ["token"]);
        variables
            .replace(vec![VariablesProvider::environment(pairs(&[("SPIN_VARIABLE_TOKEN", "x")]))]);
        assert!(variables.missing_required(&app()).is_empty());
    }

    #[tokio::test]
    async fn mistakes_read_as_spins() {
        let app = app();
        let component = ComponentVariables::new(&app, &app.components[0]).unwrap();
        let none = Variables::default();
        let value = async |name| component.value(&none, name).await.unwrap_err();
        assert_eq!(
            value("token").await,
            VariableError::Undefined(r#"no variable for "a"."token""#.into())
        );
        assert_eq!(
            value("1x").await,
            VariableError::InvalidName(r#""1x": must start with a lowercase ASCII letter"#.into())
        );
        assert_eq!(
            value("url").await,
            VariableError::Provider(r#"no provider resolved variable "token""#.into())
        );
    }

    #[derive(Debug)]
    struct Elsewhere;

    impl RemoteVariables for Elsewhere {
        fn value<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, String>> {
            Box::pin(async move {
                tokio::task::yield_now().await;
                match name {
                    "token" => Ok(Some("fetched".to_owned())),
                    "color" => Err("the vault is sealed".to_owned()),
                    _ => Ok(None),
                }
            })
        }
    }

    #[tokio::test]
    async fn remote_providers_are_asked_in_their_turn_and_their_failures_end_the_search() {
        let app = app();
        let component = ComponentVariables::new(&app, &app.components[0]).unwrap();
        let given = VariablesProvider::values(pairs(&[("color", "given")]));
        let remote = VariablesProvider::remote(Arc::new(Elsewhere));
        let variables = Variables::new(vec![given.clone(), remote.clone()]);
        assert!(variables.missing_required(&app).is_empty());
        assert_eq!(
            component.value(&variables, "url").await.unwrap(),
            "http://localhost/?t=fetched"
        );
        assert_eq!(component.value(&variables, "shade").await.unwrap(), "given");
        let variables = Variables::new(vec![remote, given]);
        let error = component.value(&variables, "shade").await.unwrap_err();
        assert_eq!(error, VariableError::Provider("the vault is sealed".to_owned()));
    }

    #[tokio::test]
    async fn what_allowed_hosts_need_is_remembered() {
        let mut app = app();
        let hosts = serde_json::json!(["http://{{ token }}.example"]);
        app.components[0].metadata.insert("allowed_outbound_hosts".to_owned(), hosts);
        let variables = Variables::new(vec![VariablesProvider::remote(Arc::new(Elsewhere))]);
        let defaults = ComponentVariables::new(&app, &app.components[0]).unwrap();
        let now = || app_value(&variables.snapshot(), defaults.defaults(), "token");
        assert!(now().is_err());
        variables.remember(&app).await.unwrap();
        assert_eq!(now().unwrap().as_deref(), Some("fetched"));
    }

    #[test]
    fn values_are_not_shown_by_debug() {
        let variables = Variables::from_values(pairs(&[("token", "geheim")]));
        let shown = format!("{variables:?}");
        assert!(shown.contains("token") && !shown.contains("geheim"), "{shown}");
    }
}
