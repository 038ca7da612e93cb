//! Markup, made so that what a stranger wrote stays text.

use axum::response::{IntoResponse, Response};
use gyre_control::Error;
use http::{HeaderValue, StatusCode, header};

use crate::{failure, text::Escaped};

/// `format!` for markup: every argument is escaped.
macro_rules! markup {
    ($template:literal $(, $argument:expr)* $(,)?) => {
        format!($template $(, $crate::text::Escaped(&$argument))*)
    };
}
pub(super) use markup;

/// What a page may do: show itself in our style and send its forms back to us. No script, no frame, nothing from elsewhere.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page.
pub(super) struct Page {
    title: &'static str,
    body: String,
    status: StatusCode,
    error: Option<Error>,
}

impl Page {
    /// A page of that (constant) title; `body` is markup.
    pub(super) fn new(title: &'static str, body: String) -> Self {
        Self { title, body, status: StatusCode::OK, error: None }
    }

    /// The same under what went wrong.
    pub(super) fn with_error(self, error: Error) -> Self {
        Self { status: failure::status(error.kind), error: Some(error), ..self }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let problem = self.error.as_ref().map_or_else(String::new, |error| {
            let sentence = failure::sentence(error, failure::log(error));
            markup!("<p class=\"problem\" role=\"alert\">{}</p>", sentence)
        });
        let text = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{title}</title><link rel=\"stylesheet\" href=\"/gyre.css\"></head>\
             <body><main><h1>{title}</h1>{problem}{body}</main></body></html>\n",
            title = Escaped(self.title),
            body = self.body,
        );
        let mut response = (self.status, text).into_response();
        let headers = response.headers_mut();
        let fixed = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "same-origin"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(wait) = self.error.as_ref().and_then(failure::retry_after) {
            headers.insert(header::RETRY_AFTER, wait);
        }
        response
    }
}
