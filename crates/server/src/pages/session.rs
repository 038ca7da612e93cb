//! Signed-in browsers: the cookie, the forms that belong to it, and where a form may come from.

use std::{collections::HashMap, net::IpAddr};

use axum::{
    extract::{Query, Request, State},
    response::{IntoResponse as _, Redirect, Response},
};
use gyre_control::{Actor, Error, ErrorKind};
use gyre_model::Digest;
use http::{HeaderMap, HeaderValue, header};
use percent_encoding::percent_decode_str;

use super::html::{Page, markup};
use crate::{
    Failure, ServerState,
    caller::{self, From},
    read,
};

const COOKIE: &str = "gyre_session";
/// The cookie goes with the session, at the latest: 12 hours.
const COOKIE_SECONDS: u32 = 12 * 60 * 60;
/// The largest form.
const FORM_BYTES: usize = 16 << 10;

/// A signed-in browser.
pub(super) struct Session {
    pub(super) actor: Actor,
    /// The same for all forms of the session, and of use for no other.
    form_token: String,
}

impl Session {
    pub(super) fn form_token(&self) -> &str {
        &self.form_token
    }
}

/// The session that a request's cookie opens.
pub(super) async fn of(
    state: &ServerState,
    headers: &HeaderMap,
    from: Option<IpAddr>,
) -> Option<Session> {
    let token = caller::cookie(headers, COOKIE)?;
    let actor = state.control.authenticate(token, from).await.ok()?;
    // The cookie cannot be guessed, so neither can this, and it does not give the cookie away.
    let form_token = Digest::of(format!("gyre form {token}")).hex();
    Some(Session { actor, form_token })
}

/// A form's fields, if it comes from a page of this host. `None` in the session: nobody is signed in any more.
pub(super) async fn read_form(
    state: &ServerState,
    request: Request,
) -> Result<(HashMap<String, String>, Option<Session>), Error> {
    let (parts, body) = request.into_parts();
    ensure_own_page(&parts.headers, &parts.uri)?;
    let from = caller::address(&parts.extensions);
    let session = of(state, &parts.headers, from).await;
    let body = read::all(body, FORM_BYTES).await.map_err(|Failure(error)| error)?;
    let text = String::from_utf8_lossy(&body);
    let decoded =
        |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let fields = pairs.map(|(name, value)| (decoded(name), decoded(value))).collect();
    Ok((fields, session))
}

/// A form that changes something for a session must carry that session's token.
pub(super) fn ensure_form_token(
    fields: &HashMap<String, String>,
    session: &Session,
) -> Result<(), Error> {
    // Digests of both are compared: how long it takes tells nothing about the token.
    let given = Digest::of(fields.get("form").map_or("", String::as_str));
    if given == Digest::of(session.form_token()) {
        return Ok(());
    }
    Err(refused("the form has expired; go back and try again"))
}

/// Whether a browser says that the request comes from a page of the same host. Browsers always say so with a form.
fn ensure_own_page(headers: &HeaderMap, uri: &http::Uri) -> Result<(), Error> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let host = text(header::HOST).or_else(|| uri.authority().map(http::uri::Authority::as_str));
    let origin = text(header::ORIGIN);
    let is_same_host = match (origin.and_then(|origin| origin.split_once("://")), host) {
        (Some((_, origin)), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    };
    let is_same_site = match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin") => true,
        Some(_) => false,
    };
    if is_same_host && is_same_site {
        return Ok(());
    }
    Err(refused("the form was sent from another site"))
}

fn refused(message: &str) -> Error {
    Error::new(ErrorKind::Forbidden, "form.refused", message)
}

pub(super) async fn form(
    State(state): State<ServerState>,
    From(from): From,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let next = own_path(query.get("next").map_or("/", String::as_str));
    if of(&state, &headers, from).await.is_some() {
        return Redirect::to(next).into_response();
    }
    page(next).into_response()
}

fn page(next: &str) -> Page {
    let body = markup!(
        "<form method=\"post\" action=\"/login\">\
         <input type=\"hidden\" name=\"next\" value=\"{}\">\
         <label for=\"token\">Access token</label>\
         <input type=\"password\" id=\"token\" name=\"token\" required autofocus autocomplete=\"current-password\">\
         <button>Sign in</button></form>\
         <p>The first token of a server is in the file <code>admin-token</code> of its data folder.</p>",
        next
    );
    Page::new("Sign in", body)
}

pub(super) async fn sign_in(State(state): State<ServerState>, request: Request) -> Response {
    let from = caller::address(request.extensions());
    let (fields, _) = match read_form(&state, request).await {
        Ok(form) => form,
        Err(error) => return page("/").with_error(error).into_response(),
    };
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let next = own_path(field("next"));
    match state.control.open_page_session(field("token").trim(), from).await {
        Ok((_, secret)) => {
            with_cookie(&state, Redirect::to(next).into_response(), secret.expose(), COOKIE_SECONDS)
        }
        Err(error) => page(next).with_error(error).into_response(),
    }
}

pub(super) async fn sign_out(State(state): State<ServerState>, request: Request) -> Response {
    let form = read_form(&state, request).await;
    let result = match form {
        Ok((fields, Some(session))) => match ensure_form_token(&fields, &session) {
            Ok(()) => state.control.sign_out(&session.actor).await,
            Err(error) => Err(error),
        },
        Ok((_, None)) => Ok(()),
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => with_cookie(&state, Redirect::to("/").into_response(), "", 0),
        Err(error) => Page::new("Sign out", String::new()).with_error(error).into_response(),
    }
}

fn with_cookie(state: &ServerState, mut response: Response, value: &str, seconds: u32) -> Response {
    let secure = match state.control.config().public_scheme.as_str() {
        "https" => "; Secure",
        _ => "",
    };
    let cookie =
        format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `path` if it is one of this host, else the front page: a link must not send somebody who signs in elsewhere.
fn own_path(path: &str) -> &str {
    let is_own = path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if is_own { path } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_nowhere_else() {
        assert_eq!(own_path("/device-authorization?code=A"), "/device-authorization?code=A");
        for path in
            ["", "https://x.example", "//x.example", "/\\x.example", "/\n/x", "x", "/\t/x.example"]
        {
            assert_eq!(own_path(path), "/", "{path:?}");
        }
    }

    #[test]
    fn a_form_must_say_that_it_comes_from_this_host() {
        let ensure = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "gyre.localhost:8000".parse().unwrap());
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            ensure_own_page(&headers, &http::Uri::from_static("/login")).is_ok()
        };
        let own = ("origin", "http://gyre.localhost:8000");
        assert!(ensure(&[own]));
        assert!(ensure(&[own, ("sec-fetch-site", "same-origin")]));
        assert!(!ensure(&[]));
        assert!(!ensure(&[("origin", "null")]));
        assert!(!ensure(&[("origin", "http://evil.example")]));
        assert!(!ensure(&[("origin", "http://app.gyre.localhost:8000")]));
        assert!(!ensure(&[("origin", "http://gyre.localhost:8001")]));
        for site in ["same-site", "cross-site", "none"] {
            assert!(!ensure(&[own, ("sec-fetch-site", site)]), "{site}");
        }
    }
}
