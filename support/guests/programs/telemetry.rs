//! Uses every function of `wasi:otel@0.2.0-rc.2`: `/spans` makes a span within the host's, in which it asks for a key,
//! and another one within that; `/unknown` ends a span that it did not start; `/many` starts too many; `/metrics` and
//! `/logs` export those, good ones and odd ones.

use guests::spin::key_value::Store;
use guests::{Request, Responder};

mod bindings {
    #![allow(clippy::all, clippy::pedantic, reason = "bindings are written by wit-bindgen")]
    wit_bindgen::generate!({ path: "../../wit", world: "gyre:host/otel", generate_all });
}

use bindings::wasi::{
    clocks0_2_0::wall_clock::Datetime,
    otel::{
        logs, metrics,
        tracing::{self, SpanContext, SpanData, SpanKind, Status, TraceFlags},
        types::{InstrumentationScope, KeyValue, Resource},
    },
};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    match request.path().as_str() {
        "/spans" => spans(),
        "/unknown" => tracing::on_end(&span("never", &context(0x99), "", Vec::new())),
        "/many" => (0..1_100).for_each(|number| tracing::on_start(&context(0x1000 + number))),
        "/metrics" => return responder.text(format!("{:?}", metrics::export(&measured()))),
        "/logs" => logs(),
        other => panic!("no part {other}"),
    }
    responder.text("ok");
}

fn at(seconds: u64) -> Datetime {
    Datetime { seconds: 1_700_000_000 + seconds, nanoseconds: 5 }
}

fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_owned() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "the-guest".to_owned(),
        version: Some("1.2".to_owned()),
        schema_url: None,
        attributes: vec![pair("of", "\"scope\"")],
    }
}

/// A span's place within the host's.
fn context(id: u64) -> SpanContext {
    SpanContext { span_id: format!("{id:016x}"), ..tracing::outer_span_context() }
}

fn span(name: &str, context: &SpanContext, parent: &str, links: Vec<tracing::Link>) -> SpanData {
    SpanData {
        span_context: context.clone(),
        parent_span_id: parent.to_owned(),
        span_kind: SpanKind::Internal,
        name: name.to_owned(),
        start_time: at(1),
        end_time: at(2),
        attributes: vec![pair("text", "\"a\""), pair("list", "[1,2]"), pair("odd", "{\"a\":1}")],
        events: vec![tracing::Event {
            name: "happened".to_owned(),
            time: at(1),
            attributes: vec![pair("really", "true")],
        }],
        links,
        status: Status::Error("it failed".to_owned()),
        instrumentation_scope: scope(),
        dropped_attributes: 1,
        dropped_events: 2,
        dropped_links: 3,
    }
}

fn spans() {
    let host = tracing::outer_span_context();
    assert!(host.trace_flags.contains(TraceFlags::SAMPLED), "{host:?}");
    let (outer, inner) = (context(0xaaaa), context(0xbbbb));
    let store = Store::open("default").expect("it is open");
    tracing::on_start(&outer);
    let _ = store.get("key");
    tracing::on_start(&inner);
    let _ = store.exists("key");
    // The host's span is what it was.
    assert_eq!(tracing::outer_span_context().span_id, host.span_id);
    tracing::on_end(&span("inner", &inner, &outer.span_id, Vec::new()));
    let link = tracing::Link { span_context: inner, attributes: vec![pair("why", "\"so\"")] };
    tracing::on_end(&span("outer", &outer, &host.span_id, vec![link]));
    let _ = store.get_keys();
}

fn logs() {
    let host = tracing::outer_span_context();
    let nothing = || logs::LogRecord {
        timestamp: None,
        observed_timestamp: None,
        severity_text: None,
        severity_number: None,
        body: None,
        attributes: None,
        event_name: None,
        resource: None,
        instrumentation_scope: None,
        trace_id: None,
        span_id: None,
        trace_flags: None,
    };
    logs::on_emit(&logs::LogRecord {
        timestamp: Some(at(1)),
        observed_timestamp: Some(at(2)),
        severity_text: Some("WARN".to_owned()),
        severity_number: Some(13),
        body: Some("{\"said\":[1,\"two\"]}".to_owned()),
        attributes: Some(vec![pair("key", "\"value\"")]),
        event_name: Some("an-event".to_owned()),
        resource: Some(Resource { attributes: Vec::new(), schema_url: None }),
        instrumentation_scope: Some(scope()),
        trace_id: Some(host.trace_id),
        span_id: Some(host.span_id),
        trace_flags: Some(host.trace_flags),
    });
    // None of this is as it should be.
    logs::on_emit(&logs::LogRecord {
        body: Some("no json".to_owned()),
        severity_number: Some(200),
        event_name: Some("x".repeat(1_000)),
        trace_id: Some("zz".to_owned()),
        span_id: Some("zz".to_owned()),
        ..nothing()
    });
    logs::on_emit(&nothing());
}

fn measured() -> metrics::ResourceMetrics {
    use metrics::{
        ExponentialBucket, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
        GaugeDataPoint, Histogram, HistogramDataPoint, Metric, MetricData as Data,
        MetricNumber as Number, Sum, SumDataPoint, Temporality,
    };
    let exemplar = || metrics::Exemplar {
        filtered_attributes: vec![pair("left", "1")],
        time: at(2),
        value: Number::F64(0.5),
        span_id: "00000000000000ab".to_owned(),
        trace_id: "000000000000000000000000000000cd".to_owned(),
    };
    let gauge = |value| Gauge {
        data_points: vec![GaugeDataPoint {
            attributes: vec![pair("a", "\"b\"")],
            value,
            exemplars: vec![exemplar()],
        }],
        start_time: None,
        time: at(2),
    };
    let sum = |value, temporality| Sum {
        data_points: vec![SumDataPoint { attributes: Vec::new(), value, exemplars: Vec::new() }],
        start_time: at(1),
        time: at(2),
        temporality,
        is_monotonic: true,
    };
    let histogram = |value: fn(u8) -> Number| Histogram {
        data_points: vec![HistogramDataPoint {
            attributes: Vec::new(),
            count: 3,
            bounds: vec![1.0, 2.0],
            bucket_counts: vec![1, 1, 1],
            min: Some(value(1)),
            max: Some(value(9)),
            sum: value(12),
            exemplars: Vec::new(),
        }],
        start_time: at(1),
        time: at(2),
        temporality: Temporality::Delta,
    };
    let exponential = |value: fn(u8) -> Number| ExponentialHistogram {
        data_points: vec![ExponentialHistogramDataPoint {
            attributes: Vec::new(),
            count: 2,
            min: None,
            max: None,
            sum: value(6),
            scale: -1,
            zero_count: 1,
            positive_bucket: ExponentialBucket { offset: 4, counts: vec![1] },
            negative_bucket: ExponentialBucket { offset: 0, counts: Vec::new() },
            zero_threshold: 0.25,
            exemplars: Vec::new(),
        }],
        start_time: at(1),
        time: at(2),
        temporality: Temporality::Cumulative,
    };
    let (floating, unsigned, signed): (fn(u8) -> Number, fn(u8) -> Number, fn(u8) -> Number) = (
        |it| Number::F64(f64::from(it)),
        |it| Number::U64(u64::from(it)),
        |it| Number::S64(i64::from(it)),
    );
    let all = [
        ("f64-gauge", Data::F64Gauge(gauge(Number::F64(1.5)))),
        ("u64-gauge", Data::U64Gauge(gauge(Number::U64(2)))),
        ("s64-gauge", Data::S64Gauge(gauge(Number::S64(-3)))),
        ("f64-sum", Data::F64Sum(sum(Number::F64(4.5), Temporality::Cumulative))),
        ("u64-sum", Data::U64Sum(sum(Number::U64(5), Temporality::Delta))),
        ("s64-sum", Data::S64Sum(sum(Number::S64(6), Temporality::LowMemory))),
        ("f64-histogram", Data::F64Histogram(histogram(floating))),
        ("u64-histogram", Data::U64Histogram(histogram(unsigned))),
        ("s64-histogram", Data::S64Histogram(histogram(signed))),
        ("f64-exponential", Data::F64ExponentialHistogram(exponential(floating))),
        ("u64-exponential", Data::U64ExponentialHistogram(exponential(unsigned))),
        ("s64-exponential", Data::S64ExponentialHistogram(exponential(signed))),
        // A kind of number that is not the metric's own.
        ("mixed", Data::U64Sum(sum(Number::F64(7.5), Temporality::Delta))),
    ];
    let metric = |(name, data): (&str, Data)| Metric {
        name: format!("guest.{name}"),
        description: "what it is".to_owned(),
        unit: "By".to_owned(),
        data,
    };
    metrics::ResourceMetrics {
        resource: Resource {
            attributes: vec![pair("service.name", "\"the-guest\"")],
            schema_url: None,
        },
        scope_metrics: vec![metrics::ScopeMetrics {
            scope: scope(),
            metrics: all.into_iter().map(metric).collect(),
        }],
    }
}
