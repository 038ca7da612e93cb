//! One SQLite connection with its guard and its policy.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{
    CachedStatement, ErrorCode, OpenFlags, TransactionState, config::DbConfig, limits::Limit,
    params_from_iter, types::ValueRef, wal::CheckpointMode,
};

use super::{
    QueryResult, Value, functions,
    guard::{Ended, Guard, HARD_MEMORY, STEPS, Watch},
    policy::authorize,
};
use crate::{
    DatabaseError, DatabaseLimits, Location,
    folder::{as_sqlite, make_folder_of},
    open_files::{OpenFile, OpenFiles},
};

/// How long a statement on the pool waits for another connection that writes.
const BUSY: Duration = Duration::from_secs(5);
/// A value that is handled where the statement was called: one step of it takes well under a millisecond.
const INLINE_VALUE: i32 = 256 << 10;
/// What a confined connection may keep in temporary tables, at most.
const TEMPORARY: u64 = 64 << 20;
/// A log that no reader lets go of is held to this beyond the database's own limit.
const LOG_SLACK: u64 = 64 << 20;

pub(super) struct Connection {
    sql: rusqlite::Connection,
    guard: Arc<Guard>,
    watch: Arc<Mutex<Watch>>,
    limits: DatabaseLimits,
    has_written: bool,
    /// Beside the database, to know when its log grows too long.
    log: Option<std::path::PathBuf>,
    _open_file: OpenFile,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("guard", &self.guard).finish_non_exhaustive()
    }
}

/// What a statement is known to need before it runs on the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing but time.
    Read,
    /// The right to write, as far as is known.
    Write,
}

pub(super) enum Outcome {
    Done(Result<QueryResult, DatabaseError>),
    Elsewhere(Start),
}

/// Whoever takes the rows of a query.
pub(super) trait Taker {
    fn columns(&mut self, columns: Vec<String>);

    /// Takes a row and its size in bytes; for how long it had to be waited for, or none if no more is wanted.
    fn row(&mut self, row: Vec<Value>, size: usize) -> Option<Duration>;
}

/// What became of a query whose rows were to be taken one by one.
pub(super) enum Streamed {
    /// Its rows were all taken, or no more were wanted, or it failed.
    Ended(Result<(), DatabaseError>),
    /// It is none, and did not run.
    NotAQuery,
}

impl Connection {
    /// Opens the database, making it and its folder where they are not. Blocks.
    pub(super) fn open(
        location: &Location,
        limits: DatabaseLimits,
        open_files: &Arc<OpenFiles>,
    ) -> Result<Self, rusqlite::Error> {
        let open_file = open_files.admit();
        let mut log = None;
        let mut sql = match location {
            Location::Memory => rusqlite::Connection::open_in_memory()?,
            Location::File(path) => {
                make_folder_of(path).map_err(as_sqlite)?;
                let mut name = path.as_os_str().to_owned();
                name.push("-wal");
                log = Some(name.into());
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
                    | OpenFlags::SQLITE_OPEN_CREATE
                    | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                rusqlite::Connection::open_with_flags(path, flags)?
            }
        };
        sql.busy_timeout(BUSY)?;
        sql.set_prepared_statement_cache_capacity(32);
        sql.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA journal_size_limit=4194304;
             PRAGMA cache_size=-512;",
        )?;
        // Files that others made are read with suspicion: their schema may call functions, too.
        sql.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        set_limits(&sql, &limits)?;
        if limits.is_confined {
            confine(&sql, &limits)?;
        }
        let guard = Arc::new(Guard::default());
        let watch = Arc::new(Mutex::new(Watch::Off));
        let (looker, looked_at) = (guard.clone(), watch.clone());
        sql.progress_handler(
            STEPS,
            Some(move || looker.look(&looked_at.lock().unwrap_or_else(PoisonError::into_inner))),
        )?;
        let judge = guard.clone();
        sql.authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| {
            authorize(&context, &limits, &judge)
        }))?;
        Ok(Self { sql, guard, watch, limits, has_written: false, log, _open_file: open_file })
    }

    pub(super) fn limits(&self) -> &DatabaseLimits {
        &self.limits
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        !self.sql.is_autocommit()
    }

    /// Whether it is in a transaction that others have to wait for.
    pub(super) fn holds_write(&self) -> bool {
        matches!(self.sql.transaction_state(Some("main")), Ok(TransactionState::Write))
    }

    /// Whether it is as it was when it was opened.
    pub(super) fn is_clean(&self) -> bool {
        self.sql.is_autocommit() && !self.guard.is_dirty.load(Ordering::Relaxed)
    }

    /// Whether a statement that may write was run since [`Connection::forget_writes`].
    pub(super) fn has_written(&self) -> bool {
        self.has_written
    }

    pub(super) fn forget_writes(&mut self) {
        self.has_written = false;
    }

    pub(super) fn last_insert_rowid(&self) -> i64 {
        self.sql.last_insert_rowid()
    }

    pub(super) fn changes(&self) -> u64 {
        self.sql.changes()
    }

    fn set_watch(&self, watch: Watch) {
        self.guard.start();
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = watch;
    }

    /// Runs a query here and now if it is one, and short.
    pub(super) fn try_inline(&mut self, sql: &str, parameters: &[Value]) -> Outcome {
        if self.is_in_transaction() {
            return Outcome::Elsewhere(Start::Write);
        }
        self.set_watch(Watch::inline());
        let limits_set = self
            .sql
            .set_limit(Limit::SQLITE_LIMIT_LENGTH, INLINE_VALUE.min(self.value_limit()))
            .and_then(|_| self.sql.busy_timeout(Duration::ZERO));
        let mut start = Start::Write;
        let result = limits_set.map_err(Failure::from).and_then(|()| {
            let mut statement = self.sql.prepare_cached(sql)?;
            if !statement.readonly() || statement.column_count() == 0 {
                return Err(Failure::Elsewhere);
            }
            start = Start::Read;
            query(&mut statement, parameters, self.limits.result_bytes)
        });
        self.set_watch_off();
        let restored = self
            .sql
            .set_limit(Limit::SQLITE_LIMIT_LENGTH, self.value_limit())
            .and_then(|_| self.sql.busy_timeout(BUSY));
        match (result, restored) {
            (_, Err(_)) | (Err(Failure::Elsewhere), _) => Outcome::Elsewhere(start),
            (Ok(result), _) => Outcome::Done(Ok(result)),
            (Err(Failure::Sql(error)), _) => {
                let is_for_the_pool = matches!(
                    error.sqlite_error_code(),
                    Some(
                        ErrorCode::OperationInterrupted
                            | ErrorCode::TooBig
                            | ErrorCode::DatabaseBusy
                            | ErrorCode::DatabaseLocked
                    )
                );
                if is_for_the_pool {
                    Outcome::Elsewhere(start)
                } else {
                    Outcome::Done(Err(explain(&error, &self.limits)))
                }
            }
            (Err(Failure::Known(error)), _) => Outcome::Done(Err(error)),
        }
    }

    /// Runs a statement for as long as it may take. Blocks.
    pub(super) fn run(
        &mut self,
        sql: &str,
        parameters: Option<&[Value]>,
        cancelled: Arc<AtomicBool>,
    ) -> Result<QueryResult, DatabaseError> {
        let until = self.limits.statement_time.map(|time| Instant::now() + time);
        self.set_watch(Watch::Pool { until, cancelled });
        let result = match parameters {
            Some(parameters) => self.run_watched(sql, parameters),
            None => self.run_script(sql),
        };
        self.ended(result)
    }

    /// The result of a statement that ran under a watch, with the guard's word where that ended it.
    fn ended<T>(&self, result: Result<T, Failure>) -> Result<T, DatabaseError> {
        let ended = self.guard.ended();
        self.set_watch_off();
        match (result, ended, self.limits.statement_time) {
            (Ok(result), ..) => Ok(result),
            (Err(Failure::Known(error)), ..) => Err(error),
            (Err(_), Ended::TooSlow, Some(limit)) => Err(DatabaseError::TooSlow { limit }),
            (Err(_), Ended::OutOfMemory, _) => Err(DatabaseError::OutOfMemory),
            (Err(Failure::Sql(error)), ..) => Err(explain(&error, &self.limits)),
            (Err(Failure::Elsewhere), ..) => Err(DatabaseError::Closed),
        }
    }

    /// Runs a query whose rows go to `taker` one by one, each within the limit of a whole result. Waiting for the taker
    /// is not the statement's time. Blocks.
    pub(super) fn stream(
        &mut self,
        sql: &str,
        parameters: &[Value],
        cancelled: Arc<AtomicBool>,
        taker: &mut impl Taker,
    ) -> Streamed {
        let until = self.limits.statement_time.map(|time| Instant::now() + time);
        self.set_watch(Watch::Pool { until, cancelled });
        let mut is_query = true;
        let result = (|| {
            let mut statement = self.sql.prepare_cached(sql)?;
            is_query = statement.readonly() && statement.column_count() > 0;
            if !is_query {
                return Ok(());
            }
            let columns = columns(&statement);
            let count = columns.len();
            taker.columns(columns);
            let mut rows = statement.query(params_from_iter(parameters.iter()))?;
            while let Some(row) = rows.next()? {
                let (values, size) = values(row, count, self.limits.result_bytes)?;
                let Some(waited) = taker.row(values, size) else { break };
                self.add_time(waited);
            }
            Ok(())
        })();
        let result = self.ended(result);
        if is_query { Streamed::Ended(result) } else { Streamed::NotAQuery }
    }

    fn add_time(&self, time: Duration) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Watch::Pool { until: Some(until), .. } = &mut *watch {
            *until += time;
        }
    }

    fn run_watched(&mut self, sql: &str, parameters: &[Value]) -> Result<QueryResult, Failure> {
        let mut statement = self.sql.prepare_cached(sql)?;
        if !statement.readonly() {
            self.has_written = true;
            hold_log(&self.sql, self.log.as_deref(), &self.limits)?;
        }
        query(&mut statement, parameters, self.limits.result_bytes)
    }

    fn run_script(&mut self, sql: &str) -> Result<QueryResult, Failure> {
        self.has_written = true;
        hold_log(&self.sql, self.log.as_deref(), &self.limits)?;
        self.sql.execute_batch(sql)?;
        Ok(QueryResult { columns: Vec::new(), rows: Vec::new() })
    }

    fn set_watch_off(&self) {
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Watch::Off;
    }

    fn value_limit(&self) -> i32 {
        i32::try_from(self.limits.value_bytes).unwrap_or(i32::MAX)
    }
}

/// A log cannot be written back while someone reads what it is over. Rather than let it grow without end, writes are
/// refused until that someone is done.
fn hold_log(
    sql: &rusqlite::Connection,
    log: Option<&std::path::Path>,
    limits: &DatabaseLimits,
) -> Result<(), Failure> {
    let (Some(log), Some(limit)) = (log, limits.database_bytes) else { return Ok(()) };
    let length = fs_err::metadata(log).map_or(0, |metadata| metadata.len());
    if length <= limit.saturating_add(LOG_SLACK) || !sql.is_autocommit() {
        return Ok(());
    }
    // Without waiting: whoever reads may do so for as long as their request lasts.
    sql.busy_timeout(Duration::ZERO)?;
    let is_busy = sql.wal_checkpoint_v2(Some("main"), CheckpointMode::TRUNCATE).is_err();
    sql.busy_timeout(BUSY)?;
    if is_busy { Err(Failure::Known(DatabaseError::Full)) } else { Ok(()) }
}

fn set_limits(sql: &rusqlite::Connection, limits: &DatabaseLimits) -> Result<(), rusqlite::Error> {
    let to_i32 = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    sql.set_limit(Limit::SQLITE_LIMIT_LENGTH, to_i32(limits.value_bytes))?;
    sql.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, to_i32(limits.statement_bytes))?;
    if limits.is_confined {
        sql.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        sql.set_limit(Limit::SQLITE_LIMIT_EXPR_DEPTH, 200)?;
        sql.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 256)?;
        sql.set_limit(Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 50)?;
        sql.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
    }
    Ok(())
}

fn confine(sql: &rusqlite::Connection, limits: &DatabaseLimits) -> Result<(), rusqlite::Error> {
    sql.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    functions::install(sql, limits.value_bytes)?;
    let page: i64 = sql.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let pages =
        |bytes: u64| (bytes / page.max(512).unsigned_abs()).clamp(1, u64::from(u32::MAX - 1));
    if let Some(bytes) = limits.database_bytes {
        let pages = pages(bytes);
        sql.query_row(&format!("PRAGMA main.max_page_count={pages}"), [], |_| Ok(()))?;
    }
    // What does not fit in the cache stays in memory: temporary files would be on a disk that nobody counts.
    sql.execute_batch("PRAGMA temp_store=MEMORY")?;
    let pages = pages(limits.database_bytes.unwrap_or(TEMPORARY).min(TEMPORARY));
    sql.query_row(&format!("PRAGMA temp.max_page_count={pages}"), [], |_| Ok(()))?;
    sql.query_row(&format!("PRAGMA hard_heap_limit={HARD_MEMORY}"), [], |_| Ok(()))
}

enum Failure {
    Sql(rusqlite::Error),
    Known(DatabaseError),
    Elsewhere,
}

impl Failure {
    /// A result that is too long, by the whole of its limit.
    fn of_limit(self, limit: usize) -> Self {
        match self {
            Self::Known(DatabaseError::ResultTooLong { .. }) => {
                Self::Known(DatabaseError::ResultTooLong { limit })
            }
            other => other,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

fn query(
    statement: &mut CachedStatement<'_>,
    parameters: &[Value],
    limit: usize,
) -> Result<QueryResult, Failure> {
    let columns = columns(statement);
    let mut bytes: usize = columns.iter().map(String::len).sum();
    let mut rows = statement.query(params_from_iter(parameters.iter()))?;
    let mut result = QueryResult { columns, rows: Vec::new() };
    while let Some(row) = rows.next()? {
        let (values, size) = values(row, result.columns.len(), limit.saturating_sub(bytes))
            .map_err(|failure| failure.of_limit(limit))?;
        bytes += size;
        result.rows.push(values);
    }
    Ok(result)
}

fn columns(statement: &CachedStatement<'_>) -> Vec<String> {
    statement.column_names().map(str::to_owned).collect()
}

/// A row, and what it takes in bytes; it fails if that is more than `limit`.
fn values(
    row: &rusqlite::Row<'_>,
    columns: usize,
    limit: usize,
) -> Result<(Vec<Value>, usize), Failure> {
    let mut bytes = 0;
    let mut values = Vec::with_capacity(columns);
    for n in 0..columns {
        let value = row.get_ref(n)?;
        bytes += size_of::<Value>()
            + match value {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
                _ => 0,
            };
        if bytes > limit {
            return Err(Failure::Known(DatabaseError::ResultTooLong { limit }));
        }
        values.push(match value {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(n) => Value::Integer(n),
            ValueRef::Real(n) => Value::Real(n),
            ValueRef::Text(bytes) => Value::Text(
                std::str::from_utf8(bytes)
                    .map_err(|error| rusqlite::Error::Utf8Error(n, error))?
                    .to_owned(),
            ),
            ValueRef::Blob(bytes) => Value::Blob(bytes.to_owned()),
        });
    }
    Ok((values, bytes))
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(rusqlite::types::ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(n) => ValueRef::Integer(*n),
            Self::Real(n) => ValueRef::Real(*n),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// SQLite's error in the words of this crate.
pub(super) fn explain(error: &rusqlite::Error, limits: &DatabaseLimits) -> DatabaseError {
    match (error.sqlite_error_code(), limits.statement_time) {
        (Some(ErrorCode::DiskFull), _) => DatabaseError::Full,
        (Some(ErrorCode::OutOfMemory), _) => DatabaseError::OutOfMemory,
        _ => DatabaseError::Other(error.to_string()),
    }
}
