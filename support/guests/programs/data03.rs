//! As `data`, for the versions whose functions are asynchronous: `/kv3`, `/sqlite31`, `/variables3` use every function
//! of `spin:key-value@3.0.0`, `spin:sqlite@3.1.0` and `spin:variables@3.0.0`; `/keys?COUNT` and `/rows?COUNT` read long
//! streams in every manner, `/many?COUNT` a long one row by row; `/denied` says what it gets for a label that it was not
//! given.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::{self, StreamReader, StreamResult};
use wasip3::{wit_future, wit_stream};

mod bindings {
    #![allow(clippy::all, clippy::pedantic, reason = "bindings are written by wit-bindgen")]
    wasip3::wit_bindgen::generate!({
        path: "../../wit",
        world: "gyre:host/data-async",
        generate_all,
        runtime_path: "wasip3::wit_bindgen::rt",
    });

    pub use spin::key_value::key_value;
    pub use spin::sqlite3_1_0::sqlite;
    pub use spin::variables::variables;
}

use bindings::{key_value, sqlite, variables};
use sqlite::{Connection, Value};

wasip3::http::service::export!(Guest);

struct Guest;

impl wasip3::exports::http::handler::Guest for Guest {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (path, count) = path.split_once('?').unwrap_or((&path, "0"));
        let count: usize = count.parse().expect("a number follows ?");
        let mut text = "ok".to_owned();
        match path {
            "/kv3" => key_value_3().await,
            "/keys" => keys(count).await,
            "/sqlite31" => sqlite_31().await,
            "/rows" => rows(count).await,
            "/many" => many(count).await,
            "/variables3" => variables_3().await,
            "/denied" => text = denied().await,
            other => panic!("no part {other}"),
        }
        let (mut body, contents) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(Fields::new(), Some(contents), trailers);
        wit_bindgen::spawn(async move {
            body.write_all(text.into_bytes()).await;
        });
        Ok(response)
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

/// Everything in a stream, in pieces of at most `piece`.
async fn read_all<T: 'static>(stream: &mut StreamReader<T>, piece: usize) -> Vec<T> {
    let mut all = Vec::new();
    loop {
        let (result, part) = stream.read(Vec::with_capacity(piece)).await;
        assert!(part.len() <= piece, "no more than there is room for");
        all.extend(part);
        if !matches!(result, StreamResult::Complete(_)) {
            return all;
        }
    }
}

async fn denied() -> String {
    let store = key_value::Store::open(text("elsewhere")).await.map(drop);
    let open = Connection::open(&text("elsewhere")).map(drop);
    let open_async = Connection::open_async(text("elsewhere")).await.map(drop);
    format!("{store:?} {open:?} {open_async:?}")
}

async fn key_value_3() {
    let store = key_value::Store::open(text("default")).await.expect("it is given");
    let key = || text("kv3/ä");
    assert!(matches!(store.get(key()).await, Ok(None)));
    assert!(matches!(store.exists(key()).await, Ok(false)));
    store.set(key(), b"value".to_vec()).await.expect("it is set");
    assert_eq!(store.get(key()).await.expect("it is read"), Some(b"value".to_vec()));
    assert!(matches!(store.exists(key()).await, Ok(true)));
    let (mut keys, end) = store.get_keys().await;
    assert_eq!(read_all(&mut keys, 10).await, [key()]);
    end.await.expect("it came to its end");
    store.delete(key()).await.expect("it is deleted");
    store.delete(key()).await.expect("once more is no error");
    let (mut keys, end) = store.get_keys().await;
    assert!(read_all(&mut keys, 10).await.is_empty());
    end.await.expect("it came to its end");
}

async fn keys(count: usize) {
    let store = key_value::Store::open(text("default")).await.expect("it is given");
    let name = |n: usize| format!("key {n:06}");
    for n in 0..count {
        store.set(name(n), Vec::new()).await.expect("it is set");
    }
    for piece in [1, 7, 10_000] {
        let (mut keys, end) = store.get_keys().await;
        let mut got = read_all(&mut keys, piece).await;
        got.sort();
        assert!(got.iter().cloned().eq((0..count).map(name)), "{piece}: {}", got.len());
        end.await.expect("it came to its end");
    }
    // Whoever stops in the middle, or never starts, gets no error for it, and the store works on.
    let (mut keys, end) = store.get_keys().await;
    let (_, some) = keys.read(Vec::with_capacity(5)).await;
    assert_eq!(some.len(), 5);
    drop(keys);
    end.await.expect("nothing went wrong");
    drop(store.get_keys().await);
    let (keys, end) = store.get_keys().await;
    drop(end);
    drop(keys);
    // The stream outlives the store's handle.
    let (mut keys, end) = store.get_keys().await;
    drop(store);
    assert_eq!(read_all(&mut keys, 100).await.len(), count);
    end.await.expect("it came to its end");
}

async fn sqlite_31() {
    let connection = Connection::open_async(text("default")).await.expect("it is given");
    let counts =
        async |it: &Connection| (it.last_insert_rowid_async().await, it.changes_async().await);
    assert_eq!(counts(&connection).await, (0, 0));
    let create = text("CREATE TABLE a (k INTEGER PRIMARY KEY, v)");
    let (columns, mut rows, end) = connection.execute_async(create, vec![]).await.expect("it runs");
    assert!(columns.is_empty() && read_all(&mut rows, 10).await.is_empty());
    end.await.expect("it is made");
    let values = || {
        vec![
            Value::Integer(i64::MIN),
            Value::Real(-0.5),
            Value::Text("Grüße".to_owned()),
            Value::Blob(vec![0, 255]),
            Value::Null,
        ]
    };
    for value in values() {
        let insert = text("INSERT INTO a (v) VALUES (?)");
        let (_, rows, end) = connection.execute_async(insert, vec![value]).await.expect("it runs");
        drop(rows);
        end.await.expect("it is inserted");
    }
    assert_eq!(counts(&connection).await, (5, 1));
    assert_eq!((connection.last_insert_rowid(), connection.changes()), (5, 1));
    let select = text("SELECT k, v AS w FROM a ORDER BY k");
    let (columns, mut rows, end) = connection.execute_async(select, vec![]).await.expect("it runs");
    assert_eq!(columns, ["k", "w"]);
    let got: Vec<_> = read_all(&mut rows, 2).await.into_iter().map(|row| row.values).collect();
    let keys = (1..).map(Value::Integer);
    let expected: Vec<_> = keys.zip(values()).map(|(key, value)| vec![key, value]).collect();
    assert_eq!(format!("{got:?}"), format!("{expected:?}"));
    end.await.expect("it came to its end");

    // The functions that are not asynchronous, on the same connection.
    let whole = connection.execute("SELECT k FROM a", &[]).expect("they are read");
    assert_eq!((whole.columns, whole.rows.len()), (vec![text("k")], 5));
    let other = Connection::open("default").expect("it is given");
    assert_eq!((other.last_insert_rowid(), other.changes()), (0, 0));

    // A statement that is wrong, and one that goes wrong in the middle.
    let error = failure(&connection, "SELECT * FROM nowhere").await;
    assert!(
        matches!(&error, (0, sqlite::Error::Io(text)) if text.starts_with("no such table: nowhere")),
        "{error:?}"
    );
    let error = failure(&connection, "INSERT INTO a VALUES (1, 2)").await;
    assert!(
        matches!(&error, (0, sqlite::Error::Io(text)) if text == "UNIQUE constraint failed: a.k"),
        "{error:?}"
    );
    let error =
        failure(&connection, "SELECT abs(column1) FROM (VALUES (1), (2), (-9223372036854775808))")
            .await;
    assert!(
        matches!(&error, (2, sqlite::Error::Io(text)) if text == "integer overflow"),
        "{error:?}"
    );
    let rest = connection.execute("SELECT 1", &[]).expect("the connection is as it was");
    assert_eq!(rest.rows.len(), 1);

    let mut open = vec![connection, other];
    let error = loop {
        match Connection::open_async(text("default")).await {
            Ok(connection) => open.push(connection),
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, sqlite::Error::Io(text) if text == "too many connections opened"));
    assert_eq!(open.len(), 256);
}

/// How many rows a statement gives before it fails, and how it fails, now or later.
async fn failure(connection: &Connection, statement: &str) -> (usize, sqlite::Error) {
    match connection.execute_async(text(statement), vec![]).await {
        Err(error) => (0, error),
        Ok((_, mut rows, end)) => {
            let rows = read_all(&mut rows, 1).await;
            (rows.len(), end.await.expect_err("it fails"))
        }
    }
}

/// The numbers from 1 to `count`, with a text of ten bytes each.
fn numbers(count: usize) -> (String, Vec<Value>) {
    let statement = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?) \
                     SELECT i, 'ten bytes.' FROM n";
    (text(statement), vec![Value::Integer(count as i64)])
}

async fn rows(count: usize) {
    let connection = Connection::open_async(text("default")).await.expect("it is given");
    let start = async || {
        let (statement, values) = numbers(count);
        connection.execute_async(statement, values).await.expect("it runs")
    };
    for piece in [1, 7, 10_000] {
        let (_, mut rows, end) = start().await;
        let got = read_all(&mut rows, piece).await;
        let is_number = |(n, row): (usize, &sqlite::RowResult)| matches!(&row.values[..], [Value::Integer(i), Value::Text(_)] if *i == n as i64 + 1);
        assert!(got.len() == count && got.iter().enumerate().all(is_number), "{}", got.len());
        end.await.expect("it came to its end");
    }
    // Two streams of one connection at once, read in turn, the later one first.
    let ((_, mut first, first_end), (_, mut second, second_end)) = (start().await, start().await);
    assert_eq!(read_all(&mut second, 1000).await.len(), count);
    assert_eq!(read_all(&mut first, 1000).await.len(), count);
    first_end.await.expect("it came to its end");
    second_end.await.expect("it came to its end");
    // Another statement between two rows.
    let (_, mut rows, end) = start().await;
    let (_, some) = rows.read(Vec::with_capacity(3)).await;
    assert!((1..=3).contains(&some.len()));
    let one = connection.execute("SELECT 1", &[]).expect("it is read");
    assert_eq!(one.rows.len(), 1);
    assert_eq!(some.len() + read_all(&mut rows, 1000).await.len(), count);
    end.await.expect("it came to its end");
    // Whoever stops in the middle gets no answer that is an accident, and the connection works on.
    let (_, mut rows, end) = start().await;
    let (_, some) = rows.read(Vec::with_capacity(5)).await;
    assert!(!some.is_empty());
    drop(rows);
    let _ = end.await;
    drop(start().await);
    let (_, rows, end) = start().await;
    drop(end);
    drop(rows);
    let one = connection.execute("SELECT 1", &[]).expect("it is read");
    assert_eq!(one.rows.len(), 1);
    // The stream outlives the connection's handle.
    let (_, mut rows, end) = start().await;
    drop(connection);
    assert_eq!(read_all(&mut rows, 1000).await.len(), count);
    end.await.expect("it came to its end");
}

async fn many(count: usize) {
    let connection = Connection::open_async(text("default")).await.expect("it is given");
    let (statement, values) = numbers(count);
    let started = connection.execute_async(statement, values).await;
    let (_, mut rows, end) = started.expect("it runs");
    let (mut got, mut is_open) = (0, true);
    while is_open {
        let (result, part) = rows.read(Vec::with_capacity(100)).await;
        got += part.len();
        is_open = matches!(result, StreamResult::Complete(_));
    }
    end.await.expect("it came to its end");
    assert_eq!(got, count);
}

async fn variables_3() {
    use variables::Error;
    let value = variables::get(text("greeting")).await.expect("it is set");
    assert_eq!(value, "hello from a variable");
    let undefined = variables::get(text("undefined")).await;
    assert!(matches!(undefined, Err(Error::Undefined(_))), "{undefined:?}");
    let wrong = variables::get(text("No Name!")).await;
    assert!(matches!(wrong, Err(Error::InvalidName(_))), "{wrong:?}");
}
