//! The smallest useful answer of `wasi:http/handler@0.3.0`, whose instances are used again; what the measurements call.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_bindgen, wit_future, wit_stream};

wasip3::http::service::export!(Guest);

struct Guest;

impl wasip3::exports::http::handler::Guest for Guest {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        let headers = Fields::new();
        headers.append("content-type", b"text/plain").expect("the header is allowed");
        let (mut body, contents) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(contents), trailers);
        wit_bindgen::spawn(async move {
            body.write_all(b"Hello, world!".to_vec()).await;
        });
        Ok(response)
    }
}
