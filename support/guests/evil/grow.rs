//! Takes memory until it is refused, and touches every page of it. `?step=` is the step in KiB.

use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    if request.path().ends_with("/well") {
        return responder.text("well");
    }
    let step = usize::try_from(request.number("step").unwrap_or(1024)).expect("a size") * 1024;
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        taken.push(vec![std::hint::black_box(1); step]);
    }
}
