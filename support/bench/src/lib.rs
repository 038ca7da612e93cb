//! Measures servers side by side: a load generator, a bare server as the limit of what can be measured, the peers, and
//! the comparison of them all on the same component and load.
//!
//! The load generator is a library, too: a test drives a hundred thousand requests through it and looks at each
//! answer ([`load::run`] with a check, [`load::Swap`] for what a deploy must never do).

mod app;
pub mod bars;
mod cases;
mod compare;
pub mod full;
pub mod hello;
mod histogram;
pub mod http;
mod latency;
pub mod load;
mod machine;
mod neighbour;
mod process;
pub mod quick;
pub mod ratios;
mod section;
mod servers;
mod start;
mod table;
mod tools;

pub use compare::{Comparison, Measured, Round, Settings};
pub use histogram::Histogram;
pub use machine::Machine;
pub use section::Section;
pub use servers::Missing;
pub use table::Table;
pub use tools::{Tools, Version};
