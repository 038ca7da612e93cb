//! Key-value stores, on `gyre-data`.
//!
//! What is done here is the newest shape of the interface; `spin` and `wasi` translate. Handles are in the
//! instance's resource table, and so under its limit.

mod spin;
mod spin1;
mod spin3;
mod wasi;

use gyre_data::{KeyValueError, KeyValueStore};
use gyre_telemetry::{Blame, Span};
use wasmtime::component::{Linker, Resource, ResourceTableError};

use super::traced::{Blamed, noted};
use crate::host::HostState;

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin1::add_to_linker(linker)?;
    spin::add_to_linker(linker)?;
    wasi::add_to_linker(linker)
}

pub(crate) use spin3::add_to_linker as add_async_to_linker;

/// What a guest is told when an operation fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    /// Too many stores are open.
    StoreTableFull,
    /// The component was not given that store.
    AccessDenied,
    /// Anything else.
    Other(String),
}

impl Blamed for Error {
    fn blame(&self) -> Blame {
        match self {
            Self::StoreTableFull | Self::AccessDenied => Blame::Guest,
            Self::Other(_) => Blame::Host,
        }
    }
}

impl Blamed for KeyValueError {}

impl From<KeyValueError> for Error {
    fn from(error: KeyValueError) -> Self {
        Self::Other(error.to_string())
    }
}

/// A compare-and-swap under way.
#[allow(unreachable_pub, reason = "the generated code re-exports it")]
pub struct Cas {
    store: KeyValueStore,
    key: String,
    seen: Seen,
}

/// What a compare-and-swap compares with.
#[derive(Default)]
enum Seen {
    /// Nothing: the guest did not ask for the current value, so that any may be replaced.
    #[default]
    Any,
    /// The value, or that there was none.
    Value(Option<Vec<u8>>),
}

impl Cas {
    fn new(store: KeyValueStore, key: String) -> Self {
        Self { store, key, seen: Seen::Any }
    }

    async fn current(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let value = self.store.get(&self.key).await?;
        self.seen = Seen::Value(value.clone());
        Ok(value)
    }

    /// Whether the value was still the one seen, and is now `new`.
    async fn swap(&mut self, new: Vec<u8>) -> Result<bool, Error> {
        match std::mem::take(&mut self.seen) {
            Seen::Any => {
                self.store.set(&self.key, new).await?;
                Ok(true)
            }
            Seen::Value(expected) => {
                Ok(self.store.compare_and_swap(&self.key, expected, new).await?)
            }
        }
    }
}

impl HostState {
    /// The span of what is asked of a store.
    fn store_span(&self, name: &'static str) -> Span {
        self.capabilities.trace().client(name)
    }

    /// Opens the component's store of that label.
    fn open_store(
        &mut self,
        name: &'static str,
        label: &str,
    ) -> wasmtime::Result<Result<Resource<KeyValueStore>, Error>> {
        let span = self.store_span(name);
        Ok(noted(span, self.open_granted_store(label)?))
    }

    fn open_granted_store(
        &mut self,
        label: &str,
    ) -> wasmtime::Result<Result<Resource<KeyValueStore>, Error>> {
        let Some(store) = self.component.grants.stores.get(label) else {
            return Ok(Err(Error::AccessDenied));
        };
        match self.table.push(store.clone()) {
            Ok(handle) => Ok(Ok(handle)),
            Err(ResourceTableError::Full) => Ok(Err(Error::StoreTableFull)),
            Err(error) => Err(error.into()),
        }
    }

    /// An open store. A guest that invents a handle is trapped.
    fn store(&self, handle: &Resource<KeyValueStore>) -> wasmtime::Result<&KeyValueStore> {
        Ok(self.table.get(handle)?)
    }
}
