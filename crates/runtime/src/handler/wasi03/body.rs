//! Bodies of responses: read ahead where all of it is there, watched for their end where it is not.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures::stream;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, StreamBody};
use wasmtime_wasi_http::{Error, WasiBody};

use super::instance::Slot;

/// Reads what is there already. `Ok` with a body that needs the guest no more, if that is all of it.
///
/// One buffer of the guest and the trailers are all that the engine holds, so this is bounded.
pub(super) fn settle(mut body: WasiBody) -> Result<WasiBody, WasiBody> {
    let mut context = Context::from_waker(Waker::noop());
    let mut frames = Vec::new();
    loop {
        match Pin::new(&mut body).poll_frame(&mut context) {
            Poll::Ready(Some(frame)) => {
                let is_end = frame.is_err();
                frames.push(frame);
                if is_end {
                    return Ok(whole(frames));
                }
            }
            Poll::Ready(None) => return Ok(whole(frames)),
            Poll::Pending if frames.is_empty() => return Err(body),
            Poll::Pending => return Err(Resumed { begun: frames.into_iter(), body }.boxed_unsync()),
        }
    }
}

fn whole(mut frames: Vec<Result<Frame<Bytes>, Error>>) -> WasiBody {
    let one = match (frames.pop(), frames.is_empty()) {
        (None, _) => Ok(Bytes::new()),
        (Some(Ok(frame)), true) => frame.into_data().map_err(Ok),
        (Some(last), _) => Err(last),
    };
    match one {
        // Its length is known, which spares the client the chunks.
        Ok(data) => Full::new(data).map_err(|never| match never {}).boxed_unsync(),
        Err(last) => {
            frames.push(last);
            StreamBody::new(stream::iter(frames)).boxed_unsync()
        }
    }
}

/// A body of which something was read already.
struct Resumed {
    begun: std::vec::IntoIter<Result<Frame<Bytes>, Error>>,
    body: WasiBody,
}

impl Body for Resumed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.begun.next() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.begun.as_slice().is_empty() && self.body.is_end_stream()
    }
}

/// A body that a guest still writes.
pub(super) struct Watched {
    body: WasiBody,
    slot: Arc<Slot>,
}

impl Watched {
    pub(super) fn watch(body: WasiBody, slot: &Arc<Slot>) -> WasiBody {
        Self { body, slot: slot.clone() }.boxed_unsync()
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            // An instance that ended leaves its bodies looking as if they were complete.
            Poll::Ready(None) if self.slot.has_failed() => {
                return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
            }
            Poll::Ready(None) => self.slot.body_ended(),
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => self.slot.body_ended(),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        !self.slot.has_failed() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.slot.body_ended();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn body(receiver: mpsc::Receiver<&'static str>) -> WasiBody {
        let frames = stream::unfold(receiver, |mut receiver| async {
            let text = receiver.recv().await?;
            Some((Ok(Frame::data(Bytes::from(text))), receiver))
        });
        StreamBody::new(frames).boxed_unsync()
    }

    #[tokio::test]
    async fn what_is_all_there_has_a_length() {
        let (send, receive) = mpsc::channel(4);
        send.try_send("all of it").unwrap();
        drop(send);
        let body = settle(body(receive)).unwrap_or_else(|_| panic!("it is all there"));
        assert_eq!(body.size_hint().exact(), Some(9));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "all of it");
        let empty = settle(Full::default().map_err(|never| match never {}).boxed_unsync());
        assert_eq!(
            empty.unwrap_or_else(|_| panic!("there is nothing to wait for")).size_hint().exact(),
            Some(0)
        );
    }

    #[tokio::test]
    async fn what_is_not_all_there_goes_on() {
        let (send, receive) = mpsc::channel(4);
        send.try_send("one, ").unwrap();
        send.try_send("two, ").unwrap();
        let Err(body) = settle(body(receive)) else { panic!("more may come") };
        send.try_send("three").unwrap();
        drop(send);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "one, two, three");
    }
}
