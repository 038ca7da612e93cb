//! Sends a head and the beginning of a body, then neither more nor the end.

use std::io::Write;

use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    if request.path().ends_with("/well") {
        return responder.text("well");
    }
    let mut stream = responder.start(200, &[("content-type", "text/plain")]);
    stream.write_all(b"the beginning\n").expect("the body is taken");
    stream.flush().expect("the body is taken");
    loop {
        guests::sleep(60_000);
    }
}
