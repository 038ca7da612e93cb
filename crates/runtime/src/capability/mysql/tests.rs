//! Against a real server, and against ones that misbehave.

use gyre_testkit::{
    Service,
    services::{DATABASE, PASSWORD, USER},
};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};
use v3::{DbValue as V, ParameterValue as P};

use super::*;
use crate::capability::{
    sql::fermyon::{
        spin::{mysql as v1, rdbms_types as v1_types},
        spin2_0_0::{mysql as v2, rdbms_types as v2_types},
    },
    tests::Fixture,
};

async fn failed(hosts: &[&str], address: &str) -> String {
    match Connection::open(&Fixture::with_hosts(hosts).origin(), address).await.map(drop) {
        Err(v3::Error::ConnectionFailed(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn addresses_that_are_not_allowed() {
    for (hosts, address) in [
        (&[][..], "mysql://a:b@127.0.0.1/c"),
        (&["*://127.0.0.1:*"], "mysql://db.example/c"),
        (&["*://db.example:*"], "mysql://2130706433/c"),
        (&["mysql://db.example"], "mysql://db.example:3307/c"),
        (&["*://*:*"], "postgres://127.0.0.1/c"),
        (&["*://*:*"], "nonsense"),
        (&["*://*:*"], "mysql:///c"),
    ] {
        assert_eq!(failed(hosts, address).await, format!("address {address} is not permitted"));
    }
}

#[tokio::test]
async fn servers_that_misbehave_cost_one_call() {
    for (answer, over_and_over) in
        [(&b""[..], false), (b"garbage ", true), (b"\xff\xff\xff\0", true)]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            while stream.write_all(answer).await.is_ok() && over_and_over {}
            std::future::pending::<()>().await;
        });
        failed(&["*://127.0.0.1:*"], &format!("mysql://a@127.0.0.1:{port}/b")).await;
    }
    let port = gyre_testkit::services::free_address().port();
    // A socket that the address asks for is none that it gets.
    let address = format!("mysql://a@127.0.0.1:{port}/b?prefer_socket=true&socket=%2Ftmp%2Fx");
    failed(&["*://127.0.0.1:*"], &address).await;
}

#[tokio::test]
async fn connections_beyond_their_limit_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("mysql://a@{}/b", listener.local_addr().unwrap());
    let mut fixture = Fixture::with_hosts(&["*://127.0.0.1:*"]);
    fixture.spec.outbound.connections.mysql = Some(0);
    let opened = Connection::open(&fixture.origin(), &address).await.map(drop);
    let text = sql::no_answer(sql::CONNECT_TIMEOUT);
    assert!(matches!(&opened, Err(v3::Error::ConnectionFailed(it)) if *it == text), "{opened:?}");
    let nobody = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    nobody.unwrap_err();
}

const TYPES: &str = "CREATE TABLE t (i1 TINYINT, u1 TINYINT UNSIGNED, i2 SMALLINT, u2 SMALLINT UNSIGNED, \
    i3 MEDIUMINT, i4 INT, u4 INT UNSIGNED, i8 BIGINT, u8 BIGINT UNSIGNED, f FLOAT, d DOUBLE, \
    v VARCHAR(9), c CHAR(9), t TEXT, b BLOB, vb VARBINARY(9), n INT)";

fn parameters() -> Vec<P> {
    vec![
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
        P::Str("Grüße".into()),
        P::Str("c".into()),
        P::Str("text".into()),
        P::Binary(vec![0, 255]),
        P::Binary(vec![1]),
        P::DbNull,
    ]
}

#[tokio::test]
async fn a_real_server() {
    let mut server = tokio::task::spawn_blocking(Service::mariadb).await.unwrap();
    let url = format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{}/{DATABASE}", server.port());
    let fixture = Fixture::with_hosts(&["mysql://127.0.0.1:*"]);
    let origin = fixture.origin();
    // It listens before it has run its first statements.
    let mut patience = 100;
    let connection = loop {
        match Connection::open(&origin, &url).await {
            Ok(connection) => break connection,
            Err(error) if patience > 0 => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                patience -= 1;
                drop(error);
            }
            Err(error) => panic!("{error:?}"),
        }
    };
    connection.execute(TYPES, vec![]).await.unwrap();
    let marks = ["?"; 17].join(",");
    connection.execute(&format!("INSERT INTO t VALUES ({marks})"), parameters()).await.unwrap();
    let (columns, rows) = connection.query("SELECT * FROM t", vec![]).await.unwrap();
    assert_eq!((columns.len(), rows.len()), (17, 1));
    assert_eq!(columns[0].name, "i1");
    let expected = [
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
        V::Str("Grüße".into()),
        V::Str("c".into()),
        V::Str("text".into()),
        V::Binary(vec![0, 255]),
        V::Binary(vec![1]),
        V::DbNull,
    ];
    assert_eq!(format!("{:?}", rows[0]), format!("{expected:?}"));

    for statement in ["SELECT DATE '2000-01-01'", "SELECT 1.5", "SELECT TIME '1:02:03'"] {
        let connection = Connection::open(&origin, &url).await.unwrap();
        let error = connection.query(statement, vec![]).await.unwrap_err();
        assert!(matches!(error, v3::Error::ValueConversionFailed(_)), "{error:?}");
        // What was left of the answer is in nobody's way.
        let (_, rows) = connection.query("SELECT 1", vec![]).await.unwrap();
        assert_eq!(rows.len(), 1);
    }
    let connection = Connection::open(&origin, &url).await.unwrap();
    let error = connection.execute("nonsense", vec![]).await.unwrap_err();
    assert!(matches!(&error, v3::Error::QueryFailed(it) if it.contains("syntax")), "{error:?}");
    let error = connection.query("SELECT ?", vec![]).await.unwrap_err();
    assert!(matches!(error, v3::Error::QueryFailed(_)), "{error:?}");

    let many = "SELECT seq FROM seq_1_to_100".to_owned();
    let mut streamed = connection.stream(many.clone(), vec![]).await.unwrap();
    assert_eq!(streamed.columns[0].name, "seq");
    let mut count = 0;
    while streamed.rows.recv().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 100);
    streamed.end.await.unwrap().unwrap();
    let error = connection.stream("nonsense".into(), vec![]).await.map(drop).unwrap_err();
    assert!(matches!(error, v3::Error::QueryFailed(_)), "{error:?}");
    let large = "SELECT REPEAT('x', 1000000) FROM seq_1_to_200";
    let error = connection.query(large, vec![]).await.unwrap_err();
    assert!(matches!(&error, v3::Error::Other(it) if *it == sql::too_large()), "{error:?}");

    let mut host = fixture.host();
    let opened = v2::HostConnection::open(&mut host, url.clone()).await.unwrap().unwrap();
    let handle = || wasmtime::component::Resource::new_borrow(opened.rep());
    let parameters = vec![v2_types::ParameterValue::Uint8(9)];
    let update = "UPDATE t SET u1 = ?".to_owned();
    v2::HostConnection::execute(&mut host, handle(), update, parameters).await.unwrap().unwrap();
    let read = "SELECT u1 FROM t".to_owned();
    let set = v2::HostConnection::query(&mut host, handle(), read.clone(), vec![]).await;
    assert!(matches!(set.unwrap().unwrap().rows[0][..], [v2_types::DbValue::Uint8(9)]));
    v2::HostConnection::drop(&mut host, opened).await.unwrap();
    let update = "UPDATE t SET u1 = 8".to_owned();
    v1::Host::execute(&mut host, url.clone(), update, vec![]).await.unwrap().unwrap();
    let set = v1::Host::query(&mut host, url.clone(), read, vec![]).await;
    assert!(matches!(set.unwrap().unwrap().rows[0][..], [v1_types::DbValue::Uint8(8)]));

    let wrong = url.replace(PASSWORD, "wrong");
    assert!(failed(&["*://127.0.0.1:*"], &wrong).await.contains("Access denied"));
    let connection = Connection::open(&origin, &url).await.unwrap();
    server.kill();
    assert!(connection.query("SELECT 1", vec![]).await.is_err());
}
