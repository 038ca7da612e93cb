//! What a store or database may take: the part of `gyre_model::Limits` that concerns data, by name.

use std::time::Duration;

use gyre_model::Limits;

/// Limits of one key-value store. `None`: not limited. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyValueLimits {
    /// A key.
    pub key_bytes: Option<usize>,
    /// A value.
    pub value_bytes: Option<usize>,
    /// The file.
    pub store_bytes: Option<u64>,
    /// What one call may return, keys and values together.
    pub result_bytes: usize,
}

impl From<&Limits> for KeyValueLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            key_bytes: limits.key_bytes,
            value_bytes: limits.value_bytes,
            store_bytes: limits.key_value_store_bytes,
            result_bytes: limits.query_result_bytes,
        }
    }
}

/// Limits of one database. `None`: not limited. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseLimits {
    /// The file; also what temporary tables may take in memory, up to 64 MiB.
    pub database_bytes: Option<u64>,
    /// Time of one statement.
    pub statement_time: Option<Duration>,
    /// The text of one statement.
    pub statement_bytes: usize,
    /// One string, blob or row.
    pub value_bytes: usize,
    /// What one query may return.
    pub result_bytes: usize,
    /// Whether the guest is held to the pragmas, functions and statements that are safe beside neighbours. On
    /// unless the limits are those of a developer's own machine, where Spin allows all but attaching files.
    pub is_confined: bool,
    /// Whether statements may attach other files of this machine. Never where the guest is confined.
    pub may_attach_files: bool,
}

impl From<&Limits> for DatabaseLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            database_bytes: limits.database_bytes,
            statement_time: limits.statement_time,
            statement_bytes: limits.statement_bytes,
            value_bytes: limits.database_value_bytes,
            result_bytes: limits.query_result_bytes,
            is_confined: limits.database_bytes.is_some() || limits.statement_time.is_some(),
            may_attach_files: false,
        }
    }
}
