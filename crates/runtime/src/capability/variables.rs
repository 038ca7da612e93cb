//! Variables: where their values come from, and how a component reads its own.
//!
//! A value is looked up at every use, so that it can change under a running app: see [`Variables::replace`].

mod guest;

use std::{collections::BTreeMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use gyre_manifest::{
    template::{Template, TemplateError},
    variable::check_key,
};
use gyre_model::{LockedApp, Secret, locked::LockedComponent};

pub(crate) use guest::add_to_linker;

/// The values that an app's variables have, apart from the defaults in its manifest. Shared by whoever changes
/// them and by the app; a change holds from the next use on.
#[derive(Debug, Default)]
pub struct Variables {
    current: ArcSwap<Providers>,
}

/// Asked one after the other: the first that knows a variable gives its value.
pub(crate) type Providers = Vec<VariablesProvider>;

/// Knows the values of some variables.
#[derive(Clone)]
pub enum VariablesProvider {
    /// Values that were given, by the variables' names.
    Values(BTreeMap<String, Secret<String>>),
    /// Environment variables named `SPIN_VARIABLE_` and the variable's name in capitals; here without that prefix.
    Environment(BTreeMap<String, Secret<String>>),
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
        let values = variables.into_iter().filter_map(|(name, value)| {
            Some((name.strip_prefix(Self::ENVIRONMENT_PREFIX)?.to_owned(), value.into()))
        });
        Self::Environment(values.collect())
    }

    fn value(&self, name: &str) -> Option<&Secret<String>> {
        match self {
            Self::Values(values) => values.get(name),
            Self::Environment(values) => values.get(&name.to_ascii_uppercase()),
        }
    }
}

impl fmt::Debug for VariablesProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, values) = match self {
            Self::Values(values) => ("Values", values),
            Self::Environment(values) => ("Environment", values),
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

    /// The names of the app's required variables (those without a default) that have no value, in the
    /// manifest's order. An app that lacks one cannot serve.
    pub fn missing_required(&self, app: &LockedApp) -> Vec<String> {
        let providers = self.current.load();
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
        resolve(&self.snapshot(), defaults, template)
    }

    /// The providers of this moment. Two calls give the same pointer unless there was a change in between.
    pub(crate) fn snapshot(&self) -> Arc<Providers> {
        self.current.load_full()
    }
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

/// The app's value of a variable, by the providers or else by default.
///
/// # Errors
/// It is declared without a default and has no value, or is not declared (`None`).
pub(crate) fn app_value(
    providers: &Providers,
    defaults: &Defaults,
    name: &str,
) -> Result<Option<String>, VariableError> {
    let Some(default) = defaults.get(name) else { return Ok(None) };
    match lookup(providers, name).or_else(|| default.clone()) {
        Some(value) => Ok(Some(value)),
        None => Err(VariableError::Provider(format!("no provider resolved variable {name:?}"))),
    }
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
    pub(crate) fn value(&self, variables: &Variables, name: &str) -> Result<String, VariableError> {
        check_key(name).map_err(|error| {
            let text = error.to_string();
            let reason = text.strip_prefix("invalid variable name: ").unwrap_or(&text);
            VariableError::InvalidName(reason.to_owned())
        })?;
        let template = self.templates.get(name).ok_or_else(|| {
            let component = &self.component;
            VariableError::Undefined(format!("no variable for {component:?}.{name:?}"))
        })?;
        self.resolve(&variables.current.load(), template)
    }

    /// All variables with their values, as they are now.
    pub(crate) fn all(
        &self,
        variables: &Variables,
    ) -> Result<Vec<(String, String)>, VariableError> {
        let providers = variables.current.load();
        let values = self.templates.iter();
        values.map(|(name, it)| Ok((name.clone(), self.resolve(&providers, it)?))).collect()
    }

    fn resolve(&self, providers: &Providers, it: &Template) -> Result<String, VariableError> {
        resolve(providers, &self.defaults, it)
    }
}

/// A template over an app's variables, with their values as they are now.
fn resolve(
    providers: &Providers,
    defaults: &Defaults,
    template: &Template,
) -> Result<String, VariableError> {
    let mut failure = None;
    let resolved = template.resolve(|name| {
        app_value(providers, defaults, name).unwrap_or_else(|error| {
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

    #[test]
    fn the_first_provider_that_knows_a_variable_wins_and_defaults_come_last() {
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
        assert_eq!(component.value(&variables, "url").unwrap(), "http://localhost/?t=given");
        assert_eq!(component.value(&variables, "shade").unwrap(), "blue");
        assert_eq!(
            component.all(&variables).unwrap(),
            pairs(&[("plain", "x"), ("shade", "blue"), ("url", "http://localhost/?t=given")])
        );
    }

    #[test]
    fn a_change_holds_from_the_next_use_on() {
        let app = app();
        let component = ComponentVariables::new(&app, &app.components[0]).unwrap();
        let variables = Variables::from_values(pairs(&[("color", "one")]));
        assert_eq!(component.value(&variables, "shade").unwrap(), "one");
        let before = variables.snapshot();
        assert!(Arc::ptr_eq(&before, &variables.snapshot()));
        variables.replace(vec![VariablesProvider::values(pairs(&[("color", "two")]))]);
        assert_eq!(component.value(&variables, "shade").unwrap(), "two");
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

    #[test]
    fn mistakes_read_as_spins() {
        let app = app();
        let component = ComponentVariables::new(&app, &app.components[0]).unwrap();
        let value = |name| component.value(&Variables::default(), name).unwrap_err();
        assert_eq!(
            value("token"),
            VariableError::Undefined(r#"no variable for "a"."token""#.into())
        );
        assert_eq!(
            value("1x"),
            VariableError::InvalidName(r#""1x": must start with a lowercase ASCII letter"#.into())
        );
        assert_eq!(
            value("url"),
            VariableError::Provider(r#"no provider resolved variable "token""#.into())
        );
    }

    #[test]
    fn values_are_not_shown_by_debug() {
        let variables = Variables::from_values(pairs(&[("token", "geheim")]));
        let shown = format!("{variables:?}");
        assert!(shown.contains("token") && !shown.contains("geheim"), "{shown}");
    }
}
