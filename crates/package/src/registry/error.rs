//! What can go wrong with a registry, told apart by what one would do about it.

use std::{io, path::PathBuf, time::Duration};

use gyre_model::Digest;
use http::{StatusCode, header};
use reqwest::Response;
use serde::Deserialize;
use url::Url;

use super::ERROR_BYTES;
use crate::oci::ManifestError;

/// Why a push or a pull failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL of the registry is none.
    #[error("{0:?} is not the URL of a registry")]
    BadUrl(String),
    /// A repository's name or a tag that no registry would take.
    #[error("{0:?} is not a valid name of a repository or tag")]
    BadName(String),
    /// Nobody answers there, or the connection broke and stayed broken.
    #[error("cannot reach the registry at {url}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What the network says.
        #[source]
        source: reqwest::Error,
    },
    /// The registry was reached, but the exchange failed.
    #[error("the exchange with the registry at {url} failed")]
    Exchange {
        /// Where it is.
        url: String,
        /// What the network says.
        #[source]
        source: reqwest::Error,
    },
    /// 401: no token, or one that is wrong, expired or revoked.
    #[error("the registry at {url} does not accept the token: {message}")]
    Unauthorized {
        /// Where it is.
        url: String,
        /// What it said.
        message: String,
    },
    /// 403: the token is good for something else.
    #[error("the registry does not allow this: {0}")]
    Forbidden(String),
    /// 404.
    #[error("the registry has no {0}")]
    NotFound(String),
    /// 404 for an upload that had begun: it expired, or the registry forgot it over a restart.
    #[error("the registry has lost the upload")]
    UploadLost,
    /// 413.
    #[error("the registry finds it too large: {0}")]
    TooLarge(String),
    /// 507: there is no room on the registry's disk, or in the account's quota.
    #[error("the registry has no room left: {0}")]
    Full(String),
    /// The registry got other bytes than the digest says.
    #[error("the registry received bytes that do not match {0}; did the file change meanwhile?")]
    SentMismatch(Digest),
    /// We got other bytes than the digest says.
    #[error("the registry sent bytes that do not match {0}")]
    ReceivedMismatch(Digest),
    /// 429, 502, 503, 504: later, perhaps.
    #[error("the registry is busy ({status}): {message}")]
    Busy {
        /// Its status.
        status: StatusCode,
        /// What it said.
        message: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// Any other answer that means no.
    #[error("the registry refused ({status}): {message}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its word for the reason, such as `DIGEST_INVALID`.
        code: Option<String>,
        /// What it said.
        message: String,
    },
    /// An answer that makes no sense.
    #[error("the registry's answer is not understood: {0}")]
    Protocol(String),
    /// The manifest that was pulled.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file of ours cannot be read or written.
    #[error("cannot use the file {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(super) fn from_reqwest(url: &Url, err: reqwest::Error) -> Self {
        let source = err.without_url();
        let url = origin(url);
        if source.is_connect() {
            Self::Unreachable { url, source }
        } else {
            Self::Exchange { url, source }
        }
    }

    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// Whether the same step might succeed in a moment.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Busy { .. } | Self::UploadLost => true,
            Self::Exchange { source, .. } => !source.is_builder() && !source.is_redirect(),
            _ => false,
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What an answer that is no success means; `what` is what was asked for, with its article left out.
    pub(super) async fn from_response(what: &str, response: Response) -> Self {
        let status = response.status();
        let url = origin(response.url());
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let (code, message) = describe(response).await;
        let message = message.unwrap_or_else(|| {
            status.canonical_reason().unwrap_or("no reason given").to_lowercase()
        });
        match status.as_u16() {
            401 => Self::Unauthorized { url, message },
            403 => Self::Forbidden(message),
            404 => Self::NotFound(what.to_owned()),
            413 => Self::TooLarge(message),
            507 => Self::Full(message),
            429 | 502 | 503 | 504 => Self::Busy { status, message, retry_after },
            _ => Self::Refused { status, code, message },
        }
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The first error's code and message, of the distribution specification's form or of a problem document.
async fn describe(mut response: Response) -> (Option<String>, Option<String>) {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        errors: Vec<Item>,
        detail: Option<String>,
        title: Option<String>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        code: Option<String>,
        #[serde(default)]
        message: Option<String>,
    }
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ERROR_BYTES {
            return (None, None);
        }
    }
    let body: Body = serde_json::from_slice(&bytes).unwrap_or_default();
    match body.errors.into_iter().next() {
        Some(Item { code, message }) => {
            let message = message.filter(|text| !text.is_empty()).or_else(|| code.clone());
            (code, message.as_deref().map(printable))
        }
        None => (None, body.detail.or(body.title).as_deref().map(printable)),
    }
}

/// A registry's words go to a terminal: no control characters, and not without end.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}
