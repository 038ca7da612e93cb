//! The developer's loop as a library: making an application from a template, building its components.
//!
//! Prints nothing: what happens is told to the caller, who decides what a person sees.

pub mod build;
pub mod templates;
