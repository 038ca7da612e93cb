//! MySQL and what speaks its protocol: `spin:mysql@3.0.0`, and on it the versions before.
//!
//! The library connects by itself, but only to the very addresses that the egress door found and admitted. A
//! connection belongs to the handle that opened it.

mod guest;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use gyre_telemetry::Blame;
use mysql_async::{
    BinaryProtocol, Column, Conn, Opts, OptsBuilder, Params, QueryResult, Row, SslOpts, Statement,
    Value,
    consts::{ColumnFlags, ColumnType},
    from_value_opt,
    prelude::{FromValue, Queryable as _},
};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::error::Elapsed,
};
use url::{Host, Url};

use super::{
    Origin, egress, sql,
    traced::{Blamed, InstanceTrace, noted, set_server, traced},
};
use sql::spin::mysql::mysql as v3;

pub(crate) use guest::{add_async_to_linker, add_to_linker};

const DEFAULT_PORT: u16 = 3306;

/// Connections that one instance may have open.
const CONNECTIONS: usize = 256;

/// How long saying goodbye may take, and the rest of an answer that is not wanted any more.
const GOODBYE: Duration = Duration::from_secs(5);

/// An open connection.
#[derive(Clone)]
#[allow(unreachable_pub, reason = "the generated code re-exports it")]
pub struct Connection {
    lease: Arc<Mutex<Lease>>,
    trace: InstanceTrace,
}

struct Lease {
    /// None after an answer that did not come to its end.
    connection: Option<Conn>,
    _permit: egress::Permit,
}

impl Drop for Lease {
    fn drop(&mut self) {
        give_up(self.connection.take());
    }
}

fn give_up(connection: Option<Conn>) {
    if let Some(connection) = connection
        && let Ok(runtime) = tokio::runtime::Handle::try_current()
    {
        runtime.spawn(tokio::time::timeout(GOODBYE, connection.disconnect()));
    }
}

impl Blamed for v3::Error {
    fn blame(&self) -> Blame {
        match self {
            Self::BadParameter(_) => Blame::Guest,
            _ => Blame::Host,
        }
    }
}

/// An answer on its way.
struct Streamed {
    columns: Vec<v3::Column>,
    rows: mpsc::Receiver<v3::Row>,
    end: oneshot::Receiver<Result<(), v3::Error>>,
}

/// What an address says: whom to connect to, and how.
struct Address {
    options: Opts,
    host: Host<String>,
    port: u16,
}

impl Address {
    /// # Errors
    /// It is none, or the component may not connect to it; in Spin's words.
    fn admit(origin: &Origin, text: &str) -> Result<Self, String> {
        let denied = || format!("address {text} is not permitted");
        let mut url = Url::parse(text).map_err(|_| denied())?;
        let host = match url.host() {
            Some(Host::Ipv4(address)) => Host::Ipv4(address),
            Some(Host::Ipv6(address)) => Host::Ipv6(address),
            // Of schemes that it does not know the library takes any text for a name.
            Some(Host::Domain(name)) => Host::parse(name).map_err(|_| denied())?,
            None => return Err(denied()),
        };
        let port = url.port().unwrap_or(DEFAULT_PORT);
        let network = &origin.component.grants.network;
        if url.scheme() != "mysql" || !network.allows(origin, "mysql", &host.to_string(), port) {
            return Err(denied());
        }
        let is_tls =
            |key: &str| key.eq_ignore_ascii_case("ssl-mode") || key.eq_ignore_ascii_case("sslmode");
        let speaks_tls = url
            .query_pairs()
            .any(|(key, value)| is_tls(&key) && !value.eq_ignore_ascii_case("disabled"));
        let rest: Vec<_> = url.query_pairs().into_owned().filter(|(key, _)| !is_tls(key)).collect();
        url.set_query(None);
        if !rest.is_empty() {
            url.query_pairs_mut().extend_pairs(rest);
        }
        let options = Opts::from_url(url.as_str()).map_err(|error| error.to_string())?;
        let options = OptsBuilder::from_opts(options)
            .ssl_opts(speaks_tls.then(SslOpts::default))
            // An address may ask for these, of which the door knows nothing.
            .prefer_socket(false)
            .socket(None::<String>)
            .compression(None)
            .max_allowed_packet(Some(sql::RESULT_BYTES))
            .tcp_nodelay(true);
        Ok(Self { options: options.into(), host, port })
    }

    async fn connect(&self, door: &egress::Door) -> Result<Conn, String> {
        let addresses = door.addresses(&self.host, self.port).await;
        let addresses = addresses.map_err(|error| gyre_telemetry::chain(&error))?;
        let addresses: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
        let options = OptsBuilder::from_opts(self.options.clone())
            .ip_or_hostname(self.host.to_string())
            .tcp_port(self.port)
            .resolved_ips(Some(addresses));
        Conn::new(options).await.map_err(|error| gyre_telemetry::chain(&error))
    }
}

impl Connection {
    async fn open(origin: &Origin, address: &str) -> Result<Self, v3::Error> {
        let mut span = origin.trace.database("spin_outbound_mysql.open", "mysql");
        set_server(&mut span, address);
        traced(span, Self::connect(origin, address)).await
    }

    async fn connect(origin: &Origin, address: &str) -> Result<Self, v3::Error> {
        let failed = v3::Error::ConnectionFailed;
        let address = Address::admit(origin, address).map_err(failed)?;
        let door = origin.app.shared.door();
        let opened = tokio::time::timeout(sql::CONNECT_TIMEOUT, async {
            let permit = door.permit(egress::Purpose::Mysql, || ()).await;
            Ok(Lease { connection: Some(address.connect(door).await?), _permit: permit })
        });
        let opened = opened.await.unwrap_or_else(|_| Err(sql::no_answer(sql::CONNECT_TIMEOUT)));
        let lease = Arc::new(Mutex::new(opened.map_err(failed)?));
        Ok(Self { lease, trace: origin.trace.clone() })
    }

    async fn execute(
        &self,
        statement: &str,
        parameters: Vec<v3::ParameterValue>,
    ) -> Result<(), v3::Error> {
        let span =
            self.trace.statement("spin_outbound_mysql.execute", "mysql", "statement", statement);
        traced(span, self.run(statement, parameters)).await
    }

    async fn run(
        &self,
        statement: &str,
        parameters: Vec<v3::ParameterValue>,
    ) -> Result<(), v3::Error> {
        let mut lease = self.lease.lock().await;
        let mut guard = Guard(Some(lease.connection.take().ok_or_else(given_up)?));
        let connection = guard.0.as_mut().expect("it was put there just now");
        let work = async {
            let statement = prepare(connection, statement, &parameters).await?;
            let done = connection.exec_drop(statement, positional(parameters)).await;
            done.map_err(|error| query_failed(&error))
        };
        let result = tokio::time::timeout(sql::ANSWER_TIMEOUT, work).await;
        let result = result.map_err(silent)?;
        lease.connection = guard.0.take();
        result
    }

    async fn query(
        &self,
        statement: &str,
        parameters: Vec<v3::ParameterValue>,
    ) -> Result<(Vec<v3::Column>, Vec<v3::Row>), v3::Error> {
        let mut kept = Taker::Keep { columns: Vec::new(), rows: Vec::new(), bytes: 0 };
        let span =
            self.trace.statement("spin_outbound_mysql.query", "mysql", "statement", statement);
        traced(span, self.read(statement, parameters, &mut kept)).await?;
        match kept {
            Taker::Keep { columns, rows, .. } => Ok((columns, rows)),
            Taker::Give { .. } => Ok(Default::default()),
        }
    }

    async fn stream(
        &self,
        statement: String,
        parameters: Vec<v3::ParameterValue>,
    ) -> Result<Streamed, v3::Error> {
        // It ends with the answer, not when that begins.
        let span =
            self.trace.statement("spin_outbound_mysql.query", "mysql", "statement", &statement);
        let (to_guest, rows) = mpsc::channel(sql::ROWS_AHEAD);
        let (tell_end, end) = oneshot::channel();
        let (tell_columns, columns) = oneshot::channel();
        let connection = self.clone();
        tokio::spawn(async move {
            let mut give = Taker::Give { columns: Some(tell_columns), rows: to_guest };
            let result = connection.read(&statement, parameters, &mut give).await;
            let _ = tell_end.send(noted(span, result));
        });
        match columns.await {
            Ok(columns) => Ok(Streamed { columns, rows, end }),
            // It failed before there were any.
            Err(_) => Err(match end.await {
                Ok(Err(error)) => error,
                _ => given_up(),
            }),
        }
    }

    /// Gives the columns and then each row to `taker`, until that wants no more.
    async fn read(
        &self,
        statement: &str,
        parameters: Vec<v3::ParameterValue>,
        taker: &mut Taker,
    ) -> Result<(), v3::Error> {
        let mut lease = self.lease.lock().await;
        // Until the end of the answer it is nobody's: whatever ends this early closes it.
        let mut guard = Guard(Some(lease.connection.take().ok_or_else(given_up)?));
        let connection = guard.0.as_mut().expect("it was put there just now");
        let limit = sql::ANSWER_TIMEOUT;
        let asked = async {
            let prepared = prepare(connection, statement, &parameters);
            let statement = match tokio::time::timeout(limit, prepared).await? {
                Ok(statement) => statement,
                Err(error) => return Ok(Err(error)),
            };
            let asked = connection.exec_iter(statement, positional(parameters));
            let asked = tokio::time::timeout(limit, asked).await?;
            Ok(asked.map_err(|error| query_failed(&error)))
        };
        let asked = tokio::select! {
            asked = asked => asked.map_err(silent)?,
            () = taker.gone() => return Ok(()),
        };
        let mut answer = match asked {
            Ok(answer) => answer,
            Err(error) => {
                lease.connection = guard.0.take();
                return Err(error);
            }
        };
        let result = give(&mut answer, taker).await;
        // What is left of the answer is read, so that the next statement can have the connection; of one that is not
        // wanted any more, only what comes soon.
        let patience = if matches!(result, Ok(true)) { limit } else { GOODBYE };
        let rest = tokio::time::timeout(patience, answer.drop_result()).await;
        match (result, rest) {
            (result, Ok(Ok(()))) => {
                lease.connection = guard.0.take();
                result.map(drop)
            }
            (Ok(true), Ok(Err(error))) => Err(query_failed(&error)),
            (Ok(true), Err(elapsed)) => Err(silent(elapsed)),
            (result, _) => result.map(drop),
        }
    }
}

/// Gives an answer's columns and rows; whether it came to its end.
async fn give(
    answer: &mut QueryResult<'_, '_, BinaryProtocol>,
    taker: &mut Taker,
) -> Result<bool, v3::Error> {
    let columns: Vec<_> = answer.columns_ref().iter().map(column).collect();
    if !taker.columns(columns.clone()) {
        return Ok(false);
    }
    loop {
        let row = tokio::select! {
            row = tokio::time::timeout(sql::ANSWER_TIMEOUT, answer.next()) => row.map_err(silent)?,
            () = taker.gone() => return Ok(false),
        };
        let Some(row) = row.map_err(|error| v3::Error::Other(gyre_telemetry::chain(&error)))?
        else {
            return Ok(true);
        };
        let (row, size) = values(row, &columns)?;
        if !taker.row(row, size).await? {
            return Ok(false);
        }
    }
}

/// A statement that takes as many parameters as there are: servers hang up when they get fewer.
async fn prepare(
    connection: &mut Conn,
    text: &str,
    parameters: &[v3::ParameterValue],
) -> Result<Statement, v3::Error> {
    let statement = connection.prep(text).await.map_err(|error| query_failed(&error))?;
    let (takes, given) = (usize::from(statement.num_params()), parameters.len());
    if takes == given {
        return Ok(statement);
    }
    let text = format!("the statement takes {takes} parameters, not {given}");
    Err(v3::Error::QueryFailed(text))
}

/// A connection in the middle of an answer.
struct Guard(Option<Conn>);

impl Drop for Guard {
    fn drop(&mut self) {
        give_up(self.0.take());
    }
}

/// What becomes of an answer.
enum Taker {
    /// It is kept whole, within the limit.
    Keep { columns: Vec<v3::Column>, rows: Vec<v3::Row>, bytes: usize },
    /// It is given on, as fast as it is taken.
    Give { columns: Option<oneshot::Sender<Vec<v3::Column>>>, rows: mpsc::Sender<v3::Row> },
}

impl Taker {
    /// Whether more is wanted.
    fn columns(&mut self, of: Vec<v3::Column>) -> bool {
        match self {
            Self::Keep { columns, .. } => {
                *columns = of;
                true
            }
            Self::Give { columns, .. } => columns.take().is_none_or(|tell| tell.send(of).is_ok()),
        }
    }

    /// Waits until no more is wanted.
    async fn gone(&self) {
        match self {
            Self::Keep { .. } => std::future::pending().await,
            Self::Give { rows, .. } => rows.closed().await,
        }
    }

    /// Whether more is wanted; `size` is what the row takes, in bytes.
    async fn row(&mut self, row: v3::Row, size: usize) -> Result<bool, v3::Error> {
        match self {
            Self::Keep { rows, bytes, .. } => {
                *bytes += size;
                if *bytes > sql::RESULT_BYTES {
                    return Err(v3::Error::Other(sql::too_large()));
                }
                rows.push(row);
                Ok(true)
            }
            Self::Give { rows, .. } => Ok(rows.send(row).await.is_ok()),
        }
    }
}

fn silent(_: Elapsed) -> v3::Error {
    v3::Error::QueryFailed(sql::no_answer(sql::ANSWER_TIMEOUT))
}

fn given_up() -> v3::Error {
    v3::Error::Other("the connection was given up".to_owned())
}

fn query_failed(error: &mysql_async::Error) -> v3::Error {
    v3::Error::QueryFailed(gyre_telemetry::chain(error))
}

fn positional(parameters: Vec<v3::ParameterValue>) -> Params {
    use v3::ParameterValue as P;
    if parameters.is_empty() {
        return Params::Empty;
    }
    let parameter = |parameter| match parameter {
        P::Boolean(it) => Value::from(it),
        P::Int8(it) => Value::from(it),
        P::Int16(it) => Value::from(it),
        P::Int32(it) => Value::from(it),
        P::Int64(it) => Value::from(it),
        P::Uint8(it) => Value::from(it),
        P::Uint16(it) => Value::from(it),
        P::Uint32(it) => Value::from(it),
        P::Uint64(it) => Value::from(it),
        P::Floating32(it) => Value::from(it),
        P::Floating64(it) => Value::from(it),
        P::Str(it) => Value::from(it),
        P::Binary(it) => Value::from(it),
        P::DbNull => Value::NULL,
    };
    Params::Positional(parameters.into_iter().map(parameter).collect())
}

fn column(of: &Column) -> v3::Column {
    v3::Column { name: of.name_str().into_owned(), data_type: data_type(of) }
}

fn data_type(of: &Column) -> v3::DbDataType {
    use ColumnType as T;
    use v3::DbDataType as D;
    let is_unsigned = of.flags().contains(ColumnFlags::UNSIGNED_FLAG);
    let is_binary = of.flags().contains(ColumnFlags::BINARY_FLAG);
    match (of.column_type(), is_unsigned) {
        (T::MYSQL_TYPE_TINY, false) => D::Int8,
        (T::MYSQL_TYPE_TINY, true) => D::Uint8,
        (T::MYSQL_TYPE_SHORT, false) => D::Int16,
        (T::MYSQL_TYPE_SHORT, true) => D::Uint16,
        (T::MYSQL_TYPE_INT24 | T::MYSQL_TYPE_LONG, false) => D::Int32,
        (T::MYSQL_TYPE_INT24 | T::MYSQL_TYPE_LONG, true) => D::Uint32,
        (T::MYSQL_TYPE_LONGLONG, false) => D::Int64,
        (T::MYSQL_TYPE_LONGLONG, true) => D::Uint64,
        (T::MYSQL_TYPE_FLOAT, _) => D::Floating32,
        (T::MYSQL_TYPE_DOUBLE, _) => D::Floating64,
        (T::MYSQL_TYPE_BLOB | T::MYSQL_TYPE_STRING | T::MYSQL_TYPE_VAR_STRING, _) => {
            if is_binary {
                D::Binary
            } else {
                D::Str
            }
        }
        (T::MYSQL_TYPE_MEDIUM_BLOB | T::MYSQL_TYPE_LONG_BLOB, _) => D::Binary,
        _ => D::Other,
    }
}

fn values(row: Row, columns: &[v3::Column]) -> Result<(v3::Row, usize), v3::Error> {
    let values = row.unwrap();
    if values.len() != columns.len() {
        return Err(v3::Error::Other("a row with another number of columns".to_owned()));
    }
    let mut bytes = values.len() * size_of::<v3::DbValue>();
    let value = |(value, column)| {
        if let Value::Bytes(it) = &value {
            bytes += it.len();
        }
        self::value(value, column)
    };
    let row = values.into_iter().zip(columns).map(value).collect::<Result<_, _>>()?;
    Ok((row, bytes))
}

fn value(value: Value, column: &v3::Column) -> Result<v3::DbValue, v3::Error> {
    use v3::{DbDataType as D, DbValue as V};
    fn to<T: FromValue>(value: Value) -> Result<T, v3::Error> {
        from_value_opt(value).map_err(|error| v3::Error::ValueConversionFailed(error.to_string()))
    }
    if value == Value::NULL {
        return Ok(V::DbNull);
    }
    match column.data_type {
        D::Boolean => to(value).map(V::Boolean),
        D::Int8 => to(value).map(V::Int8),
        D::Int16 => to(value).map(V::Int16),
        D::Int32 => to(value).map(V::Int32),
        D::Int64 => to(value).map(V::Int64),
        D::Uint8 => to(value).map(V::Uint8),
        D::Uint16 => to(value).map(V::Uint16),
        D::Uint32 => to(value).map(V::Uint32),
        D::Uint64 => to(value).map(V::Uint64),
        D::Floating32 => to(value).map(V::Floating32),
        D::Floating64 => to(value).map(V::Floating64),
        D::Str => to(value).map(V::Str),
        D::Binary => to(value).map(V::Binary),
        D::Other => Err(v3::Error::ValueConversionFailed(format!(
            "Cannot convert value {value:?} in column {} data type {:?}",
            column.name, column.data_type
        ))),
    }
}
