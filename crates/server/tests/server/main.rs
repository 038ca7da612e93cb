//! The HTTP faces over the real domain and store, with doubles for what a node does.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test"
)]

mod access;
mod bindle;
mod client;
mod http;
mod pages;
mod plugin;
mod push;
mod registry;
mod skopeo;
#[allow(dead_code, reason = "the domain's tests use the rest")]
#[path = "../../../control/tests/control/support.rs"]
mod support;
mod v1;
