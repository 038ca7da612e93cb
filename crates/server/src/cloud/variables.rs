//! Variables: set one by one, after the revision.

use std::collections::BTreeMap;

use axum::{Json as Answer, extract::State};
use gyre_api::cloud::{VariablePair, Variables, VariablesQuery};
use gyre_control::AppRef;
use http::StatusCode;

use crate::{Failure, ServerState, caller::Caller, read::Json};

pub(super) async fn set(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Json(body): Json<VariablePair>,
) -> Result<StatusCode, Failure> {
    let value = body.value.ok_or_else(|| Failure::malformed("the value is missing"))?;
    let set = BTreeMap::from([(body.variable, value.into())]);
    state.control.set_variables(&actor, &AppRef::Id(body.app_id), set, Vec::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn delete(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Json(body): Json<VariablePair>,
) -> Result<StatusCode, Failure> {
    let app = AppRef::Id(body.app_id);
    state.control.set_variables(&actor, &app, BTreeMap::new(), vec![body.variable]).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn list(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Json(body): Json<VariablesQuery>,
) -> Result<Answer<Variables>, Failure> {
    let names = state.control.variables(&actor, &AppRef::Id(body.app_id)).await?;
    let vars = names.into_iter().map(|name| serde_json::json!({ "key": name }).to_string());
    Ok(Answer(Variables { vars: vars.collect() }))
}
