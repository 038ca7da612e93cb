//! Entries of `allowed_outbound_hosts`, one a line; the last line is what a guest asks for.
#![no_main]

use gyre_manifest::hosts::AllowedHosts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let Some(asked) = lines.pop() else { return };
    let Ok(hosts) = AllowedHosts::parse(&lines, &[String::from("api"), String::from("front")]) else {
        return;
    };
    let (scheme, rest) = asked.split_once("://").unwrap_or(("http", &asked));
    let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
    let allows = hosts.allows(scheme, host, port.parse().ok());
    // Nobody gets through a list without entries.
    assert!(!(allows && hosts.entries().is_empty()));
    if let Ok(address) = host.parse() {
        hosts.allows_address(scheme, address, port.parse().unwrap_or(80));
    }
});
