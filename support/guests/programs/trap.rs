//! Panics with `?message=`: before the answer, or with `?when=body` in the middle of it; `?when=never`
//! returns without an answer, `?when=exit` exits with status 3.

use std::io::Write;

use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    let message = request.query("message").unwrap_or_else(|| "the guest gave up".to_owned());
    match request.query("when").as_deref() {
        Some("body") => {
            let mut stream = responder.start(200, &[("content-type", "text/plain")]);
            stream.write_all(b"the beginning\n").expect("the body is taken");
            stream.flush().expect("the body is taken");
            panic!("{message}");
        }
        Some("never") => responder.abandon(),
        Some("exit") => std::process::exit(3),
        Some("ok") => responder.text("fine"),
        _ => give_up(&message),
    }
}

#[inline(never)]
fn give_up(message: &str) {
    panic!("{message}");
}
