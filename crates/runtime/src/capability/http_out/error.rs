//! What a guest is told when a request fails: Spin's error codes.

use std::{error::Error as _, io};

use wasmtime_wasi_http::Error;

use crate::capability::egress::ConnectError;

/// The longest head of a response, in bytes, and its longest section of trailers.
pub(super) const MAX_HEAD_BYTES: u32 = 64 << 10;

pub(super) fn from_connect(error: ConnectError) -> Error {
    tracing::debug!(error = gyre_telemetry::chain(&error), "a guest's connection failed");
    let no_address =
        || Error::DnsError { rcode: Some("address not available".to_owned()), info_code: Some(0) };
    match error {
        ConnectError::Resolve(_) => no_address(),
        ConnectError::Prohibited => Error::DestinationIpProhibited,
        ConnectError::Connect(error) => match error.kind() {
            io::ErrorKind::AddrNotAvailable => no_address(),
            io::ErrorKind::TimedOut => Error::ConnectionTimeout,
            _ => Error::ConnectionRefused,
        },
    }
}

pub(super) fn from_tls(error: &io::Error) -> Error {
    tracing::debug!(error = gyre_telemetry::chain(error), "a guest's TLS handshake failed");
    Error::TlsProtocolError
}

pub(super) fn from_hyper(error: &hyper::Error) -> Error {
    tracing::debug!(error = gyre_telemetry::chain(error), "a guest's request failed");
    if error.is_parse_too_large() {
        return Error::HttpResponseHeaderSectionSize(Some(MAX_HEAD_BYTES));
    }
    // The guest's own body may be what failed: it is told that, rather than that the protocol failed.
    match error.source().and_then(|source| source.downcast_ref()) {
        Some(Error::HttpRequestBodySize(size)) => Error::HttpRequestBodySize(*size),
        _ => Error::HttpProtocolError,
    }
}
