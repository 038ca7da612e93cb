//! The guest of the conformance cases: `CASE` in its environment says which. A case that goes as it should answers
//! 200 without a body; a failed expectation, or an error of the host, is a 500 whose body says what came.
//!
//! One program for all cases: it imports every interface that they need, each at the version that the SDKs of the
//! suite's time used.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::SocketAddrV4;

use guests::spin::{key_value, sqlite, variables};
use guests::{Request, Responder};
use wasip2::http::types::Method;
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

mod services {
    #![allow(clippy::all, clippy::pedantic, reason = "bindings are written by wit-bindgen")]
    wit_bindgen::generate!({
        inline: r#"
            package guests:conformance;

            world services {
                import fermyon:spin/redis@2.0.0;
                import fermyon:spin/mqtt@2.0.0;
                import spin:postgres/postgres@4.0.0;
            }

            package fermyon:spin@2.0.0 {
                interface redis {
                    variant error { invalid-address, too-many-connections, type-error, other(string) }
                    type payload = list<u8>;
                    variant redis-parameter { int64(s64), binary(payload) }
                    variant redis-result { nil, status(string), int64(s64), binary(payload) }
                    resource connection {
                        open: static func(address: string) -> result<connection, error>;
                        get: func(key: string) -> result<option<payload>, error>;
                        set: func(key: string, value: payload) -> result<_, error>;
                        incr: func(key: string) -> result<s64, error>;
                        del: func(keys: list<string>) -> result<u32, error>;
                        execute: func(command: string, arguments: list<redis-parameter>) -> result<list<redis-result>, error>;
                    }
                }
                interface mqtt {
                    variant error { invalid-address, too-many-connections, connection-failed(string), other(string) }
                    enum qos { at-most-once, at-least-once, exactly-once }
                    type payload = list<u8>;
                    resource connection {
                        open: static func(address: string, username: string, password: string, keep-alive-interval-in-secs: u64) -> result<connection, error>;
                        publish: func(topic: string, payload: payload, qos: qos) -> result<_, error>;
                    }
                }
            }

            package spin:postgres@4.0.0 {
                interface postgres {
                    variant error {
                        connection-failed(string), bad-parameter(string), query-failed(query-error),
                        value-conversion-failed(string), other(string)
                    }
                    variant query-error { text(string), db-error(db-error) }
                    record db-error {
                        as-text: string, severity: string, code: string, message: string,
                        detail: option<string>, extras: list<tuple<string, string>>,
                    }
                    variant db-data-type {
                        boolean, int8, int16, int32, int64, floating32, floating64, str, binary, date, time,
                        datetime, timestamp, uuid, jsonb, decimal, range-int32, range-int64, range-decimal,
                        array-int32, array-int64, array-decimal, array-str, interval, other(string),
                    }
                    enum range-bound-kind { inclusive, exclusive }
                    record interval { micros: s64, days: s32, months: s32 }
                    variant db-value {
                        boolean(bool), int8(s8), int16(s16), int32(s32), int64(s64), floating32(f32),
                        floating64(f64), str(string), binary(list<u8>), date(tuple<s32, u8, u8>),
                        time(tuple<u8, u8, u8, u32>), datetime(tuple<s32, u8, u8, u8, u8, u8, u32>),
                        timestamp(s64), uuid(string), jsonb(list<u8>), decimal(string),
                        range-int32(tuple<option<tuple<s32, range-bound-kind>>, option<tuple<s32, range-bound-kind>>>),
                        range-int64(tuple<option<tuple<s64, range-bound-kind>>, option<tuple<s64, range-bound-kind>>>),
                        range-decimal(tuple<option<tuple<string, range-bound-kind>>, option<tuple<string, range-bound-kind>>>),
                        array-int32(list<option<s32>>), array-int64(list<option<s64>>),
                        array-decimal(list<option<string>>), array-str(list<option<string>>),
                        interval(interval), db-null, unsupported(list<u8>),
                    }
                    variant parameter-value {
                        boolean(bool), int8(s8), int16(s16), int32(s32), int64(s64), floating32(f32),
                        floating64(f64), str(string), binary(list<u8>), date(tuple<s32, u8, u8>),
                        time(tuple<u8, u8, u8, u32>), datetime(tuple<s32, u8, u8, u8, u8, u8, u32>),
                        timestamp(s64), uuid(string), jsonb(list<u8>), decimal(string),
                        range-int32(tuple<option<tuple<s32, range-bound-kind>>, option<tuple<s32, range-bound-kind>>>),
                        range-int64(tuple<option<tuple<s64, range-bound-kind>>, option<tuple<s64, range-bound-kind>>>),
                        range-decimal(tuple<option<tuple<string, range-bound-kind>>, option<tuple<string, range-bound-kind>>>),
                        array-int32(list<option<s32>>), array-int64(list<option<s64>>),
                        array-decimal(list<option<string>>), array-str(list<option<string>>),
                        interval(interval), db-null,
                    }
                    record column { name: string, data-type: db-data-type }
                    type row = list<db-value>;
                    record row-set { columns: list<column>, rows: list<row> }
                    resource connection {
                        open: static func(address: string) -> result<connection, error>;
                        query: func(statement: string, params: list<parameter-value>) -> result<row-set, error>;
                        execute: func(statement: string, params: list<parameter-value>) -> result<u64, error>;
                    }
                }
            }
        "#,
        generate_all,
    });

    pub use fermyon::spin::{mqtt, redis};
    pub use spin::postgres::postgres;
}

use services::{mqtt, postgres, redis};

guests::serve!(handle);

/// What a case comes to: its answer's body, or what the 500 says.
type Outcome = Result<Vec<u8>, String>;

fn handle(request: Request, responder: Responder) {
    let case = std::env::var("CASE").unwrap_or_default();
    let outcome = match case.as_str() {
        "key-value" => key_value(),
        "sqlite" => sqlite(),
        "variables" => variables(),
        "request-shape" => request_shape(&request),
        "redis" => redis(),
        "mqtt" => mqtt(),
        "http" => http(&request),
        "postgres" => postgres(),
        "tcp" => tcp(),
        other => Err(format!("no such case: {other:?}")),
    };
    match outcome {
        Ok(body) => responder.send(200, &[], body),
        Err(text) => responder.send(500, &[], text),
    }
}

/// As an SDK names an error of the host.
fn named(error: impl Debug) -> String {
    format!("{error:?}")
}

fn is<T: PartialEq + Debug>(what: &str, got: T, expected: T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?}, not {expected:?}")) }
}

fn address() -> String {
    std::env::var("ADDRESS").expect("the case gives an address")
}

fn key_value() -> Outcome {
    use key_value::Store;
    let open =
        |label: &str| Store::open(label).map_err(|error| format!("Error::{}", plain(&error)));
    let store = open("default")?;
    match Store::open("forbidden") {
        Err(key_value::Error::AccessDenied) => {}
        other => return Err(format!("a store that was not granted: {:?}", other.map(drop))),
    }
    store.delete("bar").map_err(named)?;
    is("exists", store.exists("bar").map_err(named)?, false)?;
    is("get", store.get("bar").map_err(named)?, None)?;
    store.set("bar", b"baz").map_err(named)?;
    is("exists", store.exists("bar").map_err(named)?, true)?;
    is("get", store.get("bar").map_err(named)?, Some(b"baz".to_vec()))?;
    store.set("bar", b"wow").map_err(named)?;
    is("get", store.get("bar").map_err(named)?, Some(b"wow".to_vec()))?;
    is("get-keys", store.get_keys().map_err(named)?, vec!["bar".to_owned()])?;
    store.delete("bar").map_err(named)?;
    is("exists", store.exists("bar").map_err(named)?, false)?;
    is("get", store.get("bar").map_err(named)?, None)?;
    is("get-keys", store.get_keys().map_err(named)?, Vec::new())?;
    Ok(Vec::new())
}

/// The name of an error's case, without the interface that bindings put before it.
fn plain(error: &impl Debug) -> String {
    let text = format!("{error:?}");
    text.rsplit("::").next().unwrap_or(&text).to_owned()
}

fn sqlite() -> Outcome {
    use sqlite::{Connection, Error, Value};
    match Connection::open("forbidden") {
        Err(Error::AccessDenied) => {}
        other => return Err(format!("a database that was not granted: {:?}", other.map(drop))),
    }
    let database =
        Connection::open("default").map_err(|error| format!("Error::{}", plain(&error)))?;
    let run =
        |statement: &str, values: &[Value]| database.execute(statement, values).map_err(named);
    run("CREATE TABLE IF NOT EXISTS test_data (key TEXT NOT NULL, value TEXT NOT NULL)", &[])?;
    let pair = [Value::Text("my_key".into()), Value::Text("my_value".into())];
    run("INSERT INTO test_data (key, value) VALUES (?, ?)", &pair)?;
    let result = run("SELECT key, value FROM test_data WHERE key = ?", &pair[..1])?;
    is("columns", result.columns, vec!["key".to_owned(), "value".to_owned()])?;
    match &result.rows[..] {
        [row, ..] => match &row.values[..] {
            [Value::Text(key), Value::Text(value)] if key == "my_key" && value == "my_value" => {
                Ok(Vec::new())
            }
            other => Err(format!("the row: {other:?}")),
        },
        [] => Err("no row".to_owned()),
    }
}

fn variables() -> Outcome {
    use variables::{Error, get};
    is("variable", get("variable").map_err(named)?, "value".to_owned())?;
    match get("non_existent") {
        Err(Error::Undefined(_)) => {}
        other => return Err(format!("non_existent: {other:?}")),
    }
    for name in ["invalid-name", "invalid!name", "4invalidname"] {
        match get(name) {
            Err(Error::InvalidName(_)) => {}
            other => return Err(format!("{name}: {other:?}")),
        }
    }
    Ok(Vec::new())
}

fn request_shape(request: &Request) -> Outcome {
    is("method", request.method(), "GET".to_owned())?;
    let path = "/base/path/end/rest?key=value";
    is("path", request.path_and_query(), path.to_owned())?;
    let (scheme, authority) = request.scheme_and_authority();
    is("scheme", scheme, "Scheme::Http".to_owned())?;
    is("authority", authority, "example.com".to_owned())?;
    is("a header", request.header("my-header"), Some("my-value".to_owned()))?;
    let expected = [
        ("spin-raw-component-route", "/base/:path_segment/:path_end/..."),
        ("spin-full-url", "http://example.com/base/path/end/rest?key=value"),
        ("spin-path-info", "/rest"),
        ("spin-base-path", "/"),
        ("spin-component-route", "/base/:path_segment/:path_end"),
        ("spin-path-match-path-segment", "path"),
        ("spin-path-match-path-end", "end"),
        ("spin-matched-route", "/base/:path_segment/:path_end/..."),
    ];
    for (name, value) in expected {
        is(name, request.header(name), Some(value.to_owned()))?;
    }
    let client = request.header("spin-client-addr").unwrap_or_default();
    client.parse::<std::net::SocketAddr>().map_err(|error| format!("{client}: {error}"))?;
    for (name, _) in request.headers() {
        let is_known = name == "spin-client-addr" || expected.iter().any(|(each, _)| *each == name);
        if name.starts_with("spin-") && !is_known {
            return Err(format!("a header that should not be there: {name}"));
        }
    }
    Ok(Vec::new())
}

fn redis() -> Outcome {
    use redis::{Connection, RedisParameter, RedisResult};
    let open = Connection::open(&address());
    let redis = open.map_err(|error| format!("Error::{}", plain(&error)))?;
    redis.set("spin-example", &b"Eureka!".to_vec()).map_err(named)?;
    is("get", redis.get("spin-example").map_err(named)?, Some(b"Eureka!".to_vec()))?;
    redis.set("int-key", &b"0".to_vec()).map_err(named)?;
    is("incr", redis.incr("int-key").map_err(named)?, 1)?;
    is("del", redis.del(&["int-key".to_owned()]).map_err(named)?, 1)?;
    is("get", redis.get("int-key").map_err(named)?, None)?;
    let binary = |text: &str| RedisParameter::Binary(text.as_bytes().to_vec());
    let run = |command: &str, arguments: &[RedisParameter]| {
        redis.execute(command, arguments).map_err(named)
    };
    match &run("set", &[binary("foo"), binary("bar")])?[..] {
        [RedisResult::Status(status)] if status == "OK" => {}
        other => return Err(format!("set: {other:?}")),
    }
    match &run("append", &[binary("foo"), binary("baz")])?[..] {
        [RedisResult::Int64(6)] => {}
        other => return Err(format!("append: {other:?}")),
    }
    match &run("get", &[binary("foo")])?[..] {
        [RedisResult::Binary(value)] if value == b"barbaz" => Ok(Vec::new()),
        other => Err(format!("get: {other:?}")),
    }
}

fn mqtt() -> Outcome {
    use mqtt::{Connection, Error, Qos};
    let open = Connection::open(&address(), "user", "password", 30);
    let connection = open.map_err(|error| match error {
        Error::ConnectionFailed(text) => format!("Error::ConnectionFailed({text:?})"),
        other => format!("Error::{}", plain(&other)),
    })?;
    connection.publish("telemetry", &b"Eureka!".to_vec(), Qos::AtLeastOnce).map_err(named)?;
    Ok(Vec::new())
}

fn http(request: &Request) -> Outcome {
    let body = request.bytes();
    let fetched = guests::fetch(&Method::Post, &address(), &[], Some(&body));
    fetched.map(|fetched| fetched.body).map_err(|code| {
        let code = code.rsplit("::").next().unwrap_or_default();
        format!("incoming-response#get: ErrorCode::{code}")
    })
}

fn postgres() -> Outcome {
    use postgres::{Connection, DbValue, ParameterValue, RangeBoundKind};
    let database = Connection::open(&address()).map_err(named)?;
    let execute = |statement: &str, values: &[ParameterValue]| {
        database.execute(statement, values).map_err(named)
    };
    execute(
        "CREATE TEMPORARY TABLE everything (
            abool boolean, asmall int2, aint int4, abig int8, areal float4, adouble float8,
            atext text, avarchar varchar(20), achar char(4), abytes bytea, adate date, atime time,
            astamp timestamp, auuid uuid, ajson jsonb, anumber numeric(20, 4), arange int4range,
            alongrange int8range, anumrange numrange, ints int4[], longs int8[], numbers numeric[],
            texts text[], aninterval interval, anull text)",
        &[],
    )?;
    let values = [
        ParameterValue::Boolean(true),
        ParameterValue::Int16(-2),
        ParameterValue::Int32(3),
        ParameterValue::Int64(-4),
        ParameterValue::Floating32(5.5),
        ParameterValue::Floating64(-6.25),
        ParameterValue::Str("rice".into()),
        ParameterValue::Str("beans".into()),
        ParameterValue::Str("abcd".into()),
        ParameterValue::Binary(vec![0, 1, 255]),
        ParameterValue::Date((2525, 12, 25)),
        ParameterValue::Time((4, 5, 6, 789_000_000)),
        ParameterValue::Datetime((1989, 11, 24, 1, 2, 3, 4_000)),
        ParameterValue::Uuid("12341234-1234-1234-1234-123412341234".into()),
        ParameterValue::Jsonb(br#"{"s": "hello"}"#.to_vec()),
        ParameterValue::Decimal("123456789012.3456".into()),
        ParameterValue::RangeInt32((
            Some((45, RangeBoundKind::Inclusive)),
            Some((89, RangeBoundKind::Exclusive)),
        )),
        ParameterValue::RangeInt64((Some((1, RangeBoundKind::Inclusive)), None)),
        ParameterValue::RangeDecimal((
            Some(("1.5".into(), RangeBoundKind::Exclusive)),
            Some(("2.5".into(), RangeBoundKind::Inclusive)),
        )),
        ParameterValue::ArrayInt32(vec![Some(1), None, Some(3)]),
        ParameterValue::ArrayInt64(vec![Some(-1)]),
        ParameterValue::ArrayDecimal(vec![Some("0.5".into()), None]),
        ParameterValue::ArrayStr(vec![Some("a".into()), None]),
        ParameterValue::Interval(postgres::Interval { micros: 1_000, days: 2, months: 3 }),
        ParameterValue::DbNull,
    ];
    let places: Vec<String> = (1..=values.len()).map(|n| format!("${n}")).collect();
    let insert = format!("INSERT INTO everything VALUES ({})", places.join(", "));
    is("rows inserted", execute(&insert, &values)?, 1)?;
    let result = database.query("SELECT * FROM everything", &[]).map_err(named)?;
    is("columns", result.columns.len(), values.len())?;
    let [row] = &result.rows[..] else { return Err(format!("{} rows", result.rows.len())) };
    // The two enumerations name their cases alike.
    for ((value, got), column) in values.iter().zip(row).zip(&result.columns) {
        let (expected, got_text) = (plain_value(value), plain_value(got));
        if matches!(got, DbValue::Jsonb(_)) {
            continue;
        }
        is(&column.name, got_text, expected)?;
    }
    Ok(Vec::new())
}

fn plain_value(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    text.replace("ParameterValue::", "").replace("DbValue::", "")
}

fn tcp() -> Outcome {
    let address: SocketAddrV4 = address().parse().expect("an IPv4 address and a port");
    exchange(address, b"So rested he by the Tumtum tree").map_err(|code| {
        // As Rust's standard library shows an error of a socket.
        let name = match code {
            ErrorCode::AccessDenied => "access-denied".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        format!("{name} (error {})", code as u8)
    })?;
    Ok(Vec::new())
}

fn exchange(address: SocketAddrV4, message: &[u8]) -> Result<(), ErrorCode> {
    let network = instance_network();
    let socket = create_tcp_socket(IpAddressFamily::Ipv4)?;
    let [a, b, c, d] = address.ip().octets();
    let remote =
        IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) });
    socket.start_connect(&network, remote)?;
    let ready = socket.subscribe();
    let (mut input, mut output) = loop {
        match socket.finish_connect() {
            Err(ErrorCode::WouldBlock) => ready.block(),
            other => break other?,
        }
    };
    output.write_all(message).expect("the message is sent");
    output.flush().expect("the message is sent");
    let mut answer = vec![0; message.len()];
    input.read_exact(&mut answer).expect("an answer comes");
    assert_eq!(answer, message, "the answer is the message");
    Ok(())
}
