//! Where a component may connect to: `allowed_outbound_hosts`, with the variables in it as they are now.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwapOption;
use gyre_manifest::hosts::{AllowedHosts, HostError, HostTemplates};

use super::{
    Origin,
    variables::{Providers, app_value},
};

/// The hosts that one component may connect to.
pub(crate) struct AllowedNetwork {
    templates: HostTemplates,
    component_ids: Vec<String>,
    /// What the templates came to, and the variables' providers of that moment.
    resolved: ArcSwapOption<Resolved>,
}

struct Resolved {
    /// Not asked where there are no templates.
    providers: Arc<Providers>,
    hosts: AllowedHosts,
}

impl AllowedNetwork {
    /// # Errors
    /// An entry that is not valid.
    pub(crate) fn new(entries: &[String], component_ids: Vec<String>) -> Result<Self, HostError> {
        let templates = HostTemplates::parse(entries)?;
        Ok(Self { templates, component_ids, resolved: ArcSwapOption::empty() })
    }

    /// Whether `origin` may connect to that host. A refusal is written to the app's log.
    pub(crate) fn allows(&self, origin: &Origin, scheme: &str, host: &str, port: u16) -> bool {
        let is_allowed = self.ask(origin, |hosts| hosts.allows(scheme, host, Some(port)));
        if !is_allowed {
            let is_usual = gyre_manifest::hosts::well_known_port(scheme) == Some(port);
            let port = if is_usual { String::new() } else { format!(":{port}") };
            refuse(origin, &format!("{scheme}://{host}{port}"));
        }
        is_allowed
    }

    /// Whether `origin` may connect to that address; `scheme` is `tcp` or `udp`. A refusal is written to the
    /// app's log.
    pub(crate) fn allows_address(&self, origin: &Origin, scheme: &str, to: SocketAddr) -> bool {
        let ip = to.ip().to_canonical();
        let is_allowed = self.ask(origin, |hosts| hosts.allows_address(scheme, ip, to.port()));
        if !is_allowed {
            refuse(origin, &format!("{scheme}://{to}"));
        }
        is_allowed
    }

    /// Whether `origin` may send requests to its own application. A refusal is written to the app's log.
    pub(crate) fn allows_self(&self, origin: &Origin) -> bool {
        let is_allowed = self.ask(origin, |hosts| hosts.allows_relative(&["http", "https"]));
        if !is_allowed {
            refuse(origin, "http://self");
        }
        is_allowed
    }

    fn ask(&self, origin: &Origin, question: impl FnOnce(&AllowedHosts) -> bool) -> bool {
        let providers = origin.app.variables.snapshot();
        let resolved = self.resolved.load();
        if let Some(resolved) = &*resolved
            && (self.templates.is_literal() || Arc::ptr_eq(&resolved.providers, &providers))
        {
            return question(&resolved.hosts);
        }
        let defaults = origin.component.grants.variables.defaults();
        let lookup = |name: &str| app_value(&providers, defaults, name).ok().flatten();
        match self.templates.resolve(lookup, &self.component_ids) {
            Ok(hosts) => {
                let resolved = Arc::new(Resolved { providers, hosts });
                self.resolved.store(Some(resolved.clone()));
                question(&resolved.hosts)
            }
            Err(error) => {
                let text = gyre_telemetry::chain(&error);
                origin.log(&format!("Error parsing allowed outbound hosts: {text}"));
                false
            }
        }
    }
}

fn refuse(origin: &Origin, destination: &str) {
    origin.log(&format!(
        "Outbound network destination not allowed: {destination}\n\
         To allow this request, add 'allowed_outbound_hosts = [\"{destination}\"]' to the manifest component section."
    ));
}
