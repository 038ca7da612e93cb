//! The SQLite engine: one thread that writes, a few connections that read, all on one file.
//!
//! Write-ahead log with `synchronous=FULL`: a transaction that was reported as committed survives a power cut.
//! Readers never wait for the writer. Nothing here is called on an executor's own thread.

pub(super) mod accounts;
pub(super) mod apps;
pub(super) mod bindles;
pub(super) mod columns;
mod failure;
pub(super) mod logins;
mod migrations;
pub(super) mod registry;
pub(super) mod releases;
pub(super) mod stores;
pub(super) mod variables;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::DbError;
pub(super) use failure::Failure;

/// How long to wait for another program that holds the file. Nobody else should.
const BUSY: Duration = Duration::from_secs(5);
/// Writes that wait for the writer; more make their callers wait before they are queued.
const QUEUE: usize = 256;
/// Reading connections that are kept open.
const READERS: usize = 4;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A SQLite database of the platform's rows.
#[derive(Clone)]
pub struct Sqlite(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// `None` once closed.
    writer: Mutex<Option<Writer>>,
    readers: Mutex<Vec<Connection>>,
}

struct Writer {
    jobs: mpsc::Sender<Job>,
    thread: thread::JoinHandle<()>,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sqlite").field(&self.0.path).finish()
    }
}

impl Sqlite {
    pub(super) async fn open(path: &Path) -> Result<Self, DbError> {
        let path = path.to_owned();
        blocking(move || {
            let mut connection = connect(&path, false)?;
            migrations::apply(&mut connection)?;
            let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
            let thread = thread::Builder::new()
                .name("gyre-db".to_owned())
                .spawn(move || {
                    while let Some(job) = queue.blocking_recv() {
                        job(&mut connection);
                    }
                    // Closed: leave one file behind, without a log beside it.
                    let _ = connection
                        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                        .inspect_err(
                            |error| tracing::warn!(%error, "database left its log behind"),
                        );
                })
                .map_err(|error| DbError::Unavailable(error.into()))?;
            let writer = Mutex::new(Some(Writer { jobs, thread }));
            Ok(Self(Arc::new(Inner { path, writer, readers: Mutex::default() })))
        })
        .await
    }

    /// Runs `f` in a transaction of its own on the writer and returns after the commit.
    pub(super) async fn write<T, F>(&self, f: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let jobs = match &*self.0.writer.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(writer) => writer.jobs.clone(),
            None => return Err(DbError::Closed),
        };
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ =
                answer.send(guarded(|| transact(connection, TransactionBehavior::Immediate, f)));
        });
        jobs.send(job).await.map_err(|_| DbError::Closed)?;
        drop(jobs);
        result.await.map_err(|_| DbError::Closed)?
    }

    /// Runs `f` on a snapshot of the database.
    pub(super) async fn read<T, F>(&self, f: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let inner = self.0.clone();
        blocking(move || {
            if inner.writer.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                return Err(DbError::Closed);
            }
            let idle = inner.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = idle.map_or_else(|| connect(&inner.path, true), Ok)?;
            let result = guarded(|| transact(&mut connection, TransactionBehavior::Deferred, f));
            let mut readers = inner.readers.lock().unwrap_or_else(PoisonError::into_inner);
            if readers.len() < READERS {
                readers.push(connection);
            }
            result
        })
        .await
    }

    pub(super) async fn close(&self) {
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let inner = self.0.clone();
        let closing = blocking(move || {
            inner.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
            if let Some(Writer { jobs, thread }) = writer {
                drop(jobs);
                let _ = thread.join();
            }
            Ok(())
        });
        let _ = closing.await;
    }

    pub(super) async fn check(&self) -> Result<(), DbError> {
        self.write(
            |tx| Ok(tx.query_row("SELECT 1 FROM schema_migrations LIMIT 1", [], |_| Ok(()))?),
        )
        .await
    }

    pub(super) async fn backup(&self, path: &Path) -> Result<(), DbError> {
        let (from, to) = (self.0.path.clone(), path.to_owned());
        blocking(move || {
            let connection = connect(&from, true)?;
            let to = to.to_str().ok_or_else(|| {
                DbError::Unavailable("the backup's path has to be valid UTF-8".into())
            })?;
            // Of this database it only reads, but SQLite counts the copy as a write.
            connection.execute_batch("PRAGMA query_only=OFF").map_err(Failure::from)?;
            connection.execute("VACUUM INTO ?1", [to]).map_err(Failure::from)?;
            let file = fs_err::File::open(to).map_err(|e| DbError::Unavailable(e.into()))?;
            file.sync_all().map_err(|e| DbError::Unavailable(e.into()))?;
            Ok(())
        })
        .await
    }
}

fn connect(path: &Path, is_reader: bool) -> Result<Connection, DbError> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if !is_reader {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let open = || -> Result<Connection, rusqlite::Error> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(64);
        if is_reader {
            connection.execute_batch("PRAGMA query_only=ON; PRAGMA trusted_schema=OFF;")?;
        } else {
            connection.execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;
                 PRAGMA trusted_schema=OFF; PRAGMA journal_size_limit=67108864;",
            )?;
        }
        Ok(connection)
    };
    open().map_err(|error| match DbError::from(Failure::from(error)) {
        DbError::Other(source) => DbError::Unavailable(source),
        other => other,
    })
}

fn transact<T>(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    f: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
) -> Result<T, DbError> {
    let run = || {
        let tx = connection.transaction_with_behavior(behavior)?;
        let value = f(&tx)?;
        tx.commit()?;
        Ok::<_, Failure>(value)
    };
    run().map_err(DbError::from)
}

/// Keeps a panic from taking the thread, and the database with it.
fn guarded<T>(f: impl FnOnce() -> Result<T, DbError>) -> Result<T, DbError> {
    catch_unwind(AssertUnwindSafe(f))
        .unwrap_or_else(|_| Err(DbError::Other("the operation panicked".into())))
}

async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, DbError> + Send + 'static,
) -> Result<T, DbError> {
    tokio::task::spawn_blocking(f).await.map_err(|_| DbError::Closed)?
}
