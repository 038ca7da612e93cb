//! The Fermyon Cloud dialect under `/api`, for `spin cloud` as it is.
//!
//! What is odd here is odd there: bodies with GET, JSON in strings, and everything at once where a page was asked for.

mod apps;
mod key_value;
mod login;
mod variables;

use axum::{
    Router,
    routing::{get, post},
};

use crate::ServerState;

pub(crate) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/api/device-codes", post(login::create_device_code))
        .route("/api/auth-tokens", post(login::create_token))
        .route("/api/auth-tokens/refresh", post(login::refresh))
        .route("/api/apps", get(apps::list).post(apps::create))
        .route("/api/apps/{id}", get(apps::find).delete(apps::delete))
        .route("/api/apps/{id}/logs/raw", get(apps::logs))
        .route("/api/revisions", post(apps::register_revision))
        .route(
            "/api/variable-pairs",
            get(variables::list).post(variables::set).delete(variables::delete),
        )
        .route("/api/key-value-stores", get(key_value::list))
        .route("/api/key-value-stores/{store}", post(key_value::create))
        .route("/api/key-value-stores/{store}/links", post(key_value::link))
        .route("/api/key-value-pairs", post(key_value::set))
}
