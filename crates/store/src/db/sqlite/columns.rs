//! How the nouns' types are kept in columns: ids and digests as bytes, times as nanoseconds.

use gyre_model::{Digest, Settings};
use jiff::Timestamp;
use rusqlite::{Error, Row, types::Type};
use uuid::Uuid;

/// A time as a column keeps it. Times beyond the years 1678 to 2262 are held to those.
pub(super) fn ns(time: Timestamp) -> i64 {
    let ns = time.as_nanosecond();
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

pub(super) fn maybe_ns(time: Option<Timestamp>) -> Option<i64> {
    time.map(ns)
}

pub(super) fn time(row: &Row<'_>, column: &str) -> Result<Timestamp, Error> {
    row.get(column).map(from_ns)
}

pub(super) fn maybe_time(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>, Error> {
    Ok(row.get::<_, Option<i64>>(column)?.map(from_ns))
}

fn from_ns(ns: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(ns)).expect("64 bits of nanoseconds are within range")
}

/// The id in a column.
pub(super) fn id<T: From<Uuid>>(row: &Row<'_>, column: &str) -> Result<T, Error> {
    row.get(column).map(|bytes| T::from(Uuid::from_bytes(bytes)))
}

/// The id in a column that may be null.
pub(super) fn maybe_id<T: From<Uuid>>(row: &Row<'_>, column: &str) -> Result<Option<T>, Error> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(|bytes| T::from(Uuid::from_bytes(bytes))))
}

/// The digest in a column.
pub(super) fn digest(row: &Row<'_>, column: &str) -> Result<Digest, Error> {
    row.get(column).map(Digest::from_bytes)
}

/// A count or size: never negative in the columns it is read from.
pub(super) fn count(row: &Row<'_>, column: &str) -> Result<u64, Error> {
    Ok(row.get::<_, i64>(column)?.max(0).unsigned_abs())
}

/// The settings in a column of JSON.
pub(super) fn settings(row: &Row<'_>, column: &str) -> Result<Settings, Error> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| invalid(error.into()))
}

/// The texts in a column of JSON.
pub(super) fn texts(row: &Row<'_>, column: &str) -> Result<Vec<String>, Error> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| invalid(error.into()))
}

/// The error for a column whose content makes no sense.
pub(super) fn invalid(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::FromSqlConversionFailure(0, Type::Text, source)
}

/// A number for a column: SQLite has 63 bits for it.
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// `words! { fn Type { Variant = "word" } }`: an enum kept as a word.
macro_rules! words {
    ($write:ident, $read:ident: $type:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        pub(super) fn $write(value: $type) -> &'static str {
            match value { $($type::$variant => $word),* }
        }
        pub(super) fn $read(
            row: &rusqlite::Row<'_>,
            column: &str,
        ) -> Result<$type, rusqlite::Error> {
            match row.get_ref(column)?.as_str()? {
                $($word => Ok($type::$variant),)*
                other => Err($crate::db::sqlite::columns::invalid(
                    format!(concat!("{:?} is no ", stringify!($type)), other).into(),
                )),
            }
        }
    };
}
pub(super) use words;
