//! Spans of what guests ask the host for, within the call that asks.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
};

use gyre_telemetry::{Blame, Kind, Span, TraceContext};

/// Where what an instance asks for belongs: to the call that it serves at that time. Handles keep a copy, since an
/// instance may serve other calls after the one in which it opened them.
#[derive(Clone, Default)]
pub(crate) struct InstanceTrace(Option<Arc<Mutex<TraceContext>>>);

impl InstanceTrace {
    /// Of an instance that serves a call first. Nothing is kept where nothing is traced.
    pub(crate) fn new(trace: &TraceContext) -> Self {
        Self(trace.is_on().then(|| Arc::new(Mutex::new(trace.clone()))))
    }

    /// From now on it serves that call.
    pub(crate) fn set(&self, trace: &TraceContext) {
        if let Some(current) = &self.0 {
            *current.lock().unwrap_or_else(PoisonError::into_inner) = trace.clone();
        }
    }

    /// The call that it serves.
    pub(crate) fn now(&self) -> TraceContext {
        let Some(current) = &self.0 else { return TraceContext::default() };
        current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A span for what is asked of a server, or of the host in its place.
    pub(crate) fn client(&self, name: &'static str) -> Span {
        self.span(Kind::Client, name)
    }

    pub(crate) fn span(&self, kind: Kind, name: &'static str) -> Span {
        if self.0.is_none() { Span::default() } else { Span::child(&self.now(), kind, name) }
    }

    /// The same for a database's server.
    pub(crate) fn database(&self, name: &'static str, system: &'static str) -> Span {
        let mut span = self.client(name);
        span.set("db.system.name", system);
        span
    }

    /// The same for a statement, under Spin's name for it. Its parameters are nobody's business.
    pub(crate) fn statement(
        &self,
        name: &'static str,
        system: &'static str,
        key: &'static str,
        text: &str,
    ) -> Span {
        let mut span = self.database(name, system);
        if span.is_on() {
            span.set(key, text.to_owned());
        }
        span
    }
}

/// What went wrong, and whose fault it is.
pub(crate) trait Blamed: Debug {
    /// Whose it is.
    fn blame(&self) -> Blame {
        Blame::Host
    }
}

/// Waits for what the span is about, and notes how it ended.
pub(crate) async fn traced<T, E: Blamed>(
    span: Span,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    noted(span, work.await)
}

/// Notes how what the span is about ended.
pub(crate) fn noted<T, E: Blamed>(mut span: Span, result: Result<T, E>) -> Result<T, E> {
    if let (true, Err(error)) = (span.is_on(), &result) {
        span.fail(&format_args!("{error:?}"), error.blame());
    }
    result
}

/// Notes the server that an address names, and its database.
pub(crate) fn set_server(span: &mut Span, address: &str) {
    if !span.is_on() {
        return;
    }
    let Ok(url) = url::Url::parse(address) else { return };
    span.set("server.address", url.host_str().unwrap_or_default().to_owned());
    span.set("server.port", url.port().unwrap_or_default());
    span.set("db.namespace", url.path().trim_start_matches('/').to_owned());
}
