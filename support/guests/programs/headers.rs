//! Prints what the guest sees of a request: request line, scheme and authority, headers, environment.

use std::fmt::Write;

use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    let mut text = String::new();
    let (scheme, authority) = request.scheme_and_authority();
    writeln!(text, "request: {} {}", request.method(), request.path_and_query()).expect("a String");
    writeln!(text, "scheme: {scheme}\nauthority: {authority}").expect("a String");
    for (name, value) in request.headers() {
        writeln!(text, "header {name}: {}", String::from_utf8_lossy(&value)).expect("a String");
    }
    for (name, value) in std::env::vars() {
        writeln!(text, "env {name}: {value}").expect("a String");
    }
    for (at, argument) in std::env::args().enumerate() {
        writeln!(text, "argument {at}: {argument}").expect("a String");
    }
    responder.text(text);
}
