//! Sends the request's body back piece by piece, each before the next is read.

use std::io::Write;

use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    let kind = request.header("content-type").unwrap_or_else(|| "text/plain".to_owned());
    let mut body = request.body();
    let mut stream = responder.start(200, &[("content-type", &kind)]);
    while let Some(piece) = body.piece() {
        stream.write_all(&piece).expect("the body is taken");
        stream.flush().expect("the body is taken");
    }
    stream.finish();
}
