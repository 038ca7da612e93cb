//! The door that requests come in by: listeners, TLS, HTTP/1.1 and HTTP/2, limits, the routing table, drain.
//!
//! One thread per core, each with its own listening sockets (`SO_REUSEPORT`), its own current-thread executor and
//! its own upstream: a connection lives and dies on the core that accepted it, and nothing on the way of a request
//! takes a lock. What is behind a host name is nobody's business here: a line of the [`RoutingTable`] leads to a
//! target, and an [`Upstream`](gyre_model::Upstream) answers for it.
//!
//! The edge adds no header to an answer but those that HTTP itself needs (`date`, `content-length` or
//! `transfer-encoding`, and `connection: close` where the connection ends).

mod admission;
mod bind;
mod body;
mod connection;
mod framing;
mod handle;
mod host;
mod limits;
mod request;
mod routes;
mod socket;
mod tls;
mod wire;
mod worker;

pub use bind::{BindError, Bound, Edge, EdgeConfig, Forwarded};
pub use body::{RequestBody, SlowBody};
pub use handle::{Drained, EdgeHandle, EdgeStats};
pub use host::{Host, HostError};
pub use limits::{BodyRate, EdgeLimits, Http2Limits};
pub use routes::{Routes, RoutingTable};
pub use tls::{TlsConfig, TlsError};
