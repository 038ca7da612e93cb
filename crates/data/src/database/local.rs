//! Databases in files and in memory: SQLite in this process.
//!
//! A connection belongs to one `open` of one guest. When it is let go in the state in which it was opened, the next
//! `open` of the same database gets it. A `SELECT` starts where it is called, under a budget of steps and time; if that
//! does not suffice it starts again on the pool. Everything else runs on the pool from the beginning.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::{Semaphore, oneshot};

use super::{
    QueryResult, RowStream, Value,
    connection::{Connection, Outcome, Start, Streamed, explain},
    guard::CancelOnDrop,
    reads_only_by_its_look,
    stream::{Given, Giver},
};
use crate::{
    DatabaseError, DatabaseLimits, Location,
    open_files::{Holder, OpenFiles, touch},
    pool::Pool,
};

/// Statements of one database that run on the pool at once; more wait without a thread.
const RUNNING: usize = 4;
/// Queries of one database whose rows are being taken; more wait without a thread.
const STREAMS: usize = 16;
/// Connections that are kept for the next guest.
const IDLE: usize = 8;
/// A longer statement is not even read in place.
const INLINE_STATEMENT: usize = 16 << 10;

/// What the connections of one database share.
pub(super) struct File {
    location: Location,
    open_files: Arc<OpenFiles>,
    is_closed: AtomicBool,
    last_used: AtomicU64,
    idle: Mutex<Vec<Connection>>,
    /// Turns of statements on the pool. The one transaction that writes takes none: others may be waiting for it with
    /// all of them in hand.
    running: Semaphore,
    /// The turn of those among them that write: SQLite has one writer at a time, and would poll for it.
    writing: tokio::sync::Mutex<()>,
    /// Turns of queries whose rows are being taken.
    streaming: Arc<Semaphore>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.location).finish()
    }
}

impl File {
    pub(super) fn new(location: Location, open_files: Arc<OpenFiles>) -> Arc<Self> {
        let file = Arc::new(Self {
            location,
            open_files,
            is_closed: AtomicBool::new(false),
            last_used: AtomicU64::new(0),
            idle: Mutex::default(),
            running: Semaphore::new(RUNNING),
            writing: tokio::sync::Mutex::default(),
            streaming: Arc::new(Semaphore::new(STREAMS)),
        });
        let holder: Weak<dyn Holder> = Arc::downgrade(&(file.clone() as Arc<dyn Holder>));
        file.open_files.register(holder);
        file
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Closes what is not in use, and what is in use when it is let go.
    pub(super) async fn close(self: Arc<Self>) {
        self.is_closed.store(true, Ordering::Release);
        let (done, wait) = oneshot::channel();
        Pool::statements().run(move || {
            drop(self.take_idle());
            let _ = done.send(());
        });
        let _ = wait.await;
    }

    fn take_idle(&self) -> Vec<Connection> {
        std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps a connection for the next guest, or closes it.
    fn let_go(&self, mut connection: Connection) {
        if !self.is_closed() && self.location != Location::Memory && connection.is_clean() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE {
                connection.forget_writes();
                idle.push(connection);
                return;
            }
        }
        // Closing may roll back and write the log back: not here.
        Pool::statements().run(move || drop(connection));
    }

    /// An idle connection that was opened under the same limits.
    fn reuse(&self, limits: &DatabaseLimits) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let at = idle.iter().rposition(|connection| connection.limits() == limits)?;
        Some(idle.swap_remove(at))
    }
}

impl Holder for File {
    fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    fn release(&self) {
        let closing = self.take_idle();
        if !closing.is_empty() {
            Pool::statements().run(move || drop(closing));
        }
    }
}

/// A connection of a database, as one `open` of a guest gets it. Dropping it rolls an open transaction back.
#[derive(Debug)]
pub(super) struct LocalConnection {
    file: Arc<File>,
    limits: DatabaseLimits,
    /// `None` before the first statement, and after one whose future was dropped.
    connection: Option<Connection>,
    /// Where the connection comes back from a query whose rows are being taken.
    lent: Option<oneshot::Receiver<Connection>>,
    last_insert_rowid: i64,
    changes: u64,
}

impl LocalConnection {
    pub(super) fn new(file: Arc<File>, limits: DatabaseLimits) -> Self {
        Self { file, limits, connection: None, lent: None, last_insert_rowid: 0, changes: 0 }
    }

    /// Runs one statement with positional parameters. What it committed is durable when this returns.
    ///
    /// If the future is dropped, the statement is interrupted, and its transaction rolled back.
    ///
    /// # Errors
    /// The statement is wrong, not allowed, too slow, returns too much, or finds the database full or damaged.
    pub(super) async fn execute(
        &mut self,
        sql: &str,
        parameters: Vec<Value>,
    ) -> Result<QueryResult, DatabaseError> {
        self.prepare().await?;
        let may_read = reads_only_by_its_look(sql);
        let mut start = if may_read { Start::Read } else { Start::Write };
        if let Some(connection) = &mut self.connection
            && sql.len() <= INLINE_STATEMENT
            && may_read
        {
            match connection.try_inline(sql, &parameters) {
                Outcome::Done(result) => return result,
                Outcome::Elsewhere(hint) => start = hint,
            }
        }
        self.execute_on_pool(start, sql, Some(parameters)).await
    }

    /// Executes statements one after the other, as a script; what they return is forgotten. Those before one that
    /// fails have taken effect.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub(super) async fn execute_batch(&mut self, sql: &str) -> Result<(), DatabaseError> {
        self.prepare().await?;
        self.execute_on_pool(Start::Write, sql, None).await.map(drop)
    }

    /// Waits for the connection if it is lent, and takes over one that is there.
    async fn prepare(&mut self) -> Result<(), DatabaseError> {
        if self.file.is_closed() {
            return Err(DatabaseError::Closed);
        }
        touch(&self.file.last_used);
        if let Some(lent) = &mut self.lent {
            self.connection = lent.await.ok();
            self.lent = None;
        }
        if self.connection.is_none() {
            self.connection = self.file.reuse(&self.limits);
        }
        Ok(())
    }

    /// As `execute`, with rows that come as they are taken. What is more than [`super::stream::AHEAD`] keeps the
    /// connection until it is taken or the stream is dropped.
    pub(super) async fn stream(
        &mut self,
        sql: &str,
        parameters: Vec<Value>,
    ) -> Result<RowStream, DatabaseError> {
        self.prepare().await?;
        if !reads_only_by_its_look(sql) {
            return Ok(self.execute_on_pool(Start::Write, sql, Some(parameters)).await?.into());
        }
        if let Some(connection) = &mut self.connection
            && sql.len() <= INLINE_STATEMENT
            && let Outcome::Done(Ok(result)) = connection.try_inline(sql, &parameters)
        {
            return Ok(result.into());
        }
        // One that failed runs again: its first rows are to come before the error.
        let turn = self.file.streaming.clone().acquire_owned().await;
        let turn = turn.map_err(|_| DatabaseError::Closed)?;
        let connection = self.connection.take();
        let (back, lent) = oneshot::channel();
        self.lent = Some(lent);
        let (file, limits, text) = (self.file.clone(), self.limits, sql.to_owned());
        let cancel = CancelOnDrop::new();
        let cancelled = cancel.flag();
        let (mut giver, given) = Giver::new();
        Pool::streams().run(move || {
            let opened = match connection {
                Some(connection) => Ok(connection),
                None => Connection::open(&file.location, limits, &file.open_files),
            };
            match opened {
                Ok(mut connection) => {
                    let streamed = connection.stream(&text, &parameters, cancelled, &mut giver);
                    // Before the last row is seen, so that the next statement has it.
                    if let Err(connection) = back.send(connection) {
                        file.let_go(connection);
                    }
                    drop(turn);
                    match streamed {
                        Streamed::Ended(result) => giver.end(result),
                        Streamed::NotAQuery => giver.no_query(parameters),
                    }
                }
                Err(error) => giver.end(Err(explain(&error, &limits))),
            }
        });
        match given.await.map_err(|_| DatabaseError::Closed)? {
            Given::Rows(stream) => stream.map(|stream| stream.cancelling(cancel)),
            Given::NoQuery(parameters) => {
                self.prepare().await?;
                Ok(self.execute_on_pool(Start::Write, sql, Some(parameters)).await?.into())
            }
        }
    }

    async fn execute_on_pool(
        &mut self,
        start: Start,
        sql: &str,
        parameters: Option<Vec<Value>>,
    ) -> Result<QueryResult, DatabaseError> {
        let holds_write = self.connection.as_ref().is_some_and(Connection::holds_write);
        let file = self.file.clone();
        let (mut running, mut writing) = (None, None);
        if !holds_write && file.location != Location::Memory {
            if start == Start::Write {
                writing = Some(file.writing.lock().await);
            }
            running = Some(file.running.acquire().await.map_err(|_| DatabaseError::Closed)?);
        }
        let connection = self.connection.take();
        let (limits, sql) = (self.limits, sql.to_owned());
        let pool_file = file.clone();
        let cancel = CancelOnDrop::new();
        let cancelled = cancel.flag();
        let (answer, result) = oneshot::channel();
        Pool::statements().run(move || {
            let opened = match connection {
                Some(connection) => Ok(connection),
                None => Connection::open(&pool_file.location, limits, &pool_file.open_files),
            };
            let outcome = opened.map(|mut connection| {
                let result = connection.run(&sql, parameters.as_deref(), cancelled);
                (connection, result)
            });
            // If nobody waits any more, the connection is closed here, and its transaction rolled back.
            let _ = answer.send(outcome);
        });
        let outcome = result.await.map_err(|_| DatabaseError::Closed)?;
        cancel.disarm();
        drop((running, writing));
        let (connection, result) = outcome.map_err(|error| explain(&error, &limits))?;
        if connection.has_written() {
            self.last_insert_rowid = connection.last_insert_rowid();
            self.changes = connection.changes();
        }
        self.connection = Some(connection);
        result
    }

    /// The row id of the last row inserted by this connection, or 0.
    pub(super) fn last_insert_rowid(&self) -> i64 {
        self.last_insert_rowid
    }

    /// How many rows the last statement that changed any changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }
}

impl Drop for LocalConnection {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.file.let_go(connection);
        }
    }
}
