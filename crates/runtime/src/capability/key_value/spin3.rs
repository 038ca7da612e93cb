//! `spin:key-value@3.0.0`: the functions of `fermyon:spin/key-value@2.0.0`, asynchronous.

use gyre_data::KeyValueStore;
use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use crate::{
    capability::{
        bindings::data::spin3::key_value::key_value::{
            self as spin, Host, HostStore, HostStoreWithStore,
        },
        key_value::Error,
    },
    host::{HasHost, HostState},
};

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
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
    fn drop(&mut self, store: Resource<KeyValueStore>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}

type Host3 = Accessor<HostState, HasHost>;

/// The store itself, so that nothing of the instance is held while it is waited for.
fn store(host: &Host3, handle: &Resource<KeyValueStore>) -> wasmtime::Result<KeyValueStore> {
    host.with(|mut host| host.get().store(handle).cloned())
}

impl HostStoreWithStore<HostState> for HasHost {
    async fn open(host: &Host3, label: String) -> Answer<Resource<KeyValueStore>> {
        answer(host.with(|mut host| host.get().open_store(&label))?)
    }

    async fn get(
        host: &Host3,
        handle: Resource<KeyValueStore>,
        key: String,
    ) -> Answer<Option<Vec<u8>>> {
        answer(store(host, &handle)?.get(&key).await)
    }

    async fn set(
        host: &Host3,
        handle: Resource<KeyValueStore>,
        key: String,
        value: Vec<u8>,
    ) -> Answer<()> {
        answer(store(host, &handle)?.set(&key, value).await)
    }

    async fn delete(host: &Host3, handle: Resource<KeyValueStore>, key: String) -> Answer<()> {
        answer(store(host, &handle)?.delete(&key).await)
    }

    async fn exists(host: &Host3, handle: Resource<KeyValueStore>, key: String) -> Answer<bool> {
        answer(store(host, &handle)?.exists(&key).await)
    }

    async fn get_keys(
        host: &Host3,
        handle: Resource<KeyValueStore>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), spin::Error>>)> {
        let keys = store(host, &handle)?.keys().await;
        let (keys, outcome) = match keys {
            Ok(keys) => (keys, Ok(())),
            Err(error) => (Vec::new(), Err(Error::from(error).into())),
        };
        host.with(|mut host| {
            let keys = StreamReader::new(&mut host, keys)?;
            Ok((keys, FutureReader::new(&mut host, async { wasmtime::error::Ok(outcome) })?))
        })
    }
}
