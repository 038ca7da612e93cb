//! Sends a body without end, as fast as it is taken.

use std::io::Write;

use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    if request.path().ends_with("/well") {
        return responder.text("well");
    }
    let mut stream = responder.start(200, &[("content-type", "application/octet-stream")]);
    let piece = vec![b'x'; 64 * 1024];
    while stream.write_all(&piece).is_ok() {}
}
