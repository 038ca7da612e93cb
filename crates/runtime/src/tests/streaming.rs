//! Bodies in both directions while the guest runs, and clients that go away.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use gyre_model::{BoxError, LogStream};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use crate::testing::{Builder, collect, connection, get};

/// Answers with the request's body, piece by piece.
const ECHO: &str = r#"
    (func (export "handle") (param $request i32) (param $out i32)
      (local $in i32) (local $stream i32)
      (local.set $in (call $input (local.get $request)))
      (local.set $stream (call $begin (local.get $out) (i32.const 200)))
      (block $end
        (loop $more
          (br_if $end (call $read (local.get $in) (i64.const 4096)))
          (br_if $end (call $write (local.get $stream)
            (i32.load (i32.const 20)) (i32.load (i32.const 24))))
          (br $more)))
      (call $finish (local.get $stream)))"#;

/// A body that comes through a channel.
pub(super) struct Piped(mpsc::UnboundedReceiver<Result<Bytes, BoxError>>);

impl Body for Piped {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

pub(super) fn pipe() -> (mpsc::UnboundedSender<Result<Bytes, BoxError>>, Piped) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Piped(receiver))
}

#[tokio::test]
async fn each_piece_is_echoed_before_the_next_is_sent() {
    let app = Builder::only(ECHO).build();
    let (sender, body) = pipe();
    let response = app.app.call(get("/").map(|()| body), connection()).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    for n in 0..100 {
        let piece = Bytes::from(format!("piece {n}"));
        sender.send(Ok(piece.clone())).unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(sender);
    assert!(body.frame().await.is_none());
    assert!(app.app.drain(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_large_body_passes_through_whole() {
    let app = Builder::only(ECHO).build();
    let (sender, body) = pipe();
    let piece = Bytes::from("0123456789abcdef".repeat(1024));
    for _ in 0..64 {
        sender.send(Ok(piece.clone())).unwrap();
    }
    drop(sender);
    let response = app.app.call(get("/").map(|()| body), connection()).await;
    let got = collect(response).await;
    assert!(got.is_whole);
    assert_eq!(got.text, "0123456789abcdef".repeat(64 * 1024));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_guest_at_every_point() {
    // The guest prints at each step, so that it can be seen how far it got.
    let app = Builder::only(
        r#"
        (data (i32.const 1024) "step\n")
        (func (export "handle") (param $request i32) (param $out i32)
          (local $stream i32) (local $n i32)
          (call $print (i32.const 1024) (i32.const 5))
          (call $sleep_ms (i64.const 1))
          (local.set $stream (call $begin (local.get $out) (i32.const 200)))
          (local.set $n (i32.const 5))
          (loop $more
            (drop (call $write (local.get $stream) (i32.const 1024) (i32.const 5)))
            (call $print (i32.const 1024) (i32.const 5))
            (call $sleep_ms (i64.const 1))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br_if $more (local.get $n)))
          (call $finish (local.get $stream))
          (call $print (i32.const 1024) (i32.const 5)))"#,
    );
    let app = app.build();
    app.app.load().await.unwrap();
    let all_steps = 7;
    for polls in 0.. {
        let before = app.log.of(LogStream::Stdout).len();
        let mut whole = Box::pin(async { collect(app.begin(get("/")).await).await });
        // The n-th time that it waits, the client is gone.
        let mut left = polls;
        let got = std::future::poll_fn(|cx| match whole.as_mut().poll(cx) {
            Poll::Ready(got) => Poll::Ready(Some(got)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => {
                left -= 1;
                Poll::Pending
            }
        });
        let is_done = got.await.is_some();
        drop(whole);
        if is_done {
            let steps = app.log.of(LogStream::Stdout).len() - before;
            assert_eq!(steps, all_steps);
            assert!(polls >= 4, "the guest hardly waited");
            break;
        }
    }
    assert!(app.app.drain(Duration::from_secs(10)).await);
    assert_eq!(app.log.host(), "", "who is dropped has not failed");
    // Its instances were discarded: others serve.
    assert!(app.get("/").await.is_whole);
}

#[tokio::test]
async fn a_request_that_breaks_off_is_an_error_to_the_guest_and_no_panic() {
    let app = Builder::only(ECHO).build();
    let (sender, body) = pipe();
    sender.send(Ok(Bytes::from_static(b"a"))).unwrap();
    sender.send(Err("connection reset".into())).unwrap();
    let response = app.app.call(get("/").map(|()| body), connection()).await;
    let got = collect(response).await;
    assert_eq!((got.status, got.text.as_str()), (200, "a"));
}

#[tokio::test]
async fn a_request_larger_than_its_limit_is_refused() {
    let app = Builder::only(ECHO).limits(|limits| limits.request_body_bytes = Some(10)).build();
    let small = app.app.call(get("/").map(|()| crate::testing::full("0123456789")), connection());
    assert_eq!(collect(small.await).await.text, "0123456789");
    let large = app.app.call(get("/").map(|()| crate::testing::full("0123456789a")), connection());
    assert_eq!(collect(large.await).await.status, 413);
    // One that does not say how long it is breaks off.
    let (sender, body) = pipe();
    for _ in 0..3 {
        sender.send(Ok(Bytes::from_static(b"01234"))).unwrap();
    }
    let got = collect(app.app.call(get("/").map(|()| body), connection()).await).await;
    assert_eq!(got.text, "0123401234");
}

#[tokio::test]
async fn the_connection_may_stop_asking_at_the_announced_length() {
    let app = Builder::only(
        r#"
        (data (i32.const 1024) "content-length")
        (data (i32.const 1040) "5")
        (data (i32.const 1044) "12345")
        (func (export "handle") (param $request i32) (param $out i32)
          (local $fields i32) (local $stream i32)
          (local.set $fields (call $fields))
          (call $append (local.get $fields)
            (i32.const 1024) (i32.const 14) (i32.const 1040) (i32.const 1))
          (local.set $stream (call $begin_with
            (local.get $out) (i32.const 200) (local.get $fields)))
          (drop (call $write (local.get $stream) (i32.const 1044) (i32.const 5)))
          (call $sleep_ms (i64.const 5))
          (call $finish (local.get $stream))
          (call $print (i32.const 1044) (i32.const 5)))"#,
    );
    let app = app.build();
    let response = app.begin(get("/")).await;
    let mut body = response.into_body();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "12345");
    drop(body);
    assert!(app.app.drain(Duration::from_secs(10)).await);
    assert_eq!(app.log.of(LogStream::Stdout), ["12345"]);
}
