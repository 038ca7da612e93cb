//! An application of 2023: a core module with the bindings that Spin's SDK had then.

wit_bindgen::generate!({ world: "reactor", path: "wit" });

use exports::fermyon::spin::inbound_http::{InboundHttp, Request, Response};
use exports::fermyon::spin::inbound_redis::{self, InboundRedis};
use fermyon::spin::http_types::Method;
use fermyon::spin::{config, key_value};

struct App;

export_reactor!(App);

impl InboundHttp for App {
    fn handle_request(request: Request) -> Response {
        if request.uri == "/" {
            let greeting = config::get_config("greeting").expect("it has a value");
            return answer(200, format!("{greeting} from Rust").into_bytes());
        }
        let Some(key) = request.uri.strip_prefix("/key/") else {
            return answer(404, b"no such page".to_vec());
        };
        let store = key_value::open("default").expect("it may");
        if request.method == Method::Post {
            key_value::set(store, key, &request.body.unwrap_or_default()).expect("it is kept");
            return answer(200, Vec::new());
        }
        match key_value::get(store, key) {
            Ok(value) => answer(200, value),
            Err(key_value::Error::NoSuchKey) => answer(404, b"not stored".to_vec()),
            Err(error) => panic!("{error:?}"),
        }
    }
}

impl InboundRedis for App {
    fn handle_message(_: Vec<u8>) -> Result<(), inbound_redis::Error> {
        Err(inbound_redis::Error::Error)
    }
}

fn answer(status: u16, body: Vec<u8>) -> Response {
    Response { status, headers: None, body: Some(body) }
}
