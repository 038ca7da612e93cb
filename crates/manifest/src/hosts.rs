//! `allowed_outbound_hosts`: where a component may connect to.
//!
//! An entry is `scheme://host[:port]`. What no entry allows is denied, and so is what cannot be parsed.
//! Entries may be templates: [`HostTemplates`] holds them until the variables are known, [`AllowedHosts`] answers.

mod entry;
mod legacy;
#[cfg(test)]
mod tests;
mod url;

use std::net::IpAddr;

use ::url::Host;

use crate::template::{Template, TemplateError};
pub use entry::{AllowedHost, HostError, Reason};
pub use legacy::{convert_http_hosts, database_hosts};
pub use url::{OutboundUrl, UrlError};

/// `<component>.spin.internal` is a component of the same application.
pub const SERVICE_CHAINING_DOMAIN: &str = "spin.internal";
/// The same with the dot before it.
pub const SERVICE_CHAINING_SUFFIX: &str = ".spin.internal";

/// The port that a scheme has when none is written.
pub fn well_known_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "redis" => Some(6379),
        "mysql" => Some(3306),
        "postgres" => Some(5432),
        "mqtt" => Some(1883),
        _ => None,
    }
}

/// The component that a host name addresses by service chaining: `a` for `a.spin.internal` and
/// `a.spin.internal:80`.
pub fn service_chaining_target(host: &str) -> Option<&str> {
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let (component, domain) = host.split_once('.')?;
    (domain == SERVICE_CHAINING_DOMAIN && !component.is_empty()).then_some(component)
}

/// The outside that a component may reach. The default allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    entries: Vec<AllowedHost>,
}

impl AllowedHosts {
    /// From entries without templates, such as resolved ones. `component_ids` are the application's components:
    /// `*.spin.internal` stands for exactly them.
    ///
    /// # Errors
    /// The first entry that cannot be parsed.
    pub fn parse(
        entries: &[impl AsRef<str>],
        component_ids: &[impl AsRef<str>],
    ) -> Result<Self, HostError> {
        refuse_allow_all(entries)?;
        let entries = entries.iter().map(|entry| AllowedHost::parse(entry.as_ref()));
        Ok(Self::new(entries.collect::<Result<_, _>>()?, component_ids))
    }

    fn new(entries: Vec<AllowedHost>, component_ids: &[impl AsRef<str>]) -> Self {
        let entries = entries.into_iter().flat_map(|entry| entry.expand_chaining(component_ids));
        Self { entries: entries.collect() }
    }

    /// The entries.
    pub fn entries(&self) -> &[AllowedHost] {
        &self.entries
    }

    /// Whether connecting to `host` is allowed. Without a port it is the scheme's.
    ///
    /// `host` is a domain, an IPv4 address or an IPv6 address in brackets.
    pub fn allows(&self, scheme: &str, host: &str, port: Option<u16>) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        Host::parse(host).is_ok_and(|host| self.allows_host(scheme, &host, port))
    }

    /// Whether connecting to an address is allowed: `scheme` is `tcp` or `udp`. Only entries with `*`, an address
    /// or a network can allow that.
    pub fn allows_address(&self, scheme: &str, address: IpAddr, port: u16) -> bool {
        let host = match address {
            IpAddr::V4(address) => Host::Ipv4(address),
            IpAddr::V6(address) => Host::Ipv6(address),
        };
        self.allows_host(scheme, &host, Some(port))
    }

    /// Whether the URL is allowed.
    pub fn allows_url(&self, url: &OutboundUrl) -> bool {
        self.allows(url.scheme(), url.host(), url.port())
    }

    fn allows_host(&self, scheme: &str, host: &Host<String>, port: Option<u16>) -> bool {
        let port = port.or_else(|| well_known_port(scheme));
        self.entries.iter().any(|entry| entry.allows(scheme, host, port))
    }

    /// Whether requests to the application itself are allowed, by one of the schemes: those without an authority
    /// and those to `self.alt`.
    pub fn allows_relative(&self, schemes: &[&str]) -> bool {
        self.entries.iter().any(|entry| entry.allows_relative(schemes))
    }

    /// Whether an entry is for other components of the application.
    pub fn uses_service_chaining(&self) -> bool {
        self.entries.iter().any(AllowedHost::is_for_service_chaining)
    }
}

/// The entries of a manifest, some of which are templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostTemplates {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Exact(AllowedHost),
    Template(Template),
}

impl HostTemplates {
    /// Parses entries as a manifest or a locked app has them.
    ///
    /// # Errors
    /// The first entry that cannot be parsed; of a template its resolved text is checked later.
    pub fn parse(entries: &[impl AsRef<str>]) -> Result<Self, HostError> {
        refuse_allow_all(entries)?;
        let entries = entries.iter().map(|entry| {
            let template = Template::parse(entry.as_ref())?;
            Ok(if template.is_literal() {
                Entry::Exact(AllowedHost::parse(entry.as_ref())?)
            } else {
                Entry::Template(template)
            })
        });
        Ok(Self { entries: entries.collect::<Result<_, HostError>>()? })
    }

    /// Whether there is no template, so that every resolution is the same.
    pub fn is_literal(&self) -> bool {
        self.entries.iter().all(|entry| matches!(entry, Entry::Exact(_)))
    }

    /// The names of the variables that are needed.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Template(template) => Some(template.names()),
                Entry::Exact(_) => None,
            })
            .flatten()
    }

    /// The hosts, with the values that `lookup` gives. A template that comes to nothing, `http://` or `https://`
    /// is left out: that is how an endpoint is made optional.
    ///
    /// # Errors
    /// A name without a value, or what a template comes to.
    pub fn resolve(
        &self,
        mut lookup: impl FnMut(&str) -> Option<String>,
        component_ids: &[impl AsRef<str>],
    ) -> Result<AllowedHosts, HostError> {
        let mut hosts = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            match entry {
                Entry::Exact(host) => hosts.push(host.clone()),
                Entry::Template(template) => {
                    hosts.extend(parse_resolved(&template.resolve(&mut lookup)?)?);
                }
            }
        }
        Ok(AllowedHosts::new(hosts, component_ids))
    }

    /// Checks those templates whose variables all have a value by default.
    ///
    /// # Errors
    /// What a template comes to that is no entry.
    pub fn check_defaults(
        &self,
        mut default: impl FnMut(&str) -> Option<String>,
    ) -> Result<(), HostError> {
        for entry in &self.entries {
            if let Entry::Template(template) = entry
                && let Ok(resolved) = template.resolve(&mut default)
            {
                parse_resolved(&resolved).map_err(|source| HostError::Defaults {
                    template: template.to_string(),
                    resolved,
                    source: Box::new(source),
                })?;
            }
        }
        Ok(())
    }
}

/// Parses and checks entries at load time: see [`HostTemplates::check_defaults`].
///
/// # Errors
/// The first mistake.
pub fn validate_templates(
    entries: &[impl AsRef<str>],
    default: impl FnMut(&str) -> Option<String>,
) -> Result<HostTemplates, HostError> {
    let templates = HostTemplates::parse(entries)?;
    templates.check_defaults(default)?;
    Ok(templates)
}

fn parse_resolved(text: &str) -> Result<Option<AllowedHost>, HostError> {
    match text {
        "" | "http://" | "https://" => Ok(None),
        _ => AllowedHost::parse(text).map(Some),
    }
}

fn refuse_allow_all(entries: &[impl AsRef<str>]) -> Result<(), HostError> {
    match entries {
        [only] if only.as_ref() == "insecure:allow-all" => Err(HostError::InsecureAllowAll),
        _ => Ok(()),
    }
}

impl From<TemplateError> for HostError {
    fn from(error: TemplateError) -> Self {
        Self::Template(error)
    }
}
