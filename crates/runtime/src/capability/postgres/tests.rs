//! Against a real server, and against ones that misbehave.

use gyre_testkit::{
    Service,
    services::{DATABASE, PASSWORD, USER},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use v4::{DbDataType as D, DbValue as V, ParameterValue as P, RangeBoundKind as B};

use super::*;
use crate::capability::{
    sql::{
        fermyon::{
            spin::{postgres as v1, rdbms_types as v1_types},
            spin2_0_0::{postgres as v2, rdbms_types as v2_types},
        },
        spin::postgres3_0_0::postgres as v3,
    },
    tests::Fixture,
};

fn everywhere() -> Fixture {
    Fixture::with_hosts(&["*://127.0.0.1:*", "*://localhost:*"])
}

async fn open(fixture: &Fixture, address: &str) -> Result<Connection, v4::Error> {
    Builder::new(address.to_owned()).open(&fixture.origin()).await
}

async fn refused(hosts: &[&str], address: &str) -> String {
    match open(&Fixture::with_hosts(hosts), address).await {
        Err(v4::Error::ConnectionFailed(text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("connected"),
    }
}

#[tokio::test]
async fn connections_beyond_their_limit_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("postgres://a@{}/b", listener.local_addr().unwrap());
    let mut fixture = everywhere();
    fixture.spec.outbound.connections.postgres = Some(0);
    let text = crate::capability::sql::no_answer(crate::capability::sql::CONNECT_TIMEOUT);
    match open(&fixture, &address).await {
        Err(v4::Error::ConnectionFailed(it)) => assert_eq!(it, text),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("connected"),
    }
    let nobody = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    nobody.unwrap_err();
}

#[tokio::test]
async fn addresses_that_are_not_allowed() {
    let port = gyre_testkit::services::free_address().port();
    let url = format!("postgres://a:b@127.0.0.1:{port}/c");
    let denied = format!("address postgres://127.0.0.1:{port} is not permitted");
    assert_eq!(refused(&[], &url).await, denied);
    assert_eq!(refused(&["http://127.0.0.1:*", "postgres://127.0.0.1"], &url).await, denied);
    assert_eq!(
        refused(&[], "host=db.example").await,
        "address postgres://db.example is not permitted"
    );
    // A URL without a port has the usual one.
    let text = refused(&[], "postgres://a@db.example/c").await;
    assert_eq!(text, "address postgres://db.example:5432 is not permitted");
    assert_eq!(
        refused(&[], "host=db.example port=1").await,
        "address postgres://db.example:1 is not permitted"
    );
    // All of its hosts count, and none is looked up before it is allowed.
    let two = format!("host=127.0.0.1,db.example port={port},7");
    let text = refused(&["*://127.0.0.1:*"], &two).await;
    assert_eq!(text, "address postgres://db.example:7 is not permitted");
    // However loopback is written, and whatever the address adds to its host.
    for host in ["0x7f.1", "2130706433", "127.1"] {
        let text = refused(&["*://db.example:*"], &format!("host={host}")).await;
        assert_eq!(text, format!("address postgres://{host} is not permitted"));
    }
    let sneaky = format!("host=db.example hostaddr=127.0.0.1 port={port}");
    let text = refused(&["*://127.0.0.1:*"], &sneaky).await;
    assert_eq!(text, format!("address postgres://db.example:{port} is not permitted"));
    for socket in ["host=/var/run/postgresql", "postgres://%2Ftmp/c"] {
        let text = refused(&["*://*:*"], socket).await;
        assert_eq!(text, "Unix sockets are not supported on WebAssembly");
    }
    assert_eq!(refused(&["*://*:*"], "user=a").await, "the address names no host");
    assert!(refused(&["*://*:*"], "nonsense").await.contains("invalid c"), "how it is malformed");
    let dead = refused(&["*://*:*"], &url).await;
    assert!(dead.starts_with("cannot connect"), "{dead}");
}

fn values() -> Vec<(&'static str, P, V)> {
    let some = |text: &str| Some(text.to_owned());
    let long = "12345678901234567890123456789012345.000000000000000000000000000000000001";
    vec![
        ("bool", P::Boolean(true), V::Boolean(true)),
        ("int2", P::Int16(-7), V::Int16(-7)),
        ("int4", P::Int32(i32::MIN), V::Int32(i32::MIN)),
        ("int8", P::Int64(i64::MAX), V::Int64(i64::MAX)),
        ("float4", P::Floating32(1.5), V::Floating32(1.5)),
        ("float8", P::Floating64(-2.25), V::Floating64(-2.25)),
        ("text", P::Str("Grüße".into()), V::Str("Grüße".into())),
        ("varchar", P::Str("a".into()), V::Str("a".into())),
        ("char(3)", P::Str("ab".into()), V::Str("ab ".into())),
        ("bytea", P::Binary(vec![0, 255]), V::Binary(vec![0, 255])),
        ("date", P::Date((1969, 2, 28)), V::Date((1969, 2, 28))),
        ("time", P::Time((23, 59, 58, 123_456_000)), V::Time((23, 59, 58, 123_456_000))),
        (
            "timestamp",
            P::Datetime((1989, 11, 24, 5, 6, 7, 8_000)),
            V::Datetime((1989, 11, 24, 5, 6, 7, 8_000)),
        ),
        ("timestamptz", P::Timestamp(1), V::Datetime((1970, 1, 1, 0, 0, 1, 0))),
        (
            "uuid",
            P::Uuid("12345678-1234-1234-1234-123456789ABC".into()),
            V::Uuid("12345678-1234-1234-1234-123456789abc".into()),
        ),
        ("jsonb", P::Jsonb(b"{ \"a\": [1, 2.50] }".into()), V::Jsonb(b"{\"a\":[1,2.50]}".into())),
        ("numeric", P::Decimal(long.into()), V::Decimal(long.into())),
        (
            "int4range",
            P::RangeInt32((Some((1, B::Exclusive)), None)),
            V::RangeInt32((Some((2, B::Inclusive)), None)),
        ),
        (
            "int8range",
            P::RangeInt64((Some((1, B::Inclusive)), Some((9, B::Exclusive)))),
            V::RangeInt64((Some((1, B::Inclusive)), Some((9, B::Exclusive)))),
        ),
        (
            "int4range",
            P::RangeInt32((Some((5, B::Exclusive)), Some((5, B::Exclusive)))),
            V::RangeInt32((Some((0, B::Exclusive)), Some((0, B::Exclusive)))),
        ),
        (
            "numrange",
            P::RangeDecimal((None, Some(("1.50".into(), B::Inclusive)))),
            V::RangeDecimal((None, Some(("1.50".into(), B::Inclusive)))),
        ),
        ("int4[]", P::ArrayInt32(vec![Some(1), None]), V::ArrayInt32(vec![Some(1), None])),
        ("int8[]", P::ArrayInt64(vec![]), V::ArrayInt64(vec![])),
        (
            "numeric[]",
            P::ArrayDecimal(vec![some("-0.01"), None]),
            V::ArrayDecimal(vec![some("-0.01"), None]),
        ),
        ("text[]", P::ArrayStr(vec![some("a"), None]), V::ArrayStr(vec![some("a"), None])),
        (
            "interval",
            P::Interval(v4::Interval { micros: -1, days: 2, months: 3 }),
            V::Interval(v4::Interval { micros: -1, days: 2, months: 3 }),
        ),
        ("point", P::DbNull, V::DbNull),
    ]
}

async fn one(connection: &Connection, statement: &str, parameters: Vec<P>) -> V {
    let result = connection.query(statement, parameters).await;
    let mut result = result.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    assert_eq!((result.rows.len(), result.columns.len()), (1, 1), "{statement}");
    result.rows.remove(0).remove(0)
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "starting the server takes seconds")]
async fn a_real_server() {
    let mut server = tokio::task::spawn_blocking(Service::postgres).await.unwrap();
    let port = server.port();
    let pairs =
        format!("host=localhost port={port} user={USER} password={PASSWORD} dbname={DATABASE}");
    let url = format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/{DATABASE}?sslmode=disable");
    let fixture = everywhere();
    let origin = fixture.origin();
    let open = async |address: &str| Builder::new(address.to_owned()).open(&origin).await;

    // Every type, there and back.
    let connection = open(&pairs).await.unwrap();
    for (of, given, expected) in values() {
        let statement = format!("SELECT $1::{of}");
        let got = one(&connection, &statement, vec![given]).await;
        assert_eq!(format!("{got:?}"), format!("{expected:?}"), "{of}");
    }
    let got = one(&connection, "SELECT '(1,2)'::point", vec![]).await;
    assert!(matches!(&got, V::Unsupported(bytes) if bytes.len() == 16), "{got:?}");
    let set = connection.query("SELECT 1 AS a, 'x'::inet AS b WHERE false", vec![]).await;
    assert!(matches!(set, Err(v4::Error::QueryFailed(_))), "x is no address");
    let set = connection.query("SELECT 1 AS a, '::1'::inet AS b", vec![]).await.unwrap();
    assert!(matches!(&set.columns[0], v4::Column { name, data_type: D::Int32 } if name == "a"));
    assert!(matches!(&set.columns[1].data_type, D::Other(name) if name == "inet"));
    let none = connection.query("SELECT 1 WHERE false", vec![]).await.unwrap();
    assert!(none.columns.is_empty() && none.rows.is_empty());

    // Counts, errors with what the database says, and values that are none.
    let create = "CREATE TABLE t (id int PRIMARY KEY, name text)";
    assert_eq!(connection.execute(create, vec![]).await.unwrap(), 0);
    let insert = "INSERT INTO t SELECT n, 'x' FROM generate_series(1, $1) n";
    assert_eq!(connection.execute(insert, vec![P::Int32(3)]).await.unwrap(), 3);
    let twice = connection.execute("INSERT INTO t VALUES (1, 'y')", vec![]).await;
    let Err(v4::Error::QueryFailed(v4::QueryError::DbError(error))) = twice else {
        panic!("{twice:?}")
    };
    assert_eq!((&*error.severity, &*error.code), ("ERROR", "23505"));
    assert!(error.as_text.contains("duplicate key value"), "{}", error.as_text);
    assert_eq!(error.detail.as_deref(), Some("Key (id)=(1) already exists."));
    assert!(error.extras.contains(&("constraint".to_owned(), "t_pkey".to_owned())));
    let wrong = connection.query("SELECT $1::int4", vec![P::Str("1".into())]).await;
    assert!(matches!(wrong, Err(v4::Error::QueryFailed(v4::QueryError::Text(_)))), "{wrong:?}");
    let bad = connection.query("SELECT $1::date", vec![P::Date((2023, 2, 29))]).await;
    assert!(
        matches!(&bad, Err(v4::Error::ValueConversionFailed(it)) if it == "invalid date y=2023, m=2, d=29"),
        "{bad:?}"
    );
    let few = connection.query("SELECT $1::int4", vec![]).await;
    assert!(matches!(few, Err(v4::Error::BadParameter(_))), "{few:?}");

    // A stream, to its end and given up.
    let series = "SELECT generate_series(1, $1)";
    let mut streamed = connection.stream(series, vec![P::Int32(100)]).await.unwrap();
    assert!(matches!(streamed.columns[..], [v4::Column { data_type: D::Int32, .. }]));
    let mut count = 0;
    while let Some(row) = streamed.rows.recv().await {
        count += 1;
        assert!(matches!(row[..], [V::Int32(it)] if it == count));
    }
    assert_eq!(count, 100);
    streamed.end.await.unwrap().unwrap();
    let divided = "SELECT 1 / (3 - n) FROM generate_series(1, 5) n";
    let mut streamed = connection.stream(divided, vec![]).await.unwrap();
    while streamed.rows.recv().await.is_some() {}
    assert!(matches!(streamed.end.await.unwrap(), Err(v4::Error::QueryFailed(_))));
    drop(connection.stream(series, vec![P::Int32(1_000_000)]).await.unwrap());

    // Too much.
    let large = "SELECT repeat('x', 1000000) FROM generate_series(1, 200)";
    let error = connection.query(large, vec![]).await;
    let Err(v4::Error::QueryFailed(v4::QueryError::Text(text))) = error else { panic!() };
    assert_eq!(text, "query result exceeds limit of 134217728 bytes");
    drop(connection);

    // The pool: the same session again, without what was set up in it; a transaction is not passed on.
    let backend = "SELECT pg_backend_pid()";
    let connection = open(&url).await.unwrap();
    let V::Int32(first) = one(&connection, backend, vec![]).await else { panic!() };
    connection.execute("SET search_path TO elsewhere", vec![]).await.unwrap();
    drop(connection);
    let connection = open(&url).await.unwrap();
    assert!(matches!(one(&connection, backend, vec![]).await, V::Int32(it) if it == first));
    one(&connection, "SELECT count(*) FROM t", vec![]).await;
    connection.execute("BEGIN", vec![]).await.unwrap();
    connection.execute("DELETE FROM t", vec![]).await.unwrap();
    drop(connection);
    let connection = open(&url).await.unwrap();
    assert!(matches!(one(&connection, backend, vec![]).await, V::Int32(it) if it != first));
    assert!(matches!(one(&connection, "SELECT count(*) FROM t", vec![]).await, V::Int64(3)));
    drop(connection);

    // Secrets that are wrong, and TLS where there is none.
    let error = open(&url.replace(PASSWORD, "wrong")).await.map(drop).unwrap_err();
    let v4::Error::ConnectionFailed(text) = error else { panic!("{error:?}") };
    assert!(text.contains("password authentication failed"), "{text}");
    let error = open(&format!("{pairs} sslmode=require")).await.map(drop).unwrap_err();
    let v4::Error::ConnectionFailed(text) = error else { panic!("{error:?}") };
    assert_eq!(text, "the server does not speak TLS");

    older_versions(&fixture, &url).await;

    // It goes away.
    let connection = open(&url).await.unwrap();
    server.kill();
    assert!(connection.query("SELECT 1", vec![]).await.is_err());
    assert!(matches!(open(&url).await.map(drop), Err(v4::Error::ConnectionFailed(_))));
}

async fn older_versions(fixture: &Fixture, url: &str) {
    let mut host = fixture.host();
    let statement = "SELECT 1::int2, 'a', DATE '2000-02-29', 1.5::numeric, NULL::text, $1::int4";

    let opened = v3::HostConnection::open(&mut host, url.to_owned()).await.unwrap().unwrap();
    let handle = || wasmtime::component::Resource::new_borrow(opened.rep());
    let parameters = vec![v3::ParameterValue::Int32(5)];
    let set = v3::HostConnection::query(&mut host, handle(), statement.into(), parameters).await;
    let set = set.unwrap().unwrap();
    use v3::DbValue as V3;
    assert!(
        matches!(
            &set.rows[0][..],
            [
                V3::Int16(1),
                V3::Str(_),
                V3::Date((2000, 2, 29)),
                V3::Unsupported,
                V3::DbNull,
                V3::Int32(5)
            ]
        ),
        "{set:?}"
    );
    assert!(matches!(set.columns[3].data_type, v3::DbDataType::Other));
    let error = v3::HostConnection::execute(&mut host, handle(), "nonsense".into(), vec![]).await;
    let Err(v3::Error::QueryFailed(text)) = error.unwrap() else { panic!() };
    assert!(text.contains("syntax error"), "{text}");
    v3::HostConnection::drop(&mut host, opened).await.unwrap();

    let opened = v2::HostConnection::open(&mut host, url.to_owned()).await.unwrap().unwrap();
    let handle = || wasmtime::component::Resource::new_borrow(opened.rep());
    let parameters = vec![v2_types::ParameterValue::Int32(5)];
    let set = v2::HostConnection::query(&mut host, handle(), statement.into(), parameters).await;
    use v2_types::DbValue as V2;
    let set = set.unwrap().unwrap();
    assert!(
        matches!(
            &set.rows[0][..],
            [V2::Int16(1), V2::Str(_), V2::Unsupported, V2::Unsupported, V2::DbNull, V2::Int32(5)]
        ),
        "{set:?}"
    );
    let parameters = vec![v2_types::ParameterValue::Uint8(5)];
    let error = v2::HostConnection::execute(&mut host, handle(), "SELECT $1".into(), parameters);
    let Err(v2_types::Error::ValueConversionFailed(text)) = error.await.unwrap() else { panic!() };
    assert_eq!(text, "Postgres does not support unsigned integers");
    v2::HostConnection::drop(&mut host, opened).await.unwrap();

    let parameters = vec![v1_types::ParameterValue::Int32(5)];
    let set = v1::Host::query(&mut host, url.to_owned(), statement.into(), parameters).await;
    use v1_types::DbValue as V1;
    let set = set.unwrap().unwrap();
    assert!(matches!(&set.rows[0][..], [V1::Int16(1), _, V1::Unsupported, ..]), "{set:?}");
    let deleted =
        v1::Host::execute(&mut host, url.to_owned(), "DELETE FROM t".into(), vec![]).await;
    assert_eq!(deleted.unwrap().unwrap(), 3);
    let mut host = Fixture::with_hosts(&[]).host();
    let denied = v1::Host::execute(
        &mut host,
        "postgres://db.example:7/x".to_owned(),
        "SELECT 1".into(),
        vec![],
    );
    let Err(v1::PgError::ConnectionFailed(text)) = denied.await.unwrap() else { panic!() };
    assert_eq!(text, "address postgres://db.example:7 is not permitted");
}

/// A server that reads the beginning, says `answer` over and over or once, and then nothing.
async fn fake(answer: &'static [u8], over_and_over: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut begin = [0; 8];
                let _ = stream.read_exact(&mut begin).await;
                while stream.write_all(answer).await.is_ok() && over_and_over {}
                let mut rest = [0; 1024];
                while matches!(stream.read(&mut rest).await, Ok(1..)) {}
            });
        }
    });
    format!("host=127.0.0.1 port={port} user=a dbname=b sslmode=disable")
}

/// Logged in, ready; a statement is described with one column, and then its rows never end.
const ENDLESS: &[&[u8]] = &[
    b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I",
    b"1\0\0\0\x04t\0\0\0\x06\0\0T\0\0\0\x1a\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0Z\0\0\0\x05I",
];

#[tokio::test]
async fn servers_that_misbehave_cost_one_call() {
    let fixture = everywhere();
    let started = tokio::time::Instant::now();
    for (answer, over_and_over) in [
        (&b""[..], false),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", false),
        (b"garbage ", true),
        (b"R\x7f\xff\xff\xff\0\0\0\0", false),
        (b"R\xff\xff\xff\xff\0\0\0\0", false),
        (b"N\0\0\0\x05\0", true),
    ] {
        let address = fake(answer, over_and_over).await;
        let error = open(&fixture, &address).await.map(drop).unwrap_err();
        assert!(matches!(error, v4::Error::ConnectionFailed(_)), "{error:?}");
    }
    // It neither says that it speaks TLS nor that it does not.
    let address = fake(b"?", false).await.replace("disable", "prefer");
    let error = open(&fixture, &address).await.map(drop).unwrap_err();
    let v4::Error::ConnectionFailed(text) = error else { panic!("{error:?}") };
    assert_eq!(text, "the server is no PostgreSQL server");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut part = [0; 4096];
        for step in ENDLESS {
            let _ = stream.read(&mut part).await;
            stream.write_all(step).await.unwrap();
        }
        let _ = stream.read(&mut part).await;
        stream.write_all(b"2\0\0\0\x04").await.unwrap();
        let row = b"D\0\0\0\x0e\0\x01\0\0\0\x04\0\0\0\x01".repeat(4096);
        while stream.write_all(&row).await.is_ok() {}
    });
    let address = format!("host=127.0.0.1 port={port} user=a dbname=b sslmode=disable");
    let connection = open(&fixture, &address).await.unwrap();
    let error = connection.query("SELECT a FROM b", vec![]).await.unwrap_err();
    let v4::Error::QueryFailed(v4::QueryError::Text(text)) = error else { panic!("{error:?}") };
    assert_eq!(text, sql::too_large());
    assert!(started.elapsed() < 30 * sql::CONNECT_TIMEOUT);
}
