//! Gyre's own API under `/api/v1`.

mod account;
mod apps;
mod logs;
mod releases;
mod variables;

use axum::{
    Json, Router,
    extract::State,
    routing::{delete, get, post, put},
};
use gyre_api::v1::Info;

use crate::ServerState;

pub(crate) fn routes() -> Router<ServerState> {
    let app = Router::new()
        .route("/", get(apps::find).put(apps::ensure).delete(apps::delete))
        .route("/releases", post(releases::create))
        .route("/releases/{id}", get(releases::find))
        .route("/revisions", get(releases::revisions))
        .route("/rollback", post(releases::rollback))
        .route("/logs", get(logs::read))
        .route("/variables", get(variables::list).patch(variables::change))
        .route("/variables/{name}", put(variables::set).delete(variables::delete));
    Router::new()
        .route("/api/v1/info", get(info))
        .route("/api/v1/account", get(account::find))
        .route("/api/v1/tokens", get(account::tokens).post(account::create_token))
        .route("/api/v1/tokens/current", delete(account::sign_out))
        .route("/api/v1/tokens/{id}", delete(account::revoke_token))
        .route("/api/v1/apps", get(apps::list))
        .nest("/api/v1/apps/{app}", app)
}

async fn info(State(state): State<ServerState>) -> Json<Info> {
    let config = state.control.config();
    Json(Info {
        name: "gyre".to_owned(),
        version: state.version.to_string(),
        domain: config.domain.clone(),
        apps_domain: config.apps_domain.clone(),
        url: config.url(),
    })
}
