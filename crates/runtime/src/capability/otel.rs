//! `wasi:otel@0.2.0-rc.2`: what guests trace, measure and log becomes part of what the host exports, each span where
//! the guest put it, the host's own spans within the guest's.
//!
//! Experimental, as it is in Spin: only linked for apps that are registered so. Where nothing is exported every
//! function does nothing.

use std::time::SystemTime;

use gyre_telemetry::{
    Kind,
    guest::{
        self, GuestAttribute, GuestContext, GuestLog, GuestScope, GuestSpan, nanoseconds,
        proto::{common::v1 as common, metrics::v1 as proto, resource::v1::Resource},
    },
};
use wasmtime::component::Linker;

use super::bindings::otel::{
    otel::{logs, metrics, tracing, types},
    wall_clock::Datetime,
};
use crate::host::{HasHost, HostState};

/// The package's name, with the beginning of its interfaces' names.
pub(crate) const PACKAGE: &str = "wasi:otel/";

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    tracing::add_to_linker::<HostState, HasHost>(linker, |host| host)?;
    metrics::add_to_linker::<HostState, HasHost>(linker, |host| host)?;
    logs::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

impl tracing::Host for HostState {
    fn on_start(&mut self, context: tracing::SpanContext) -> wasmtime::Result<()> {
        Ok(self.trace().start(&context.into())?)
    }

    fn on_end(&mut self, span: tracing::SpanData) -> wasmtime::Result<()> {
        Ok(self.trace().end(span.into())?)
    }

    fn outer_span_context(&mut self) -> wasmtime::Result<tracing::SpanContext> {
        Ok(self.trace().outer().into())
    }
}

impl metrics::Host for HostState {
    async fn export(
        &mut self,
        measured: metrics::ResourceMetrics,
    ) -> wasmtime::Result<Result<(), metrics::Error>> {
        // What is for nobody is not even translated.
        if !gyre_telemetry::metrics::is_on() {
            return Ok(Ok(()));
        }
        Ok(guest::export(resource_metrics(measured)).await)
    }
}

impl logs::Host for HostState {
    fn on_emit(&mut self, record: logs::LogRecord) -> wasmtime::Result<()> {
        guest::log(record.into());
        Ok(())
    }
}

fn moment(time: Datetime) -> SystemTime {
    guest::moment(time.seconds, time.nanoseconds)
}

fn nanos(time: Datetime) -> u64 {
    nanoseconds(time.seconds, time.nanoseconds)
}

fn attributes(pairs: Vec<types::KeyValue>) -> Vec<GuestAttribute> {
    pairs.into_iter().map(|pair| GuestAttribute { key: pair.key, json: pair.value }).collect()
}

impl From<types::InstrumentationScope> for GuestScope {
    fn from(scope: types::InstrumentationScope) -> Self {
        Self {
            name: scope.name,
            version: scope.version,
            schema_url: scope.schema_url,
            attributes: attributes(scope.attributes),
        }
    }
}

impl From<tracing::SpanContext> for GuestContext {
    fn from(context: tracing::SpanContext) -> Self {
        Self {
            trace_id: context.trace_id,
            span_id: context.span_id,
            is_sampled: context.trace_flags.contains(tracing::TraceFlags::SAMPLED),
            is_remote: context.is_remote,
            trace_state: context.trace_state,
        }
    }
}

impl From<GuestContext> for tracing::SpanContext {
    fn from(context: GuestContext) -> Self {
        let sampled = tracing::TraceFlags::SAMPLED;
        Self {
            trace_id: context.trace_id,
            span_id: context.span_id,
            trace_flags: if context.is_sampled { sampled } else { tracing::TraceFlags::empty() },
            is_remote: context.is_remote,
            trace_state: context.trace_state,
        }
    }
}

impl From<tracing::SpanData> for GuestSpan {
    fn from(span: tracing::SpanData) -> Self {
        let events = span.events.into_iter();
        let links = span.links.into_iter();
        Self {
            context: span.span_context.into(),
            parent_span_id: span.parent_span_id,
            kind: match span.span_kind {
                tracing::SpanKind::Client => Kind::Client,
                tracing::SpanKind::Server => Kind::Server,
                tracing::SpanKind::Producer => Kind::Producer,
                tracing::SpanKind::Consumer => Kind::Consumer,
                tracing::SpanKind::Internal => Kind::Internal,
            },
            name: span.name,
            start: moment(span.start_time),
            end: moment(span.end_time),
            attributes: attributes(span.attributes),
            events: events
                .map(|it| (it.name, moment(it.time), attributes(it.attributes)))
                .collect(),
            links: links.map(|it| (it.span_context.into(), attributes(it.attributes))).collect(),
            status: match span.status {
                tracing::Status::Unset => None,
                tracing::Status::Ok => Some(Ok(())),
                tracing::Status::Error(text) => Some(Err(text)),
            },
            scope: span.instrumentation_scope.into(),
            dropped: (span.dropped_attributes, span.dropped_events, span.dropped_links),
        }
    }
}

impl From<logs::LogRecord> for GuestLog {
    fn from(record: logs::LogRecord) -> Self {
        let flags = record.trace_flags;
        let is_sampled = flags.map(|flags| flags.contains(tracing::TraceFlags::SAMPLED));
        Self {
            time: record.timestamp.map(moment),
            observed: record.observed_timestamp.map(moment),
            severity_text: record.severity_text,
            severity_number: record.severity_number,
            body_json: record.body,
            attributes: attributes(record.attributes.unwrap_or_default()),
            event_name: record.event_name,
            scope: record.instrumentation_scope.map(Into::into),
            // Neither says anything without the other.
            span: record
                .trace_id
                .zip(record.span_id)
                .map(|(trace, span)| (trace, span, is_sampled)),
        }
    }
}

fn pairs(pairs: Vec<types::KeyValue>) -> Vec<common::KeyValue> {
    let pair = |pair: types::KeyValue| common::KeyValue {
        key: pair.key,
        value: Some(guest::proto_value(pair.value)),
        ..common::KeyValue::default()
    };
    pairs.into_iter().map(pair).collect()
}

fn resource_metrics(measured: metrics::ResourceMetrics) -> proto::ResourceMetrics {
    let scope = |it: metrics::ScopeMetrics| proto::ScopeMetrics {
        schema_url: it.scope.schema_url.clone().unwrap_or_default(),
        scope: Some(common::InstrumentationScope {
            name: it.scope.name,
            version: it.scope.version.unwrap_or_default(),
            attributes: pairs(it.scope.attributes),
            ..common::InstrumentationScope::default()
        }),
        metrics: it.metrics.into_iter().map(metric).collect(),
    };
    proto::ResourceMetrics {
        schema_url: measured.resource.schema_url.unwrap_or_default(),
        resource: Some(Resource {
            attributes: pairs(measured.resource.attributes),
            ..Resource::default()
        }),
        scope_metrics: measured.scope_metrics.into_iter().map(scope).collect(),
    }
}

fn metric(it: metrics::Metric) -> proto::Metric {
    use metrics::MetricData as M;
    use proto::metric::Data as D;
    let data = match it.data {
        M::F64Gauge(it) | M::U64Gauge(it) | M::S64Gauge(it) => D::Gauge(gauge(it)),
        M::F64Sum(it) | M::U64Sum(it) | M::S64Sum(it) => D::Sum(sum(it)),
        M::F64Histogram(it) | M::U64Histogram(it) | M::S64Histogram(it) => {
            D::Histogram(histogram(it))
        }
        M::F64ExponentialHistogram(it)
        | M::U64ExponentialHistogram(it)
        | M::S64ExponentialHistogram(it) => D::ExponentialHistogram(exponential_histogram(it)),
    };
    proto::Metric {
        name: it.name,
        description: it.description,
        unit: it.unit,
        data: Some(data),
        ..proto::Metric::default()
    }
}

/// The protocol has no unsigned numbers; what is too large for a signed one loses precision.
enum Number {
    Double(f64),
    Integer(i64),
}

impl From<metrics::MetricNumber> for Number {
    fn from(number: metrics::MetricNumber) -> Self {
        match number {
            metrics::MetricNumber::F64(value) => Self::Double(value),
            metrics::MetricNumber::S64(value) => Self::Integer(value),
            metrics::MetricNumber::U64(value) => {
                i64::try_from(value).map_or(Self::Double(value as f64), Self::Integer)
            }
        }
    }
}

fn double(number: metrics::MetricNumber) -> f64 {
    match number.into() {
        Number::Double(value) => value,
        Number::Integer(value) => value as f64,
    }
}

fn point(
    attributes: Vec<types::KeyValue>,
    value: metrics::MetricNumber,
    exemplars: Vec<metrics::Exemplar>,
    start: Option<Datetime>,
    time: Datetime,
) -> proto::NumberDataPoint {
    use proto::number_data_point::Value;
    proto::NumberDataPoint {
        attributes: pairs(attributes),
        start_time_unix_nano: start.map(nanos).unwrap_or_default(),
        time_unix_nano: nanos(time),
        exemplars: exemplars.into_iter().map(exemplar).collect(),
        flags: 0,
        value: Some(match value.into() {
            Number::Double(value) => Value::AsDouble(value),
            Number::Integer(value) => Value::AsInt(value),
        }),
    }
}

fn exemplar(it: metrics::Exemplar) -> proto::Exemplar {
    use proto::exemplar::Value;
    // What is none is left out.
    let bytes = |hex: &str, length: usize| -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2).map(|pair| {
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
        });
        let bytes: Option<Vec<u8>> = digits.collect();
        bytes.filter(|bytes| bytes.len() == length).unwrap_or_default()
    };
    proto::Exemplar {
        filtered_attributes: pairs(it.filtered_attributes),
        time_unix_nano: nanos(it.time),
        span_id: bytes(&it.span_id, 8),
        trace_id: bytes(&it.trace_id, 16),
        value: Some(match it.value.into() {
            Number::Double(value) => Value::AsDouble(value),
            Number::Integer(value) => Value::AsInt(value),
        }),
    }
}

fn temporality(it: metrics::Temporality) -> i32 {
    let it = match it {
        // What "low memory" means depends on the instrument; the SDKs send such sums as differences.
        metrics::Temporality::Delta | metrics::Temporality::LowMemory => {
            proto::AggregationTemporality::Delta
        }
        metrics::Temporality::Cumulative => proto::AggregationTemporality::Cumulative,
    };
    it.into()
}

fn gauge(it: metrics::Gauge) -> proto::Gauge {
    let (start, time) = (it.start_time, it.time);
    let points = it.data_points.into_iter();
    let points = points.map(|it| point(it.attributes, it.value, it.exemplars, start, time));
    proto::Gauge { data_points: points.collect() }
}

fn sum(it: metrics::Sum) -> proto::Sum {
    let (start, time) = (Some(it.start_time), it.time);
    let points = it.data_points.into_iter();
    let points = points.map(|it| point(it.attributes, it.value, it.exemplars, start, time));
    proto::Sum {
        data_points: points.collect(),
        aggregation_temporality: temporality(it.temporality),
        is_monotonic: it.is_monotonic,
    }
}

fn histogram(it: metrics::Histogram) -> proto::Histogram {
    let (start, time) = (nanos(it.start_time), nanos(it.time));
    let point = |it: metrics::HistogramDataPoint| proto::HistogramDataPoint {
        attributes: pairs(it.attributes),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: it.count,
        sum: Some(double(it.sum)),
        bucket_counts: it.bucket_counts,
        explicit_bounds: it.bounds,
        exemplars: it.exemplars.into_iter().map(exemplar).collect(),
        flags: 0,
        min: it.min.map(double),
        max: it.max.map(double),
    };
    proto::Histogram {
        data_points: it.data_points.into_iter().map(point).collect(),
        aggregation_temporality: temporality(it.temporality),
    }
}

fn exponential_histogram(it: metrics::ExponentialHistogram) -> proto::ExponentialHistogram {
    use proto::exponential_histogram_data_point::Buckets;
    let (start, time) = (nanos(it.start_time), nanos(it.time));
    let buckets = |it: metrics::ExponentialBucket| {
        Some(Buckets { offset: it.offset, bucket_counts: it.counts })
    };
    let point = |it: metrics::ExponentialHistogramDataPoint| proto::ExponentialHistogramDataPoint {
        attributes: pairs(it.attributes),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: it.count,
        sum: Some(double(it.sum)),
        scale: it.scale.into(),
        zero_count: it.zero_count,
        positive: buckets(it.positive_bucket),
        negative: buckets(it.negative_bucket),
        flags: 0,
        exemplars: it.exemplars.into_iter().map(exemplar).collect(),
        min: it.min.map(double),
        max: it.max.map(double),
        zero_threshold: it.zero_threshold,
    };
    proto::ExponentialHistogram {
        data_points: it.data_points.into_iter().map(point).collect(),
        aggregation_temporality: temporality(it.temporality),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_kind_and_large_ones_become_floating() {
        let number = |it| match Number::from(it) {
            Number::Double(value) => (Some(value), None),
            Number::Integer(value) => (None, Some(value)),
        };
        assert_eq!(number(metrics::MetricNumber::U64(7)), (None, Some(7)));
        assert_eq!(number(metrics::MetricNumber::S64(-7)), (None, Some(-7)));
        assert_eq!(number(metrics::MetricNumber::U64(u64::MAX)), (Some(u64::MAX as f64), None));
    }

    #[test]
    fn identifiers_of_exemplars_are_bytes_or_nothing() {
        let it = |trace_id: &str, span_id: &str| {
            exemplar(metrics::Exemplar {
                filtered_attributes: Vec::new(),
                time: Datetime { seconds: 1, nanoseconds: 2 },
                value: metrics::MetricNumber::F64(0.5),
                span_id: span_id.to_owned(),
                trace_id: trace_id.to_owned(),
            })
        };
        let good = it(&"ab".repeat(16), &"01".repeat(8));
        assert_eq!((good.trace_id, good.span_id), (vec![0xab; 16], vec![1; 8]));
        assert_eq!(good.time_unix_nano, 1_000_000_002);
        let bad = it("ab", "not hexadecimal!");
        assert!(bad.trace_id.is_empty() && bad.span_id.is_empty());
    }
}
