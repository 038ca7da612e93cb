//! Answers with its version, "new", in a header and in each line of a body sent in pieces: an answer that
//! is half one version and half another would show.

use std::io::Write;

use guests::{Request, Responder};

guests::serve!(handle);

const VERSION: &str = "new";

fn handle(_request: Request, responder: Responder) {
    let mut stream =
        responder.start(200, &[("content-type", "text/plain"), ("x-version", VERSION)]);
    for line in 0..16 {
        writeln!(stream, "{line:02} {VERSION}").expect("the body is taken");
        stream.flush().expect("the body is taken");
    }
    stream.finish();
}
