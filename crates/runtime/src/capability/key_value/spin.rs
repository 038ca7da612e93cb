//! `fermyon:spin/key-value@2.0.0`.

use gyre_data::KeyValueStore;
use wasmtime::component::{Linker, Resource};

use crate::{
    capability::{
        bindings::fermyon::spin2_0_0::key_value::{self as spin, Host, HostStore},
        key_value::Error,
        traced::noted,
    },
    host::{HasHost, HostState},
};

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

/// What a guest gets, unless it traps.
type Answer<T> = wasmtime::Result<Result<T, spin::Error>>;

impl From<Error> for spin::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::StoreTableFull => Self::StoreTableFull,
            Error::AccessDenied => Self::AccessDenied,
            Error::Other(text) => Self::Other(text),
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "it is what the generated traits return")]
fn answer<T>(result: Result<T, impl Into<Error>>) -> Answer<T> {
    Ok(result.map_err(|error| error.into().into()))
}

impl Host for HostState {}

impl HostStore for HostState {
    fn open(&mut self, label: String) -> Answer<Resource<KeyValueStore>> {
        answer(self.open_store("spin_key_value.open", &label)?)
    }

    async fn get(
        &mut self,
        store: Resource<KeyValueStore>,
        key: String,
    ) -> Answer<Option<Vec<u8>>> {
        let span = self.store_span("spin_key_value.get");
        answer(noted(span, self.store(&store)?.get(&key).await))
    }

    async fn set(
        &mut self,
        store: Resource<KeyValueStore>,
        key: String,
        value: Vec<u8>,
    ) -> Answer<()> {
        let span = self.store_span("spin_key_value.set");
        answer(noted(span, self.store(&store)?.set(&key, value).await))
    }

    async fn delete(&mut self, store: Resource<KeyValueStore>, key: String) -> Answer<()> {
        let span = self.store_span("spin_key_value.delete");
        answer(noted(span, self.store(&store)?.delete(&key).await))
    }

    async fn exists(&mut self, store: Resource<KeyValueStore>, key: String) -> Answer<bool> {
        let span = self.store_span("spin_key_value.exists");
        answer(noted(span, self.store(&store)?.exists(&key).await))
    }

    async fn get_keys(&mut self, store: Resource<KeyValueStore>) -> Answer<Vec<String>> {
        let span = self.store_span("spin_key_value.get_keys");
        answer(noted(span, self.store(&store)?.keys().await))
    }

    fn drop(&mut self, store: Resource<KeyValueStore>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}
