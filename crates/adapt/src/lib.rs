//! Makes components of what guests of other ages are: core modules of several kinds, and components of release
//! candidates.
//!
//! Pure: bytes in, bytes out. Used before a component is compiled and before it is composed with others.

mod asynchronous;
mod candidate;

pub use asynchronous::is_async;

/// Why something cannot be made a component.
#[derive(Debug, thiserror::Error)]
pub enum AdaptError {
    /// A core module of a kind that is not known.
    #[error(
        "it is a core WebAssembly module; this version of Gyre runs components (build for wasm32-wasip2, or use \
         `wasm-tools component new`)"
    )]
    Module,
}

/// The component that is run for what an application has.
///
/// # Errors
/// It is of no kind that can be run here.
pub fn adapt(mut bytes: Vec<u8>) -> Result<Vec<u8>, AdaptError> {
    if bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Err(AdaptError::Module);
    }
    candidate::accept(&mut bytes);
    Ok(bytes)
}
