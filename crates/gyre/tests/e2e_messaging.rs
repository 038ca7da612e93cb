//! Redis and MQTT as guests use them, in every version of their interfaces, against real servers.

use std::process::Command;

use gyre_testkit::process::Program;
use gyre_testkit::{Gyre, Service, TestApp, Up};

fn up(guest: &str, hosts: &[String]) -> (Up, TestApp) {
    let component = format!("allowed_outbound_hosts = {hosts:?}");
    let app = TestApp::of_guest("messaging", guest, &component);
    (Gyre::new().up(app.path(), &[]), app)
}

#[track_caller]
fn is_ok(up: &Up, path: &str) {
    let answer = up.site().get(path);
    let output = up.program.output();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{path}\n{output}");
}

#[test]
fn redis_in_every_version() {
    let redis = Service::redis();
    let address = format!("redis://{}", redis.address());
    let (up_sync, _app) = up("messaging", std::slice::from_ref(&address));
    is_ok(&up_sync, &format!("/redis1?address={address}"));
    is_ok(&up_sync, &format!("/redis2?address={address}"));
    let (up_async, _app) = up("messaging03", std::slice::from_ref(&address));
    is_ok(&up_async, &format!("/redis3?{address}"));
}

#[test]
fn mqtt_in_every_version() {
    let mosquitto = Service::mosquitto();
    let address = format!("mqtt://{}", mosquitto.address());
    for (guest, path) in [
        ("messaging", format!("/mqtt2?address={address}")),
        ("messaging03", format!("/mqtt3?{address}")),
    ] {
        // Its output must not wait in a buffer.
        let mut listener = Command::new("stdbuf");
        let port = mosquitto.port().to_string();
        listener.args([
            "-oL",
            "mosquitto_sub",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-t",
            "topic",
            "-q",
            "2",
            "-d",
        ]);
        let mut listener = Program::start(listener);
        listener.wait_for("that it listens", |line| line.starts_with("Subscribed").then_some(()));
        let (up, _app) = up(guest, std::slice::from_ref(&address));
        is_ok(&up, &path);
        for message in ["at most once", "at least once", "exactly once"] {
            listener.wait_for(message, |line| (line == message).then_some(()));
        }
    }
}

#[test]
fn what_is_not_allowed_is_refused_in_spins_words() {
    let expected = "address mqtt://localhost:1 is not permitted";
    let (up_sync, _app) = up("messaging", &[]);
    let answer = up_sync.site().get("/denied?address=redis://localhost:1").text();
    let redis = "Err(Error::InvalidAddress) Err(Error { code: 1, name: \"error\", message: \"\" })";
    assert_eq!(answer, format!("{redis} Err(Error::ConnectionFailed({expected:?}))"));
    let (up_async, _app) = up("messaging03", &[]);
    let answer = up_async.site().get("/denied?redis://localhost:1").text();
    let redis = "Err(Error::InvalidAddress)";
    assert_eq!(answer, format!("{redis} Err(Error::ConnectionFailed({expected:?}))"));
}

#[test]
fn a_server_that_is_away_is_an_error_and_no_trap() {
    let address = gyre_testkit::services::free_address();
    let hosts = [format!("*://{address}")];
    let (up, _app) = up("messaging", &hosts);
    let answer = up.site().get(&format!("/denied?address=redis://{address}")).text();
    assert!(answer.contains("Connection refused"), "{answer}");
    assert!(answer.contains("ConnectionFailed"), "{answer}");
}
