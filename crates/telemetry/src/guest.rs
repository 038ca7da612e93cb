//! What guests trace, measure and log themselves, on its way to the same place as what the host does.
//!
//! All of it is a guest's word: identifiers that are none and values that are no JSON must not fail anything.

use std::{
    collections::HashSet,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use base64::Engine as _;
use opentelemetry::{
    Array, InstrumentationScope, Key, KeyValue, SpanId, StringValue, TraceFlags, TraceId, Value,
    logs::{AnyValue, LogRecord as _, Logger as _, Severity},
    trace::{Event, Link, SpanContext, SpanKind, Status, TraceState},
};
pub use opentelemetry_proto::tonic as proto;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient,
    },
    metrics::v1::ResourceMetrics,
};
use opentelemetry_sdk::{
    logs::LogProcessor as _,
    trace::{SpanData, SpanEvents, SpanLinks, SpanProcessor as _},
};
use prost::Message as _;
use tonic::metadata::{MetadataKey, MetadataValue};

use crate::{
    Kind, TraceContext,
    otlp::{self, Protocol, Settings, Signal},
    trace::cut,
};

/// Names of events and severities that are kept for the life of the process, since the SDK takes no others.
const KEPT_NAMES: usize = 1_024;

/// The longest of them.
const KEPT_NAME_BYTES: usize = 128;

/// What marks bytes in a log record's values.
const BYTES_PREFIX: &str = "data:application/octet-stream;base64,";

/// How much of one span or log record of a guest is exported. What has no room is left out, and counted where the
/// protocol can say so; it is as much as what is kept until it is exported takes, roughly.
const GUEST_BYTES: usize = 64 << 10;

/// What a value takes beside its text.
const VALUE_BYTES: usize = 48;

/// How deeply a log record's values may be within one another. `serde_json` has a limit of its own, which is 128.
const DEPTH: usize = 32;

/// A span's place in the world.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestContext {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// Whether it is to be exported.
    pub is_sampled: bool,
    /// Whether it came from elsewhere.
    pub is_remote: bool,
    /// W3C's `tracestate`.
    pub trace_state: Vec<(String, String)>,
}

/// An attribute whose value is JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestAttribute {
    /// Its name.
    pub key: String,
    /// Its value, as JSON.
    pub json: String,
}

/// Which of the guest's libraries speaks.
#[derive(Debug, Clone, Default)]
pub struct GuestScope {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// The schema of what it says.
    pub schema_url: Option<String>,
    /// What else there is to say of it.
    pub attributes: Vec<GuestAttribute>,
}

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct GuestSpan {
    /// Which it is.
    pub context: GuestContext,
    /// Its parent, or nothing.
    pub parent_span_id: String,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// Its attributes.
    pub attributes: Vec<GuestAttribute>,
    /// What happened within it.
    pub events: Vec<(String, SystemTime, Vec<GuestAttribute>)>,
    /// Other spans that it has to do with.
    pub links: Vec<(GuestContext, Vec<GuestAttribute>)>,
    /// Whether it is known how it ended, and if it failed, why.
    pub status: Option<Result<(), String>>,
    /// Who made it.
    pub scope: GuestScope,
    /// Attributes, events and links that were left out.
    pub dropped: (u32, u32, u32),
}

/// A log record.
#[derive(Debug, Clone, Default)]
pub struct GuestLog {
    /// When it happened.
    pub time: Option<SystemTime>,
    /// When it was seen.
    pub observed: Option<SystemTime>,
    /// How bad it is, in the guest's words.
    pub severity_text: Option<String>,
    /// How bad it is, from 1 to 24.
    pub severity_number: Option<u8>,
    /// What there is to say, as JSON.
    pub body_json: Option<String>,
    /// Its attributes.
    pub attributes: Vec<GuestAttribute>,
    /// Which kind of event it is.
    pub event_name: Option<String>,
    /// Who made it.
    pub scope: Option<GuestScope>,
    /// The trace and the span that it belongs to.
    pub span: Option<(String, String, Option<bool>)>,
}

/// Why a guest's call makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GuestSpanError {
    /// It ends what it did not start.
    #[error("Trying to end a span that was not started")]
    NotStarted,
    /// It starts too many.
    #[error("a call may have {} spans open", crate::OPEN_GUEST_SPANS)]
    TooMany,
}

impl TraceContext {
    /// The host's span that a guest runs in, for the guest to make its spans children of.
    pub fn outer(&self) -> GuestContext {
        let Some(host) = self.host() else { return (&SpanContext::empty_context()).into() };
        host.into()
    }

    /// A guest has started a span.
    ///
    /// # Errors
    /// It has too many open.
    pub fn start(&self, span: &GuestContext) -> Result<(), GuestSpanError> {
        if self.guest_begins(span.into()) { Ok(()) } else { Err(GuestSpanError::TooMany) }
    }

    /// A guest has ended a span, which is exported if it is to be.
    ///
    /// # Errors
    /// It did not start it.
    pub fn end(&self, span: GuestSpan) -> Result<(), GuestSpanError> {
        let context = SpanContext::from(&span.context);
        if !self.guest_ends(&context) {
            return Err(GuestSpanError::NotStarted);
        }
        if let Some(traces) = otlp::state().and_then(|state| state.traces.as_ref()) {
            traces.processor.on_end(exported(span, context));
        }
        Ok(())
    }
}

impl From<&SpanContext> for GuestContext {
    fn from(context: &SpanContext) -> Self {
        let state = context.trace_state().header();
        let pairs = state.split(',').filter_map(|pair| pair.split_once('='));
        Self {
            trace_id: context.trace_id().to_string(),
            span_id: context.span_id().to_string(),
            is_sampled: context.is_sampled(),
            is_remote: context.is_remote(),
            trace_state: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        }
    }
}

impl From<&GuestContext> for SpanContext {
    fn from(context: &GuestContext) -> Self {
        let flags = if context.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        let state = TraceState::from_key_value(context.trace_state.clone()).unwrap_or_default();
        let (trace, span) = (trace_id(&context.trace_id), span_id(&context.span_id));
        Self::new(trace, span, flags, context.is_remote, state)
    }
}

fn trace_id(hex: &str) -> TraceId {
    TraceId::from_hex(hex).unwrap_or(TraceId::INVALID)
}

fn span_id(hex: &str) -> SpanId {
    SpanId::from_hex(hex).unwrap_or(SpanId::INVALID)
}

/// The room that is left in a span or log record.
struct Room(usize);

impl Room {
    fn new() -> Self {
        Self(GUEST_BYTES)
    }

    /// Takes that much, if there is.
    fn take(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }

    /// Takes what a value needs once it is parsed.
    fn take_json(&mut self, json: &str) -> bool {
        let is_inner = |byte: &u8| matches!(byte, b'[' | b'{' | b',' | b':');
        // In a text they are but characters.
        let inner = if json.trim_start().starts_with('"') {
            0
        } else {
            json.bytes().filter(is_inner).count()
        };
        self.take(VALUE_BYTES + json.len() + VALUE_BYTES.saturating_mul(inner))
    }

    fn take_attribute(&mut self, attribute: &GuestAttribute) -> bool {
        self.take(attribute.key.len()) && self.take_json(&attribute.json)
    }

    /// Those attributes that there is room for, and how many others.
    fn attributes(&mut self, attributes: Vec<GuestAttribute>) -> (Vec<KeyValue>, u32) {
        let (mut kept, mut dropped) = (Vec::new(), 0_u32);
        for attribute in attributes {
            if self.take_attribute(&attribute) {
                kept.push(KeyValue::new(attribute.key, plain_value(attribute.json)));
            } else {
                dropped = dropped.saturating_add(1);
            }
        }
        (kept, dropped)
    }
}

fn exported(span: GuestSpan, context: SpanContext) -> SpanData {
    let mut room = Room::new();
    let instrumentation_scope = scope(span.scope, &mut room);
    let (attributes, dropped) = room.attributes(span.attributes);
    let mut events = SpanEvents::default();
    events.dropped_count = span.dropped.1;
    for (name, time, attributes) in span.events {
        if room.take(VALUE_BYTES + name.len()) {
            let (attributes, dropped) = room.attributes(attributes);
            events.events.push(Event::new(name, time, attributes, dropped));
        } else {
            events.dropped_count = events.dropped_count.saturating_add(1);
        }
    }
    let mut links = SpanLinks::default();
    links.dropped_count = span.dropped.2;
    for (context, attributes) in span.links {
        let context = SpanContext::from(&context);
        if room.take(VALUE_BYTES + context.trace_state().header().len()) {
            let (attributes, dropped) = room.attributes(attributes);
            links.links.push(Link::new(context, attributes, dropped));
        } else {
            links.dropped_count = links.dropped_count.saturating_add(1);
        }
    }
    SpanData {
        span_context: context,
        parent_span_id: span_id(&span.parent_span_id),
        parent_span_is_remote: false,
        span_kind: SpanKind::from(span.kind),
        name: cut(span.name).into(),
        start_time: span.start,
        end_time: span.end,
        attributes,
        dropped_attributes_count: span.dropped.0.saturating_add(dropped),
        events,
        links,
        status: match span.status {
            None => Status::Unset,
            Some(Ok(())) => Status::Ok,
            Some(Err(text)) => Status::error(cut(text)),
        },
        instrumentation_scope,
    }
}

fn scope(scope: GuestScope, room: &mut Room) -> InstrumentationScope {
    let (attributes, _) = room.attributes(scope.attributes);
    let mut builder = InstrumentationScope::builder(cut(scope.name)).with_attributes(attributes);
    if let Some(version) = scope.version {
        builder = builder.with_version(cut(version));
    }
    if let Some(url) = scope.schema_url {
        builder = builder.with_schema_url(cut(url));
    }
    builder.build()
}

/// A value of a span's attribute: text, a number, a truth value, or a list of one kind of these. Anything else is
/// its JSON.
fn plain_value(json: String) -> Value {
    use serde_json::Value as Json;
    fn all<T>(values: &[Json], each: impl Fn(&Json) -> Option<T>) -> Option<Vec<T>> {
        values.iter().map(each).collect()
    }
    let parsed = match serde_json::from_str(&json) {
        Ok(Json::String(text)) => Some(Value::from(text)),
        Ok(Json::Bool(value)) => Some(value.into()),
        Ok(Json::Number(number)) => {
            number.as_i64().map(Value::I64).or_else(|| number.as_f64().map(Value::F64))
        }
        Ok(Json::Array(values)) => {
            let text = |it: &Json| it.as_str().map(|text| StringValue::from(text.to_owned()));
            None.or_else(|| all(&values, Json::as_bool).map(Array::Bool))
                .or_else(|| all(&values, Json::as_i64).map(Array::I64))
                .or_else(|| all(&values, Json::as_f64).map(Array::F64))
                .or_else(|| all(&values, text).map(Array::String))
                .map(Value::Array)
        }
        _ => None,
    };
    parsed.unwrap_or_else(|| json.into())
}

/// A value of a log record.
fn any_value(json: &str) -> AnyValue {
    fn convert(json: serde_json::Value, depth: usize) -> AnyValue {
        use serde_json::Value as Json;
        if depth == 0 {
            return json.to_string().into();
        }
        match json {
            Json::Null => String::new().into(),
            Json::Bool(value) => value.into(),
            Json::Number(number) => match number.as_i64() {
                Some(value) => value.into(),
                None => number.as_f64().unwrap_or_default().into(),
            },
            Json::String(text) => {
                let bytes = text.strip_prefix(BYTES_PREFIX);
                let bytes =
                    bytes.and_then(|it| base64::engine::general_purpose::STANDARD.decode(it).ok());
                bytes.map_or_else(|| text.into(), |bytes| AnyValue::Bytes(Box::new(bytes)))
            }
            Json::Array(values) => {
                let values = values.into_iter().map(|value| convert(value, depth - 1));
                AnyValue::ListAny(Box::new(values.collect()))
            }
            Json::Object(pairs) => {
                let pairs = pairs.into_iter();
                let pairs = pairs.map(|(key, value)| (Key::from(key), convert(value, depth - 1)));
                AnyValue::Map(Box::new(pairs.collect()))
            }
        }
    }
    match serde_json::from_str(json) {
        Ok(value) => convert(value, DEPTH),
        Err(_) => json.to_owned().into(),
    }
}

/// The same text for the life of the process, if it is one of the few that are kept.
fn kept(text: &str) -> Option<&'static str> {
    static KEPT: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.get(text) {
        return Some(known);
    }
    if kept.len() >= KEPT_NAMES || text.len() > KEPT_NAME_BYTES {
        return None;
    }
    let text: &'static str = Box::leak(text.into());
    kept.insert(text);
    Some(text)
}

fn severity(number: u8) -> Option<Severity> {
    use Severity as S;
    let all = [
        S::Trace,
        S::Trace2,
        S::Trace3,
        S::Trace4,
        S::Debug,
        S::Debug2,
        S::Debug3,
        S::Debug4,
        S::Info,
        S::Info2,
        S::Info3,
        S::Info4,
        S::Warn,
        S::Warn2,
        S::Warn3,
        S::Warn4,
        S::Error,
        S::Error2,
        S::Error3,
        S::Error4,
        S::Fatal,
        S::Fatal2,
        S::Fatal3,
        S::Fatal4,
    ];
    all.get(usize::from(number.checked_sub(1)?)).copied()
}

/// Exports a guest's log record. Names beyond those that are kept become attributes.
pub fn log(record: GuestLog) {
    let Some(logs) = otlp::state().and_then(|state| state.logs.as_ref()) else { return };
    let mut exported = logs.logger.create_log_record();
    let mut room = Room::new();
    if let Some(mut json) = record.body_json {
        exported.set_body(if room.take_json(&json) {
            any_value(&json)
        } else {
            json.truncate(json.floor_char_boundary(GUEST_BYTES / 2));
            room.take(json.len());
            json.into()
        });
    }
    if let Some(name) = record.event_name {
        match kept(&name) {
            Some(name) => exported.set_event_name(name),
            None => exported.add_attribute("event.name", cut(name)),
        }
    }
    if let Some(text) = record.severity_text {
        match kept(&text) {
            Some(text) => exported.set_severity_text(text),
            None => exported.add_attribute("severity_text", cut(text)),
        }
    }
    if let Some(severity) = record.severity_number.and_then(severity) {
        exported.set_severity_number(severity);
    }
    if let Some(time) = record.time {
        exported.set_timestamp(time);
    }
    exported.set_observed_timestamp(record.observed.unwrap_or_else(SystemTime::now));
    for attribute in record.attributes {
        if room.take_attribute(&attribute) {
            exported.add_attribute(attribute.key, any_value(&attribute.json));
        }
    }
    if let Some((trace, span, is_sampled)) = record.span {
        let flags = is_sampled.map(|it| TraceFlags::default().with_sampled(it));
        exported.set_trace_context(trace_id(&trace), span_id(&span), flags);
    }
    let scope = record.scope.map(|it| scope(it, &mut room)).unwrap_or_default();
    logs.processor.emit(&mut exported, &scope);
}

/// A value of a metric's attribute, in the protocol's own form.
pub fn proto_value(json: String) -> proto::common::v1::AnyValue {
    plain_value(json).into()
}

/// A moment as the protocol has it: nanoseconds since 1970.
pub fn nanoseconds(seconds: u64, nanoseconds: u32) -> u64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds.into())
}

/// A moment that a guest names. What is out of the clock's range is its beginning.
pub fn moment(seconds: u64, nanoseconds: u32) -> SystemTime {
    let since =
        Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanoseconds.into()));
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Exports what a guest has measured, and waits until that is done. Without an exporter that is at once.
///
/// # Errors
/// What the guest is told.
pub async fn export(metrics: ResourceMetrics) -> Result<(), String> {
    let Some(state) = otlp::state() else { return Ok(()) };
    let Some(sender) = state.metrics.as_ref().map(|metrics| &metrics.sender) else { return Ok(()) };
    // Connections are those threads', not the asking guest's.
    let sent = state.runtime.spawn(sender.clone().send(metrics)).await;
    sent.unwrap_or_else(|error| Err(error.to_string())).map_err(|error| {
        tracing::error!("a guest's metrics were not exported: {error}");
        if error == LATE {
            "Operation timed out.".to_owned()
        } else {
            "Internal failure.".to_owned()
        }
    })
}

const LATE: &str = "late";

/// How long an export may take unless the environment says so.
const EXPORT_TIME: Duration = Duration::from_secs(10);

/// Sends metrics as they are: the SDK's exporters take only what the SDK itself has measured.
#[derive(Clone)]
pub(crate) struct MetricsSender {
    protocol: Protocol,
    endpoint: String,
    headers: Vec<(String, String)>,
    time: Duration,
    client: reqwest::Client,
}

impl MetricsSender {
    pub(crate) fn new<F: Fn(&str) -> Option<String>>(
        protocol: Protocol,
        settings: &Settings<F>,
    ) -> Self {
        let signal = Signal::Metrics;
        let endpoint = match (protocol, settings.get(&signal.variable("ENDPOINT"))) {
            (_, Some(own)) => own,
            (Protocol::Grpc, None) => settings.either(signal, "ENDPOINT").unwrap_or_default(),
            (Protocol::HttpProtobuf, None) => {
                let base = settings.either(signal, "ENDPOINT").unwrap_or_default();
                format!("{}/v1/metrics", base.trim_end_matches('/'))
            }
        };
        let headers = settings.either(signal, "HEADERS").unwrap_or_default();
        let time = settings.either(signal, "TIMEOUT").and_then(|it| it.parse().ok());
        Self {
            protocol,
            endpoint,
            headers: headers
                .split(',')
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| {
                    let value = percent_encoding::percent_decode_str(value.trim());
                    (name.trim().to_ascii_lowercase(), value.decode_utf8_lossy().into_owned())
                })
                .collect(),
            time: time.map_or(EXPORT_TIME, Duration::from_millis),
            client: reqwest::Client::new(),
        }
    }

    async fn send(self, metrics: ResourceMetrics) -> Result<(), String> {
        let request = ExportMetricsServiceRequest { resource_metrics: vec![metrics] };
        let time = self.time;
        let send = async move {
            match self.protocol {
                Protocol::HttpProtobuf => self.post(&request).await,
                Protocol::Grpc => self.call(request).await,
            }
        };
        tokio::time::timeout(time, send).await.unwrap_or_else(|_| Err(LATE.to_owned()))
    }

    async fn post(&self, request: &ExportMetricsServiceRequest) -> Result<(), String> {
        let mut post = self.client.post(&self.endpoint);
        post = post.header("content-type", "application/x-protobuf");
        for (name, value) in &self.headers {
            post = post.header(name, value);
        }
        let sent = post.body(request.encode_to_vec()).send().await;
        let answer = sent.and_then(reqwest::Response::error_for_status);
        answer.map(drop).map_err(|error| crate::chain(&error.without_url()))
    }

    async fn call(&self, request: ExportMetricsServiceRequest) -> Result<(), String> {
        let connected = MetricsServiceClient::connect(self.endpoint.clone()).await;
        let mut client = connected.map_err(|error| crate::chain(&error))?;
        let mut request = tonic::Request::new(request);
        for (name, value) in &self.headers {
            let pair = (MetadataKey::from_bytes(name.as_bytes()), MetadataValue::try_from(value));
            if let (Ok(name), Ok(value)) = pair {
                request.metadata_mut().insert(name, value);
            }
        }
        client.export(request).await.map(drop).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json_and_what_is_none_is_text() {
        let value = |json: &str| plain_value(json.to_owned());
        assert_eq!(value("\"text\""), "text".into());
        assert_eq!(value("true"), true.into());
        assert_eq!(value("-6"), Value::I64(-6));
        assert_eq!(value("1.5"), Value::F64(1.5));
        assert_eq!(value("18446744073709551615"), Value::F64(u64::MAX as f64));
        assert_eq!(value("[1,2]"), Value::Array(Array::I64(vec![1, 2])));
        assert_eq!(value("[1,2.5]"), Value::Array(Array::F64(vec![1.0, 2.5])));
        let texts = ["a", "b"].map(StringValue::from).to_vec();
        assert_eq!(value("[\"a\",\"b\"]"), Value::Array(Array::String(texts)));
        for odd in ["[1,\"a\"]", "{\"a\":1}", "null", "not json"] {
            assert_eq!(value(odd), odd.to_owned().into());
        }
    }

    #[test]
    fn log_values_may_be_nested_and_bytes() {
        let AnyValue::Map(map) = any_value(
            r#"{"list":[1,"a"],"bytes":"data:application/octet-stream;base64,AAE=","deep":{"x":1.5}}"#,
        ) else {
            panic!("it is a map")
        };
        assert_eq!(map[&Key::from("bytes")], AnyValue::Bytes(Box::new(vec![0, 1])));
        let list = AnyValue::ListAny(Box::new(vec![1_i64.into(), "a".into()]));
        assert_eq!(map[&Key::from("list")], list);
        assert_eq!(any_value("oops"), "oops".into());
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let mut value = any_value(&deep);
        for _ in 0..DEPTH {
            let AnyValue::ListAny(values) = value else { panic!("{value:?}") };
            value = values.into_iter().next().unwrap();
        }
        assert!(matches!(value, AnyValue::String(_)));
    }

    #[test]
    fn identifiers_go_there_and_back_and_bad_ones_are_invalid() {
        let context = GuestContext {
            trace_id: "4fb34cb4484029f7881399b149e41e98".to_owned(),
            span_id: "00fd58d3cd4dd90b".to_owned(),
            is_sampled: true,
            is_remote: false,
            trace_state: vec![("foo".to_owned(), "bar".to_owned())],
        };
        assert_eq!(GuestContext::from(&SpanContext::from(&context)), context);
        let bad = GuestContext { trace_id: "xyz".to_owned(), ..GuestContext::default() };
        assert!(!SpanContext::from(&bad).is_valid());
        assert_eq!(TraceContext::default().outer().trace_id, "0".repeat(32));
    }

    #[test]
    fn names_are_kept_up_to_a_limit() {
        assert_eq!(kept("INFO"), Some("INFO"));
        assert_eq!(kept(&"x".repeat(KEPT_NAME_BYTES + 1)), None);
        for name in 0..KEPT_NAMES * 2 {
            kept(&name.to_string());
        }
        assert_eq!(kept("one more"), None);
        assert_eq!(kept("INFO"), Some("INFO"));
    }

    #[test]
    fn a_span_is_exported_as_far_as_there_is_room() {
        let attribute = |key: &str, json: String| GuestAttribute { key: key.to_owned(), json };
        let long = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
        let context = GuestContext::default();
        let span = GuestSpan {
            context: context.clone(),
            parent_span_id: String::new(),
            kind: Kind::Internal,
            name: "n".repeat(10_000),
            start: SystemTime::UNIX_EPOCH,
            end: SystemTime::UNIX_EPOCH,
            attributes: vec![
                attribute("small", "1".to_owned()),
                // Many small values take more than their text.
                attribute("list", format!("[{}1]", "1,".repeat(5_000))),
                attribute("half", long(GUEST_BYTES / 2)),
                attribute("too much", long(GUEST_BYTES / 2)),
            ],
            events: vec![
                ("fits".to_owned(), SystemTime::UNIX_EPOCH, vec![attribute("no", long(40_000))]),
                (long(40_000), SystemTime::UNIX_EPOCH, Vec::new()),
            ],
            links: vec![(context, Vec::new()); 10_000],
            status: Some(Err("s".repeat(10_000))),
            scope: GuestScope::default(),
            dropped: (1, 1, 1),
        };
        let exported = exported(span, SpanContext::empty_context());
        let keys: Vec<_> = exported.attributes.iter().map(|it| it.key.as_str()).collect();
        assert_eq!((keys, exported.dropped_attributes_count), (vec!["small", "half"], 3));
        assert_eq!((exported.events.events.len(), exported.events.dropped_count), (1, 2));
        assert_eq!(exported.events.events[0].dropped_attributes_count, 1);
        let links = (exported.links.links.len() as u32, exported.links.dropped_count);
        assert!(links.0 < 1_000 && links.0 + links.1 == 10_001, "{links:?}");
        assert_eq!(exported.name.len(), crate::trace::TEXT_BYTES);
        assert_eq!(exported.status, Status::error("s".repeat(crate::trace::TEXT_BYTES)));
    }

    #[test]
    fn severities_are_one_to_twenty_four() {
        assert_eq!(severity(0), None);
        assert_eq!(severity(9), Some(Severity::Info));
        assert_eq!(severity(24), Some(Severity::Fatal4));
        assert_eq!(severity(25), None);
    }

    #[test]
    fn guests_metrics_go_where_the_others_go() {
        let sender = |pairs: &'static [(&str, &str)], protocol| {
            let settings = Settings(|name: &str| {
                pairs.iter().find(|(each, _)| *each == name).map(|(_, value)| (*value).to_owned())
            });
            MetricsSender::new(protocol, &settings)
        };
        let http = sender(
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318/"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=a%20b, x=y"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
            ],
            Protocol::HttpProtobuf,
        );
        assert_eq!(http.endpoint, "http://a:4318/v1/metrics");
        assert_eq!(http.time, Duration::from_millis(250));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(http.headers, [pair("api-key", "a b"), pair("x", "y")]);
        let own = sender(
            &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://b/x")],
            Protocol::HttpProtobuf,
        );
        assert_eq!(own.endpoint, "http://b/x");
    }
}
