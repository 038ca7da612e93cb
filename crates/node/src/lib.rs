//! Wires the rooms into something that runs: a node of the cloud ([`Node`]), or the small local one behind
//! `gyre up` ([`LocalNode`]). Implements the ports of `control`.
//!
//! Nothing is decided here that belongs in a room; what is here is who knows whom, and in which order things start and
//! end.

mod apps;
mod data;
mod events;
mod front;
mod local;
mod local_log;
mod lock;
mod node;
mod runtime_config;

pub use local::{LocalConfig, LocalError, LocalNode, Seed};
pub use local_log::{Follow, LocalLog, LocalLogConfig};
pub use lock::LockError;
pub use node::{Node, NodeConfig, StartError};
pub use runtime_config::{
    DatabaseKind, DotenvError, RuntimeFile, RuntimeFileError, RuntimeOptions, StoreKind,
    parse as parse_runtime_config, parse_dotenv, read_dotenv,
};
