//! Apps.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use gyre_api::v1;
use gyre_control::{AppRef, AppView};
use http::StatusCode;

use super::releases::release;
use crate::{Failure, ServerState, caller::Caller, read::Params};

pub(super) async fn list(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Params(query): Params<v1::AppsQuery>,
) -> Result<Answer<v1::Apps>, Failure> {
    let limit = u64::from(query.limit.unwrap_or(100).clamp(1, 1_000));
    let offset: u64 =
        match query.after.as_deref().filter(|after| !after.is_empty()) {
            Some(after) => after.parse::<u32>().map(u64::from).ok().ok_or_else(|| {
                Failure::malformed("'after' must be what an answer had as 'next'")
            })?,
            None => 0,
        };
    let page = state.control.apps(&actor, None, offset, limit).await?;
    let seen = offset + page.items.len() as u64;
    let next = (seen < page.total && !page.items.is_empty()).then(|| seen.to_string());
    Ok(Answer(v1::Apps { items: page.items.into_iter().map(app).collect(), next }))
}

pub(super) async fn find(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(name): Path<String>,
) -> Result<Answer<v1::App>, Failure> {
    let name = AppRef::from(name.as_str());
    let mut found = app(state.control.app(&actor, &name).await?);
    found.latest = state.control.latest_release(&actor, &name).await?.map(release);
    Ok(Answer(found))
}

pub(super) async fn ensure(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(name): Path<String>,
) -> Result<(StatusCode, Answer<v1::App>), Failure> {
    let (view, is_new) = state.control.ensure_app(&actor, &name, None).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Answer(app(view))))
}

pub(super) async fn delete(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    state.control.delete_app(&actor, &AppRef::from(name.as_str())).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn app(view: AppView) -> v1::App {
    let active = view.active().cloned().map(release);
    v1::App {
        id: view.app.id,
        name: view.app.name,
        description: Some(view.app.description).filter(|text| !text.is_empty()),
        url: view.url,
        repository: view.repository,
        created: view.app.created,
        modified: view.app.modified,
        active,
        latest: None,
    }
}
