//! What can go wrong with guests' data, by what the guest is told.

/// A key-value operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyValueError {
    /// The key is longer than the limit of the store.
    #[error("key is longer than {limit} bytes")]
    KeyTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The value is longer than the limit of the store.
    #[error("value is longer than {limit} bytes")]
    ValueTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// What was asked for is more than one call may return.
    #[error("query result exceeds limit of {limit} bytes")]
    ResultTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The store has reached its size limit, or the disk is full. Nothing was written.
    #[error("store is full")]
    Full,
    /// `increment` met a value that is not 8 bytes long.
    #[error("value is not a number: an increment needs 8 bytes, this has {length}")]
    NotANumber {
        /// The value's length, in bytes.
        length: usize,
    },
    /// The file is not a key-value store, or is damaged.
    #[error("store is damaged or not a key-value store: {0}")]
    Corrupt(String),
    /// The platform is stopping: nothing was written.
    #[error("store is closed")]
    Closed,
    /// Anything else, in SQLite's or the system's words.
    #[error("{0}")]
    Other(String),
}

/// A database operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// The database has reached its size limit, or the disk is full. The guest's `database-full`.
    #[error("database or disk is full")]
    Full,
    /// What was asked for is more than one query may return.
    #[error("query result exceeds limit of {limit} bytes")]
    ResultTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The statement ran for longer than it may and was ended.
    #[error("statement exceeds time limit of {} ms", limit.as_millis())]
    TooSlow {
        /// The limit.
        limit: std::time::Duration,
    },
    /// The statement needed more memory than there is for it.
    #[error("out of memory")]
    OutOfMemory,
    /// The platform is stopping.
    #[error("database is closed")]
    Closed,
    /// Anything else, in SQLite's or the system's words. The guest's `io`.
    #[error("{0}")]
    Other(String),
}
