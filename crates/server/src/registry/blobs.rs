//! Blobs on their way out.

use std::ops::Range;

use axum::{body::Body, response::Response};
use gyre_model::Digest;
use http::{HeaderValue, StatusCode, header};
use tokio_util::io::ReaderStream;

use super::{CONTENT_DIGEST, Call, Refusal, empty, value};

/// How much is read at once.
const CHUNK: usize = 256 << 10;

pub(super) async fn read(call: &Call, name: &str, digest: &Digest) -> Result<Response, Refusal> {
    let control = &call.state.control;
    let size = control.blob_size(&call.actor, name, digest).await?;
    let range = call.parts.headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    match range.map_or(Asked::Nothing, |range| parse_range(range, size)) {
        Asked::Nothing => {
            let blob = control.read_blob(&call.actor, name, digest, None).await?;
            let mut response = head_of(StatusCode::OK, digest, blob.size)?;
            *response.body_mut() =
                Body::from_stream(ReaderStream::with_capacity(blob.reader, CHUNK));
            Ok(response)
        }
        Asked::Beyond => {
            let mut response = empty(StatusCode::RANGE_NOT_SATISFIABLE, Vec::new());
            let range = value(format!("bytes */{size}"))?;
            response.headers_mut().insert(header::CONTENT_RANGE, range);
            Ok(response)
        }
        Asked::Bytes(range) => {
            let blob = control.read_blob(&call.actor, name, digest, Some(range.clone())).await?;
            let mut response =
                head_of(StatusCode::PARTIAL_CONTENT, digest, range.end - range.start)?;
            let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            response.headers_mut().insert(header::CONTENT_RANGE, value(text)?);
            *response.body_mut() =
                Body::from_stream(ReaderStream::with_capacity(blob.reader, CHUNK));
            Ok(response)
        }
    }
}

pub(super) async fn head(call: &Call, name: &str, digest: &Digest) -> Result<Response, Refusal> {
    let size = call.state.control.blob_size(&call.actor, name, digest).await?;
    head_of(StatusCode::OK, digest, size)
}

pub(super) async fn delete(call: &Call, name: &str, digest: &Digest) -> Result<Response, Refusal> {
    call.state.control.delete_blob(&call.actor, name, digest).await?;
    Ok(empty(StatusCode::ACCEPTED, Vec::new()))
}

fn head_of(status: StatusCode, digest: &Digest, length: u64) -> Result<Response, Refusal> {
    Ok(empty(
        status,
        vec![
            (header::CONTENT_LENGTH, HeaderValue::from(length)),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
            (header::ETAG, value(format!("\"{digest}\""))?),
            (CONTENT_DIGEST, value(digest)?),
        ],
    ))
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// Nothing, nothing that we understand, or several ranges at once: the whole will do (RFC 9110).
    Nothing,
    Beyond,
    Bytes(Range<u64>),
}

/// One range of bytes: `bytes=0-9`, `bytes=10-`, `bytes=-5`.
fn parse_range(text: &str, size: u64) -> Asked {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-'))
    else {
        return Asked::Nothing;
    };
    let number = |text: &str| match text.trim() {
        text if text.bytes().all(|b| b.is_ascii_digit()) => text.parse::<u64>().ok(),
        _ => None,
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first > last => return Asked::Nothing,
        (Some(first), Some(last)) => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.trim().is_empty() => first..size,
        (None, Some(count)) if first.trim().is_empty() => size.saturating_sub(count)..size,
        _ => return Asked::Nothing,
    };
    if range.start >= range.end { Asked::Beyond } else { Asked::Bytes(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_has_them() {
        assert_eq!(parse_range("bytes=0-9", 100), Asked::Bytes(0..10));
        assert_eq!(parse_range("bytes=90-", 100), Asked::Bytes(90..100));
        assert_eq!(parse_range("bytes=-5", 100), Asked::Bytes(95..100));
        assert_eq!(parse_range("bytes=-500", 100), Asked::Bytes(0..100));
        assert_eq!(parse_range("bytes=50-500", 100), Asked::Bytes(50..100));
        assert_eq!(parse_range("bytes=0-18446744073709551615", 100), Asked::Bytes(0..100));
        for beyond in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(parse_range(beyond, 100), Asked::Beyond, "{beyond}");
        }
        for nonsense in
            ["bytes=9-0", "bytes=a-b", "bytes=-", "items=0-1", "bytes=0-1,3-4", "bytes=+1-2"]
        {
            assert_eq!(parse_range(nonsense, 100), Asked::Nothing, "{nonsense}");
        }
        assert_eq!(parse_range("bytes=0-0", 0), Asked::Beyond);
    }
}
