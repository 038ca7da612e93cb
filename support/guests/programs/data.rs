//! Uses every function of the stores, databases and variables that are not asynchronous, in every version, and answers
//! `ok`: `/kv1`, `/kv2`, `/wasi-kv`, `/sqlite1`, `/sqlite2`, `/sqlite30`, `/sqlite31`, `/config1`, `/variables2`,
//! `/wasi-config`. `/denied` says what it gets for a label that it was not given.

use guests::spin::{
    atomics, batch, config as wasi_config, key_value as kv2, keyvalue, sqlite as sqlite2, variables,
};
use guests::{Request, Responder};

mod bindings {
    #![allow(clippy::all, clippy::pedantic, reason = "bindings are written by wit-bindgen")]
    wit_bindgen::generate!({ path: "../../wit", world: "gyre:host/data", generate_all });

    pub use fermyon::spin::{config, key_value, sqlite};
    pub use spin::sqlite3_0_0::sqlite as sqlite30;
}

/// The version with asynchronous functions, as a component has it that uses none of them.
mod newest {
    #![allow(clippy::all, clippy::pedantic, reason = "bindings are written by wit-bindgen")]
    wit_bindgen::generate!({
        inline: r#"
            package guests:newest;

            world newest {
                import spin:sqlite/sqlite@3.1.0;
            }

            package spin:sqlite@3.1.0 {
                interface sqlite {
                    resource connection {
                        open: static func(database: string) -> result<connection, error>;
                        execute: func(statement: string, parameters: list<value>) -> result<query-result, error>;
                        last-insert-rowid: func() -> s64;
                        changes: func() -> u64;
                    }
                    variant error { no-such-database, access-denied, invalid-connection, database-full, io(string) }
                    record query-result { columns: list<string>, rows: list<row-result> }
                    record row-result { values: list<value> }
                    variant value { integer(s64), real(f64), text(string), blob(list<u8>), null }
                }
            }
        "#,
        generate_all,
    });

    pub use spin::sqlite::sqlite;
}

use bindings::{config as config1, key_value as kv1, sqlite as sqlite1, sqlite30};
use newest::sqlite as sqlite31;

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    match request.path().as_str() {
        "/kv1" => key_value_1(),
        "/kv2" => key_value_2(),
        "/wasi-kv" => wasi_keyvalue(),
        "/sqlite1" => sqlite_1(),
        "/sqlite2" => sqlite_2(),
        "/sqlite30" => sqlite_30(),
        "/sqlite31" => sqlite_31(),
        "/config1" => config_1(),
        "/variables2" => variables_2(),
        "/wasi-config" => wasi_configuration(),
        "/denied" => return responder.text(denied()),
        other => panic!("no part {other}"),
    }
    responder.text("ok");
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

fn denied() -> String {
    let kv1 = kv1::open("elsewhere").map(drop);
    let kv2 = kv2::Store::open("elsewhere").map(drop);
    let wasi = keyvalue::open("elsewhere").map(drop);
    let sqlite1 = sqlite1::open("elsewhere").map(drop);
    let sqlite2 = sqlite2::Connection::open("elsewhere").map(drop);
    let sqlite30 = sqlite30::Connection::open("elsewhere").map(drop);
    let sqlite31 = sqlite31::Connection::open("elsewhere").map(drop);
    [
        format!("{kv1:?} {kv2:?} {wasi:?}"),
        format!("{sqlite1:?} {sqlite2:?} {sqlite30:?} {sqlite31:?}"),
    ]
    .join("\n")
}

fn key_value_1() {
    use kv1::Error;
    let store = kv1::open("default").expect("it is given");
    let key = "kv1/ä";
    assert!(matches!(kv1::get(store, key), Err(Error::NoSuchKey)));
    assert!(matches!(kv1::exists(store, key), Ok(false)));
    kv1::set(store, key, b"value").expect("it is set");
    kv1::set(store, "kv1/empty", b"").expect("it is set");
    assert_eq!(kv1::get(store, key).expect("it is there"), b"value");
    assert_eq!(kv1::get(store, "kv1/empty").expect("it is there"), b"");
    assert!(matches!(kv1::exists(store, key), Ok(true)));
    let keys = kv1::get_keys(store).expect("they are listed");
    assert_eq!(sorted(keys), ["kv1/empty", key]);
    kv1::delete(store, key).expect("it is deleted");
    kv1::delete(store, key).expect("once more is no error");
    kv1::delete(store, "kv1/empty").expect("it is deleted");
    assert!(kv1::get_keys(store).expect("they are listed").is_empty());
    // Two handles of one store, each closed by itself.
    let other = kv1::open("default").expect("it is given");
    kv1::set(other, key, &[0, 255]).expect("it is set");
    kv1::close(other);
    assert_eq!(kv1::get(store, key).expect("it is there"), [0, 255]);
    kv1::delete(store, key).expect("it is deleted");
    kv1::close(store);
    kv1::close(store);
    for store in [store, 4_000_000_000] {
        assert!(matches!(kv1::get(store, key), Err(Error::InvalidStore)));
        assert!(matches!(kv1::set(store, key, b""), Err(Error::InvalidStore)));
        assert!(matches!(kv1::delete(store, key), Err(Error::InvalidStore)));
        assert!(matches!(kv1::exists(store, key), Err(Error::InvalidStore)));
        assert!(matches!(kv1::get_keys(store), Err(Error::InvalidStore)));
    }
}

fn key_value_2() {
    let store = kv2::Store::open("default").expect("it is given");
    assert!(matches!(store.get("kv2/a"), Ok(None)));
    assert!(matches!(store.exists("kv2/a"), Ok(false)));
    store.set("kv2/a", b"value").expect("it is set");
    assert_eq!(store.get("kv2/a").expect("it is read"), Some(b"value".to_vec()));
    assert!(matches!(store.exists("kv2/a"), Ok(true)));
    assert_eq!(store.get_keys().expect("they are listed"), ["kv2/a"]);
    store.delete("kv2/a").expect("it is deleted");
    store.delete("kv2/a").expect("once more is no error");
    assert!(store.get_keys().expect("they are listed").is_empty());
}

fn wasi_keyvalue() {
    use keyvalue::Error;
    let bucket = keyvalue::open("default").expect("it is given");
    assert!(matches!(bucket.get("w/a"), Ok(None)));
    bucket.set("w/a", b"1").expect("it is set");
    assert_eq!(bucket.get("w/a").expect("it is read"), Some(b"1".to_vec()));
    assert!(matches!((bucket.exists("w/a"), bucket.exists("w/b")), (Ok(true), Ok(false))));
    let listed = bucket.list_keys(None).expect("they are listed");
    assert_eq!((listed.keys, listed.cursor), (strings(&["w/a"]), None));
    let Err(Error::Other(text)) = bucket.list_keys(Some("0")) else { panic!("a cursor") };
    assert_eq!(text, "list_keys: cursor not supported");
    bucket.delete("w/a").expect("it is deleted");
    bucket.delete("w/a").expect("once more is no error");

    let pairs = [("w/x".to_owned(), b"1".to_vec()), ("w/y".to_owned(), b"2".to_vec())];
    batch::set_many(&bucket, &pairs).expect("they are set");
    let keys = strings(&["w/x", "w/none", "w/y"]);
    let mut got = batch::get_many(&bucket, &keys).expect("they are read");
    got.sort();
    let expected = pairs.map(|(key, value)| (key, Some(value)));
    assert_eq!(got, expected);
    batch::delete_many(&bucket, &keys).expect("they are deleted");
    assert!(bucket.list_keys(None).expect("they are listed").keys.is_empty());

    assert_eq!(atomics::increment(&bucket, "w/n", 5).expect("it counts"), 5);
    assert_eq!(atomics::increment(&bucket, "w/n", -7).expect("it counts"), -2);
    let stored = bucket.get("w/n").expect("it is read");
    assert_eq!(stored, Some((-2_i64).to_le_bytes().to_vec()));
    bucket.set("w/n", b"short").expect("it is set");
    assert!(matches!(atomics::increment(&bucket, "w/n", 1), Err(Error::Other(_))));

    use atomics::{Cas, CasError};
    let cas = Cas::new(&bucket, "w/n").expect("it is made");
    assert_eq!(cas.current().expect("it is read"), Some(b"short".to_vec()));
    atomics::swap(cas, b"new").expect("nobody came between");
    let cas = Cas::new(&bucket, "w/n").expect("it is made");
    assert_eq!(cas.current().expect("it is read"), Some(b"new".to_vec()));
    bucket.set("w/n", b"between").expect("it is set");
    let Err(CasError::CasFailed(again)) = atomics::swap(cas, b"lost") else { panic!("it lost") };
    assert_eq!(again.current().expect("it is read"), Some(b"between".to_vec()));
    atomics::swap(again, b"won").expect("nobody came between");
    // Without having looked, any value is replaced.
    let blind = Cas::new(&bucket, "w/n").expect("it is made");
    atomics::swap(blind, b"blind").expect("it looks at nothing");
    assert_eq!(bucket.get("w/n").expect("it is read"), Some(b"blind".to_vec()));
    bucket.delete("w/n").expect("it is deleted");
}

/// What all versions of the interface of databases do, with `$execute` as the way to a statement.
macro_rules! statements {
    ($sqlite:ident, $table:literal, $execute:expr) => {{
        use $sqlite::{Error, Value};
        let execute = $execute;
        execute(concat!("CREATE TABLE ", $table, " (k INTEGER PRIMARY KEY, v)"), &[]).expect("made");
        let values = [
            Value::Integer(i64::MIN),
            Value::Real(-0.5),
            Value::Text("Grüße".to_owned()),
            Value::Blob(vec![0, 255]),
            Value::Null,
        ];
        for value in &values {
            let insert = concat!("INSERT INTO ", $table, " (v) VALUES (?)");
            let result = execute(insert, std::slice::from_ref(value)).expect("inserted");
            assert!(result.rows.is_empty() && result.columns.is_empty());
        }
        let all = execute(concat!("SELECT k, v AS w FROM ", $table, " ORDER BY k"), &[]);
        let all = all.expect("they are read");
        assert_eq!(all.columns, ["k", "w"]);
        for (n, (row, value)) in all.rows.iter().zip(&values).enumerate() {
            assert!(matches!(&row.values[0], Value::Integer(k) if *k == n as i64 + 1));
            assert_eq!(format!("{:?}", row.values[1]), format!("{value:?}"));
        }
        assert_eq!(all.rows.len(), values.len());
        let none = execute(concat!("SELECT k FROM ", $table, " WHERE k > ?"), &[Value::Integer(99)]);
        let none = none.expect("they are read");
        assert!(none.rows.is_empty() && none.columns == ["k"]);
        let twice = execute(concat!("INSERT INTO ", $table, " VALUES (1, 2)"), &[]);
        let Err(Error::Io(text)) = twice else { panic!("{twice:?}") };
        assert_eq!(text, concat!("UNIQUE constraint failed: ", $table, ".k"));
        let wrong = execute("SELECT * FROM nowhere", &[]);
        let Err(Error::Io(text)) = wrong else { panic!("{wrong:?}") };
        assert!(text.starts_with("no such table: nowhere"), "{text}");
        let few = execute("SELECT ?, ?", &[Value::Null]);
        let Err(Error::Io(text)) = few else { panic!("{few:?}") };
        assert_eq!(text, "Wrong number of parameters passed to query. Got 1, needed 2");
    }};
}

/// `$open` until it gives no more; what was opened is let go.
macro_rules! most {
    ($sqlite:ident, $open:expr) => {{
        let mut open = Vec::new();
        let error = loop {
            match $open {
                Ok(connection) => open.push(connection),
                Err(error) => break error,
            }
        };
        let $sqlite::Error::Io(text) = error else { panic!("{error:?}") };
        assert_eq!(text, "too many connections opened");
        open
    }};
}

fn sqlite_1() {
    use sqlite1::Error;
    let connection = sqlite1::open("default").expect("it is given");
    statements!(sqlite1, "one", |text: &str, values: &[sqlite1::Value]| sqlite1::execute(
        connection, text, values
    ));
    let open = most!(sqlite1, sqlite1::open("default"));
    assert_eq!(open.len(), 255);
    for connection in open {
        sqlite1::close(connection);
    }
    sqlite1::close(connection);
    sqlite1::close(connection);
    for connection in [connection, 4_000_000_000] {
        let result = sqlite1::execute(connection, "SELECT 1", &[]);
        assert!(matches!(result, Err(Error::InvalidConnection)), "{result:?}");
    }
    sqlite1::close(sqlite1::open("default").expect("there is room again"));
}

fn sqlite_2() {
    let connection = sqlite2::Connection::open("default").expect("it is given");
    statements!(sqlite2, "two", |text: &str, values: &[sqlite2::Value]| connection
        .execute(text, values));
    let open = most!(sqlite2, sqlite2::Connection::open("default"));
    assert_eq!(open.len(), 255);
    drop(open);
    drop(sqlite2::Connection::open("default").expect("there is room again"));
}

/// What came with version 3.
macro_rules! since_3 {
    ($sqlite:ident, $table:literal) => {{
        let connection = $sqlite::Connection::open("default").expect("it is given");
        assert_eq!((connection.last_insert_rowid(), connection.changes()), (0, 0));
        statements!($sqlite, $table, |text: &str, values: &[$sqlite::Value]| connection
            .execute(text, values));
        // The last one that was to change anything failed.
        assert_eq!((connection.last_insert_rowid(), connection.changes()), (5, 0));
        let update = concat!("UPDATE ", $table, " SET v = 0 WHERE k < 4");
        connection.execute(update, &[]).expect("it is done");
        assert_eq!((connection.last_insert_rowid(), connection.changes()), (5, 3));
        let open = most!($sqlite, $sqlite::Connection::open("default"));
        assert_eq!(open.len(), 255);
    }};
}

fn sqlite_30() {
    since_3!(sqlite30, "three");
}

fn sqlite_31() {
    since_3!(sqlite31, "three_one");
}

fn config_1() {
    use config1::Error;
    assert_eq!(config1::get_config("greeting").expect("it is set"), "hello from a variable");
    let undefined = config1::get_config("undefined");
    assert!(matches!(undefined, Err(Error::Provider(_))), "{undefined:?}");
    let wrong = config1::get_config("No Name!");
    assert!(matches!(wrong, Err(Error::InvalidKey(_))), "{wrong:?}");
}

fn variables_2() {
    use variables::Error;
    assert_eq!(variables::get("greeting").expect("it is set"), "hello from a variable");
    let undefined = variables::get("undefined");
    assert!(matches!(undefined, Err(Error::Undefined(_))), "{undefined:?}");
    let wrong = variables::get("No Name!");
    assert!(matches!(wrong, Err(Error::InvalidName(_))), "{wrong:?}");
}

fn wasi_configuration() {
    let value = wasi_config::get("greeting").expect("it is read");
    assert_eq!(value.as_deref(), Some("hello from a variable"));
    assert!(matches!(wasi_config::get("undefined"), Ok(None)));
    assert!(matches!(wasi_config::get("No Name!"), Ok(None)));
    let all = wasi_config::get_all().expect("they are read");
    assert_eq!(all, [("greeting".to_owned(), "hello from a variable".to_owned())]);
}
