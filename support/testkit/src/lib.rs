//! What the tests share: the real binary started as child processes with folders of their own, guests and
//! applications to give it, and clients that check what comes back.
//!
//! Everything here panics with what was seen when it is not what was expected: it is for tests alone.

#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test's output is for whoever reads why it failed"
)]

pub mod app;
pub mod browser;
pub mod client;
pub mod collector;
pub mod doubles;
pub mod gyre;
pub mod load;
pub mod process;
pub mod programs;
pub mod server;
pub mod services;
pub mod skip;
pub mod wait;

pub use app::TestApp;
pub use browser::{Browser, Page};
pub use client::{Answer, Site};
pub use collector::Collector;
pub use doubles::{CosmosDouble, DynamoDouble, HttpDouble, LibsqlDouble};
pub use gyre::{Gyre, Run, Up};
pub use load::{Load, Report};
pub use programs::{guest, sdk_app};
pub use server::{Server, ServerOptions};
pub use services::Service;
pub use skip::skip;
pub use wait::{PATIENCE, until};
