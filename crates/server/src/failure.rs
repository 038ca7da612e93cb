//! How control's refusals become answers: the one place where a kind becomes a status.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use gyre_api::{PROBLEM_CONTENT_TYPE, Problem};
use gyre_control::{Error, ErrorKind};
use gyre_model::RequestId;
use gyre_telemetry::chain;
use http::{HeaderValue, StatusCode, header};

/// A refusal on its way out, as `application/problem+json`.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl Failure {
    /// The request is not what the operation takes.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self(Error::invalid(gyre_api::code::INVALID_REQUEST, message))
    }
}

pub(crate) fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Logs what is our own fault, with the whole chain, under a reference that the user is given.
pub(crate) fn log(error: &Error) -> Option<RequestId> {
    match error.kind {
        ErrorKind::Internal => {
            let id = RequestId::new();
            tracing::error!(request.id = %id, error = chain(error), "a request failed");
            Some(id)
        }
        ErrorKind::Unavailable | ErrorKind::StorageFull => {
            tracing::warn!(error = chain(error), "a request could not be served");
            None
        }
        _ => None,
    }
}

/// What the user reads.
pub(crate) fn sentence(error: &Error, id: Option<RequestId>) -> String {
    match id {
        Some(id) => format!("internal error, reference {id}"),
        None => error.message.clone(),
    }
}

/// `Retry-After`, where control said when.
pub(crate) fn retry_after(error: &Error) -> Option<HeaderValue> {
    error.retry_after.map(|wait| HeaderValue::from(wait.as_secs().max(1)))
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let id = log(&error);
        let status = status(error.kind);
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: sentence(&error, id),
            code: error.code.to_owned(),
            request_id: id.map(|id| id.to_string()),
            hint: error.hint.clone(),
            errors: std::collections::BTreeMap::new(),
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_CONTENT_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = retry_after(&error) {
            headers.insert(header::RETRY_AFTER, wait);
        }
        response
    }
}
