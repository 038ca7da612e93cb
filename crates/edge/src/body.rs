//! The two bodies: a request's, held to the slowest rate that is allowed, and an answer's, which keeps the count of
//! what is being answered.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use gyre_model::BoxError;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{BodyRate, connection::Answering};

/// The body of a request, as an upstream gets it.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    pace: Option<Pace>,
}

/// A request's body came more slowly than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request's body came too slowly")]
pub struct SlowBody;

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, rate: Option<BodyRate>) -> Self {
        let pace = rate.filter(|_| !incoming.is_end_stream()).map(Pace::new);
        Self { incoming, pace }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(pace) = &mut this.pace {
                    pace.came(frame.data_ref().map_or(0, Bytes::len));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                if let Some(pace) = &mut this.pace {
                    ready!(pace.poll_too_slow(cx));
                    return Poll::Ready(Some(Err(SlowBody.into())));
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A sender's budget and the alarm that rings when it is used up.
#[derive(Debug)]
struct Pace {
    budget: Budget,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn new(rate: BodyRate) -> Self {
        Self { budget: Budget { rate, in_hand: rate.grace, waiting: None }, alarm: None }
    }

    fn came(&mut self, bytes: usize) {
        self.budget.came(bytes, Instant::now);
    }

    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let newly = self.budget.waiting.is_none();
        let deadline = self.budget.deadline(Instant::now);
        match &mut self.alarm {
            Some(alarm) if newly => alarm.as_mut().reset(deadline),
            Some(_) => {}
            None => self.alarm = Some(Box::pin(sleep_until(deadline))),
        }
        self.alarm.as_mut().map_or(Poll::Pending, |alarm| alarm.as_mut().poll(cx))
    }
}

/// How much time a sender has in hand. Only time that is spent waiting for it counts; each byte gives some back.
#[derive(Debug)]
struct Budget {
    rate: BodyRate,
    in_hand: Duration,
    waiting: Option<Instant>,
}

impl Budget {
    fn came(&mut self, bytes: usize, now: impl Fn() -> Instant) {
        if let Some(since) = self.waiting.take() {
            self.in_hand = self.in_hand.saturating_sub(now().saturating_duration_since(since));
        }
        let earned = bytes as f64 / f64::from(self.rate.bytes_per_second.max(1));
        let earned = Duration::try_from_secs_f64(earned).unwrap_or(Duration::MAX);
        self.in_hand = self.in_hand.saturating_add(earned).min(self.rate.grace);
    }

    /// When it is used up, if nothing comes from now on. The clock is read when the waiting begins.
    fn deadline(&mut self, now: impl Fn() -> Instant) -> Instant {
        *self.waiting.get_or_insert_with(now) + self.in_hand
    }
}

pin_project! {
    /// The body of an answer.
    pub(crate) struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
        // Counts the request as one being answered until the body is dropped.
        answering: Option<Answering>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        Upstream { #[pin] body: B },
        Own { text: &'static str },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn upstream(body: B, answering: Option<Answering>) -> Self {
        Self { kind: Kind::Upstream { body }, answering }
    }

    pub(crate) fn own(text: &'static str) -> Self {
        Self { kind: Kind::Own { text }, answering: None }
    }
}

impl<B: Body<Data = Bytes, Error = BoxError>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        match this.kind.project() {
            KindProjection::Upstream { body } => {
                let polled = body.poll_frame(cx);
                if let Some(answering) = this.answering {
                    answering.handed(matches!(polled, Poll::Ready(Some(Ok(_)))));
                }
                polled
            }
            KindProjection::Own { text } => {
                let text = std::mem::take(text);
                Poll::Ready((!text.is_empty()).then(|| Ok(Frame::data(text.as_bytes().into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Upstream { body } => body.is_end_stream(),
            Kind::Own { text } => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Upstream { body } => body.size_hint(),
            Kind::Own { text } => SizeHint::with_exact(text.len() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: BodyRate = BodyRate { bytes_per_second: 1000, grace: Duration::from_secs(30) };

    /// A sender of so many bytes every so many seconds; how many seconds it lasts, up to 1,000.
    fn lasts(bytes: usize, every: u64, first: usize) -> u64 {
        let mut budget = Budget { rate: RATE, in_hand: RATE.grace, waiting: None };
        let start = Instant::now();
        budget.came(first, || start);
        let mut second = 0;
        while second < 1000 {
            let now = start + Duration::from_secs(second);
            let next = now + Duration::from_secs(every);
            let deadline = budget.deadline(|| now);
            if deadline < next {
                return (deadline - start).as_secs();
            }
            budget.came(bytes, || next);
            second += every;
        }
        second
    }

    #[test]
    fn a_body_of_which_nothing_comes_ends_after_the_grace() {
        assert_eq!(lasts(0, 1, 0), 30);
        assert_eq!(lasts(1_000_000, 31, 0), 30);
    }

    #[test]
    fn a_body_that_keeps_the_rate_never_ends() {
        assert_eq!(lasts(1_000, 1, 0), 1000);
        assert_eq!(lasts(25_000, 25, 0), 1000);
    }

    #[test]
    fn a_body_that_trickles_ends() {
        // 0.1 s is earned in each second, from 30 s in hand.
        assert_eq!(lasts(100, 1, 0), 33);
    }

    #[test]
    fn a_quick_start_is_no_leave_to_stall() {
        assert_eq!(lasts(0, 1, 1 << 30), 30);
    }

    #[test]
    fn time_in_which_nobody_reads_is_not_the_senders() {
        let mut budget = Budget { rate: RATE, in_hand: RATE.grace, waiting: None };
        let start = Instant::now();
        budget.came(1, || start);
        budget.came(1, || start + Duration::from_secs(1000));
        let later = start + Duration::from_secs(2000);
        assert_eq!(budget.deadline(|| later) - later, RATE.grace);
    }
}
