//! The OCI registry under `/v2`: enough of the distribution specification for `gyre deploy`, the Fermyon plug-in, and what
//! copies images.
//!
//! A path is `<repository>/<kind>/<reference>`, and a repository's name has slashes of its own, so paths are taken
//! apart here and not by the router. Content is streamed both ways.

mod blobs;
mod manifests;
mod path;
mod refusal;
mod sign_in;
mod uploads;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
    routing::any,
};
use gyre_control::{Actor, Error, registry as domain};
use http::{HeaderName, HeaderValue, Method, StatusCode, request::Parts};
use percent_encoding::percent_decode_str;

use crate::{ServerState, caller};
use path::Target;
use refusal::Refusal;

/// Says which API this is.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// The digest of what is answered or was stored.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The upload that is spoken of.
const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

pub(crate) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/v2", any(answer))
        .route("/v2/", any(answer))
        .route("/v2/{*path}", any(answer))
}

async fn answer(State(state): State<ServerState>, request: Request) -> Response {
    let challenge = sign_in::challenge(&state, &request);
    let response = dispatch(state, request).await;
    let mut response = response.unwrap_or_else(Refusal::into_response);
    let headers = response.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    if response.status() == StatusCode::UNAUTHORIZED
        && let Some(challenge) = challenge
    {
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, challenge);
    }
    response
}

async fn dispatch(state: ServerState, request: Request) -> Result<Response, Refusal> {
    // Apart, for a body cannot be shared between threads, and what waits while it holds one could not be either.
    let (parts, body) = request.into_parts();
    let target = path::target(parts.uri.path())?;
    if matches!(target, Target::Token) {
        return sign_in::token(&state, &parts, body).await;
    }
    let actor = caller::of_package_client(&state, &parts).await?;
    let method = parts.method.clone();
    let call = Call { state, actor, parts };
    match (&target, method) {
        (Target::Base, Method::GET | Method::HEAD) => {
            Ok((StatusCode::OK, axum::Json(serde_json::json!({}))).into_response())
        }
        (Target::Tags { name }, Method::GET) => manifests::tags(&call, name).await,
        (Target::Manifest { name, reference }, method) => {
            let reference = domain::reference(reference)?;
            match method {
                Method::GET => manifests::read(&call, name, &reference).await,
                Method::HEAD => manifests::head(&call, name, &reference).await,
                Method::PUT => manifests::put(&call, name, &reference, body).await,
                Method::DELETE => manifests::delete(&call, name, &reference).await,
                _ => Err(Refusal::unsupported()),
            }
        }
        (Target::Blob { name, digest }, method) => {
            let digest = domain::digest(digest)?;
            match method {
                Method::GET => blobs::read(&call, name, &digest).await,
                Method::HEAD => blobs::head(&call, name, &digest).await,
                Method::DELETE => blobs::delete(&call, name, &digest).await,
                _ => Err(Refusal::unsupported()),
            }
        }
        (Target::Uploads { name }, Method::POST) => uploads::begin(&call, name, body).await,
        (Target::Upload { name, token }, method) => match method {
            Method::PATCH => uploads::append(&call, name, token, body).await,
            Method::PUT => uploads::finish(&call, name, token, body).await,
            Method::GET | Method::HEAD => uploads::status(&call, name, token).await,
            Method::DELETE => uploads::cancel(&call, name, token).await,
            _ => Err(Refusal::unsupported()),
        },
        _ => Err(Refusal::unsupported()),
    }
}

/// A request whose caller is known.
struct Call {
    state: ServerState,
    actor: Actor,
    parts: Parts,
}

impl Call {
    /// One parameter of the query, decoded.
    fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.parts.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
    }
}

/// A header's value that is ASCII by its making.
fn value(text: impl std::fmt::Display) -> Result<HeaderValue, Refusal> {
    HeaderValue::try_from(text.to_string()).map_err(|error| Refusal::from(Error::internal(error)))
}

/// A response without a body.
fn empty(status: StatusCode, headers: Vec<(HeaderName, HeaderValue)>) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().extend(headers);
    response
}
