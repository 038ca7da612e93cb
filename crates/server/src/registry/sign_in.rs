//! Who pushes and pulls: by Bearer, by Basic with any user name and a token as the password, or by the token endpoint,
//! which gives those who insist on a Bearer token the one they have.

use axum::{
    Json,
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use gyre_model::Connection;
use http::{HeaderValue, Method, header, request::Parts};
use serde_json::json;

use super::Refusal;
use crate::{ServerState, caller, read};

/// How long a client may take a token of the token endpoint for good before it asks again, in seconds.
const TOKEN_LIFE: u32 = 300;
/// The largest form.
const FORM_BYTES: usize = 16 << 10;

/// Where to get a token, at the address by which the client came.
pub(super) fn challenge(state: &ServerState, request: &Request) -> Option<HeaderValue> {
    let config = state.control.config();
    let host = request
        .uri()
        .authority()
        .map(http::uri::Authority::as_str)
        .or_else(|| request.headers().get(header::HOST).and_then(|host| host.to_str().ok()))?;
    // A host is quoted here: nothing that ends the quotes.
    if host.bytes().any(|b| !(b.is_ascii_alphanumeric() || b".-:[]_".contains(&b))) {
        return None;
    }
    let connection = request.extensions().get::<Connection>();
    let own = config.authority(&config.domain);
    let is_own = host.eq_ignore_ascii_case(&own)
        || host.strip_prefix("registry.").is_some_and(|rest| rest.eq_ignore_ascii_case(&own));
    // Before us may be somebody who speaks TLS for us, under our own name.
    let scheme = match connection {
        Some(connection) if !is_own => {
            if connection.is_tls {
                "https"
            } else {
                "http"
            }
        }
        _ => config.public_scheme.as_str(),
    };
    let service = &config.domain;
    HeaderValue::try_from(format!(
        r#"Bearer realm="{scheme}://{host}/v2/token",service="{service}""#
    ))
    .ok()
}

/// `GET` with Basic, or `POST` of an OAuth 2 form: the password or refresh token is a token of ours, and comes back as
/// what it is.
pub(super) async fn token(
    state: &ServerState,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    let from = caller::address(&parts.extensions);
    let token = match parts.method {
        Method::GET => caller::basic_password(&parts.headers)
            .or_else(|| caller::bearer(&parts.headers).map(str::to_owned)),
        Method::POST => {
            let body = read::all(body, FORM_BYTES).await?;
            let text = String::from_utf8_lossy(&body);
            let field = |name: &str| {
                text.split('&').filter_map(|pair| pair.split_once('=')).find_map(|(key, value)| {
                    (key == name).then(|| {
                        let value = value.replace('+', " ");
                        percent_encoding::percent_decode_str(&value)
                            .decode_utf8_lossy()
                            .into_owned()
                    })
                })
            };
            field("password").or_else(|| field("refresh_token"))
        }
        _ => return Err(Refusal::unsupported()),
    };
    let token = token.unwrap_or_default();
    state.control.authenticate(&token, from).await?;
    let issued_at = state.control.clock().now().to_string();
    let body = json!({
        "token": token,
        "access_token": token,
        "expires_in": TOKEN_LIFE,
        "issued_at": issued_at,
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}
