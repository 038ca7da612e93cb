//! Blobs on their way in: at once, or begun, continued in pieces, and ended.

use axum::{body::Body, response::Response};
use futures::StreamExt as _;
use gyre_control::{
    Error,
    registry::{UploadSession, digest},
};
use gyre_model::Digest;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{CONTENT_DIGEST, Call, Refusal, UPLOAD_UUID, empty, value};

pub(super) async fn begin(call: &Call, name: &str, body: Body) -> Result<Response, Refusal> {
    let control = &call.state.control;
    if let Some(mounted) = call.parameter("mount") {
        // A digest that cannot be mounted, for whatever reason, can be uploaded.
        if let Ok(mounted) = digest(&mounted) {
            let from = call.parameter("from");
            if control.mount_blob(&call.actor, name, from.as_deref(), &mounted).await? {
                return stored(name, &mounted);
            }
        }
    }
    let whole = match call.parameter("digest") {
        Some(whole) => Some(digest(&whole)?),
        None => None,
    };
    let mut session = control.begin_upload(&call.actor, name).await?;
    match whole {
        None => {
            let response = accepted(name, &session)?;
            session.pause().await?;
            Ok(response)
        }
        Some(whole) => {
            take_in(&mut session, body).await?;
            control.finish_upload(&call.actor, session, &whole).await?;
            stored(name, &whole)
        }
    }
}

pub(super) async fn append(
    call: &Call,
    name: &str,
    token: &str,
    body: Body,
) -> Result<Response, Refusal> {
    let mut session = call.state.control.resume_upload(&call.actor, name, token).await?;
    ensure_next(&session, &call.parts.headers)?;
    if let Err(refusal) = take_in(&mut session, body).await {
        // What came through is kept: the client can ask how much, and go on from there.
        session.pause().await?;
        return Err(refusal);
    }
    let response = accepted(name, &session)?;
    // Only what is on disk is acknowledged.
    session.pause().await?;
    Ok(response)
}

pub(super) async fn finish(
    call: &Call,
    name: &str,
    token: &str,
    body: Body,
) -> Result<Response, Refusal> {
    let expected = call.parameter("digest");
    let expected = digest(&expected.ok_or_else(|| {
        Error::invalid("registry.digest_invalid", "the parameter 'digest' is missing")
    })?)?;
    let mut session = call.state.control.resume_upload(&call.actor, name, token).await?;
    ensure_next(&session, &call.parts.headers)?;
    if let Err(refusal) = take_in(&mut session, body).await {
        session.pause().await?;
        return Err(refusal);
    }
    call.state.control.finish_upload(&call.actor, session, &expected).await?;
    stored(name, &expected)
}

pub(super) async fn status(call: &Call, name: &str, token: &str) -> Result<Response, Refusal> {
    let session = call.state.control.resume_upload(&call.actor, name, token).await?;
    let mut response = accepted(name, &session)?;
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().remove(header::CONTENT_LENGTH);
    Ok(response)
}

pub(super) async fn cancel(call: &Call, name: &str, token: &str) -> Result<Response, Refusal> {
    let session = call.state.control.resume_upload(&call.actor, name, token).await?;
    session.cancel().await?;
    Ok(empty(StatusCode::NO_CONTENT, Vec::new()))
}

/// Streams a body into an upload. However large, only a piece of it is in memory.
async fn take_in(session: &mut UploadSession, body: Body) -> Result<(), Refusal> {
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| {
            Error::invalid("registry.blob_upload_invalid", "the body ended before its end")
        })?;
        session.append(&piece).await?;
    }
    Ok(())
}

/// A chunk that says where it belongs must belong where the upload stands. Where it ends it need not say right: its length
/// is known better.
fn ensure_next(session: &UploadSession, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(range) = headers.get(header::CONTENT_RANGE) else { return Ok(()) };
    let text = range.to_str().unwrap_or_default();
    let text = text.strip_prefix("bytes").unwrap_or(text).trim_start_matches(['=', ' ']);
    let start = text.split_once('-').and_then(|(start, _)| start.trim().parse::<u64>().ok());
    let offset = session.offset();
    match start {
        Some(start) if start == offset => Ok(()),
        Some(start) => Err(Refusal::range(format!(
            "the chunk begins at byte {start}, and the upload stands at byte {offset}"
        ))),
        None => Err(Refusal::range("the content range is malformed")),
    }
}

/// The upload goes on at this address.
fn accepted(name: &str, session: &UploadSession) -> Result<Response, Refusal> {
    let token = session.token();
    // The specification's way of saying "nothing yet" is the same as "one byte".
    let range = format!("0-{}", session.offset().saturating_sub(1));
    Ok(empty(
        StatusCode::ACCEPTED,
        vec![
            (header::LOCATION, value(format!("/v2/{name}/blobs/uploads/{token}"))?),
            (header::RANGE, value(range)?),
            (UPLOAD_UUID, value(token)?),
            (header::CONTENT_LENGTH, HeaderValue::from(0)),
        ],
    ))
}

fn stored(name: &str, digest: &Digest) -> Result<Response, Refusal> {
    let headers: Vec<(HeaderName, HeaderValue)> = vec![
        (header::LOCATION, value(format!("/v2/{name}/blobs/{digest}"))?),
        (CONTENT_DIGEST, value(digest)?),
        (header::CONTENT_LENGTH, HeaderValue::from(0)),
    ];
    Ok(empty(StatusCode::CREATED, headers))
}
