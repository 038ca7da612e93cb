//! Rows on their way from a query to whoever takes them, as fast as they are taken.

use std::{
    fmt,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{QueryResult, Value, connection::Taker, guard::CancelOnDrop};
use crate::DatabaseError;

/// The bytes of rows that are read before anybody takes one. A query with no more than this is over before its first
/// row is seen, and neither a thread nor a connection waits for whoever takes them.
pub(super) const AHEAD: usize = 4 << 20;
/// The bytes of rows that pass at once after that, and how many of those wait.
const PIECE: usize = 256 << 10;
const PIECES: usize = 2;

type Rows = Vec<Vec<Value>>;

/// The rows of a statement. Dropping it ends the statement.
pub struct RowStream {
    /// The names of the columns.
    pub columns: Vec<String>,
    ready: Rows,
    /// What comes after `ready`.
    more: Option<mpsc::Receiver<Result<Rows, DatabaseError>>>,
    /// What went wrong after the rows.
    failed: Option<DatabaseError>,
    _cancel: Option<CancelOnDrop>,
}

impl fmt::Debug for RowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl From<QueryResult> for RowStream {
    fn from(result: QueryResult) -> Self {
        let QueryResult { columns, rows } = result;
        Self { columns, ready: rows, more: None, failed: None, _cancel: None }
    }
}

impl RowStream {
    /// The next rows, at least one; none at the end. Nothing comes after an error.
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Vec<Vec<Value>>, DatabaseError>>> {
        if !self.ready.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.ready))));
        }
        match &mut self.more {
            Some(more) => more.poll_recv(cx),
            None => Poll::Ready(self.failed.take().map(Err)),
        }
    }

    /// As [`poll_next`](Self::poll_next), to be awaited.
    pub async fn next(&mut self) -> Option<Result<Vec<Vec<Value>>, DatabaseError>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// How the statement ended, where that is known before its rows are taken: always, where they are few. An error
    /// that comes here does not come after the rows.
    pub fn take_end(&mut self) -> Option<Result<(), DatabaseError>> {
        if self.more.is_some() {
            return None;
        }
        Some(self.failed.take().map_or(Ok(()), Err))
    }

    pub(super) fn cancelling(self, cancel: CancelOnDrop) -> Self {
        Self { _cancel: Some(cancel), ..self }
    }
}

/// What whoever asked for rows is given first.
pub(super) enum Given {
    Rows(Result<RowStream, DatabaseError>),
    /// The statement is no query; its parameters.
    NoQuery(Vec<Value>),
}

/// The end of the stream at which rows go in.
pub(super) struct Giver {
    columns: Vec<String>,
    rows: Rows,
    bytes: usize,
    /// Before the first rows are given.
    first: Option<oneshot::Sender<Given>>,
    /// After that.
    more: Option<mpsc::Sender<Result<Rows, DatabaseError>>>,
}

impl Giver {
    pub(super) fn new() -> (Self, oneshot::Receiver<Given>) {
        let (first, given) = oneshot::channel();
        let (columns, rows) = Default::default();
        (Self { columns, rows, bytes: 0, first: Some(first), more: None }, given)
    }

    fn give(
        &mut self,
        more: Option<mpsc::Receiver<Result<Rows, DatabaseError>>>,
        failed: Option<DatabaseError>,
    ) {
        let stream = RowStream {
            columns: std::mem::take(&mut self.columns),
            ready: std::mem::take(&mut self.rows),
            more,
            failed,
            _cancel: None,
        };
        if let Some(first) = self.first.take() {
            let _ = first.send(Given::Rows(Ok(stream)));
        }
    }

    /// Gives what is left, and how it ended.
    pub(super) fn end(mut self, result: Result<(), DatabaseError>) {
        let rows = std::mem::take(&mut self.rows);
        match (self.more.take(), result) {
            (Some(more), result) => {
                if !rows.is_empty() && more.blocking_send(Ok(rows)).is_err() {
                    return;
                }
                if let Err(error) = result {
                    let _ = more.blocking_send(Err(error));
                }
            }
            (None, Err(error)) if rows.is_empty() => {
                if let Some(first) = self.first.take() {
                    let _ = first.send(Given::Rows(Err(error)));
                }
            }
            (None, result) => {
                self.rows = rows;
                self.give(None, result.err());
            }
        }
    }

    pub(super) fn no_query(mut self, parameters: Vec<Value>) {
        if let Some(first) = self.first.take() {
            let _ = first.send(Given::NoQuery(parameters));
        }
    }
}

impl Taker for Giver {
    fn columns(&mut self, columns: Vec<String>) {
        self.columns = columns;
    }

    fn row(&mut self, row: Vec<Value>, size: usize) -> Option<Duration> {
        self.rows.push(row);
        self.bytes += size;
        match &self.more {
            None if self.bytes < AHEAD => Some(Duration::ZERO),
            None => {
                let (to_taker, more) = mpsc::channel(PIECES);
                self.more = Some(to_taker);
                self.bytes = 0;
                self.give(Some(more), None);
                Some(Duration::ZERO)
            }
            Some(_) if self.bytes < PIECE => Some(Duration::ZERO),
            Some(more) => {
                self.bytes = 0;
                let started = Instant::now();
                more.blocking_send(Ok(std::mem::take(&mut self.rows))).ok()?;
                Some(started.elapsed())
            }
        }
    }
}
