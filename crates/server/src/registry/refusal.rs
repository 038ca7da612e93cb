//! Refusals in the distribution specification's JSON: `{"errors": [{"code", "message", "detail"}]}`.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use gyre_control::{Error, ErrorKind};
use http::{StatusCode, header};
use serde_json::json;

use crate::failure;

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refusal {
    error: Error,
    status: StatusCode,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = failure::status(error.kind);
        Self { error, status }
    }
}

impl From<crate::Failure> for Refusal {
    fn from(failure: crate::Failure) -> Self {
        failure.0.into()
    }
}

impl Refusal {
    /// The address exists, but not with this method.
    pub(super) fn unsupported() -> Self {
        let error = Error::invalid("registry.unsupported", "the operation is not supported here");
        Self { error, status: StatusCode::METHOD_NOT_ALLOWED }
    }

    /// A chunk or range that does not fit.
    pub(super) fn range(message: impl Into<String>) -> Self {
        let error = Error::invalid("registry.blob_upload_invalid", message);
        Self { error, status: StatusCode::RANGE_NOT_SATISFIABLE }
    }

    /// The code as the specification writes it.
    fn code(&self) -> String {
        match (self.error.code.strip_prefix("registry."), self.error.kind) {
            (Some(code), _) => code.to_ascii_uppercase(),
            (None, ErrorKind::Unauthenticated) => "UNAUTHORIZED".to_owned(),
            (None, ErrorKind::NotFound) => "NAME_UNKNOWN".to_owned(),
            (None, ErrorKind::TooMany) => "TOOMANYREQUESTS".to_owned(),
            (None, ErrorKind::Forbidden) => "DENIED".to_owned(),
            (None, ErrorKind::Invalid | ErrorKind::TooLarge) => "UNSUPPORTED".to_owned(),
            _ => "UNKNOWN".to_owned(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let id = failure::log(&self.error);
        let message = failure::sentence(&self.error, id);
        let body =
            json!({ "errors": [{ "code": self.code(), "message": message, "detail": null }] });
        let mut response = (self.status, Json(body)).into_response();
        if let Some(wait) = failure::retry_after(&self.error) {
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        response
    }
}
