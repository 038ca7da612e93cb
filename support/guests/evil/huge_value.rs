//! Writes `?size=` MiB (64 by default) under one key of the default store, or with `?keys=` that many keys.

use guests::spin::key_value::Store;
use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    if request.path().ends_with("/well") {
        return responder.text("well");
    }
    let size = usize::try_from(request.number("size").unwrap_or(64)).expect("a size") << 20;
    let value = vec![b'v'; size];
    let outcome = Store::open("default").and_then(|store| {
        (0..request.number("keys").unwrap_or(1))
            .try_for_each(|number| store.set(&format!("huge-{number}"), &value))
    });
    match outcome {
        Ok(()) => responder.text("stored"),
        Err(error) => responder.send(507, &[], format!("{error:?}")),
    }
}
