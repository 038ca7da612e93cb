//! Signing in as Bindle's client does: RFC 8628 with what Bindle adds to it, the client's id and the address of the tokens.
//!
//! The client wants an OpenID Connect identity token that it can read the end of, and shows that one with its requests; our tokens
//! are shaped so. What renews one is both halves of a login in one text, since the client keeps no other.

use std::collections::HashMap;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use gyre_control::{Error, Session};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{answer::answer, parameters};
use crate::{Failure, ServerState, bindle::answer::Refusal, caller, read};

/// What the client is known as.
const CLIENT: &str = "bindle";
/// The grants of RFC 8628 and RFC 6749.
const BY_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const BY_RENEWAL: &str = "refresh_token";
/// A form with tokens in it, in bytes.
const FORM_BYTES: usize = 16 << 10;
/// Between the halves of what renews a login; no token has it.
const SEPARATOR: char = '~';

#[derive(Serialize)]
struct Begun<'a> {
    device_code: &'a str,
    user_code: &'a str,
    verification_uri: &'a str,
    verification_uri_complete: String,
    /// In seconds.
    expires_in: u64,
    /// In seconds.
    interval: u64,
    client_id: &'static str,
    token_url: String,
}

/// `GET /login?provider=…`. There is one provider, so whichever is named is this one.
pub(super) async fn begin(
    State(state): State<ServerState>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    if !parameters(&parts).any(|(name, _)| name == "provider") {
        let message = "a login needs a provider, whichever";
        return Err(Error::invalid("bindle.provider", message).into());
    }
    let control = &state.control;
    let login = control.begin_device_login(CLIENT, caller::address(&parts.extensions)).await?;
    let begun = Begun {
        device_code: login.device_code.expose(),
        user_code: &login.user_code,
        verification_uri: &login.verification_url,
        verification_uri_complete: format!("{}?code={}", login.verification_url, login.user_code),
        expires_in: login.expires_in.as_secs(),
        interval: login.interval.as_secs(),
        client_id: CLIENT,
        token_url: format!("{}api/registry/login", control.config().url()),
    };
    Ok(unkept(answer(&parts.headers, &begun)))
}

/// `POST /login`: the endpoint for tokens, which speaks JSON, whatever else.
pub(super) async fn token(
    State(state): State<ServerState>,
    request: Request,
) -> Result<Response, OauthError> {
    let (_, body) = request.into_parts();
    let body = read::all(body, FORM_BYTES).await?;
    let fields: HashMap<_, _> = url::form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &'static str| {
        fields.get(name).map(String::as_str).ok_or(OauthError::named("invalid_request"))
    };
    let session = match field("grant_type")? {
        BY_CODE => {
            let (code, client) = (field("device_code")?, field("client_id")?);
            state.control.poll_device_login(code, client).await?
        }
        BY_RENEWAL => {
            let refused = || OauthError::named("invalid_grant");
            let (token, renewal) =
                field("refresh_token")?.split_once(SEPARATOR).ok_or_else(refused)?;
            state.control.refresh(token, renewal).await?
        }
        _ => return Err(OauthError::named("unsupported_grant_type")),
    };
    let now = state.control.clock().now();
    Ok(unkept(axum::Json(Granted::of(&session, now.as_second())).into_response()))
}

#[derive(Serialize)]
struct Granted {
    access_token: String,
    id_token: String,
    token_type: &'static str,
    /// In seconds.
    expires_in: i64,
    refresh_token: String,
}

impl Granted {
    fn of(session: &Session, now: i64) -> Self {
        let token = session.token.expose();
        Self {
            access_token: token.clone(),
            id_token: token.clone(),
            token_type: "bearer",
            expires_in: session.expires.as_second() - now,
            refresh_token: format!("{token}{SEPARATOR}{}", session.refresh_token.expose()),
        }
    }
}

/// A refusal as RFC 6749 has it.
pub(super) struct OauthError {
    status: StatusCode,
    error: &'static str,
    description: Option<String>,
}

impl OauthError {
    fn named(error: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, description: None }
    }
}

impl From<Error> for OauthError {
    fn from(error: Error) -> Self {
        let named = match error.code {
            "auth.authorization_pending" => "authorization_pending",
            "auth.slow_down" => "slow_down",
            "auth.access_denied" => "access_denied",
            "auth.expired_code" => "expired_token",
            "auth.unauthenticated" => "invalid_grant",
            _ => {
                let status = crate::failure::status(error.kind);
                let description = match crate::failure::log(&error) {
                    Some(reference) => format!("{error} ({reference})"),
                    None => error.to_string(),
                };
                let error =
                    if status.is_server_error() { "server_error" } else { "invalid_request" };
                return Self { status, error, description: Some(description) };
            }
        };
        Self { description: Some(error.to_string()), ..Self::named(named) }
    }
}

impl From<Failure> for OauthError {
    fn from(failure: Failure) -> Self {
        failure.0.into()
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            error_description: Option<String>,
        }
        let body = Body { error: self.error, error_description: self.description };
        let mut response = axum::Json(body).into_response();
        *response.status_mut() = self.status;
        unkept(response)
    }
}

/// Secrets are not for caches.
fn unkept(mut response: Response) -> Response {
    let value = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, value);
    response
}
