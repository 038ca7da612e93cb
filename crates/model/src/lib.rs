//! The nouns that every room of Gyre shares, and the small traits by which rooms meet.
//!
//! Nothing here does I/O and nothing here knows an engine, a database or a protocol: a type belongs
//! in this crate when two rooms that must not know each other both speak of it.

mod application;
mod digest;
mod id;
mod limits;
pub mod locked;
mod log;
mod secret;
mod settings;
mod upstream;

pub use application::{Application, Mount, WasmFile};
pub use digest::{Digest, Hasher, ParseDigestError};
pub use id::{
    AccountId, AppId, ChannelId, ParseIdError, ReleaseId, RepositoryId, RequestId, RevisionId,
    StoreId, TokenId,
};
pub use limits::Limits;
pub use locked::LockedApp;
pub use log::{LogEntry, LogShape, LogSink, LogStream, NullLog};
pub use secret::Secret;
pub use settings::{LimitSettings, Settings};
pub use upstream::{BoxError, Connection, Upstream};
