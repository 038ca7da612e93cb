//! The platform's own state: what a backup takes, but for guests' data.
//!
//! [`Db`] holds the rows, [`Blobs`] the content, [`AppLogs`] what guests print, [`Keyring`] the key that secrets
//! are sealed with, [`RoutesSnapshot`] the routing table that a node starts from when the database is away. What
//! a call here acknowledged is on disk; what it did not acknowledge is there whole or not at all.

mod blobs;
mod db;
mod files;
mod logs;
mod secrets;
mod snapshot;

pub use blobs::{BlobError, BlobReader, Blobs, Upload, UploadId};
pub use db::rows::{
    Account, Activation, App, AppState, Channel, Decision, DeviceCode, DeviceStatus, InvoiceRow,
    Link, Listing, ManifestRow, Page, Release, ReleaseState, Repository, Revision, Rotation, Route,
    Store, StoreKind, Token, TokenKind, Variable, VariableChange,
};
pub use db::{Db, DbError};
pub use files::{sync_dir, write_atomically, write_secret};
pub use logs::{AppLogs, LogFilter, LogFollower, LogOrigin, LogsConfig, StoredLog};
pub use secrets::{Keyring, KeyringError, OpenError};
pub use snapshot::{RoutesSnapshot, SnapshotError};
