//! Why a request came to nothing, in words for the person who made it.

use std::{error::Error as StdError, time::Duration};

use url::Url;

use crate::Problem;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be used.
    #[error("{url:?} is not the address of a server: {reason}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The machine's TLS set-up cannot be used.
    #[error("cannot set up an HTTP client")]
    Setup(#[source] reqwest::Error),
    /// Nobody answers there.
    #[error("cannot reach the server at {url}")]
    Unreachable {
        /// The server.
        url: String,
        /// What the network said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Somebody answers, but a secure connection cannot be made.
    #[error("cannot make a secure connection to {url}")]
    Tls {
        /// The server.
        url: String,
        /// What TLS said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The server took too long.
    #[error("the server at {url} did not answer in time")]
    Timeout {
        /// The server.
        url: String,
    },
    /// The connection ended within the answer.
    #[error("the connection to {url} broke off")]
    Broken {
        /// The server.
        url: String,
        /// What happened.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// There is no token, or the server does not accept it.
    #[error("{url} does not accept the sign-in: {detail}")]
    Unauthenticated {
        /// The server.
        url: String,
        /// Its reason.
        detail: String,
    },
    /// The server refused, with a reason.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The server is there, but cannot serve now.
    #[error("the server at {url} is too busy")]
    Busy {
        /// The server.
        url: String,
        /// When to try again, if it said so.
        retry_after: Option<Duration>,
    },
    /// Something answered that does not speak like a Gyre server.
    #[error("{url} answered {status} in a way that a Gyre server would not")]
    Answer {
        /// The server.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What could not be read, if the status was a good one.
        #[source]
        source: Option<serde_json::Error>,
    },
}

impl Error {
    /// What to do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => {
                Some("is the server running? `gyre server` starts one on this machine".to_owned())
            }
            Self::Tls { url, .. } if is_plain_text(self) => {
                Some(format!("does it speak plain HTTP? Then its address is {}", plain(url)))
            }
            Self::Tls { .. } => Some(
                "is its certificate valid for this host? A private authority's certificate must be known to this machine"
                    .to_owned(),
            ),
            Self::Unauthenticated { url, .. } => Some(format!("run `gyre login --url {url}`")),
            Self::Answer { .. } => Some("is the address that of a Gyre server?".to_owned()),
            Self::Problem(problem) => problem.hint.clone(),
            _ => None,
        }
    }

    /// The server's code for the failure (see [`crate::code`]), where it gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// Whether what was asked for does not exist, or may not be seen.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.status == 404)
    }

    pub(super) fn from_http(base: &Url, error: reqwest::Error) -> Self {
        let url = base.to_string();
        if error.is_timeout() && !error.is_connect() {
            return Self::Timeout { url };
        }
        let is_connect = error.is_connect();
        // The address is in our own words already, and reqwest's `Display` repeats it.
        let source = cause(error.without_url());
        let text = texts(&*source);
        let is_tls = base.scheme() == "https"
            && ["certificate", "tls", "handshake", "corrupt message", "alert"]
                .iter()
                .any(|word| text.contains(word));
        match (is_tls, is_connect) {
            (true, _) => Self::Tls { url, source },
            (false, true) => Self::Unreachable { url, source },
            (false, false) => Self::Broken { url, source },
        }
    }
}

/// The innermost error that says something of its own, so that no chain reads "error sending request: client error: …".
fn cause(error: reqwest::Error) -> Box<dyn StdError + Send + Sync> {
    let mut innermost: &dyn StdError = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if let Some(io) = innermost.downcast_ref::<std::io::Error>() {
        return Box::new(std::io::Error::new(io.kind(), io.to_string()));
    }
    match innermost.downcast_ref::<reqwest::Error>() {
        Some(_) => Box::new(error),
        None => innermost.to_string().into(),
    }
}

/// All texts of a chain, in lower case.
fn texts(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push('\n');
        text.push_str(&error.to_string());
        source = error.source();
    }
    text.to_lowercase()
}

/// Whether TLS failed because the other side does not speak it.
fn is_plain_text(error: &Error) -> bool {
    texts(error).contains("corrupt message")
}

fn plain(url: &str) -> String {
    url.replacen("https://", "http://", 1)
}
