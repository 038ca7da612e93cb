//! A program's standard input, which is the request's body, and its standard output, which is the response.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::sync::mpsc;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_http::{Error, WasiBody};

use super::{
    HELD_BYTES,
    head::{self, HEAD_BYTES, Head, HeadError},
};

/// So many pieces of the body may wait for the client.
const PIECES: usize = 16;

/// The most that a program may print at once.
const WRITE_BYTES: usize = 64 << 10;

/// A request's body, read by a program.
pub(super) struct BodyInput {
    body: WasiBody,
    piece: Bytes,
    state: InputState,
}

enum InputState {
    Open,
    Ended,
    Failed(Option<String>),
}

impl BodyInput {
    pub(super) fn new(body: WasiBody) -> Self {
        Self { body, piece: Bytes::new(), state: InputState::Open }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for BodyInput {
    async fn ready(&mut self) {
        while self.piece.is_empty() && matches!(self.state, InputState::Open) {
            match self.body.frame().await {
                // Trailers are not told to programs.
                Some(Ok(frame)) => self.piece = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => self.state = InputState::Failed(Some(error.to_string())),
                None => self.state = InputState::Ended,
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for BodyInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if !self.piece.is_empty() {
            return Ok(self.piece.split_to(size.min(self.piece.len())));
        }
        match &mut self.state {
            InputState::Open => Ok(Bytes::new()),
            InputState::Ended | InputState::Failed(None) => Err(StreamError::Closed),
            InputState::Failed(error) => Err(StreamError::LastOperationFailed(
                wasmtime::Error::msg(error.take().unwrap_or_default()),
            )),
        }
    }
}

/// What a program prints, on its way to the client. All handles are one.
#[derive(Clone, Default)]
pub(super) struct Output(Arc<Mutex<Printed>>);

/// What becomes of a response's body when it is cut off.
type Piece = Result<Bytes, Error>;

/// How far a response is.
enum Printed {
    /// The head is not whole.
    Head(BytesMut),
    /// The body is held back.
    Held(Head, BytesMut),
    /// The response is on its way.
    Sent(mpsc::Sender<Piece>),
    /// It is no response.
    Wrong(HeadError),
    /// It is over.
    Over,
}

impl Default for Printed {
    fn default() -> Self {
        Self::Head(BytesMut::new())
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Printed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The response with what was printed so far, if there is one that was held back until now.
    pub(super) fn release(&self) -> Option<Response<WasiBody>> {
        let mut printed = self.lock();
        let (sender, receiver) = mpsc::channel(PIECES);
        match std::mem::replace(&mut *printed, Printed::Sent(sender)) {
            Printed::Held(head, body) => {
                let mut first = Some(body.freeze()).filter(|body| !body.is_empty());
                let mut receiver: mpsc::Receiver<Piece> = receiver;
                let pieces = futures::stream::poll_fn(move |cx| match first.take() {
                    Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                    None => receiver.poll_recv(cx).map(|piece| piece.map(|it| it.map(Frame::data))),
                });
                Some(response(head, StreamBody::new(pieces).boxed_unsync()))
            }
            other => {
                *printed = other;
                None
            }
        }
    }

    /// The whole response of a program that has ended, if it was held back until now.
    ///
    /// # Errors
    /// What it printed is none.
    pub(super) fn finish(&self) -> Result<Option<Response<WasiBody>>, HeadError> {
        match std::mem::replace(&mut *self.lock(), Printed::Over) {
            Printed::Head(printed) if printed.is_empty() => Err(HeadError::Empty),
            Printed::Head(_) => Err(HeadError::Unfinished),
            Printed::Wrong(error) => Err(error),
            Printed::Held(head, body) => {
                let body = Full::new(body.freeze()).map_err(|never| match never {});
                Ok(Some(response(head, body.boxed_unsync())))
            }
            Printed::Sent(_) | Printed::Over => Ok(None),
        }
    }

    /// Cuts a response off that is on its way.
    pub(super) fn abandon(&self) {
        if let Printed::Sent(sender) = std::mem::replace(&mut *self.lock(), Printed::Over) {
            // If the client is slow, the body ends with the sender; and as the guest failed, it is not taken as whole.
            let _ = sender.try_send(Err(Error::ConnectionTerminated));
        }
    }
}

fn response(head: Head, body: WasiBody) -> Response<WasiBody> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

impl Printed {
    /// Takes in what is printed before the response is on its way.
    fn add(&mut self, bytes: &[u8]) {
        match self {
            Self::Head(printed) => {
                printed.extend_from_slice(bytes);
                let Some((end, body)) = head::end(printed) else {
                    if printed.len() > HEAD_BYTES {
                        *self = Self::Wrong(HeadError::TooLong);
                    }
                    return;
                };
                *self = match head::parse(&printed[..end]) {
                    Ok(head) => Self::Held(head, printed.split_off(body)),
                    Err(error) => Self::Wrong(error),
                };
            }
            Self::Held(_, body) => body.extend_from_slice(bytes),
            Self::Sent(_) | Self::Wrong(_) | Self::Over => {}
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        loop {
            let sender = match &*self.lock() {
                Printed::Sent(sender) => Some(sender.clone()),
                Printed::Held(_, body) if body.len() >= HELD_BYTES => None,
                _ => return,
            };
            match sender {
                // That nobody reads any more is said when it is written to.
                Some(sender) => return drop(sender.reserve().await),
                // Waiting is what releases the response: see the module's poll.
                None => tokio::task::yield_now().await,
            }
        }
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut printed = self.lock();
        match &mut *printed {
            Printed::Sent(sender) => sender.try_send(Ok(bytes)).map_err(|_| StreamError::Closed),
            Printed::Over => Err(StreamError::Closed),
            printed => {
                printed.add(&bytes);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match &*self.lock() {
            Printed::Sent(sender) if sender.is_closed() => Err(StreamError::Closed),
            Printed::Sent(sender) if sender.capacity() == 0 => Ok(0),
            Printed::Held(_, body) if body.len() >= HELD_BYTES => Ok(0),
            Printed::Over => Err(StreamError::Closed),
            _ => Ok(WRITE_BYTES),
        }
    }
}
