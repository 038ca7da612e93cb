//! Runs components. The only crate that knows Wasmtime.
//!
//! A [`Runtime`] has one engine, one linker and one cache of compiled code. An [`App`] is registered with it and
//! costs next to nothing until its first request, which loads it: compiled code is mapped, linked, and what can be
//! fixed once is fixed. Each request gets a fresh instance (one of WASI 0.3 may get one that others use or used), run inside
//! the task of the connection that asked.
//!
//! Nothing here is shared between apps on the way of a request, and nothing is handed to another thread.

mod app;
mod body;
mod cache;
mod call;
mod capability;
mod compile;
mod context;
mod detached;
mod engine;
mod event;
mod failure;
mod gate;
mod guest_log;
mod handler;
mod host;
mod idle;
mod limiter;
mod loaded;
mod outbound;
mod reuse;
mod run;
mod spans;
mod spec;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod trigger;

pub use app::{App, Stats};
pub use body::GuestBody;
pub use cache::CacheConfig;
pub use capability::{
    AzureCloud, AzureKeyVault, AzurePrincipal, DataGrants, LlmBackend, LlmProtocol,
    RemoteVariables, Variables, VariablesProvider, Vault,
};
pub use compile::{CompileError, CompileEvent, Compiler, compile_child_main};
pub use engine::{PoolSettings, Runtime, RuntimeConfig, RuntimeError};
pub use loaded::{LoadError, ProbeError};
pub use outbound::{
    ClientTls, ClientTlsError, ClientTlsSettings, ConnectionLimits, OutboundConfig,
};
pub use reuse::{Range, RangeError, ReuseConfig};
pub use spec::{AppSource, AppSpec, SelfOrigin};
pub use trigger::{SqsAccess, TriggerError, TriggerOptions, Triggers};
