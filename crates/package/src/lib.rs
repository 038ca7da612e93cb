//! One way to load an application, whatever it came from, and the forms in which it travels.
//!
//! [`load`] reads a folder with a `spin.toml` or a bare component, [`artifact`] reads an OCI artifact whose blobs
//! are on disk; both yield the same [`Application`](gyre_model::Application). [`pack`] turns one back into an
//! artifact, [`compose`](mod@compose) makes one component of several, [`registry`] moves artifacts over the network, [`targets`] says where they could run, [`archive`] reads and writes the archives inside them, [`bindle`] is what Bindle packs.
//!
//! Bytes are verified against their digest before they get a name that anybody else looks at, and everything
//! a stranger can size is held to a constant of [`limits`].

pub mod archive;
pub mod artifact;
pub mod bindle;
pub mod compose;
mod digests;
pub mod limits;
pub mod load;
pub mod oci;
mod outbound;
pub mod pack;
pub mod registry;
pub mod targets;
#[cfg(test)]
mod testing;

/// Features that an application may require of its host and that Gyre has.
///
/// Anything else in `host_requirements` refuses to load.
pub const SUPPORTED_FEATURES: &[&str] = &["local_service_chaining", "middleware"];
