//! What is answered, in the language that the client asked for.

use axum::response::{IntoResponse, Response};
use gyre_control::{Error, ErrorKind};
use gyre_package::bindle::{TOML_MEDIA_TYPE, search::QueryError};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::failure;

/// Whether a media type, whatever its parameters, is JSON.
pub(super) fn is_json(media_type: &str) -> bool {
    subtype(media_type).is_some_and(|subtype| subtype == "json")
}

/// What is between the slash and whatever else is said: `json` of `application/json+x; q=1`.
fn subtype(media_type: &str) -> Option<String> {
    let (_, subtype) = media_type.split(';').next()?.trim().split_once('/')?;
    Some(subtype.split('+').next().unwrap_or_default().to_ascii_lowercase())
}

/// `value` in JSON if the client names that before TOML, else in TOML.
pub(super) fn answer(headers: &HeaderMap, value: &impl Serialize) -> Response {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|kinds| kinds.to_str().ok());
    let mut kinds = accepted.flat_map(|kinds| kinds.split(',')).filter_map(subtype);
    let first = kinds.find(|kind| matches!(kind.as_str(), "json" | "toml"));
    let (kind, text) = if first.as_deref() == Some("json") {
        ("application/json", serde_json::to_string(value).map_err(Error::internal))
    } else {
        (TOML_MEDIA_TYPE, toml::to_string(value).map_err(Error::internal))
    };
    match text {
        Ok(text) => {
            ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
        }
        Err(error) => Refusal::from(error).into_response(),
    }
}

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refusal {
    error: Error,
    status: StatusCode,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error.code {
            "bindle.created_yanked" => StatusCode::UNPROCESSABLE_ENTITY,
            _ => failure::status(error.kind),
        };
        Self { error, status }
    }
}

impl From<crate::Failure> for Refusal {
    fn from(failure: crate::Failure) -> Self {
        failure.0.into()
    }
}

impl Refusal {
    pub(super) fn with_status(error: Error, status: StatusCode) -> Self {
        Self { error, status }
    }

    pub(super) fn query(error: &QueryError) -> Self {
        Error::invalid("bindle.query", error.to_string()).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct ErrorBody {
            error: String,
        }
        let reference = failure::log(&self.error);
        let error = match (self.error.kind, reference) {
            (ErrorKind::Unauthenticated, _) => "unauthorized".to_owned(),
            (_, Some(reference)) => format!("{} ({reference})", self.error),
            (_, None) => self.error.to_string(),
        };
        let mut response = answer(&HeaderMap::new(), &ErrorBody { error });
        *response.status_mut() = self.status;
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"bindle\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(after) = self.error.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().max(1).into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_language_that_we_speak_is_taken() {
        let kind = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            let response = answer(&headers, &std::collections::BTreeMap::from([("a", 1)]));
            response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned()
        };
        for json in [
            "application/json",
            "text/json, application/toml",
            "text/plain, application/json;q=0.1",
            "application/JSON+bindle",
            "nonsense, text/json",
        ] {
            assert_eq!(kind(json), "application/json", "{json}");
        }
        for toml in [
            "",
            "*/*",
            "text/plain",
            "application/toml, application/json",
            "application/TOML; charset=utf-8",
        ] {
            assert_eq!(kind(toml), TOML_MEDIA_TYPE, "{toml}");
        }
        assert!(
            is_json("application/json; charset=utf-8")
                && !is_json("application/toml; charset=utf-8")
        );
    }
}
