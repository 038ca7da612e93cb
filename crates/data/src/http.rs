//! How the engines that are servers are spoken to: one request, one answer of limited length.

use std::{error::Error, time::Duration};

use reqwest::{Client, RequestBuilder, StatusCode, header::HeaderMap, redirect::Policy};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest answer that says why something failed, in bytes.
const MAX_FAILURE: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HttpError {
    /// It did not come in time.
    Timeout,
    /// It is longer than it may be.
    TooLong,
    /// Anything else.
    Other(String),
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A client of one server. It follows no redirect, which could carry a credential elsewhere.
pub(crate) fn client() -> Result<Client, String> {
    let client = Client::builder().connect_timeout(CONNECT).redirect(Policy::none()).build();
    client.map_err(|error| chain(&error))
}

/// Sends a request and reads the answer: at most `limit` bytes of one that succeeded.
pub(crate) async fn exchange(
    request: RequestBuilder,
    time: Duration,
    limit: usize,
) -> Result<Answer, HttpError> {
    let explain = |error: reqwest::Error| {
        if error.is_timeout() && !error.is_connect() {
            HttpError::Timeout
        } else {
            HttpError::Other(chain(&error.without_url()))
        }
    };
    let mut answer = request.timeout(time).send().await.map_err(explain)?;
    let status = answer.status();
    let headers = answer.headers().clone();
    let limit = if status.is_success() { limit } else { MAX_FAILURE };
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(explain)? {
        if body.len() + part.len() > limit {
            return Err(HttpError::TooLong);
        }
        body.extend_from_slice(&part);
    }
    Ok(Answer { status, headers, body })
}

/// An error with its causes, which is where the reason is.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
