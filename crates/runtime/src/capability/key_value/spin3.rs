//! `spin:key-value@3.0.0`: the functions of `fermyon:spin/key-value@2.0.0`, asynchronous.

use gyre_data::KeyValueStore;
use gyre_telemetry::Span;
use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use crate::{
    capability::{
        bindings::data::spin3::key_value::key_value::{
            self as spin, Host, HostStore, HostStoreWithStore,
        },
        key_value::Error,
        traced::noted,
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
fn store(
    host: &Host3,
    name: &'static str,
    handle: &Resource<KeyValueStore>,
) -> wasmtime::Result<(Span, KeyValueStore)> {
    host.with(|mut host| {
        let host = host.get();
        Ok((host.store_span(name), host.store(handle)?.clone()))
    })
}

impl HostStoreWithStore<HostState> for HasHost {
    async fn open(host: &Host3, label: String) -> Answer<Resource<KeyValueStore>> {
        answer(host.with(|mut host| host.get().open_store("spin_key_value.open", &label))?)
    }

    async fn get(
        host: &Host3,
        handle: Resource<KeyValueStore>,
        key: String,
    ) -> Answer<Option<Vec<u8>>> {
        let (span, store) = store(host, "spin_key_value.get", &handle)?;
        answer(noted(span, store.get(&key).await))
    }

    async fn set(
        host: &Host3,
        handle: Resource<KeyValueStore>,
        key: String,
        value: Vec<u8>,
    ) -> Answer<()> {
        let (span, store) = store(host, "spin_key_value.set", &handle)?;
        answer(noted(span, store.set(&key, value).await))
    }

    async fn delete(host: &Host3, handle: Resource<KeyValueStore>, key: String) -> Answer<()> {
        let (span, store) = store(host, "spin_key_value.delete", &handle)?;
        answer(noted(span, store.delete(&key).await))
    }

    async fn exists(host: &Host3, handle: Resource<KeyValueStore>, key: String) -> Answer<bool> {
        let (span, store) = store(host, "spin_key_value.exists", &handle)?;
        answer(noted(span, store.exists(&key).await))
    }

    async fn get_keys(
        host: &Host3,
        handle: Resource<KeyValueStore>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), spin::Error>>)> {
        let (span, store) = store(host, "spin_key_value.get_keys", &handle)?;
        let keys = noted(span, store.keys().await);
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
