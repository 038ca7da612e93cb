//! Fetches `?url=` with the request's own method and body and passes status and body on. A refusal by
//! the host is answered with 502 and the error code's name.

use guests::{Request, Responder};
use wasip2::http::types::Method;

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    let url = request.query("url").expect("?url= says what to fetch");
    let body = request.bytes();
    let (method, body) = match request.method().as_str() {
        "POST" => (Method::Post, Some(body)),
        "PUT" => (Method::Put, Some(body)),
        _ => (Method::Get, None),
    };
    match guests::fetch(&method, &url, &[("x-from", "outbound")], body.as_deref()) {
        Ok(fetched) => {
            let kind = fetched.headers.iter().find(|(name, _)| name == "content-type");
            let kind =
                kind.map_or("text/plain".into(), |(_, value)| String::from_utf8_lossy(value));
            let headers = [("content-type", kind.as_ref()), ("x-fetched", "yes")];
            responder.send(fetched.status, &headers, &fetched.body);
        }
        Err(error) => responder.send(502, &[], error),
    }
}
