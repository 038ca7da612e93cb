//! An app's log: read, and followed.

use gyre_store::{App, LogFilter, StoredLog};
use jiff::Timestamp;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{Actor, AppRef, Control, Error, Result};

/// Which lines.
#[derive(Debug, Clone, Copy)]
pub struct LogQuery {
    /// Only those after this time.
    pub since: Option<Timestamp>,
    /// At most so many, the newest.
    pub max: usize,
}

impl Control {
    /// Lines of an app's log, oldest first, with the app.
    pub async fn logs(
        &self,
        actor: &Actor,
        app: &AppRef,
        query: LogQuery,
    ) -> Result<(App, Vec<StoredLog>)> {
        let app = self.find_app(actor, app).await?;
        let lines = self.logs.query(app.id, &filter(query)).await.map_err(Error::internal)?;
        Ok((app, lines))
    }

    /// The same lines, and then what comes.
    pub async fn follow_logs(
        &self,
        actor: &Actor,
        app: &AppRef,
        query: LogQuery,
    ) -> Result<LogFollower> {
        let app = self.find_app(actor, app).await?;
        Ok(LogFollower {
            lines: self.logs.follow(app.id, filter(query)),
            stop: self.activations.stopping(),
        })
    }

    /// Ready when the platform is about to stop: what would go on without end ends then.
    pub fn stopping(&self) -> WaitForCancellationFutureOwned {
        self.activations.stopping().cancelled_owned()
    }
}

/// An app's log as it is written.
#[derive(Debug)]
pub struct LogFollower {
    lines: gyre_store::LogFollower,
    stop: CancellationToken,
}

impl LogFollower {
    /// The next lines, oldest first, never none; `None` when the platform stops.
    ///
    /// Dropping the future loses nothing but time: ask again with a query from the last line on.
    pub async fn next(&mut self) -> Option<Result<Vec<StoredLog>>> {
        tokio::select! {
            lines = self.lines.next() => lines.map(|lines| lines.map_err(Error::internal)),
            () = self.stop.cancelled() => None,
        }
    }
}

fn filter(query: LogQuery) -> LogFilter {
    LogFilter { since: query.since, max: Some(query.max), ..LogFilter::default() }
}
