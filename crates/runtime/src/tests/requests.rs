//! What a guest sees of a request, and a client of a response.

use gyre_model::{Connection, Digest, LogStream, Mount};
use http::Request;
use serde_json::json;

use crate::{
    AppSpec,
    host::CallContext,
    testing::{Builder, HELLO, collect, connection, full, get, guest, runtime},
};

/// Answers with the headers it got, a line each.
const HEADERS: &str = r#"
    (data (i32.const 1024) ": ")
    (data (i32.const 1028) "\n")
    (func (export "handle") (param $request i32) (param $out i32)
      (local $stream i32) (local $at i32) (local $n i32)
      (call $entries (call $headers (local.get $request)) (i32.const 32))
      (local.set $at (i32.load (i32.const 32)))
      (local.set $n (i32.load (i32.const 36)))
      (local.set $stream (call $begin (local.get $out) (i32.const 200)))
      (block $end
        (loop $next
          (br_if $end (i32.eqz (local.get $n)))
          (drop (call $write (local.get $stream)
            (i32.load (local.get $at)) (i32.load offset=4 (local.get $at))))
          (drop (call $write (local.get $stream) (i32.const 1024) (i32.const 2)))
          (drop (call $write (local.get $stream)
            (i32.load offset=8 (local.get $at)) (i32.load offset=12 (local.get $at))))
          (drop (call $write (local.get $stream) (i32.const 1028) (i32.const 1)))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br $next)))
      (call $finish (local.get $stream)))"#;

/// Answers with its authority, its path and the number of its scheme: 0 for HTTP, 1 for HTTPS.
const TARGET: &str = r#"
    (func (export "handle") (param $request i32) (param $out i32)
      (local $stream i32)
      (local.set $stream (call $begin (local.get $out) (i32.const 200)))
      (call $authority (local.get $request) (i32.const 32))
      (drop (call $write (local.get $stream) (i32.load (i32.const 36)) (i32.load (i32.const 40))))
      (call $path (local.get $request) (i32.const 32))
      (drop (call $write (local.get $stream) (i32.load (i32.const 36)) (i32.load (i32.const 40))))
      (call $scheme (local.get $request) (i32.const 32))
      (i32.store8 (i32.const 64) (i32.add (i32.const 48) (i32.load8_u (i32.const 36))))
      (drop (call $write (local.get $stream) (i32.const 64) (i32.const 1)))
      (call $finish (local.get $stream)))"#;

#[tokio::test]
async fn a_guest_sees_the_headers_of_its_route() {
    let app = Builder::new().component("cart", &json!("/users/:user_id/cart/..."), &guest(HEADERS));
    let app = app.build();
    let request = Request::get("http://example.com:8080/users/1/cart/items?x=1")
        .header("host", "example.com:8080")
        .header("connection", "keep-alive")
        .header("spin-path-info", "forged")
        .header("Spin-Anything", "forged")
        .header("x-own", "kept");
    let got = app.send(request.body(()).unwrap()).await;
    assert_eq!(got.status, 200, "{}", app.log.host());
    let mut lines: Vec<_> = got.text.lines().filter(|line| !line.starts_with("host:")).collect();
    lines.sort_unstable();
    let expected = [
        "spin-base-path: /",
        "spin-client-addr: 192.0.2.7:4711",
        "spin-component-route: /users/:user_id/cart",
        "spin-full-url: http://example.com:8080/users/1/cart/items?x=1",
        "spin-matched-route: /users/:user_id/cart/...",
        "spin-path-info: /items",
        "spin-path-match-user-id: 1",
        "spin-raw-component-route: /users/:user_id/cart/...",
        "x-own: kept",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_guest_sees_the_whole_path_the_authority_and_the_real_scheme() {
    let app = Builder::only(TARGET).build();
    assert_eq!(app.get("/a/b?c=d").await.text, "example.com/a/b?c=d0");
    let tls = Connection { is_tls: true, ..connection() };
    let response = app.app.call(get("/x").map(|()| full("")), tls).await;
    assert_eq!(collect(response).await.text, "example.com/x1");
}

#[tokio::test]
async fn a_chained_request_has_the_route_of_everything_and_no_client() {
    let app = Builder::new().component("callee", &json!({ "private": true }), &guest(HEADERS));
    let app = app.build();
    let request = Request::get("http://callee.spin.internal/a?b").header("spin-x", "forged");
    let request = request.body(crate::body::request_body(full(""), None)).unwrap();
    let response =
        app.app.clone().call_chained(CallContext::default(), "callee".into(), request).await;
    let body = http_body_util::BodyExt::collect(response.unwrap().into_body()).await.unwrap();
    let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let expected = [
        "spin-base-path: /",
        "spin-client-addr: 0.0.0.0:0",
        "spin-component-route: ",
        "spin-full-url: http://callee.spin.internal/a?b",
        "spin-matched-route: /...",
        "spin-path-info: /a",
        "spin-raw-component-route: /...",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn chaining_ends_at_its_depth_and_at_unknown_components() {
    let app = Builder::only(HELLO).limits(|limits| limits.chaining_depth = 2).build();
    let request = || get("/").map(|()| crate::body::request_body(full(""), None));
    let caller = |depth| CallContext { request: None, depth };
    let call = |caller, id: &str| app.app.clone().call_chained(caller, id.to_owned(), request());
    assert_eq!(call(caller(1), "only").await.unwrap().status(), 200);
    let too_deep = call(caller(2), "only").await.unwrap_err().to_string();
    assert_eq!(too_deep, "service chaining is limited to 2 calls within one another");
    let unknown = call(caller(0), "nobody").await.unwrap_err().to_string();
    assert!(unknown.contains("no HTTP component \"nobody\""), "{unknown}");
}

#[tokio::test]
async fn the_host_answers_what_is_well_known_before_any_route() {
    let app = Builder::only(HELLO).build();
    assert_eq!(app.get("/.well-known/spin/health").await.text, "OK");
    let info = app.get("/.well-known/spin/info").await;
    assert_eq!(info.headers["content-type"], "application/json");
    assert_eq!(info.text, "{\n  \"name\": \"test\",\n  \"version\": \"1.2.3\"\n}");
    assert_eq!(app.get("/.well-known/spin/other").await.status, 404);
    assert_eq!(app.get("/.well-known/other").await.text, "hello");

    let digest = Digest::of("x");
    let of_image = |spec| AppSpec { oci_image_digest: Some(digest), ..spec };
    let app = Builder::only(HELLO).build_with(&runtime(), of_image);
    let info: serde_json::Value =
        serde_json::from_str(&app.get("/.well-known/spin/info").await.text).unwrap();
    assert_eq!(info["oci_image_digest"], json!(digest.to_string()));
}

#[tokio::test]
async fn static_responses_private_routes_and_unknown_paths() {
    let answer = json!({ "status_code": 418, "headers": { "x-tea": "yes" }, "body": "short" });
    let app = Builder::new()
        .component("open", &json!("/open"), &guest(HELLO))
        .component("closed", &json!({ "private": true }), &guest(HELLO))
        .trigger(&json!({ "route": "/tea", "static_response": answer }))
        .build();
    let tea = app.get("/tea").await;
    assert_eq!((tea.status, tea.text.as_str()), (418, "short"));
    assert_eq!(tea.headers["x-tea"], "yes");
    assert_eq!(app.get("/open").await.text, "hello");
    let unknown = app.get("/closed").await;
    assert_eq!((unknown.status, unknown.text.as_str()), (404, ""));
}

#[tokio::test]
async fn nobody_outside_reaches_a_component_by_its_internal_name() {
    let app = Builder::only(HELLO).build();
    for host in ["only.spin.internal", "only.SPIN.internal:80", "only.spin.internal."] {
        let request = Request::get("http://example.com/").header("host", host);
        assert_eq!(app.send(request.body(()).unwrap()).await.status, 400, "{host}");
    }
    let without = Request::get("/").body(()).unwrap();
    assert_eq!(app.send(without).await.status, 400);
}

/// Answers with its environment, a line each, and the names of its folders.
const WORLD: &str = r#"
    (data (i32.const 1024) "=")
    (data (i32.const 1025) "\n")
    (func $line (param $stream i32) (param $at i32) (param $len i32) (param $end i32)
      (drop (call $write (local.get $stream) (local.get $at) (local.get $len)))
      (drop (call $write (local.get $stream) (local.get $end) (i32.const 1))))
    (func (export "handle") (param $request i32) (param $out i32)
      (local $stream i32) (local $at i32) (local $n i32)
      (local.set $stream (call $begin (local.get $out) (i32.const 200)))
      (call $get_environment (i32.const 32))
      (local.set $at (i32.load (i32.const 32)))
      (local.set $n (i32.load (i32.const 36)))
      (block $end
        (loop $next
          (br_if $end (i32.eqz (local.get $n)))
          (call $line (local.get $stream) (i32.load (local.get $at))
            (i32.load offset=4 (local.get $at)) (i32.const 1024))
          (call $line (local.get $stream) (i32.load offset=8 (local.get $at))
            (i32.load offset=12 (local.get $at)) (i32.const 1025))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br $next)))
      (call $get_directories (i32.const 32))
      (local.set $at (i32.load (i32.const 32)))
      (local.set $n (i32.load (i32.const 36)))
      (block $end
        (loop $next
          (br_if $end (i32.eqz (local.get $n)))
          (call $line (local.get $stream) (i32.load offset=4 (local.get $at))
            (i32.load offset=8 (local.get $at)) (i32.const 1025))
          (local.set $at (i32.add (local.get $at) (i32.const 12)))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br $next)))
      (call $finish (local.get $stream)))"#;

#[tokio::test]
async fn a_guest_sees_its_environment_and_its_folders() {
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount { host: folder.path().to_owned(), guest: "/assets".to_owned() };
    let mut app = Builder::only(WORLD).mount("only", mount);
    app.env.insert("FROM".to_owned(), "node".to_owned());
    let got = app.build().get("/").await;
    assert_eq!(got.text, "OTHER=x\nFROM=node\n/assets\n");
}

#[tokio::test]
async fn what_guests_print_is_logged_line_by_line() {
    let app = Builder::only(
        r#"
        (data (i32.const 1024) "one\ntwo")
        (func (export "handle") (param $request i32) (param $out i32)
          (call $print (i32.const 1024) (i32.const 5))
          (call $print (i32.const 1029) (i32.const 2))
          (drop (call $write (call $get_stderr) (i32.const 1024) (i32.const 3)))
          (call $respond (local.get $out) (i32.const 200) (i32.const 1024) (i32.const 0)))"#,
    );
    let app = app.build();
    assert_eq!(app.get("/").await.status, 200);
    // The last line of a stream has no newline: it is written when the instance has gone.
    assert_eq!(app.log.of(LogStream::Stdout), ["one", "two"]);
    assert_eq!(app.log.of(LogStream::Stderr), ["one"]);
}
