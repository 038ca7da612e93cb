//! The edge as clients meet it: real sockets, well-behaved clients and hostile ones.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

mod drain;
mod hostile;
mod http2;
mod limits;
mod processes;
mod routing;
mod support;
mod tls;
