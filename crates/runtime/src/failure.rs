//! What becomes of a call that fails: a status for the client, the reason for the app's log.

use http::StatusCode;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::call::{CallState, Stop};

/// How a guest's run ended when it did not end well.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    /// For the app's log: one line, then the guest's backtrace where there is one.
    pub(crate) reason: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }

    /// The guest did what cannot be turned into an answer.
    pub(crate) fn of_guest(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, reason)
    }

    /// Of an error of the engine.
    pub(crate) fn of(error: &wasmtime::Error, call: &CallState) -> Self {
        // Of an instance that others used, too.
        if let Some(failure) = error.downcast_ref::<Self>() {
            return failure.clone();
        }
        if error.is::<PoolConcurrencyLimitError>() {
            let reason = "the node has no instance left for this request";
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, reason);
        }
        if let Some(stop) = call.stopped() {
            let reason = format!("the guest was stopped: {stop}{}", backtrace(error));
            return Self::new(status_of(stop), reason);
        }
        let cause = cause(error);
        let reason = match call.denied() {
            Some(denied) => format!("the guest failed: {denied} ({cause})"),
            None => format!("the guest failed: {cause}"),
        };
        Self::of_guest(reason + &backtrace(error))
    }

    /// Of a limit in time that was noticed while the guest waited.
    pub(crate) fn late(call: &CallState) -> Self {
        let reason = call.stopped().map_or_else(|| "too late".to_owned(), ToString::to_string);
        let status = call.stopped().map_or(StatusCode::GATEWAY_TIMEOUT, status_of);
        Self::new(status, format!("the guest was stopped: {reason}"))
    }
}

fn status_of(stop: &Stop) -> StatusCode {
    match stop {
        // As Spin answers.
        Stop::Request(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// What happened, on one line, without the backtrace.
fn cause(error: &wasmtime::Error) -> String {
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return format!("wasm trap: {trap}").replace("wasm trap: wasm trap", "wasm trap");
    }
    let texts: Vec<String> = error
        .chain()
        .map(ToString::to_string)
        // The backtrace is itself a link of the chain.
        .filter(|text| !text.starts_with("error while executing at wasm backtrace"))
        .collect();
    texts.join(": ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The guest's frames, the innermost first, names demangled.
fn backtrace(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    format!("\n{backtrace}").trim_end().to_owned()
}
