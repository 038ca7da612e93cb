//! `gyre apps list|info|delete`.
