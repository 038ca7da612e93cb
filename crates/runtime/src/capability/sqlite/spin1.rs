//! `fermyon:spin/sqlite`, the first version: connections are numbers.

use gyre_data::{QueryResult, Value};
use wasmtime::component::{Linker, Resource};

use super::{Connection, Error, translate};
use crate::{
    capability::bindings::data::fermyon::spin::sqlite as spin,
    host::{HasHost, HostState},
};

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

translate!(spin);

/// A connection that a guest knows by its number. A type of its own, so that no number leads to a handle of the
/// later interfaces.
struct Numbered(Connection);

impl spin::Host for HostState {
    fn open(&mut self, database: String) -> wasmtime::Result<Result<u32, spin::Error>> {
        let handle = self.open_database(&database, Numbered)?;
        answer(handle.map(|handle| handle.rep()))
    }

    async fn execute(
        &mut self,
        connection: u32,
        statement: String,
        parameters: Vec<spin::Value>,
    ) -> wasmtime::Result<Result<spin::QueryResult, spin::Error>> {
        let handle = Resource::<Numbered>::new_borrow(connection);
        let Ok(Numbered(connection)) = self.table.get(&handle) else {
            return Ok(Err(spin::Error::InvalidConnection));
        };
        answer(connection.execute(&statement, values(parameters)).await)
    }

    /// Closing what is not open does nothing.
    fn close(&mut self, connection: u32) -> wasmtime::Result<()> {
        if self.table.delete(Resource::<Numbered>::new_own(connection)).is_ok() {
            self.capabilities.databases -= 1;
        }
        Ok(())
    }
}
