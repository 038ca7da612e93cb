//! Programs as Spin's WAGI executor runs them.

use gyre_model::{Limits, LogStream};
use gyre_testkit::guest;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::testing::{
    Builder, Got, HELLO, TestApp, collect, connection, full, get, guest as wat_guest,
};

const ROUTE: &str = "/users/:user_id/cart/...";

fn app(route: &str) -> TestApp {
    let wasm = fs_err::read(guest("cgi")).unwrap();
    let mut builder = Builder::new().program("cgi", route, &wasm);
    builder.env.insert("COLOUR".to_owned(), "blue".to_owned());
    builder.build()
}

async fn post(app: &TestApp, url: &str, headers: &[(&str, &str)], body: &str) -> Got {
    let mut request = Request::post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(full(body)).unwrap();
    collect(app.app.call(request, connection()).await).await
}

/// What Spin 4.0.2 was seen to give for this request, but for `CONTENT_TYPE`, which it leaves empty.
#[tokio::test]
async fn the_environment_is_spins() {
    let app = app(ROUTE);
    let headers = [
        ("host", "example.com:8080"),
        ("content-type", "text/plain"),
        ("content-length", "4"),
        ("user-agent", "test"),
        ("x-custom", "a"),
        ("authorization", "Basic c2VjcmV0"),
        ("connection", "keep-alive"),
        ("spin-path-info", "evil"),
        ("spin-evil", "evil"),
    ];
    let url = "http://example.com:8080/users/42/cart/items/a%20b?env&y=2";
    let got = post(&app, url, &headers, "body").await;
    assert_eq!(got.status, 200, "{}", app.log.host());
    let (arguments, variables): (Vec<_>, Vec<_>) =
        got.text.lines().partition(|line| line.starts_with("argument "));
    assert_eq!(arguments, ["argument /users/42/cart/items/a%20b", "argument env", "argument y=2"]);
    let expected = [
        "AUTH_TYPE=",
        "COLOUR=blue",
        "CONTENT_LENGTH=4",
        "CONTENT_TYPE=text/plain",
        "FROM=manifest",
        "GATEWAY_INTERFACE=CGI/1.1",
        "HTTP_CONTENT_LENGTH=4",
        "HTTP_CONTENT_TYPE=text/plain",
        "HTTP_HOST=example.com:8080",
        "HTTP_USER_AGENT=test",
        "HTTP_X_CUSTOM=a",
        "OTHER=x",
        "PATH_INFO=/items/a%20b",
        "PATH_TRANSLATED=/items/a b",
        "QUERY_STRING=env&y=2",
        "REMOTE_ADDR=192.0.2.7",
        "REMOTE_HOST=192.0.2.7",
        "REMOTE_USER=",
        "REQUEST_METHOD=POST",
        "SCRIPT_NAME=/users/:user_id/cart",
        "SERVER_NAME=example.com",
        "SERVER_PORT=8080",
        "SERVER_PROTOCOL=HTTP/1.1",
        "SERVER_SOFTWARE=WAGI/1",
        "X_BASE_PATH=/",
        "X_CLIENT_ADDR=192.0.2.7:4711",
        "X_COMPONENT_ROUTE=/users/:user_id/cart",
        "X_FULL_URL=http://example.com:8080/users/42/cart/items/a%20b?env&y=2",
        "X_MATCHED_ROUTE=/users/:user_id/cart/...",
        "X_PATH_MATCH_USER_ID=42",
        "X_RAW_COMPONENT_ROUTE=/users/:user_id/cart/...",
        "X_RAW_PATH_INFO=/items/a%20b",
    ];
    let mut variables = variables;
    variables.sort_unstable();
    assert_eq!(variables, expected);
}

#[tokio::test]
async fn a_body_passes_through() {
    let app = app("/...");
    let body = "0123456789".repeat(30_000);
    let got = post(&app, "http://example.com/?echo", &[], &body).await;
    assert_eq!((got.status, got.is_whole), (200, true), "{}", app.log.host());
    assert!(got.text == body, "{} bytes of {}", got.text.len(), body.len());
}

#[tokio::test]
async fn a_slow_program_is_heard_while_it_runs() {
    let app = app("/...");
    let response = app.begin(get("/?slow")).await;
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"line 0\n"));
    assert!(app.log.of(LogStream::Stderr).is_empty(), "it had printed all");
    let rest = body.collect().await.unwrap().to_bytes();
    assert!(rest.ends_with(b"line 9\n"));
    assert_eq!(app.log.of(LogStream::Stderr), ["printed all"]);
}

#[tokio::test]
async fn failures_are_500_and_said_in_the_log() {
    for (what, reason) in [
        ("fail", "the guest failed: the program ended with exit code 1"),
        ("trap", "the guest failed: wasm trap: wasm `unreachable` instruction executed"),
        ("nothing", "the guest failed: the program printed nothing"),
    ] {
        let app = app("/...");
        let got = app.get(&format!("/?{what}")).await;
        assert_eq!((got.status, got.text.as_str()), (500, ""), "{what}");
        let log = app.log.host();
        assert!(log.starts_with(reason), "{what}: {log}");
    }
}

#[tokio::test]
async fn status_location_and_repeated_headers() {
    let got = app("/...").get("/?status").await;
    assert_eq!(got.status, 418);
    assert_eq!(got.headers["location"], "/tea");
    let repeated: Vec<_> = got.headers.get_all("x-a").iter().collect();
    assert_eq!(repeated, ["1", "2"]);
}

#[tokio::test]
async fn a_short_response_has_a_length() {
    let got = app("/...").get("/?x").await;
    assert_eq!((got.status, got.text.as_str()), (200, "what is \"x\"?"));
}

#[tokio::test]
async fn an_executor_is_the_triggers_own() {
    let wasm = fs_err::read(guest("cgi")).unwrap();
    let app = Builder::new()
        .program("cgi", "/cgi/...", &wasm)
        .component("http", &json!("/http/..."), &wat_guest(HELLO))
        .build();
    assert_eq!(app.get("/cgi?x").await.text, "what is \"x\"?");
    assert_eq!(app.get("/http").await.text, "hello");
}

#[tokio::test]
async fn what_is_no_program_is_refused() {
    let app = Builder::new().program("http", "/...", &wat_guest(HELLO)).build();
    let error = app.app.load().await.unwrap_err();
    let text = gyre_telemetry::chain(&*error);
    assert!(text.contains("wasi:cli/run@0.2.x"), "{text}");
}

#[tokio::test]
async fn limits_hold_for_programs() {
    let wasm = fs_err::read(guest("cgi")).unwrap();
    let time = std::time::Duration::from_millis(60);
    let change = |limits: &mut Limits| limits.total_time = Some(time);
    let app = Builder::new().program("cgi", "/...", &wasm).limits(change).build();
    let got = app.get("/?slow").await;
    assert!(!got.is_whole, "{got:?}");
    assert!(app.log.host().contains("total_time limit of 60ms reached"), "{}", app.log.host());
}
