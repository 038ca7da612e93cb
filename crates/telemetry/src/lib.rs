//! What the platform says about itself: tracing, the clock, and how a failure is written down.
//!
//! Guest output goes to the app's log (`gyre_model::LogSink`); it comes through here as well only where an operator
//! has telemetry exported: [`otlp`].

mod clock;
pub mod guest;
pub mod logs;
pub mod metrics;
pub mod otlp;
mod trace;

pub use clock::Clock;
pub use trace::{AttributeText, AttributeValue, Blame, Kind, OPEN_GUEST_SPANS, Span, TraceContext};

use std::error::Error;

/// A failure and all of its causes on one line: `outer: middle: inner`.
///
/// An error's `Display` does not contain its source, so this is how one is logged, once, at the boundary that
/// handles it.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Errors of other crates often repeat their source in their own text.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Starts writing tracing events to standard error, filtered by `filter` (`RUST_LOG` syntax).
///
/// Called once, by the binary. A second call changes nothing.
pub fn init(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(true)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    #[test]
    fn a_chain_is_one_line_from_the_outside_in() {
        assert_eq!(chain(&Outer(Inner)), "outer: inner");
    }
}
