//! Writes `?lines=` lines (1 by default) of `?text=` to standard output, and as many to standard error
//! with `?stderr=yes`; `?raw=yes` writes the request's body as it is.

use std::io::Write;

use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    let text = request.query("text").unwrap_or_else(|| "a line".to_owned());
    let on_stderr = request.query("stderr").is_some();
    if request.query("raw").is_some() {
        std::io::stdout().write_all(&request.bytes()).expect("stdout takes it");
        std::io::stdout().flush().expect("stdout takes it");
    } else {
        for number in 0..request.number("lines").unwrap_or(1) {
            if on_stderr {
                eprintln!("{text} {number}");
            } else {
                println!("{text} {number}");
            }
        }
    }
    responder.text("written");
}
