//! Who is calling: from where, and with which token.

use std::{convert::Infallible, net::IpAddr};

use axum::extract::FromRequestParts;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use gyre_control::Actor;
use gyre_model::Connection;
use http::{HeaderMap, header, request::Parts};

use crate::{Failure, ServerState};

/// Somebody whose bearer token is good. Taking it as an argument is what makes an operation need a sign-in.
pub(crate) struct Caller(pub(crate) Actor);

impl FromRequestParts<ServerState> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &ServerState,
    ) -> Result<Self, Self::Rejection> {
        let token = bearer(&parts.headers).unwrap_or_default();
        let actor = state.control.authenticate(token, address(&parts.extensions)).await?;
        Ok(Self(actor))
    }
}

/// Whoever has the token, as a bearer's or as a password with any user name: clients of packages know one or the other.
pub(crate) async fn of_package_client(
    state: &ServerState,
    parts: &Parts,
) -> Result<Actor, Failure> {
    let headers = &parts.headers;
    let password = basic_password(headers);
    let token = bearer(headers).or(password.as_deref()).unwrap_or_default();
    Ok(state.control.authenticate(token, address(&parts.extensions)).await?)
}

/// The client's address, where it is known.
pub(crate) struct From(pub(crate) Option<IpAddr>);

impl<S: Sync> FromRequestParts<S> for From {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(address(&parts.extensions)))
    }
}

/// The client's address.
pub(crate) fn address(extensions: &http::Extensions) -> Option<IpAddr> {
    extensions.get::<Connection>().map(|connection| connection.peer.ip())
}

/// The token of `Authorization: Bearer <token>`. An empty one is nobody's.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "bearer")
}

/// The password of `Authorization: Basic`; the user name says nothing here.
pub(crate) fn basic_password(headers: &HeaderMap) -> Option<String> {
    let decoded = STANDARD.decode(credentials(headers, "basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (_, password) = text.split_once(':')?;
    Some(password.to_owned())
}

fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim_start();
    let (given, rest) = value.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// One cookie's value.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        headers
    }

    #[test]
    fn tokens_come_as_bearer_or_as_a_password() {
        assert_eq!(bearer(&headers("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&headers("bearer  abc ")), Some("abc"));
        // A header's end is trimmed on the wire: an empty token may arrive as the bare scheme.
        assert_eq!(bearer(&headers("Bearer ")), Some(""));
        assert_eq!(bearer(&headers("Bearer")), None);
        assert_eq!(bearer(&headers("Basic abc")), None);
        let basic = format!("Basic {}", STANDARD.encode("anyone:se:cret"));
        assert_eq!(basic_password(&headers(&basic)).as_deref(), Some("se:cret"));
        assert_eq!(basic_password(&headers("Basic !")), None);
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=1; gyre_session=x.y-z_".parse().unwrap());
        assert_eq!(cookie(&headers, "gyre_session"), Some("x.y-z_"));
        assert_eq!(cookie(&headers, "session"), None);
    }
}
