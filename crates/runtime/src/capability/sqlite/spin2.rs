//! `fermyon:spin/sqlite@2.0.0`.

use gyre_data::{QueryResult, Value};
use wasmtime::component::{Linker, Resource};

use super::{Connection, Error, translate};
use crate::{
    capability::bindings::fermyon::spin2_0_0::sqlite as spin,
    host::{HasHost, HostState},
};

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

translate!(spin);

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

    fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.close_database(connection)
    }
}
