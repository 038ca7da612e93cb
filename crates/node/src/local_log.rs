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
};

use gyre_model::{LogEntry, LogShape, LogSink, LogStream};

/// Writes that may wait. A guest that prints faster than disk and terminal take waits for them, as it would under
/// a shell; nothing is lost.
const QUEUE: usize = 4096;

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
    let mut files: HashMap<String, Option<fs_err::File>> = HashMap::new();
    while let Ok(entry) = entries.recv() {
        if let Some(folder) = config.folder.as_ref().filter(|_| !entry.component.is_empty()) {
            let name = file_name(&entry.component, entry.stream);
            let file = files.entry(name).or_insert_with_key(|name| {
                fs_err::OpenOptions::new().create(true).append(true).open(folder.join(name)).ok()
            });
            // A full disk must not end the application.
            let is_written = file.as_mut().is_none_or(|file| file.write_all(&entry.bytes).is_ok());
            if !is_written {
                *file = None;
            }
        }
        // What the host has to say about a failure is shown to whoever wants to see anything at all.
        let is_shown = match (&config.follow, entry.stream) {
            (Follow::None, _) => false,
            (_, LogStream::Host) => true,
            (follow, _) => follow.shows(&entry.component),
        };
        if is_shown {
            let is_data = entry.stream == LogStream::Stdout
                && config.program.as_deref() == Some(&*entry.component);
            let mut out: Box<dyn std::io::Write> = if is_data {
                Box::new(std::io::stdout().lock())
            } else {
                Box::new(std::io::stderr().lock())
            };
            let _ = out.write_all(&entry.bytes).and_then(|()| out.flush());
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
