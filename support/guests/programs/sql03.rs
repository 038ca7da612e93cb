//! As `sql`, for `spin:postgres@4.2.0` (`/postgres4`) and `spin:mysql@3.0.0` (`/mysql3`), whose functions are
//! asynchronous, or both; `/postgres4-rows` and `/mysql3-rows` read long streams in every manner, `/postgres4-many` and
//! `/mysql3-many` a million rows. The address follows `?`. `/builder?ADDRESS` says what a builder makes of certificates
//! that are none, `/denied` what a server that it may not reach gives.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::{self, StreamReader, StreamResult};
use wasip3::{wit_future, wit_stream};

mod bindings {
    #![allow(clippy::all, clippy::pedantic, reason = "bindings are written by wit-bindgen")]
    wasip3::wit_bindgen::generate!({
        path: "../../wit",
        inline: r#"
            package guests:sql;

            world sql {
                import spin:postgres/postgres@4.2.0;
                import spin:mysql/mysql@3.0.0;
            }
        "#,
        world: "guests:sql/sql",
        generate_all,
        runtime_path: "wasip3::wit_bindgen::rt",
    });

    pub use spin::mysql::mysql;
    pub use spin::postgres4_2_0::postgres;
}

use bindings::{mysql, postgres};

wasip3::http::service::export!(Guest);

struct Guest;

impl wasip3::exports::http::handler::Guest for Guest {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (path, address) = path.split_once('?').expect("the address follows ?");
        let mut text = "ok".to_owned();
        match path {
            "/postgres4" => postgres_4(address).await,
            "/postgres4-rows" => postgres_rows(address).await,
            "/postgres4-many" => postgres_many(address).await,
            "/mysql3" => mysql_3(address).await,
            "/mysql3-rows" => mysql_rows(address).await,
            "/mysql3-many" => mysql_many(address).await,
            "/builder" => text = builder(address).await,
            "/denied" => text = denied(address).await,
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

async fn denied(address: &str) -> String {
    let builder = postgres::ConnectionBuilder::new(address);
    let mysql = address.replace("postgres:", "mysql:");
    [
        format!("{:?}", postgres::Connection::open(address).map(drop)),
        format!("{:?}", postgres::Connection::open_async(text(address)).await.map(drop)),
        format!("{:?}", builder.build().map(drop)),
        format!("{:?}", builder.build_async().await.map(drop)),
        format!("{:?}", mysql::Connection::open(mysql).await.map(drop)),
    ]
    .join("\n")
}

async fn builder(address: &str) -> String {
    let builder = postgres::ConnectionBuilder::new(address);
    let refused = builder.set_ca_root("no certificate");
    // It is as it was before.
    let connection = builder.build_async().await.expect("it is open");
    connection.query("SELECT 1", &[]).expect("it answers");
    format!("{refused:?}")
}

fn values() -> Vec<(&'static str, postgres::ParameterValue, postgres::DbValue)> {
    use postgres::{DbValue as V, Interval, ParameterValue as P, RangeBoundKind as B};
    let some = |text: &str| Some(text.to_owned());
    vec![
        ("bool", P::Boolean(true), V::Boolean(true)),
        ("int2", P::Int16(-7), V::Int16(-7)),
        ("int4", P::Int32(i32::MIN), V::Int32(i32::MIN)),
        ("int8", P::Int64(i64::MAX), V::Int64(i64::MAX)),
        ("float4", P::Floating32(1.5), V::Floating32(1.5)),
        ("float8", P::Floating64(-2.25), V::Floating64(-2.25)),
        ("text", P::Str(text("Grüße")), V::Str(text("Grüße"))),
        ("varchar", P::Str(text("a")), V::Str(text("a"))),
        ("char(3)", P::Str(text("ab")), V::Str(text("ab "))),
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
            P::Uuid(text("12345678-1234-1234-1234-123456789ABC")),
            V::Uuid(text("12345678-1234-1234-1234-123456789abc")),
        ),
        ("jsonb", P::Jsonb(b"{\"a\":[1]}".into()), V::Jsonb(b"{\"a\":[1]}".into())),
        ("numeric", P::Decimal(text("-12.340")), V::Decimal(text("-12.340"))),
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
            "numrange",
            P::RangeDecimal((None, Some((text("1.50"), B::Inclusive)))),
            V::RangeDecimal((None, Some((text("1.50"), B::Inclusive)))),
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
            P::Interval(Interval { micros: -1, days: 2, months: 3 }),
            V::Interval(Interval { micros: -1, days: 2, months: 3 }),
        ),
        ("text", P::DbNull, V::DbNull),
    ]
}

async fn postgres_4(address: &str) {
    use postgres::{
        Connection, ConnectionBuilder, DbDataType, DbValue as V, Error, ParameterValue as P,
        QueryError,
    };
    let connection = Connection::open_async(text(address)).await.expect("it is open");
    for (of, given, expected) in values() {
        let statement = format!("SELECT $1::{of} AS it");
        let set = connection.query(&statement, std::slice::from_ref(&given)).expect("it is asked");
        assert_eq!(format!("{:?}", set.rows), format!("{:?}", [[&expected]]), "{of}");
        let asked = connection.query_async(statement, vec![given]).await.expect("it is asked");
        let (columns, mut rows, end) = asked;
        assert_eq!((columns.len(), columns[0].name.as_str()), (1, "it"));
        assert_eq!(
            format!("{:?}", columns[0].data_type),
            format!("{:?}", set.columns[0].data_type)
        );
        let rows = read_all(&mut rows, 10).await;
        assert_eq!(format!("{rows:?}"), format!("{:?}", [[&expected]]), "{of}");
        end.await.expect("it came to its end");
    }
    let set = connection.query("SELECT '(1,2)'::point", &[]).expect("it is asked");
    assert!(matches!(&set.rows[0][..], [V::Unsupported(bytes)] if bytes.len() == 16));
    assert!(matches!(&set.columns[0].data_type, DbDataType::Other(name) if name == "point"));

    let create = text("CREATE TABLE four (k int PRIMARY KEY)");
    assert_eq!(connection.execute_async(create, vec![]).await.expect("it is made"), 0);
    let insert = || text("INSERT INTO four SELECT generate_series(1, $1)");
    let inserted = connection.execute_async(insert(), vec![P::Int32(3)]).await;
    assert_eq!(inserted.expect("they are inserted"), 3);
    let deleted = connection.execute("DELETE FROM four WHERE k > 1", &[]).expect("it is deleted");
    assert_eq!(deleted, 2);
    for twice in [
        connection.execute_async(insert(), vec![P::Int32(1)]).await,
        connection.execute(&insert(), &[P::Int32(1)]),
    ] {
        let Err(Error::QueryFailed(QueryError::DbError(error))) = twice else {
            panic!("{twice:?}")
        };
        assert_eq!((error.severity.as_str(), error.code.as_str()), ("ERROR", "23505"));
        assert!(error.message.starts_with("duplicate key value"), "{}", error.message);
        assert!(error.as_text.contains(&error.message), "{}", error.as_text);
        assert_eq!(error.detail.as_deref(), Some("Key (k)=(1) already exists."));
        assert!(error.extras.contains(&(text("constraint"), text("four_pkey"))));
    }
    let wrong = connection.query_async(text("nonsense"), vec![]).await.map(drop);
    assert!(matches!(wrong, Err(Error::QueryFailed(QueryError::DbError(_)))), "{wrong:?}");
    let wrong = vec![P::Date((2023, 2, 29))];
    let wrong = connection.query_async(text("SELECT $1::date"), wrong).await.map(drop);
    let Err(Error::ValueConversionFailed(reason)) = wrong else { panic!("{wrong:?}") };
    assert_eq!(reason, "invalid date y=2023, m=2, d=29");
    let none = connection.query_async(text("SELECT 1 WHERE false"), vec![]).await;
    let (columns, mut rows, end) = none.expect("it is asked");
    assert!(columns.is_empty() && read_all(&mut rows, 1).await.is_empty());
    end.await.expect("it came to its end");

    let builder = ConnectionBuilder::new(address);
    let one = builder.build().expect("it is open");
    let other = builder.build_async().await.expect("it is open");
    let third = Connection::open(address).expect("it is open");
    for connection in [one, other, third] {
        let set = connection.query("SELECT count(*) FROM four", &[]).expect("it is asked");
        assert!(matches!(set.rows[0][..], [V::Int64(1)]));
    }
}

async fn postgres_rows(address: &str) {
    use postgres::{Connection, DbValue as V, ParameterValue as P};
    let connection = Connection::open_async(text(address)).await.expect("it is open");
    let start = async |count: i32| {
        let series = text("SELECT n, 'ten bytes.' FROM generate_series(1, $1) n");
        connection.query_async(series, vec![P::Int32(count)]).await.expect("it is asked")
    };
    let is_number = |(n, row): (usize, &postgres::Row)| matches!(row[..], [V::Int32(k), V::Str(_)] if k == n as i32 + 1);
    for piece in [1, 7, 10_000] {
        let (columns, mut rows, end) = start(2500).await;
        assert_eq!(columns.len(), 2);
        let got = read_all(&mut rows, piece).await;
        assert!(got.len() == 2500 && got.iter().enumerate().all(is_number), "{}", got.len());
        end.await.expect("it came to its end");
    }
    // It fails in the middle: what came before is there.
    let divided = text("SELECT 1 / (2000 - n) FROM generate_series(1, 2500) n");
    let (_, mut rows, end) = connection.query_async(divided, vec![]).await.expect("it is asked");
    assert_eq!(read_all(&mut rows, 100).await.len(), 1999);
    let error = end.await.expect_err("it fails");
    assert!(format!("{error:?}").contains("division by zero"), "{error:?}");
    // Whoever stops in the middle, or never starts, can go on with the connection.
    let (_, mut rows, end) = start(100_000).await;
    let (_, some) = rows.read(Vec::with_capacity(5)).await;
    assert!(!some.is_empty());
    drop(rows);
    end.await.expect("nothing went wrong");
    drop(start(100_000).await);
    let (_, rows, end) = start(100_000).await;
    drop(end);
    drop(rows);
    let set = connection.query("SELECT 1", &[]).expect("it is asked");
    assert_eq!(set.rows.len(), 1);
    // The stream outlives the connection's handle.
    let (_, mut rows, end) = start(2500).await;
    drop(connection);
    assert_eq!(read_all(&mut rows, 1000).await.len(), 2500);
    end.await.expect("it came to its end");
}

/// Rows, without keeping them.
async fn count<T: 'static>(mut rows: StreamReader<T>) -> usize {
    let mut count = 0;
    loop {
        let (result, part) = rows.read(Vec::with_capacity(100)).await;
        count += part.len();
        if !matches!(result, StreamResult::Complete(_)) {
            return count;
        }
    }
}

async fn postgres_many(address: &str) {
    let connection = postgres::Connection::open_async(text(address)).await.expect("it is open");
    let series = text("SELECT n, repeat('x', 200) FROM generate_series(1, 1000000) n");
    let (_, rows, end) = connection.query_async(series, vec![]).await.expect("it is asked");
    assert_eq!(count(rows).await, 1_000_000);
    end.await.expect("it came to its end");
}

async fn mysql_3(address: &str) {
    use mysql::{Connection, DbDataType as D, DbValue as V, Error, ParameterValue as P};
    let connection = Connection::open(text(address)).await.expect("it is open");
    let create = "CREATE TABLE three (i1 TINYINT, u1 TINYINT UNSIGNED, i2 SMALLINT, \
        u2 SMALLINT UNSIGNED, i3 MEDIUMINT, i4 INT, u4 INT UNSIGNED, i8 BIGINT, u8 BIGINT UNSIGNED, \
        f FLOAT, d DOUBLE, v VARCHAR(9), t TEXT, b BLOB, o BOOLEAN, n INT)";
    connection.execute(text(create), vec![]).await.expect("it is made");
    let values = vec![
        P::Int8(-1),
        P::Uint8(255),
        P::Int16(-2),
        P::Uint16(65_535),
        P::Int32(-3),
        P::Int32(i32::MIN),
        P::Uint32(u32::MAX),
        P::Int64(i64::MIN),
        P::Uint64(u64::MAX),
        P::Floating32(1.5),
        P::Floating64(-2.25),
        P::Str(text("Grüße")),
        P::Str(text("text")),
        P::Binary(vec![0, 255]),
        P::Boolean(true),
        P::DbNull,
    ];
    let insert = format!("INSERT INTO three VALUES ({})", ["?"; 16].join(","));
    connection.execute(insert, values).await.expect("it is inserted");
    let asked = connection.query(text("SELECT * FROM three"), vec![]).await;
    let (columns, mut rows, end) = asked.expect("it is read");
    assert_eq!((columns[0].name.as_str(), columns.len()), ("i1", 16));
    assert!(matches!(columns[1].data_type, D::Uint8));
    let expected = [[
        V::Int8(-1),
        V::Uint8(255),
        V::Int16(-2),
        V::Uint16(65_535),
        V::Int32(-3),
        V::Int32(i32::MIN),
        V::Uint32(u32::MAX),
        V::Int64(i64::MIN),
        V::Uint64(u64::MAX),
        V::Floating32(1.5),
        V::Floating64(-2.25),
        V::Str(text("Grüße")),
        V::Str(text("text")),
        V::Binary(vec![0, 255]),
        V::Int8(1),
        V::DbNull,
    ]];
    assert_eq!(format!("{:?}", read_all(&mut rows, 10).await), format!("{expected:?}"));
    end.await.expect("it came to its end");
    let wrong = connection.query(text("nonsense"), vec![]).await.map(drop);
    let Err(Error::QueryFailed(reason)) = wrong else { panic!("{wrong:?}") };
    assert!(reason.contains("error in your SQL syntax"), "{reason}");
    let wrong = connection.execute(text("nonsense"), vec![]).await;
    assert!(matches!(wrong, Err(Error::QueryFailed(_))), "{wrong:?}");
    for kind in ["DATE '2000-01-01'", "TIME '1:02:03'", "1.5"] {
        let asked = connection.query(format!("SELECT {kind}"), vec![]).await;
        let (_, mut rows, end) = asked.expect("it is asked");
        assert!(read_all(&mut rows, 10).await.is_empty(), "{kind}");
        let end = end.await;
        assert!(matches!(end, Err(Error::ValueConversionFailed(_))), "{kind}: {end:?}");
    }
    // None of that is in the next one's way.
    let (_, mut rows, end) = connection.query(text("SELECT 1"), vec![]).await.expect("it is read");
    assert_eq!(read_all(&mut rows, 10).await.len(), 1);
    end.await.expect("it came to its end");
}

async fn mysql_rows(address: &str) {
    use mysql::{Connection, DbValue as V};
    let connection = Connection::open(text(address)).await.expect("it is open");
    let start = async |count: i32| {
        let series = format!("SELECT seq, 'ten bytes.' FROM seq_1_to_{count}");
        connection.query(series, vec![]).await.expect("it is asked")
    };
    let is_number = |(n, row): (usize, &mysql::Row)| matches!(&row[..], [V::Uint64(k) , V::Str(_)] if *k == n as u64 + 1);
    for piece in [1, 7, 10_000] {
        let (columns, mut rows, end) = start(2500).await;
        assert_eq!(columns.len(), 2);
        let got = read_all(&mut rows, piece).await;
        assert!(
            got.len() == 2500 && got.iter().enumerate().all(is_number),
            "{}: {:?}",
            got.len(),
            got.first()
        );
        end.await.expect("it came to its end");
    }
    // Whoever stops in the middle, or never starts, can go on with the connection.
    let (_, mut rows, end) = start(100_000).await;
    let (_, some) = rows.read(Vec::with_capacity(5)).await;
    assert!(!some.is_empty());
    drop(rows);
    end.await.expect("nothing went wrong");
    drop(start(100_000).await);
    let (_, rows, end) = start(100_000).await;
    drop(end);
    drop(rows);
    let (_, mut rows, end) = connection.query(text("SELECT 1"), vec![]).await.expect("it is read");
    assert_eq!(read_all(&mut rows, 10).await.len(), 1);
    end.await.expect("it came to its end");
    // The stream outlives the connection's handle.
    let (_, mut rows, end) = start(2500).await;
    drop(connection);
    assert_eq!(read_all(&mut rows, 1000).await.len(), 2500);
    end.await.expect("it came to its end");
}

async fn mysql_many(address: &str) {
    let connection = mysql::Connection::open(text(address)).await.expect("it is open");
    let series = text("SELECT seq, repeat('x', 200) FROM seq_1_to_1000000");
    let (_, rows, end) = connection.query(series, vec![]).await.expect("it is asked");
    assert_eq!(count(rows).await, 1_000_000);
    end.await.expect("it came to its end");
}
