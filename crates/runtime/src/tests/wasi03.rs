//! Components of WASI 0.3: instances that answer many requests, and what ends them.

use std::time::Duration;

use futures::future::join_all;
use gyre_model::LogStream;
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::{
    Range, ReuseConfig, Runtime,
    testing::{Builder, GUEST_03, TestApp, get, runtime, until},
};

fn builder(text: &str) -> Builder {
    Builder::new().component("only", &json!("/..."), &wat::parse_str(text).unwrap())
}

fn reusing(builder: Builder, change: impl FnOnce(&mut ReuseConfig)) -> TestApp {
    let mut reuse = ReuseConfig::default();
    change(&mut reuse);
    builder.build_with(&runtime(), |spec| crate::AppSpec { reuse, ..spec })
}

fn app() -> TestApp {
    builder(GUEST_03).build()
}

/// The number of the request in the instance that answers it.
async fn count(app: &TestApp) -> String {
    let got = app.get("/c").await;
    assert_eq!(got.status, 200, "{}", app.log.host());
    got.text
}

const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

#[tokio::test]
async fn an_instance_answers_one_request_after_another() {
    let app = app();
    let got = app.get("/").await;
    assert_eq!((got.status, &*got.text, got.is_whole), (200, "hello", true), "{}", app.log.host());
    assert_eq!(count(&app).await, "2");
    assert_eq!(count(&app).await, "3");
    assert_eq!(app.app.stats().requests, 3);
    assert_eq!(app.log.host(), "");
}

#[tokio::test]
async fn it_is_let_go_of_after_its_last_request_and_when_it_is_idle() {
    let app = reusing(builder(GUEST_03), |reuse| reuse.requests = Range::value(2));
    assert_eq!([count(&app).await, count(&app).await, count(&app).await], ["1", "2", "1"]);

    let app = reusing(builder(GUEST_03), |reuse| reuse.idle_time = Range::value(ms(50)));
    assert_eq!([count(&app).await, count(&app).await], ["1", "2"]);
    tokio::time::sleep(ms(400)).await;
    assert_eq!(count(&app).await, "1");

    app.app.unload();
    assert_eq!(count(&app).await, "1");
}

#[tokio::test]
async fn the_release_candidate_is_served_as_well() {
    let candidate = GUEST_03.replace("@0.3.0", "@0.3.0-rc-2026-03-15");
    let app = builder(&candidate).build();
    assert_eq!([count(&app).await, count(&app).await], ["1", "2"]);
    // Some import both.
    let both = GUEST_03.replace("handler@0.3.0", "handler@0.3.0-rc-2026-03-15");
    assert_eq!(count(&builder(&both).build()).await, "1");
}

#[tokio::test]
async fn several_handlers_are_refused_and_named() {
    let several = GUEST_03.replace(
        r#"(export "wasi:http/handler@0.3.0" (instance $handler))"#,
        r#"(export "wasi:http/handler@0.3.0" (instance $handler))
           (export "wasi:http/incoming-handler@0.2.0" (instance $handler))
           (export "wasi:http/handler@0.3.0-rc-2026-03-15" (instance $handler))"#,
    );
    let app = builder(&several).build();
    let error = gyre_telemetry::chain(&*app.app.load().await.unwrap_err());
    let expected = "component exports multiple different handlers but it's expected to export only one: \
         wasi:http/handler@0.3.0, wasi:http/incoming-handler@0.2.0, wasi:http/handler@0.3.0-rc-2026-03-15";
    assert!(error.contains(expected), "{error}");
}

#[tokio::test]
async fn requests_share_an_instance_while_its_guest_waits() {
    let app = app();
    for _ in 0..2 {
        let (one, other) = tokio::join!(app.get("/m"), app.get("/m"));
        assert_eq!((one.status, other.status), (200, 200), "{}", app.log.host());
    }
    // Ten at once, one instance; it is idle afterwards.
    let all = join_all((0..10).map(|_| app.get("/w"))).await;
    assert!(all.iter().all(|got| got.status == 200 && got.text == "hello" && got.is_whole));
    assert_eq!(count(&app).await, char::from(b'0' + 15).to_string());
    assert_eq!(app.log.host(), "");
}

#[tokio::test]
async fn no_more_share_an_instance_than_may() {
    let limited = builder(GUEST_03).limits(|limits| limits.first_byte_time = Some(ms(150)));
    let app = reusing(limited, |reuse| reuse.concurrent = Range::value(1));
    let (one, other) = tokio::join!(app.get("/m"), app.get("/m"));
    assert_eq!(
        (one.status, other.status),
        (504, 504),
        "each waits for another in its own instance"
    );
    // A guest that takes no calls gets none.
    let app = builder(GUEST_03).build();
    let (blocked, other) = tokio::join!(app.get("/b"), app.get("/c"));
    assert_eq!((blocked.status, &*other.text), (200, "1"));
}

#[tokio::test]
async fn a_trap_ends_the_instance_and_all_that_are_in_it() {
    let app = app();
    assert_eq!(count(&app).await, "1");
    let got = app.get("/t").await;
    assert_eq!((got.status, &*got.text), (500, ""));
    assert!(app.log.host().contains("wasm trap: wasm `unreachable`"), "{}", app.log.host());
    assert_eq!(count(&app).await, "1");

    let all = tokio::join!(app.get("/f"), app.get("/u"), app.get("/s"));
    assert_eq!((all.0.status, all.1.status, all.2.status), (500, 500, 200));
    assert!(!all.2.is_whole, "its body has no end");
    until("all are counted", || app.app.stats().failures == 4).await;
    assert_eq!(count(&app).await, "1");
}

#[tokio::test]
async fn what_is_whole_before_a_trap_is_sent_and_what_is_not_breaks() {
    let app = app();
    let got = app.get("/g").await;
    assert_eq!((got.status, &*got.text, got.is_whole), (200, "hello", true));
    assert!(app.log.host().contains("unreachable"), "{}", app.log.host());
    let got = app.get("/h").await;
    assert!(got.status == 500 || !got.is_whole, "{got:?}");
    let got = app.get("/x").await;
    assert_eq!(got.status, 500);
    assert!(app.log.host().contains("the guest answered with ErrorCode::LoopDetected"));
}

#[tokio::test]
async fn a_request_that_is_given_up_ends_its_instance_or_only_itself() {
    let app = builder(GUEST_03).limits(|limits| limits.first_byte_time = Some(ms(100))).build();
    assert_eq!(count(&app).await, "1");
    assert_eq!(app.get("/f").await.status, 504);
    assert_eq!(count(&app).await, "1");

    // The other is answered by the instance in which the first one waits for ever.
    let late = async {
        tokio::time::sleep(ms(80)).await;
        app.get("/w").await
    };
    let (given_up, other) = tokio::join!(app.get("/f"), late);
    assert_eq!((given_up.status, other.status, &*other.text), (504, 200, "hello"));
    assert_eq!(count(&app).await, "1");
    let host = app.log.host();
    assert_eq!(host.matches("first_byte_time limit of 100ms reached").count(), 2, "{host}");
}

#[tokio::test]
async fn a_client_that_leaves_ends_what_is_done_for_it() {
    let app = app();
    let response = app.begin(get("/s")).await;
    let mut body = response.into_body();
    for _ in 0..3 {
        assert_eq!(&**body.frame().await.unwrap().unwrap().data_ref().unwrap(), b"hello");
    }
    drop(body);
    assert_eq!(app.app.in_flight(), 0);
    assert_eq!(count(&app).await, "1", "the instance ended with its only request");

    // With another in it, only the body ends.
    let body = app.begin(get("/s")).await.into_body();
    let other = async {
        let got = app.get("/w").await;
        drop(body);
        got
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), other).await.unwrap();
    assert_eq!(count(&app).await, "1");
}

#[tokio::test]
async fn limits_hold_in_instances_that_are_used_again() {
    let limits = |limits: &mut gyre_model::Limits| limits.cpu_time = Some(ms(60));
    let app = builder(GUEST_03).limits(limits).build();
    for _ in 0..3 {
        assert_eq!(app.get("/c").await.status, 200);
    }
    assert_eq!(app.get("/l").await.status, 504);
    assert!(app.log.host().contains("cpu_time limit of 60ms reached"), "{}", app.log.host());
    assert_eq!(count(&app).await, "1");
    // One that loops takes those with it that are in its instance, after what they may use together.
    let (waiting, looping) = tokio::join!(app.get("/f"), app.get("/l"));
    assert_eq!((waiting.status, looping.status), (504, 504));

    let app = reusing(builder(GUEST_03), |reuse| reuse.request_time = Some(Range::value(ms(50))));
    assert_eq!(app.get("/f").await.status, 500);
    assert!(app.log.host().contains("request timeout of 50ms reached"), "{}", app.log.host());
}

#[tokio::test]
async fn a_panic_of_the_host_ends_only_the_instance() {
    let app = app();
    let before = runtime().panics();
    assert_eq!(app.get("/p").await.status, 500);
    let (waiting, panicking) = tokio::join!(app.get("/f"), app.get("/p"));
    assert_eq!((waiting.status, panicking.status), (500, 500));
    assert!(runtime().panics() >= before + 2);
    assert_eq!(count(&app).await, "1");
}

#[tokio::test]
async fn a_guest_may_go_on_after_its_response() {
    let app = builder(GUEST_03).limits(|limits| limits.total_time = Some(ms(300))).build();
    let got = app.get("/a").await;
    assert_eq!((got.status, &*got.text, got.is_whole), (200, "hello", true));
    until("a line", || app.log.of(LogStream::Stdout) == ["line"]).await;
    until("it is at rest", || app.app.in_flight() == 0).await;
    assert_eq!(count(&app).await, "2");
    // But not for ever.
    assert_eq!(app.get("/o").await.status, 200);
    until("it is stopped", || app.log.host().contains("total_time limit of 300ms reached")).await;
    assert_eq!(count(&app).await, "1");
}

#[tokio::test]
async fn all_of_the_pool_is_for_those_that_work() {
    let config = crate::RuntimeConfig { instances: 4, ..crate::RuntimeConfig::default() };
    let runtime = Runtime::new(config).unwrap();
    let reuse = ReuseConfig { concurrent: Range::value(1), ..ReuseConfig::default() };
    let app = builder(GUEST_03).build_with(&runtime, |spec| crate::AppSpec { reuse, ..spec });
    for _ in 0..3 {
        let all = join_all((0..4).map(|_| app.get("/w"))).await;
        assert!(all.iter().all(|got| got.status == 200), "{}", app.log.host());
    }
    let refused = join_all((0..5).map(|_| app.get("/w"))).await;
    assert_eq!(refused.iter().filter(|got| got.status == 503).count(), 1);
}
