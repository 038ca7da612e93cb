//! From SQLite's errors to those that callers can act on.

use rusqlite::{ErrorCode, ffi};

use crate::DbError;

/// What an engine function fails with: a word for the caller, or whatever SQLite says.
#[derive(Debug)]
pub(in crate::db) enum Failure {
    Known(DbError),
    Sql(rusqlite::Error),
}

impl Failure {
    pub(in crate::db) fn missing(what: &'static str) -> Self {
        Self::Known(DbError::Missing { what })
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        Self::Known(error)
    }
}

/// The columns of unique indexes, as SQLite names them in its message, and what people call them.
const UNIQUE: [(&str, &str); 10] = [
    ("accounts.name", "account name"),
    ("tokens.hash", "token"),
    ("device_codes.user_code", "user code"),
    ("device_codes.device_hash", "device code"),
    ("apps.host_label", "host label"),
    ("apps.account_id, apps.name", "app name"),
    ("channels.app_id, channels.name", "channel name"),
    ("stores.account_id, stores.kind, stores.name", "store name"),
    ("repositories.account_id, repositories.name", "repository name"),
    ("invoices.account_id, invoices.name, invoices.version", "bindle"),
];

impl From<Failure> for DbError {
    fn from(failure: Failure) -> Self {
        let error = match failure {
            Failure::Known(error) => return error,
            Failure::Sql(error) => error,
        };
        let rusqlite::Error::SqliteFailure(code, message) = &error else {
            return Self::Other(error.into());
        };
        let message = message.as_deref().unwrap_or_default();
        match code.extended_code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => {
                let what = UNIQUE.iter().find(|(columns, _)| message.ends_with(columns));
                return Self::Taken { what: what.map_or("id", |(_, what)| *what) };
            }
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => {
                return Self::Missing { what: "what the row refers to" };
            }
            _ => {}
        }
        match code.code {
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Locked,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt(error.into()),
            ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure
            | ErrorCode::PermissionDenied => Self::Unavailable(error.into()),
            _ => Self::Other(error.into()),
        }
    }
}
