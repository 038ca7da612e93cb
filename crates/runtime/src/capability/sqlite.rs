//! SQLite databases, on `gyre-data`.

use gyre_data::{DatabaseConnection, DatabaseError, QueryResult, Value};
use wasmtime::component::{Linker, Resource, ResourceTableError};

use crate::{
    capability::bindings::fermyon::spin2_0_0::sqlite as spin,
    host::{HasHost, HostState},
};

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin::add_to_linker::<HostState, HasHost>(linker, |host| host)
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

impl From<DatabaseError> for Error {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Full => Self::DatabaseFull,
            other => Self::Io(other.to_string()),
        }
    }
}

impl HostState {
    fn open_database(
        &mut self,
        label: &str,
    ) -> wasmtime::Result<Result<Resource<DatabaseConnection>, Error>> {
        let Some(database) = self.component.grants.databases.get(label) else {
            return Ok(Err(Error::AccessDenied));
        };
        let too_many = || Ok(Err(Error::Io("too many connections opened".to_owned())));
        if self.capabilities.databases >= self.app.limits.database_connections {
            return too_many();
        }
        match self.table.push(database.connect()) {
            Ok(handle) => {
                self.capabilities.databases += 1;
                Ok(Ok(handle))
            }
            Err(ResourceTableError::Full) => too_many(),
            Err(error) => Err(error.into()),
        }
    }
}

impl From<Error> for spin::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::AccessDenied => Self::AccessDenied,
            Error::DatabaseFull => Self::DatabaseFull,
            Error::Io(text) => Self::Io(text),
        }
    }
}

impl From<spin::Value> for Value {
    fn from(value: spin::Value) -> Self {
        match value {
            spin::Value::Integer(value) => Self::Integer(value),
            spin::Value::Real(value) => Self::Real(value),
            spin::Value::Text(value) => Self::Text(value),
            spin::Value::Blob(value) => Self::Blob(value),
            spin::Value::Null => Self::Null,
        }
    }
}

impl From<Value> for spin::Value {
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

impl From<QueryResult> for spin::QueryResult {
    fn from(result: QueryResult) -> Self {
        let row =
            |row: Vec<Value>| spin::RowResult { values: row.into_iter().map(Into::into).collect() };
        Self { columns: result.columns, rows: result.rows.into_iter().map(row).collect() }
    }
}

impl spin::Host for HostState {}

impl spin::HostConnection for HostState {
    fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<Resource<DatabaseConnection>, spin::Error>> {
        Ok(self.open_database(&database)?.map_err(Into::into))
    }

    async fn execute(
        &mut self,
        connection: Resource<DatabaseConnection>,
        statement: String,
        parameters: Vec<spin::Value>,
    ) -> wasmtime::Result<Result<spin::QueryResult, spin::Error>> {
        let connection = self.table.get_mut(&connection)?;
        let parameters = parameters.into_iter().map(Into::into).collect();
        let result = connection.execute(&statement, parameters).await;
        Ok(result.map(Into::into).map_err(|error| Error::from(error).into()))
    }

    fn drop(&mut self, connection: Resource<DatabaseConnection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        self.capabilities.databases -= 1;
        Ok(())
    }
}
