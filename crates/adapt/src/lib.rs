//! Makes components of what guests of other ages are: core modules of several kinds, and components of release
//! candidates.
//!
//! Pure: bytes in, bytes out. Used before a component is compiled and before it is composed with others.

mod asynchronous;
mod candidate;
mod module;

pub use asynchronous::is_async;

/// Why something cannot be made a component.
#[derive(Debug, thiserror::Error)]
pub enum AdaptError {
    /// A module that cannot be read.
    #[error("it is no valid WebAssembly: {0}")]
    Invalid(String),
    /// A module whose bindings speak an ABI that is not known.
    #[error("cannot adapt modules created with wit-bindgen version {0}")]
    Bindings(String),
    /// A module of a C compiler that lets memory be overwritten.
    #[error(
        "it was compiled by a Clang before 15.0.7 and does not allocate memory for its host, which would overwrite \
         its data: compile it anew with a later one"
    )]
    Clang,
    /// A module that imports what there is no adapter for, or otherwise cannot be a component.
    #[error("the module cannot be made a component: {0}")]
    Encode(String),
}

/// The first bytes of a core module.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// The component that is run for what an application has.
///
/// # Errors
/// It is of no kind that can be run here.
pub fn adapt(mut bytes: Vec<u8>) -> Result<Vec<u8>, AdaptError> {
    if bytes.starts_with(MODULE) {
        bytes = module::adapt(&bytes)?;
    }
    candidate::accept(&mut bytes);
    Ok(bytes)
}
