//! A libSQL server: Hrana over HTTP, version 3, as JSON, over real SQLite in a file.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use rusqlite::{Connection, ErrorCode, types::Value};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::HttpDouble;

/// The token that it asks for.
const TOKEN: &str = "geheim";

/// A libSQL server on a free loopback port, with a database of its own.
#[derive(Debug)]
pub struct LibsqlDouble {
    http: HttpDouble,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    folder: TempDir,
    streams: HashMap<u64, Stream>,
    made: u64,
    requests: u64,
}

#[derive(Debug)]
struct Stream {
    connection: Connection,
    turn: u64,
}

impl LibsqlDouble {
    /// Starts one.
    #[track_caller]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State { folder, streams: HashMap::new(), made: 0, requests: 0 };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let http = HttpDouble::start(move |request| lock(&shared).answer(&request));
        Self { http, state }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.http.url()
    }

    /// The token that it asks for.
    pub fn token(&self) -> &'static str {
        TOKEN
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        lock(&self.state).streams.len()
    }

    /// How many requests there were.
    pub fn requests(&self) -> u64 {
        lock(&self.state).requests
    }

    /// Closes all streams, as the server does with those that are not used for a while.
    pub fn expire(&self) {
        lock(&self.state).streams.clear();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        self.requests += 1;
        let authorization = request.headers().get(header::AUTHORIZATION);
        if authorization.is_none_or(|it| it != &format!("Bearer {TOKEN}")) {
            return respond(StatusCode::UNAUTHORIZED, &json!({ "error": "Unauthorized" }));
        }
        if request.method() != http::Method::POST || request.uri().path() != "/v3/pipeline" {
            return respond(StatusCode::NOT_FOUND, &json!({ "error": "no such page" }));
        }
        let Ok(body) = serde_json::from_slice::<Json>(request.body()) else {
            return failure("the body is no JSON", "PROTOCOL_ERROR");
        };
        let Some(requests) = body["requests"].as_array() else {
            return failure("no requests", "PROTOCOL_ERROR");
        };
        let id = match &body["baton"] {
            Json::Null => self.open(),
            Json::String(baton) => match self.find(baton) {
                Ok(id) => id,
                Err((text, code)) => return failure(text, code),
            },
            _ => return failure("the baton is no text", "PROTOCOL_ERROR"),
        };
        let mut results = Vec::new();
        let mut is_open = true;
        for request in requests {
            let stream = &self.streams[&id];
            results.push(match request["type"].as_str() {
                Some("close") => {
                    is_open = false;
                    ok(&json!({ "type": "close" }))
                }
                _ if !is_open => error("the stream is closed", "STREAM_CLOSED"),
                Some("execute") => execute(&stream.connection, &request["stmt"]),
                Some("sequence") => sequence(&stream.connection, &request["sql"]),
                Some("get_autocommit") => ok(&json!({
                    "type": "get_autocommit",
                    "is_autocommit": stream.connection.is_autocommit(),
                })),
                other => error(&format!("unknown request {other:?}"), "PROTOCOL_ERROR"),
            });
        }
        let baton = if is_open {
            let stream = self.streams.get_mut(&id).expect("it was just used");
            stream.turn += 1;
            Some(format!("{id}.{}", stream.turn))
        } else {
            self.streams.remove(&id);
            None
        };
        let answer = json!({ "baton": baton, "base_url": null, "results": results });
        respond(StatusCode::OK, &answer)
    }

    fn open(&mut self) -> u64 {
        self.made += 1;
        let connection = Connection::open(self.folder.path().join("data.db")).unwrap();
        connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA busy_timeout=0").unwrap();
        self.streams.insert(self.made, Stream { connection, turn: 0 });
        self.made
    }

    /// The stream of a baton. Each is good for one request.
    fn find(&self, baton: &str) -> Result<u64, (&'static str, &'static str)> {
        let invalid = ("the baton is invalid", "BATON_INVALID");
        let (id, turn) = baton.split_once('.').ok_or(invalid)?;
        let (id, turn): (u64, u64) = id.parse().ok().zip(turn.parse().ok()).ok_or(invalid)?;
        let expired = ("the stream has expired due to inactivity", "STREAM_EXPIRED");
        let stream = self.streams.get(&id).ok_or(expired)?;
        if stream.turn == turn { Ok(id) } else { Err(("the baton was used", "BATON_REUSED")) }
    }
}

fn execute(connection: &Connection, statement: &Json) -> Json {
    let sql = statement["sql"].as_str().unwrap_or_default();
    let parameters = statement["args"].as_array().map(Vec::as_slice).unwrap_or_default();
    let run = || -> rusqlite::Result<Json> {
        let mut prepared = connection.prepare(sql)?;
        let columns: Vec<Json> =
            prepared.column_names().map(|name| json!({ "name": name, "decltype": null })).collect();
        let parameters: Vec<Value> = parameters.iter().map(from_json).collect();
        let mut found = prepared.query(rusqlite::params_from_iter(parameters))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let row = (0..columns.len()).map(|n| row.get(n).map(to_json));
            rows.push(Json::Array(row.collect::<Result<_, _>>()?));
        }
        Ok(json!({
            "cols": columns,
            "rows": rows,
            "affected_row_count": connection.changes(),
            "last_insert_rowid": connection.last_insert_rowid().to_string(),
        }))
    };
    match run() {
        Ok(result) => ok(&json!({ "type": "execute", "result": result })),
        Err(failure) => error_of(&failure),
    }
}

fn sequence(connection: &Connection, sql: &Json) -> Json {
    match connection.execute_batch(sql.as_str().unwrap_or_default()) {
        Ok(()) => ok(&json!({ "type": "sequence" })),
        Err(failure) => error_of(&failure),
    }
}

/// A value as the protocol has it; whatever else is refused.
fn from_json(value: &Json) -> Value {
    let text = |key: &str| value[key].as_str().expect("the value is text");
    match value["type"].as_str() {
        Some("null") => Value::Null,
        Some("integer") => Value::Integer(text("value").parse().expect("it is an integer")),
        Some("float") => Value::Real(value["value"].as_f64().expect("it is a number")),
        Some("text") => Value::Text(text("value").to_owned()),
        Some("blob") => {
            let text = text("base64").trim_end_matches('=');
            Value::Blob(STANDARD_NO_PAD.decode(text).expect("it is base64"))
        }
        other => panic!("a value of type {other:?}"),
    }
}

fn to_json(value: Value) -> Json {
    match value {
        Value::Null => json!({ "type": "null" }),
        Value::Integer(value) => json!({ "type": "integer", "value": value.to_string() }),
        Value::Real(value) => json!({ "type": "float", "value": value }),
        Value::Text(value) => json!({ "type": "text", "value": value }),
        Value::Blob(value) => json!({ "type": "blob", "base64": STANDARD_NO_PAD.encode(value) }),
    }
}

fn ok(response: &Json) -> Json {
    json!({ "type": "ok", "response": response })
}

fn error(message: &str, code: &str) -> Json {
    json!({ "type": "error", "error": { "message": message, "code": code } })
}

fn error_of(failure: &rusqlite::Error) -> Json {
    let code = match failure.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => "SQLITE_CONSTRAINT",
        Some(ErrorCode::DatabaseBusy) => "SQLITE_BUSY",
        Some(ErrorCode::DiskFull) => "SQLITE_FULL",
        _ => "SQLITE_ERROR",
    };
    error(&format!("SQLite error: {failure}"), code)
}

fn failure(message: &str, code: &str) -> Response<Bytes> {
    respond(StatusCode::BAD_REQUEST, &json!({ "message": message, "code": code }))
}

fn respond(status: StatusCode, body: &Json) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response
}
