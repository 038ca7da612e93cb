//! The HTTP faces over control: the API in its two dialects, the registry, and the few pages that a person needs.
//!
//! A handler reads a request, asks control once, and writes what it said; who may do what is decided there. Bodies are bounded
//! or streamed. The edge is in front: it has checked the host and leaves a [`gyre_model::Connection`] in the
//! request's extensions.

mod bindle;
mod caller;
mod cloud;
mod failure;
mod pages;
mod read;
mod registry;
mod text;
mod v1;

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use gyre_control::Control;
use http::{StatusCode, Uri, header};

use failure::Failure;

/// What the faces need.
#[derive(Clone)]
pub struct ServerState {
    /// The domain.
    pub control: Arc<Control>,
    /// The server's version, as it tells it.
    pub version: Arc<str>,
}

/// Everything that answers on the platform's own host.
pub fn router(state: ServerState) -> Router {
    Router::new()
        .merge(cloud::routes())
        .merge(v1::routes())
        .merge(registry::routes())
        .nest("/api/registry", bindle::routes())
        .nest("/v1", bindle::routes())
        .merge(pages::routes())
        .route("/healthz", get(health))
        .fallback(unknown)
        .method_not_allowed_fallback(other_method)
        .with_state(state)
}

async fn health(
    State(state): State<ServerState>,
) -> Result<([(http::HeaderName, &'static str); 2], &'static str), Failure> {
    state.control.check().await?;
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, "ok\n"))
}

async fn unknown(uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    Failure::from(gyre_control::Error::not_found(format!("page or operation '{path}'")))
}

async fn other_method() -> (StatusCode, Failure) {
    let error = gyre_control::Error::invalid(
        "method_not_allowed",
        "the address exists, but not with this method",
    );
    (StatusCode::METHOD_NOT_ALLOWED, Failure::from(error))
}
