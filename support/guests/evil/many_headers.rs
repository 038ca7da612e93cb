//! Answers with `?count=` headers (10,000 by default) of `?size=` bytes each (8 by default).

use guests::{Request, Responder};
use wasip2::http::types::Fields;

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    if request.path().ends_with("/well") {
        return responder.text("well");
    }
    let count = request.number("count").unwrap_or(10_000);
    let size = usize::try_from(request.number("size").unwrap_or(8)).expect("a size");
    let value = vec![b'v'; size];
    let fields = Fields::new();
    for number in 0..count {
        fields.append(&format!("x-header-{number}"), &value).expect("the header is allowed");
    }
    responder.start_with(200, fields).finish();
}
