//! A collector of telemetry: takes OTLP as protobuf over HTTP and as gRPC, on one port, and keeps what comes. What
//! else it is asked for it answers with 200, and keeps the request's head.

use std::{
    convert::Infallible,
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
        metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
        trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
};
use prost::Message;
use tokio::sync::oneshot;

use crate::wait::until;

pub use opentelemetry_proto::tonic::{
    logs::v1::LogRecord, metrics::v1::Metric, metrics::v1::metric::Data,
    metrics::v1::number_data_point, trace::v1::Span,
};

/// A collector that runs, until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    _stop: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Kept {
    spans: Vec<Told<Span>>,
    metrics: Vec<Told<Metric>>,
    logs: Vec<Told<LogRecord>>,
    requests: Vec<(String, HeaderMap)>,
    exports: Vec<(String, HeaderMap)>,
}

/// Something that was exported, and by whom.
#[derive(Debug, Clone)]
pub struct Told<T> {
    /// What.
    pub it: T,
    /// The attributes of the resource.
    pub resource: Vec<KeyValue>,
    /// The name of the instrumentation scope.
    pub scope: String,
}

impl<T> Told<T> {
    /// An attribute of the resource, as text; nothing where there is none.
    pub fn resource(&self, key: &str) -> String {
        text_of(&self.resource, key)
    }
}

/// An attribute, as text; nothing where there is none.
pub fn text_of(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|it| it.key == key);
    found.and_then(|it| it.value.as_ref()).map(text).unwrap_or_default()
}

/// A value as text: lists and maps as JSON would have them.
pub fn text(value: &AnyValue) -> String {
    let list = |values: &[AnyValue]| values.iter().map(text).collect::<Vec<_>>().join(",");
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::ArrayValue(values)) => format!("[{}]", list(&values.values)),
        Some(Value::KvlistValue(pairs)) => {
            let pair = |it: &KeyValue| {
                format!("{}:{}", it.key, it.value.as_ref().map(text).unwrap_or_default())
            };
            format!("{{{}}}", pairs.values.iter().map(pair).collect::<Vec<_>>().join(","))
        }
        other => format!("{other:?}"),
    }
}

/// Bytes in hexadecimal digits, as headers have identifiers.
pub fn hex(bytes: &[u8]) -> String {
    let mut digits = String::new();
    for byte in bytes {
        write!(digits, "{byte:02x}").expect("text takes everything");
    }
    digits
}

impl Collector {
    /// Starts one on a free loopback port.
    #[track_caller]
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::<Mutex<Kept>>::default();
        let (stop, stopped) = oneshot::channel();
        let keeps = kept.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    () = serve(listener, keeps) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, kept, _stop: stop }
    }

    /// What exporters are given.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Told<Span>> {
        self.kept().spans.clone()
    }

    /// The span of that name, once it is there.
    #[track_caller]
    pub fn span(&self, name: &str) -> Told<Span> {
        self.span_where(name, |span| span.name == name)
    }

    /// The first span like that, once it is there.
    #[track_caller]
    pub fn span_where(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Told<Span> {
        until(&format!("the span {what}"), || {
            self.kept().spans.iter().find(|told| is_it(&told.it)).cloned()
        })
    }

    /// The latest metric of that name that is as wanted, once it is there.
    #[track_caller]
    pub fn metric(&self, name: &str, is_it: impl Fn(&Metric) -> bool) -> Told<Metric> {
        until(&format!("the metric {name}"), || {
            let kept = self.kept();
            let named = kept.metrics.iter().rev().filter(|told| told.it.name == name);
            named.into_iter().find(|told| is_it(&told.it)).cloned()
        })
    }

    /// The first log record like that, once it is there.
    #[track_caller]
    pub fn log(&self, what: &str, is_it: impl Fn(&LogRecord) -> bool) -> Told<LogRecord> {
        until(&format!("the log record {what}"), || {
            self.kept().logs.iter().find(|told| is_it(&told.it)).cloned()
        })
    }

    /// The headers with which it was asked for a path that is none of a collector's.
    #[track_caller]
    pub fn request(&self, path: &str) -> HeaderMap {
        until(&format!("a request for {path}"), || {
            let kept = self.kept();
            kept.requests.iter().find(|(each, _)| each == path).map(|(_, head)| head.clone())
        })
    }

    /// Paths and headers of all exports so far.
    pub fn exports(&self) -> Vec<(String, HeaderMap)> {
        self.kept().exports.clone()
    }
}

async fn serve(listener: std::net::TcpListener, kept: Arc<Mutex<Kept>>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let kept = kept.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(request, kept.clone()));
            let io = TokioIo::new(stream);
            let _ = Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
        });
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    kept: Arc<Mutex<Kept>>,
) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path().to_owned();
    let is_grpc = head
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    // A message of gRPC has a flag and its length before it.
    let message = if is_grpc { body.slice(5..) } else { body };
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let said = match path.as_str() {
        "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
            for of in ExportTraceServiceRequest::decode(message).unwrap().resource_spans {
                let resource = of.resource.map(|it| it.attributes).unwrap_or_default();
                for within in of.scope_spans {
                    let scope = within.scope.map(|it| it.name).unwrap_or_default();
                    let told = within.spans.into_iter().map(|it| Told {
                        it,
                        resource: resource.clone(),
                        scope: scope.clone(),
                    });
                    kept.spans.extend(told);
                }
            }
            ExportTraceServiceResponse::default().encode_to_vec()
        }
        "/v1/metrics" | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
            for of in ExportMetricsServiceRequest::decode(message).unwrap().resource_metrics {
                let resource = of.resource.map(|it| it.attributes).unwrap_or_default();
                for within in of.scope_metrics {
                    let scope = within.scope.map(|it| it.name).unwrap_or_default();
                    let told = within.metrics.into_iter().map(|it| Told {
                        it,
                        resource: resource.clone(),
                        scope: scope.clone(),
                    });
                    kept.metrics.extend(told);
                }
            }
            ExportMetricsServiceResponse::default().encode_to_vec()
        }
        "/v1/logs" | "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => {
            for of in ExportLogsServiceRequest::decode(message).unwrap().resource_logs {
                let resource = of.resource.map(|it| it.attributes).unwrap_or_default();
                for within in of.scope_logs {
                    let scope = within.scope.map(|it| it.name).unwrap_or_default();
                    let told = within.log_records.into_iter().map(|it| Told {
                        it,
                        resource: resource.clone(),
                        scope: scope.clone(),
                    });
                    kept.logs.extend(told);
                }
            }
            ExportLogsServiceResponse::default().encode_to_vec()
        }
        _ => {
            kept.requests.push((path, head.headers));
            return Ok(Response::new(body_of(Vec::new(), false)));
        }
    };
    kept.exports.push((path, head.headers));
    let mut response = Response::new(body_of(said, is_grpc));
    let kind = if is_grpc { "application/grpc" } else { "application/x-protobuf" };
    response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    Ok(response)
}

fn body_of(said: Vec<u8>, is_grpc: bool) -> Body {
    let mut bytes = BytesMut::new();
    let mut frames: Vec<Result<Frame<Bytes>, Infallible>> = Vec::new();
    if is_grpc {
        bytes.put_u8(0);
        bytes.put_u32(said.len() as u32);
        bytes.extend_from_slice(&said);
        frames.push(Ok(Frame::data(bytes.freeze())));
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        frames.push(Ok(Frame::trailers(trailers)));
    } else {
        frames.push(Ok(Frame::data(said.into())));
    }
    StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
}
