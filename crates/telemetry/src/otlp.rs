//! The export of traces, metrics and logs by OTLP, as the environment says (OpenTelemetry's specification of
//! exporters, and what Spin makes of it).
//!
//! One process exports to one place, so what there is of it is the process's. Exporters have threads of their own:
//! whoever begins or ends a span hands it to a bounded queue, and what finds no room there is dropped.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::Poll,
    time::Duration,
};

use opentelemetry::{
    InstrumentationScope, KeyValue, logs::LoggerProvider as _, metrics::MeterProvider as _,
    trace::TracerProvider as _,
};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol as OtlpProtocol, SpanExporter,
    WithExportConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{BatchLogProcessor, LogBatch, LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider},
    metrics::{
        PeriodicReader, SdkMeterProvider, Temporality, data::ResourceMetrics,
        exporter::PushMetricExporter,
    },
    resource::{EnvResourceDetector, ResourceDetector as _},
    trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use tokio::runtime::{Handle, Runtime};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, Targets};

use crate::{guest::MetricsSender, metrics::Instruments};

/// How long what has not been exported may hold up the process's end.
const FLUSH_TIME: Duration = Duration::from_secs(3);

/// The instrumentation scope of what is the host's own.
const SCOPE: &str = "gyre";

/// What the process is called where it is one service among others.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// `service.name`, unless the environment has another one.
    pub name: &'static str,
    /// `service.version`.
    pub version: &'static str,
}

/// Why nothing can be exported although the environment asks for it.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// A protocol that exists and is not spoken here.
    #[error("failed to initialize otel {signal}: http/json OTLP protocol is not supported")]
    Json {
        /// `tracing`, `metrics` or `logging`.
        signal: &'static str,
    },
    /// The exporter cannot be made.
    #[error("failed to initialize otel {signal}")]
    Exporter {
        /// `tracing`, `metrics` or `logging`.
        signal: &'static str,
        /// Why.
        #[source]
        source: ExporterBuildError,
    },
    /// No threads for the exporters.
    #[error("cannot start the threads that export telemetry")]
    Threads(#[source] std::io::Error),
}

/// A kind of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Traces => "tracing",
            Self::Metrics => "metrics",
            Self::Logs => "logging",
        }
    }

    /// An environment variable of its own.
    pub(crate) fn variable(self, what: &str) -> String {
        let signal = match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
        };
        format!("OTEL_EXPORTER_OTLP_{signal}_{what}")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    HttpProtobuf,
    Grpc,
}

/// What the environment says.
pub(crate) struct Settings<F>(pub(crate) F);

impl<F: Fn(&str) -> Option<String>> Settings<F> {
    /// A variable that is set, and not to nothing.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// The signal's own variable, or else the one for all.
    pub(crate) fn either(&self, signal: Signal, what: &str) -> Option<String> {
        let general = format!("OTEL_EXPORTER_OTLP_{what}");
        self.get(&signal.variable(what)).or_else(|| self.get(&general))
    }

    /// Whether a signal is exported. Any value of `OTEL_SDK_DISABLED` disables, as it does for Spin.
    fn exports(&self, signal: Signal) -> bool {
        self.either(signal, "ENDPOINT").is_some() && self.get("OTEL_SDK_DISABLED").is_none()
    }

    fn protocol(&self, signal: Signal) -> Result<Protocol, OtlpError> {
        match self.either(signal, "PROTOCOL").as_deref() {
            Some("grpc") => Ok(Protocol::Grpc),
            Some("http/json") => Err(OtlpError::Json { signal: signal.name() }),
            None | Some("http/protobuf") => Ok(Protocol::HttpProtobuf),
            Some(other) => {
                tracing::warn!(
                    "'{other}' is not a valid OTLP protocol, defaulting to http/protobuf"
                );
                Ok(Protocol::HttpProtobuf)
            }
        }
    }

    /// Whether spans of the host's are let through. What cannot be parsed lets them.
    fn has_spans(&self) -> bool {
        let filter = self
            .get("GYRE_OTEL_TRACING_LEVEL")
            .or_else(|| self.get("SPIN_OTEL_TRACING_LEVEL"))
            // A bare word is a target to the one, and a mistake to the other, which is what Spin asks.
            .filter(|text| EnvFilter::try_new(text).is_ok())
            .and_then(|text| text.parse::<Targets>().ok())
            .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
        filter.would_enable(SCOPE, &tracing::Level::INFO)
    }

    fn resource(&self, service: Service) -> Resource {
        let named = EnvResourceDetector::new().detect();
        let named = named.get(&"service.name".into()).map(|name| name.to_string());
        let name = self.get("OTEL_SERVICE_NAME").or(named);
        Resource::builder()
            .with_service_name(name.unwrap_or_else(|| service.name.to_owned()))
            .with_attribute(KeyValue::new("service.version", service.version))
            .build()
    }
}

/// What is exported.
pub(crate) struct State {
    pub(crate) traces: Option<Traces>,
    pub(crate) metrics: Option<Metrics>,
    pub(crate) logs: Option<Logs>,
    /// What talks to the collector.
    pub(crate) runtime: Runtime,
}

pub(crate) struct Traces {
    pub(crate) tracer: SdkTracer,
    pub(crate) processor: Shared<BatchSpanProcessor>,
    /// Whether the host's own spans are exported, not only guests'.
    pub(crate) has_spans: bool,
    /// Whether what guests print becomes events of spans.
    pub(crate) has_log_events: bool,
    provider: SdkTracerProvider,
}

pub(crate) struct Metrics {
    pub(crate) instruments: Instruments,
    /// Sends what guests measure.
    pub(crate) sender: MetricsSender,
    provider: SdkMeterProvider,
}

pub(crate) struct Logs {
    pub(crate) logger: SdkLogger,
    pub(crate) processor: Shared<BatchLogProcessor>,
    provider: SdkLoggerProvider,
}

static STATE: OnceLock<State> = OnceLock::new();

/// What is exported, if anything is. This is all that is asked on the way of a request while nothing is.
#[inline]
pub(crate) fn state() -> Option<&'static State> {
    STATE.get()
}

/// Whether anything is exported.
pub fn is_exporting() -> bool {
    state().is_some()
}

/// Begins to export what the environment asks for. Called once, by the binary, before anything is served.
///
/// # Errors
/// The environment asks for what there is not.
pub fn start(service: Service) -> Result<(), OtlpError> {
    let settings = Settings(|name: &str| std::env::var(name).ok());
    let exported = |signal: Signal| {
        let is_exported = settings.exports(signal);
        is_exported.then(|| settings.protocol(signal)).transpose()
    };
    let (traces, metrics, logs) =
        (exported(Signal::Traces)?, exported(Signal::Metrics)?, exported(Signal::Logs)?);
    if traces.is_none() && metrics.is_none() && logs.is_none() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otlp")
        .enable_all()
        .build()
        .map_err(OtlpError::Threads)?;
    let resource = settings.resource(service);
    let handle = runtime.handle().clone();
    // Clients are made within it, and use it from wherever they are polled.
    let entered = runtime.enter();
    let traces = traces.map(|it| Traces::new(it, &settings, &resource, &handle)).transpose()?;
    let metrics = metrics.map(|it| Metrics::new(it, &settings, &resource, &handle)).transpose()?;
    let logs = logs.map(|it| Logs::new(it, &resource, &handle)).transpose()?;
    drop(entered);
    let _ = STATE.set(State { traces, metrics, logs, runtime });
    Ok(())
}

/// Exports what has not been exported yet; for as long as that may take. Nothing is exported afterwards.
pub async fn flush() {
    let Some(state) = state() else { return };
    let (done, all_done) = tokio::sync::oneshot::channel::<()>();
    // Each waits for a thread of its own.
    let spawned = std::thread::Builder::new().name("otlp-flush".to_owned()).spawn(move || {
        std::thread::scope(|scope| {
            let report = |result: OTelSdkResult| {
                if let Err(error) = result {
                    tracing::warn!("telemetry was lost: {error}");
                }
            };
            if let Some(traces) = &state.traces {
                scope.spawn(move || report(traces.provider.shutdown_with_timeout(FLUSH_TIME)));
            }
            if let Some(metrics) = &state.metrics {
                scope.spawn(move || report(metrics.provider.shutdown_with_timeout(FLUSH_TIME)));
            }
            if let Some(logs) = &state.logs {
                scope.spawn(move || report(logs.provider.shutdown_with_timeout(FLUSH_TIME)));
            }
        });
        drop(done);
    });
    if spawned.is_ok() {
        let _ = tokio::time::timeout(FLUSH_TIME, all_done).await;
    }
}

fn exporter<T>(
    signal: Signal,
    built: Result<T, ExporterBuildError>,
    handle: &Handle,
) -> Result<Within<T>, OtlpError> {
    let failed = |source| OtlpError::Exporter { signal: signal.name(), source };
    Ok(Within { exporter: built.map_err(failed)?, handle: handle.clone() })
}

impl Traces {
    fn new<F: Fn(&str) -> Option<String>>(
        protocol: Protocol,
        settings: &Settings<F>,
        resource: &Resource,
        handle: &Handle,
    ) -> Result<Self, OtlpError> {
        let built = match protocol {
            Protocol::Grpc => SpanExporter::builder().with_tonic().build(),
            Protocol::HttpProtobuf => {
                let builder = SpanExporter::builder().with_http();
                builder.with_protocol(OtlpProtocol::HttpBinary).build()
            }
        };
        let mut processor =
            BatchSpanProcessor::builder(exporter(Signal::Traces, built, handle)?).build();
        processor.set_resource(resource);
        let processor = Shared(Arc::new(processor));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_span_processor(processor.clone())
            .build();
        Ok(Self {
            tracer: provider.tracer(SCOPE),
            processor,
            has_spans: settings.has_spans(),
            has_log_events: settings.get("SPIN_DISABLE_LOG_TO_TRACING").is_none(),
            provider,
        })
    }
}

impl Metrics {
    fn new<F: Fn(&str) -> Option<String>>(
        protocol: Protocol,
        settings: &Settings<F>,
        resource: &Resource,
        handle: &Handle,
    ) -> Result<Self, OtlpError> {
        let built = match protocol {
            Protocol::Grpc => MetricExporter::builder().with_tonic().build(),
            Protocol::HttpProtobuf => {
                let builder = MetricExporter::builder().with_http();
                builder.with_protocol(OtlpProtocol::HttpBinary).build()
            }
        };
        let reader = PeriodicReader::builder(exporter(Signal::Metrics, built, handle)?).build();
        let provider =
            SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(reader).build();
        let instruments = Instruments::new(&provider.meter(SCOPE));
        Ok(Self { instruments, sender: MetricsSender::new(protocol, settings), provider })
    }
}

impl Logs {
    fn new(protocol: Protocol, resource: &Resource, handle: &Handle) -> Result<Self, OtlpError> {
        let built = match protocol {
            Protocol::Grpc => LogExporter::builder().with_tonic().build(),
            Protocol::HttpProtobuf => {
                let builder = LogExporter::builder().with_http();
                builder.with_protocol(OtlpProtocol::HttpBinary).build()
            }
        };
        let mut processor =
            BatchLogProcessor::builder(exporter(Signal::Logs, built, handle)?).build();
        processor.set_resource(resource);
        let processor = Shared(Arc::new(processor));
        let provider = SdkLoggerProvider::builder()
            .with_resource(resource.clone())
            .with_log_processor(processor.clone())
            .build();
        Ok(Self { logger: provider.logger(SCOPE), processor, provider })
    }
}

/// A processor that the host's own spans or records go to, and guests' beside them.
#[derive(Debug)]
pub(crate) struct Shared<T>(Arc<T>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

// The resource is set before it is shared.
impl SpanProcessor for Shared<BatchSpanProcessor> {
    fn on_start(&self, span: &mut Span, cx: &opentelemetry::Context) {
        self.0.on_start(span, cx);
    }

    fn on_end(&self, span: SpanData) {
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
}

impl LogProcessor for Shared<BatchLogProcessor> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.0.emit(record, scope);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
}

/// An exporter whose connections are the runtime's, while its futures are polled by the SDK's own threads.
struct Within<T> {
    exporter: T,
    handle: Handle,
}

impl<T: fmt::Debug> fmt::Debug for Within<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exporter.fmt(f)
    }
}

impl<T> Within<T> {
    async fn poll<O>(&self, future: impl Future<Output = O> + Send) -> O {
        let mut future: Pin<Box<dyn Future<Output = O> + Send + '_>> = Box::pin(future);
        std::future::poll_fn(|cx| -> Poll<O> {
            let _entered = self.handle.enter();
            future.as_mut().poll(cx)
        })
        .await
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Within<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.poll(self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl opentelemetry_sdk::logs::LogExporter for Within<LogExporter> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.poll(self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl PushMetricExporter for Within<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.poll(self.exporter.export(metrics)).await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &'static [(&str, &str)]) -> Settings<impl Fn(&str) -> Option<String>> {
        Settings(|name: &str| {
            pairs.iter().find(|(each, _)| *each == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_endpoint_turns_signals_on_and_the_switch_turns_all_off() {
        let all = settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a")]);
        for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
            assert!(all.exports(signal));
        }
        let logs = settings(&[
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://a"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
            ("OTEL_SDK_DISABLED", ""),
        ]);
        assert!(logs.exports(Signal::Logs));
        assert!(!logs.exports(Signal::Traces) && !logs.exports(Signal::Metrics));
        let off = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"),
            ("OTEL_SDK_DISABLED", "false"),
        ]);
        assert!(!off.exports(Signal::Traces));
    }

    #[test]
    fn a_signals_own_protocol_wins_and_json_is_refused() {
        let it = settings(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "smoke"),
        ]);
        assert_eq!(it.protocol(Signal::Traces).unwrap(), Protocol::Grpc);
        assert_eq!(it.protocol(Signal::Logs).unwrap(), Protocol::HttpProtobuf);
        assert_eq!(
            it.protocol(Signal::Metrics).unwrap_err().to_string(),
            "failed to initialize otel metrics: http/json OTLP protocol is not supported"
        );
        assert_eq!(settings(&[]).protocol(Signal::Metrics).unwrap(), Protocol::HttpProtobuf);
    }

    #[test]
    fn the_tracing_level_filters_spans() {
        assert!(settings(&[]).has_spans());
        assert!(settings(&[("SPIN_OTEL_TRACING_LEVEL", "debug")]).has_spans());
        assert!(!settings(&[("SPIN_OTEL_TRACING_LEVEL", "warn")]).has_spans());
        assert!(settings(&[("SPIN_OTEL_TRACING_LEVEL", "off,gyre=info")]).has_spans());
        assert!(settings(&[("SPIN_OTEL_TRACING_LEVEL", "gyre=loud")]).has_spans());
        let ours =
            settings(&[("SPIN_OTEL_TRACING_LEVEL", "info"), ("GYRE_OTEL_TRACING_LEVEL", "off")]);
        assert!(!ours.has_spans());
    }

    #[test]
    fn the_service_is_named_by_whoever_runs_it() {
        let service = Service { name: "ours", version: "1.2" };
        let name = |it: Resource| it.get(&"service.name".into()).unwrap().to_string();
        assert_eq!(name(settings(&[]).resource(service)), "ours");
        let named = settings(&[("OTEL_SERVICE_NAME", "theirs")]).resource(service);
        assert_eq!(named.get(&"service.version".into()).unwrap().to_string(), "1.2");
        assert_eq!(name(named), "theirs");
    }
}
