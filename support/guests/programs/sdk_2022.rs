//! Uses every function that the SDKs of 2022 and of Spin 1 gave to core modules, by the ABI of their bindings, and takes
//! requests and messages. What it does is its path; what follows `?` is an address.

mod abi_2022;

use std::ptr::null;

use abi_2022::{Area, Case, Text, Value, number, owned, text, texts};

type Place = *mut u8;

#[link(wasm_import_module = "wasi-outbound-http")]
unsafe extern "C" {
    #[link_name = "request"]
    fn http_request(
        method: u32,
        uri: *const u8,
        uri_len: usize,
        headers: *const [Text; 2],
        headers_len: usize,
        params: *const [Text; 2],
        params_len: usize,
        has_body: u32,
        body: *const u8,
        body_len: usize,
        result: Place,
    );
}

#[link(wasm_import_module = "spin-config")]
unsafe extern "C" {
    #[link_name = "get-config"]
    fn get_config(key: *const u8, len: usize, result: Place);
}

#[link(wasm_import_module = "outbound-redis")]
unsafe extern "C" {
    #[link_name = "publish"]
    fn redis_publish(
        address: *const u8,
        len: usize,
        channel: *const u8,
        channel_len: usize,
        payload: *const u8,
        payload_len: usize,
        result: Place,
    );
    #[link_name = "get"]
    fn redis_get(address: *const u8, len: usize, key: *const u8, key_len: usize, result: Place);
    #[link_name = "set"]
    fn redis_set(
        address: *const u8,
        len: usize,
        key: *const u8,
        key_len: usize,
        value: *const u8,
        value_len: usize,
        result: Place,
    );
    #[link_name = "incr"]
    fn redis_incr(address: *const u8, len: usize, key: *const u8, key_len: usize, result: Place);
    #[link_name = "del"]
    fn redis_del(address: *const u8, len: usize, keys: *const Text, count: usize, result: Place);
    #[link_name = "sadd"]
    fn redis_sadd(
        address: *const u8,
        len: usize,
        key: *const u8,
        key_len: usize,
        values: *const Text,
        count: usize,
        result: Place,
    );
    #[link_name = "smembers"]
    fn redis_smembers(
        address: *const u8,
        len: usize,
        key: *const u8,
        key_len: usize,
        result: Place,
    );
    #[link_name = "srem"]
    fn redis_srem(
        address: *const u8,
        len: usize,
        key: *const u8,
        key_len: usize,
        values: *const Text,
        count: usize,
        result: Place,
    );
    #[link_name = "execute"]
    fn redis_execute(
        address: *const u8,
        len: usize,
        command: *const u8,
        command_len: usize,
        parameters: *const Case,
        count: usize,
        result: Place,
    );
}

#[link(wasm_import_module = "outbound-pg")]
unsafe extern "C" {
    #[link_name = "query"]
    fn pg_query(
        address: *const u8,
        len: usize,
        statement: *const u8,
        statement_len: usize,
        parameters: *const Case,
        count: usize,
        result: Place,
    );
    #[link_name = "execute"]
    fn pg_execute(
        address: *const u8,
        len: usize,
        statement: *const u8,
        statement_len: usize,
        parameters: *const Case,
        count: usize,
        result: Place,
    );
}

#[link(wasm_import_module = "outbound-mysql")]
unsafe extern "C" {
    #[link_name = "query"]
    fn mysql_query(
        address: *const u8,
        len: usize,
        statement: *const u8,
        statement_len: usize,
        parameters: *const Case,
        count: usize,
        result: Place,
    );
    #[link_name = "execute"]
    fn mysql_execute(
        address: *const u8,
        len: usize,
        statement: *const u8,
        statement_len: usize,
        parameters: *const Case,
        count: usize,
        result: Place,
    );
}

#[link(wasm_import_module = "key-value")]
unsafe extern "C" {
    #[link_name = "open"]
    fn kv_open(name: *const u8, len: usize, result: Place);
    #[link_name = "get"]
    fn kv_get(store: u32, key: *const u8, len: usize, result: Place);
    #[link_name = "set"]
    fn kv_set(
        store: u32,
        key: *const u8,
        len: usize,
        value: *const u8,
        value_len: usize,
        result: Place,
    );
    #[link_name = "delete"]
    fn kv_delete(store: u32, key: *const u8, len: usize, result: Place);
    #[link_name = "exists"]
    fn kv_exists(store: u32, key: *const u8, len: usize, result: Place);
    #[link_name = "get-keys"]
    fn kv_get_keys(store: u32, result: Place);
    #[link_name = "close"]
    fn kv_close(store: u32);
}

#[link(wasm_import_module = "sqlite")]
unsafe extern "C" {
    #[link_name = "open"]
    fn sqlite_open(name: *const u8, len: usize, result: Place);
    #[link_name = "execute"]
    fn sqlite_execute(
        connection: u32,
        statement: *const u8,
        len: usize,
        parameters: *const Case,
        count: usize,
        result: Place,
    );
    #[link_name = "close"]
    fn sqlite_close(connection: u32);
}

#[link(wasm_import_module = "llm")]
unsafe extern "C" {
    #[link_name = "infer"]
    fn llm_infer(
        model: *const u8,
        len: usize,
        prompt: *const u8,
        prompt_len: usize,
        has_params: u32,
        max_tokens: u32,
        repeat_penalty: f32,
        repeat_penalty_last_n_token_count: u32,
        temperature: f32,
        top_k: u32,
        top_p: f32,
        result: Place,
    );
    #[link_name = "generate-embeddings"]
    fn llm_generate_embeddings(
        model: *const u8,
        len: usize,
        texts: *const Text,
        count: usize,
        result: Place,
    );
}

/// Where a call's result is put, which begins with whether it failed.
fn call(call: impl FnOnce(Place)) -> (Result<(), ()>, Area) {
    let mut area = Area([0xee; 64]);
    call(area.place());
    let result = match area.0[0] {
        0 => Ok(()),
        1 => Err(()),
        other => panic!("{other} is no result"),
    };
    (result, area)
}

/// An error that is a number, of some of which there is a text.
fn error(at: Value, names: &[&str]) -> String {
    let case = usize::from(at.u8());
    match names[case].strip_suffix("()") {
        Some(name) => format!("{name}({:?})", at.at(4).string()),
        None => names[case].to_owned(),
    }
}

mod redis {
    use super::*;

    fn told<T>(
        at: usize,
        (result, area): (Result<(), ()>, Area),
        ok: impl FnOnce(Value) -> T,
    ) -> Result<T, String> {
        match result {
            Ok(()) => Ok(ok(area.at(at))),
            Err(()) => Err(error(area.at(at), &["success", "error"])),
        }
    }

    pub fn publish(address: &str, channel: &str, payload: &[u8]) -> Result<(), String> {
        let [Text(a, al), Text(c, cl), Text(p, pl)] =
            [Text::of(address), Text::of(channel), Text::of(payload)];
        told(1, call(|it| unsafe { redis_publish(a, al, c, cl, p, pl, it) }), |_| ())
    }

    pub fn set(address: &str, key: &str, value: &[u8]) -> Result<(), String> {
        let [Text(a, al), Text(k, kl), Text(v, vl)] =
            [Text::of(address), Text::of(key), Text::of(value)];
        told(1, call(|it| unsafe { redis_set(a, al, k, kl, v, vl, it) }), |_| ())
    }

    pub fn get(address: &str, key: &str) -> Result<Vec<u8>, String> {
        let [Text(a, al), Text(k, kl)] = [Text::of(address), Text::of(key)];
        told(4, call(|it| unsafe { redis_get(a, al, k, kl, it) }), Value::bytes)
    }

    pub fn incr(address: &str, key: &str) -> Result<i64, String> {
        let [Text(a, al), Text(k, kl)] = [Text::of(address), Text::of(key)];
        told(8, call(|it| unsafe { redis_incr(a, al, k, kl, it) }), Value::i64)
    }

    pub fn del(address: &str, keys: &[&str]) -> Result<i64, String> {
        let (Text(a, al), keys) = (Text::of(address), texts(keys));
        told(8, call(|it| unsafe { redis_del(a, al, keys.as_ptr(), keys.len(), it) }), Value::i64)
    }

    pub fn sadd(address: &str, key: &str, values: &[&str]) -> Result<i64, String> {
        let ([Text(a, al), Text(k, kl)], v) = ([Text::of(address), Text::of(key)], texts(values));
        told(8, call(|it| unsafe { redis_sadd(a, al, k, kl, v.as_ptr(), v.len(), it) }), Value::i64)
    }

    pub fn srem(address: &str, key: &str, values: &[&str]) -> Result<i64, String> {
        let ([Text(a, al), Text(k, kl)], v) = ([Text::of(address), Text::of(key)], texts(values));
        told(8, call(|it| unsafe { redis_srem(a, al, k, kl, v.as_ptr(), v.len(), it) }), Value::i64)
    }

    pub fn smembers(address: &str, key: &str) -> Result<Vec<String>, String> {
        let [Text(a, al), Text(k, kl)] = [Text::of(address), Text::of(key)];
        let result = call(|it| unsafe { redis_smembers(a, al, k, kl, it) });
        told(4, result, |list| list.list(8).map(Value::string).collect())
    }

    /// What it gives, each part as a text.
    pub fn execute(
        address: &str,
        command: &str,
        parameters: &[Case],
    ) -> Result<Vec<String>, String> {
        let [Text(a, al), Text(c, cl)] = [Text::of(address), Text::of(command)];
        let (p, pl) = (parameters.as_ptr(), parameters.len());
        let result = call(|it| unsafe { redis_execute(a, al, c, cl, p, pl, it) });
        told(4, result, |list| {
            let part = |part: Value| match part.u8() {
                0 => "nil".to_owned(),
                1 => format!("status {}", part.at(8).string()),
                2 => format!("int64 {}", part.at(8).i64()),
                3 => format!("binary {}", String::from_utf8_lossy(&part.at(8).bytes())),
                other => panic!("{other} is no result"),
            };
            list.list(16).map(part).collect()
        })
    }
}

/// The errors of both databases.
const DATABASE_ERRORS: [&str; 6] = [
    "success",
    "connection-failed()",
    "bad-parameter()",
    "query-failed()",
    "value-conversion-failed()",
    "other-error()",
];

/// Columns and rows, each value as a text: one line for the columns, then one for each row.
fn table(at: Value) -> String {
    const TYPES: [&str; 14] = [
        "boolean",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "floating32",
        "floating64",
        "str",
        "binary",
        "other",
    ];
    let value = |value: Value| {
        let at = value.at(8);
        match value.u8() {
            0 => format!("{}", at.u8() == 1),
            2 => format!("{}", at.u16().cast_signed()),
            3 => format!("{}", at.u32().cast_signed()),
            4 => format!("{}", at.i64()),
            10 => format!("{}", at.f64()),
            11 => at.string(),
            12 => format!("{:?}", at.bytes()),
            13 => "null".to_owned(),
            other => format!("case {other}"),
        }
    };
    let columns = at.list(12);
    let columns =
        columns.map(|it| format!("{}:{}", it.string(), TYPES[usize::from(it.at(8).u8())]));
    let mut lines = vec![columns.collect::<Vec<_>>().join(" ")];
    let rows = at.at(8).list(8);
    lines.extend(rows.map(|row| row.list(16).map(value).collect::<Vec<_>>().join(" ")));
    lines.join("\n")
}

type Ask = unsafe extern "C" fn(*const u8, usize, *const u8, usize, *const Case, usize, Place);

fn ask(ask: Ask, address: &str, statement: &str, parameters: &[Case]) -> (Result<(), ()>, Area) {
    let [Text(a, al), Text(s, sl)] = [Text::of(address), Text::of(statement)];
    call(|it| unsafe { ask(a, al, s, sl, parameters.as_ptr(), parameters.len(), it) })
}

/// Rows as a text.
fn query(
    function: Ask,
    address: &str,
    statement: &str,
    parameters: &[Case],
) -> Result<String, String> {
    match ask(function, address, statement, parameters) {
        (Ok(()), area) => Ok(table(area.at(4))),
        (Err(()), area) => Err(error(area.at(4), &DATABASE_ERRORS)),
    }
}

fn pg(address: &str) {
    let execute = |statement: &str, parameters: &[Case]| match ask(
        pg_execute, address, statement, parameters,
    ) {
        (Ok(()), area) => Ok(area.at(8).i64()),
        (Err(()), area) => Err(error(area.at(8), &DATABASE_ERRORS)),
    };
    let query =
        |statement: &str, parameters: &[Case]| query(pg_query, address, statement, parameters);
    let columns = "yes boolean, small int2, id int4, big int8, rate float8, name text, data bytea, nothing text";
    execute(&format!("CREATE TABLE old ({columns})"), &[]).expect("it is made");
    let values = [
        number(0, 1),
        number(2, -2),
        number(3, -3),
        number(4, i64::MIN),
        number(10, 0.5f64.to_bits().cast_signed()),
        text(11, "näme"),
        text(12, &[1, 0, 2]),
        number(13, 0),
    ];
    let insert = "INSERT INTO old VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    assert_eq!(execute(insert, &values), Ok(1));
    let rows =
        query("SELECT * FROM old WHERE name = $1", &[text(11, "näme")]).expect("there is one");
    assert_eq!(
        rows,
        "yes:boolean small:int16 id:int32 big:int64 rate:floating64 name:str data:binary nothing:str\n\
         true -2 -3 -9223372036854775808 0.5 näme [1, 0, 2] null"
    );
    let failed = query("SELECT nonsense", &[]).expect_err("there is no such column");
    assert!(failed.starts_with("query-failed(") && failed.contains("nonsense"), "{failed}");
    let failed = execute("NONSENSE", &[]).expect_err("it is none");
    assert!(failed.starts_with("query-failed("), "{failed}");
}

fn mysql(address: &str) {
    let execute = |statement: &str, parameters: &[Case]| match ask(
        mysql_execute,
        address,
        statement,
        parameters,
    ) {
        (Ok(()), _) => Ok(()),
        (Err(()), area) => Err(error(area.at(4), &DATABASE_ERRORS)),
    };
    let query =
        |statement: &str, parameters: &[Case]| query(mysql_query, address, statement, parameters);
    let columns =
        "id int, big bigint, rate double, name varchar(20), data blob, nothing varchar(20)";
    execute(&format!("CREATE TABLE old ({columns})"), &[]).expect("it is made");
    let values = [
        number(3, -3),
        number(4, i64::MIN),
        number(10, 0.5f64.to_bits().cast_signed()),
        text(11, "näme"),
        text(12, &[1, 0, 2]),
        number(13, 0),
    ];
    execute("INSERT INTO old VALUES (?, ?, ?, ?, ?, ?)", &values).expect("it is put in");
    let rows =
        query("SELECT * FROM old WHERE name = ?", &[text(11, "näme")]).expect("there is one");
    assert_eq!(
        rows,
        "id:int32 big:int64 rate:floating64 name:str data:binary nothing:str\n\
         -3 -9223372036854775808 0.5 näme [1, 0, 2] null"
    );
    let failed = query("SELECT nonsense", &[]).expect_err("there is no such column");
    assert!(failed.starts_with("query-failed(") && failed.contains("nonsense"), "{failed}");
    let failed = execute("NONSENSE", &[]).expect_err("it is none");
    assert!(failed.starts_with("query-failed("), "{failed}");
}

fn all_of_redis(address: &str) {
    redis::set(address, "old", b"value").expect("it is set");
    assert_eq!(redis::get(address, "old"), Ok(b"value".to_vec()));
    assert_eq!(redis::get(address, "old-nothing"), Ok(Vec::new()));
    assert_eq!(redis::incr(address, "old-count"), Ok(1));
    assert_eq!(redis::incr(address, "old"), Err("error".to_owned()));
    assert_eq!(redis::del(address, &["old", "old-count", "none"]), Ok(2));
    assert_eq!(redis::sadd(address, "old-set", &["a", "b", "a"]), Ok(2));
    let mut members = redis::smembers(address, "old-set").expect("they are listed");
    members.sort();
    assert_eq!(members, ["a", "b"]);
    assert_eq!(redis::srem(address, "old-set", &["a", "c"]), Ok(1));
    redis::publish(address, "channel", b"message").expect("it is published");
    let list = [text(1, "old-list"), text(1, "a"), number(0, -7)];
    assert_eq!(redis::execute(address, "RPUSH", &list), Ok(vec!["int64 2".to_owned()]));
    let range = [text(1, "old-list"), number(0, 0), number(0, -1)];
    let parts = redis::execute(address, "LRANGE", &range).expect("it is run");
    assert_eq!(parts, ["binary a", "binary -7"]);
    assert_eq!(redis::execute(address, "PING", &[]), Ok(vec!["status PONG".to_owned()]));
    assert_eq!(redis::execute(address, "GET", &[text(1, "nothing")]), Ok(vec!["nil".to_owned()]));
    assert_eq!(redis::execute(address, "NONSENSE", &[]), Err("error".to_owned()));
}

const STORE_ERRORS: [&str; 6] =
    ["store-table-full", "no-such-store", "access-denied", "invalid-store", "no-such-key", "io()"];

fn in_store<T>(
    (result, area): (Result<(), ()>, Area),
    ok: impl FnOnce(Value) -> T,
) -> Result<T, String> {
    match result {
        Ok(()) => Ok(ok(area.at(4))),
        Err(()) => Err(error(area.at(4), &STORE_ERRORS)),
    }
}

fn open_store(name: &str) -> Result<u32, String> {
    let Text(n, nl) = Text::of(name);
    in_store(call(|it| unsafe { kv_open(n, nl, it) }), Value::u32)
}

fn store() {
    let store = open_store("default").expect("it is there");
    let Text(k, kl) = Text::of("key");
    let get = |store| in_store(call(|it| unsafe { kv_get(store, k, kl, it) }), Value::bytes);
    let exists = || in_store(call(|it| unsafe { kv_exists(store, k, kl, it) }), Value::u8);
    assert_eq!(get(store), Err("no-such-key".to_owned()));
    assert_eq!(exists(), Ok(0));
    let Text(v, vl) = Text::of("value");
    in_store(call(|it| unsafe { kv_set(store, k, kl, v, vl, it) }), |_| ()).expect("it is set");
    assert_eq!(get(store), Ok(b"value".to_vec()));
    assert_eq!(exists(), Ok(1));
    let keys = call(|it| unsafe { kv_get_keys(store, it) });
    let keys = in_store(keys, |list| list.list(8).map(Value::string).collect::<Vec<_>>());
    assert_eq!(keys, Ok(vec!["key".to_owned()]));
    in_store(call(|it| unsafe { kv_delete(store, k, kl, it) }), |_| ()).expect("it is gone");
    assert_eq!(exists(), Ok(0));
    unsafe { kv_close(store) };
    assert_eq!(get(store), Err("invalid-store".to_owned()));
    assert_eq!(open_store("other"), Err("access-denied".to_owned()));
}

const SQLITE_ERRORS: [&str; 5] =
    ["no-such-database", "access-denied", "invalid-connection", "database-full", "io()"];

fn sqlite() {
    let open = |name: &str| {
        let Text(n, nl) = Text::of(name);
        match call(|it| unsafe { sqlite_open(n, nl, it) }) {
            (Ok(()), area) => Ok(area.at(4).u32()),
            (Err(()), area) => Err(error(area.at(4), &SQLITE_ERRORS)),
        }
    };
    let connection = open("default").expect("it is there");
    let execute = |statement: &str, parameters: &[Case]| {
        let (Text(s, sl), p) = (Text::of(statement), parameters.as_ptr());
        match call(|it| unsafe { sqlite_execute(connection, s, sl, p, parameters.len(), it) }) {
            (Ok(()), area) => {
                let columns: Vec<String> = area.at(4).list(8).map(Value::string).collect();
                let value = |value: Value| match value.u8() {
                    0 => format!("{}", value.at(8).i64()),
                    1 => format!("{}", value.at(8).f64()),
                    2 => value.at(8).string(),
                    3 => format!("{:?}", value.at(8).bytes()),
                    4 => "null".to_owned(),
                    other => panic!("{other} is no value"),
                };
                let rows = area.at(12).list(8).map(|row| row.list(16).map(value).collect());
                Ok((columns, rows.collect::<Vec<Vec<String>>>()))
            }
            (Err(()), area) => Err(error(area.at(4), &SQLITE_ERRORS)),
        }
    };
    let half = number(1, 0.5f64.to_bits().cast_signed());
    let values = [number(0, -1), half, text(2, "text"), text(3, &[9]), number(4, 0)];
    let (columns, rows) = execute("SELECT ? AS a, ?, ?, ?, ?", &values).expect("it is selected");
    assert_eq!(columns[0], "a");
    assert_eq!(rows, [["-1", "0.5", "text", "[9]", "null"]]);
    let failed = execute("NONSENSE", &[]).expect_err("it is none");
    assert!(failed.starts_with("io("), "{failed}");
    unsafe { sqlite_close(connection) };
    assert_eq!(execute("SELECT 1", &[]), Err("invalid-connection".to_owned()));
    assert_eq!(open("other"), Err("access-denied".to_owned()));
}

fn config(key: &str) -> Result<String, String> {
    let Text(k, kl) = Text::of(key);
    match call(|it| unsafe { get_config(k, kl, it) }) {
        (Ok(()), area) => Ok(area.at(4).string()),
        (Err(()), area) => {
            let names = ["provider()", "invalid-key()", "invalid-schema()", "other()"];
            Err(error(area.at(4), &names))
        }
    }
}

/// What two models say that the component may not use.
fn models() -> String {
    let errors = ["model-not-supported", "runtime-error()", "invalid-input()"];
    let [Text(m, ml), Text(p, pl)] = [Text::of("no-model"), Text::of("prompt")];
    let (result, area) = call(|it| unsafe {
        llm_infer(m, ml, p, pl, 1, 10, 1.0, 64, 0.5, 40, 0.9, it);
    });
    result.expect_err("there is none");
    let inferred = error(area.at(4), &errors);
    let prompts = texts(&["one", "two"]);
    let (result, area) = call(|it| unsafe {
        llm_generate_embeddings(m, ml, prompts.as_ptr(), prompts.len(), it);
    });
    result.expect_err("there is none");
    format!("{inferred}\n{}", error(area.at(4), &errors))
}

/// Posts to an address. The answer's status, `content-type` and body.
fn send(uri: &str) -> String {
    let [Text(u, ul), Text(b, bl)] = [Text::of(uri), Text::of("a body")];
    let headers = [[Text::of("x-own"), Text::of("old")]];
    let (result, area) = call(|it| unsafe {
        http_request(1, u, ul, headers.as_ptr(), headers.len(), null(), 0, 1, b, bl, it);
    });
    if result.is_err() {
        let names = [
            "success",
            "destination-not-allowed",
            "invalid-url",
            "request-error",
            "runtime-error",
            "too-many-requests",
        ];
        return error(area.at(4), &names);
    }
    assert_eq!((area.0[8], area.0[20]), (1, 1), "headers and body are there");
    let headers: Vec<(String, String)> =
        area.at(12).list(16).map(|header| (header.string(), header.at(8).string())).collect();
    let kind = headers.iter().find(|(name, _)| name == "content-type");
    format!("{} {:?}\n{}", area.at(4).u16(), kind.map(|(_, value)| value), area.at(24).string())
}

static mut RESPONSE: Area = Area::new();
static mut HANDLED: Area = Area::new();

/// Leaves a response for the host: some headers or none, some body or none.
fn respond(status: u16, headers: Option<Vec<[Text; 2]>>, body: Option<Vec<u8>>) -> *const u8 {
    #[allow(static_mut_refs, reason = "there is one thread, and one request")]
    let response = unsafe { &mut RESPONSE };
    response.set_u16(0, status);
    if let Some(headers) = headers {
        response.0[4] = 1;
        response.set_list(8, headers);
    }
    if let Some(body) = body {
        response.0[16] = 1;
        response.set_list(20, body);
    }
    response.place()
}

#[unsafe(export_name = "handle-http-request")]
unsafe extern "C" fn handle_http_request(
    method: u32,
    uri: u32,
    uri_len: u32,
    headers: u32,
    headers_len: u32,
    _params: u32,
    params_len: u32,
    has_body: u32,
    body: u32,
    body_len: u32,
) -> *const u8 {
    let uri = String::from_utf8(unsafe { owned(uri, uri_len) }).expect("it is text");
    let list = [headers, headers_len];
    let headers = Value::of(list.as_ptr().cast()).list(16);
    let headers: Vec<String> =
        headers.map(|header| format!("{}: {}", header.string(), header.at(8).string())).collect();
    let body = (has_body == 1).then(|| unsafe { owned(body, body_len) });
    let (path, argument) = uri.split_once('?').unwrap_or((&uri, ""));
    let text = match path {
        "/echo" => {
            println!("on standard output");
            let body = body.map(|body| String::from_utf8(body).expect("it is text"));
            let mut lines = vec![format!("{method} {uri} {params_len} {body:?}")];
            lines.extend(headers);
            let headers =
                vec![[Text::of("x-one"), Text::of("1")], [Text::of("x-two"), Text::of("2")]];
            return respond(201, Some(headers), Some(lines.join("\n").into_bytes()));
        }
        "/plain" => return respond(204, None, None),
        "/status" => return respond(argument.parse().expect("it is a number"), None, None),
        "/trap" => panic!("as asked"),
        "/http" => send(argument),
        "/redis" => {
            all_of_redis(argument);
            "ok".to_owned()
        }
        "/pg" => {
            pg(argument);
            "ok".to_owned()
        }
        "/mysql" => {
            mysql(argument);
            "ok".to_owned()
        }
        "/key-value" => {
            store();
            "ok".to_owned()
        }
        "/sqlite" => {
            sqlite();
            "ok".to_owned()
        }
        "/config" => config(argument).unwrap_or_else(|error| error),
        "/llm" => models(),
        "/denied" => [
            redis::get(&format!("redis://{argument}"), "key").map(drop),
            query(pg_query, &format!("postgres://{argument}/db"), "SELECT 1", &[]).map(drop),
            query(mysql_query, &format!("mysql://{argument}/db"), "SELECT 1", &[]).map(drop),
            Err(send(&format!("http://{argument}/"))),
        ]
        .map(|result| result.expect_err("it is not allowed"))
        .join("\n"),
        other => panic!("nothing is called {other}"),
    };
    respond(200, Some(Vec::new()), Some(text.into_bytes()))
}

#[unsafe(export_name = "handle-redis-message")]
unsafe extern "C" fn handle_redis_message(message: u32, len: u32) -> *const u8 {
    let message = String::from_utf8(unsafe { owned(message, len) }).expect("it is text");
    println!("old redis: {message}");
    #[allow(static_mut_refs, reason = "there is one thread, and one message")]
    let handled = unsafe { &mut HANDLED };
    // Behind whether it failed is the error, of which the second is one.
    let failed = u8::from(message == "fail");
    handled.0[..2].copy_from_slice(&[failed, failed]);
    handled.place()
}
