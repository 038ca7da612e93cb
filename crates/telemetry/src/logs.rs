//! What guests print, as log records and as events of the span in which they print it.

use opentelemetry::logs::{LogRecord as _, Logger as _};

use crate::{TraceContext, otlp};

/// What is taken of text that is no UTF-8.
const ESCAPED_BYTES: usize = 50;

/// Exports one write of a guest, if logs or traces are exported.
pub fn guest_output(app: &str, component: &str, trace: &TraceContext, bytes: &[u8]) {
    let Some(state) = otlp::state() else { return };
    let has_events = trace.is_on() && state.traces.as_ref().is_some_and(|it| it.has_log_events);
    if state.logs.is_none() && !has_events {
        return;
    }
    let (key, text) = match std::str::from_utf8(bytes) {
        Ok(text) => ("app_log", text.to_owned()),
        Err(_) => ("app_log_non_utf8", escaped(bytes)),
    };
    if let Some(logs) = &state.logs {
        let mut record = logs.logger.create_log_record();
        record.set_body(text.clone().into());
        if key != "app_log" {
            record.add_attribute(key, true);
        }
        record.add_attribute("component_id", component.to_owned());
        // One server's collector hears of many apps.
        record.add_attribute("app_id", app.to_owned());
        if let Some(span) = trace.innermost().filter(opentelemetry::trace::SpanContext::is_valid) {
            record.set_trace_context(span.trace_id(), span.span_id(), Some(span.trace_flags()));
        }
        logs.logger.emit(record);
    }
    if has_events {
        trace.event(key, text);
    }
}

fn escaped(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(ESCAPED_BYTES)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_escaped_and_cut() {
        assert_eq!(escaped(b"a\xff\n"), "a\\xff\\n");
        assert_eq!(escaped(&[b'x'; 80]).len(), ESCAPED_BYTES);
    }
}
