//! Apps, their logs, and new revisions of them.

use std::collections::HashMap;

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use gyre_api::cloud::{
    AppChannelItem, AppItem, AppItemPage, CreateApp, HealthStatus, LogEntry, LogLine, LogMeta,
    RawLogs, RegisterRevision,
};
use gyre_control::{AppRef, AppView, LogQuery};
use gyre_model::AppId;
use http::StatusCode;
use jiff::Timestamp;

use crate::{
    Failure, ServerState,
    caller::Caller,
    read::{Json, Params},
    text::for_terminal,
};

/// The plug-in's own page size. It looks for an app on the first such page only, so that page holds everything.
const PLUGIN_PAGE: u64 = 50;

/// How many lines one answer holds at most.
const MAX_LINES: usize = 10_000;

pub(super) async fn list(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Params(query): Params<HashMap<String, String>>,
) -> Result<Answer<AppItemPage>, Failure> {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<u64>().ok());
    let search = query.get("searchText").map(String::as_str);
    let index = number("pageIndex").unwrap_or(0);
    let size = number("pageSize").filter(|size| *size > 0).unwrap_or(PLUGIN_PAGE);
    let is_whole = size == PLUGIN_PAGE;
    let (offset, limit) = match (is_whole, index) {
        (true, 0) => (0, u64::from(u32::MAX)),
        // What a first page without end left over.
        (true, _) => (0, 0),
        (false, _) => (index.saturating_mul(size).min(i64::MAX as u64), size.min(1_000)),
    };
    let page = state.control.apps(&actor, search, offset, limit).await?;
    let mut items: Vec<_> = page.items.iter().map(|view| item(&state, view)).collect();
    if query.get("exactMatch").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        items.retain(|item| search.is_none_or(|name| item.name == name));
    }
    let is_last_page = is_whole || offset + (items.len() as u64) >= page.total;
    Ok(Answer(AppItemPage {
        total_items: page.total as i32,
        page_index: index as i32,
        page_size: items.len().max(size as usize) as i32,
        is_last_page,
        items,
    }))
}

/// Made already is as good as made now: a deploy that broke off is repeated from its first step.
pub(super) async fn create(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Json(body): Json<CreateApp>,
) -> Result<(StatusCode, Answer<AppId>), Failure> {
    let (app, is_new) =
        state.control.ensure_app(&actor, &body.name, Some(&body.storage_id)).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Answer(app.app.id)))
}

pub(super) async fn find(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Result<Answer<AppItem>, Failure> {
    let view = state.control.app(&actor, &AppRef::from(id.as_str())).await?;
    Ok(Answer(item(&state, &view)))
}

pub(super) async fn delete(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    state.control.delete_app(&actor, &AppRef::from(id.as_str())).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn register_revision(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Json(body): Json<RegisterRevision>,
) -> Result<StatusCode, Failure> {
    state.control.register_revision(&actor, &body.app_storage_id, &body.revision_number).await?;
    Ok(StatusCode::CREATED)
}

/// Newest first, one line an entry: the plug-in turns the entries round.
pub(super) async fn logs(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Params(query): Params<HashMap<String, String>>,
) -> Result<Answer<RawLogs>, Failure> {
    let app = AppRef::from(id.as_str());
    let since = match query.get("since").filter(|text| !text.is_empty()) {
        Some(text) => Some(text.parse::<Timestamp>().map_err(|_| {
            Failure::malformed("'since' must be a time such as 2026-01-31T12:00:00Z")
        })?),
        None => None,
    };
    let max = match query.get("max").map(|text| text.parse::<i64>()) {
        Some(Ok(max)) => usize::try_from(max).unwrap_or(0).min(MAX_LINES),
        Some(Err(_)) => return Err(Failure::malformed("'max' must be a number")),
        None => MAX_LINES,
    };
    let (app, lines) = state.control.logs(&actor, &app, LogQuery { since, max }).await?;
    let entries = lines.into_iter().rev().map(|line| LogEntry {
        meta: LogMeta {
            app_id: app.id.to_string(),
            deployment_id: line.revision.map(|digest| digest.to_string()).unwrap_or_default(),
            request_id: line.request.map(|id| id.to_string()).unwrap_or_default(),
            component_id: line.component,
            ..LogMeta::default()
        },
        log_lines: vec![LogLine {
            time: line.time.to_string(),
            source: line.stream.as_str().to_owned(),
            line: for_terminal(&line.line),
        }],
    });
    Ok(Answer(RawLogs { entries: entries.collect() }))
}

fn item(state: &ServerState, view: &AppView) -> AppItem {
    let AppView { app, .. } = view;
    let channels = view.channels.iter().map(|(channel, active)| AppChannelItem {
        id: channel.id,
        name: channel.name.clone(),
        created: channel.created.to_string(),
        active_revision_number: active.as_ref().map(|release| release.version.clone()),
    });
    AppItem {
        id: app.id,
        name: app.name.clone(),
        storage_id: app.storage_id.clone(),
        subdomain: state.control.config().authority(&view.host),
        channels: channels.collect(),
        last_modified: app.modified.to_string(),
        created: app.created.to_string(),
        description: Some(app.description.clone()).filter(|text| !text.is_empty()),
        health_status: view.active().map(|_| HealthStatus::Healthy),
        domain: None,
        latest_revision: None,
    }
}
