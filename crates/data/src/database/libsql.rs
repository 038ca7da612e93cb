//! Databases on a libSQL server, by Hrana over HTTP in its third version, as JSON.
//!
//! A connection is a stream of the server, so that transactions, temporary tables and the like are as in a file. The
//! server closes streams that are not used for a while: outside of a transaction the next statement opens another one.

use std::{fmt, sync::Arc, time::Duration};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use gyre_model::Secret;
use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::{QueryResult, Value};
use crate::{
    DatabaseError, DatabaseLimits,
    http::{self, HttpError},
};

/// How long an answer may take, unless statements have a limit of their own.
const ANSWER: Duration = Duration::from_mins(2);
/// What an answer has besides the result, in bytes.
const ENVELOPE: usize = 64 << 10;
/// The code of a stream that was closed for not being used.
const EXPIRED: &str = "STREAM_EXPIRED";

/// With or without padding: servers differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A libSQL server.
pub(super) struct Server {
    client: Client,
    url: Url,
    token: Secret<String>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Libsql").field(&self.url.as_str()).finish()
    }
}

impl Server {
    pub(super) fn new(url: &str, token: Secret<String>) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self { client: http::client()?, url: pipeline(url)?, token }))
    }
}

/// The address of pipelines on the server at `url`.
fn pipeline(url: &str) -> Result<Url, String> {
    let mut parsed: Url = url.parse().map_err(|error| format!("{url:?}: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(format!("{url:?} is not an HTTP URL"));
    }
    let mut path = parsed.path_segments_mut().map_err(|()| format!("{url:?} has no path"))?;
    path.pop_if_empty().extend(["v3", "pipeline"]);
    drop(path);
    Ok(parsed)
}

/// The stream of a connection.
#[derive(Debug)]
enum Stream {
    /// There is none yet, or the server has closed it when nothing depended on it.
    None,
    Open {
        baton: String,
        /// Where the server wants to be asked from then on.
        url: Option<Url>,
        is_in_transaction: bool,
    },
    /// It went away within a transaction.
    Lost,
}

/// A connection to a database on a server.
#[derive(Debug)]
pub(super) struct LibsqlConnection {
    server: Arc<Server>,
    limits: DatabaseLimits,
    stream: Stream,
    last_insert_rowid: i64,
    changes: u64,
}

#[derive(Serialize)]
struct Pipeline<'a> {
    baton: Option<&'a str>,
    requests: &'a [Request<'a>],
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Request<'a> {
    Execute { stmt: Statement<'a> },
    Sequence { sql: &'a str },
    GetAutocommit,
    Close,
}

#[derive(Serialize)]
struct Statement<'a> {
    sql: &'a str,
    args: Vec<Wire>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Wire {
    Null,
    Integer {
        value: String,
    },
    /// JSON has no infinity: where one is expected, servers send null.
    Float {
        value: Option<f64>,
    },
    Text {
        value: String,
    },
    Blob {
        base64: String,
    },
}

#[derive(Deserialize)]
struct PipelineAnswer {
    baton: Option<String>,
    #[serde(default)]
    base_url: Option<String>,
    results: Vec<Outcome>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Outcome {
    Ok { response: Response },
    Error { error: Failure },
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Response {
    Execute {
        result: StatementResult,
    },
    GetAutocommit {
        is_autocommit: bool,
    },
    #[serde(other)]
    Other,
}

#[derive(Default, Deserialize)]
struct StatementResult {
    cols: Vec<Column>,
    rows: Vec<Vec<Wire>>,
    #[serde(default)]
    affected_row_count: u64,
    #[serde(default)]
    last_insert_rowid: Option<String>,
}

#[derive(Deserialize)]
struct Column {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    message: String,
    #[serde(default)]
    code: Option<String>,
}

impl From<Failure> for DatabaseError {
    fn from(failure: Failure) -> Self {
        if failure.code.as_deref() == Some("SQLITE_FULL") {
            return Self::Full;
        }
        Self::Other(failure.message)
    }
}

impl LibsqlConnection {
    pub(super) fn new(server: Arc<Server>, limits: DatabaseLimits) -> Self {
        Self { server, limits, stream: Stream::None, last_insert_rowid: 0, changes: 0 }
    }

    pub(super) async fn execute(
        &mut self,
        sql: &str,
        parameters: Vec<Value>,
    ) -> Result<QueryResult, DatabaseError> {
        let args = parameters.into_iter().map(|it| to_wire(it, self.limits.value_bytes));
        let args = args.collect::<Result<_, _>>()?;
        let result = self.run(Request::Execute { stmt: Statement { sql, args } }).await?;
        if let Some(id) = result.last_insert_rowid.and_then(|id| id.parse().ok())
            && id != 0
        {
            self.last_insert_rowid = id;
        }
        // Of other statements, what servers say means nothing.
        if result.affected_row_count > 0 || changes_rows(sql) {
            self.changes = result.affected_row_count;
        }
        let columns = result.cols.into_iter().map(|column| column.name.unwrap_or_default());
        from_wire(columns.collect(), result.rows, self.limits.result_bytes)
    }

    pub(super) async fn execute_batch(&mut self, sql: &str) -> Result<(), DatabaseError> {
        self.run(Request::Sequence { sql }).await.map(drop)
    }

    pub(super) fn last_insert_rowid(&self) -> i64 {
        self.last_insert_rowid
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Sends one request on the connection's stream.
    async fn run(&mut self, request: Request<'_>) -> Result<StatementResult, DatabaseError> {
        let requests = [request, Request::GetAutocommit];
        // Whatever happens from here on, the future being dropped included: the baton is used up.
        let (mut baton, mut url, left) = match std::mem::replace(&mut self.stream, Stream::None) {
            Stream::None => (None, None, Stream::None),
            Stream::Open { baton, url, is_in_transaction: false } => {
                (Some(baton), url, Stream::None)
            }
            Stream::Open { baton, url, is_in_transaction: true } => {
                (Some(baton), url, Stream::Lost)
            }
            Stream::Lost => (None, None, Stream::Lost),
        };
        let is_replaceable = matches!(left, Stream::None);
        self.stream = left;
        if matches!(self.stream, Stream::Lost) && baton.is_none() {
            let text = "the connection was lost within a transaction: open another one";
            return Err(DatabaseError::Other(text.to_owned()));
        }
        let answer = loop {
            let address = url.as_ref().unwrap_or(&self.server.url);
            let answer = self.send(address, baton.as_deref(), &requests).await?;
            if answer.status.is_success() {
                break answer;
            }
            let failure: Option<Failure> = serde_json::from_slice(&answer.body).ok();
            let code = failure.as_ref().and_then(|it| it.code.as_deref());
            // It was not executed: there was nothing to execute it on.
            let is_expired = code == Some(EXPIRED) || answer.status == StatusCode::NOT_FOUND;
            if baton.is_some() && is_replaceable && is_expired {
                (baton, url) = (None, None);
                continue;
            }
            let why = failure.map(|it| format!(": {}", it.message)).unwrap_or_default();
            let status = answer.status;
            return Err(DatabaseError::Other(format!("the server answered {status}{why}")));
        };
        let wrong = || DatabaseError::Other("the server's answer is not Hrana's".to_owned());
        let answer: PipelineAnswer = serde_json::from_slice(&answer.body).map_err(|_| wrong())?;
        let mut results = answer.results.into_iter();
        let (Some(result), Some(state)) = (results.next(), results.next()) else {
            return Err(wrong());
        };
        let is_in_transaction = !matches!(
            state,
            Outcome::Ok { response: Response::GetAutocommit { is_autocommit: true } }
        );
        let next = match answer.base_url {
            Some(next) => Some(self.moved(&next)?),
            None => url,
        };
        self.stream = match answer.baton {
            Some(baton) => Stream::Open { baton, url: next, is_in_transaction },
            None if is_in_transaction => Stream::Lost,
            None => Stream::None,
        };
        match result {
            Outcome::Ok { response: Response::Execute { result } } => Ok(result),
            Outcome::Ok { .. } => Ok(StatementResult::default()),
            Outcome::Error { error } => Err(error.into()),
        }
    }

    /// The address that a server gives for the rest of a stream. The token goes there: never in the clear if it was
    /// not before.
    fn moved(&self, url: &str) -> Result<Url, DatabaseError> {
        let next = pipeline(url).map_err(DatabaseError::Other)?;
        if self.server.url.scheme() == "https" && next.scheme() != "https" {
            return Err(DatabaseError::Other(format!("the server moved to {next}, without TLS")));
        }
        Ok(next)
    }

    async fn send(
        &self,
        url: &Url,
        baton: Option<&str>,
        requests: &[Request<'_>],
    ) -> Result<http::Answer, DatabaseError> {
        let time = self.limits.statement_time.unwrap_or(ANSWER);
        // Numbers take about as much room as they do here, blobs a third more; text with many escapes may take more
        // than that, and be too long before its time.
        let limit = self.limits.result_bytes.saturating_mul(2).saturating_add(ENVELOPE);
        let request = post(&self.server, url, baton, requests);
        http::exchange(request, time, limit).await.map_err(|error| match error {
            HttpError::Timeout => DatabaseError::TooSlow { limit: time },
            HttpError::TooLong => DatabaseError::ResultTooLong { limit: self.limits.result_bytes },
            HttpError::Other(text) => DatabaseError::Other(text),
        })
    }
}

fn post(
    server: &Server,
    url: &Url,
    baton: Option<&str>,
    requests: &[Request<'_>],
) -> reqwest::RequestBuilder {
    let request = server.client.post(url.clone()).json(&Pipeline { baton, requests });
    if server.token.expose().is_empty() {
        return request;
    }
    request.bearer_auth(server.token.expose())
}

impl Drop for LibsqlConnection {
    /// Closes the stream, which ends a transaction. If that does not reach the server, time does the same.
    fn drop(&mut self) {
        let Stream::Open { baton, url, .. } = std::mem::replace(&mut self.stream, Stream::None)
        else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let server = self.server.clone();
        runtime.spawn(async move {
            let url = url.as_ref().unwrap_or(&server.url);
            let request = post(&server, url, Some(&baton), &[Request::Close]);
            let _ = http::exchange(request, Duration::from_secs(5), ENVELOPE).await;
        });
    }
}

/// Whether it may change rows: its first word says so.
fn changes_rows(sql: &str) -> bool {
    let word = sql.split_whitespace().next().unwrap_or_default();
    ["insert", "update", "delete", "replace"].iter().any(|it| it.eq_ignore_ascii_case(word))
}

fn to_wire(value: Value, limit: usize) -> Result<Wire, DatabaseError> {
    let length = match &value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        _ => 0,
    };
    if length > limit {
        return Err(DatabaseError::Other("string or blob too big".to_owned()));
    }
    Ok(match value {
        Value::Null => Wire::Null,
        Value::Integer(value) => Wire::Integer { value: value.to_string() },
        // As SQLite keeps it.
        Value::Real(value) if value.is_nan() => Wire::Null,
        Value::Real(value) if value.is_infinite() => {
            let text = "the server's protocol has no infinite numbers";
            return Err(DatabaseError::Other(text.to_owned()));
        }
        Value::Real(value) => Wire::Float { value: Some(value) },
        Value::Text(value) => Wire::Text { value },
        Value::Blob(bytes) => Wire::Blob { base64: BASE64.encode(bytes) },
    })
}

fn from_wire(
    columns: Vec<String>,
    rows: Vec<Vec<Wire>>,
    limit: usize,
) -> Result<QueryResult, DatabaseError> {
    let mut bytes: usize = columns.iter().map(String::len).sum();
    let mut result = QueryResult { columns, rows: Vec::with_capacity(rows.len()) };
    for row in rows {
        if row.len() != result.columns.len() {
            let text = "the server sent a row of another length than its head";
            return Err(DatabaseError::Other(text.to_owned()));
        }
        let row = row.into_iter().map(|value| {
            let value = from_wire_value(value)?;
            bytes += size_of::<Value>()
                + match &value {
                    Value::Text(text) => text.len(),
                    Value::Blob(bytes) => bytes.len(),
                    _ => 0,
                };
            if bytes > limit {
                return Err(DatabaseError::ResultTooLong { limit });
            }
            Ok(value)
        });
        result.rows.push(row.collect::<Result<_, _>>()?);
    }
    Ok(result)
}

fn from_wire_value(value: Wire) -> Result<Value, DatabaseError> {
    let wrong = |what: &str| DatabaseError::Other(format!("the server sent a malformed {what}"));
    Ok(match value {
        Wire::Null | Wire::Float { value: None } => Value::Null,
        Wire::Integer { value } => Value::Integer(value.parse().map_err(|_| wrong("integer"))?),
        Wire::Float { value: Some(value) } => Value::Real(value),
        Wire::Text { value } => Value::Text(value),
        Wire::Blob { base64 } => Value::Blob(BASE64.decode(base64).map_err(|_| wrong("blob"))?),
    })
}
