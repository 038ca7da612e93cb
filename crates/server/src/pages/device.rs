//! Where a person lets a program in: sees what asks, compares the code, and says yes or no.

use std::collections::HashMap;

use axum::{
    extract::{Query, Request, State},
    response::{IntoResponse as _, Redirect, Response},
};
use gyre_control::PendingLogin;
use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    html::{Page, markup},
    session::{self, Session},
};
use crate::{ServerState, caller::From};

const PATH: &str = "/device-authorization";
/// What is not written as it is in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'/');
const TITLE: &str = "Sign in a device";

pub(super) async fn show(
    State(state): State<ServerState>,
    From(from): From,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let code = query.get("code").map_or("", |code| code.trim());
    let Some(session) = session::of(&state, &headers, from).await else {
        return to_sign_in(code);
    };
    if code.is_empty() {
        return ask_for_code().into_response();
    }
    match state.control.pending_login(&session.actor, code).await {
        Ok(login) => ask(&session, &login).into_response(),
        Err(error) => ask_for_code().with_error(error).into_response(),
    }
}

pub(super) async fn decide(State(state): State<ServerState>, request: Request) -> Response {
    let (fields, session) = match session::read_form(&state, request).await {
        Ok(form) => form,
        Err(error) => return ask_for_code().with_error(error).into_response(),
    };
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let code = field("code");
    let Some(session) = session else { return to_sign_in(code) };
    if let Err(error) = session::ensure_form_token(&fields, &session) {
        return ask_for_code().with_error(error).into_response();
    }
    let is_approved = match field("decision") {
        "approve" => true,
        "deny" => false,
        _ => return ask_for_code().into_response(),
    };
    match state.control.decide_login(&session.actor, code, is_approved).await {
        Ok(()) if is_approved => {
            let body = "<p>The device is signed in. You can close this page.</p>";
            Page::new(TITLE, body.to_owned()).into_response()
        }
        Ok(()) => {
            let body = "<p>The device was refused. You can close this page.</p>";
            Page::new(TITLE, body.to_owned()).into_response()
        }
        Err(error) => ask_for_code().with_error(error).into_response(),
    }
}

fn to_sign_in(code: &str) -> Response {
    let next = match code {
        "" => PATH.to_owned(),
        code => format!("{PATH}?code={}", utf8_percent_encode(code, QUERY)),
    };
    Redirect::to(&format!("/login?next={}", utf8_percent_encode(&next, QUERY))).into_response()
}

fn ask_for_code() -> Page {
    let body = markup!(
        "<form method=\"get\" action=\"{}\">\
         <label for=\"code\">The code that the device shows</label>\
         <input type=\"text\" id=\"code\" name=\"code\" required autofocus autocomplete=\"off\" \
         autocapitalize=\"characters\" spellcheck=\"false\" placeholder=\"BCDF-GHJK\">\
         <button>Go on</button></form>",
        PATH
    );
    Page::new(TITLE, body)
}

fn ask(session: &Session, login: &PendingLogin) -> Page {
    let body = markup!(
        "<p>A program that calls itself <strong>{}</strong> asks to be signed in as <strong>{}</strong>. It will be able to do \
         whatever you can do.</p>\
         <p>It shows this code, if it is the one you have just started:</p>\
         <p class=\"code\">{}</p>\
         <form method=\"post\" action=\"{}\">\
         <input type=\"hidden\" name=\"form\" value=\"{}\">\
         <input type=\"hidden\" name=\"code\" value=\"{}\">\
         <button name=\"decision\" value=\"approve\">Approve</button>\
         <button name=\"decision\" value=\"deny\">Deny</button></form>",
        login.client,
        session.actor.name,
        login.user_code,
        PATH,
        session.form_token(),
        login.user_code
    );
    Page::new(TITLE, body)
}
