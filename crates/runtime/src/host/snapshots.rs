//! The two release candidates of WASI 0.2 that guests were built for: 0.2.0-rc-2023-10-18 and 0.2.0-rc-2023-11-10.
//!
//! Nearly all that they have is in 0.2 too, in the same shape. So their functions are those of 0.2, linked by the
//! older names, on the same resources: what a policy guards there it guards here. Only what has another shape is
//! translated, in the module of its package. Types are compared when a component is linked, by structure.

#![allow(clippy::needless_pass_by_value, reason = "the engine gives handles away")]
#![allow(
    clippy::unnecessary_wraps,
    reason = "functions that cannot fail are linked like those that can"
)]

mod cli;
mod clocks;
mod filesystem;
mod http;
mod io;
mod random;
mod sockets;
mod udp;

use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceTable, ResourceType};
use wasmtime_wasi::{
    TrappableError,
    p2::{StreamError, bindings::io::streams},
};
use wasmtime_wasi_http::p2::{HeaderError, HttpError, bindings::http::types};

use super::HostState;

/// Links the interfaces of both.
pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    for snapshot in [Snapshot::Rc20231018, Snapshot::Rc20231110] {
        io::add_to_linker(linker, snapshot)?;
        cli::add_to_linker(linker, snapshot)?;
        clocks::add_to_linker(linker, snapshot)?;
        random::add_to_linker(linker, snapshot)?;
        filesystem::add_to_linker(linker, snapshot)?;
        sockets::add_to_linker(linker, snapshot)?;
        http::add_to_linker(linker, snapshot)?;
    }
    Ok(())
}

/// A release candidate of WASI 0.2, by its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Snapshot {
    /// 0.2.0-rc-2023-10-18: Spin 2.0.
    Rc20231018,
    /// 0.2.0-rc-2023-11-10: Spin 2.1.
    Rc20231110,
}

impl Snapshot {
    /// The version of its packages.
    pub(crate) const fn version(self) -> &'static str {
        match self {
            Self::Rc20231018 => "0.2.0-rc-2023-10-18",
            Self::Rc20231110 => "0.2.0-rc-2023-11-10",
        }
    }

    fn instance<'a>(
        self,
        linker: &'a mut Linker<HostState>,
        interface: &str,
    ) -> wasmtime::Result<LinkerInstance<'a, HostState>> {
        linker.instance(&format!("wasi:{interface}@{}", self.version()))
    }
}

/// Links functions of an interface that are methods of one of 0.2's traits. They have the method's name, after a
/// prefix, or the one that is given.
macro_rules! same {
    (
        $instance:ident, $trait:path, $view:expr, $prefix:literal:
        $($method:ident($($argument:ident),*) $(as $name:literal)?),+ $(,)?
    ) => {{$(
        $instance.func_wrap(
            &$crate::host::snapshots::name($prefix, stringify!($method), &[$($name)?]),
            |mut store: ::wasmtime::StoreContextMut<'_, $crate::host::HostState>, ($($argument,)*)| {
                let state = store.data_mut();
                let result = <_ as $trait>::$method(&mut $view(state), $($argument),*);
                Ok(($crate::host::snapshots::Answer::answer(result, state)?,))
            },
        )?;
    )+}};
}

/// Like [`same`], for methods that may wait.
macro_rules! same_async {
    (
        $instance:ident, $trait:path, $view:expr, $prefix:literal:
        $($method:ident($($argument:ident),*) $(as $name:literal)?),+ $(,)?
    ) => {{$(
        $instance.func_wrap_async(
            &$crate::host::snapshots::name($prefix, stringify!($method), &[$($name)?]),
            |mut store: ::wasmtime::StoreContextMut<'_, $crate::host::HostState>, ($($argument,)*)| {
                Box::new(async move {
                    let state = store.data_mut();
                    let result = <_ as $trait>::$method(&mut $view(state), $($argument),*).await;
                    Ok(($crate::host::snapshots::Answer::answer(result, state)?,))
                })
            },
        )?;
    )+}};
}

/// Links functions of ours, on the host's state.
macro_rules! ours {
    ($instance:ident: $($name:literal = $function:path => ($($argument:ident),*)),+ $(,)?) => {{$(
        $instance.func_wrap(
            $name,
            |mut store: ::wasmtime::StoreContextMut<'_, $crate::host::HostState>, ($($argument,)*)| {
                let state = store.data_mut();
                let result = $function(state, $($argument),*);
                Ok(($crate::host::snapshots::Answer::answer(result, state)?,))
            },
        )?;
    )+}};
}

/// Like [`ours`], for functions that may wait.
macro_rules! ours_async {
    ($instance:ident: $($name:literal = $function:path => ($($argument:ident),*)),+ $(,)?) => {{$(
        $instance.func_wrap_async(
            $name,
            |mut store: ::wasmtime::StoreContextMut<'_, $crate::host::HostState>, ($($argument,)*)| {
                Box::new(async move {
                    let state = store.data_mut();
                    let result = $function(state, $($argument),*).await;
                    Ok(($crate::host::snapshots::Answer::answer(result, state)?,))
                })
            },
        )?;
    )+}};
}

use {ours, ours_async, same, same_async};

/// The name of a function.
fn name(prefix: &str, method: &str, given: &[&str]) -> String {
    match given {
        [] => format!("{prefix}{}", method.replace('_', "-")),
        [given, ..] => format!("{prefix}{given}"),
    }
}

/// What a method of 0.2's traits gives, as what the guest gets, or a trap.
trait Answer {
    /// What the guest gets.
    type Value;

    fn answer(self, state: &mut HostState) -> wasmtime::Result<Self::Value>;
}

impl<T> Answer for wasmtime::Result<T> {
    type Value = T;

    fn answer(self, _: &mut HostState) -> wasmtime::Result<T> {
        self
    }
}

/// Of files and sockets.
impl<T, E: std::error::Error + Send + Sync + 'static> Answer for Result<T, TrappableError<E>> {
    type Value = Result<T, E>;

    fn answer(self, _: &mut HostState) -> wasmtime::Result<Self::Value> {
        self.map_or_else(|error| error.downcast().map(Err), |value| Ok(Ok(value)))
    }
}

impl<T> Answer for Result<T, HttpError> {
    type Value = Result<T, types::ErrorCode>;

    fn answer(self, _: &mut HostState) -> wasmtime::Result<Self::Value> {
        self.map_or_else(|error| error.downcast().map(Err), |value| Ok(Ok(value)))
    }
}

impl<T> Answer for Result<T, HeaderError> {
    type Value = Result<T, types::HeaderError>;

    fn answer(self, _: &mut HostState) -> wasmtime::Result<Self::Value> {
        self.map_or_else(|error| error.downcast().map(Err), |value| Ok(Ok(value)))
    }
}

impl<T> Answer for Result<T, StreamError> {
    type Value = Result<T, streams::StreamError>;

    fn answer(self, state: &mut HostState) -> wasmtime::Result<Self::Value> {
        match self {
            Ok(value) => Ok(Ok(value)),
            Err(error) => streams::Host::convert_stream_error(&mut state.table, error).map(Err),
        }
    }
}

/// Links a resource.
fn resource<T: 'static>(
    instance: &mut LinkerInstance<'_, HostState>,
    name: &str,
    drop: fn(&mut HostState, Resource<T>) -> wasmtime::Result<()>,
) -> wasmtime::Result<()> {
    instance.resource(name, ResourceType::host::<T>(), move |mut store, rep| {
        drop(store.data_mut(), Resource::new_own(rep))
    })
}

fn table(state: &mut HostState) -> &mut ResourceTable {
    &mut state.table
}

fn this(state: &mut HostState) -> &mut HostState {
    state
}

/// Another handle to what a handle is of, for as long as a function runs.
fn borrow<T: 'static>(handle: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(handle.rep())
}
