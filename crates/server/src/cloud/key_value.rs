//! Key-value stores: as much as a deploy needs.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use gyre_api::cloud::{KeyValuePair, KeyValueStore, KeyValueStores, ResourceLabel};
use gyre_control::{AppRef, rows::StoreKind};
use gyre_model::AppId;
use http::StatusCode;
use serde::Deserialize;

use crate::{
    Failure, ServerState,
    caller::Caller,
    read::{Json, OptionalJson, Params},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoresQuery {
    app_id: Option<AppId>,
}

pub(super) async fn list(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Params(query): Params<StoresQuery>,
) -> Result<Answer<KeyValueStores>, Failure> {
    let app = query.app_id.map(AppRef::Id);
    let stores = state.control.stores(&actor, StoreKind::KeyValue, app.as_ref()).await?;
    let stores = stores.into_iter().map(|(store, links)| KeyValueStore {
        name: store.name,
        links: links
            .into_iter()
            .map(|link| ResourceLabel {
                label: link.label,
                app_id: link.app,
                app_name: Some(link.app_name),
            })
            .collect(),
    });
    Ok(Answer(KeyValueStores { key_value_stores: stores.collect() }))
}

/// The body is `null`, or where to link the new store.
pub(super) async fn create(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(store): Path<String>,
    OptionalJson(label): OptionalJson<Option<ResourceLabel>>,
) -> Result<StatusCode, Failure> {
    let app = label.as_ref().map(|label| AppRef::Id(label.app_id));
    let link = app.as_ref().zip(label.as_ref().map(|label| label.label.as_str()));
    let name = unplussed(&store);
    state.control.create_store(&actor, StoreKind::KeyValue, &name, link).await?;
    Ok(StatusCode::CREATED)
}

pub(super) async fn link(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(store): Path<String>,
    Json(label): Json<ResourceLabel>,
) -> Result<StatusCode, Failure> {
    let app = AppRef::Id(label.app_id);
    let name = unplussed(&store);
    state.control.link_store(&actor, StoreKind::KeyValue, &name, &app, &label.label).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// With an app, the store's name is a label of that app.
pub(super) async fn set(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Json(body): Json<KeyValuePair>,
) -> Result<StatusCode, Failure> {
    let KeyValuePair { app_id, store_name, key, value } = body;
    match app_id {
        Some(app) => {
            let app = AppRef::Id(app);
            state.control.set_app_key(&actor, &app, &store_name, &key, &value).await?;
        }
        None => state.control.set_store_key(&actor, &store_name, &key, &value).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The plug-in writes path segments as forms are written: a space is a `+`.
fn unplussed(segment: &str) -> String {
    segment.replace('+', " ")
}
