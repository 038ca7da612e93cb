//! One entry: its grammar and what it allows.

use std::{error::Error, fmt, ops::Range, str::FromStr};

use ipnet::IpNet;
use url::Host;

use super::{SERVICE_CHAINING_SUFFIX, well_known_port};
use crate::template::TemplateError;

/// Why an entry is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// `*`, nothing, or the like.
    #[error("{0:?} is not an allowed outbound host format.")]
    Format(String),
    /// No `://`.
    #[error("{0:?} does not contain a scheme (e.g., 'http://' or '*://')")]
    NoScheme(String),
    /// Something behind the host and port.
    #[error("{0:?} has a path but is not allowed to")]
    Path(String),
    /// What stands before `://`.
    #[error("Invalid allowed host scheme {text:?}")]
    Scheme {
        /// The scheme.
        text: String,
        /// What is wrong with it.
        #[source]
        reason: Reason,
    },
    /// What stands behind `://`.
    #[error("Invalid allowed host {text:?}")]
    Host {
        /// The host.
        text: String,
        /// What is wrong with it.
        #[source]
        reason: Reason,
    },
    /// What stands behind the last colon.
    #[error("Invalid allowed host port {text:?}")]
    Port {
        /// The port.
        text: String,
        /// What is wrong with it.
        #[source]
        reason: Reason,
    },
    /// What Spin 1 had for everything.
    #[error(
        "'insecure:allow-all' is not allowed - use '*://*:*' instead if you really want to allow all outbound traffic'"
    )]
    InsecureAllowAll,
    /// The entry is a template, and a wrong one or one without a value.
    #[error(transparent)]
    Template(TemplateError),
    /// A template whose variables' defaults do not make an entry.
    #[error(
        "using default variable value(s) with template {template:?} results in invalid config {resolved:?}"
    )]
    Defaults {
        /// The template.
        template: String,
        /// What it comes to.
        resolved: String,
        /// What is wrong with that.
        source: Box<HostError>,
    },
    /// An entry of the deprecated `allowed_http_hosts`.
    #[error("{0}")]
    Http(String),
}

impl HostError {
    /// The whole chain in one clause: `Invalid allowed host port "x": port "x" is not a number`.
    pub fn full(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    }

    /// What to do about it, where that is not plain.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Format(_) => Some(
                "Hosts must be in the form <scheme>://<host>[:<port>], with '*' wildcards allowed for each.\nIf you intended to allow all outbound networking, you can use '*://*:*' - this will obviate all network sandboxing.",
            ),
            Self::Defaults { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// What is wrong with a part of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Reason {}

/// One entry of `allowed_outbound_hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    original: String,
    /// Nothing stands for any.
    scheme: Option<String>,
    host: HostPattern,
    port: PortPattern,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Any,
    /// With the dot before it.
    Below(String),
    Itself,
    Literal(Host<String>),
    Network(IpNet),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PortPattern {
    Any,
    One(u16),
    Range(Range<u16>),
}

impl AllowedHost {
    /// Parses an entry that is no template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let url = text.trim();
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(match url {
                "" | "*" | ":" | "?" => HostError::Format(url.to_owned()),
                _ => HostError::NoScheme(url.to_owned()),
            });
        };
        let (host, port) = match rest.rsplit_once(':') {
            None => (rest, ""),
            Some((host, "")) => (host, ""),
            // The colon may be an IPv6 address's.
            Some(_) if HostPattern::parse(rest).is_ok() => (rest, ""),
            Some((host, tail)) => match tail.split_once('/') {
                Some((port, "")) => (host, port),
                Some(_) => return Err(HostError::Path(url.to_owned())),
                None => (host, tail),
            },
        };
        Ok(Self {
            port: PortPattern::parse(port, scheme)
                .map_err(|reason| HostError::Port { text: port.to_owned(), reason })?,
            scheme: parse_scheme(scheme)
                .map_err(|reason| HostError::Scheme { text: scheme.to_owned(), reason })?,
            host: HostPattern::parse(host)
                .map_err(|reason| HostError::Host { text: host.to_owned(), reason })?,
            original: text.to_owned(),
        })
    }

    /// Whether it is for other components of the application.
    pub fn is_for_service_chaining(&self) -> bool {
        match &self.host {
            HostPattern::Literal(Host::Domain(domain)) => domain.ends_with(SERVICE_CHAINING_SUFFIX),
            HostPattern::Below(suffix) => suffix == SERVICE_CHAINING_SUFFIX,
            _ => false,
        }
    }

    /// Whether it is for *all* other components of the application.
    pub fn is_for_any_chaining(&self) -> bool {
        matches!(&self.host, HostPattern::Below(suffix) if suffix == SERVICE_CHAINING_SUFFIX)
    }

    /// `port` is the port that is connected to, unless neither it nor the scheme has one.
    pub(super) fn allows(&self, scheme: &str, host: &Host<String>, port: Option<u16>) -> bool {
        self.allows_scheme(scheme) && self.host.allows(host) && self.port.allows(port)
    }

    pub(super) fn allows_relative(&self, schemes: &[&str]) -> bool {
        matches!(self.host, HostPattern::Any | HostPattern::Itself)
            && schemes.iter().any(|scheme| self.allows_scheme(scheme))
    }

    fn allows_scheme(&self, scheme: &str) -> bool {
        self.scheme.as_deref().is_none_or(|own| own == scheme)
    }

    /// Itself, or one for each component where it is for any.
    pub(super) fn expand_chaining(self, component_ids: &[impl AsRef<str>]) -> Vec<Self> {
        if !self.is_for_any_chaining() {
            return vec![self];
        }
        let host =
            |id: &str| HostPattern::Literal(Host::Domain(format!("{id}{SERVICE_CHAINING_SUFFIX}")));
        let ids = component_ids.iter().map(AsRef::as_ref);
        ids.map(|id| Self { host: host(id), ..self.clone() }).collect()
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.original)
    }
}

impl FromStr for AllowedHost {
    type Err = HostError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

fn parse_scheme(text: &str) -> Result<Option<String>, Reason> {
    if text == "*" {
        Ok(None)
    } else if text.starts_with('{') {
        Err(Reason::new("scheme lists are not supported"))
    } else if text.chars().any(|c| !c.is_alphabetic()) {
        Err(Reason::new("only alphabetic characters are allowed"))
    } else {
        Ok(Some(text.to_owned()))
    }
}

impl HostPattern {
    fn parse(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        match text {
            "*" => return Ok(Self::Any),
            "self" | "self.alt" => return Ok(Self::Itself),
            _ if text.starts_with('{') => {
                return Err(Reason::new("host lists are not yet supported"));
            }
            _ => {}
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Literal(Host::Ipv6(address)));
        }
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.contains('/') {
            return Err(Reason::new("must not include a path"));
        }
        if let Some(domain) = text.strip_prefix("*.") {
            if domain.contains('*') {
                return Err(Reason::new("wildcards are allowed only as prefixes"));
            }
            return match Host::parse(domain) {
                Ok(Host::Domain(domain)) => Ok(Self::Below(format!(".{domain}"))),
                Ok(_) => Err(Reason::new("wildcard suffix must be a domain")),
                Err(error) => Err(Reason(format!("invalid wildcard host \"*.{domain}\": {error}"))),
            };
        }
        if text.contains('*') {
            return Err(Reason::new("wildcards are allowed only as subdomains"));
        }
        Host::parse(text).map(Self::Literal).map_err(|error| Reason(error.to_string()))
    }

    fn allows(&self, host: &Host<String>) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Below(suffix), Host::Domain(domain)) => domain.ends_with(suffix.as_str()),
            (Self::Literal(literal), host) => literal == host,
            (Self::Network(network), Host::Ipv4(address)) => {
                network.contains(&std::net::IpAddr::from(*address))
            }
            (Self::Network(network), Host::Ipv6(address)) => {
                network.contains(&std::net::IpAddr::from(*address))
            }
            (Self::Below(_) | Self::Network(_) | Self::Itself, _) => false,
        }
    }
}

impl PortPattern {
    fn parse(text: &str, scheme: &str) -> Result<Self, Reason> {
        if text.is_empty() {
            return well_known_port(scheme).map(Self::One).ok_or_else(|| {
                Reason(format!(
                    "no port was provided and the scheme {scheme:?} does not have a known default port number"
                ))
            });
        }
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.starts_with('{') {
            return Err(Reason::new("port lists are not yet supported"));
        }
        if let Some((start, end)) = text.split_once("..") {
            let number = |bound: &str| {
                let reason = |_| Reason(format!("port range {text:?} contains non-number"));
                bound.parse::<u16>().map_err(reason)
            };
            return Ok(Self::Range(number(start)?..number(end)?));
        }
        let reason = |_| Reason(format!("port {text:?} is not a number"));
        text.parse().map(Self::One).map_err(reason)
    }

    fn allows(&self, port: Option<u16>) -> bool {
        match (self, port) {
            (Self::Any, _) => true,
            (Self::One(own), Some(port)) => *own == port,
            (Self::Range(range), Some(port)) => range.contains(&port),
            (_, None) => false,
        }
    }
}
