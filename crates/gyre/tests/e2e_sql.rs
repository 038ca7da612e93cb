//! PostgreSQL, MySQL and language models as guests use them: every function of every version of their interfaces, all
//! types, streams of more rows than fit into memory, and what is refused, in Spin's words.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use gyre_testkit::{
    Gyre, HttpDouble, Service, TestApp, Up,
    services::{DATABASE, PASSWORD, USER},
};
use serde_json::{Value, json};

fn up(guest: &str, component: &str) -> (Up, TestApp) {
    let app = TestApp::of_guest("sql", guest, component);
    (Gyre::new().up(app.path(), &[]), app)
}

fn up_with_hosts(guest: &str, hosts: &[&str]) -> (Up, TestApp) {
    up(guest, &format!("allowed_outbound_hosts = {hosts:?}"))
}

#[track_caller]
fn is_ok(up: &Up, path: &str) {
    let answer = up.site().get(path);
    let output = up.program.output();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{path}\n{output}");
}

#[test]
fn postgres_in_every_version() {
    let server = Service::postgres();
    let host = format!("postgres://{}", server.address());
    let address =
        format!("postgres://{USER}:{PASSWORD}@{}/{DATABASE}?sslmode=disable", server.address());
    let (up_sync, _app) = up_with_hosts("sql", &[&host]);
    for path in ["/postgres1", "/postgres2", "/postgres3"] {
        is_ok(&up_sync, &format!("{path}?address={address}"));
    }
    let (up_async, _app) = up_with_hosts("sql03", &[&host]);
    for path in ["/postgres4", "/postgres4-rows"] {
        is_ok(&up_async, &format!("{path}?{address}"));
    }
    let refused = up_async.site().get(&format!("/builder?{address}")).expect(200).text();
    assert!(refused.starts_with("Err(Error::Other(\"invalid root certificate: "), "{refused}");
    is_flat(&up_async, &format!("/postgres4-many?{address}"));
}

#[test]
fn mysql_in_every_version() {
    let server = Service::mariadb();
    let host = format!("mysql://{}", server.address());
    let address = format!("mysql://{USER}:{PASSWORD}@{}/{DATABASE}", server.address());
    let (up_sync, _app) = up_with_hosts("sql", &[&host]);
    for path in ["/mysql1", "/mysql2"] {
        is_ok(&up_sync, &format!("{path}?address={address}"));
    }
    let (up_async, _app) = up_with_hosts("sql03", &[&host]);
    for path in ["/mysql3", "/mysql3-rows"] {
        is_ok(&up_async, &format!("{path}?{address}"));
    }
    is_flat(&up_async, &format!("/mysql3-many?{address}"));
}

/// A million rows of more than 200 bytes pass without being kept.
#[track_caller]
fn is_flat(up: &Up, path: &str) {
    let before = up.program.most_memory();
    is_ok(up, path);
    let grown = up.program.most_memory() - before;
    assert!(grown < 64 << 20, "{grown} bytes");
}

#[test]
fn a_server_that_is_not_allowed_is_refused_in_spins_words() {
    let (up_sync, _app) = up_with_hosts("sql", &["postgres://127.0.0.1:1", "mysql://127.0.0.1:1"]);
    let postgres = "postgres://db.example:7/x";
    let answer = up_sync.site().get(&format!("/denied?address={postgres}")).expect(200).text();
    let denied = |error: &str, address: &str| {
        format!("Err({error}::ConnectionFailed(\"address {address} is not permitted\"))")
    };
    // PostgreSQL's address may have a password: only the host is said.
    let host = "postgres://db.example:7";
    let mysql = "mysql://db.example:7/x";
    let expected = [
        denied("PgError", host),
        denied("PgError", host),
        denied("Error", host),
        denied("Error", host),
        denied("MysqlError", mysql),
        denied("MysqlError", mysql),
        denied("Error", mysql),
    ];
    assert_eq!(answer, expected.join("\n"));
    let (up_async, _app) = up_with_hosts("sql03", &[]);
    let answer = up_async.site().get(&format!("/denied?{postgres}")).expect(200).text();
    let of_postgres = denied("Error", host);
    let expected = [&of_postgres[..]; 4].join("\n") + "\n" + &denied("Error", mysql);
    assert_eq!(answer, expected);
}

/// A server of Spin's protocol: it answers with what it was asked.
fn models() -> HttpDouble {
    HttpDouble::start(|request| {
        let sent: Value = serde_json::from_slice(request.body()).unwrap();
        let is_known =
            request.headers()["authorization"] == "bearer a-token" && sent["model"] == "a-model";
        assert!(is_known, "{request:?}");
        let answer = match request.uri().path() {
            "/infer" if sent["prompt"] == "fail" => {
                json!({ "error": { "message": "no, says the server" } })
            }
            "/infer" => {
                let options = &sent["options"];
                let [penalty, temperature, p] = ["repeatPenalty", "temperature", "topP"]
                    .map(|name| options[name].as_f64().unwrap() as f32);
                let text = format!(
                    "{}: {} {penalty} {} {temperature} {} {p}",
                    sent["prompt"].as_str().unwrap(),
                    options["maxTokens"],
                    options["repeatPenaltyLastNTokenCount"],
                    options["topK"],
                );
                json!({ "text": text, "usage": { "promptTokenCount": 2, "generatedTokenCount": 3 } })
            }
            "/embed" => {
                let texts = sent["input"].as_array().unwrap().iter();
                let numbers: Vec<_> =
                    texts.map(|text| vec![0.5; text.as_str().unwrap().len()]).collect();
                json!({ "embeddings": numbers, "usage": { "promptTokenCount": 4 } })
            }
            other => panic!("nothing is at {other}"),
        };
        http::Response::new(answer.to_string().into())
    })
}

#[test]
fn language_models_in_both_versions() {
    let server = models();
    let app = TestApp::of_guest("sql", "sql", "ai_models = [\"a-model\"]");
    app.put(
        "runtime.toml",
        format!(
            "[llm_compute]\ntype = \"remote_http\"\nurl = {:?}\nauth_token = \"a-token\"\n",
            server.url()
        ),
    );
    let file = app.path().join("runtime.toml");
    let up = Gyre::new().up(app.path(), &["--runtime-config-file", file.to_str().unwrap()]);
    is_ok(&up, "/llm1?model=a-model");
    is_ok(&up, "/llm2?model=a-model");
}

#[test]
fn models_that_are_not_asked_for_and_models_that_nothing_runs() {
    let (up, _app) = up("sql", "ai_models = [\"a-model\"]");
    let other = up.site().get("/no-model?model=other").expect(200).text();
    let denied = "Err(Error::InvalidInput(\"The component does not have access to use 'other'. To give the component \
                  access, add 'other' to the 'ai_models' key for the component in your spin.toml manifest\"))";
    assert_eq!(other, [denied; 4].join("\n"));
    let nothing = up.site().get("/no-model?model=a-model").expect(200).text();
    let unsupported = "Err(Error::RuntimeError(\"Local LLM operations are not supported in this version of Spin.\"))";
    assert_eq!(nothing, [unsupported; 4].join("\n"));
}
