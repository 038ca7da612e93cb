//! An app's log, once or as it is written.

use std::time::Duration;

use axum::{
    Json as Answer,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::stream;
use gyre_api::v1;
use gyre_control::{AppRef, LogFollower, LogQuery, rows::StoredLog};
use gyre_telemetry::chain;
use http::header;

use crate::{Failure, ServerState, caller::Caller, read::Params};

/// With nothing to say for so long, an empty line is said: proxies and clients give up on silence.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The most lines of one answer.
const MAX_LINES: u32 = 10_000;

pub(super) async fn read(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Params(query): Params<v1::LogsQuery>,
) -> Result<Response, Failure> {
    let app = AppRef::from(app.as_str());
    let max = query.max.unwrap_or(100).min(MAX_LINES) as usize;
    let lines = LogQuery { since: query.since, max };
    if query.follow.unwrap_or(false) {
        let follower = state.control.follow_logs(&actor, &app, lines).await?;
        let headers =
            [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
        return Ok((headers, body(follower)).into_response());
    }
    let (_, lines) = state.control.logs(&actor, &app, lines).await?;
    Ok(Answer(v1::Logs { items: lines.into_iter().map(line).collect() }).into_response())
}

fn body(follower: LogFollower) -> Body {
    Body::from_stream(stream::unfold(follower, |mut follower| async {
        let chunk = match tokio::time::timeout(KEEP_ALIVE, follower.next()).await {
            Ok(Some(Ok(lines))) => ndjson(lines),
            Ok(Some(Err(error))) => {
                tracing::error!(error = chain(&error), "a log cannot be followed");
                return None;
            }
            Ok(None) => return None,
            Err(_) => Bytes::from_static(b"\n"),
        };
        Some((Ok::<_, std::convert::Infallible>(chunk), follower))
    }))
}

fn ndjson(lines: Vec<StoredLog>) -> Bytes {
    let mut text = Vec::new();
    for stored in lines {
        serde_json::to_writer(&mut text, &line(stored)).expect("strings and numbers serialise");
        text.push(b'\n');
    }
    text.into()
}

fn line(stored: StoredLog) -> v1::LogLine {
    v1::LogLine {
        time: stored.time,
        stream: stored.stream.as_str().to_owned(),
        component: stored.component,
        revision: stored.revision.map(|digest| digest.to_string()),
        request_id: stored.request.map(|id| id.to_string()),
        line: stored.line,
    }
}
