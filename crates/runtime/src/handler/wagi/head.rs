//! The head of a program's response: lines `Name: value` up to an empty one.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// The longest head.
pub(super) const HEAD_BYTES: usize = 64 << 10;

/// A response's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

/// Why what a program printed is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    /// It printed nothing.
    #[error("the program printed nothing")]
    Empty,
    /// It printed no empty line.
    #[error("the program printed no empty line, which ends a response's head")]
    Unfinished,
    /// The head is longer than it may be.
    #[error("the head of the program's response is longer than {HEAD_BYTES} bytes")]
    TooLong,
    /// A line that is no header.
    #[error("the program's response has a header that is not valid: {0:?}")]
    Line(String),
    /// Nothing says what the body is.
    #[error("Exactly one of 'location' or 'content-type' must be specified")]
    Kind,
}

/// Where the head ends in what was printed so far, and where the body begins.
pub(super) fn end(printed: &[u8]) -> Option<(usize, usize)> {
    let mut line = 0;
    for (at, byte) in printed.iter().enumerate() {
        if *byte == b'\n' {
            if matches!(&printed[line..at], b"" | b"\r") {
                return Some((line, at + 1));
            }
            line = at + 1;
        }
    }
    None
}

/// Reads a head, without the empty line.
pub(super) fn parse(lines: &[u8]) -> Result<Head, HeadError> {
    let mut head = Head { status: StatusCode::OK, headers: HeaderMap::new() };
    let mut has_status = false;
    let mut has_kind = false;
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let invalid = || HeadError::Line(String::from_utf8_lossy(line).into_owned());
        let colon = line.iter().position(|byte| *byte == b':').ok_or_else(invalid)?;
        let name = HeaderName::from_bytes(line[..colon].trim_ascii()).map_err(|_| invalid())?;
        let value = line[colon + 1..].trim_ascii();
        if name.as_str() == "status" {
            let code = value.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            // As Spin does: a program that says nonsense is a bad gateway.
            head.status = StatusCode::from_bytes(code).unwrap_or(StatusCode::BAD_GATEWAY);
            has_status = true;
            has_kind = true;
            continue;
        }
        if name == header::LOCATION && !has_status {
            head.status = StatusCode::FOUND;
        }
        has_kind |= name == header::LOCATION || name == header::CONTENT_TYPE;
        head.headers.append(name, HeaderValue::from_bytes(value).map_err(|_| invalid())?);
    }
    if has_kind { Ok(head) } else { Err(HeadError::Kind) }
}
