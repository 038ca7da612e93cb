//! How a failure is told over HTTP: RFC 9457 problem documents with a code that programs can match on.
//!
//! The Fermyon plug-in shows `title` with `errors` where there are any, else `detail`; so `detail` is always
//! the whole sentence for the user.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The media type of a [`Problem`].
pub const CONTENT_TYPE: &str = "application/problem+json";

/// A failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URI that names the kind of problem; `about:blank` where the status says it all.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The status in words, such as `Not Found`.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// One sentence for the user.
    #[serde(default)]
    pub detail: String,
    /// What programs match on: one of [`code`] or a code of a later version.
    #[serde(default)]
    pub code: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// By which the failure is found in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What is wrong with which field. With it, the Fermyon plug-in does not show `detail`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, Vec<String>>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

/// The codes of [`Problem::code`].
pub mod code {
    /// There is no such thing, or the caller may not see it.
    pub const NOT_FOUND: &str = "not_found";
    /// No token, or one that is wrong, expired or revoked.
    pub const UNAUTHENTICATED: &str = "auth.unauthenticated";
    /// The token is of the right form but has expired.
    pub const TOKEN_EXPIRED: &str = "auth.token_expired";
    /// The device code has not been approved yet: ask again after the interval.
    pub const AUTHORIZATION_PENDING: &str = "auth.authorization_pending";
    /// The device code is asked for too often: add five seconds to the interval.
    pub const SLOW_DOWN: &str = "auth.slow_down";
    /// The device code has expired, was used, or never was.
    pub const EXPIRED_CODE: &str = "auth.expired_code";
    /// The person at the approval page said no.
    pub const ACCESS_DENIED: &str = "auth.access_denied";
    /// Too many requests of this kind; see `Retry-After`.
    pub const TOO_MANY_REQUESTS: &str = "too_many_requests";
    /// The request's body or parameters are not what the operation takes.
    pub const INVALID_REQUEST: &str = "request.invalid";
    /// The server failed; the request id finds the reason in its log.
    pub const INTERNAL: &str = "internal";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_with_the_names_of_the_rfc() {
        let problem = Problem {
            kind: about_blank(),
            title: "Not Found".into(),
            status: 404,
            detail: "there is no app 'x'".into(),
            code: code::NOT_FOUND.into(),
            ..Problem::default()
        };
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"there is no app 'x'","code":"not_found"}"#
        );
    }

    #[test]
    fn a_problem_of_another_server_is_read_as_far_as_it_goes() {
        let problem: Problem = serde_json::from_str(r#"{"detail":"no"}"#).unwrap();
        assert_eq!((problem.detail.as_str(), problem.kind.as_str()), ("no", "about:blank"));
    }
}
