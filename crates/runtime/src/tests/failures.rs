//! What becomes of guests that fail.

use gyre_model::LogStream;
use http::{Method, Request};
use serde_json::json;

use crate::{
    LoadError, ProbeError, Runtime, RuntimeConfig,
    testing::{Builder, HELLO, TestApp, guest},
};

#[tokio::test]
async fn a_trap_is_a_500_with_an_empty_body_and_its_backtrace_is_in_the_log() {
    let app = Builder::only(
        r#"
        (func $inner (export "inner_function") unreachable)
        (func (export "handle") (param i32 i32) (call $inner))"#,
    );
    let app = app.build();
    let got = app.get("/").await;
    assert_eq!((got.status, got.text.as_str()), (500, ""));
    let said = app.log.host();
    let first = said.lines().next().unwrap();
    assert_eq!(first, "the guest failed: wasm trap: wasm `unreachable` instruction executed");
    assert!(said.contains("wasm backtrace"), "{said}");
    assert!(said.contains("inner"), "{said}");
    assert_eq!(app.app.stats().failures, 1);
    assert_eq!(app.get("/").await.status, 500);
    assert_eq!(app.app.stats().requests, 2);
}

#[tokio::test]
async fn a_guest_that_gives_no_response_or_an_error_is_a_500() {
    let silent = Builder::only(r#"(func (export "handle") (param i32 i32))"#).build();
    assert_eq!(silent.get("/").await.status, 500);
    assert_eq!(silent.log.host(), "the guest returned without a response");

    let refusing = Builder::only(
        r#"
        (func (export "handle") (param $request i32) (param $out i32)
          (call $set (local.get $out) (i32.const 1) (i32.const 15)
            (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))"#,
    );
    let refusing = refusing.build();
    assert_eq!(refusing.get("/").await.status, 500);
    let said = refusing.log.host();
    assert_eq!(said, "the guest answered with ErrorCode::HttpRequestDenied");
}

/// Begins a response, writes, sleeps so that the head is sent, and then does as `end` says.
fn after_the_head(end: &str) -> TestApp {
    let app = Builder::only(&format!(
        r#"
        (data (i32.const 1024) "begun")
        (func (export "handle") (param $request i32) (param $out i32)
          (local $stream i32)
          (local.set $stream (call $begin (local.get $out) (i32.const 200)))
          (drop (call $write (local.get $stream) (i32.const 1024) (i32.const 5)))
          (call $sleep_ms (i64.const 5))
          {end})"#
    ));
    app.build()
}

#[tokio::test]
async fn a_trap_after_the_head_breaks_the_response_off() {
    let app = after_the_head("unreachable");
    let got = app.get("/").await;
    assert_eq!((got.status, got.text.as_str(), got.is_whole), (200, "begun", false));
    assert!(app.log.host().contains("unreachable"));
}

#[tokio::test]
async fn a_trap_after_the_end_leaves_the_response_whole() {
    let app = after_the_head("(call $finish (local.get $stream)) unreachable");
    let got = app.get("/").await;
    assert_eq!((got.status, got.text.as_str(), got.is_whole), (200, "begun", true));
    assert!(app.log.host().contains("unreachable"));
}

#[tokio::test]
async fn a_trap_in_the_turn_of_the_response_counts_only_if_that_was_not_finished() {
    let with = |end: &str| {
        let app = Builder::only(&format!(
            r#"
            (data (i32.const 1024) "whole")
            (func (export "handle") (param $request i32) (param $out i32)
              (local $stream i32)
              (local.set $stream (call $begin (local.get $out) (i32.const 201)))
              (drop (call $write (local.get $stream) (i32.const 1024) (i32.const 5)))
              {end})"#
        ));
        app.build()
    };
    let finished = with("(call $finish (local.get $stream)) unreachable");
    let got = finished.get("/").await;
    assert_eq!((got.status, got.text.as_str(), got.is_whole), (201, "whole", true));
    assert!(finished.log.host().contains("unreachable"));
    assert_eq!(with("unreachable").get("/").await.status, 500);
    let exits = with("(call $finish (local.get $stream)) (call $exit (i32.const 0))");
    assert_eq!(exits.get("/").await.text, "whole");
    assert_eq!(exits.log.host(), "");
    let fails = with("(call $exit (i32.const 1))");
    assert_eq!(fails.get("/").await.status, 500);
    assert!(fails.log.host().contains("Exited with i32 exit status 1"), "{}", fails.log.host());
}

#[tokio::test]
async fn a_guest_may_go_on_when_its_response_is_over() {
    let app = after_the_head(
        r"
        (call $finish (local.get $stream))
        (call $sleep_ms (i64.const 20))
        (call $print (i32.const 1024) (i32.const 5))",
    );
    let got = app.get("/").await;
    assert!(got.is_whole);
    assert_eq!(app.log.of(LogStream::Stdout), [""; 0]);
    assert!(app.app.drain(std::time::Duration::from_secs(20)).await);
    assert_eq!(app.log.of(LogStream::Stdout), ["begun"]);
}

#[tokio::test]
async fn a_guest_answers_head_as_it_answers_get() {
    let app = after_the_head(
        r"
        (drop (call $write (local.get $stream) (i32.const 1024) (i32.const 5)))
        (call $finish (local.get $stream))
        (call $print (i32.const 1024) (i32.const 5))",
    );
    let request = Request::builder().method(Method::HEAD).uri("http://example.com/");
    // The connection drops the body of an answer to HEAD without reading it.
    drop(app.begin(request.body(()).unwrap()).await);
    assert!(app.app.drain(std::time::Duration::from_secs(20)).await);
    assert_eq!(app.log.of(LogStream::Stdout), ["begun"]);
    assert_eq!(app.log.host(), "");
}

#[tokio::test]
async fn a_panic_of_the_host_is_a_500_and_others_are_served() {
    let config = RuntimeConfig { instances: 10, ..RuntimeConfig::default() };
    let runtime = Runtime::new(config).unwrap();
    let body = r#"(func (export "handle") (param i32 i32) (call $panic))"#;
    let app = Builder::only(body).build_with(&runtime, |spec| spec);
    let neighbour = Builder::only(HELLO).build_with(&runtime, |spec| spec);
    let (got, other) = tokio::join!(app.get("/"), neighbour.get("/"));
    assert_eq!((got.status, got.text.as_str()), (500, ""));
    assert_eq!(other.text, "hello");
    assert_eq!(app.log.host(), "the host failed while it served the guest");
    assert_eq!(runtime.panics(), 1);
    for _ in 0..100 {
        assert_eq!(app.get("/").await.status, 500);
    }
    assert_eq!(neighbour.get("/").await.text, "hello");
}

#[tokio::test]
async fn a_panic_after_the_head_breaks_the_response_off() {
    let app = after_the_head("(call $panic)");
    let got = app.get("/").await;
    assert_eq!((got.status, got.text.as_str(), got.is_whole), (200, "begun", false));
}

#[tokio::test]
async fn an_app_that_cannot_be_loaded_says_why_in_its_log() {
    let core = wat::parse_str(r#"(module (import "env" "magic" (func)))"#).unwrap();
    let app = Builder::new().component("core", &json!("/..."), &core).build();
    assert_eq!(app.get("/").await.status, 500);
    let said = app.log.host();
    assert!(said.contains("component \"core\" does not compile: the module cannot"), "{said}");
    let error = app.app.probe().await.unwrap_err();
    let ProbeError::Load(error) = error else { panic!("{error}") };
    assert!(matches!(*error, LoadError::Compile(_)));
}

#[tokio::test]
async fn a_probe_tells_what_cannot_be_linked_and_what_traps_at_its_start() {
    let probe = async |wasm: &[u8]| {
        let app = Builder::new().component("it", &json!("/..."), wasm).build();
        let error = app.app.probe().await.unwrap_err();
        let text = gyre_telemetry::chain(&error);
        // Nothing was asked of it, so nothing is in its log.
        assert_eq!(app.log.host(), "");
        (error, text)
    };
    let missing =
        r#"(component (import "acme:unknown/thing@1.0.0" (instance (export "f" (func)))))"#;
    let (error, text) = probe(&wat::parse_str(missing).unwrap()).await;
    assert!(matches!(error, ProbeError::Load(error) if matches!(*error, LoadError::Link { .. })));
    assert!(text.contains("acme:unknown/thing@1.0.0"), "{text}");

    let (error, text) = probe(&wat::parse_str("(component)").unwrap()).await;
    assert!(
        matches!(error, ProbeError::Load(error) if matches!(*error, LoadError::Handler { .. }))
    );
    assert!(text.contains("wasi:http/incoming-handler@0.2.x"), "{text}");

    let trapping = format!("{HELLO} (func $start unreachable) (start $start)");
    let (error, text) = probe(&guest(&trapping)).await;
    assert!(matches!(error, ProbeError::Instantiate { .. }), "{text}");
    assert!(text.contains("unreachable") && text.contains("backtrace"), "{text}");

    let app = Builder::only(HELLO).build();
    app.app.probe().await.unwrap();
}
