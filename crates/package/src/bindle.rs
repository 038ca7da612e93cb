//! Bindles: applications as Bindle packs them, an [`Invoice`] that lists parcels by digest.
//!
//! After the specification of Bindle 1.0.0 and, where they differ, after what its 0.8 and 0.9 releases do, since those are the
//! clients that exist. Everything here is pure but [`standalone`], which reads and writes folders, and [`client`].

pub mod client;
mod groups;
mod id;
mod invoice;
pub mod keys;
pub mod search;
mod sign;
pub mod standalone;
#[cfg(test)]
mod tests;
mod verify;

pub use groups::{GroupError, Selection};
pub use id::{BindleId, ParseIdError};
pub use invoice::{
    Conditions, Group, Invoice, InvoiceError, Label, Parcel, Role, SatisfiedBy, Signature,
    Specification,
};
pub use sign::{SecretKey, SignError};
pub use verify::{ParseStrategyError, Strategy, VerifyError};

/// The version that invoices name.
pub const VERSION: &str = "1.0.0";
/// The media type of everything but parcels, unless JSON is asked for.
pub const TOML_MEDIA_TYPE: &str = "application/toml";
