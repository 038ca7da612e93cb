//! Reading what requests carry, with limits, and saying what is wrong with it.

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Query, Request},
};
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::Failure;

/// The largest JSON body: a key-value pair, escaped.
const JSON_BYTES: usize = 16 << 20;

/// A JSON body, whatever the method and content type: the Fermyon plug-in sends bodies with GET and DELETE.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        let bytes = all(request.into_body(), JSON_BYTES).await?;
        from_json(&bytes).map(Self)
    }
}

/// A JSON body that may be missing.
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        let bytes = all(request.into_body(), JSON_BYTES).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        from_json(&bytes).map(Self)
    }
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::malformed(format!("the body is not what is expected: {error}")))
}

/// The whole body, if it is not larger than `limit`.
pub(crate) async fn all(body: Body, limit: usize) -> Result<bytes::Bytes, Failure> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure(gyre_control::Error::new(
            gyre_control::ErrorKind::TooLarge,
            "request.too_large",
            format!("the body is larger than {limit} bytes"),
        ))),
        Err(_) => Err(Failure::malformed("the body ended early")),
    }
}

/// The query.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => Err(Failure::malformed(error.body_text())),
        }
    }
}
