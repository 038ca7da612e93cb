//! Bindles: applications as Bindle packs them, an [`Invoice`] that lists parcels by digest.
//!
//! After the specification of Bindle 1.0.0 and, where they differ, after what its 0.8 and 0.9 releases do, since those are the
//! clients that exist. Everything here is pure but [`standalone`] and [`application`], which read and write folders, and [`client`].

pub mod application;
pub mod client;
mod groups;
mod id;
mod invoice;
pub mod keys;
pub mod login;
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

/// The media types of what applications are made of, by the file's name; all else is bytes.
pub fn media_type(path: &std::path::Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "wasm" => "application/wasm",
        "toml" => "application/toml",
        "json" => "application/json",
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "js" | "mjs" => "text/javascript",
        "txt" => "text/plain",
        "md" => "text/markdown",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}
