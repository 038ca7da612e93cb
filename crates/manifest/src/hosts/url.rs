//! The addresses that guests give: a URL, or a host with a port.

use std::fmt;

use url::Url;

/// Why an address cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is no URL, and none with the scheme before it.
    #[error("could not convert {0:?} into a url")]
    Invalid(String, #[source] url::ParseError),
    /// It names no host.
    #[error("{0:?} does not have a host component")]
    NoHost(String),
}

/// Where a guest wants to connect to. Credentials, path and query are forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundUrl {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl OutboundUrl {
    /// Parses a URL; or, if it is none, the URL that it is with `scheme://` before it.
    ///
    /// Credentials may have any character, as database clients allow; not so with `http` and `https`, where the
    /// authority ends at the first of `/`, `?` and `#`, so that what is checked is what is connected to.
    ///
    /// # Errors
    /// If neither is a URL with a host.
    pub fn parse(text: &str, scheme: &str) -> Result<Self, UrlError> {
        let bare = without_credentials(text, scheme);
        let first = Url::parse(&bare);
        let url = match first {
            Ok(url) if url.has_host() => url,
            first => match (Url::parse(&format!("{scheme}://{bare}")), first) {
                (Ok(url), _) => url,
                (Err(_), Err(error)) | (Err(error), Ok(_)) => {
                    return Err(UrlError::Invalid(text.to_owned(), error));
                }
            },
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        Ok(Self {
            scheme: url.scheme().to_owned(),
            host: host.ok_or_else(|| UrlError::NoHost(text.to_owned()))?.to_owned(),
            port: url.port(),
        })
    }

    /// The scheme, lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The host; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, unless it is absent or the one that URLs of this scheme have anyway.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// `host` or `host:port`.
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

impl fmt::Display for OutboundUrl {
    /// `scheme://authority`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

fn without_credentials(text: &str, default_scheme: &str) -> String {
    let (prefix, rest) = match text.find("://") {
        Some(place) => text.split_at(place + 3),
        None => ("", text),
    };
    let scheme = prefix.strip_suffix("://").unwrap_or(default_scheme);
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let ends: &[char] = if is_http { &['/', '?', '#', '\\'] } else { &['/'] };
    let authority = &rest[..rest.find(ends).unwrap_or(rest.len())];
    match authority.rfind('@') {
        Some(at) => format!("{prefix}{}", &rest[at + 1..]),
        None => text.to_owned(),
    }
}
