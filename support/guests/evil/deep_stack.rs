//! Calls itself until the stack ends.

use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    if request.path().ends_with("/well") {
        return responder.text("well");
    }
    responder.text(descend(0).to_string());
}

#[allow(unconditional_recursion, reason = "that is what it is for")]
#[inline(never)]
fn descend(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 16]);
    descend(depth + 1) + room[3]
}
