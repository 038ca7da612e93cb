//! What the guests of a local application print: appended to files as it comes, and shown on standard error;
//! what a program prints, on standard output.

use std::{
    collections::{BTreeSet, HashMap},
    io::Write as _,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use gyre_model::{LogEntry, LogShape, LogSink, LogStream};

/// Writes that may wait. A guest that prints faster than disk and terminal take waits for them, as it would under
/// a shell; nothing is lost.
const QUEUE: usize = 4096;

/// How long output is gathered before it is written: to be woken for every line costs a guest more than printing it.
const GATHER: Duration = Duration::from_millis(1);

/// The most bytes that are gathered.
const WAITING_BYTES: usize = 1 << 20;

/// The room for gathered bytes that a file keeps.
const KEPT_BYTES: usize = 64 << 10;

/// Where the output goes.
#[derive(Debug, Clone, Default)]
pub struct LocalLogConfig {
    /// The folder for `<component>_stdout.txt` and `<component>_stderr.txt`; without it there are no files.
    pub folder: Option<PathBuf>,
    /// Whether files that are there are emptied first.
    pub truncate: bool,
    /// Whose output is shown: of these components, or of all.
    pub follow: Follow,
    /// The component that is a program: what it prints is data, shown on standard output.
    pub program: Option<String>,
}

/// Whose output is shown.
#[derive(Debug, Clone, Default)]
pub enum Follow {
    /// Everybody's.
    #[default]
    All,
    /// Nobody's.
    None,
    /// These components'.
    Only(BTreeSet<String>),
}

impl Follow {
    fn shows(&self, component: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Only(ids) => ids.contains(component),
        }
    }
}

/// The log of a local application.
#[derive(Debug)]
pub struct LocalLog {
    queue: Mutex<Option<SyncSender<LogEntry>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl LocalLog {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// The folder cannot be made, or an old file not emptied.
    pub fn open(config: LocalLogConfig, components: &[String]) -> std::io::Result<Arc<Self>> {
        if let Some(folder) = &config.folder {
            fs_err::create_dir_all(folder)?;
            if config.truncate {
                for component in components {
                    for stream in [LogStream::Stdout, LogStream::Stderr] {
                        fs_err::write(folder.join(file_name(component, stream)), b"")?;
                    }
                }
            }
        }
        let (queue, entries) = sync_channel(QUEUE);
        let writer = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(&config, &entries))?;
        Ok(Arc::new(Self { queue: Mutex::new(Some(queue)), writer: Mutex::new(Some(writer)) }))
    }

    /// Brings out what waits. Later writes are lost.
    pub fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

impl LogSink for LocalLog {
    fn shape(&self) -> LogShape {
        LogShape::Raw
    }

    fn write(&self, entry: LogEntry) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(queue) = queue {
            let _ = queue.send(entry);
        }
    }
}

fn file_name(component: &str, stream: LogStream) -> String {
    let stream = if stream == LogStream::Stdout { "stdout" } else { "stderr" };
    // Ids are kebab-case; those of old manifests were made so.
    let safe: String =
        component.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect();
    format!("{safe}_{stream}.txt")
}

fn write(config: &LocalLogConfig, entries: &Receiver<LogEntry>) {
    let mut outputs = Outputs { config, files: HashMap::new(), shown: None, waiting: 0 };
    while let Ok(first) = entries.recv() {
        std::thread::sleep(GATHER);
        // At most what a queue holds, so that nobody waits for output that others keep adding to.
        for entry in std::iter::once(first).chain(entries.try_iter().take(QUEUE)) {
            outputs.add(&entry);
            if outputs.waiting > WAITING_BYTES {
                outputs.flush();
            }
        }
        outputs.flush();
    }
}

/// Where bytes wait that are written at the end of a batch.
struct Outputs<'a> {
    config: &'a LocalLogConfig,
    files: HashMap<String, Output>,
    shown: Option<Shown>,
    /// Bytes that wait for files.
    waiting: usize,
}

#[derive(Default)]
struct Output {
    /// Opened when it is first written to; opened again after it could not be.
    file: Option<fs_err::File>,
    bytes: Vec<u8>,
}

/// Bytes of one of our own standard streams.
struct Shown {
    is_data: bool,
    bytes: Vec<u8>,
}

impl Outputs<'_> {
    fn add(&mut self, entry: &LogEntry) {
        if self.config.folder.is_some() && !entry.component.is_empty() {
            let name = file_name(&entry.component, entry.stream);
            self.files.entry(name).or_default().bytes.extend_from_slice(&entry.bytes);
            self.waiting += entry.bytes.len();
        }
        // What the host has to say about a failure is shown to whoever wants to see anything at all.
        let is_shown = match (&self.config.follow, entry.stream) {
            (Follow::None, _) => false,
            (_, LogStream::Host) => true,
            (follow, _) => follow.shows(&entry.component),
        };
        if !is_shown {
            return;
        }
        let is_data = entry.stream == LogStream::Stdout
            && self.config.program.as_deref() == Some(&*entry.component);
        // The two streams may lead to one terminal: what was first stays first.
        if self.shown.as_ref().is_some_and(|shown| shown.is_data != is_data) {
            self.show();
        }
        let shown = self.shown.get_or_insert_with(|| Shown { is_data, bytes: Vec::new() });
        shown.bytes.extend_from_slice(&entry.bytes);
        if shown.bytes.len() > WAITING_BYTES {
            self.show();
        }
    }

    fn show(&mut self) {
        let Some(Shown { is_data, bytes }) = self.shown.take() else { return };
        let mut out: Box<dyn std::io::Write> = if is_data {
            Box::new(std::io::stdout().lock())
        } else {
            Box::new(std::io::stderr().lock())
        };
        let _ = out.write_all(&bytes).and_then(|()| out.flush());
    }

    fn flush(&mut self) {
        self.show();
        self.waiting = 0;
        let Some(folder) = &self.config.folder else { return };
        for (name, Output { file, bytes }) in &mut self.files {
            if bytes.is_empty() {
                continue;
            }
            if file.is_none() {
                let mut options = fs_err::OpenOptions::new();
                *file = options.create(true).append(true).open(folder.join(name)).ok();
            }
            // A full disk must not end the application.
            if file.as_mut().is_none_or(|file| file.write_all(bytes).is_err()) {
                *file = None;
            }
            bytes.clear();
            bytes.shrink_to(KEPT_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn what_guests_print_is_written_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let config = LocalLogConfig {
            folder: Some(folder.path().to_owned()),
            follow: Follow::None,
            ..LocalLogConfig::default()
        };
        let log = LocalLog::open(config, &[]).unwrap();
        for bytes in ["one\ntw", "o\n"] {
            log.write(LogEntry {
                time: Timestamp::UNIX_EPOCH,
                component: "a".into(),
                request: None,
                stream: LogStream::Stdout,
                bytes: bytes.into(),
            });
        }
        log.close();
        let written = fs_err::read_to_string(folder.path().join("a_stdout.txt")).unwrap();
        assert_eq!(written, "one\ntwo\n", "no line has a prefix");
    }
}
