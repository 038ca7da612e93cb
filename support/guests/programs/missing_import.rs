//! Imports an interface that no host has: a deploy of it must fail and name the import.

#![allow(clippy::same_length_and_capacity, reason = "bindings are written by wit-bindgen")]

use guests::{Request, Responder};

wit_bindgen::generate!({
    inline: r"
        package absent:imports;

        world imports {
            import absent:nowhere/thing@1.0.0;
        }

        package absent:nowhere@1.0.0 {
            interface thing {
                ask: func(question: string) -> string;
            }
        }
    ",
    generate_all,
});

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    responder.text(absent::nowhere::thing::ask(&request.path()));
}
