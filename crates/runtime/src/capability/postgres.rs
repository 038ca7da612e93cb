//! PostgreSQL: `spin:postgres@4.2.0`, and on it the versions before.
//!
//! A connection goes through the egress door after a check against `allowed_outbound_hosts`, speaks TLS unless the
//! address says otherwise, and is one of a pool. Whatever a server does costs the call that asked it: messages,
//! results and waits have limits.

#![allow(
    clippy::result_large_err,
    reason = "the interface's errors are, and are made once in a call"
)]

mod connect;
mod decimal;
mod guest;
mod older;
mod pool;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use futures::TryStreamExt as _;
use gyre_telemetry::Blame;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{Row, RowStream};
use wasmtime::component::Linker;

pub(crate) use pool::Pools;

use super::{
    Origin, sql,
    traced::{Blamed, InstanceTrace, noted, set_server, traced},
};
use crate::host::HostState;
use connect::Address;
use sql::spin::postgres4_2_0::postgres as v4;
use values::{Parameter, Raw};

/// Connections that one instance may have open.
const CONNECTIONS: usize = 256;

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    guest::add_to_linker(linker)?;
    older::add_to_linker(linker)
}

/// Links the asynchronous functions, beside the others.
pub(crate) fn add_async_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    guest::add_async_to_linker(linker)
}

/// An open connection.
#[derive(Clone)]
#[allow(unreachable_pub, reason = "the generated code re-exports it")]
pub struct Connection {
    lease: Arc<pool::Lease>,
    trace: InstanceTrace,
}

/// What a connection is to be.
#[derive(Clone)]
#[allow(unreachable_pub, reason = "the generated code re-exports it")]
pub struct Builder {
    address: String,
    /// PEM.
    roots: Option<String>,
}

impl Blamed for v4::Error {
    fn blame(&self) -> Blame {
        match self {
            Self::BadParameter(_) => Blame::Guest,
            _ => Blame::Host,
        }
    }
}

/// An answer on its way.
struct Streamed {
    columns: Vec<v4::Column>,
    rows: mpsc::Receiver<v4::Row>,
    end: oneshot::Receiver<Result<(), v4::Error>>,
}

impl Builder {
    fn new(address: String) -> Self {
        Self { address, roots: None }
    }

    async fn open(self, origin: &Origin) -> Result<Connection, v4::Error> {
        let mut span = origin.trace.database("spin_outbound_pg.open", "postgresql");
        set_server(&mut span, &self.address);
        traced(span, self.connect(origin)).await
    }

    async fn connect(self, origin: &Origin) -> Result<Connection, v4::Error> {
        let failed = v4::Error::ConnectionFailed;
        let address = Address::admit(origin, &self.address).map_err(failed)?;
        let key = pool::Key {
            component: origin.component.id.clone(),
            address: self.address,
            roots: self.roots,
        };
        let lease = origin.app.shared.postgres.get(origin, key, &address).await.map_err(failed)?;
        Ok(Connection { lease: Arc::new(lease), trace: origin.trace.clone() })
    }
}

impl Connection {
    async fn execute(
        &self,
        statement: &str,
        parameters: Vec<v4::ParameterValue>,
    ) -> Result<u64, v4::Error> {
        let span =
            self.trace.statement("spin_outbound_pg.execute", "postgresql", "statement", statement);
        traced(span, self.run(statement, parameters)).await
    }

    async fn run(
        &self,
        statement: &str,
        parameters: Vec<v4::ParameterValue>,
    ) -> Result<u64, v4::Error> {
        let mut rows = Box::pin(self.start(statement, parameters).await?);
        let mut bytes = 0;
        while let Some(row) = next(&mut rows).await? {
            // They are of no use, but their server has a limit all the same.
            count(&mut bytes, &row)?;
        }
        self.lease.ends();
        Ok(rows.rows_affected().unwrap_or(0))
    }

    async fn query(
        &self,
        statement: &str,
        parameters: Vec<v4::ParameterValue>,
    ) -> Result<v4::RowSet, v4::Error> {
        let span =
            self.trace.statement("spin_outbound_pg.query", "postgresql", "statement", statement);
        traced(span, self.read(statement, parameters)).await
    }

    async fn read(
        &self,
        statement: &str,
        parameters: Vec<v4::ParameterValue>,
    ) -> Result<v4::RowSet, v4::Error> {
        let mut stream = Box::pin(self.start(statement, parameters).await?);
        let mut result = v4::RowSet { columns: Vec::new(), rows: Vec::new() };
        let mut bytes = 0;
        while let Some(row) = next(&mut stream).await? {
            count(&mut bytes, &row)?;
            if result.rows.is_empty() {
                result.columns = columns(&row);
            }
            result.rows.push(values(&row)?);
        }
        self.lease.ends();
        Ok(result)
    }

    /// Rows come as the guest takes them; each may be as large as a whole result.
    async fn stream(
        &self,
        statement: &str,
        parameters: Vec<v4::ParameterValue>,
    ) -> Result<Streamed, v4::Error> {
        // It ends with the answer, or with its failure to begin.
        let span = self.trace.statement(
            "spin_outbound_pg.query_async",
            "postgresql",
            "statement",
            statement,
        );
        let begun = async {
            let mut stream = Box::pin(self.start(statement, parameters).await?);
            let first = next(&mut stream).await?;
            Ok((stream, first))
        };
        let (mut stream, first) = match begun.await {
            Ok(begun) => begun,
            Err(error) => return noted(span, Err(error)),
        };
        let columns = first.as_ref().map(columns).unwrap_or_default();
        let (to_guest, rows) = mpsc::channel(sql::ROWS_AHEAD);
        let (tell_end, end) = oneshot::channel();
        let connection = self.clone();
        tokio::spawn(async move {
            let give = async {
                let mut row = first;
                while let Some(current) = row {
                    if to_guest.send(values(&current)?).await.is_err() {
                        // The guest wants no more. What is under way is dropped with the connection.
                        return Ok(());
                    }
                    row = tokio::select! {
                        row = next(&mut stream) => row?,
                        () = to_guest.closed() => return Ok(()),
                    };
                }
                connection.lease.ends();
                Ok(())
            };
            let result = give.await;
            // Free before the guest knows, so that it can have it again.
            drop(connection);
            let _ = tell_end.send(noted(span, result));
        });
        Ok(Streamed { columns, rows, end })
    }

    async fn start(
        &self,
        statement: &str,
        parameters: Vec<v4::ParameterValue>,
    ) -> Result<RowStream, v4::Error> {
        let parameters = parameters.into_iter().map(Parameter::new).collect::<Result<Vec<_>, _>>();
        let parameters = parameters.map_err(v4::Error::ValueConversionFailed)?;
        self.lease.begins();
        let work = async {
            let client = self.lease.client();
            let prepared = client.prepare(statement).await?;
            if prepared.params().len() != parameters.len() {
                let (takes, given) = (prepared.params().len(), parameters.len());
                let text = format!("the statement takes {takes} parameters, not {given}");
                return Ok(Err(v4::Error::BadParameter(text)));
            }
            Ok(Ok(client.query_raw(&prepared, parameters).await?))
        };
        let result = tokio::time::timeout(sql::ANSWER_TIMEOUT, work).await;
        match result {
            Ok(Ok(Ok(rows))) => Ok(rows),
            // The server is done with the statement, and with the transaction if there was none.
            Ok(Ok(Err(error))) => {
                self.lease.ends();
                Err(error)
            }
            Ok(Err(error)) => {
                self.lease.ends();
                Err(query_failed(&error))
            }
            Err(_) => Err(text(sql::no_answer(sql::ANSWER_TIMEOUT))),
        }
    }
}

async fn next(rows: &mut std::pin::Pin<Box<RowStream>>) -> Result<Option<Row>, v4::Error> {
    let row = tokio::time::timeout(sql::ANSWER_TIMEOUT, rows.as_mut().try_next()).await;
    let row = row.map_err(|_| text(sql::no_answer(sql::ANSWER_TIMEOUT)))?;
    row.map_err(|error| query_failed(&error))
}

fn count(bytes: &mut usize, row: &Row) -> Result<(), v4::Error> {
    *bytes += row.raw_size_bytes() + row.len() * size_of::<v4::DbValue>();
    if *bytes > sql::RESULT_BYTES { Err(text(sql::too_large())) } else { Ok(()) }
}

fn columns(row: &Row) -> Vec<v4::Column> {
    let column = |it: &tokio_postgres::Column| v4::Column {
        name: it.name().to_owned(),
        data_type: values::data_type(it.type_()),
    };
    row.columns().iter().map(column).collect()
}

fn values(row: &Row) -> Result<v4::Row, v4::Error> {
    let value = |index| row.try_get::<_, Raw>(index).map(|it| it.0);
    let values = (0..row.len()).map(value).collect::<Result<_, _>>();
    values.map_err(|error| text(gyre_telemetry::chain(&error)))
}

fn text(text: String) -> v4::Error {
    v4::Error::QueryFailed(v4::QueryError::Text(text))
}

fn query_failed(error: &tokio_postgres::Error) -> v4::Error {
    let as_text = gyre_telemetry::chain(error);
    let Some(told) = error.as_db_error() else { return text(as_text) };
    let line = told.line().map(|line| line.to_string());
    let extras = [
        ("column", told.column()),
        ("constraint", told.constraint()),
        ("routine", told.routine()),
        ("hint", told.hint()),
        ("table", told.table()),
        ("datatype", told.datatype()),
        ("schema", told.schema()),
        ("file", told.file()),
        ("line", line.as_deref()),
        ("where_", told.where_()),
    ];
    let extras = extras.into_iter().filter_map(|(key, it)| Some((key.to_owned(), it?.to_owned())));
    v4::Error::QueryFailed(v4::QueryError::DbError(v4::DbError {
        as_text,
        severity: told.severity().to_owned(),
        code: told.code().code().to_owned(),
        message: told.message().to_owned(),
        detail: told.detail().map(str::to_owned),
        extras: extras.collect(),
    }))
}
