//! What goes over the wire between a Gyre server and those who ask it: types, error codes, and a typed client.
//!
//! Two dialects live side by side: [`cloud`] is the Fermyon Cloud API as its plug-in speaks it, surprises
//! included; [`v1`] is Gyre's own. A type here is a promise to programs that nobody here wrote, so a field may
//! be added but neither renamed nor taken away.

mod client;
pub mod cloud;
mod problem;
pub mod v1;

pub use client::{Client, ClientOptions, DevicePoll, Error, LogFollower, LogQuery};
pub use problem::{CONTENT_TYPE as PROBLEM_CONTENT_TYPE, Problem, code};
