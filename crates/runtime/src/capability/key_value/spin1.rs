//! `fermyon:spin/key-value`, the first version: stores are numbers.

use gyre_data::KeyValueStore;
use wasmtime::component::{Linker, Resource, ResourceTableError};

use crate::{
    capability::{
        bindings::data::fermyon::spin::key_value::{self as spin, Error as Failure, Host},
        key_value::Error,
        traced::noted,
    },
    host::{HasHost, HostState},
};

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

/// A store that a guest knows by its number. A type of its own, so that no number leads to a handle of the later
/// interfaces.
struct Numbered(KeyValueStore);

/// What a guest gets, unless it traps.
type Answer<T> = wasmtime::Result<Result<T, Failure>>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::StoreTableFull => Self::StoreTableFull,
            Error::AccessDenied => Self::AccessDenied,
            Error::Other(text) => Self::Io(text),
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "it is what the generated traits return")]
fn answer<T>(result: Result<T, impl Into<Error>>) -> Answer<T> {
    Ok(result.map_err(|error| error.into().into()))
}

impl HostState {
    fn numbered(&self, number: u32) -> Result<&KeyValueStore, Failure> {
        let handle = Resource::<Numbered>::new_borrow(number);
        self.table.get(&handle).map(|Numbered(store)| store).map_err(|_| Failure::InvalidStore)
    }
}

impl Host for HostState {
    fn open(&mut self, name: String) -> Answer<u32> {
        let span = self.store_span("spin_key_value.open");
        let Some(store) = self.component.grants.stores.get(&name) else {
            let denied = noted(span, Err(Error::AccessDenied));
            return answer(denied);
        };
        match self.table.push(Numbered(store.clone())) {
            Ok(handle) => Ok(Ok(handle.rep())),
            Err(ResourceTableError::Full) => Ok(Err(Failure::StoreTableFull)),
            Err(error) => Err(error.into()),
        }
    }

    async fn get(&mut self, store: u32, key: String) -> Answer<Vec<u8>> {
        let span = self.store_span("spin_key_value.get");
        let value = match self.numbered(store) {
            Ok(store) => noted(span, store.get(&key).await),
            Err(error) => return Ok(Err(error)),
        };
        match value {
            Ok(Some(value)) => Ok(Ok(value)),
            Ok(None) => Ok(Err(Failure::NoSuchKey)),
            Err(error) => answer(Err(error)),
        }
    }

    async fn set(&mut self, store: u32, key: String, value: Vec<u8>) -> Answer<()> {
        let span = self.store_span("spin_key_value.set");
        match self.numbered(store) {
            Ok(store) => answer(noted(span, store.set(&key, value).await)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn delete(&mut self, store: u32, key: String) -> Answer<()> {
        let span = self.store_span("spin_key_value.delete");
        match self.numbered(store) {
            Ok(store) => answer(noted(span, store.delete(&key).await)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn exists(&mut self, store: u32, key: String) -> Answer<bool> {
        let span = self.store_span("spin_key_value.exists");
        match self.numbered(store) {
            Ok(store) => answer(noted(span, store.exists(&key).await)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn get_keys(&mut self, store: u32) -> Answer<Vec<String>> {
        let span = self.store_span("spin_key_value.get_keys");
        match self.numbered(store) {
            Ok(store) => answer(noted(span, store.keys().await)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Closing what is not open does nothing.
    fn close(&mut self, store: u32) -> wasmtime::Result<()> {
        let _ = self.table.delete(Resource::<Numbered>::new_own(store));
        Ok(())
    }
}
