//! Traps while it is instantiated, before any request: a deploy of it must fail at the probe.

use guests::{Request, Responder};

guests::serve!(handle);

/// Called by `_initialize`, which the component runs when it is instantiated.
#[used]
#[unsafe(link_section = ".init_array")]
static CRASH: extern "C" fn() = crash;

extern "C" fn crash() {
    core::arch::wasm32::unreachable();
}

fn handle(_request: Request, responder: Responder) {
    responder.text("never reached");
}
