//! Why the domain refused something, said without a word of HTTP.

use std::time::Duration;

/// What a caller would do differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// There is no such thing, or the actor may not see it: the two are not told apart.
    NotFound,
    /// The request cannot be carried out as it is, now or later.
    Invalid,
    /// It contradicts what is there.
    Conflict,
    /// It is not known who asks.
    Unauthenticated,
    /// It is known who asks, and they may see the thing, but not do this to it.
    Forbidden,
    /// Too often; see `retry_after`.
    TooMany,
    /// Something larger than it may be.
    TooLarge,
    /// There is no room left to store it.
    StorageFull,
    /// Not now; see `retry_after`.
    Unavailable,
    /// Our own failure. The message says nothing about it; the source is for the log.
    Internal,
}

/// A refusal or failure. `Display` is the sentence for the user.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What a caller would do differently.
    pub kind: ErrorKind,
    /// What programs match on, such as `app.name_invalid`. Never changes once released.
    pub code: &'static str,
    /// One sentence for the user.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// For the log only.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What control's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of that kind.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), hint: None, retry_after: None, source: None }
    }

    /// There is no such thing, or it may not be seen. `what` is as in `there is no {what}`.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, "not_found", format!("there is no {what}"))
    }

    /// The request is wrong.
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, code, message)
    }

    /// Our own failure.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(ErrorKind::Internal, "internal", "internal error")
        }
    }

    /// Too often.
    pub fn too_many(message: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(ErrorKind::TooMany, "too_many_requests", message)
        }
    }

    /// The same with advice.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Whether the thing does not exist or may not be seen.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }
}
