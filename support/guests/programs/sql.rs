//! Uses every function of PostgreSQL, MySQL and language models that is not asynchronous, in every version, on the
//! server at `?address=`, and answers `ok`: `/postgres1`, `/postgres2`, `/postgres3`, `/mysql1`, `/mysql2`; `/llm1` and
//! `/llm2` with the model `?model=`. `/denied` says what a server that it may not reach gives, `/no-model?model=` what
//! a model that it may not use gives, or one that nothing runs.

use guests::{Request, Responder};

mod bindings {
    #![allow(clippy::all, clippy::pedantic, reason = "bindings are written by wit-bindgen")]
    wit_bindgen::generate!({
        path: "../../wit",
        inline: r#"
            package guests:sql;

            world sql {
                import spin:postgres/postgres@3.0.0;
                import fermyon:spin/postgres@2.0.0;
                import fermyon:spin/postgres;
                import fermyon:spin/mysql@2.0.0;
                import fermyon:spin/mysql;
                import fermyon:spin/llm@2.0.0;
                import fermyon:spin/llm;
            }
        "#,
        world: "guests:sql/sql",
        generate_all,
    });

    pub use fermyon::spin::{
        llm as llm1, mysql as mysql1, postgres as postgres1, rdbms_types as types1,
    };
    pub use fermyon::spin2_0_0::{
        llm as llm2, mysql as mysql2, postgres as postgres2, rdbms_types as types2,
    };
    pub use spin::postgres3_0_0::postgres as postgres3;
}

use bindings::{
    llm1, llm2, mysql1, mysql2, postgres1, postgres2, postgres3, postgres3 as types3, types1,
    types2,
};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    let address = request.query("address").unwrap_or_default();
    let model = request.query("model").unwrap_or_default();
    match request.path().as_str() {
        "/postgres1" => postgres_1(&address),
        "/postgres2" => postgres_2(&address),
        "/postgres3" => postgres_3(&address),
        "/mysql1" => mysql_1(&address),
        "/mysql2" => mysql_2(&address),
        "/llm1" => llm_1(&model),
        "/llm2" => llm_2(&model),
        "/denied" => return responder.text(denied(&address)),
        "/no-model" => return responder.text(no_model(&model)),
        other => panic!("no part {other}"),
    }
    responder.text("ok");
}

fn denied(address: &str) -> String {
    let mysql = address.replace("postgres:", "mysql:");
    [
        format!("{:?}", postgres1::query(address, "SELECT 1", &[]).map(drop)),
        format!("{:?}", postgres1::execute(address, "SELECT 1", &[])),
        format!("{:?}", postgres2::Connection::open(address).map(drop)),
        format!("{:?}", postgres3::Connection::open(address).map(drop)),
        format!("{:?}", mysql1::query(&mysql, "SELECT 1", &[]).map(drop)),
        format!("{:?}", mysql1::execute(&mysql, "SELECT 1", &[])),
        format!("{:?}", mysql2::Connection::open(&mysql).map(drop)),
    ]
    .join("\n")
}

/// What all versions of PostgreSQL's interface do: the types that they all have, counts and errors. `$more` is a
/// statement of types that are not among them, `$expected` what is seen of it.
macro_rules! postgres {
    ($types:ident, $table:literal, $query:expr, $execute:expr, $failed:pat => $text:expr, $more:literal, $expected:expr) => {{
        use $types::{DbDataType as D, DbValue as V, ParameterValue as P};
        let (query, execute) = ($query, $execute);
        let statement = "SELECT $1::bool, $2::int2, $3::int4, $4::int8, $5::float4, $6::float8, \
                         $7::text AS text, $8::bytea, $9::varchar, $10::\"char\"";
        let values = [
            P::Boolean(true),
            P::Int16(-7),
            P::Int32(i32::MIN),
            P::Int64(i64::MAX),
            P::Floating32(1.5),
            P::Floating64(-2.25),
            P::Str("Grüße".to_owned()),
            P::Binary(vec![0, 255]),
            P::DbNull,
            P::Int8(7),
        ];
        let set = query(statement, &values).expect("it is asked");
        let expected = [
            V::Boolean(true),
            V::Int16(-7),
            V::Int32(i32::MIN),
            V::Int64(i64::MAX),
            V::Floating32(1.5),
            V::Floating64(-2.25),
            V::Str("Grüße".to_owned()),
            V::Binary(vec![0, 255]),
            V::DbNull,
        ];
        assert_eq!(set.rows.len(), 1);
        assert_eq!(format!("{:?}", &set.rows[0][..9]), format!("{expected:?}"));
        assert_eq!(set.columns[6].name, "text");
        let types: Vec<_> = set.columns.iter().take(9).map(|it| it.data_type).collect();
        let expected = [
            D::Boolean,
            D::Int16,
            D::Int32,
            D::Int64,
            D::Floating32,
            D::Floating64,
            D::Str,
            D::Binary,
            D::Str,
        ];
        assert_eq!(format!("{types:?}"), format!("{expected:?}"));

        let create = concat!("CREATE TABLE ", $table, " (k int PRIMARY KEY)");
        assert_eq!(execute(create, &[]).expect("it is made"), 0);
        let insert = concat!("INSERT INTO ", $table, " SELECT generate_series(1, $1)");
        assert_eq!(execute(insert, &[P::Int32(2500)]).expect("inserted"), 2500);
        let all = query(concat!("SELECT k FROM ", $table, " ORDER BY k"), &[]).expect("read");
        let is_number = |(n, row): (usize, &Vec<V>)| matches!(row[..], [V::Int32(k)] if k == n as i32 + 1);
        assert!(all.rows.len() == 2500 && all.rows.iter().enumerate().all(is_number));
        let none = query(concat!("SELECT k FROM ", $table, " WHERE k < 0"), &[]).expect("read");
        assert!(none.rows.is_empty() && none.columns.is_empty());

        let twice = execute(concat!("INSERT INTO ", $table, " VALUES (1)"), &[]);
        let Err($failed) = twice else { panic!("{twice:?}") };
        assert!($text.contains("duplicate key value"), "{}", $text);
        let wrong = query("nonsense", &[]);
        let Err($failed) = wrong else { panic!("{wrong:?}") };
        assert!($text.contains("syntax error"), "{}", $text);

        let more = query($more, &[]).expect("it is asked");
        assert_eq!(format!("{:?}", more.rows[0]), format!("{:?}", $expected));
    }};
}

fn postgres_1(address: &str) {
    use postgres1::PgError;
    use types1::ParameterValue as P;
    postgres!(
        types1,
        "one",
        |text: &str, values: &[P]| postgres1::query(address, text, values),
        |text: &str, values: &[P]| postgres1::execute(address, text, values),
        PgError::QueryFailed(text) => text,
        "SELECT DATE '2000-02-29', 1.5::numeric, '[1,2]'::jsonb",
        [V::Unsupported, V::Unsupported, V::Unsupported]
    );
    for unsigned in [P::Uint8(1), P::Uint16(1), P::Uint32(1), P::Uint64(1)] {
        let result = postgres1::query(address, "SELECT $1", &[unsigned]);
        let Err(PgError::ValueConversionFailed(text)) = result else { panic!("{result:?}") };
        assert_eq!(text, "Postgres does not support unsigned integers");
    }
}

fn postgres_2(address: &str) {
    use types2::{Error, ParameterValue as P};
    let connection = postgres2::Connection::open(address).expect("it is open");
    postgres!(
        types2,
        "two",
        |text: &str, values: &[P]| connection.query(text, values),
        |text: &str, values: &[P]| connection.execute(text, values),
        Error::QueryFailed(text) => text,
        "SELECT DATE '2000-02-29', 1.5::numeric, '[1,2]'::jsonb",
        [V::Unsupported, V::Unsupported, V::Unsupported]
    );
    for unsigned in [P::Uint8(1), P::Uint16(1), P::Uint32(1), P::Uint64(1)] {
        let result = connection.query("SELECT $1", &[unsigned]);
        let Err(Error::ValueConversionFailed(text)) = result else { panic!("{result:?}") };
        assert_eq!(text, "Postgres does not support unsigned integers");
    }
}

fn postgres_3(address: &str) {
    use types3::{DbDataType as D, DbValue as V, Error, ParameterValue as P};
    let connection = postgres3::Connection::open(address).expect("it is open");
    postgres!(
        types3,
        "three",
        |text: &str, values: &[P]| connection.query(text, values),
        |text: &str, values: &[P]| connection.execute(text, values),
        Error::QueryFailed(text) => text,
        "SELECT DATE '2000-02-29', 1.5::numeric, '[1,2]'::jsonb",
        [V::Date((2000, 2, 29)), V::Unsupported, V::Unsupported]
    );
    // What came with this version.
    let statement = "SELECT $1::date, $2::time, $3::timestamp, $4::timestamptz";
    let values = [
        P::Date((1969, 2, 28)),
        P::Time((23, 59, 58, 123_456_000)),
        P::Datetime((1989, 11, 24, 5, 6, 7, 8_000)),
        P::Timestamp(1),
    ];
    let set = connection.query(statement, &values).expect("it is asked");
    let expected = [
        V::Date((1969, 2, 28)),
        V::Time((23, 59, 58, 123_456_000)),
        V::Datetime((1989, 11, 24, 5, 6, 7, 8_000)),
        V::Datetime((1970, 1, 1, 0, 0, 1, 0)),
    ];
    assert_eq!(format!("{:?}", set.rows[0]), format!("{expected:?}"));
    let types: Vec<_> = set.columns.iter().map(|it| it.data_type).collect();
    let expected = [D::Date, D::Time, D::Datetime, D::Datetime];
    assert_eq!(format!("{types:?}"), format!("{expected:?}"));
    let wrong = connection.query("SELECT $1::date", &[P::Date((2023, 2, 29))]);
    let Err(Error::ValueConversionFailed(text)) = wrong else { panic!("{wrong:?}") };
    assert_eq!(text, "invalid date y=2023, m=2, d=29");
}

/// What both versions of MySQL's interface do.
macro_rules! mysql {
    ($types:ident, $table:literal, $query:expr, $execute:expr, $failed:pat => $text:expr, $unconverted:pat) => {{
        use $types::{DbDataType as D, DbValue as V, ParameterValue as P};
        let (query, execute) = ($query, $execute);
        let create = concat!(
            "CREATE TABLE ", $table, " (i1 TINYINT, u1 TINYINT UNSIGNED, i2 SMALLINT, \
             u2 SMALLINT UNSIGNED, i3 MEDIUMINT, i4 INT, u4 INT UNSIGNED, i8 BIGINT, u8 BIGINT UNSIGNED, \
             f FLOAT, d DOUBLE, v VARCHAR(9), t TEXT, b BLOB, o BOOLEAN, n INT)"
        );
        execute(create, &[]).expect("it is made");
        let values = [
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
            P::Str("Grüße".to_owned()),
            P::Str("text".to_owned()),
            P::Binary(vec![0, 255]),
            P::Boolean(true),
            P::DbNull,
        ];
        let marks = ["?"; 16].join(",");
        let insert = format!(concat!("INSERT INTO ", $table, " VALUES ({})"), marks);
        execute(&insert, &values).expect("it is inserted");
        let set = query(concat!("SELECT * FROM ", $table), &[]).expect("it is read");
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
            V::Str("Grüße".to_owned()),
            V::Str("text".to_owned()),
            V::Binary(vec![0, 255]),
            V::Int8(1),
            V::DbNull,
        ];
        assert_eq!(set.rows.len(), 1);
        assert_eq!(format!("{:?}", set.rows[0]), format!("{expected:?}"));
        assert_eq!((set.columns[0].name.as_str(), set.columns.len()), ("i1", 16));
        assert!(matches!(set.columns[1].data_type, D::Uint8));
        let none = query(concat!("SELECT i1 FROM ", $table, " WHERE i1 > 0"), &[]).expect("read");
        assert!(none.rows.is_empty() && none.columns.len() == 1);
        let many = query("SELECT seq FROM seq_1_to_2500", &[]).expect("they are read");
        assert_eq!(many.rows.len(), 2500);
        let wrong = query("nonsense", &[]);
        let Err($failed) = wrong else { panic!("{wrong:?}") };
        assert!($text.contains("error in your SQL syntax"), "{}", $text);
        for kind in ["DATE '2000-01-01'", "TIME '1:02:03'", "1.5"] {
            let result = query(&format!("SELECT {kind}"), &[]);
            assert!(matches!(result, Err($unconverted)), "{kind}: {result:?}");
        }
        // None of that is in the next one's way.
        assert_eq!(query("SELECT 1", &[]).expect("it is read").rows.len(), 1);
    }};
}

fn mysql_1(address: &str) {
    use mysql1::MysqlError;
    mysql!(
        types1,
        "one",
        |text: &str, values: &[P]| mysql1::query(address, text, values),
        |text: &str, values: &[P]| mysql1::execute(address, text, values),
        MysqlError::QueryFailed(text) => text,
        MysqlError::ValueConversionFailed(_)
    );
}

fn mysql_2(address: &str) {
    use types2::Error;
    let connection = mysql2::Connection::open(address).expect("it is open");
    mysql!(
        types2,
        "two",
        |text: &str, values: &[P]| connection.query(text, values),
        |text: &str, values: &[P]| connection.execute(text, values),
        Error::QueryFailed(text) => text,
        Error::ValueConversionFailed(_)
    );
}

/// What the server of the test answers: the prompt and its parameters, and as many numbers as a text has bytes.
macro_rules! llm {
    ($llm:ident, $model:ident) => {{
        let model = $model.to_owned();
        let result = $llm::infer(&model, "a prompt", None).expect("it answers");
        assert_eq!(result.text, "a prompt: 100 1.1 64 0.8 40 0.9");
        let usage = result.usage;
        assert_eq!((usage.prompt_token_count, usage.generated_token_count), (2, 3));
        let parameters = $llm::InferencingParams {
            max_tokens: 1,
            repeat_penalty: 1.5,
            repeat_penalty_last_n_token_count: 2,
            temperature: 0.5,
            top_k: 3,
            top_p: 0.25,
        };
        let result = $llm::infer(&model, "other", Some(parameters)).expect("it answers");
        assert_eq!(result.text, "other: 1 1.5 2 0.5 3 0.25");
        let texts = ["a".to_owned(), "abc".to_owned()];
        let result = $llm::generate_embeddings(&model, &texts).expect("it answers");
        assert_eq!(result.embeddings, [vec![0.5], vec![0.5, 0.5, 0.5]]);
        assert_eq!(result.usage.prompt_token_count, 4);
        let failed = $llm::infer(&model, "fail", None);
        let Err($llm::Error::RuntimeError(text)) = failed else { panic!("{failed:?}") };
        assert_eq!(text, "no, says the server");
    }};
}

fn llm_1(model: &str) {
    llm!(llm1, model);
}

fn llm_2(model: &str) {
    llm!(llm2, model);
}

fn no_model(model: &str) -> String {
    let texts = ["a".to_owned()];
    [
        format!("{:?}", llm1::infer(model, "a prompt", None).map(drop)),
        format!("{:?}", llm1::generate_embeddings(model, &texts).map(drop)),
        format!("{:?}", llm2::infer(model, "a prompt", None).map(drop)),
        format!("{:?}", llm2::generate_embeddings(model, &texts).map(drop)),
    ]
    .join("\n")
}
