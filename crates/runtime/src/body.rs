//! A response's body, which runs the guest that writes it.
//!
//! The guest's future is polled when its output is, in the task of the connection: no task, no channel between
//! threads. When the response is complete and the guest is not done, it goes on in a task of its own, within its
//! limits; when the client goes away before that, the guest is dropped with the body.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use gyre_model::BoxError;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use wasmtime_wasi_http::WasiBody;

use crate::{
    failure::Failure,
    run::{Outcome, Run, Watched},
};

/// The body of an app's response.
pub struct GuestBody(Inner);

enum Inner {
    /// It is all there.
    Whole(Full<Bytes>),
    /// A guest writes it, or wrote it.
    Guest(Box<Streamed>),
}

struct Streamed {
    body: WasiBody,
    /// The guest, while it runs.
    run: Option<Running>,
    /// What is still to come, where the response says so.
    remaining: Option<u64>,
    state: State,
}

enum Running {
    Here(Run),
    Watched(Watched),
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// More is to come.
    Open,
    /// The guest failed; what it had written is still to be sent.
    Broken,
    /// The end was reached.
    Ended,
}

impl GuestBody {
    pub(crate) fn whole(body: Full<Bytes>) -> Self {
        Self(Inner::Whole(body))
    }

    /// A body that a guest writes; `run` is the guest if it is not done. `length` is what the response announces,
    /// 0 where it has no body at all (as the answer to HEAD).
    pub(crate) fn of_guest(body: WasiBody, run: Option<Run>, length: Option<u64>) -> Self {
        let run = run.map(|run| match Watched::begin(run) {
            Ok(watched) => Running::Watched(watched),
            Err(run) => Running::Here(run),
        });
        let streamed = Streamed { body, run, remaining: length, state: State::Open };
        Self(Inner::Guest(Box::new(streamed)))
    }

    /// The same as a body of `wasi:http`, for another guest to read.
    pub(crate) fn into_wasi(self) -> WasiBody {
        self.map_err(|_| wasmtime_wasi_http::Error::HttpResponseIncomplete).boxed_unsync()
    }
}

impl std::fmt::Debug for GuestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GuestBody")
    }
}

/// Why a body ends before its end. The client sees a transfer that broke; the app's log has the reason.
#[derive(Debug, thiserror::Error)]
#[error("the application did not finish its response")]
struct Unfinished;

impl Body for GuestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Inner::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Inner::Guest(streamed) => streamed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(body) => body.is_end_stream(),
            // True from the start for a response without a body. The guest may go on: see `Drop`.
            Inner::Guest(streamed) => {
                streamed.state != State::Broken && streamed.body.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(body) => body.size_hint(),
            Inner::Guest(streamed) => streamed.body.size_hint(),
        }
    }
}

impl Streamed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.state == State::Ended {
            return Poll::Ready(None);
        }
        let mut has_run = false;
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let sent = frame.data_ref().map_or(0, Bytes::len) as u64;
                    self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(sent));
                    return Poll::Ready(Some(Ok(frame)));
                }
                // A guest that was ended leaves its body looking as if it were complete.
                Poll::Ready(None)
                    if self.state == State::Open
                        && !self.run.as_ref().is_some_and(Running::is_late) =>
                {
                    self.state = State::Ended;
                    // Most have only to return now, which is not worth a task.
                    match self.run.as_mut().and_then(|run| run.poll(cx)) {
                        Some(Poll::Pending) | None => self.go_on(),
                        Some(Poll::Ready(Outcome::Done)) => self.run = None,
                        Some(Poll::Ready(Outcome::Failed { failure, .. })) => {
                            if let Some(run) = self.run.take() {
                                run.report(&failure);
                            }
                        }
                    }
                    return Poll::Ready(None);
                }
                // Broken, or given up by the guest, which may go on.
                Poll::Ready(None | Some(Err(_))) => {
                    self.state = State::Ended;
                    self.go_on();
                    return Poll::Ready(Some(Err(Unfinished.into())));
                }
                Poll::Pending if has_run => return Poll::Pending,
                Poll::Pending => {}
            }
            let Some(run) = &mut self.run else { return Poll::Pending };
            match run.poll(cx) {
                // What it wrote in this turn, if anything, is sent at once.
                Some(Poll::Pending) => has_run = true,
                Some(Poll::Ready(Outcome::Done)) => self.run = None,
                Some(Poll::Ready(Outcome::Failed { failure, is_answer_whole })) => {
                    run.report(&failure);
                    self.run = None;
                    if !is_answer_whole {
                        self.state = State::Broken;
                    }
                }
                None => {
                    self.run = None;
                    self.state = State::Broken;
                }
            }
        }
    }

    /// Nobody waits for the response any more. The guest may have more to do.
    fn go_on(&mut self) {
        if let Some(run) = self.run.take().and_then(Running::into_run) {
            tokio::spawn(run.finish(None));
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        // The connection stops asking at the last byte that was announced, before the end; and never asks at all
        // where there is no body to send.
        let is_complete = self.remaining == Some(0) && self.state == State::Open;
        if is_complete
            && let Some(run) = self.run.take().and_then(Running::into_run)
            && tokio::runtime::Handle::try_current().is_ok()
        {
            let none = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
            let rest = std::mem::replace(&mut self.body, none);
            tokio::spawn(run.finish(Some(rest)));
        }
    }
}

impl Running {
    /// Goes on with the guest; nothing where its time was up.
    fn poll(&mut self, cx: &mut Context<'_>) -> Option<Poll<Outcome>> {
        match self {
            Self::Here(run) => Some(run.poll(cx)),
            Self::Watched(watched) => watched.poll(cx),
        }
    }

    fn is_late(&self) -> bool {
        matches!(self, Self::Watched(watched) if watched.is_late())
    }

    fn report(&self, failure: &Failure) {
        match self {
            Self::Here(run) => run.report(failure),
            Self::Watched(watched) => watched.report(failure),
        }
    }

    fn into_run(self) -> Option<Run> {
        match self {
            Self::Here(run) => Some(run),
            Self::Watched(watched) => watched.into_run(),
        }
    }
}

/// A client's body as the guest reads it.
pub(crate) fn request_body<B>(body: B, limit: Option<u64>) -> WasiBody
where
    B: Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    use wasmtime_wasi_http::Error;
    match limit {
        None => body.map_err(|_| Error::ConnectionTerminated).boxed_unsync(),
        Some(limit) => {
            let size = usize::try_from(limit).unwrap_or(usize::MAX);
            let limited = http_body_util::Limited::new(body, size);
            limited.map_err(move |_| Error::HttpRequestBodySize(Some(limit))).boxed_unsync()
        }
    }
}
