//! Bindle's protocol, at `/api/registry` as Fermyon's cloud had it, and at `/v1` of a host of its own.
//!
//! TOML unless JSON is asked for; refusals are TOML always: `error = "…"`. Clients take no other code for success than 200, and
//! for invoices 201 and 202.

mod answer;
mod login;

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::StreamExt as _;
use gyre_control::{Error, bindles};
use gyre_package::{
    bindle::{BindleId, Invoice, InvoiceError, Label, search::Query},
    limits,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use serde::Serialize;
use tokio_util::io::ReaderStream;

use crate::{ServerState, caller, read};
use answer::{Refusal, answer};

/// How much of a parcel is read at once.
const CHUNK: usize = 256 << 10;

/// Everything, relative to where it is mounted.
pub(crate) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/_i", axum::routing::post(create))
        .route("/_i/{*path}", get(read_one).post(send_parcel).delete(yank))
        .route("/_q", get(search))
        .route("/_r/missing/{*id}", get(missing))
        .route("/bindle-keys", get(keys))
        .route("/login", get(login::begin).post(login::token))
        .fallback(unknown)
        .method_not_allowed_fallback(other_method)
}

#[derive(Serialize)]
struct CreatedBody {
    invoice: Invoice,
    /// Left out when there is nothing to send.
    missing: Option<Vec<Label>>,
}

#[derive(Serialize)]
struct MissingBody {
    missing: Vec<Label>,
}

#[derive(Serialize)]
struct MessageBody {
    message: &'static str,
}

async fn create(State(state): State<ServerState>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let actor = caller::of_package_client(&state, &parts).await?;
    let body = read::all(body, limits::INVOICE_BYTES as usize).await?;
    let invoice = parse(&parts.headers, &body)?;
    let created = state.control.create_bindle(&actor, invoice).await?;
    let status =
        if created.missing.is_empty() { StatusCode::CREATED } else { StatusCode::ACCEPTED };
    let missing = Some(created.missing).filter(|missing| !missing.is_empty());
    let body = CreatedBody { invoice: created.invoice, missing };
    Ok((status, answer(&parts.headers, &body)).into_response())
}

/// An invoice, or one of its parcels.
async fn read_one(
    State(state): State<ServerState>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let actor = caller::of_package_client(&state, &parts).await?;
    let control = &state.control;
    let Some((id, sha256)) = path.rsplit_once('@') else {
        let id = bindles::id(&path)?;
        let with_yanked =
            parameters(&parts).any(|(name, value)| name == "yanked" && value == "true");
        let invoice = control.bindle(&actor, &id, with_yanked).await?;
        return Ok(answer(&parts.headers, &invoice));
    };
    let id = bindles::id(id)?;
    let (label, body) = if parts.method == Method::HEAD {
        (control.find_parcel(&actor, &id, sha256).await?.0, Body::empty())
    } else {
        let (label, blob) = control.read_parcel(&actor, &id, sha256).await?;
        (label, Body::from_stream(ReaderStream::with_capacity(blob.reader, CHUNK)))
    };
    let mut response = Response::new(body);
    let kind = HeaderValue::try_from(&label.media_type)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(label.size));
    // A stranger's bytes under our name: nothing that a browser should run.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    Ok(response)
}

async fn send_parcel(
    State(state): State<ServerState>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let actor = caller::of_package_client(&state, &parts).await?;
    let (id, sha256) = path.rsplit_once('@').unwrap_or((&path, ""));
    let id = bindles::id(id)?;
    let mut upload = state.control.begin_parcel(&actor, &id, sha256).await?;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let taken = match piece {
            Ok(piece) => upload.append(&piece).await,
            Err(_) => Err(Error::invalid("bindle.size", "the body ended before its end")),
        };
        if let Err(error) = taken {
            upload.cancel().await?;
            return Err(error.into());
        }
    }
    state.control.finish_parcel(&actor, upload).await?;
    Ok(answer(&parts.headers, &MessageBody { message: "parcel created" }))
}

async fn yank(
    State(state): State<ServerState>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let actor = caller::of_package_client(&state, &parts).await?;
    state.control.yank_bindle(&actor, &bindles::id(&path)?).await?;
    Ok(answer(&parts.headers, &MessageBody { message: "invoice yanked" }))
}

async fn search(State(state): State<ServerState>, request: Request) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let actor = caller::of_package_client(&state, &parts).await?;
    let pairs: Vec<_> = parameters(&parts).collect();
    let pairs = pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
    let query = Query::from_parameters(pairs).map_err(|error| Refusal::query(&error))?;
    let matches = state.control.search_bindles(&actor, &query).await?;
    Ok(answer(&parts.headers, &matches))
}

async fn missing(
    State(state): State<ServerState>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let actor = caller::of_package_client(&state, &parts).await?;
    let id: BindleId = bindles::id(&path)?;
    let missing = state.control.missing_parcels(&actor, &id).await?;
    Ok(answer(&parts.headers, &MissingBody { missing }))
}

/// Anybody may know the keys with which we sign.
async fn keys(State(state): State<ServerState>, request: Request) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    for (name, value) in parameters(&parts) {
        if name == "roles" && value != "host" {
            let message = "only the host's own keys are given out here: roles=host";
            return Err(Error::invalid("bindle.roles", message).into());
        }
    }
    let keyring = state.control.bindle_keys();
    Ok(answer(&parts.headers, &keyring.to_file()))
}

async fn unknown() -> Refusal {
    Error::not_found("such operation of Bindle's protocol").into()
}

async fn other_method() -> Refusal {
    let error =
        Error::invalid("method_not_allowed", "the address exists, but not with this method");
    Refusal::with_status(error, StatusCode::METHOD_NOT_ALLOWED)
}

fn parameters(
    parts: &Parts,
) -> impl Iterator<Item = (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)> {
    url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
}

/// An invoice in whichever language the header says.
fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Invoice, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let invoice = if kind.is_some_and(answer::is_json) {
        Invoice::from_json(body)
    } else {
        let text = std::str::from_utf8(body)
            .map_err(|_| Error::invalid("bindle.malformed", "the invoice is not UTF-8"))?;
        Invoice::from_toml(text)
    };
    invoice.map_err(|error| {
        let detail = match &error {
            InvoiceError::Toml(error) => format!("resource is malformed: {error}"),
            InvoiceError::Json(error) => format!("resource is malformed: {error}"),
            other => other.to_string(),
        };
        Error::invalid("bindle.malformed", detail).into()
    })
}
