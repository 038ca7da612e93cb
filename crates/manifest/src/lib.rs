//! `spin.toml`, versions 1 and 2: reading it, checking it, and saying what is wrong with it, and where.
//!
//! Also the three small grammars that a manifest carries and a running application needs: `{{ variables }}`
//! ([`template`]), allowed outbound hosts ([`hosts`]) and routes ([`routes`], [`http`]).
//!
//! Everything here is pure: text goes in, types and [`Diagnostics`] come out. Whoever holds a [`Manifest`] holds
//! one without errors: [`Manifest::parse`] has checked all that can be known without reading another file.
//!
//! The way of an application: [`Manifest::parse`] → [`Manifest::normalize`] (generated ids, inline components,
//! the profile) → [`lock::lock`] (a locked app whose content references are still to be filled in).

pub mod diagnostic;
pub mod events;
pub mod hosts;
pub mod http;
pub mod id;
pub mod lock;
mod manifest;
mod normalize;
mod read;
pub mod routes;
pub mod schema;
mod suggest;
pub mod template;
mod validate;
pub mod variable;

pub use diagnostic::{Diagnostic, Diagnostics, Position, Severity};
pub use manifest::{Manifest, ManifestVersion};
pub use schema::{AppManifest, Spanned};
