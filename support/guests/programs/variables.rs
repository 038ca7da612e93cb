//! Variables through both interfaces: `/get?name=` (`fermyon:spin/variables@2.0.0`), `/config?name=` and
//! `/all` (`wasi:config/store`). A missing one is 404, an error 500 and its name.

use guests::spin::{config, variables};
use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    let name = request.query("name").unwrap_or_else(|| "greeting".to_owned());
    let path = request.path();
    match path.rsplit('/').next().unwrap_or_default() {
        "config" => match config::get(&name) {
            Ok(Some(value)) => responder.text(value),
            Ok(None) => responder.send(404, &[], ""),
            Err(error) => responder.send(500, &[], format!("{error:?}")),
        },
        "all" => match config::get_all() {
            Ok(mut pairs) => {
                pairs.sort();
                let lines: Vec<String> =
                    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
                responder.text(lines.join("\n"));
            }
            Err(error) => responder.send(500, &[], format!("{error:?}")),
        },
        _ => match variables::get(&name) {
            Ok(value) => responder.text(value),
            Err(variables::Error::Undefined(text)) => responder.send(404, &[], text),
            Err(error) => responder.send(500, &[], format!("{error:?}")),
        },
    }
}
