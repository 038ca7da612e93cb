//! Telemetry through the whole binary, into a collector that keeps what comes.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::fmt::Write as _;
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
};

use gyre_testkit::{
    Collector, Gyre, Server, ServerOptions, Service, TestApp, Up,
    collector::{Data, Metric, Span, Told, hex, number_data_point, text, text_of},
    until,
};

/// The client's span, as W3C writes it.
const TRACE: &str = "4fb34cb4484029f7881399b149e41e98";
const PARENT: &str = "9ffd58d3cd4dd90b";

/// One component for each of these guests, at `/ID/...`.
fn app(guests: &[(&str, &str, &str)]) -> TestApp {
    let mut manifest =
        "spin_manifest_version = 2\n\n[application]\nname = \"traced\"\nversion = \"1.0.0\"\n\n"
            .to_owned();
    manifest.push_str("[variables]\ngreeting = { default = \"hello\" }\n\n");
    for (id, _, more) in guests {
        write!(
            manifest,
            "[[trigger.http]]\nroute = \"/{id}/...\"\ncomponent = \"{id}\"\n\n\
             [component.{id}]\nsource = \"{id}.wasm\"\n{more}\n\n"
        )
        .unwrap();
    }
    let app = TestApp::with_manifest(&manifest);
    for (id, guest, _) in guests {
        app.put_guest(&format!("{id}.wasm"), guest);
    }
    app
}

/// Exports soon.
fn gyre(collector: &Collector) -> Gyre {
    Gyre::new()
        .with_env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
        .with_env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .with_env("OTEL_BLRP_SCHEDULE_DELAY", "50")
        .with_env("OTEL_METRIC_EXPORT_INTERVAL", "100")
}

fn get(up: &Up, path: &str, status: u16) {
    let answer = up.site().get(path);
    assert_eq!(answer.status, status, "{path}: {}\n{}", answer.text(), up.program.output());
}

#[track_caller]
fn attribute(span: &Told<Span>, key: &str) -> String {
    text_of(&span.it.attributes, key)
}

#[track_caller]
fn is_child(child: &Told<Span>, parent: &Told<Span>) {
    assert_eq!(child.it.trace_id, parent.it.trace_id, "{} and {}", child.it.name, parent.it.name);
    assert_eq!(
        hex(&child.it.parent_span_id),
        hex(&parent.it.span_id),
        "{} is not within {}",
        child.it.name,
        parent.it.name
    );
}

#[test]
fn a_request_and_what_it_leads_to_are_one_trace() {
    let collector = Collector::start();
    let hosts = format!("allowed_outbound_hosts = [{:?}]", collector.endpoint());
    let app = app(&[("out", "outbound", &hosts)]);
    app.put(
        "config.toml",
        "[outbound_networking]\nmax_total_connections = 4\n[outbound_http]\nmax_connections = 2\n",
    );
    let config = app.path().join("config.toml");
    let up = gyre(&collector).up(app.path(), &["--runtime-config-file", config.to_str().unwrap()]);
    let site = up
        .site()
        .with_header("traceparent", &format!("00-{TRACE}-{PARENT}-01"))
        .with_header("tracestate", "vendor=value")
        .with_header("x-forwarded-for", "203.0.113.9");
    let path = format!("/out/there?url={}/elsewhere", collector.endpoint());
    assert_eq!(site.get(&path).status, 200, "{}", up.program.output());

    let request = collector.span("GET /out/...");
    assert_eq!(hex(&request.it.trace_id), TRACE);
    assert_eq!(hex(&request.it.parent_span_id), PARENT);
    assert_eq!(request.it.kind, 2, "a server's");
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "/out/..."),
        ("url.path", "/out/there"),
        ("url.scheme", "http"),
        ("network.peer.address", "127.0.0.1"),
        ("network.protocol.name", "http"),
        ("client.address", "203.0.113.9"),
        ("app_id", "traced"),
    ] {
        assert_eq!(attribute(&request, key), value, "{key}");
    }
    assert!(attribute(&request, "url.query").starts_with("url="));
    assert_eq!(request.resource("service.name"), "spin");
    assert_eq!(request.resource("service.version"), env!("CARGO_PKG_VERSION"));
    let execution = collector.span("execute_wasm_component out");
    is_child(&execution, &request);

    let outgoing = collector.span("GET");
    is_child(&outgoing, &execution);
    assert_eq!(outgoing.it.kind, 3, "a client's");
    assert_eq!(attribute(&outgoing, "url.full"), format!("{}/elsewhere", collector.endpoint()));
    assert_eq!(attribute(&outgoing, "http.response.status_code"), "200");
    assert_eq!(attribute(&outgoing, "server.address"), "127.0.0.1");
    let sent = collector.request("/elsewhere");
    let parent = format!("00-{TRACE}-{}-01", hex(&outgoing.it.span_id));
    assert_eq!(sent["traceparent"], parent.as_str());
    assert_eq!(sent["tracestate"], "vendor=value");

    // One connection, of those that there may be.
    let acquired = collector.metric("outbound_connection_permits_acquired", |_| true);
    let pairs = [("kind", "http"), ("waited", "false")];
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(sums(&acquired.it), [(pairs.to_vec(), 1)]);
    for (name, share) in [
        ("outbound_connection_factor_utilization", 0.5),
        ("outbound_connection_global_utilization", 0.25),
    ] {
        let told = collector.metric(name, |_| true);
        let Some(Data::Histogram(histogram)) = &told.it.data else { panic!("{told:?}") };
        assert_eq!(histogram.data_points[0].sum, Some(share), "{name}");
    }

    // Without a client's span there is a trace of its own; no route has no name.
    get(&up, "/nowhere", 404);
    let lost = collector.span_where("of the 404", |it| {
        text_of(&it.attributes, "http.response.status_code") == "404"
    });
    assert_eq!(lost.it.name, "GET");
    assert!(lost.it.parent_span_id.is_empty() && hex(&lost.it.trace_id) != TRACE);
}

#[test]
fn spans_end_with_the_guest() {
    let collector = Collector::start();
    let up = gyre(&collector).up(app(&[("events", "stream", "")]).path(), &[]);
    get(&up, "/events/events", 200);
    // 20 events, 30 ms apart, all of them after the head of the response.
    for name in ["GET /events/...", "execute_wasm_component events"] {
        let span = collector.span(name).it;
        assert!(span.end_time_unix_nano - span.start_time_unix_nano > 400_000_000, "{span:?}");
    }
}

#[test]
fn what_guests_ask_for_is_within_their_call() {
    let collector = Collector::start();
    let redis = Service::redis();
    let server = format!("redis://{}", redis.address());
    let hosts = format!("allowed_outbound_hosts = [{server:?}]");
    let app = app(&[
        ("kv", "key-value", "key_value_stores = [\"default\"]"),
        ("sql", "sqlite", "sqlite_databases = [\"default\"]"),
        ("vars", "variables", "variables = { greeting = \"{{ greeting }}\" }"),
        ("out", "outbound", ""),
        ("trap", "trap", ""),
        ("new", "handler03", ""),
    ]);
    app.put(
        "spin.toml",
        fs_read(&app)
            + &format!(
                "[[trigger.http]]\nroute = \"/redis2\"\ncomponent = \"redis\"\n\n\
                 [component.redis]\nsource = \"redis.wasm\"\n{hosts}\n"
            ),
    );
    app.put_guest("redis.wasm", "messaging");
    let up = gyre(&collector).up(app.path(), &[]);
    let execution = |id: &str| collector.span(&format!("execute_wasm_component {id}"));

    get(&up, "/kv/keys", 200);
    for name in ["spin_key_value.open", "spin_key_value.get_keys"] {
        is_child(&collector.span(name), &execution("kv"));
    }
    get(&up, "/kv/get?store=other", 500);
    let denied =
        collector.span_where("denied", |it| it.status.as_ref().is_some_and(|it| it.code == 2));
    assert_eq!(denied.it.name, "spin_key_value.open");
    assert_eq!(denied.it.status.as_ref().unwrap().message, "AccessDenied");
    assert_eq!(attribute(&denied, "error.blame"), "guest");

    get(&up, "/vars/get", 200);
    is_child(&collector.span("spin_variables.get"), &execution("vars"));
    get(&up, "/vars/config", 200);
    let asked = collector.span("wasi_config.get");
    let asking = |it: &Span| it.span_id == asked.it.parent_span_id;
    let second = collector.span_where("of the second call", asking);
    assert_eq!(second.it.name, "execute_wasm_component vars");

    assert_eq!(up.site().post("/sql/?p=secret", "SELECT ?").status, 200);
    let opened = collector.span("spin_sqlite.open");
    is_child(&opened, &execution("sql"));
    assert_eq!(attribute(&opened, "db.system.name"), "sqlite");
    let executed = collector.span("spin_sqlite.execute");
    is_child(&executed, &execution("sql"));
    assert_eq!(attribute(&executed, "query"), "SELECT ?");
    assert!(!format!("{executed:?}").contains("secret"));

    get(&up, &format!("/redis2?address={server}"), 200);
    let opened = collector.span("spin_outbound_redis.open_connection");
    is_child(&opened, &execution("redis"));
    assert_eq!(attribute(&opened, "db.system.name"), "redis");
    assert_eq!(attribute(&opened, "server.address"), "127.0.0.1");
    assert_eq!(attribute(&opened, "server.port"), redis.port().to_string());
    for name in ["SET", "GET", "INCRBY", "DEL", "SADD", "SMEMBERS", "SREM", "PUBLISH"] {
        is_child(&collector.span(name), &execution("redis"));
    }

    get(&up, "/out/?url=http://elsewhere.example/", 502);
    let refused = collector.span_where("refused", |it| {
        text_of(&it.attributes, "url.full").contains("elsewhere.example")
    });
    is_child(&refused, &execution("out"));
    assert_eq!(attribute(&refused, "error.blame"), "guest");

    get(&up, "/trap/?message=done%20for", 500);
    let failed = execution("trap");
    assert_eq!(failed.it.status.as_ref().unwrap().code, 2);
    assert_eq!(attribute(&failed, "error.blame"), "guest");
    let request = collector.span("GET /trap/...");
    is_child(&failed, &request);
    assert_eq!(attribute(&request, "http.response.status_code"), "500");
    assert_eq!(attribute(&request, "error.type"), "500");

    get(&up, "/new/a", 200);
    is_child(&execution("new"), &collector.span("GET /new/..."));
}

fn fs_read(app: &TestApp) -> String {
    fs_err::read_to_string(app.manifest()).unwrap()
}

/// The attributes and the value of a metric's points.
fn sums(metric: &Metric) -> Vec<(Vec<(String, String)>, i64)> {
    let Some(Data::Sum(sum)) = &metric.data else { return Vec::new() };
    let point = |it: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| {
        let pairs = it.attributes.iter();
        let mut pairs: Vec<_> =
            pairs.map(|it| (it.key.clone(), it.value.as_ref().map(text).unwrap())).collect();
        pairs.sort();
        let Some(number_data_point::Value::AsInt(value)) = it.value else { panic!("{it:?}") };
        (pairs, value)
    };
    sum.data_points.iter().map(point).collect()
}

#[test]
fn calls_are_counted_and_output_is_exported() {
    let collector = Collector::start();
    let app = app(&[("log", "log", "")]);
    let up = gyre(&collector)
        .with_env("OTEL_SERVICE_NAME", "mine")
        .with_env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20secret")
        .up(app.path(), &[]);
    get(&up, "/log/?text=printed", 200);
    get(&up, "/log/?text=complaint&stderr=yes", 200);

    let pairs: Vec<_> = [("app_id", "traced"), ("component_id", "log"), ("trigger_type", "http")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let counted = collector.metric("spin.request_count", |it| sums(it) == [(pairs.clone(), 2)]);
    assert_eq!(counted.resource("service.name"), "mine");
    for (name, unit) in [
        ("spin.component_cpu_time", "s"),
        ("spin.component_memory_used_on_init", "By"),
        ("spin.component_memory_used", "By"),
    ] {
        let _ = collector.metric(name, |it| {
            let Some(Data::Histogram(histogram)) = &it.data else { panic!("{it:?}") };
            histogram.data_points.iter().any(|point| {
                point.count == 2
                    && point.sum.is_some_and(|sum| sum > 0.0)
                    && text_of(&point.attributes, "component_id") == "log"
                    && text_of(&point.attributes, "unit") == unit
            })
        });
    }
    // Standard error is not buffered: each piece of a line is a write.
    for (said, path) in
        [("printed 0\n", "text=printed"), ("complaint", "text=complaint&stderr=yes")]
    {
        let record = collector.log(said, |it| it.body.as_ref().map(text).as_deref() == Some(said));
        assert_eq!(text_of(&record.it.attributes, "component_id"), "log");
        assert_eq!(text_of(&record.it.attributes, "app_id"), "traced");
        let request = collector.span_where(path, |it| text_of(&it.attributes, "url.query") == path);
        let execution =
            collector.span_where("the execution", |it| it.parent_span_id == request.it.span_id);
        assert_eq!(record.it.span_id, execution.it.span_id);
        assert_eq!(record.it.trace_id, execution.it.trace_id);
        assert!(execution.it.events.iter().all(|event| event.name == "app_log"));
        assert_eq!(text_of(&execution.it.events[0].attributes, "app_log"), said);
    }
    for (path, head) in collector.exports() {
        assert_eq!(head["api-key"], "a secret", "{path}");
    }
}

#[test]
fn grpc_is_spoken_json_is_not_and_a_switch_turns_all_off() {
    let collector = Collector::start();
    let app = app(&[("kv", "key-value", "key_value_stores = [\"default\"]")]);
    let up = gyre(&collector).with_env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc").up(app.path(), &[]);
    get(&up, "/kv/keys", 200);
    is_child(&collector.span("spin_key_value.open"), &collector.span("execute_wasm_component kv"));
    let _ = collector.metric("spin.request_count", |_| true);
    assert!(collector.exports().iter().all(|(path, _)| path.ends_with("/Export")));

    let json = Collector::start();
    let run = gyre(&json)
        .with_env("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json")
        .run(&["up", "--from", app.argument(), "--listen", "127.0.0.1:0"])
        .failed();
    let _ = run.says("failed to initialize otel logging: http/json OTLP protocol is not supported");

    let off = Collector::start();
    let hosts = format!("allowed_outbound_hosts = [{:?}]", off.endpoint());
    let other = self::app(&[("out", "outbound", &hosts)]);
    let mut up = gyre(&off).with_env("OTEL_SDK_DISABLED", "true").up(other.path(), &[]);
    let site = up.site().with_header("traceparent", &format!("00-{TRACE}-{PARENT}-01"));
    let path = format!("/out/?url={}/elsewhere", off.endpoint());
    assert_eq!(site.get(&path).status, 200);
    assert!(off.request("/elsewhere").get("traceparent").is_none());
    assert!(up.program.terminate().success());
    assert!(off.exports().is_empty());
}

#[test]
fn what_waits_is_exported_at_the_end_and_levels_filter_spans() {
    let collector = Collector::start();
    let app = app(&[("log", "log", "")]);
    let exporting = |level: Option<&str>| {
        let gyre = Gyre::new().with_env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
        match level {
            Some(level) => gyre.with_env("SPIN_OTEL_TRACING_LEVEL", level),
            None => gyre,
        }
    };
    let mut up = exporting(Some("warn")).up(app.path(), &[]);
    get(&up, "/log/?text=quiet", 200);
    assert!(up.program.terminate().success());
    let _ = collector.log("quiet", |it| it.body.as_ref().map(text).as_deref() == Some("quiet 0\n"));
    assert!(collector.spans().is_empty());

    let mut up = exporting(None).up(app.path(), &[]);
    get(&up, "/log/?text=loud", 200);
    assert!(up.program.terminate().success());
    // It has all come when the process is gone.
    let names: Vec<_> = collector.spans().into_iter().map(|told| told.it.name).collect();
    assert!(names.contains(&"GET /log/...".to_owned()), "{names:?}");

    // A collector that is not there holds nothing up.
    let mut up = Gyre::new()
        .with_env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        .up(app.path(), &[]);
    get(&up, "/log/?text=alone", 200);
    assert!(up.program.terminate().success());
}

#[test]
fn guests_export_telemetry_of_their_own() {
    let collector = Collector::start();
    let manifest = "key_value_stores = [\"default\"]";
    let app = TestApp::of_guest("guest", "telemetry", manifest);
    let up = gyre(&collector).up(app.path(), &["--experimental-wasi-otel"]);
    get(&up, "/spans", 200);
    let execution = collector.span("execute_wasm_component guest");
    let (outer, inner) = (collector.span("outer"), collector.span("inner"));
    is_child(&outer, &execution);
    is_child(&inner, &outer);
    assert_eq!(outer.scope, "the-guest");
    assert_eq!(outer.resource("service.name"), "spin");
    assert_eq!(attribute(&outer, "text"), "a");
    assert_eq!(attribute(&outer, "list"), "[1,2]");
    assert_eq!(attribute(&outer, "odd"), "{\"a\":1}");
    assert_eq!(outer.it.start_time_unix_nano, 1_700_000_001_000_000_005);
    assert_eq!((outer.it.events[0].name.as_str(), outer.it.links.len()), ("happened", 1));
    assert_eq!(outer.it.links[0].span_id, inner.it.span_id);
    assert_eq!(outer.it.status.as_ref().unwrap().message, "it failed");
    assert_eq!(
        (
            outer.it.dropped_attributes_count,
            outer.it.dropped_events_count,
            outer.it.dropped_links_count
        ),
        (1, 2, 3)
    );
    // What it asks the host for is within the span that it has opened last.
    is_child(&collector.span("spin_key_value.open"), &execution);
    is_child(&collector.span("spin_key_value.get"), &outer);
    is_child(&collector.span("spin_key_value.exists"), &inner);
    is_child(&collector.span("spin_key_value.get_keys"), &execution);

    get(&up, "/unknown", 500);
    until("what it did wrong", || {
        up.program.output().contains("Trying to end a span that was not started").then_some(())
    });
    get(&up, "/many", 500);
    until("what it did wrong", || {
        up.program.output().contains("a call may have 1024 spans open").then_some(())
    });

    let answer = up.site().get("/metrics");
    assert_eq!(answer.text(), "Ok(())", "{}", up.program.output());
    let of = |name: &str| collector.metric(&format!("guest.{name}"), |_| true);
    let gauge = of("f64-gauge");
    assert_eq!((gauge.scope.as_str(), gauge.it.unit.as_str()), ("the-guest", "By"));
    assert_eq!(gauge.resource("service.name"), "the-guest");
    let Some(Data::Gauge(points)) = &gauge.it.data else { panic!("{gauge:?}") };
    let point = &points.data_points[0];
    assert_eq!(point.value, Some(number_data_point::Value::AsDouble(1.5)));
    assert_eq!(text_of(&point.attributes, "a"), "b");
    assert_eq!(hex(&point.exemplars[0].span_id), "00000000000000ab");
    for (name, value, temporality) in [("u64-sum", 5, 1), ("s64-sum", 6, 1)] {
        let told = of(name);
        let Some(Data::Sum(sum)) = &told.it.data else { panic!("{told:?}") };
        assert_eq!(sums(&told.it)[0].1, value);
        assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (temporality, true), "{name}");
    }
    for name in ["f64-histogram", "u64-histogram", "s64-histogram"] {
        let told = of(name);
        let Some(Data::Histogram(histogram)) = &told.it.data else { panic!("{told:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum, point.max), (3, Some(12.0), Some(9.0)), "{name}");
        assert_eq!(
            (&point.explicit_bounds[..], &point.bucket_counts[..]),
            (&[1.0, 2.0][..], &[1, 1, 1][..])
        );
    }
    for name in ["f64-exponential", "u64-exponential", "s64-exponential"] {
        let told = of(name);
        let Some(Data::ExponentialHistogram(histogram)) = &told.it.data else { panic!("{told:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.scale, point.zero_count, point.sum), (-1, 1, Some(6.0)), "{name}");
        assert_eq!(point.positive.as_ref().unwrap().offset, 4);
    }
    for name in ["u64-gauge", "s64-gauge", "f64-sum", "mixed"] {
        let _ = of(name);
    }

    get(&up, "/logs", 200);
    let record = collector.log("with an event", |it| it.event_name == "an-event").it;
    assert_eq!((record.severity_number, record.severity_text.as_str()), (13, "WARN"));
    assert_eq!(record.body.as_ref().map(text).as_deref(), Some("{said:[1,two]}"));
    assert_eq!(text_of(&record.attributes, "key"), "value");
    assert_eq!(record.time_unix_nano, 1_700_000_001_000_000_005);
    assert!(collector.spans().iter().all(|told| told.it.span_id != [0; 8]));
    let odd = collector
        .log("that is odd", |it| it.body.as_ref().map(text).as_deref() == Some("no json"))
        .it;
    assert_eq!(text_of(&odd.attributes, "event.name").len(), 1_000);
    assert_eq!(odd.severity_number, 0);
    let _ = collector.log("that is empty", |it| it.body.is_none());
}

#[test]
fn guests_telemetry_is_there_only_where_it_is_asked_for() {
    let app = TestApp::of_guest("guest", "telemetry", "key_value_stores = [\"default\"]");
    let run =
        Gyre::new().run(&["up", "--from", app.argument(), "--listen", "127.0.0.1:0"]).failed();
    let _ = run
        .says("wasi:otel is experimental, and only there with --experimental-wasi-otel")
        .says("matching implementation was not found in the linker");

    // Without an exporter it is there, says so, and does nothing.
    let up = Gyre::new().up(app.path(), &["--experimental-wasi-otel"]);
    assert!(up.program.output().contains("No telemetry will be exported"));
    get(&up, "/many", 200);
    get(&up, "/logs", 200);
    assert_eq!(up.site().get("/metrics").text(), "Ok(())");
}

#[test]
fn messages_have_spans_of_their_own() {
    let collector = Collector::start();
    let redis = Service::redis();
    let app = TestApp::with_manifest(&format!(
        "spin_manifest_version = 2\n\n[application]\nname = \"events\"\n\n\
         [[trigger.redis]]\naddress = \"redis://{0}\"\nchannel = \"news\"\ncomponent = \"one\"\n\n\
         [[trigger.redis]]\naddress = \"redis://{0}\"\nchannel = \"news\"\ncomponent = \"two\"\n\n\
         [component.one]\nsource = \"events.wasm\"\n\n[component.two]\nsource = \"events.wasm\"\n",
        redis.address()
    ));
    app.put_guest("events.wasm", "events");
    let mut program = gyre(&collector).start(&["up", "--from", app.argument()]);
    program.wait_for("the channel", |line| line.contains("news: [").then_some(()));
    let mut stream = TcpStream::connect(redis.address()).unwrap();
    write!(stream, "PUBLISH news hello\r\n").unwrap();
    BufReader::new(stream).read_line(&mut String::new()).unwrap();

    // One for the message, with all that are called for it.
    let message = collector.span("news receive");
    assert_eq!(message.it.kind, 5, "a consumer's");
    assert_eq!(attribute(&message, "messaging.system"), "redis");
    assert_eq!(attribute(&message, "messaging.operation"), "receive");
    for component in ["one", "two"] {
        is_child(&collector.span(&format!("execute_wasm_component {component}")), &message);
        let _ = collector.metric("spin.request_count", |it| {
            sums(it).iter().any(|(pairs, value)| {
                let has =
                    |key: &str, wanted: &str| pairs.contains(&(key.to_owned(), wanted.to_owned()));
                *value == 1 && has("component_id", component) && has("trigger_type", "redis")
            })
        });
    }
    assert_eq!(collector.spans().iter().filter(|told| told.it.name == "news receive").count(), 1);
}

#[test]
fn a_server_exports_what_its_apps_do() {
    let collector = Collector::start();
    let arguments = vec!["--experimental-wasi-otel".to_owned()];
    let options = ServerOptions { arguments, ..ServerOptions::default() };
    let server = Server::start_with(gyre(&collector), options);
    let log = server.deploy(TestApp::of_guest("talker", "log", "").path());
    let site = log.site().with_header("traceparent", &format!("00-{TRACE}-{PARENT}-01"));
    assert_eq!(site.get("/?text=printed").status, 200);
    let request = collector
        .span_where("of the request", |it| text_of(&it.attributes, "url.query") == "text=printed");
    assert_eq!((hex(&request.it.trace_id), hex(&request.it.parent_span_id)), pair(TRACE, PARENT));
    assert_eq!(request.resource("service.name"), "gyre");
    assert_eq!(attribute(&request, "app_id"), "talker");
    let record = collector
        .log("of the app", |it| it.body.as_ref().map(text).as_deref() == Some("printed 0"))
        .it;
    assert_eq!(text_of(&record.attributes, "app_id"), "talker");
    assert_eq!(hex(&record.trace_id), TRACE);

    let manifest = "key_value_stores = [\"default\"]";
    let own = server.deploy(TestApp::of_guest("guest", "telemetry", manifest).path());
    assert_eq!(own.site().get("/spans").status, 200);
    is_child(&collector.span("outer"), &collector.span("execute_wasm_component guest"));
    drop(server);

    let server = Server::start();
    let refused = server.try_deploy(TestApp::of_guest("guest", "telemetry", manifest).path(), &[]);
    let _ = refused
        .failed()
        .says("wasi:otel is experimental, and only there with --experimental-wasi-otel");
}

fn pair(one: &str, other: &str) -> (String, String) {
    (one.to_owned(), other.to_owned())
}
