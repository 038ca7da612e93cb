//! The body of a response on its way to the guest.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{sync::OwnedSemaphorePermit, time::Sleep};
use wasmtime_wasi_http::Error;

/// A body that gives up when nothing comes for too long, and keeps the instance's permit until it has ended or
/// the guest drops it.
pub(super) struct ResponseBody<B> {
    /// `None` once it has ended: what it holds is free at once.
    body: Option<B>,
    patience: Duration,
    /// Runs while the body is waited for.
    timer: Option<Pin<Box<Sleep>>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B, patience: Duration, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { body: Some(body), patience, timer: None, permit }
    }

    fn end(&mut self) {
        self.body = None;
        self.permit = None;
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: IntoError,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            this.timer = None;
            if !matches!(frame, Some(Ok(_))) {
                this.end();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(IntoError::into_error)));
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(this.patience)));
        ready!(timer.as_mut().poll(cx));
        this.end();
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Becomes what a guest is told.
pub(super) trait IntoError {
    fn into_error(self) -> Error;
}

impl IntoError for Error {
    fn into_error(self) -> Error {
        self
    }
}

impl IntoError for hyper::Error {
    fn into_error(self) -> Error {
        super::error::from_hyper(&self)
    }
}
