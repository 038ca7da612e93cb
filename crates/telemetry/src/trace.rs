//! Spans: what is written down of a request, and which is whose child.
//!
//! Parents are named, never found in a thread's own memory: guests are polled in turns on one thread, so that
//! whatever is "current" there belongs to somebody else. Where nothing is exported a [`Span`] is `None` and costs
//! a comparison.

use std::{
    borrow::Cow,
    fmt::{self, Display},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context, KeyValue, Value,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
    },
};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::Span as SdkSpan};

use crate::otlp::{self, Traces};

/// Events that are kept for one span: as many as the SDK exports unless told otherwise.
const EVENTS: usize = 128;

/// Spans that a guest may have open within one call.
pub const OPEN_GUEST_SPANS: usize = 1_024;

/// The longest text in a span: its name, an attribute's value, why it failed. What is longer is cut.
pub(crate) const TEXT_BYTES: usize = 4 << 10;

/// How much text the events of one span may have. Those without room are left out.
const EVENT_BYTES: usize = 32 << 10;

/// Which side of an exchange a span is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request that is answered.
    Server,
    /// A request that is made.
    Client,
    /// A message that is sent.
    Producer,
    /// A message that is taken.
    Consumer,
    /// Anything else.
    Internal,
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Server => Self::Server,
            Kind::Client => Self::Client,
            Kind::Producer => Self::Producer,
            Kind::Consumer => Self::Consumer,
            Kind::Internal => Self::Internal,
        }
    }
}

/// Whose fault a failure is: the attribute `error.blame`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The guest's.
    Guest,
    /// The host's, or that of somebody whom it asked.
    Host,
}

/// Where spans that are begun later belong: a span of the host's and those that the guest has opened within it.
/// Cheap to clone; `default()` is where nothing is traced.
#[derive(Clone, Default)]
pub struct TraceContext(Option<Arc<Traced>>);

struct Traced {
    host: SpanContext,
    /// The guest's open spans, the latest last.
    guest: Mutex<Vec<SpanContext>>,
    /// What is to be an event of the host's span when that ends.
    events: Mutex<Events>,
}

#[derive(Default)]
struct Events {
    kept: Vec<(SystemTime, KeyValue)>,
    bytes: usize,
}

impl TraceContext {
    fn of(host: SpanContext) -> Self {
        Self(Some(Arc::new(Traced { host, guest: Mutex::default(), events: Mutex::default() })))
    }

    /// Where it is not known which call asks: spans there have no parent.
    pub fn unknown() -> Self {
        if traces().is_some() { Self::of(SpanContext::empty_context()) } else { Self::default() }
    }

    /// Whether anything is traced.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A span for something that is asked of somebody else.
    pub fn client(&self, name: &'static str) -> Span {
        Span::child(self, Kind::Client, name)
    }

    /// The host's span, whatever the guest has opened within it.
    pub(crate) fn host(&self) -> Option<&SpanContext> {
        self.0.as_ref().map(|traced| &traced.host)
    }

    /// The innermost span.
    pub(crate) fn innermost(&self) -> Option<SpanContext> {
        let traced = self.0.as_ref()?;
        let guest = traced.guest.lock().unwrap_or_else(PoisonError::into_inner);
        Some(guest.last().unwrap_or(&traced.host).clone())
    }

    /// Notes that the guest has opened a span. Whether there is room for it.
    pub(crate) fn guest_begins(&self, span: SpanContext) -> bool {
        let Some(traced) = &self.0 else { return true };
        let mut open = traced.guest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_room = open.len() < OPEN_GUEST_SPANS;
        if is_room {
            open.push(span);
        }
        is_room
    }

    /// Notes that the guest has ended a span, not necessarily the latest. Whether it was open.
    pub(crate) fn guest_ends(&self, span: &SpanContext) -> bool {
        let Some(traced) = &self.0 else { return true };
        let mut open = traced.guest.lock().unwrap_or_else(PoisonError::into_inner);
        let place = open.iter().position(|each| each.span_id() == span.span_id());
        place.map(|place| open.remove(place)).is_some()
    }

    /// Adds an event to the host's span, unless that has enough.
    pub(crate) fn event(&self, key: &'static str, text: String) {
        let Some(traced) = self.0.as_ref().filter(|traced| traced.host.is_sampled()) else {
            return;
        };
        let mut events = traced.events.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = events.bytes + text.len();
        if events.kept.len() < EVENTS && bytes <= EVENT_BYTES {
            events.bytes = bytes;
            events.kept.push((SystemTime::now(), KeyValue::new(key, text)));
        }
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TraceContext").field(&self.host()).finish()
    }
}

/// A span that is under way. It ends when it is dropped.
#[derive(Default)]
pub struct Span(Option<Box<Active>>);

struct Active {
    span: SdkSpan,
    context: TraceContext,
}

/// What an attribute's value may be made of.
pub trait AttributeValue {
    /// The value itself.
    fn into_value(self) -> AttributeText;
}

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeText {
    /// Text.
    Text(Cow<'static, str>),
    /// A number.
    Integer(i64),
}

impl AttributeValue for &'static str {
    fn into_value(self) -> AttributeText {
        AttributeText::Text(Cow::Borrowed(self))
    }
}

impl AttributeValue for String {
    fn into_value(self) -> AttributeText {
        AttributeText::Text(Cow::Owned(self))
    }
}

impl AttributeValue for u16 {
    fn into_value(self) -> AttributeText {
        AttributeText::Integer(self.into())
    }
}

impl From<AttributeText> for Value {
    fn from(value: AttributeText) -> Self {
        match value {
            AttributeText::Text(Cow::Borrowed(text)) => text.into(),
            AttributeText::Text(Cow::Owned(text)) => text.into(),
            AttributeText::Integer(value) => value.into(),
        }
    }
}

/// The text, or its beginning.
pub(crate) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES));
    text
}

fn traces() -> Option<&'static Traces> {
    otlp::state()?.traces.as_ref().filter(|traces| traces.has_spans)
}

impl Span {
    /// A span without a parent here; it has the one that a request's headers name (W3C Trace Context), if they do.
    pub fn root(kind: Kind, name: &'static str, headers: Option<&HeaderMap>) -> Self {
        let Some(traces) = traces() else { return Self(None) };
        let parent = match headers {
            Some(headers) => TraceContextPropagator::new()
                .extract_with_context(&Context::new(), &Headers(headers)),
            None => Context::new(),
        };
        Self::begin(traces, &parent, kind, name)
    }

    /// A span within another one.
    pub fn child(parent: &TraceContext, kind: Kind, name: &'static str) -> Self {
        let Some(parent) = parent.innermost() else { return Self(None) };
        let Some(traces) = traces() else { return Self(None) };
        Self::begin(traces, &Context::new().with_remote_span_context(parent), kind, name)
    }

    fn begin(traces: &Traces, parent: &Context, kind: Kind, name: &'static str) -> Self {
        let builder = SpanBuilder::from_name(name).with_kind(kind.into());
        let span = traces.tracer.build_with_context(builder, parent);
        let context = TraceContext::of(span.span_context().clone());
        Self(Some(Box::new(Active { span, context })))
    }

    /// Whether it is written down. What costs something to say is said only then.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Where its children belong.
    pub fn context(&self) -> TraceContext {
        self.0.as_ref().map(|active| active.context.clone()).unwrap_or_default()
    }

    /// Gives it another name.
    pub fn rename(&mut self, name: impl FnOnce() -> String) {
        if let Some(active) = &mut self.0 {
            active.span.update_name(cut(name()));
        }
    }

    /// Sets an attribute.
    pub fn set(&mut self, key: &'static str, value: impl AttributeValue) {
        if let Some(active) = &mut self.0 {
            let value = match value.into_value() {
                AttributeText::Text(Cow::Owned(text)) => AttributeText::Text(cut(text).into()),
                other => other,
            };
            active.span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// Says that it failed.
    pub fn fail(&mut self, reason: &dyn Display, blame: Blame) {
        let Some(active) = &mut self.0 else { return };
        active.span.set_status(Status::error(cut(reason.to_string())));
        let blame = match blame {
            Blame::Guest => "guest",
            Blame::Host => "host",
        };
        active.span.set_attribute(KeyValue::new("error.blame", blame));
    }

    /// Names it in a request's headers, as the parent of what the receiver does.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Some(active) = &self.0 {
            let span = active.span.span_context().clone();
            let context = Context::new().with_remote_span_context(span);
            TraceContextPropagator::new().inject_context(&context, &mut HeadersMut(headers));
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let Some(traced) = &self.context.0 else { return };
        let events =
            std::mem::take(&mut *traced.events.lock().unwrap_or_else(PoisonError::into_inner));
        for (time, attribute) in events.kept {
            self.span.add_event_with_timestamp(attribute.key.to_string(), time, vec![attribute]);
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.0.as_ref().map(|active| &active.context)).finish()
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        let pair = (HeaderName::from_bytes(key.as_bytes()), HeaderValue::try_from(value));
        if let (Ok(name), Ok(value)) = pair {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::{SpanId, TraceFlags, TraceId, trace::TraceState};

    use super::*;

    fn context(span: u64) -> SpanContext {
        let (trace, flags) = (TraceId::from(7_u128), TraceFlags::SAMPLED);
        SpanContext::new(trace, SpanId::from(span), flags, false, TraceState::default())
    }

    #[test]
    fn without_an_exporter_there_is_nothing() {
        let mut span = Span::root(Kind::Server, "a", None);
        assert!(!span.is_on());
        span.rename(|| unreachable!("nobody asks for the name"));
        span.set("key", "value");
        let mut headers = HeaderMap::new();
        span.inject(&mut headers);
        assert!(headers.is_empty());
        assert!(!span.context().is_on() && !span.context().client("b").is_on());
        assert!(!TraceContext::unknown().is_on());
    }

    #[test]
    fn the_guests_latest_open_span_is_the_parent() {
        let trace = TraceContext::of(context(1));
        assert_eq!(trace.innermost().unwrap().span_id(), SpanId::from(1));
        assert!(trace.guest_begins(context(2)) && trace.guest_begins(context(3)));
        assert_eq!(trace.innermost().unwrap().span_id(), SpanId::from(3));
        // They may end in any order, each once.
        assert!(trace.guest_ends(&context(2)) && !trace.guest_ends(&context(2)));
        assert_eq!(trace.innermost().unwrap().span_id(), SpanId::from(3));
        assert!(trace.guest_ends(&context(3)));
        assert_eq!(trace.innermost().unwrap().span_id(), SpanId::from(1));
        assert_eq!(trace.host().unwrap().span_id(), SpanId::from(1));
    }

    #[test]
    fn a_guests_open_spans_and_a_spans_events_are_limited() {
        let trace = TraceContext::of(context(1));
        for span in 0..OPEN_GUEST_SPANS as u64 {
            assert!(trace.guest_begins(context(span + 2)));
        }
        assert!(!trace.guest_begins(context(1 << 40)));
        for _ in 0..EVENTS * 2 {
            trace.event("key", "text".to_owned());
        }
        assert_eq!(trace.0.as_ref().unwrap().events.lock().unwrap().kept.len(), EVENTS);

        let trace = TraceContext::of(context(1));
        trace.event("key", "x".repeat(EVENT_BYTES - 1));
        trace.event("key", "no room".to_owned());
        trace.event("key", "!".to_owned());
        assert_eq!(trace.0.as_ref().unwrap().events.lock().unwrap().kept.len(), 2);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("short".to_owned()), "short");
        let long = cut(format!("x{}", "é".repeat(TEXT_BYTES)));
        assert_eq!(long.len(), TEXT_BYTES - 1);
    }
}
