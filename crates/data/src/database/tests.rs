//! What databases promise to guests, and what hostile guests get.

use std::time::Duration;

use gyre_model::Limits;
use tempfile::TempDir;

use super::*;

struct Fixture {
    dir: TempDir,
    databases: Databases,
    limits: DatabaseLimits,
}

impl Fixture {
    /// With the limits of a server, and little time.
    fn new() -> Self {
        let mut limits: DatabaseLimits = (&Limits::server()).into();
        limits.statement_time = Some(Duration::from_millis(300));
        Self::with(limits)
    }

    fn with(limits: DatabaseLimits) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), databases: Databases::new(), limits }
    }

    fn database(&self) -> Database {
        let path = self.dir.path().join("deep/app.db");
        self.databases.open(&Location::file(path), self.limits)
    }

    fn connect(&self) -> DatabaseConnection {
        self.database().connect()
    }
}

async fn rows(connection: &mut DatabaseConnection, sql: &str) -> Vec<Vec<Value>> {
    connection.execute(sql, Vec::new()).await.unwrap_or_else(|e| panic!("{sql}: {e}")).rows
}

async fn error(connection: &mut DatabaseConnection, sql: &str) -> DatabaseError {
    match connection.execute(sql, Vec::new()).await {
        Ok(result) => panic!("{sql} gave {result:?}"),
        Err(error) => error,
    }
}

fn int(n: i64) -> Vec<Vec<Value>> {
    vec![vec![Value::Integer(n)]]
}

#[tokio::test]
async fn values_of_every_type_come_back_as_they_were_given() {
    let fixture = Fixture::new();
    let mut connection = fixture.connect();
    rows(&mut connection, "CREATE TABLE t (id INTEGER PRIMARY KEY, v)").await;
    let values = [
        Value::Integer(i64::MIN),
        Value::Real(0.5),
        Value::Text("grüße\0".to_owned()),
        Value::Blob(vec![0, 255]),
        Value::Null,
    ];
    for (n, value) in (1..).zip(&values) {
        let insert = "INSERT INTO t (v) VALUES (?1)";
        connection.execute(insert, vec![value.clone()]).await.unwrap();
        assert_eq!((connection.last_insert_rowid(), connection.changes()), (n, 1));
    }
    let result = connection.execute("SELECT v AS w FROM t ORDER BY id", Vec::new()).await.unwrap();
    assert_eq!(result.columns, ["w"]);
    assert_eq!(result.rows, values.map(|value| vec![value]));
    let returned = rows(&mut connection, "DELETE FROM t RETURNING id").await;
    assert_eq!((returned.len(), connection.changes()), (5, 5));
}

#[tokio::test]
async fn a_mistake_is_reported_in_the_words_of_sqlite() {
    let fixture = Fixture::new();
    let mut connection = fixture.connect();
    for (sql, text) in [
        ("SELECT * FROM nowhere", "no such table: nowhere"),
        ("SELEC 1", "near \"SELEC\": syntax error"),
        ("SELECT ?1", "Wrong number of parameters passed to query. Got 0, needed 1"),
    ] {
        // The first time on the pool, then in place.
        for _ in 0..2 {
            let error = error(&mut connection, sql).await.to_string();
            assert!(error.contains(text), "{sql}: {error}");
        }
    }
    assert!(connection.execute("SELECT 1", vec![Value::Null]).await.is_err());
    error(&mut connection, "SELECT 1; SELECT 2").await;
}

#[tokio::test]
async fn a_transaction_is_its_connections_own_until_it_is_committed() {
    let fixture = Fixture::new();
    let (mut one, mut two) = (fixture.connect(), fixture.connect());
    rows(&mut one, "CREATE TABLE t (n)").await;
    rows(&mut one, "BEGIN").await;
    rows(&mut one, "INSERT INTO t VALUES (1)").await;
    assert_eq!(rows(&mut one, "SELECT count(*) FROM t").await, int(1));
    assert_eq!(rows(&mut two, "SELECT count(*) FROM t").await, int(0));
    rows(&mut one, "COMMIT").await;
    assert_eq!(rows(&mut two, "SELECT count(*) FROM t").await, int(1));
    // What was begun and never committed goes with the connection.
    rows(&mut one, "BEGIN IMMEDIATE").await;
    rows(&mut one, "DELETE FROM t").await;
    drop(one);
    rows(&mut two, "INSERT INTO t VALUES (2)").await;
    assert_eq!(rows(&mut two, "SELECT count(*) FROM t").await, int(2));
}

#[tokio::test]
async fn writers_wait_for_each_other_also_for_one_in_a_transaction() {
    let fixture = Fixture::new();
    let mut holder = fixture.connect();
    rows(&mut holder, "CREATE TABLE t (n)").await;
    rows(&mut holder, "BEGIN IMMEDIATE").await;
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let mut connection = fixture.connect();
            tokio::spawn(async move { rows(&mut connection, "INSERT INTO t VALUES (1)").await })
        })
        .collect();
    // The others are waiting, or about to: the one they wait for gets through all the same.
    for _ in 0..5 {
        tokio::task::yield_now().await;
        rows(&mut holder, "INSERT INTO t VALUES (2)").await;
    }
    rows(&mut holder, "COMMIT").await;
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(rows(&mut holder, "SELECT count(*) FROM t").await, int(15));
}

#[tokio::test]
async fn slow_statements_of_one_database_leave_threads_for_another() {
    let mut fixture = Fixture::new();
    fixture.limits.statement_time = Some(Duration::from_secs(5));
    rows(&mut fixture.connect(), "CREATE TABLE t (n)").await;
    let forever = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)
        SELECT count(*) FROM r";
    // Also from within transactions.
    let mut slow = tokio::task::JoinSet::new();
    for n in 0..64 {
        let mut connection = fixture.connect();
        slow.spawn(async move {
            if n % 2 == 0 {
                rows(&mut connection, "BEGIN").await;
            }
            let _ = connection.execute(forever, Vec::new()).await;
        });
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let other = Location::file(fixture.dir.path().join("other.db"));
    let mut other = fixture.databases.open(&other, fixture.limits).connect();
    rows(&mut other, "CREATE TABLE t (n)").await;
    rows(&mut other, "INSERT INTO t VALUES (1)").await;
    assert_eq!(slow.try_join_next().map(Result::unwrap), None, "all are still at it");
    slow.shutdown().await;
}

#[tokio::test]
async fn the_next_guest_finds_a_connection_as_if_it_were_new() {
    let fixture = Fixture::new();
    let database = fixture.database();
    for spoil in [
        "CREATE TEMP TABLE secret AS SELECT 1",
        "PRAGMA foreign_keys = OFF",
        "PRAGMA case_sensitive_like = ON",
        "BEGIN",
        "SAVEPOINT s",
        "CREATE TABLE IF NOT EXISTS t (n)",
        "SELECT 1",
    ] {
        let mut connection = database.connect();
        rows(&mut connection, spoil).await;
        drop(connection);
        let mut next = database.connect();
        assert_eq!(next.last_insert_rowid(), 0);
        assert_eq!(rows(&mut next, "PRAGMA foreign_keys").await, int(1), "{spoil}");
        assert_eq!(rows(&mut next, "SELECT 'a' LIKE 'A'").await, int(1), "{spoil}");
        error(&mut next, "SELECT * FROM secret").await;
        error(&mut next, "ROLLBACK").await;
    }
}

#[tokio::test]
async fn a_database_in_memory_is_each_connections_own() {
    let fixture = Fixture::new();
    let database = fixture.databases.open(&Location::Memory, fixture.limits);
    let mut one = database.connect();
    rows(&mut one, "CREATE TABLE t (n)").await;
    rows(&mut one, "INSERT INTO t VALUES (7)").await;
    assert_eq!(rows(&mut one, "SELECT n FROM t").await, int(7));
    error(&mut database.connect(), "SELECT n FROM t").await;
    drop(one);
    error(&mut database.connect(), "SELECT n FROM t").await;
}

#[tokio::test]
async fn a_statement_without_end_is_ended_at_its_time_and_the_database_goes_on() {
    let fixture = Fixture::new();
    let mut connection = fixture.connect();
    rows(&mut connection, "CREATE TABLE t (n)").await;
    let forever = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)";
    for sql in [
        format!("{forever} SELECT count(*) FROM r"),
        format!("INSERT INTO t {forever} SELECT n FROM r"),
        format!("{forever} SELECT sum(instr(hex(zeroblob(100000)), n || 'x')) FROM r"),
    ] {
        let error = error(&mut connection, &sql).await;
        assert_eq!(error, DatabaseError::TooSlow { limit: Duration::from_millis(300) }, "{sql}");
        assert_eq!(rows(&mut connection, "SELECT count(*) FROM t").await, int(0));
    }
}

#[tokio::test]
async fn a_query_that_is_long_for_the_executor_is_moved_off_it() {
    let fixture = Fixture::with((&Limits::unlimited()).into());
    let mut connection = fixture.connect();
    rows(&mut connection, "SELECT 1").await;
    let long = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 3000000)
        SELECT count(*) FROM r";
    // While it runs, this thread, the only one, does other things.
    let (query, turns) = {
        let query = connection.execute(long, Vec::new());
        tokio::pin!(query);
        let mut turns = 0u64;
        loop {
            tokio::select! {
                biased;
                result = &mut query => break (result, turns),
                () = tokio::task::yield_now() => turns += 1,
            }
        }
    };
    assert_eq!(query.unwrap().rows, int(3_000_000));
    assert!(turns > 10, "{turns}");
}

#[tokio::test]
async fn a_short_query_is_answered_where_it_is_asked() {
    let fixture = Fixture::new();
    let database = fixture.database();
    let mut connection = database.connect();
    rows(&mut connection, "CREATE TABLE t (id INTEGER PRIMARY KEY, n)").await;
    rows(&mut connection, "INSERT INTO t VALUES (1, 42)").await;
    drop(connection);
    // Also by the next guest, whose connection is the one before.
    let mut connection = database.connect();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let query = connection.execute("SELECT n FROM t WHERE id = ?1", vec![Value::Integer(1)]);
    match std::pin::pin!(query).poll(&mut context) {
        std::task::Poll::Ready(result) => assert_eq!(result.unwrap().rows, int(42)),
        std::task::Poll::Pending => panic!("it went to another thread"),
    }
}

#[tokio::test]
async fn a_statement_nobody_waits_for_is_ended_and_undone() {
    let fixture = Fixture::with((&Limits::unlimited()).into());
    let mut connection = fixture.connect();
    rows(&mut connection, "CREATE TABLE t (n)").await;
    let forever = "INSERT INTO t WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n FROM r)
        SELECT n FROM r";
    let abandoned =
        tokio::time::timeout(Duration::from_millis(50), connection.execute(forever, Vec::new()));
    abandoned.await.unwrap_err();
    // It held the right to write: if it still ran, this would wait for ever.
    rows(&mut connection, "INSERT INTO t VALUES (1)").await;
    assert_eq!(rows(&mut connection, "SELECT count(*) FROM t").await, int(1));
}

#[tokio::test]
async fn values_rows_results_and_statements_end_at_their_limits() {
    let fixture = Fixture::new();
    let mut connection = fixture.connect();
    for sql in [
        "SELECT length(randomblob(2000000000))",
        "SELECT zeroblob(17000000)",
        "SELECT replace(hex(zeroblob(1000000)), '0', 'xxxxxxxxxx')",
        "SELECT printf('%.*c', 100000000, 'x')",
    ] {
        for _ in 0..2 {
            let text = error(&mut connection, sql).await.to_string();
            assert!(text.contains("too big"), "{sql}: {text}");
        }
    }
    // Longer than what is handled in place, and within the limit.
    assert_eq!(
        rows(&mut connection, "SELECT length(hex(zeroblob(4000000)))").await,
        int(8_000_000)
    );
    let result = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 30)
        SELECT zeroblob(1000000) FROM r";
    let text = error(&mut connection, result).await.to_string();
    assert_eq!(text, "query result exceeds limit of 16777216 bytes");
    let statement = format!("SELECT '{}'", "x".repeat(1 << 20));
    let text = error(&mut connection, &statement).await.to_string();
    assert_eq!(text, "statement exceeds limit of 1048576 bytes");
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    error(&mut connection, &deep).await;
}

#[tokio::test]
async fn a_confined_guest_reaches_nothing_but_its_database() {
    let fixture = Fixture::new();
    let mut connection = fixture.connect();
    let file = fixture.dir.path().join("other.db");
    let attach = format!("ATTACH '{}' AS other", file.display());
    for sql in [
        attach.as_str(),
        "ATTACH '/etc/passwd' AS p",
        "ATTACH 'file:/etc/passwd?mode=ro' AS p",
        "ATTACH ':memory:' AS m",
        "ATTACH '' AS m",
        "SELECT load_extension('/lib/libc.so.6')",
        "PRAGMA max_page_count = 1000000000",
        "PRAGMA main.max_page_count(1000000000)",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA synchronous = OFF",
        "PRAGMA temp_store = FILE",
        "PRAGMA cache_size = -1000000000",
        "PRAGMA mmap_size = 1000000000",
        "PRAGMA writable_schema = ON",
        "PRAGMA database_list",
        "PRAGMA hard_heap_limit = 1000",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA wal_autocheckpoint = 0",
        "VACUUM",
        "VACUUM INTO '/tmp/gyre-test-should-not-exist.db'",
        "CREATE VIRTUAL TABLE v USING dbstat",
        "SELECT * FROM pragma_database_list",
        "SELECT fts3_tokenizer('simple')",
        "CREATE TABLE sqlite_x (n)",
        "UPDATE sqlite_schema SET sql = ''",
    ] {
        for _ in 0..2 {
            error(&mut connection, sql).await;
        }
    }
    assert!(!file.exists());
    rows(&mut connection, "CREATE TABLE t (a REFERENCES t (a), b)").await;
    for sql in [
        "PRAGMA table_info(t)",
        "SELECT * FROM pragma_table_info('t')",
        "PRAGMA user_version = 3",
        "PRAGMA foreign_keys = ON",
        "PRAGMA journal_mode = WAL",
        "PRAGMA integrity_check",
        "CREATE VIRTUAL TABLE f USING fts5 (body)",
        "SELECT json_extract('{\"a\":1}', '$.a')",
        "EXPLAIN QUERY PLAN SELECT * FROM t",
        "ANALYZE",
        "REINDEX",
    ] {
        rows(&mut connection, sql).await;
    }
    assert_eq!(rows(&mut connection, "PRAGMA user_version").await, int(3));
}

#[tokio::test]
async fn a_developers_own_guest_may_do_what_spin_lets_it() {
    let fixture = Fixture::with((&Limits::unlimited()).into());
    let mut connection = fixture.connect();
    rows(&mut connection, "ATTACH ':memory:' AS m").await;
    rows(&mut connection, "PRAGMA cache_size = -10000").await;
    rows(&mut connection, "CREATE TABLE t (n)").await;
    rows(&mut connection, "VACUUM").await;
    for sql in ["ATTACH '/etc/passwd' AS p", "VACUUM INTO '/tmp/gyre-test-should-not-exist.db'"] {
        let text = error(&mut connection, sql).await.to_string();
        assert!(text.contains("authoriz"), "{text}");
    }
}

#[tokio::test]
async fn a_full_database_refuses_what_does_not_fit_and_keeps_the_rest() {
    let mut fixture = Fixture::new();
    fixture.limits.database_bytes = Some(256 << 10);
    let mut connection = fixture.connect();
    rows(&mut connection, "CREATE TABLE t (b)").await;
    let insert = "INSERT INTO t VALUES (zeroblob(10000))";
    let mut fitted = 0;
    let full = loop {
        match connection.execute(insert, Vec::new()).await {
            Ok(_) => fitted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full, DatabaseError::Full);
    assert!((10..26).contains(&fitted), "{fitted}");
    assert_eq!(rows(&mut connection, "SELECT count(*) FROM t").await, int(fitted));
    rows(&mut connection, "DELETE FROM t").await;
    rows(&mut connection, insert).await;
    // Nor do temporary tables give more room.
    let temporary = "CREATE TEMP TABLE big AS
        WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 1000)
        SELECT zeroblob(10000) FROM r";
    assert_eq!(error(&mut connection, temporary).await, DatabaseError::Full);
}

#[tokio::test]
async fn a_sort_that_would_take_all_memory_is_ended() {
    let fixture = Fixture::new();
    let mut connection = fixture.connect();
    let greedy = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)
        SELECT length(b) FROM (SELECT randomblob(4000000) AS b FROM r ORDER BY b)";
    let error = error(&mut connection, greedy).await;
    assert!(
        matches!(error, DatabaseError::OutOfMemory | DatabaseError::TooSlow { .. }),
        "{error:?}"
    );
    rows(&mut connection, "SELECT 1").await;
}

#[tokio::test]
async fn a_malformed_file_is_an_error_and_stays_as_it_is() {
    let fixture = Fixture::new();
    let path = fixture.dir.path().join("bad.db");
    let garbage = b"SQLite format 3\0 and then nothing that makes sense ".repeat(100);
    fs_err::write(&path, &garbage).unwrap();
    let mut connection = fixture.databases.open(&Location::file(&path), fixture.limits).connect();
    for _ in 0..3 {
        error(&mut connection, "SELECT * FROM sqlite_schema").await;
        error(&mut connection, "CREATE TABLE t (n)").await;
    }
    assert_eq!(fs_err::read(&path).unwrap(), garbage);
    // A file that was good, with damage inside: whatever it says, nothing breaks.
    let good = fixture.dir.path().join("deep/app.db");
    let mut connection = fixture.connect();
    rows(&mut connection, "CREATE TABLE t (n, b)").await;
    for _ in 0..50 {
        rows(&mut connection, "INSERT INTO t VALUES (1, randomblob(3000))").await;
    }
    drop(connection);
    fixture.databases.close().await;
    let bytes = fs_err::read(&good).unwrap();
    for at in (100..bytes.len()).step_by(bytes.len() / 40) {
        let mut bad = bytes.clone();
        for byte in &mut bad[at..(at + 24).min(bytes.len())] {
            *byte ^= 0x5a;
        }
        let path = fixture.dir.path().join(format!("bad-{at}.db"));
        fs_err::write(&path, &bad).unwrap();
        let mut one = fixture.databases.open(&Location::file(&path), fixture.limits).connect();
        for sql in [
            "SELECT count(*), sum(length(b)) FROM t",
            "INSERT INTO t VALUES (2, zeroblob(9000))",
            "DELETE FROM t WHERE n = 1",
            "PRAGMA integrity_check",
        ] {
            let _ = one.execute(sql, Vec::new()).await;
        }
    }
}

#[tokio::test]
async fn a_log_held_open_by_a_reader_does_not_grow_without_end() {
    let mut fixture = Fixture::new();
    fixture.limits.database_bytes = Some(1 << 20);
    fixture.limits.statement_time = Some(Duration::from_secs(5));
    let (mut reader, mut writer) = (fixture.connect(), fixture.connect());
    rows(&mut writer, "CREATE TABLE t (id INTEGER PRIMARY KEY, b)").await;
    rows(&mut writer, "INSERT INTO t VALUES (1, zeroblob(800000))").await;
    rows(&mut reader, "BEGIN").await;
    rows(&mut reader, "SELECT count(*) FROM t").await;
    let rewrite = "UPDATE t SET b = randomblob(800000)";
    let log = fixture.dir.path().join("deep/app.db-wal");
    let mut refused = 0;
    for _ in 0..130 {
        refused += u32::from(writer.execute(rewrite, Vec::new()).await.is_err());
    }
    let length = fs_err::metadata(&log).unwrap().len();
    assert!(length < 68 << 20, "{length}");
    assert!(refused > 10, "{refused}");
    rows(&mut reader, "COMMIT").await;
    rows(&mut writer, rewrite).await;
    assert!(fs_err::metadata(&log).unwrap().len() < 8 << 20);
}

#[tokio::test]
async fn closing_leaves_one_file_that_holds_everything() {
    let fixture = Fixture::new();
    let mut connection = fixture.connect();
    rows(&mut connection, "CREATE TABLE t (n)").await;
    let mut held = fixture.connect();
    rows(&mut held, "INSERT INTO t VALUES (1)").await;
    drop(connection);
    fixture.databases.close().await;
    assert_eq!(error(&mut held, "SELECT 1").await, DatabaseError::Closed);
    drop(held);
    let folder = fixture.dir.path().join("deep");
    // What was in use is closed when it is let go, on another thread.
    while fs_err::read_dir(&folder).unwrap().count() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rows(&mut fixture.connect(), "SELECT n FROM t").await, int(1));
}

#[tokio::test]
async fn files_are_attached_where_the_operator_lets_them() {
    let mut fixture = Fixture::with((&Limits::unlimited()).into());
    let other = fixture.dir.path().join("other.db");
    let attach = format!("ATTACH '{}' AS other", other.display());
    let refused = error(&mut fixture.connect(), &attach).await;
    assert!(refused.to_string().contains("not authorized"), "{refused}");
    assert!(!other.exists());
    fixture.limits.may_attach_files = true;
    let mut connection = fixture.connect();
    rows(&mut connection, &attach).await;
    rows(&mut connection, "CREATE TABLE other.t (n)").await;
    assert!(other.exists());
    // Who is confined may not, whatever else is said.
    let mut limits: DatabaseLimits = (&Limits::server()).into();
    limits.may_attach_files = true;
    let confined = Fixture::with(limits);
    error(&mut confined.connect(), &attach).await;
}

/// What every engine promises of statements on one connection.
async fn keeps_the_contract(database: &Database) {
    let mut connection = database.connect();
    rows(&mut connection, "CREATE TABLE t (id INTEGER PRIMARY KEY, v)").await;
    assert_eq!((connection.last_insert_rowid(), connection.changes()), (0, 0));
    let values = [
        Value::Integer(i64::MIN),
        Value::Integer(i64::MAX),
        Value::Real(0.1),
        Value::Real(-1e300),
        Value::Real(3.0),
        Value::Text("grüße\0\n\"".to_owned()),
        Value::Text(String::new()),
        Value::Blob(vec![0, 255, 1]),
        Value::Blob(vec![0, 255]),
        Value::Blob(Vec::new()),
        Value::Null,
    ];
    for (n, value) in (1..).zip(&values) {
        let insert = "INSERT INTO t (v) VALUES (?1)";
        connection.execute(insert, vec![value.clone()]).await.unwrap();
        assert_eq!((connection.last_insert_rowid(), connection.changes()), (n, 1));
    }
    let result = connection.execute("SELECT v AS w FROM t ORDER BY id", Vec::new()).await.unwrap();
    assert_eq!(result.columns, ["w"]);
    let all = values.len() as u64;
    assert_eq!(result.rows, values.map(|value| vec![value]));
    assert_eq!((connection.last_insert_rowid(), connection.changes()), (all as i64, 1));
    rows(&mut connection, "UPDATE t SET v = 1").await;
    assert_eq!((connection.last_insert_rowid(), connection.changes()), (all as i64, all));
    rows(&mut connection, "DELETE FROM t WHERE id = -1").await;
    assert_eq!(connection.changes(), 0);
    let returned = rows(&mut connection, "DELETE FROM t RETURNING id").await;
    assert_eq!((returned.len() as u64, connection.changes()), (all, all));

    for (wrong, says) in [
        ("SELECT * FROM nowhere", "no such table: nowhere"),
        ("SELEC 1", "syntax error"),
        ("INSERT INTO t (id, v) VALUES (1, 1), (1, 2)", "UNIQUE constraint failed"),
    ] {
        let error = error(&mut connection, wrong).await;
        assert!(matches!(&error, DatabaseError::Other(text) if text.contains(says)), "{error:?}");
    }
    connection.execute("SELECT ?1, ?2", vec![Value::Null]).await.unwrap_err();
    connection.execute("SELECT 1", vec![Value::Null]).await.unwrap_err();

    // A transaction and a temporary table are their connection's own.
    rows(&mut connection, "BEGIN").await;
    rows(&mut connection, "INSERT INTO t (v) VALUES (1)").await;
    rows(&mut connection, "CREATE TEMP TABLE own (n)").await;
    let mut other = database.connect();
    assert_eq!(rows(&mut other, "SELECT count(*) FROM t").await, int(0));
    error(&mut other, "SELECT * FROM own").await;
    rows(&mut connection, "COMMIT").await;
    assert_eq!(rows(&mut other, "SELECT count(*) FROM t").await, int(1));
    rows(&mut other, "BEGIN").await;
    rows(&mut other, "DELETE FROM t").await;
    drop(other);
    assert_eq!(rows(&mut connection, "SELECT count(*) FROM t").await, int(1));

    connection.execute_batch("CREATE TABLE u (n); INSERT INTO u VALUES (3);").await.unwrap();
    assert_eq!(rows(&mut connection, "SELECT n FROM u").await, int(3));
    let error = connection.execute_batch("INSERT INTO u VALUES (4); nonsense;").await.unwrap_err();
    assert!(error.to_string().contains("nonsense"), "{error}");
    assert_eq!(rows(&mut connection, "SELECT count(*) FROM u").await, int(2));
}

fn libsql(server: &gyre_testkit::LibsqlDouble, limits: DatabaseLimits) -> Database {
    Database::libsql(&server.url(), server.token().to_owned().into(), limits).unwrap()
}

#[tokio::test]
async fn every_engine_keeps_the_contract() {
    let limits: DatabaseLimits = (&Limits::unlimited()).into();
    keeps_the_contract(&Fixture::with(limits).database()).await;
    let server = gyre_testkit::LibsqlDouble::start();
    keeps_the_contract(&libsql(&server, limits)).await;
}

#[tokio::test]
async fn a_servers_streams_are_closed_and_opened_again() {
    let server = gyre_testkit::LibsqlDouble::start();
    let database = libsql(&server, (&Limits::unlimited()).into());
    let mut connection = database.connect();
    assert_eq!(server.requests(), 0);
    rows(&mut connection, "CREATE TABLE t (n)").await;
    rows(&mut connection, "INSERT INTO t VALUES (1)").await;
    assert_eq!((server.streams(), server.requests()), (1, 2));
    // Nothing depended on the stream: another one takes its place, and the statement runs once.
    server.expire();
    rows(&mut connection, "INSERT INTO t VALUES (2)").await;
    assert_eq!(rows(&mut connection, "SELECT count(*) FROM t").await, int(2));
    // A transaction cannot be continued on another one.
    rows(&mut connection, "BEGIN").await;
    rows(&mut connection, "DELETE FROM t").await;
    server.expire();
    for _ in 0..2 {
        error(&mut connection, "DELETE FROM t").await;
    }
    let mut other = database.connect();
    assert_eq!(rows(&mut other, "SELECT count(*) FROM t").await, int(2));
    drop((connection, other));
    // Closing is asked for when nobody waits any more.
    while server.streams() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_that_refuses_or_goes_away_is_an_error() {
    let server = gyre_testkit::LibsqlDouble::start();
    let mut limits: DatabaseLimits = (&Limits::unlimited()).into();
    let wrong = Database::libsql(&server.url(), "guess".to_owned().into(), limits).unwrap();
    assert!(!format!("{wrong:?}").contains("guess"));
    let text = error(&mut wrong.connect(), "SELECT 1").await.to_string();
    assert!(text.contains("401"), "{text}");
    limits.result_bytes = 100;
    limits.value_bytes = 100;
    let mut connection = libsql(&server, limits).connect();
    let long = "SELECT hex(zeroblob(40))||'123456789012345678901', 'x'";
    let limit = 100;
    assert_eq!(error(&mut connection, long).await, DatabaseError::ResultTooLong { limit });
    let huge = "SELECT hex(zeroblob(1000000))";
    assert_eq!(error(&mut connection, huge).await, DatabaseError::ResultTooLong { limit });
    let blob = vec![Value::Blob(vec![0; 101])];
    connection.execute("SELECT length(?1)", blob).await.unwrap_err();
    assert_eq!(rows(&mut connection, "SELECT 1").await, int(1));
    drop(server);
    error(&mut connection, "SELECT 1").await;
    for url in ["libsql://x", "nothing", "file:///x"] {
        Database::libsql(url, String::new().into(), limits).unwrap_err();
    }
}

#[tokio::test]
async fn a_server_that_answers_nonsense_costs_one_statement() {
    let mut answers = [
        "{}",
        r#"{"baton":"b","base_url":null,"results":[]}"#,
        r#"{"baton":"b","results":[{"type":"ok","response":{"type":"execute","result":
            {"cols":[{"name":"a"}],"rows":[[]]}}},{"type":"ok","response":
            {"type":"get_autocommit","is_autocommit":true}}]}"#,
        r#"{"baton":"b","results":[{"type":"ok","response":{"type":"execute","result":
            {"cols":[{"name":"a"}],"rows":[[{"type":"integer","value":"x"}]]}}},{"type":"ok",
            "response":{"type":"get_autocommit","is_autocommit":true}}]}"#,
        r#"{"baton":"b","base_url":"ftp://elsewhere","results":[{"type":"ok","response":
            {"type":"sequence"}},{"type":"error","error":{"message":"?"}}]}"#,
    ]
    .into_iter()
    .cycle();
    let server = gyre_testkit::HttpDouble::start(move |_| {
        http::Response::new(answers.next().unwrap().into())
    });
    let limits = (&Limits::unlimited()).into();
    let database = Database::libsql(&server.url(), String::new().into(), limits).unwrap();
    for _ in 0..5 {
        error(&mut database.connect(), "SELECT 1").await;
    }
}

#[test]
fn a_query_is_told_by_its_first_word() {
    for sql in ["SELECT 1", "  select\n1", "WITH a AS (SELECT 1) SELECT 1", "values (1)", "SELECT"]
    {
        assert!(reads_only_by_its_look(sql), "{sql}");
    }
    for sql in ["", "SEL", "SELECTED", "COMMIT", "PRAGMA x", "-- SELECT", "INSERT INTO t SELECT 1"]
    {
        assert!(!reads_only_by_its_look(sql), "{sql}");
    }
}

/// The numbers from 1 to `?1`, with 100 bytes each.
const NUMBERS: &str = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
     SELECT i, zeroblob(100) FROM n";

async fn numbers(connection: &mut DatabaseConnection, count: i64) -> RowStream {
    connection.stream(NUMBERS, vec![Value::Integer(count)]).await.unwrap()
}

#[tokio::test]
async fn a_stream_of_rows_has_no_end_that_a_result_would_have() {
    let mut limits: DatabaseLimits = (&Limits::server()).into();
    limits.result_bytes = 1 << 20;
    let fixture = Fixture::with(limits);
    let mut connection = fixture.connect();
    let count = 200_000;
    let mut stream = numbers(&mut connection, count).await;
    assert_eq!(stream.columns, ["i", "zeroblob(100)"]);
    let mut next = 1;
    while let Some(rows) = stream.next().await {
        for row in rows.unwrap() {
            assert_eq!(row[0], Value::Integer(next));
            next += 1;
        }
    }
    assert_eq!(next, count + 1);
    let whole = connection.execute(NUMBERS, vec![Value::Integer(count)]).await;
    assert_eq!(whole, Err(DatabaseError::ResultTooLong { limit: 1 << 20 }));
    // Each row has the limit of a whole result.
    let large = connection.stream("SELECT zeroblob(2000000)", Vec::new()).await;
    assert_eq!(large.map(drop), Err(DatabaseError::ResultTooLong { limit: 1 << 20 }));
}

#[tokio::test]
async fn how_a_statement_of_few_rows_ended_is_known_before_they_are_taken() {
    let fixture = Fixture::new();
    let mut connection = fixture.connect();
    let mut stream = numbers(&mut connection, 3).await;
    assert_eq!(stream.take_end(), Some(Ok(())));
    assert_eq!(stream.next().await.unwrap().unwrap().len(), 3);
    assert!(stream.next().await.is_none());
    // It fails at its third row.
    let statement = "WITH n(i) AS (VALUES (1), (2), (-9223372036854775808)) SELECT abs(i) FROM n";
    let mut stream = connection.stream(statement, Vec::new()).await.unwrap();
    let ended = stream.take_end().unwrap().unwrap_err().to_string();
    assert!(ended.contains("integer overflow"), "{ended}");
    assert_eq!(stream.next().await.unwrap().unwrap().len(), 2);
    assert!(stream.next().await.is_none());
    // Of many, it is not known.
    assert_eq!(numbers(&mut connection, 60_000).await.take_end(), None);
}

#[tokio::test]
async fn whoever_takes_rows_slowly_is_waited_for_without_that_being_the_statements_time() {
    let fixture = Fixture::new();
    let mut connection = fixture.connect();
    let mut stream = numbers(&mut connection, 60_000).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut count = 0;
    while let Some(rows) = stream.next().await {
        count += rows.unwrap().len();
    }
    assert_eq!(count, 60_000);
}

#[tokio::test]
async fn dropping_a_stream_of_rows_gives_its_connection_back() {
    let fixture = Fixture::with((&Limits::unlimited()).into());
    let mut memory = fixture.databases.open(&Location::Memory, fixture.limits).connect();
    memory.execute("CREATE TABLE t (x)", Vec::new()).await.unwrap();
    for mut connection in [fixture.connect(), memory] {
        connection.execute("CREATE TABLE IF NOT EXISTS t (x)", Vec::new()).await.unwrap();
        connection.execute("INSERT INTO t VALUES (7)", Vec::new()).await.unwrap();
        // Endless, with rows and without.
        let endless =
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
        let mut stream = connection.stream(endless, Vec::new()).await.unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        drop(stream);
        assert_eq!(rows(&mut connection, "SELECT x FROM t").await, [[Value::Integer(7)]]);
        let silent = format!("{endless} WHERE i < 0");
        let started = connection.stream(&silent, Vec::new());
        assert!(tokio::time::timeout(Duration::from_millis(50), started).await.is_err());
        assert_eq!(rows(&mut connection, "SELECT x FROM t").await, [[Value::Integer(7)]]);
        // More streams than may be taken from at once, none of which is taken from.
        for _ in 0..40 {
            drop(connection.stream(endless, Vec::new()).await.unwrap());
        }
    }
}

#[tokio::test]
async fn rows_before_a_failure_come_before_it() {
    let fixture = Fixture::new();
    let mut connection = fixture.connect();
    // The first time on a thread, then also where it is called.
    for _ in 0..2 {
        let failing = "SELECT abs(column1) FROM (VALUES (-1), (2), (-9223372036854775808))";
        let mut stream = connection.stream(failing, Vec::new()).await.unwrap();
        let got = stream.next().await.unwrap().unwrap();
        assert_eq!(got, [[Value::Integer(1)], [Value::Integer(2)]]);
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error, DatabaseError::Other("integer overflow".to_owned()));
        assert!(stream.next().await.is_none());
    }
    let wrong = connection.stream("SELECT * FROM nowhere", Vec::new()).await;
    assert!(matches!(wrong, Err(DatabaseError::Other(text)) if text.starts_with("no such table")));
    // What looks like a query and writes, and what does not look like one.
    connection.execute("CREATE TABLE t (x)", Vec::new()).await.unwrap();
    for insert in ["WITH n AS (SELECT 1) INSERT INTO t SELECT * FROM n", "INSERT INTO t VALUES (2)"]
    {
        let mut stream = connection.stream(insert, Vec::new()).await.unwrap();
        assert!(stream.next().await.is_none());
        assert_eq!(connection.changes(), 1);
    }
    assert_eq!(rows(&mut connection, "SELECT count(*) FROM t").await, [[Value::Integer(2)]]);
}
