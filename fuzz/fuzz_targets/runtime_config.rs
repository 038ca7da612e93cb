//! The runtime configuration file.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = gyre_node::RuntimeConfigFile::parse(text) {
        drop(error.to_string());
    }
});
