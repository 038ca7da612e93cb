//! Hostile guests end at their limits, and their neighbours do not notice.

use std::time::Duration;

use gyre_model::{Limits, LogStream};

use crate::testing::{Builder, HELLO, TestApp, get, until};

fn limited(body: &str, change: impl FnOnce(&mut Limits)) -> TestApp {
    Builder::only(body).limits(change).build()
}

const LOOP: &str = r#"(func (export "handle") (param i32 i32) (loop $l (br $l)))"#;

const SLEEP: &str = r#"
    (func (export "handle") (param $request i32) (param $out i32)
      (call $sleep_ms (i64.const 60000))
      (call $respond (local.get $out) (i32.const 200) (i32.const 1024) (i32.const 0)))"#;

#[tokio::test]
async fn an_endless_loop_ends_at_its_processor_time_and_lets_others_run_meanwhile() {
    let burning = limited(LOOP, |limits| limits.cpu_time = Some(Duration::from_millis(200)));
    let neighbour = Builder::only(HELLO).build();
    neighbour.get("/").await;
    burning.app.load().await.unwrap();
    // All on one thread: what the loop does not yield the neighbour does not get.
    let served = async {
        let mut served = 0;
        while burning.app.stats().failures == 0 {
            assert_eq!(neighbour.get("/").await.text, "hello");
            served += 1;
            tokio::task::yield_now().await;
        }
        served
    };
    let (got, served) = tokio::join!(burning.get("/"), served);
    assert_eq!((got.status, got.text.as_str()), (504, ""));
    assert!(served > 3, "the neighbour was served {served} times");
    let said = burning.log.host();
    assert!(said.starts_with("the guest was stopped: cpu_time limit of 200ms reached"), "{said}");
    assert!(said.contains("backtrace"), "{said}");
    assert!(burning.app.stats().cpu_time >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_loop_in_the_start_function_ends_too() {
    let body = format!("{HELLO} (func $start (loop $l (br $l))) (start $start)");
    let app = limited(&body, |limits| limits.cpu_time = Some(Duration::from_millis(50)));
    assert_eq!(app.get("/").await.status, 504);
    app.app.probe().await.unwrap_err();
}

#[tokio::test]
async fn waiting_costs_no_processor_time_but_ends_at_the_time_to_first_byte() {
    let app = limited(SLEEP, |limits| {
        limits.cpu_time = Some(Duration::from_millis(50));
        limits.first_byte_time = Some(Duration::from_millis(150));
    });
    assert_eq!(app.get("/").await.status, 504);
    assert_eq!(app.log.host(), "the guest was stopped: first_byte_time limit of 150ms reached");
}

/// Begins a response and then sleeps.
const STALLING: &str = r#"
    (data (i32.const 1024) "begun")
    (func (export "handle") (param $request i32) (param $out i32)
      (drop (call $write (call $begin (local.get $out) (i32.const 200))
        (i32.const 1024) (i32.const 5)))
      (call $sleep_ms (i64.const 60000)))"#;

#[tokio::test]
async fn a_response_that_never_ends_is_broken_off() {
    let total = Some(Duration::from_millis(150));
    let app = limited(STALLING, |limits| limits.total_time = total);
    let got = app.get("/").await;
    assert_eq!((got.status, got.text.as_str(), got.is_whole), (200, "begun", false));
    assert_eq!(app.log.host(), "the guest was stopped: total_time limit of 150ms reached");
}

#[tokio::test]
async fn a_client_that_never_reads_does_not_hold_the_guest_for_longer() {
    let total = Some(Duration::from_millis(150));
    let app = limited(STALLING, |limits| limits.total_time = total);
    let response = app.begin(get("/")).await;
    assert_eq!(app.app.in_flight(), 1);
    until("the guest has gone", || app.app.in_flight() == 0).await;
    assert!(app.log.host().contains("total_time"), "{}", app.log.host());
    drop(response);
}

#[tokio::test]
async fn what_goes_on_after_the_response_ends_at_the_total_time() {
    let app = limited(
        r#"
        (func (export "handle") (param $request i32) (param $out i32)
          (call $respond (local.get $out) (i32.const 200) (i32.const 1024) (i32.const 0))
          (call $sleep_ms (i64.const 60000)))"#,
        |limits| limits.total_time = Some(Duration::from_millis(100)),
    );
    assert!(app.get("/").await.is_whole);
    assert!(app.app.drain(Duration::from_secs(20)).await);
    assert!(app.log.host().contains("total_time"), "{}", app.log.host());
}

#[tokio::test]
async fn endless_growth_ends_at_the_memory_limit_and_the_log_says_so() {
    let app = limited(
        r#"
        (func (export "handle") (param i32 i32)
          (loop $more
            (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
          unreachable)"#,
        |limits| limits.memory_bytes = Some(8 << 20),
    );
    assert_eq!(app.get("/").await.status, 500);
    let said = app.log.host();
    assert!(said.starts_with("the guest failed: memory limit of 8 MiB reached"), "{said}");
}

#[tokio::test]
async fn a_guest_may_live_with_less_memory_than_it_asked_for() {
    let body = r#"
        (func (export "handle") (param $request i32) (param $out i32)
          (if (i32.ne (memory.grow (i32.const 1000)) (i32.const -1)) (then unreachable))
          (call $respond (local.get $out) (i32.const 200) (i32.const 1024) (i32.const 0)))"#;
    let app = limited(body, |limits| limits.memory_bytes = Some(8 << 20));
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(app.log.host(), "");
}

#[tokio::test]
async fn a_component_that_begins_with_too_much_memory_is_refused() {
    let body = format!("(memory $more 200) {HELLO}");
    let app = limited(&body, |limits| limits.memory_bytes = Some(8 << 20));
    assert_eq!(app.get("/").await.status, 500);
    assert!(app.log.host().contains("memory limit of 8 MiB"), "{}", app.log.host());
}

#[tokio::test]
async fn endless_recursion_is_a_trap() {
    let app = limited(
        r#"(func $f (export "handle") (param i32 i32)
        (call $f (local.get 0) (local.get 1)) (call $f (local.get 0) (local.get 1)))"#,
        |_| {},
    );
    assert_eq!(app.get("/").await.status, 500);
    assert!(app.log.host().contains("call stack exhausted"), "{}", app.log.host());
}

#[tokio::test]
async fn a_response_with_too_many_headers_is_a_500() {
    let body = r#"
        (data (i32.const 1024) "x-a")
        (func (export "handle") (param $request i32) (param $out i32)
          (local $fields i32) (local $n i32)
          (local.set $fields (call $fields))
          (local.set $n (i32.const 101))
          (loop $more
            (call $append (local.get $fields)
              (i32.const 1024) (i32.const 3) (i32.const 1024) (i32.const 1))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br_if $more (local.get $n)))
          (call $finish (call $begin_with
            (local.get $out) (i32.const 200) (local.get $fields))))"#;
    let app = limited(body, |limits| limits.response_headers = Some(100));
    assert_eq!(app.get("/").await.status, 500);
    assert_eq!(app.log.host(), "response_headers limit of 100 reached: the guest set 101");
    let app = limited(body, |limits| limits.response_headers = Some(101));
    assert_eq!(app.get("/").await.status, 200);
}

#[tokio::test]
async fn endless_headers_handles_and_random_numbers_end_at_their_limits() {
    let fields = r#"
        (data (i32.const 1024) "x-a")
        (func (export "handle") (param i32 i32) (local $fields i32)
          (local.set $fields (call $fields))
          (loop $more
            (call $append (local.get $fields)
              (i32.const 1024) (i32.const 3) (i32.const 1024) (i32.const 30000))
            (br $more)))"#;
    let handles = r#"
        (func (export "handle") (param i32 i32) (loop $more (drop (call $fields)) (br $more)))"#;
    let random = r#"
        (func (export "handle") (param i32 i32)
          (call $random_bytes (i64.const 1000001) (i32.const 16)))"#;
    let cases = [(fields, ""), (handles, "resource table"), (random, "1000001 random bytes")];
    for (body, reason) in cases {
        let app = limited(body, |limits| {
            limits.fields_bytes = 64 << 10;
            limits.resource_table_entries = 1_000;
            limits.random_bytes = 1_000_000;
        });
        assert_eq!(app.get("/").await.status, 500);
        let said = app.log.host();
        assert!(said.contains(reason), "{reason:?} is not in {said}");
    }
}

#[tokio::test]
async fn who_finds_no_place_is_asked_to_come_back() {
    let app = limited(SLEEP, |limits| {
        limits.concurrency = Some(1);
        limits.queue = Some(0);
        limits.first_byte_time = Some(Duration::from_millis(300));
    });
    app.app.load().await.unwrap();
    let (first, second) = tokio::join!(app.get("/"), app.get("/"));
    assert_eq!(first.status, 504);
    assert_eq!(second.status, 503);
    assert_eq!(second.headers["retry-after"], "1");
    let said = app.log.host();
    assert!(said.contains("concurrency limit of 1 and queue limit of 0 reached"), "{said}");
}

#[tokio::test]
async fn what_waits_in_the_queue_is_served_in_turn() {
    let body = r#"
        (func (export "handle") (param $request i32) (param $out i32)
          (call $sleep_ms (i64.const 5))
          (call $respond (local.get $out) (i32.const 200) (i32.const 1024) (i32.const 0)))"#;
    let app = limited(body, |limits| {
        limits.concurrency = Some(2);
        limits.queue = Some(20);
    });
    let got = futures::future::join_all((0..20).map(|_| app.get("/"))).await;
    assert!(got.iter().all(|got| got.status == 200));
    assert_eq!(app.app.in_flight(), 0);
}

#[tokio::test]
async fn endless_output_costs_processor_time_and_is_the_sinks_to_drop() {
    let body = r#"
        (func (export "handle") (param i32 i32) (local $stdout i32)
          (local.set $stdout (call $get_stdout))
          (loop $more
            (drop (call $write (local.get $stdout) (i32.const 1024) (i32.const 4096)))
            (br $more)))"#;
    let app = limited(body, |limits| limits.cpu_time = Some(Duration::from_millis(60)));
    assert_eq!(app.get("/").await.status, 504);
    let lines = app.log.of(LogStream::Stdout);
    assert!(lines.iter().all(|line| line.len() <= 1000) && !lines.is_empty());
}
