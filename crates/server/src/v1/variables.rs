//! Variables: their names can be listed, their values never.

use std::collections::BTreeMap;

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use gyre_api::v1;
use gyre_control::{Actor, AppRef};
use gyre_model::Secret;

use super::releases::release;
use crate::{Failure, ServerState, caller::Caller, read::Json};

pub(super) async fn list(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Result<Answer<v1::Variables>, Failure> {
    let names = state.control.variables(&actor, &AppRef::from(app.as_str())).await?;
    let items = names.into_iter().map(|name| v1::Variable { name });
    Ok(Answer(v1::Variables { items: items.collect() }))
}

pub(super) async fn change(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Json(body): Json<v1::SetVariables>,
) -> Result<Answer<v1::VariablesChanged>, Failure> {
    let set = body.set.into_iter().map(|(name, value)| (name, value.into()));
    apply(&state, &actor, &app, set.collect(), body.delete).await
}

pub(super) async fn set(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path((app, name)): Path<(String, String)>,
    Json(body): Json<v1::SetVariable>,
) -> Result<Answer<v1::VariablesChanged>, Failure> {
    let set = BTreeMap::from([(name, body.value.into())]);
    apply(&state, &actor, &app, set, Vec::new()).await
}

pub(super) async fn delete(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path((app, name)): Path<(String, String)>,
) -> Result<Answer<v1::VariablesChanged>, Failure> {
    apply(&state, &actor, &app, BTreeMap::new(), vec![name]).await
}

async fn apply(
    state: &ServerState,
    actor: &Actor,
    app: &str,
    set: BTreeMap<String, Secret<String>>,
    delete: Vec<String>,
) -> Result<Answer<v1::VariablesChanged>, Failure> {
    let new = state.control.set_variables(actor, &AppRef::from(app), set, delete).await?;
    Ok(Answer(v1::VariablesChanged { release: new.map(release) }))
}
