//! Releases and the revisions they are made of.

use std::time::Duration;

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use gyre_api::v1;
use gyre_control::{AppRef, Error, NewRelease, ReleaseView, Source, rows::ReleaseState};
use gyre_model::ReleaseId;
use http::StatusCode;

use crate::{
    Failure, ServerState,
    caller::Caller,
    read::{Json, OptionalJson, Params},
};

/// The longest wait for a release, in seconds.
const MAX_WAIT: u32 = 60;

pub(super) async fn create(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Json(body): Json<v1::CreateRelease>,
) -> Result<(StatusCode, Answer<v1::Release>), Failure> {
    let source = match (body.digest, body.tag) {
        (Some(digest), None) => Source::Digest(digest),
        (None, Some(tag)) => Source::Tag(tag),
        _ => return Err(Failure::malformed("exactly one of 'digest' and 'tag' is expected")),
    };
    let variables = body.variables.into_iter().map(|(name, value)| (name, value.into()));
    let new = NewRelease { source, channel: body.channel, variables: variables.collect() };
    let view = state.control.create_release(&actor, &AppRef::from(app.as_str()), new).await?;
    Ok((StatusCode::ACCEPTED, Answer(release(view))))
}

pub(super) async fn find(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path((app, id)): Path<(String, String)>,
    Params(query): Params<v1::ReleaseQuery>,
) -> Result<Answer<v1::Release>, Failure> {
    let id: ReleaseId =
        id.parse().map_err(|_| Error::not_found(format!("release '{}'", id.escape_debug())))?;
    let app = AppRef::from(app.as_str());
    let wait = Duration::from_secs(u64::from(query.wait.unwrap_or(0).min(MAX_WAIT)));
    let waiting = state.control.wait_for_release(&actor, &app, id, wait);
    let view = tokio::select! {
        view = waiting => view?,
        // The client asks again, whoever answers then.
        () = state.control.stopping() => state.control.release(&actor, &app, id).await?,
    };
    Ok(Answer(release(view)))
}

pub(super) async fn revisions(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Result<Answer<v1::Revisions>, Failure> {
    let revisions = state.control.revisions(&actor, &AppRef::from(app.as_str())).await?;
    let items = revisions.into_iter().map(|view| v1::Revision {
        digest: view.revision.digest,
        version: view.revision.version,
        created: view.revision.created,
        active_in: view.active_in,
    });
    Ok(Answer(v1::Revisions { items: items.collect() }))
}

pub(super) async fn rollback(
    State(state): State<ServerState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    OptionalJson(body): OptionalJson<v1::Rollback>,
) -> Result<(StatusCode, Answer<v1::Release>), Failure> {
    let app = AppRef::from(app.as_str());
    let (revision, channel) = (body.revision.as_deref(), body.channel.as_deref());
    let view = state.control.rollback(&actor, &app, revision, channel).await?;
    Ok((StatusCode::ACCEPTED, Answer(release(view))))
}

pub(super) fn release(view: ReleaseView) -> v1::Release {
    v1::Release {
        id: view.id,
        number: view.number,
        channel: view.channel,
        state: match view.state {
            ReleaseState::Pending => v1::ReleaseState::Pending,
            ReleaseState::Preparing => v1::ReleaseState::Preparing,
            ReleaseState::Ready => v1::ReleaseState::Ready,
            ReleaseState::Active => v1::ReleaseState::Active,
            ReleaseState::Failed => v1::ReleaseState::Failed,
            ReleaseState::Retired => v1::ReleaseState::Retired,
        },
        reason: view.reason,
        missing_variables: view.missing_variables,
        revision: v1::RevisionRef { digest: view.digest, version: view.version },
        url: view.url,
        triggers: view.triggers,
        created: view.created,
        activated: view.activated,
    }
}
