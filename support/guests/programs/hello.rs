//! The smallest useful answer; what the measurements call. `GREETING` in the environment changes the text.

use guests::{Request, Responder};

guests::serve!(handle);

fn handle(_request: Request, responder: Responder) {
    let greeting = std::env::var("GREETING").unwrap_or_else(|_| "Hello, world!".to_owned());
    responder.text(greeting);
}
