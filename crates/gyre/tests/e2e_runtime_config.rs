//! `gyre up --runtime-config-file`: stores, databases and variables from elsewhere, and what is refused.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::fmt::Write as _;

use gyre_testkit::{DynamoDouble, Gyre, HttpDouble, LibsqlDouble, Service, TestApp};

/// An app of that guest, with a runtime configuration file beside its manifest.
fn app(guest: &str, component: &str, config: &str) -> (TestApp, String) {
    let app = TestApp::of_guest("configured", guest, component);
    let file = app.path().join("runtime.toml");
    fs_err::write(&file, config).unwrap();
    (app, file.display().to_string())
}

#[test]
fn a_store_is_in_redis_and_says_so() {
    let redis = Service::redis();
    let config = format!(
        "[key_value_store.default]\ntype = \"redis\"\nurl = \"redis://{}\"\n",
        redis.address()
    );
    let (app, file) = app("key-value", "key_value_stores = [\"default\"]", &config);
    let gyre = Gyre::new();
    let up = gyre.up(app.path(), &["--runtime-config-file", &file, "--key-value", "seed=1"]);
    let _ = up.site().get("/increment?key=visits").expect(200);
    assert_eq!(up.site().get("/get?key=seed").expect(200).text(), "1");
    drop(up);
    // Another process finds what the first one left.
    let up = gyre.up(app.path(), &["--runtime-config-file", &file]);
    assert_eq!(up.site().get("/get?key=visits").expect(200).text(), "1");
    assert!(!app.path().join(".spin/sqlite_key_value.db").exists());
}

#[test]
fn databases_have_labels_and_the_state_folder_is_where_the_file_says() {
    let (app, file) = app(
        "sqlite",
        "sqlite_databases = [\"default\", \"other\"]",
        "state_dir = \"STATE\"\n[sqlite_database.other]\ntype = \"spin\"\npath = \"OTHER\"\n",
    );
    let text = fs_err::read_to_string(&file).unwrap();
    let (state, other) = (app.path().join("state"), app.path().join("other.db"));
    let text = text
        .replace("STATE", &state.display().to_string())
        .replace("OTHER", &other.display().to_string());
    fs_err::write(&file, text).unwrap();
    let statement = app.path().join("m.sql");
    fs_err::write(&statement, "CREATE TABLE t(x); INSERT INTO t VALUES (7);").unwrap();
    let seed = format!("@{}:other", statement.display());
    let gyre = Gyre::new();
    let up = gyre.up(app.path(), &["--runtime-config-file", &file, "--sqlite", &seed]);
    let answer = up.site().post("/?database=other", "SELECT x FROM t").expect(200);
    assert_eq!(answer.text(), "x\n7");
    let _ = up.site().post("/", "CREATE TABLE here(x)").expect(200);
    assert!(state.join("sqlite_db.db").exists() && other.exists());
    assert!(!app.path().join(".spin").exists());
}

#[test]
fn a_database_is_on_a_libsql_server() {
    let server = LibsqlDouble::start();
    let config = format!(
        "[sqlite_database.default]\ntype = \"libsql\"\nurl = {:?}\ntoken = {:?}\n",
        server.url(),
        server.token()
    );
    let (app, file) = app("sqlite", "sqlite_databases = [\"default\"]", &config);
    let gyre = Gyre::new();
    let seed = "CREATE TABLE t(i, r, x, b, n)";
    let up = gyre.up(app.path(), &["--runtime-config-file", &file, "--sqlite", seed]);
    let site = up.site();
    let insert = "INSERT INTO t VALUES (?1, 0.5, ?2, ?3, ?4)";
    let _ = site.post("/?p=%237,text,@2k,~", insert).expect(200);
    let answer = site.post("/", "SELECT * FROM t").expect(200);
    assert_eq!(answer.text(), "i\tr\tx\tb\tn\n7\t0.5\ttext\t2048 bytes\tnull");
    let answer = site.post("/", "SELECT * FROM nowhere").expect(500);
    assert!(answer.text().contains("no such table: nowhere"), "{}", answer.text());
    assert!(!app.path().join(".spin/sqlite_db.db").exists());
    // Each guest closes what it opened.
    gyre_testkit::until("streams are closed", || (server.streams() == 0).then_some(()));
}

#[test]
fn a_store_is_a_table_of_dynamodb() {
    let server = DynamoDouble::start();
    let config = format!(
        "[key_value_store.default]\ntype = \"aws_dynamo\"\nregion = {:?}\ntable = {:?}\n",
        DynamoDouble::REGION,
        DynamoDouble::TABLE
    );
    let (app, file) = app("key-value", "key_value_stores = [\"default\"]", &config);
    let gyre = Gyre::new()
        .with_env("AWS_ENDPOINT_URL_DYNAMODB", server.url())
        .with_env("AWS_ACCESS_KEY_ID", DynamoDouble::ACCESS_KEY)
        .with_env("AWS_SECRET_ACCESS_KEY", DynamoDouble::SECRET_KEY)
        .with_env("AWS_SESSION_TOKEN", DynamoDouble::TOKEN);
    let up = gyre.up(app.path(), &["--runtime-config-file", &file, "--key-value", "seed=1"]);
    let _ = up.site().get("/increment?key=visits").expect(200);
    assert_eq!(up.site().get("/get?key=seed").expect(200).text(), "1");
    drop(up);
    let up = gyre.up(app.path(), &["--runtime-config-file", &file]);
    assert_eq!(up.site().get("/get?key=visits").expect(200).text(), "1");
}

#[test]
fn a_variable_is_a_secret_of_a_key_vault() {
    let vault = HttpDouble::start(|request| {
        let answer = match request.uri().path() {
            "/the-tenant/oauth2/v2.0/token" => r#"{"access_token":"t","expires_in":3600}"#,
            "/secrets/color" => r#"{"value":"blue"}"#,
            other => panic!("{other} was asked for"),
        };
        http::Response::new(answer.into())
    });
    let config = format!(
        "[[variables_provider]]\ntype = \"azure_key_vault\"\nvault_url = {:?}\n",
        vault.url()
    );
    let component = "[component.configured.variables]\ncolor = \"{{ color }}\"\n\
        [variables]\ncolor = { required = true }\n";
    let (app, file) = app("variables", component, &config);
    let gyre = Gyre::new()
        .with_env("AZURE_AUTHORITY_HOST", vault.url())
        .with_env("AZURE_TENANT_ID", "the-tenant")
        .with_env("AZURE_CLIENT_ID", "the-client")
        .with_env("AZURE_CLIENT_SECRET", "geheim");
    let up = gyre.up(app.path(), &["--runtime-config-file", &file]);
    assert_eq!(up.site().get("/get?name=color").expect(200).text(), "blue");
}

#[test]
fn payloads_have_the_limit_that_the_file_says() {
    let mosquitto = Service::mosquitto();
    let address = format!("mqtt://{}", mosquitto.address());
    let hosts = format!("allowed_outbound_hosts = [{address:?}]");
    let (app, file) = app("messaging", &hosts, "[outbound_mqtt]\nmax_payload_size_bytes = 3\n");
    let up = Gyre::new().up(app.path(), &["--runtime-config-file", &file]);
    let _ = up.site().get(&format!("/mqtt2?address={address}")).expect(500);
    let text = "payload size 12 exceeds the maximum allowed size of 3 bytes";
    gyre_testkit::until("the limit is told", || up.program.output().contains(text).then_some(()));
}

#[test]
fn files_are_attached_where_the_file_lets_them() {
    let config = "[sqlite_database.default]\ntype = \"spin\"\nallow_attach_file = true\n\
        [sqlite_database.other]\ntype = \"spin\"\n";
    let (app, file) = app("sqlite", "sqlite_databases = [\"default\", \"other\"]", config);
    let up = Gyre::new().up(app.path(), &["--runtime-config-file", &file]);
    let attach = format!("ATTACH '{}' AS x", app.path().join("x.db").display());
    let _ = up.site().post("/", attach.clone()).expect(200);
    let refused = up.site().post("/?database=other", attach).expect(500).text();
    assert!(refused.contains("not authorized"), "{refused}");
}

#[test]
fn what_is_wrong_or_not_there_ends_the_start() {
    let gyre = Gyre::new();
    for (config, says) in [
        ("stat_dir = \"x\"\n", "stat_dir"),
        ("[key_value_store.x]\ntype = \"etcd\"\n", "etcd"),
        ("[llm_compute]\ntype = \"oracle\"\n", "oracle"),
        (
            "[sqlite_database.x]\ntype = \"libsql\"\nurl = \"libsql://h\"\ntoken = \"\"\n",
            "sqlite_database.x",
        ),
    ] {
        let (app, file) = app("hello", "", config);
        let run = gyre.run_in(app.path(), &["up", "--runtime-config-file", &file]);
        let _ = run.failed().says(says);
    }
    let (app, _) = app("hello", "", "");
    let run = gyre.run_in(app.path(), &["up", "--runtime-config-file", "nowhere.toml"]);
    let _ = run.failed().says("nowhere.toml");
}

#[test]
fn the_components_of_an_application_share_a_store_by_its_label() {
    let mut manifest =
        "spin_manifest_version = 2\n\n[application]\nname = \"shared\"\nversion = \"1.0.0\"\n"
            .to_owned();
    for (id, grant) in [
        ("a", "key_value_stores = [\"default\"]"),
        ("b", "key_value_stores = [\"default\"]"),
        ("c", ""),
    ] {
        write!(
            manifest,
            "\n[[trigger.http]]\nroute = \"/{id}/...\"\ncomponent = \"{id}\"\n\n\
             [component.{id}]\nsource = \"app.wasm\"\n{grant}\n"
        )
        .unwrap();
    }
    let app = TestApp::with_manifest(&manifest);
    app.put_guest("app.wasm", "key-value");
    let up = Gyre::new().up(app.path(), &[]);
    let _ = up.site().post("/a/set?key=k", "of a").expect(200);
    assert_eq!(up.site().get("/b/get?key=k").expect(200).text(), "of a");
    assert_eq!(up.site().get("/c/get?key=k").expect(500).text(), "Error::AccessDenied");
}
