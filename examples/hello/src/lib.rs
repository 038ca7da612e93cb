//! A first application without an SDK: answers every request with a greeting, which is the variable
//! `greeting`, and the number of the visit, which is kept in the default key-value store.

use fermyon::spin::{key_value, variables};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

wit_bindgen::generate!({
    inline: r#"
        package example:hello;

        world imports {
            import fermyon:spin/key-value@2.0.0;
            import fermyon:spin/variables@2.0.0;
        }

        package fermyon:spin@2.0.0 {
            interface key-value {
                variant error { store-table-full, no-such-store, access-denied, other(string) }
                resource store {
                    open: static func(label: string) -> result<store, error>;
                    get: func(key: string) -> result<option<list<u8>>, error>;
                    set: func(key: string, value: list<u8>) -> result<_, error>;
                    delete: func(key: string) -> result<_, error>;
                    exists: func(key: string) -> result<bool, error>;
                    get-keys: func() -> result<list<string>, error>;
                }
            }

            interface variables {
                get: func(name: string) -> result<string, error>;
                variant error { invalid-name(string), undefined(string), provider(string), other(string) }
            }
        }
    "#,
    generate_all,
});

struct Hello;

wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let greeting = variables::get("greeting").unwrap_or_else(|_| "Hello!".to_owned());
        let text = match count_visit() {
            Ok(visit) => format!("{greeting}\nThis is visit number {visit}.\n"),
            Err(error) => format!("{greeting}\nThe visits could not be counted: {error:?}\n"),
        };
        answer(out, &text);
    }
}

/// Adds one to the number under `visits`. Two visits at the same moment may count as one.
fn count_visit() -> Result<u64, key_value::Error> {
    let store = key_value::Store::open("default")?;
    let before = store.get("visits")?.and_then(|bytes| String::from_utf8(bytes).ok());
    let visit = before.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) + 1;
    store.set("visits", format!("{visit}").as_bytes())?;
    Ok(visit)
}

fn answer(out: ResponseOutparam, text: &str) {
    let headers = Fields::new();
    let length = text.len().to_string();
    for (name, value) in
        [("content-type", "text/plain; charset=utf-8"), ("content-length", &length)]
    {
        headers.append(name, value.as_bytes()).expect("the header is allowed");
    }
    let response = OutgoingResponse::new(headers);
    let body = response.body().expect("the body is asked for once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream is asked for once");
    // At most 4096 bytes may be written in one call.
    for piece in text.as_bytes().chunks(4096) {
        stream.blocking_write_and_flush(piece).expect("the body is taken");
    }
    drop(stream);
    OutgoingBody::finish(body, None).expect("the body ends");
}
