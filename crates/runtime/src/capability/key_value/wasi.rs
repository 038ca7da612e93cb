//! `wasi:keyvalue@0.2.0-draft2`: store, batch and atomics.

use gyre_data::KeyValueStore;
use wasmtime::component::{Linker, Resource, ResourceTableError};

use crate::{
    capability::{
        bindings::wasi::keyvalue::{
            atomics::{self, CasError},
            batch,
            store::{self, KeyResponse},
        },
        key_value::{Cas, Error},
        traced::noted,
    },
    host::{HasHost, HostState},
};

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    store::add_to_linker::<HostState, HasHost>(linker, |host| host)?;
    batch::add_to_linker::<HostState, HasHost>(linker, |host| host)?;
    atomics::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

/// What a guest gets, unless it traps.
type Answer<T, E = store::Error> = wasmtime::Result<Result<T, E>>;

/// A key and its value, or none.
type Pair = (String, Option<Vec<u8>>);

impl From<Error> for store::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::StoreTableFull => Self::Other("store table full".to_owned()),
            Error::AccessDenied => Self::AccessDenied,
            Error::Other(text) => Self::Other(text),
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "it is what the generated traits return")]
fn answer<T>(result: Result<T, impl Into<Error>>) -> Answer<T> {
    Ok(result.map_err(|error| error.into().into()))
}

impl store::Host for HostState {
    fn open(&mut self, identifier: String) -> Answer<Resource<KeyValueStore>> {
        answer(self.open_store("wasi_key_value.open", &identifier)?)
    }
}

impl store::HostBucket for HostState {
    async fn get(
        &mut self,
        bucket: Resource<KeyValueStore>,
        key: String,
    ) -> Answer<Option<Vec<u8>>> {
        let span = self.store_span("wasi_key_value.get");
        answer(noted(span, self.store(&bucket)?.get(&key).await))
    }

    async fn set(
        &mut self,
        bucket: Resource<KeyValueStore>,
        key: String,
        value: Vec<u8>,
    ) -> Answer<()> {
        let span = self.store_span("wasi_key_value.set");
        answer(noted(span, self.store(&bucket)?.set(&key, value).await))
    }

    async fn delete(&mut self, bucket: Resource<KeyValueStore>, key: String) -> Answer<()> {
        let span = self.store_span("wasi_key_value.delete");
        answer(noted(span, self.store(&bucket)?.delete(&key).await))
    }

    async fn exists(&mut self, bucket: Resource<KeyValueStore>, key: String) -> Answer<bool> {
        let span = self.store_span("wasi_key_value.exists");
        answer(noted(span, self.store(&bucket)?.exists(&key).await))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<KeyValueStore>,
        cursor: Option<String>,
    ) -> Answer<KeyResponse> {
        if cursor.is_some() {
            return Ok(Err(store::Error::Other("list_keys: cursor not supported".to_owned())));
        }
        let span = self.store_span("wasi_key_value.list_keys");
        let keys = noted(span, self.store(&bucket)?.keys().await);
        answer(keys.map(|keys| KeyResponse { keys, cursor: None }))
    }

    fn drop(&mut self, bucket: Resource<KeyValueStore>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl batch::Host for HostState {
    /// Keys that have no value are left out, as they are by Spin's default store.
    async fn get_many(
        &mut self,
        bucket: Resource<KeyValueStore>,
        keys: Vec<String>,
    ) -> Answer<Vec<Pair>> {
        let span = self.store_span("spin_key_value.get_many");
        let mut pairs = noted(span, self.store(&bucket)?.get_many(keys).await);
        if let Ok(pairs) = &mut pairs {
            pairs.retain(|(_, value)| value.is_some());
        }
        answer(pairs)
    }

    async fn set_many(
        &mut self,
        bucket: Resource<KeyValueStore>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Answer<()> {
        let span = self.store_span("spin_key_value.set_many");
        answer(noted(span, self.store(&bucket)?.set_many(pairs).await))
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<KeyValueStore>,
        keys: Vec<String>,
    ) -> Answer<()> {
        let span = self.store_span("spin_key_value.delete_many");
        answer(noted(span, self.store(&bucket)?.delete_many(keys).await))
    }
}

impl HostState {
    fn push_cas(&mut self, cas: Cas) -> Answer<Resource<Cas>> {
        match self.table.push(cas) {
            Ok(handle) => Ok(Ok(handle)),
            Err(ResourceTableError::Full) => {
                Ok(Err(store::Error::Other("too many compare_and_swaps opened".to_owned())))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl atomics::HostCas for HostState {
    fn new(&mut self, bucket: Resource<KeyValueStore>, key: String) -> Answer<Resource<Cas>> {
        let _span = self.store_span("wasi_key_value_cas.new");
        let cas = Cas::new(self.store(&bucket)?.clone(), key);
        self.push_cas(cas)
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Answer<Option<Vec<u8>>> {
        let span = self.store_span("wasi_key_value_cas.current");
        answer(noted(span, self.table.get_mut(&cas)?.current().await))
    }

    fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl atomics::Host for HostState {
    async fn increment(
        &mut self,
        bucket: Resource<KeyValueStore>,
        key: String,
        delta: i64,
    ) -> Answer<i64> {
        let span = self.store_span("spin_key_value.increment");
        answer(noted(span, self.store(&bucket)?.increment(&key, delta).await))
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> Answer<(), CasError> {
        let mut cas = self.table.delete(cas)?;
        let failed = |error: Error| Ok(Err(CasError::StoreError(error.into())));
        let span = self.store_span("spin_key_value.swap");
        match noted(span, cas.swap(value).await) {
            Ok(true) => Ok(Ok(())),
            Ok(false) => {
                // The guest goes on with one that has seen the value which is there now.
                if let Err(error) = cas.current().await {
                    return failed(error);
                }
                let next = self.push_cas(cas)?;
                Ok(Err(next.map_or_else(CasError::StoreError, CasError::CasFailed)))
            }
            Err(error) => failed(error),
        }
    }
}
