//! Exports `fermyon:spin/inbound-http` and imports `fermyon:spin/http`, both without a version. What it does is its path;
//! what follows `?` is the argument, an address where something is to be sent.

wit_bindgen::generate!({ path: "../../wit", world: "gyre:host/spin-http", generate_all });

use exports::fermyon::spin::inbound_http;
use fermyon::spin::http;
use fermyon::spin::http_types::{HttpError, Method, Request, Response};

struct Handler;

export!(Handler);

impl inbound_http::Guest for Handler {
    fn handle_request(request: Request) -> Response {
        let uri = request.uri.clone();
        let (path, argument) = uri.split_once('?').unwrap_or((&uri, ""));
        let text = match path {
            "/echo" => return echo(&request),
            "/plain" => return Response { status: 204, headers: None, body: None },
            "/status" => {
                let status = argument.parse().expect("it is a number");
                return Response { status, headers: None, body: Some(b"text".to_vec()) };
            }
            "/headers" => return headers(argument),
            "/big" => return answer("x".repeat(argument.parse().expect("it is a number"))),
            "/exit" => std::process::exit(argument.parse().expect("it is a number")),
            "/trap" => panic!("as asked"),
            "/get" => told(send(Method::Get, argument, &[], None)),
            "/head" => told(send(Method::Head, argument, &[], None)),
            "/post" => {
                let headers = [("content-type", "text/plain"), ("authorization", "secret")];
                told(send(Method::Post, argument, &headers, request.body))
            }
            "/forbidden" => {
                let headers = [("Host", "other.example"), ("Content-Length", "99"), ("x-own", "1")];
                told(send(Method::Put, argument, &headers, Some(b"body".to_vec())))
            }
            "/bad-header" => told(send(Method::Get, argument, &[("a b", "c")], None)),
            other => panic!("nothing is called {other}"),
        };
        answer(text)
    }
}

fn answer(text: String) -> Response {
    let headers = vec![("content-type".to_owned(), "text/plain".to_owned())];
    Response { status: 200, headers: Some(headers), body: Some(text.into_bytes()) }
}

/// Everything of the request, a line each.
fn echo(request: &Request) -> Response {
    println!("on standard output");
    let mut lines = vec![format!("{:?} {}", request.method, request.uri)];
    lines.extend(request.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.push(format!("params {:?}", request.params));
    let body = request.body.as_ref().map(|body| String::from_utf8_lossy(body));
    lines.push(format!("body {body:?}"));
    let mut response = answer(lines.join("\n"));
    response.status = 201;
    response
}

/// Two of one name, and such as are not the guest's to set.
fn headers(more: &str) -> Response {
    let mut headers = vec![
        ("set-cookie".to_owned(), "a=1".to_owned()),
        ("Set-Cookie".to_owned(), "b=2".to_owned()),
        ("connection".to_owned(), "close".to_owned()),
        ("content-length".to_owned(), "99".to_owned()),
    ];
    if let Some((name, value)) = more.split_once('=') {
        headers.push((name.replace('+', " "), value.to_owned()));
    }
    Response { status: 200, headers: Some(headers), body: Some(b"short".to_vec()) }
}

fn send(
    method: Method,
    uri: &str,
    headers: &[(&str, &str)],
    body: Option<Vec<u8>>,
) -> Result<Response, HttpError> {
    let headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let uri = uri.to_owned();
    http::send_request(&Request { method, uri, headers, params: Vec::new(), body })
}

/// What came of it, in one text.
fn told(response: Result<Response, HttpError>) -> String {
    match response {
        Err(error) => error.name().to_owned(),
        Ok(response) => {
            let headers = response.headers.expect("there are always some");
            let own: Vec<String> = headers
                .iter()
                .filter(|(name, _)| name.starts_with("x-"))
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let body = response.body.expect("there is always one");
            let length = body.len();
            let text = String::from_utf8_lossy(&body[..length.min(2000)]).into_owned();
            format!("{} {own:?} {length}: {text}", response.status)
        }
    }
}
