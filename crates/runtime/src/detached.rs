//! A call that runs in a task of its own, on the same thread.
//!
//! The engine runs no event loop of the component model within another one's, and a component that calls another of
//! its app would poll it from within its own. So a callee with such an event loop is polled by a task beside the
//! caller's, and its response comes through a channel of one frame.

use std::future::Future;

use bytes::Bytes;
use futures::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::{mpsc, oneshot};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::GuestBody;

/// Answers with what `call` answers; `None` if it panicked. Ends it when nobody waits for the answer any more.
pub(crate) async fn detached(
    call: impl Future<Output = Response<GuestBody>> + Send + 'static,
) -> Option<Response<WasiBody>> {
    let (answer, answered) = oneshot::channel();
    tokio::spawn(run(call, answer));
    let (head, frames) = answered.await.ok()?;
    let frames = stream::unfold(frames, |mut frames: Frames| async {
        frames.recv().await.map(|frame| (frame, frames))
    });
    Some(Response::from_parts(head, StreamBody::new(frames).boxed_unsync()))
}

type Frames = mpsc::Receiver<Result<Frame<Bytes>, Error>>;

async fn run(
    call: impl Future<Output = Response<GuestBody>>,
    mut answer: oneshot::Sender<(http::response::Parts, Frames)>,
) {
    let response = tokio::select! {
        response = call => response,
        () = answer.closed() => return,
    };
    let (head, body) = response.into_parts();
    let mut body = body.into_wasi();
    let (sender, frames) = mpsc::channel(1);
    if answer.send((head, frames)).is_err() {
        return;
    }
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = sender.closed() => return,
        };
        let Some(frame) = frame else { return };
        if sender.send(frame).await.is_err() {
            return;
        }
    }
}
