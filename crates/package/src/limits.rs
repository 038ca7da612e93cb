//! What an artifact may be at most. Each constant has a hostile test.

/// An OCI manifest, in bytes.
pub const MANIFEST_BYTES: u64 = 4 << 20;
/// Layers of a manifest.
pub const LAYERS: usize = 5_000;
/// Layers of a manifest that we write: beyond, files go into archives. 500 is the lowest maximum known of a registry.
pub const PACKED_LAYERS: usize = 500;
/// The locked app, in bytes.
pub const LOCKED_APP_BYTES: u64 = 16 << 20;
/// All blobs of an artifact together, as they travel, in bytes.
pub const ARTIFACT_BYTES: u64 = 256 << 20;
/// All files of an artifact together, laid out, in bytes.
pub const UNPACKED_BYTES: u64 = 1 << 30;
/// How many times larger than its compressed form an archive may be…
pub const RATIO: u64 = 100;
/// …once it is larger than this many bytes.
pub const RATIO_FREE_BYTES: u64 = 1 << 20;
/// Files of an artifact, and entries of an archive.
pub const ENTRIES: usize = 20_000;
/// A path inside an artifact, in bytes.
pub const PATH_BYTES: usize = 512;
/// The parts of such a path.
pub const PATH_DEPTH: usize = 32;
/// One component's code, in bytes.
pub const COMPONENT_BYTES: u64 = 64 << 20;
/// Content up to this size, in bytes, is written into the locked app itself.
pub const INLINE_BYTES: u64 = 128;
/// Dependencies of a component, middleware included.
pub const DEPENDENCIES: usize = 64;
/// A component's dependencies together, and the component that they are composed to, in bytes.
pub const COMPOSED_BYTES: u64 = 128 << 20;
/// A Bindle invoice, in bytes.
pub const INVOICE_BYTES: u64 = 4 << 20;
/// Parcels of an invoice.
pub const PARCELS: usize = 20_000;
/// Groups of an invoice.
pub const GROUPS: usize = 1_000;
/// Signatures of an invoice.
pub const SIGNATURES: usize = 64;
/// All parcels of a bindle together, in bytes.
pub const BINDLE_BYTES: u64 = 64 << 30;
/// A file of keys, in bytes.
pub const KEYS_BYTES: u64 = 1 << 20;
