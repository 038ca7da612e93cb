//! Never answers, without using the processor.

use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    if request.path().ends_with("/well") {
        return responder.text("well");
    }
    loop {
        guests::sleep(60_000);
    }
}
