//! The manifest of an application in a bindle, Spin's or a locked app, with files whose names somebody chose.
#![no_main]

use std::path::PathBuf;

use gyre_model::Digest;
use gyre_package::{
    artifact::BlobSource,
    bindle::{
        Conditions, Invoice, Label, Parcel,
        application::{SPIN_MANIFEST, load},
    },
    oci,
};
use libfuzzer_sys::fuzz_target;

/// One file that is the manifest, and another one that is everything else.
struct Parcels(Digest, PathBuf, PathBuf);

impl BlobSource for Parcels {
    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        Some(if *digest == self.0 { self.1.clone() } else { self.2.clone() })
    }
}

const CODE: &str = "code";

// The name of a file, a line's end, the manifest.
fuzz_target!(|text: &str| {
    let (name, manifest) = text.split_once('\n').unwrap_or(("a.txt", text));
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let (first, second) = (folder.path().join("manifest"), folder.path().join("code"));
    std::fs::write(&first, manifest).expect("there is room for a file");
    std::fs::write(&second, CODE).expect("there is room for a file");
    for kind in [SPIN_MANIFEST, oci::LOCKED_APP] {
        let mut invoice = Invoice::new(&"a/1.0.0".parse().expect("it is an id"));
        let mut add = |name: &str, media_type: &str, bytes: &str, groups: &[&str]| {
            invoice.parcel.push(Parcel {
                label: Label {
                    sha256: Digest::of(bytes).hex(),
                    media_type: media_type.to_owned(),
                    name: name.to_owned(),
                    size: bytes.len() as u64,
                    annotations: Default::default(),
                    feature: Default::default(),
                    origin: None,
                },
                conditions: Conditions {
                    member_of: groups.iter().map(|group| (*group).to_owned()).collect(),
                    requires: Vec::new(),
                },
            });
        };
        add("manifest", kind, manifest, &[]);
        add(name, "application/wasm", CODE, &["f"]);
        let parcels = Parcels(Digest::of(manifest), first.clone(), second.clone());
        let apps = folder.path().join("apps");
        let Ok(app) = load(&invoice, &parcels, &apps) else { continue };
        for mount in app.mounts.values().flatten() {
            assert!(mount.host.starts_with(&apps), "{}", mount.host.display());
        }
    }
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").file_name())
        .collect();
    names.sort();
    assert!(
        names.iter().all(|name| ["apps", "code", "manifest"].iter().any(|it| name == it)),
        "{names:?}"
    );
});
