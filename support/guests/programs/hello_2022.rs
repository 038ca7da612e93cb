//! The application that `spin new http-rust` made in October 2022, with what its SDK (0.6.0) made of it written out: a
//! core module whose bindings are wit-bindgen's of that time.

use std::collections::BTreeMap;

mod abi_2022;

use abi_2022::{Area, Text, Value, owned};

static mut RESPONSE: Area = Area::new();

#[unsafe(export_name = "handle-http-request")]
unsafe extern "C" fn handle_http_request(
    _method: u32,
    uri: u32,
    uri_len: u32,
    headers: u32,
    headers_len: u32,
    _params: u32,
    _params_len: u32,
    has_body: u32,
    body: u32,
    body_len: u32,
) -> *const u8 {
    let list = [headers, headers_len];
    let headers: BTreeMap<String, String> = Value::of(list.as_ptr().cast())
        .list(16)
        .map(|header| (header.string(), header.at(8).string()))
        .collect();
    drop(unsafe { owned(uri, uri_len) });
    assert_eq!(has_body, 1);
    drop(unsafe { owned(body, body_len) });
    println!("{headers:?}");

    #[allow(static_mut_refs, reason = "there is one thread, and one request")]
    let response = unsafe { &mut RESPONSE };
    response.set_u16(0, 200);
    // The lists of headers and body each are behind a mark that they are there.
    response.0[4] = 1;
    response.set_list(8, vec![[Text::of("foo"), Text::of("bar")]]);
    response.0[16] = 1;
    response.set_list(20, b"Hello, Fermyon".to_vec());
    response.place()
}
