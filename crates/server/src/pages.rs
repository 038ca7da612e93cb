//! The pages that a person needs: what this is, signing in, and approving a device. They work without JavaScript, and there
//! is none.
//!
//! A page that changes something takes only forms that were made for this very session and come from this very host.

mod device;
mod html;
mod session;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, header};

use crate::{ServerState, caller::From};
use html::{Page, markup};

pub(crate) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/", get(front))
        .route("/login", get(session::form).post(session::sign_in))
        .route("/logout", post(session::sign_out))
        .route("/device-authorization", get(device::show).post(device::decide))
        .route("/gyre.css", get(style))
}

async fn front(State(state): State<ServerState>, From(from): From, headers: HeaderMap) -> Response {
    let config = state.control.config();
    let who = match session::of(&state, &headers, from).await {
        Some(session) => markup!(
            "<p>You are signed in as <strong>{}</strong>.</p>\
             <form method=\"post\" action=\"/logout\">\
             <input type=\"hidden\" name=\"form\" value=\"{}\"><button>Sign out</button></form>",
            session.actor.name,
            session.form_token()
        ),
        None => markup!("<p><a href=\"/login\">Sign in</a> to approve a device.</p>"),
    };
    let address = config.url();
    let address = address.trim_end_matches('/');
    let body = markup!(
        "<p>This is {}, a cloud for WebAssembly applications. It runs Gyre {}.</p>\
         <p>To use it, sign in on your machine and deploy:</p>\
         <pre>gyre login --url {}\ngyre deploy</pre>",
        config.domain,
        state.version,
        address
    );
    Page::new("Gyre", format!("{body}{who}")).into_response()
}

async fn style() -> Response {
    let mut response = include_str!("pages/gyre.css").into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
