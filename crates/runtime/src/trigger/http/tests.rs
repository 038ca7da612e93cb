use super::*;

#[test]
fn the_announced_length_is_the_headers_or_none_where_there_is_no_body() {
    let response = |status: u16, length: &str| {
        let response = Response::builder().status(status).header("content-length", length);
        announced_length(&response.body(()).unwrap())
    };
    assert_eq!(response(200, "12"), Some(12));
    assert_eq!(response(200, "x"), None);
    assert_eq!(response(204, "12"), Some(0));
    assert_eq!(response(304, "12"), Some(0));
    assert_eq!(announced_length(&Response::new(())), None);
}
