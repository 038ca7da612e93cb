//! Manifests and tags.

use axum::{
    Json,
    body::Body,
    response::{IntoResponse as _, Response},
};
use gyre_control::{Error, registry::Reference};
use gyre_model::Digest;
use gyre_package::{limits, oci};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{CONTENT_DIGEST, Call, Refusal, empty, value};
use crate::read;

/// The tags of one answer, at most and by default.
const TAGS: u64 = 1_000;

pub(super) async fn read(
    call: &Call,
    name: &str,
    reference: &Reference,
) -> Result<Response, Refusal> {
    let manifest = call.state.control.read_manifest(&call.actor, name, reference).await?;
    let size = manifest.bytes.len() as u64;
    let mut response = head_of(&manifest.media_type, &manifest.digest, size)?;
    *response.body_mut() = manifest.bytes.into();
    Ok(response)
}

pub(super) async fn head(
    call: &Call,
    name: &str,
    reference: &Reference,
) -> Result<Response, Refusal> {
    let row = call.state.control.find_manifest(&call.actor, name, reference).await?;
    head_of(&row.media_type, &row.digest, row.size)
}

pub(super) async fn put(
    call: &Call,
    name: &str,
    reference: &Reference,
    body: Body,
) -> Result<Response, Refusal> {
    let media_type = call
        .parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|text| text.split(';').next().unwrap_or_default().trim().to_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| oci::MANIFEST.to_owned());
    let bytes = read::all(body, limits::MANIFEST_BYTES as usize).await?;
    let digest = call
        .state
        .control
        .put_manifest(&call.actor, name, reference, &media_type, bytes.to_vec())
        .await?;
    let headers: Vec<(HeaderName, HeaderValue)> = vec![
        (header::LOCATION, value(format!("/v2/{name}/manifests/{digest}"))?),
        (CONTENT_DIGEST, value(digest)?),
        (header::CONTENT_LENGTH, HeaderValue::from(0)),
    ];
    Ok(empty(StatusCode::CREATED, headers))
}

pub(super) async fn delete(
    call: &Call,
    name: &str,
    reference: &Reference,
) -> Result<Response, Refusal> {
    call.state.control.delete_manifest(&call.actor, name, reference).await?;
    Ok(empty(StatusCode::ACCEPTED, Vec::new()))
}

pub(super) async fn tags(call: &Call, name: &str) -> Result<Response, Refusal> {
    let limit = match call.parameter("n") {
        Some(text) => text.parse::<u64>().map(|n| n.min(TAGS)).map_err(|_| {
            Error::invalid("registry.unsupported", "the parameter 'n' must be a number")
        })?,
        None => TAGS,
    };
    let last = call.parameter("last").filter(|last| !last.is_empty());
    let control = &call.state.control;
    // One more than asked for tells whether there are more.
    let mut tags = control.tags(&call.actor, name, last.as_deref(), limit + 1).await?;
    let has_more = tags.len() as u64 > limit;
    tags.truncate(limit as usize);
    let next = tags.last().filter(|_| has_more).cloned();
    let mut response = Json(json!({ "name": name, "tags": tags })).into_response();
    if let Some(next) = next {
        let link = format!("</v2/{name}/tags/list?n={limit}&last={next}>; rel=\"next\"");
        response.headers_mut().insert(header::LINK, value(link)?);
    }
    Ok(response)
}

fn head_of(media_type: &str, digest: &Digest, size: u64) -> Result<Response, Refusal> {
    Ok(empty(
        StatusCode::OK,
        vec![
            (header::CONTENT_TYPE, value(media_type)?),
            (header::CONTENT_LENGTH, HeaderValue::from(size)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::ETAG, value(format!("\"{digest}\""))?),
            (CONTENT_DIGEST, value(digest)?),
        ],
    ))
}
