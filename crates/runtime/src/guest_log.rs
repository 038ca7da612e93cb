//! What a guest writes to its standard streams, on its way to the app's log.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gyre_model::{LogEntry, LogShape, LogSink, LogStream, RequestId};
use gyre_telemetry::{Clock, TraceContext, logs};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// What is taken of one write; a guest that has more writes again.
const WRITE_BYTES: usize = 64 << 10;

/// One standard stream of one instance. What is left of its last line is written when the instance goes.
#[derive(Clone)]
pub(crate) struct GuestStream(Arc<Shared>);

#[derive(Default)]
struct Line {
    /// Whose lines they are.
    request: Option<RequestId>,
    /// The span within which they are written.
    trace: TraceContext,
    begun: Vec<u8>,
}

struct Shared {
    log: Arc<dyn LogSink>,
    app: Arc<str>,
    component: Arc<str>,
    stream: LogStream,
    /// The longest line, where the log wants lines.
    max_line: Option<usize>,
    /// The line that has not ended yet.
    line: Mutex<Line>,
}

impl GuestStream {
    pub(crate) fn new(
        log: &Arc<dyn LogSink>,
        app: &Arc<str>,
        component: &Arc<str>,
        request: Option<RequestId>,
        stream: LogStream,
        trace: &TraceContext,
    ) -> Self {
        let max_line = match log.shape() {
            LogShape::Raw => None,
            LogShape::Lines { max_bytes } => Some(max_bytes.max(1)),
        };
        Self(Arc::new(Shared {
            log: log.clone(),
            app: app.clone(),
            component: component.clone(),
            stream,
            max_line,
            line: Mutex::new(Line { request, trace: trace.clone(), begun: Vec::new() }),
        }))
    }

    /// From now on what is written belongs to that request. A line that has begun is ended.
    pub(crate) fn write_for(&self, request: Option<RequestId>, trace: &TraceContext) {
        let mut line = self.0.line.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.end(&mut line);
        line.request = request;
        line.trace = trace.clone();
    }
}

impl Shared {
    fn write(&self, bytes: Bytes) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let Line { request, trace, begun: line } = &mut *line;
        let Some(max) = self.max_line else { return self.entry(*request, trace, bytes) };
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_end) = match piece.strip_suffix(b"\n") {
                Some(text) => (text.strip_suffix(b"\r").unwrap_or(text), true),
                None => (piece, false),
            };
            line.extend_from_slice(text);
            while line.len() > max {
                let rest = line.split_off(max);
                self.entry(*request, trace, std::mem::replace(line, rest).into());
            }
            if is_end {
                self.entry(*request, trace, std::mem::take(line).into());
            }
        }
    }

    /// Writes the line that has begun, if one has.
    fn end(&self, line: &mut Line) {
        if !line.begun.is_empty() {
            self.entry(line.request, &line.trace, std::mem::take(&mut line.begun).into());
        }
    }

    fn entry(&self, request: Option<RequestId>, trace: &TraceContext, bytes: Bytes) {
        logs::guest_output(&self.app, &self.component, trace, &bytes);
        self.log.write(LogEntry {
            time: Clock::System.now(),
            component: self.component.clone(),
            request,
            stream: self.stream,
            bytes,
        });
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut line = std::mem::take(self.line.get_mut().unwrap_or_else(PoisonError::into_inner));
        self.end(&mut line);
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestStream {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

/// Writes the host's own word into an app's log.
pub(crate) fn host_says(
    log: &Arc<dyn LogSink>,
    component: &Arc<str>,
    request: Option<RequestId>,
    text: &str,
) {
    let entry = |bytes: Bytes| LogEntry {
        time: Clock::System.now(),
        component: component.clone(),
        request,
        stream: LogStream::Host,
        bytes,
    };
    match log.shape() {
        LogShape::Raw => log.write(entry(format!("{text}\n").into())),
        LogShape::Lines { .. } => {
            text.lines().for_each(|line| log.write(entry(line.to_owned().into())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<Vec<u8>>>);

    impl LogSink for Lines {
        fn shape(&self) -> LogShape {
            LogShape::Lines { max_bytes: 4 }
        }
        fn write(&self, entry: LogEntry) {
            self.0.lock().unwrap().push(entry.bytes.to_vec());
        }
    }

    #[test]
    fn writes_become_lines_and_long_ones_are_cut() {
        let lines = Arc::new(Lines::default());
        let log: Arc<dyn LogSink> = lines.clone();
        let (app, component, trace) = ("app".into(), "a".into(), TraceContext::default());
        let mut stream = GuestStream::new(&log, &app, &component, None, LogStream::Stdout, &trace);
        for write in ["a", "b\ncd\r\n", "\n", "123456789\n", "rest"] {
            OutputStream::write(&mut stream, Bytes::from(write)).unwrap();
        }
        drop(stream);
        let lines = lines.0.lock().unwrap();
        let expected = ["ab", "cd", "", "1234", "5678", "9", "rest"];
        assert_eq!(*lines, expected.map(|line| line.as_bytes().to_vec()));
    }
}
