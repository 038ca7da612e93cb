//! `wasi:http/handler@0.3.0`: answers with the path, and a variable of its environment as a header.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_bindgen, wit_future, wit_stream};

wasip3::http::service::export!(Guest);

struct Guest;

impl wasip3::exports::http::handler::Guest for Guest {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let mark = std::env::var("MARK").unwrap_or_else(|_| "none".to_owned());
        let headers = Fields::new();
        headers.append("x-handler-mark", mark.as_bytes()).expect("the header is fine");
        let (mut body, contents) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(contents), trailers);
        wit_bindgen::spawn(async move {
            body.write_all(path.into_bytes()).await;
        });
        Ok(response)
    }
}
