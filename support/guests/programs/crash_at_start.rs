//! Traps while it is instantiated, before any request: a deploy of it must fail at the probe.

use guests::{Request, Responder};

guests::serve!(handle);

/// Called by the component when it is instantiated.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    core::arch::wasm32::unreachable();
}

fn handle(_request: Request, responder: Responder) {
    responder.text("never reached");
}
