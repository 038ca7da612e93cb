//! Databases (interface first; see the crate's documentation).

use crate::{DatabaseError, DatabaseLimits, Location};

/// A value of a database.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// A floating point number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// Nothing.
    Null,
}

/// What a statement returned.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueryResult {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, each with a value for each column.
    pub rows: Vec<Vec<Value>>,
}

/// The databases that are open in this process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Databases {}

impl Databases {
    /// With nothing open.
    pub fn new() -> Self {
        Self::default()
    }
    /// The database at `location`. Nothing is opened or made before a connection of it is used.
    pub fn open(&self, _: &Location, _: DatabaseLimits) -> Database {
        Database {}
    }
    /// Closes all connections that are not in use, with everything written into the files proper.
    pub async fn close(&self) {}
}

/// One database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Database {}

impl Database {
    /// A connection: its own transaction, temporary tables and last row id. A database in memory is each
    /// connection's own.
    pub fn connect(&self) -> DatabaseConnection {
        DatabaseConnection {}
    }
}

/// A connection of a database, as one `open` of a guest gets it.
#[derive(Debug)]
pub struct DatabaseConnection {}

impl DatabaseConnection {
    /// Runs one statement with positional parameters.
    pub async fn execute(
        &mut self,
        _sql: &str,
        _parameters: Vec<Value>,
    ) -> Result<QueryResult, DatabaseError> {
        unimplemented!()
    }
    /// The row id of the last row inserted by this connection, or 0.
    pub fn last_insert_rowid(&self) -> i64 {
        0
    }
    /// How many rows the last statement that changed any changed.
    pub fn changes(&self) -> u64 {
        0
    }
}
