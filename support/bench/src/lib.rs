//! Measures servers side by side: a load generator, a bare server as the limit of what can be measured, the peers, and
//! the comparison of them all on the same component and load.
//!
//! The load generator is a library, too: a test drives a hundred thousand requests through it and looks at each
//! answer ([`load::run`] with a check, [`load::Swap`] for what a deploy must never do).

pub mod hello;
mod histogram;
pub mod http;
pub mod load;
mod machine;
mod process;
mod servers;

pub use histogram::Histogram;
