//! SQLite databases, on `gyre-data`.
//!
//! What is done here is the newest shape of the interface; the modules below translate for its versions.

mod spin1;
mod spin2;
mod spin3;

use std::sync::Arc;

use gyre_data::{DatabaseConnection, DatabaseError, QueryResult, RowStream, Value};
use gyre_telemetry::Blame;
use tokio::sync::Mutex;
use wasmtime::component::{Linker, Resource, ResourceTableError};

use super::traced::{Blamed, InstanceTrace, noted};
use crate::host::HostState;

pub(crate) use spin3::add_async_to_linker;

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin1::add_to_linker(linker)?;
    spin2::add_to_linker(linker)?;
    spin3::add_to_linker(linker)
}

/// An open connection. Statements of one connection that are started at once run one after the other.
#[derive(Clone)]
#[allow(unreachable_pub, reason = "the generated code re-exports it")]
pub struct Connection {
    connection: Arc<Mutex<DatabaseConnection>>,
    trace: InstanceTrace,
}

impl Connection {
    async fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<QueryResult, Error> {
        let span = self.trace.statement("spin_sqlite.execute", "sqlite", "query", statement);
        let result = self.connection.lock().await.execute(statement, parameters).await;
        noted(span, result.map_err(Error::from))
    }

    async fn stream(&self, statement: &str, parameters: Vec<Value>) -> Result<RowStream, Error> {
        let span = self.trace.database("spin_sqlite.execute_async", "sqlite");
        let result = self.connection.lock().await.stream(statement, parameters).await;
        noted(span, result.map_err(Error::from))
    }

    async fn last_insert_rowid(&self) -> i64 {
        self.connection.lock().await.last_insert_rowid()
    }

    async fn changes(&self) -> u64 {
        self.connection.lock().await.changes()
    }
}

/// What a guest is told when an operation fails.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Error {
    /// The component was not given that database.
    AccessDenied,
    /// The database is full.
    DatabaseFull,
    /// Anything else.
    Io(String),
}

impl Blamed for Error {
    fn blame(&self) -> Blame {
        match self {
            Self::AccessDenied => Blame::Guest,
            Self::DatabaseFull | Self::Io(_) => Blame::Host,
        }
    }
}

impl From<DatabaseError> for Error {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Full => Self::DatabaseFull,
            other => Self::Io(other.to_string()),
        }
    }
}

impl HostState {
    /// Opens the component's database of that label, as a handle that `wrap` makes of it.
    fn open_database<T: Send + 'static>(
        &mut self,
        label: &str,
        wrap: impl FnOnce(Connection) -> T,
    ) -> wasmtime::Result<Result<Resource<T>, Error>> {
        let span = self.capabilities.trace().database("spin_sqlite.open", "sqlite");
        Ok(noted(span, self.open_granted_database(label, wrap)?))
    }

    fn open_granted_database<T: Send + 'static>(
        &mut self,
        label: &str,
        wrap: impl FnOnce(Connection) -> T,
    ) -> wasmtime::Result<Result<Resource<T>, Error>> {
        let Some(database) = self.component.grants.databases.get(label) else {
            return Ok(Err(Error::AccessDenied));
        };
        let too_many = || Ok(Err(Error::Io("too many connections opened".to_owned())));
        if self.capabilities.databases >= self.app.limits.database_connections {
            return too_many();
        }
        let connection = Arc::new(Mutex::new(database.connect()));
        let trace = self.capabilities.trace().clone();
        match self.table.push(wrap(Connection { connection, trace })) {
            Ok(handle) => {
                self.capabilities.databases += 1;
                Ok(Ok(handle))
            }
            Err(ResourceTableError::Full) => too_many(),
            Err(error) => Err(error.into()),
        }
    }

    fn close_database(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        self.capabilities.databases -= 1;
        Ok(())
    }

    /// An open connection. A guest that invents a handle is trapped.
    fn connection(&self, handle: &Resource<Connection>) -> wasmtime::Result<Connection> {
        Ok(self.table.get(handle)?.clone())
    }
}

/// The types of one version of the interface, from and to those of this module.
macro_rules! translate {
    ($spin:ident) => {
        impl From<Error> for $spin::Error {
            fn from(error: Error) -> Self {
                match error {
                    Error::AccessDenied => Self::AccessDenied,
                    Error::DatabaseFull => Self::DatabaseFull,
                    Error::Io(text) => Self::Io(text),
                }
            }
        }

        impl From<$spin::Value> for Value {
            fn from(value: $spin::Value) -> Self {
                match value {
                    $spin::Value::Integer(value) => Self::Integer(value),
                    $spin::Value::Real(value) => Self::Real(value),
                    $spin::Value::Text(value) => Self::Text(value),
                    $spin::Value::Blob(value) => Self::Blob(value),
                    $spin::Value::Null => Self::Null,
                }
            }
        }

        impl From<Value> for $spin::Value {
            fn from(value: Value) -> Self {
                match value {
                    Value::Integer(value) => Self::Integer(value),
                    Value::Real(value) => Self::Real(value),
                    Value::Text(value) => Self::Text(value),
                    Value::Blob(value) => Self::Blob(value),
                    Value::Null => Self::Null,
                }
            }
        }

        impl From<QueryResult> for $spin::QueryResult {
            fn from(result: QueryResult) -> Self {
                Self { columns: result.columns, rows: rows(result.rows) }
            }
        }

        fn rows(rows: Vec<Vec<Value>>) -> Vec<$spin::RowResult> {
            let row = |row: Vec<Value>| $spin::RowResult {
                values: row.into_iter().map(Into::into).collect(),
            };
            rows.into_iter().map(row).collect()
        }

        #[allow(clippy::unnecessary_wraps, reason = "it is what the generated traits return")]
        fn answer<T, U: From<T>>(
            result: Result<T, Error>,
        ) -> wasmtime::Result<Result<U, $spin::Error>> {
            Ok(result.map(Into::into).map_err(Into::into))
        }

        fn values(parameters: Vec<$spin::Value>) -> Vec<Value> {
            parameters.into_iter().map(Into::into).collect()
        }
    };
}
use translate;
