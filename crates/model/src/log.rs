//! What guests write, and how it leaves the room that runs them.
//!
//! A sink never blocks and never fails: the runtime calls it from the request path.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::RequestId;

/// Where an entry came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// The guest's standard output.
    Stdout,
    /// The guest's standard error.
    Stderr,
    /// The host's own word about the app: a trap with its backtrace, a limit that was reached.
    Host,
}

impl LogStream {
    /// `stdout`, `stderr` or `host`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Host => "host",
        }
    }
}

/// One write of a guest, or one line of it: see [`LogShape`].
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// When the guest wrote it.
    pub time: Timestamp,
    /// The component that wrote it.
    pub component: Arc<str>,
    /// The request it was serving, if there was one.
    pub request: Option<RequestId>,
    /// Which stream.
    pub stream: LogStream,
    /// The bytes as the guest wrote them; a line comes without its newline. Not necessarily UTF-8.
    pub bytes: Bytes,
}

/// How a sink wants to be fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogShape {
    /// Each write as it was made.
    Raw,
    /// Whole lines; a longer one is cut into pieces of this many bytes.
    Lines {
        /// The longest line, in bytes.
        max_bytes: usize,
    },
}

/// Takes what the guests of one app write.
pub trait LogSink: Send + Sync + 'static {
    /// How it wants to be fed.
    fn shape(&self) -> LogShape;
    /// Takes one entry. Must return at once: what cannot be taken is dropped and counted.
    fn write(&self, entry: LogEntry);
}

/// Forgets everything.
#[derive(Clone, Copy, Default)]
pub struct NullLog;

impl LogSink for NullLog {
    fn shape(&self) -> LogShape {
        LogShape::Raw
    }
    fn write(&self, _: LogEntry) {}
}

impl fmt::Debug for NullLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NullLog")
    }
}
