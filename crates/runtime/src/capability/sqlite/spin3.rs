//! `spin:sqlite@3.1.0`, and 3.0: what of it has no asynchronous functions.
//!
//! An interface with asynchronous functions cannot be linked where the component model's own concurrency is off. A
//! component that imports 3.1 for its other functions only is linked with 3.0 there.

use gyre_data::{QueryResult, Value};
use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use super::{Connection, Error, translate};
use crate::{
    capability::bindings::data::{spin as spin_sync, spin3},
    host::{HasHost, HostState},
};

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin_sync::sqlite3_0_0::sqlite::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

pub(crate) fn add_async_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin3::sqlite3_1_0::sqlite::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

/// The functions that both versions have.
macro_rules! connection {
    () => {
        impl spin::Host for HostState {}

        impl spin::HostConnection for HostState {
            fn open(
                &mut self,
                database: String,
            ) -> wasmtime::Result<Result<Resource<Connection>, spin::Error>> {
                answer(self.open_database(&database, |connection| connection)?)
            }

            async fn execute(
                &mut self,
                connection: Resource<Connection>,
                statement: String,
                parameters: Vec<spin::Value>,
            ) -> wasmtime::Result<Result<spin::QueryResult, spin::Error>> {
                answer(self.connection(&connection)?.execute(&statement, values(parameters)).await)
            }

            async fn last_insert_rowid(
                &mut self,
                connection: Resource<Connection>,
            ) -> wasmtime::Result<i64> {
                Ok(self.connection(&connection)?.last_insert_rowid().await)
            }

            async fn changes(&mut self, connection: Resource<Connection>) -> wasmtime::Result<u64> {
                Ok(self.connection(&connection)?.changes().await)
            }

            fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
                self.close_database(connection)
            }
        }
    };
}

mod without_async {
    use super::{
        Connection, Error, HostState, QueryResult, Resource, Value,
        spin_sync::sqlite3_0_0::sqlite as spin, translate,
    };

    translate!(spin);
    connection!();
}

mod with_async {
    use super::{
        Accessor, Connection, Error, FutureReader, HasHost, HostState, QueryResult, Resource,
        StreamReader, Value, spin3::sqlite3_1_0::sqlite as spin, translate,
    };

    translate!(spin);
    connection!();

    type Host3 = Accessor<HostState, HasHost>;

    /// What `execute-async` gives: the columns, the rows, and how it ended.
    type Rows = (Vec<String>, StreamReader<spin::RowResult>, FutureReader<Result<(), spin::Error>>);

    fn connection(host: &Host3, handle: &Resource<Connection>) -> wasmtime::Result<Connection> {
        host.with(|mut host| host.get().connection(handle))
    }

    impl spin::HostConnectionWithStore<HostState> for HasHost {
        async fn open_async(
            host: &Host3,
            database: String,
        ) -> wasmtime::Result<Result<Resource<Connection>, spin::Error>> {
            let opened = |host: &mut HostState| host.open_database(&database, |it| it);
            answer(host.with(|mut host| opened(host.get()))?)
        }

        async fn execute_async(
            host: &Host3,
            handle: Resource<Connection>,
            statement: String,
            parameters: Vec<spin::Value>,
        ) -> wasmtime::Result<Result<Rows, spin::Error>> {
            let connection = connection(host, &handle)?;
            let result = match connection.execute(&statement, values(parameters)).await {
                Ok(result) => result,
                Err(error) => return Ok(Err(error.into())),
            };
            host.with(|mut host| {
                let rows = StreamReader::new(&mut host, rows(result.rows))?;
                let end = FutureReader::new(&mut host, async { wasmtime::error::Ok(Ok(())) })?;
                Ok(Ok((result.columns, rows, end)))
            })
        }

        async fn last_insert_rowid_async(
            host: &Host3,
            handle: Resource<Connection>,
        ) -> wasmtime::Result<i64> {
            Ok(connection(host, &handle)?.last_insert_rowid().await)
        }

        async fn changes_async(
            host: &Host3,
            handle: Resource<Connection>,
        ) -> wasmtime::Result<u64> {
            Ok(connection(host, &handle)?.changes().await)
        }
    }
}
