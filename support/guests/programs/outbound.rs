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
        Ok((status, headers, body)) => {
            let kind = headers
                .iter()
                .find(|(name, _)| name == "content-type")
                .map_or("text/plain".to_owned(), |(_, value)| {
                    String::from_utf8_lossy(value).into_owned()
                });
            responder.send(status, &[("content-type", &kind), ("x-fetched", "yes")], body);
        }
        Err(error) => responder.send(502, &[], error),
    }
}
