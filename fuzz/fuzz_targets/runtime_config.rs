//! Runtime configuration files, as far as nothing outside of them is looked at, and files in dotenv's form.
#![no_main]

use gyre_node::{parse_dotenv, parse_runtime_config};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match parse_runtime_config(text) {
        Err(error) => drop(error.to_string()),
        Ok(file) => drop(format!("{file:?}")),
    }
    if let Ok(variables) = parse_dotenv(text) {
        for name in variables.keys() {
            assert!(text.contains(name.as_str()), "{name:?} is not in the text");
        }
    }
});
