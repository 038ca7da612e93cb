//! Writes to standard output without end; with `?newline=no` as one line.

use std::io::Write;

use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    if request.path().ends_with("/well") {
        return responder.text("well");
    }
    let mut piece = vec![b'x'; 4096];
    if request.query("newline").is_none() {
        piece[4095] = b'\n';
    }
    let mut stdout = std::io::stdout();
    loop {
        drop(stdout.write_all(&piece));
        drop(stdout.flush());
    }
}
