//! A file of key-value stores: its connections, opened when needed and closed when others need the room.

use std::{
    cell::Cell,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::oneshot;

use super::write::{Done, Op, Queue, Waiting, run_batch};
use crate::{
    KeyValueError, Location,
    folder::{as_sqlite, make_folder_of},
    open_files::{Holder, OpenFile, OpenFiles, touch},
    pool::Pool,
};

/// Reading connections: as many threads can read one file at once.
const READERS: usize = 4;
/// How long a read waits for the rare moments in which the file is locked (the last connection closing, recovery).
const READ_BUSY: Duration = Duration::from_secs(1);
/// How long a write waits for another program.
const WRITE_BUSY: Duration = Duration::from_secs(5);

const TABLE: &str = "CREATE TABLE IF NOT EXISTS spin_key_value (
    store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (store, key))";

type Slot = Mutex<Option<(Connection, OpenFile)>>;

pub(super) struct File {
    location: Location,
    open_files: Arc<OpenFiles>,
    /// The store's size limit in bytes; the highest number: none.
    quota: AtomicU64,
    is_closed: AtomicBool,
    last_used: AtomicU64,
    readers: [Slot; READERS],
    writer: Slot,
    queue: Mutex<Queue>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("File").field(&self.location).finish()
    }
}

impl Holder for File {
    fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    fn release(&self) {
        if self.location == Location::Memory {
            return;
        }
        let mut closing = Vec::new();
        for slot in self.readers.iter().chain([&self.writer]) {
            if let Ok(mut slot) = slot.try_lock() {
                closing.extend(slot.take());
            }
        }
        if !closing.is_empty() {
            // The last one to close writes the log back: not here.
            Pool::key_value().run(move || drop(closing));
        }
    }
}

impl File {
    pub(super) fn new(location: Location, open_files: Arc<OpenFiles>) -> Arc<Self> {
        let file = Arc::new(Self {
            location,
            open_files,
            quota: AtomicU64::new(u64::MAX),
            is_closed: AtomicBool::new(false),
            last_used: AtomicU64::new(0),
            readers: Default::default(),
            writer: Slot::default(),
            queue: Mutex::default(),
        });
        let holder: std::sync::Weak<dyn Holder> =
            Arc::downgrade(&(file.clone() as Arc<dyn Holder>));
        file.open_files.register(holder);
        file
    }

    pub(super) fn set_quota(&self, bytes: Option<u64>) {
        self.quota.store(bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Runs `f` on a reading connection; nothing if there is no file or no table yet.
    pub(super) fn read<T>(
        &self,
        f: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<Option<T>, KeyValueError> {
        if self.is_closed() {
            return Err(KeyValueError::Closed);
        }
        touch(&self.last_used);
        let mut slot = match &self.location {
            Location::Memory => lock(&self.writer),
            Location::File(_) => self.reader(),
        };
        if slot.is_none() {
            let connection = match &self.location {
                Location::Memory => self.connect_writer(),
                Location::File(path) => self.connect_reader(path),
            };
            match connection {
                Ok(Some(connection)) => *slot = Some(connection),
                Ok(None) => return Ok(None),
                Err(error) => return Err(explain(&error)),
            }
        }
        let (connection, _) = slot.as_ref().expect("it was opened above");
        match f(connection) {
            Ok(value) => Ok(Some(value)),
            Err(error) if lacks_table(&error) => Ok(None),
            Err(error) => Err(explain(&error)),
        }
    }

    /// The calling thread's own reader if it is free, else any that is.
    fn reader(&self) -> MutexGuard<'_, Option<(Connection, OpenFile)>> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed)));
        let own = OWN.get();
        for n in 0..READERS {
            match self.readers[(own + n) % READERS].try_lock() {
                Ok(slot) => return slot,
                Err(TryLockError::Poisoned(slot)) => return slot.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        lock(&self.readers[own % READERS])
    }

    fn connect_reader(
        &self,
        path: &Path,
    ) -> Result<Option<(Connection, OpenFile)>, rusqlite::Error> {
        if !path.exists() {
            return Ok(None);
        }
        let open_file = self.open_files.admit();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(READ_BUSY)?;
        connection.execute_batch(
            "PRAGMA query_only=ON; PRAGMA trusted_schema=OFF; PRAGMA cache_size=-256;",
        )?;
        Ok(Some((connection, open_file)))
    }

    fn connect_writer(&self) -> Result<Option<(Connection, OpenFile)>, rusqlite::Error> {
        let open_file = self.open_files.admit();
        let connection = match &self.location {
            Location::Memory => Connection::open_in_memory()?,
            Location::File(path) => {
                make_folder_of(path).map_err(as_sqlite)?;
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
                    | OpenFlags::SQLITE_OPEN_CREATE
                    | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                Connection::open_with_flags(path, flags)?
            }
        };
        connection.busy_timeout(WRITE_BUSY)?;
        connection.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA trusted_schema=OFF;
             PRAGMA journal_size_limit=4194304; PRAGMA cache_size=-512;",
        )?;
        connection.execute_batch(TABLE)?;
        Ok(Some((connection, open_file)))
    }

    /// Queues a write; its answer comes after it is durable.
    pub(super) fn submit(
        self: &Arc<Self>,
        store: Arc<str>,
        op: Op,
    ) -> oneshot::Receiver<Result<Done, KeyValueError>> {
        let (answer, result) = oneshot::channel();
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_closed() {
            return result; // Its sender is gone: closed.
        }
        queue.waiting.push_back(Waiting { store, op, answer });
        if !queue.is_scheduled {
            queue.is_scheduled = true;
            drop(queue);
            let this = self.clone();
            Pool::key_value().run(move || this.drain());
        }
        result
    }

    /// Runs one batch, then, if more came meanwhile, gets in line again behind other files.
    fn drain(self: Arc<Self>) {
        touch(&self.last_used);
        self.run_waiting();
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.waiting.is_empty() {
            queue.is_scheduled = false;
            return;
        }
        drop(queue);
        Pool::key_value().run(move || self.drain());
    }

    fn run_waiting(&self) {
        let batch = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take_batch();
        let mut slot = lock(&self.writer);
        if slot.is_none() {
            match self.connect_writer() {
                Ok(connection) => *slot = connection,
                Err(error) => {
                    let error = explain(&error);
                    for waiting in batch {
                        let _ = waiting.answer.send(Err(error.clone()));
                    }
                    return;
                }
            }
        }
        let (connection, _) = slot.as_mut().expect("it was opened above");
        if let Err(error) = self.apply_quota(connection) {
            tracing::warn!(%error, "a store's size limit could not be set");
        }
        if !run_batch(connection, batch) {
            // A connection that cannot even roll back is of no use.
            *slot = None;
        }
    }

    /// Set before each batch: SQLite never holds a file to less than it has, and handles can change it.
    fn apply_quota(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let quota = self.quota.load(Ordering::Relaxed);
        let mut size = connection.prepare_cached("PRAGMA page_size")?;
        let page: u64 = size.query_row([], |row| row.get::<_, i64>(0))?.max(512).unsigned_abs();
        let pages = (quota / page).clamp(1, u64::from(u32::MAX - 1));
        connection.query_row(&format!("PRAGMA max_page_count={pages}"), [], |_| Ok(()))
    }

    /// Finishes what is queued, refuses what comes, closes the connections.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        while !self.queue.lock().unwrap_or_else(PoisonError::into_inner).waiting.is_empty() {
            self.run_waiting();
        }
        for slot in &self.readers {
            lock(slot).take();
        }
        lock(&self.writer).take();
    }
}

fn lock(slot: &Slot) -> MutexGuard<'_, Option<(Connection, OpenFile)>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lacks_table(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(_, Some(text)) | rusqlite::Error::SqlInputError { msg: text, .. }
        if text.starts_with("no such table"))
}

/// SQLite's error in the words of this crate.
pub(super) fn explain(error: &rusqlite::Error) -> KeyValueError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => KeyValueError::Full,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            KeyValueError::Corrupt(error.to_string())
        }
        _ => KeyValueError::Other(error.to_string()),
    }
}
