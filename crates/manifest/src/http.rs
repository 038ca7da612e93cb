//! The HTTP trigger: its configuration, and the routes of an application.

mod config;
#[cfg(test)]
mod tests;

use std::fmt;

use gyre_model::locked::{LockedApp, LockedTrigger};
use indexmap::IndexMap;
use serde_json::Value;

pub(crate) use config::{ConfigError, Part};

use crate::routes::{Duplicate, RESERVED_PREFIX, Route, RouteMatch, Router};

/// The type of these triggers.
pub const TRIGGER_TYPE: &str = "http";

/// Why the HTTP triggers of an application cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpTriggerError {
    /// The configuration of a trigger.
    #[error("invalid `http` trigger config of `{trigger}`: {reason}")]
    Config {
        /// The trigger's id.
        trigger: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Both or neither of component and static response.
    #[error("Triggers must specify either component or static_response - {trigger} has {has}")]
    Target {
        /// The trigger's id.
        trigger: String,
        /// `both` or `neither`.
        has: &'static str,
    },
    /// `route = { private = false }`.
    #[error(
        "route must be a string pattern or '{{ private = true }}': '{0}' has {{ private = false }}"
    )]
    NotPrivate(String),
    /// A route that cannot be parsed.
    #[error("Error parsing route {route} associated with component {id}: {reason}")]
    Route {
        /// The route, absolute.
        route: String,
        /// What it leads to.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `entrypoint` with another value than the default.
    #[error("Wagi component '{0}' cannot use deprecated 'entrypoint' field")]
    WagiEntrypoint(String),
    /// `[application.trigger.http]` with a `base`.
    #[error(
        "This application is using the deprecated trigger 'base' field. The base must be prepended to each [[trigger.http]]'s 'route'."
    )]
    Base,
}

/// An HTTP trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTrigger {
    /// Unique in the application.
    pub id: String,
    /// The component that answers. Exactly one of this and `static_response` is there.
    pub component: Option<String>,
    /// The answer itself.
    pub static_response: Option<StaticResponse>,
    /// Which requests.
    pub route: HttpRoute,
    /// How the component is called.
    pub executor: Executor,
}

/// Which requests an HTTP trigger is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpRoute {
    /// Those that match, as the manifest has it.
    Public(String),
    /// None from outside: it is reached by service chaining only.
    Private,
}

/// How a component is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Executor {
    /// By whichever HTTP interface it exports.
    #[default]
    Http,
    /// As a CGI program.
    Wagi {
        /// Its arguments, separated by spaces, with `${SCRIPT_NAME}` and `${ARGS}`.
        argv: String,
    },
}

/// An answer without a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticResponse {
    /// 100 to 999.
    pub status: u16,
    /// Names and values, in order; both well formed.
    pub headers: IndexMap<String, String>,
    /// Nothing is an empty body.
    pub body: Option<String>,
}

impl HttpTrigger {
    /// From a trigger of a locked app.
    ///
    /// # Errors
    /// What is wrong with its configuration.
    pub fn from_locked(trigger: &LockedTrigger) -> Result<Self, HttpTriggerError> {
        Self::from_config(&trigger.id, &trigger.trigger_config).map_err(|error| *error.error)
    }

    /// From a trigger's id and its configuration.
    pub(crate) fn from_config(id: &str, config: &Value) -> Result<Self, ConfigError> {
        config::read(id, config)
    }

    /// What it is shown as: its component's id, or its own where it has none.
    pub fn shown_id(&self) -> &str {
        self.component.as_deref().unwrap_or(&self.id)
    }
}

/// The HTTP side of an application: its triggers, and which of them a path leads to.
#[derive(Debug, Clone)]
pub struct HttpApp {
    triggers: Vec<HttpTrigger>,
    router: Router<usize>,
    duplicates: Vec<DuplicateRoute>,
}

/// A route that is never used, since another trigger has the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateRoute {
    /// The route: absolute, `/` for the root.
    pub route: String,
    /// Place of the trigger that is never used.
    pub replaced: usize,
    /// Place of the trigger that is used instead.
    pub effective: usize,
    /// `replaced: /route (duplicate of effective)`.
    pub message: String,
}

impl HttpApp {
    /// From a locked app.
    ///
    /// # Errors
    /// The first thing that makes it unusable.
    pub fn from_locked(app: &LockedApp) -> Result<Self, HttpTriggerError> {
        let base = app.metadata.get("triggers").and_then(|all| all.get(TRIGGER_TYPE)?.get("base"));
        if base.is_some_and(|base| *base != "/") {
            return Err(HttpTriggerError::Base);
        }
        let triggers = app.triggers.iter().filter(|trigger| trigger.trigger_type == TRIGGER_TYPE);
        Self::new(triggers.map(HttpTrigger::from_locked).collect::<Result<_, _>>()?)
    }

    /// From its triggers, in the manifest's order.
    ///
    /// # Errors
    /// A route that cannot be parsed.
    pub fn new(triggers: Vec<HttpTrigger>) -> Result<Self, HttpTriggerError> {
        let public: Vec<(&str, usize)> = triggers
            .iter()
            .enumerate()
            .filter_map(|(place, trigger)| match &trigger.route {
                HttpRoute::Public(route) => Some((route.as_str(), place)),
                HttpRoute::Private => None,
            })
            .collect();
        let shown = |index: usize| triggers[public[index].1].shown_id();
        let (router, duplicates) =
            Router::build(public.iter().copied()).map_err(|error| HttpTriggerError::Route {
                id: shown(error.index).to_owned(),
                route: error.route,
                reason: error.reason.to_string(),
            })?;
        let duplicates = duplicates
            .into_iter()
            .map(|Duplicate { route, replaced, effective }| DuplicateRoute {
                message: format!(
                    "{}: {route} (duplicate of {})",
                    shown(replaced),
                    shown(effective)
                ),
                replaced: public[replaced].1,
                effective: public[effective].1,
                route,
            })
            .collect();
        Ok(Self { triggers, router, duplicates })
    }

    /// All triggers, private ones included, in the manifest's order.
    pub fn triggers(&self) -> &[HttpTrigger] {
        &self.triggers
    }

    /// The trigger for the path of a request, and how its route matched. The value is the trigger's place in
    /// [`triggers`](Self::triggers).
    pub fn find<'p>(&self, path: &'p str) -> Option<(&HttpTrigger, RouteMatch<'_, 'p, usize>)> {
        let found = self.router.find(path)?;
        Some((&self.triggers[*found.value], found))
    }

    /// The first trigger, private or not, that calls the component: for service chaining.
    pub fn of_component(&self, component: &str) -> Option<&HttpTrigger> {
        self.triggers.iter().find(|trigger| trigger.component.as_deref() == Some(component))
    }

    /// The public routes and their triggers, in the order in which they are listed.
    pub fn routes(&self) -> impl Iterator<Item = (&Route, &HttpTrigger)> {
        self.router.routes().map(|(route, place)| (route, &self.triggers[*place]))
    }

    /// Routes that are never used, since others replace them.
    pub fn duplicates(&self) -> &[DuplicateRoute] {
        &self.duplicates
    }

    /// What Spin logs as errors about routes that are never reached, line by line; usually nothing.
    pub fn notices(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.duplicates.is_empty() {
            lines.push(
                "The following component routes are duplicates and will never be used:".to_owned(),
            );
            lines
                .extend(self.duplicates.iter().map(|duplicate| format!("  {}", duplicate.message)));
        }
        if self.routes().any(|(route, _)| route.is_reserved()) {
            lines.push(format!(
                "Routes under {RESERVED_PREFIX} are handled by the Spin runtime and will never be reached"
            ));
        }
        lines
    }
}

/// A line under `Available Routes:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRoute {
    /// The component's id, or the trigger's where it has a static response.
    pub id: String,
    /// The route without its wildcard: absolute, `/` for the root.
    pub route: String,
    /// Whether it has a wildcard.
    pub is_wildcard: bool,
    /// The component's description.
    pub description: Option<String>,
}

impl fmt::Display for ListedRoute {
    /// What is printed behind a base URL such as `http://127.0.0.1:3000`: `/hello (wildcard)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.route == "/" { "" } else { &self.route })?;
        f.write_str(if self.is_wildcard { " (wildcard)" } else { "" })
    }
}

/// The public routes of an application, in Spin's order.
///
/// # Errors
/// If its HTTP triggers cannot be used.
pub fn list_routes(app: &LockedApp) -> Result<Vec<ListedRoute>, HttpTriggerError> {
    let http = HttpApp::from_locked(app)?;
    let listed = http.routes().map(|(route, trigger)| ListedRoute {
        id: trigger.shown_id().to_owned(),
        route: if route.path().is_empty() { "/".to_owned() } else { route.path().to_owned() },
        is_wildcard: route.is_wildcard(),
        description: trigger
            .component
            .as_deref()
            .and_then(|id| app.component(id)?.description())
            .map(str::to_owned),
    });
    Ok(listed.collect())
}
