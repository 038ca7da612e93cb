//! The triggers besides HTTP on a server: events call what is deployed, once, and nothing that was deployed before.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

mod brokers;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use brokers::{Queue, app, message, publish, publish_mqtt, serve_queue};
use gyre_testkit::{Gyre, Server, ServerOptions, Service, TestApp, until};
use serde_json::Value;

const VERSION: &str = "version = \"1.0.0\"";

/// A server whose apps may reach the brokers of this test.
fn server() -> Server {
    server_of(Gyre::new())
}

fn server_of(gyre: Gyre) -> Server {
    let arguments = vec!["--allow-private-egress".to_owned()];
    Server::start_with(gyre, ServerOptions { arguments, ..ServerOptions::default() })
}

/// Deploys; the revision's digest.
fn deploy(server: &Server, app: &TestApp, more: &[&str]) -> String {
    let mut all = vec!["--json"];
    all.extend(more);
    let outcome = server.try_deploy(app.path(), &all).ok().json();
    outcome["revision"].as_str().unwrap().to_owned()
}

/// The revisions that wrote a line that holds `text`, one for each such line.
fn who_wrote(server: &Server, text: &str) -> Vec<String> {
    let lines = server.run(&["logs", "events", "--tail", "10000", "--json"]).ok().json();
    let lines = lines.as_array().unwrap().clone();
    let of = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    lines.iter().filter(|it| of(it, "line").contains(text)).map(|it| of(it, "revision")).collect()
}

fn is_written_by(server: &Server, text: &str, revision: &str) {
    let who = until(&format!("{text:?} is in the log"), || {
        let who = who_wrote(server, text);
        (!who.is_empty()).then_some(who)
    });
    assert_eq!(who, [revision], "{text}");
}

#[test]
fn redis_and_queues_call_what_is_deployed_until_it_is_replaced_or_deleted() {
    let mut redis = Service::redis();
    let address = redis.address();
    let queue = Arc::new(Mutex::new(Queue::default()));
    let queue_address = serve_queue(queue.clone());
    let application = |version: &str| {
        let app = app(
            &format!(
                "[[trigger.redis]]\naddress = \"redis://{address}\"\nchannel = \"news\"\ncomponent = \"a\"\n\n\
                 [[trigger.sqs]]\ncomponent = \"a\"\nqueue_url = \"http://{queue_address}/1/q\"\n\
                 idle_wait_seconds = 1\n"
            ),
            &[("a", "events")],
        );
        app.edit(VERSION, &format!("version = \"{version}\""));
        app
    };
    let mut server = server();
    let variables =
        ["aws_access_key_id=key", "aws_secret_access_key=secret", "aws_region=eu-central-1"];
    let variables: Vec<&str> = variables.into_iter().flat_map(|it| ["--variable", it]).collect();
    let outcome = server.try_deploy(application("1.0.0").path(), &variables).ok();
    assert!(outcome.stdout.contains("Called by: redis, sqs"), "{}", outcome.both());
    assert!(!outcome.stdout.contains("Available Routes"), "{}", outcome.both());
    let first = deploy(&server, &application("1.0.0"), &[]);
    let connected = format!("Redis trigger: connected to {address}");
    server.wait_for_log("events", &connected);
    until("one listens", || (publish(address, "news", "ready") == 1).then_some(()));
    publish(address, "news", "one");
    is_written_by(&server, "redis: one", &first);
    queue.lock().unwrap().waiting.push(message("1", "hello"));
    is_written_by(&server, "sqs: 1 hello", &first);
    assert!(queue.lock().unwrap().is_signed);

    // No URL, wherever one would be told.
    let info = server.run(&["apps", "info", "events"]).ok().stdout;
    assert!(info.contains("Called by: redis, sqs") && !info.contains("URL"), "{info}");
    let info = server.run(&["apps", "info", "events", "--json"]).ok().json();
    assert_eq!((&info["url"], &info["active"]["url"]), (&Value::Null, &Value::Null), "{info}");

    // Another revision: from now on, that one alone.
    let second = deploy(&server, &application("2.0.0"), &[]);
    assert_ne!(first, second);
    until("one listens", || (publish(address, "news", "ready") == 1).then_some(()));
    publish(address, "news", "two");
    is_written_by(&server, "redis: two", &second);
    queue.lock().unwrap().waiting.push(message("2", "again"));
    is_written_by(&server, "sqs: 2 again", &second);

    // The broker goes away and comes back.
    redis.kill();
    server.wait_for_log("events", &format!("Redis trigger: disconnected from {address}"));
    server.wait_for_log("events", &format!("Redis trigger: connecting to {address} again in"));
    let _redis = Service::redis_at(address);
    server.wait_for_log("events", &format!("{connected} again"));
    assert_eq!(publish(address, "news", "three"), 1);
    is_written_by(&server, "redis: three", &second);

    // So does the server.
    let _ = server.program.terminate();
    assert_eq!(publish(address, "news", "unheard"), 0);
    server.restart();
    until("one listens", || (publish(address, "news", "ready") == 1).then_some(()));
    publish(address, "news", "four");
    is_written_by(&server, "redis: four", &second);

    let _ = server.run(&["apps", "delete", "events", "--yes"]).ok();
    assert_eq!(publish(address, "news", "five"), 0);
    // A request that was under way when it was deleted may still be counted.
    let asked = || queue.lock().unwrap().asked.len();
    let before = asked();
    std::thread::sleep(Duration::from_secs(3));
    assert!(asked() <= before + 1, "the queue is still asked");
}

#[test]
fn mqtt_calls_what_is_deployed_and_is_found_again() {
    let mut mosquitto = Service::mosquitto();
    let address = mosquitto.address();
    let application = |version: &str| {
        let app = app(
            &format!(
                "[application.trigger.mqtt]\naddress = \"mqtt://{address}\"\nusername = \"\"\n\
                 password = \"\"\nkeep_alive_interval = \"30\"\n\n\
                 [[trigger.mqtt]]\ntopic = \"heat\"\nqos = \"1\"\ncomponent = \"a\"\n"
            ),
            &[("a", "events03")],
        );
        app.edit(VERSION, &format!("version = \"{version}\""));
        app
    };
    let connected = format!("MQTT trigger: connected to {address}");
    let connections = |server: &Server| who_wrote(server, &connected).len();
    let server = server();
    let first = deploy(&server, &application("1.0.0"), &[]);
    until("it is connected", || (connections(&server) == 1).then_some(()));
    publish_mqtt(address, "heat", "one");
    is_written_by(&server, "mqtt: heat one", &first);
    let second = deploy(&server, &application("2.0.0"), &[]);
    until("it is connected", || (connections(&server) == 2).then_some(()));
    publish_mqtt(address, "heat", "two");
    is_written_by(&server, "mqtt: heat two", &second);
    mosquitto.kill();
    server.wait_for_log("events", &format!("MQTT trigger: disconnected from {address}"));
    let _mosquitto = Service::mosquitto_at(address);
    server.wait_for_log("events", &format!("{connected} again"));
    publish_mqtt(address, "heat", "three");
    is_written_by(&server, "mqtt: heat three", &second);
}

#[test]
fn each_tick_of_the_clock_is_dealt_with_once_while_revisions_come_and_go() {
    let app = app(
        "[[trigger.cron]]\ncron_expression = \"* * * * * *\"\ncomponent = \"a\"\n",
        &[("a", "events")],
    );
    let server = server();
    let mut revisions = vec![deploy(&server, &app, &[])];
    server.wait_for_log("events", "cron: ");
    for version in 2..=4 {
        app.edit(
            &format!("version = \"{}.0.0\"", version - 1),
            &format!("version = \"{version}.0.0\""),
        );
        let before = who_wrote(&server, "cron: ").len();
        revisions.push(deploy(&server, &app, &[]));
        until("some time has gone by", || {
            (who_wrote(&server, "cron: ").len() >= before + 2).then_some(())
        });
    }
    let who = who_wrote(&server, "cron: ");
    let mut in_turn = who.clone();
    in_turn.dedup();
    assert_eq!(in_turn, revisions, "each revision's ticks are together: {who:?}");
    let logs = server.run(&["logs", "events", "--tail", "10000"]).ok().stdout;
    let ticks: Vec<u64> =
        logs.lines().filter_map(|line| line.strip_prefix("cron: ")?.parse().ok()).collect();
    assert!(ticks.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ticks:?}");
}

#[test]
fn another_channel_than_the_default_one_takes_no_events() {
    let redis = Service::redis();
    let address = redis.address();
    let app = app(
        &format!(
            "[[trigger.redis]]\naddress = \"redis://{address}\"\nchannel = \"news\"\ncomponent = \"a\"\n"
        ),
        &[("a", "events")],
    );
    let server = server();
    let digest = deploy(&server, &app, &[]);
    until("one listens", || (publish(address, "news", "ready") == 1).then_some(()));
    let body = serde_json::json!({ "digest": digest, "channel": "staging" });
    let release =
        server.admin().post_json("/api/v1/apps/events/releases", &body).expect(202).json();
    let path = format!("/api/v1/apps/events/releases/{}?wait=60", release["id"].as_str().unwrap());
    let release = server.admin().get(&path).expect(200).json();
    assert_eq!(release["state"], "active", "{release}");
    server.wait_for_log("events", "events are taken in the channel production only");
    assert_eq!(publish(address, "news", "one"), 1);
    is_written_by(&server, "redis: one", &digest);
}

#[test]
fn a_tenant_reaches_neither_private_networks_nor_the_nodes_own_account() {
    let gyre = Gyre::new()
        .with_env("AWS_ACCESS_KEY_ID", "the-nodes-own")
        .with_env("AWS_SECRET_ACCESS_KEY", "the-nodes-own");
    let server = Server::start_with(gyre, ServerOptions::default());
    let redis = Service::redis();
    let refused = |triggers: &str, variables: &[&str]| {
        let app = app(triggers, &[("a", "events")]);
        server.try_deploy(app.path(), variables).failed().both()
    };
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"] {
        let text = refused(
            &format!(
                "[[trigger.redis]]\naddress = \"redis://{host}:{}\"\nchannel = \"c\"\ncomponent = \"a\"\n",
                redis.port()
            ),
            &[],
        );
        let expected = "the redis trigger may not connect to";
        assert!(text.contains(expected) && text.contains("prohibited"), "{host}: {text}");
    }
    let queue = "[[trigger.sqs]]\ncomponent = \"a\"\nqueue_url = \"http://127.0.0.1:1/1/q\"\n";
    let text = refused(queue, &[]);
    assert!(text.contains("the sqs trigger has no AWS credentials here"), "{text}");
    let keys = ["--variable", "aws_access_key_id=a", "--variable", "aws_secret_access_key=b"];
    let text = refused(queue, &keys);
    assert!(text.contains("the sqs trigger may not connect to 127.0.0.1:1"), "{text}");
    let many =
        "[[trigger.cron]]\ncron_expression = \"* * * * * *\"\ncomponent = \"a\"\n".repeat(21);
    let text = refused(&many, &[]);
    assert!(text.contains("event_triggers limit of 20 reached"), "{text}");
    let text = refused("[[trigger.command]]\ncomponent = \"a\"\n", &[]);
    assert!(text.contains("triggers of type 'command' run under `gyre up`"), "{text}");
}

#[test]
fn a_broker_that_is_away_is_no_reason_not_to_deploy() {
    let address = gyre_testkit::services::free_address();
    let app = app(
        &format!(
            "[[trigger.redis]]\naddress = \"redis://{address}\"\nchannel = \"news\"\ncomponent = \"a\"\n\n\
             [[trigger.http]]\nroute = \"/...\"\ncomponent = \"web\"\n"
        ),
        &[("a", "events"), ("web", "hello")],
    );
    let server = server();
    let begun = Instant::now();
    let deployed = server.deploy(app.path());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(deployed.site().get("/").expect(200).text(), "Hello, world!");
    server.wait_for_log("events", &format!("Redis trigger failed to connect to {address}"));
    let _redis = Service::redis_at(address);
    until("one listens", || (publish(address, "news", "ready") == 1).then_some(()));
    publish(address, "news", "one");
    is_written_by(&server, "redis: one", &deployed.revision);
}
