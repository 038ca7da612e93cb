//! The domain with the real SQLite store and doubles for the node.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test"
)]

mod accounts;
mod data;
mod login;
mod registry;
mod releases;
mod support;
