//! Stores, databases and variables as guests use them: every function of every version of their interfaces, streams of
//! more than fits into one piece, and what is refused, in Spin's words.

use gyre_testkit::{Gyre, TestApp, Up};

const GIVEN: &str = "key_value_stores = [\"default\"]\nsqlite_databases = [\"default\"]\n\
     [component.data.variables]\ngreeting = \"hello from a variable\"";

fn up(guest: &str, component: &str) -> (Up, TestApp) {
    let app = TestApp::of_guest("data", guest, component);
    (Gyre::new().up(app.path(), &[]), app)
}

#[track_caller]
fn is_ok(up: &Up, path: &str) {
    let answer = up.site().get(path);
    let output = up.program.output();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{path}\n{output}");
}

#[test]
fn stores_databases_and_variables_in_every_version() {
    let (up_sync, _app) = up("data", GIVEN);
    for path in ["/kv1", "/kv2", "/wasi-kv", "/sqlite1", "/sqlite2", "/sqlite30", "/sqlite31"] {
        is_ok(&up_sync, path);
    }
    for path in ["/config1", "/variables2", "/wasi-config"] {
        is_ok(&up_sync, path);
    }
    let (up_async, _app) = up("data03", GIVEN);
    for path in ["/kv3", "/sqlite31", "/variables3"] {
        is_ok(&up_async, path);
    }
}

#[test]
fn what_was_not_given_is_denied() {
    let denied = "Err(Error::AccessDenied)";
    for component in ["", GIVEN] {
        let (up_sync, _app) = up("data", component);
        let answer = up_sync.site().get("/denied").expect(200).text();
        let expected = format!("{}\n{}", [denied; 3].join(" "), [denied; 4].join(" "));
        assert_eq!(answer, expected);
        let (up_async, _app) = up("data03", component);
        assert_eq!(up_async.site().get("/denied").expect(200).text(), [denied; 3].join(" "));
    }
}

#[test]
fn streams_of_keys_are_read_in_pieces_dropped_and_outlive_their_store() {
    let (up, _app) = up("data03", GIVEN);
    is_ok(&up, "/keys?300");
}

#[test]
fn streams_of_rows_are_read_in_pieces_dropped_and_outlive_their_connection() {
    let (up, _app) = up("data03", GIVEN);
    is_ok(&up, "/rows?2500");
    // The same instance goes on, and nothing of the streams before is in its way.
    is_ok(&up, "/rows?2500");
}

#[test]
fn a_long_stream_of_rows_is_not_kept_in_memory() {
    let (up, _app) = up("data03", GIVEN);
    is_ok(&up, "/rows?10");
    let before = up.program.most_memory();
    // More than one result may have.
    is_ok(&up, "/many?3000000");
    let grown = up.program.most_memory() - before;
    assert!(grown < 64 << 20, "{grown} bytes");
}
