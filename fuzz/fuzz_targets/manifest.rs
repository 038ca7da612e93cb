//! `spin.toml` as somebody wrote it: parsed, normalised, locked; every message about it printable.
#![no_main]

use gyre_manifest::{Manifest, lock::lock};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Manifest::parse(text) {
        Err(diagnostics) => drop(diagnostics.to_string()),
        Ok(manifest) => {
            let profiles = manifest.profiles();
            let profile = profiles.first().copied();
            for profile in [None, profile] {
                match manifest.normalize(profile) {
                    Err(diagnostics) => drop(diagnostics.to_string()),
                    Ok(app) => {
                        let locked = lock(&app, profile);
                        let json = serde_json::to_string(&locked).expect("a locked app is JSON");
                        let again: gyre_model::LockedApp =
                            serde_json::from_str(&json).expect("what was written can be read");
                        assert_eq!(serde_json::to_string(&again).unwrap(), json);
                    }
                }
            }
        }
    }
});
