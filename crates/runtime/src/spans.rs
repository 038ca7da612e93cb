//! The spans of a call: that of the request or event, and within it the component's.
//!
//! They end with the guest, not with the response's head: what a guest does while its response is sent belongs to
//! its call. Where nothing is traced all of this is `None`.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
};

use gyre_model::Connection;
use gyre_telemetry::{Blame, Kind, Span, TraceContext};
use http::{Request, StatusCode};

/// The span of an event that several components may be called for.
pub(crate) type EventSpan = Option<Arc<Span>>;

/// The spans of a call that runs.
#[derive(Default)]
pub(crate) struct CallSpans(Option<Box<Mutex<Open>>>);

struct Open {
    /// Before its parent, since fields are dropped in this order.
    component: Span,
    request: Span,
    _event: EventSpan,
}

/// How a component is called, as the name of its span says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Execution {
    Wasm,
    Wagi,
}

impl CallSpans {
    /// Of a request whose span that is.
    pub(crate) fn of_request(
        request: Span,
        execution: Execution,
        app: &str,
        component: &str,
    ) -> Self {
        if !request.is_on() {
            return Self(None);
        }
        let span = Span::child(&request.context(), Kind::Internal, name_of(execution));
        Self::new(span, request, None, execution, app, component)
    }

    /// Of a request of another component of the app, whose headers name that one's span.
    pub(crate) fn of_chained<B>(
        request: &Request<B>,
        execution: Execution,
        app: &str,
        component: &str,
    ) -> Self {
        let span = Span::root(Kind::Internal, name_of(execution), Some(request.headers()));
        Self::new(span, Span::default(), None, execution, app, component)
    }

    /// Of an event.
    pub(crate) fn of_event(event: EventSpan, app: &str, component: &str) -> Self {
        let Some(parent) = &event else { return Self(None) };
        let execution = Execution::Wasm;
        let span = Span::child(&parent.context(), Kind::Internal, name_of(execution));
        Self::new(span, Span::default(), event, execution, app, component)
    }

    fn new(
        mut span: Span,
        request: Span,
        event: EventSpan,
        execution: Execution,
        app: &str,
        component: &str,
    ) -> Self {
        if !span.is_on() {
            return Self(None);
        }
        span.rename(|| match execution {
            Execution::Wasm => format!("execute_wasm_component {component}"),
            Execution::Wagi => format!("execute_wagi_component {component}"),
        });
        span.set("app_id", app.to_owned());
        Self(Some(Box::new(Mutex::new(Open { component: span, request, _event: event }))))
    }

    /// Where what the guest does belongs.
    pub(crate) fn context(&self) -> TraceContext {
        self.with(|open| open.component.context()).unwrap_or_default()
    }

    /// Notes what the client is answered.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.with(|open| answered(&mut open.request, status));
    }

    /// Notes that the guest failed.
    pub(crate) fn failed(&self, reason: &dyn Display, blame: Blame) {
        self.with(|open| open.component.fail(reason, blame));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Open) -> T) -> Option<T> {
        let open = self.0.as_ref()?;
        Some(act(&mut open.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn name_of(execution: Execution) -> &'static str {
    match execution {
        Execution::Wasm => "spin_trigger_http.execute_wasm",
        Execution::Wagi => "spin_trigger_http.execute_wagi",
    }
}

/// The span of a client's request, within the one that its headers name.
pub(crate) fn of_request<B>(request: &Request<B>, connection: Connection, app: &str) -> Span {
    let name = "spin_trigger_http.handle_http_request";
    let mut span = Span::root(Kind::Server, name, Some(request.headers()));
    if span.is_on() {
        let uri = request.uri();
        span.rename(|| request.method().to_string());
        span.set("http.request.method", request.method().to_string());
        span.set("network.peer.address", connection.peer.ip().to_string());
        span.set("network.peer.port", connection.peer.port());
        span.set("network.protocol.name", "http");
        span.set("url.path", uri.path().to_owned());
        span.set("url.query", uri.query().unwrap_or_default().to_owned());
        span.set("url.scheme", if connection.is_tls { "https" } else { "http" });
        span.set("app_id", app.to_owned());
        let client = request.headers().get("x-forwarded-for").and_then(|it| it.to_str().ok());
        if let Some(client) = client {
            span.set("client.address", client.to_owned());
        }
    }
    span
}

/// Notes the route that a request was found to be for.
pub(crate) fn routed<B>(span: &mut Span, request: &Request<B>, route: &str) {
    span.rename(|| format!("{} {route}", request.method()));
    if span.is_on() {
        span.set("http.route", route.to_owned());
    }
}

/// Notes what a client is answered.
pub(crate) fn answered(span: &mut Span, status: StatusCode) {
    span.set("http.response.status_code", status.as_u16());
    if status.is_server_error() && span.is_on() {
        span.set("error.type", status.as_str().to_owned());
    }
}

/// The span of a message that a trigger took from somewhere.
pub(crate) fn of_message(name: &'static str, system: &'static str, source: &str) -> EventSpan {
    let mut span = Span::root(Kind::Consumer, name, None);
    if !span.is_on() {
        return None;
    }
    span.rename(|| format!("{source} receive"));
    span.set("messaging.operation", "receive");
    span.set("messaging.system", system);
    Some(Arc::new(span))
}

/// The span of an event that came from nowhere.
pub(crate) fn of_event(name: &'static str) -> EventSpan {
    let span = Span::root(Kind::Internal, name, None);
    span.is_on().then(|| Arc::new(span))
}
