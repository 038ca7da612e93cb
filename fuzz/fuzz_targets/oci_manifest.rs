//! A manifest out of an OCI registry: read, checked, written, and its application looked for.
#![no_main]

use std::path::PathBuf;

use gyre_model::Digest;
use gyre_package::{
    artifact::{BlobSource, inspect},
    oci::Manifest,
};
use libfuzzer_sys::fuzz_target;

struct Nothing;

impl BlobSource for Nothing {
    fn path(&self, _: &Digest) -> Option<PathBuf> {
        None
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    let _ = manifest.ensure_loadable();
    assert_eq!(manifest.blobs().count(), manifest.layers.len() + 1);
    let written = manifest.to_bytes();
    assert_eq!(Manifest::parse(&written).expect("what was written can be read"), manifest);
    // There is always something that is not here.
    inspect(bytes, &Nothing).expect_err("no blob is here");
});
