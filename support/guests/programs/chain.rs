//! Calls a sibling: `/other?component=b&path=/x` asks `http://b.spin.internal/x`, `/self?path=/x` asks the
//! app itself by a relative URL. The answer is passed on; a refusal is 502 and the error code's name.

use guests::{Request, Responder};
use wasip2::http::types::Method;

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    let path = request.query("path").unwrap_or_else(|| "/".to_owned());
    let url = if request.path().ends_with("/self") {
        path
    } else {
        let component = request.query("component").unwrap_or_else(|| "other".to_owned());
        format!("http://{component}.spin.internal{path}")
    };
    match guests::fetch(&Method::Get, &url, &[("x-from", "chain")], None) {
        Ok(fetched) => {
            responder.send(fetched.status, &[("x-chained", "yes")], fetched.body);
        }
        Err(error) => responder.send(502, &[], error),
    }
}
