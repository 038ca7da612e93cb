//! Guests' data after the process was killed while it wrote: what was acknowledged is there.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, and its helpers, may")]

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use gyre_data::{Databases, KeyValueStores, Location, Value};
use gyre_model::Limits;

const FOLDER: &str = "GYRE_TEST_CRASH_DATA";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_kill_is_there_afterwards() {
    if let Some(dir) = env::var_os(FOLDER) {
        return write_until_killed(Path::new(&dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits::server();
    let (mut keys, mut rows) = (0, 0);
    for round in 0..6 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "what_was_acknowledged_before_a_kill_is_there_afterwards"])
            .arg("--nocapture")
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap) {
            if let Some(sum) = line.strip_prefix("key ") {
                keys = keys.max(sum.parse().unwrap());
                seen += 1;
            } else if let Some(count) = line.strip_prefix("row ") {
                rows = rows.max(count.parse().unwrap());
                seen += 1;
            }
            if seen == 40 + round * 11 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let stores = KeyValueStores::new();
        let store = stores.open(&key_value(dir.path()), "default", (&limits).into());
        let sum = i64::from_le_bytes(store.get("n").await.unwrap().unwrap().try_into().unwrap());
        assert!(sum >= keys, "{sum} where {keys} was acknowledged");
        let databases = Databases::new();
        let mut database = databases.open(&database(dir.path()), (&limits).into()).connect();
        let count = count(&mut database, "SELECT count(*) FROM t").await;
        assert!(count >= rows, "{count} where {rows} was acknowledged");
        let highest = self::count(&mut database, "SELECT max(n) FROM t").await;
        assert_eq!(highest, count, "none is missing in between");
        let check = database.execute("PRAGMA integrity_check", Vec::new()).await.unwrap();
        assert_eq!(check.rows, [[Value::Text("ok".to_owned())]]);
        drop(database);
        stores.close().await;
        databases.close().await;
        (keys, rows) = (sum, count);
    }
}

fn key_value(dir: &Path) -> Location {
    Location::file(dir.join("kv.db"))
}

fn database(dir: &Path) -> Location {
    Location::file(dir.join("app.db"))
}

async fn count(connection: &mut gyre_data::DatabaseConnection, sql: &str) -> i64 {
    let result = connection.execute(sql, Vec::new()).await.unwrap();
    match result.rows[0][0] {
        Value::Integer(n) => n,
        ref other => panic!("{other:?}"),
    }
}

fn say(word: &str, n: i64) {
    println!("{word} {n}");
    std::io::stdout().flush().unwrap();
}

async fn write_until_killed(dir: &Path) {
    let limits = Limits::server();
    let stores = KeyValueStores::new();
    let databases = Databases::new();
    for _ in 0..3 {
        let store = stores.open(&key_value(dir), "default", (&limits).into());
        tokio::spawn(async move {
            loop {
                say("key", store.increment("n", 1).await.unwrap());
            }
        });
    }
    let mut database = databases.open(&database(dir), (&limits).into()).connect();
    let create = "CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)";
    database.execute(create, Vec::new()).await.unwrap();
    loop {
        database.execute("INSERT INTO t DEFAULT VALUES", Vec::new()).await.unwrap();
        say("row", database.last_insert_rowid());
    }
}
