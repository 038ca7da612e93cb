//! Asks itself twice for each request it gets: a fork bomb of requests. The answer says how the first
//! two fared.

use guests::{Request, Responder};
use wasip2::http::types::Method;

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    if request.path().ends_with("/well") {
        return responder.text("well");
    }
    let outcomes: Vec<String> = (0..2)
        .map(|_| match guests::fetch(&Method::Get, "/storm", &[], None) {
            Ok(fetched) => fetched.status.to_string(),
            Err(error) => error,
        })
        .collect();
    responder.text(outcomes.join("\n"));
}
