//! Databases: SQLite files, or those of a libSQL server, with as many connections as guests have open at once.

mod connection;
mod functions;
mod guard;
mod libsql;
mod local;
mod policy;
mod stream;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use gyre_model::Secret;

use crate::{DatabaseError, DatabaseLimits, Location, open_files::OpenFiles};
use libsql::LibsqlConnection;
use local::{File, LocalConnection};

pub use stream::RowStream;

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
#[derive(Clone)]
pub struct Databases(Arc<Inner>);

struct Inner {
    open_files: Arc<OpenFiles>,
    files: Mutex<HashMap<Location, Weak<File>>>,
}

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Databases")
    }
}

impl Default for Databases {
    fn default() -> Self {
        Self::new()
    }
}

impl Databases {
    /// With nothing open.
    pub fn new() -> Self {
        Self(Arc::new(Inner { open_files: OpenFiles::shared().clone(), files: Mutex::default() }))
    }

    /// The database at `location`. Nothing is opened or made before a connection of it is used, so this never fails.
    pub fn open(&self, location: &Location, limits: DatabaseLimits) -> Database {
        let mut files = self.0.files.lock().unwrap_or_else(PoisonError::into_inner);
        let known = files.get(location).and_then(Weak::upgrade);
        let file = known.filter(|file| !file.is_closed()).unwrap_or_else(|| {
            let file = File::new(location.clone(), self.0.open_files.clone());
            if *location != Location::Memory {
                if files.len() == files.capacity() {
                    files.retain(|_, file| file.strong_count() > 0);
                }
                files.insert(location.clone(), Arc::downgrade(&file));
            }
            file
        });
        Database { engine: Engine::Local(file), limits }
    }

    /// Closes all connections that are not in use, and those in use when they are let go; new statements fail with
    /// [`DatabaseError::Closed`]. What was committed is then in the files proper.
    pub async fn close(&self) {
        let files: Vec<_> = {
            let mut files = self.0.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.drain().filter_map(|(_, file)| file.upgrade()).collect()
        };
        for file in files {
            file.close().await;
        }
    }
}

/// One database. Cheap to clone. Connections of a file are kept for the next guest for as long as there is a handle:
/// keep one.
#[derive(Debug, Clone)]
pub struct Database {
    engine: Engine,
    limits: DatabaseLimits,
}

/// What keeps a database.
#[derive(Debug, Clone)]
enum Engine {
    Local(Arc<File>),
    Libsql(Arc<libsql::Server>),
}

impl Database {
    /// The database of the libSQL server at `url` (`http:` or `https:`), by Hrana over HTTP, version 3. Nothing is
    /// connected to before it is used. Of the limits, the server is held to those of statements, values and results;
    /// how large the database may be is its own affair.
    ///
    /// # Errors
    /// The URL is not one of HTTP.
    pub fn libsql(
        url: &str,
        token: Secret<String>,
        limits: DatabaseLimits,
    ) -> Result<Self, DatabaseError> {
        let server = libsql::Server::new(url, token).map_err(DatabaseError::Other)?;
        Ok(Self { engine: Engine::Libsql(server), limits })
    }

    /// A connection: its own transaction, temporary tables and last row id. A database in memory is each
    /// connection's own. Opened when first used.
    pub fn connect(&self) -> DatabaseConnection {
        let limits = self.limits;
        let engine = match &self.engine {
            Engine::Local(file) => {
                ConnectionEngine::Local(LocalConnection::new(file.clone(), limits))
            }
            Engine::Libsql(server) => {
                ConnectionEngine::Libsql(LibsqlConnection::new(server.clone(), limits))
            }
        };
        DatabaseConnection { engine, limits }
    }
}

/// A connection of a database, as one `open` of a guest gets it. Dropping it rolls an open transaction back.
#[derive(Debug)]
pub struct DatabaseConnection {
    engine: ConnectionEngine,
    limits: DatabaseLimits,
}

#[derive(Debug)]
enum ConnectionEngine {
    Local(LocalConnection),
    Libsql(LibsqlConnection),
}

/// Calls the function of whatever engine it is.
macro_rules! engine {
    ($self:ident, $it:ident => $call:expr) => {
        match &$self.engine {
            ConnectionEngine::Local($it) => $call,
            ConnectionEngine::Libsql($it) => $call,
        }
    };
    (mut $self:ident, $it:ident => $call:expr) => {
        match &mut $self.engine {
            ConnectionEngine::Local($it) => $call,
            ConnectionEngine::Libsql($it) => $call,
        }
    };
}

impl DatabaseConnection {
    /// Runs one statement with positional parameters. What it committed is durable when this returns, as far as a
    /// server says so.
    ///
    /// If the future is dropped, the statement is interrupted, and its transaction rolled back. On a server it may run
    /// to its end, and be committed, if it is in no transaction.
    ///
    /// # Errors
    /// The statement is wrong, not allowed, too slow, returns too much, or finds the database full or damaged; or the
    /// server cannot be reached or refuses.
    pub async fn execute(
        &mut self,
        sql: &str,
        parameters: Vec<Value>,
    ) -> Result<QueryResult, DatabaseError> {
        self.check_length(sql)?;
        engine!(mut self, it => it.execute(sql, parameters).await)
    }

    /// As [`execute`](Self::execute), with rows that come as they are taken. Of a query of a file, they may be more
    /// than one result may have; this connection's other statements wait then until they are taken or the stream is
    /// dropped. Those of a server are whole results.
    ///
    /// # Errors
    /// As those of [`execute`](Self::execute); what goes wrong after the first row is an error of the stream.
    pub async fn stream(
        &mut self,
        sql: &str,
        parameters: Vec<Value>,
    ) -> Result<RowStream, DatabaseError> {
        self.check_length(sql)?;
        match &mut self.engine {
            ConnectionEngine::Local(it) => it.stream(sql, parameters).await,
            ConnectionEngine::Libsql(it) => Ok(it.execute(sql, parameters).await?.into()),
        }
    }

    /// Executes statements one after the other, as a script; what they return is forgotten. Those before one that
    /// fails have taken effect.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn execute_batch(&mut self, sql: &str) -> Result<(), DatabaseError> {
        engine!(mut self, it => it.execute_batch(sql).await)
    }

    fn check_length(&self, sql: &str) -> Result<(), DatabaseError> {
        let limit = self.limits.statement_bytes;
        if sql.len() > limit {
            return Err(DatabaseError::Other(format!("statement exceeds limit of {limit} bytes")));
        }
        Ok(())
    }

    /// The row id of the last row inserted by this connection, or 0.
    pub fn last_insert_rowid(&self) -> i64 {
        engine!(self, it => it.last_insert_rowid())
    }

    /// How many rows the last statement that changed any changed.
    pub fn changes(&self) -> u64 {
        engine!(self, it => it.changes())
    }
}

/// Whether it may be a query: `SELECT`, `VALUES` or `WITH` comes first. SQLite has the last word.
fn reads_only_by_its_look(sql: &str) -> bool {
    let sql = sql.trim_start().as_bytes();
    [&b"select"[..], b"values", b"with"].iter().any(|word| {
        sql.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
            && sql.get(word.len()).is_none_or(|next| !next.is_ascii_alphanumeric() && *next != b'_')
    })
}

#[cfg(test)]
mod tests;
