//! The triggers besides HTTP, through the whole binary: real servers call components, go away and come back.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

mod brokers;

use std::{
    io::Write as _,
    net::TcpListener,
    process::Stdio,
    sync::{Arc, Mutex},
};

use brokers::{Queue, app, message, publish, publish_mqtt, serve_queue};
use gyre_testkit::{Gyre, Service, Site, TestApp, process::Program, wait::until};
use serde_json::json;

fn up(gyre: &Gyre, app: &TestApp, more: &[&str]) -> Program {
    let mut all = vec!["up", "--from", app.argument(), "--listen", "127.0.0.1:0"];
    all.extend(more);
    gyre.start(&all)
}

fn says(program: &mut Program, text: &str) {
    program.wait_for(text, |line| line.contains(text).then_some(()));
}

#[test]
fn redis_calls_all_components_of_a_channel_and_is_found_again_after_a_restart() {
    let mut redis = Service::redis();
    let address = redis.address();
    let app = app(
        "[variables]\nchannel = { default = \"news\" }\nserver = { required = true }\n\n\
         [application.trigger.redis]\naddress = \"redis://{{ server }}\"\n\n\
         [[trigger.redis]]\nchannel = \"{{ channel }}\"\ncomponent = \"old\"\n\n\
         [[trigger.redis]]\nchannel = \"{{ channel }}\"\ncomponent = \"new\"\n\n\
         [[trigger.redis]]\nchannel = \"other\"\ncomponent = \"old\"\n",
        &[("old", "events"), ("new", "events03")],
    );
    let gyre = Gyre::new();
    let variable = format!("server={address}");
    let mut program = up(&gyre, &app, &["--variable", &variable]);
    says(&mut program, &format!("Active Channels on {address}:"));
    says(&mut program, &format!("\t{address}/news: [old,new]"));
    says(&mut program, &format!("\t{address}/other: [old]"));
    assert_eq!(publish(address, "news", "one"), 1);
    says(&mut program, "redis: one");
    says(&mut program, "redis3: one");
    // A message that is not dealt with is in the log, and the next one comes all the same.
    publish(address, "news", "fail");
    says(&mut program, "the redis handler returned an error: it was to fail");
    publish(address, "other", "two");
    says(&mut program, "redis: two");
    assert!(!program.output().contains("redis3: two"));

    redis.kill();
    says(&mut program, &format!("Redis trigger: disconnected from {address}"));
    says(&mut program, &format!("Redis trigger: connecting to {address} again in"));
    let _redis = Service::redis_at(address);
    says(&mut program, &format!("Redis trigger: connected to {address} again"));
    assert_eq!(publish(address, "news", "three"), 1);
    says(&mut program, "redis: three");
    says(&mut program, "redis3: three");
    assert_eq!(program.terminate().code(), Some(0));
}

#[test]
fn a_server_that_is_not_there_is_an_error_at_the_start() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let app = app(
        &format!(
            "[[trigger.redis]]\naddress = \"redis://{nobody}\"\nchannel = \"c\"\ncomponent = \"a\"\n"
        ),
        &[("a", "events")],
    );
    let run = Gyre::new().run(&["up", "--from", app.argument()]).failed();
    let _ = run.says(&format!("Redis trigger failed to connect to {nobody}"));
}

#[test]
fn mqtt_calls_a_component_and_is_found_again_after_a_restart() {
    let mut mosquitto = Service::mosquitto();
    let address = mosquitto.address();
    let app = app(
        &format!(
            "[application.trigger.mqtt]\naddress = \"mqtt://{address}\"\nusername = \"\"\n\
             password = \"\"\nkeep_alive_interval = \"30\"\n\n\
             [[trigger.mqtt]]\ntopic = \"rooms/+/heat\"\nqos = \"1\"\ncomponent = \"a\"\n\n\
             [[trigger.mqtt]]\ntopic = \"twice\"\nqos = \"2\"\ncomponent = \"a\"\n\n\
             [[trigger.cron]]\ncron_expression = \"0 0 0 1 1 * 2090\"\ncomponent = \"never\"\n"
        ),
        &[("a", "events03"), ("never", "events")],
    );
    let gyre = Gyre::new();
    let mut program = up(&gyre, &app, &[]);
    let is_subscribed = |program: &mut Program| {
        // There is nothing that it prints: the message is published until it arrives.
        until("the trigger listens", || {
            publish_mqtt(address, "rooms/0/heat", "warm-up");
            program.stderr.text().contains("mqtt: rooms/0/heat warm-up").then_some(())
        });
    };
    is_subscribed(&mut program);
    publish_mqtt(address, "rooms/7/heat", "on");
    says(&mut program, "mqtt: rooms/7/heat on");
    publish_mqtt(address, "rooms/7/heat", "fail");
    says(&mut program, "the mqtt handler returned an error: it was to fail");
    mosquitto.kill();
    says(&mut program, &format!("MQTT trigger: disconnected from {address}"));
    let _mosquitto = Service::mosquitto_at(address);
    says(&mut program, &format!("MQTT trigger: connected to {address} again"));
    until("both triggers listen again", || {
        publish_mqtt(address, "rooms/8/heat", "back");
        publish_mqtt(address, "twice", "back");
        let text = program.stderr.text();
        let is_there = |it: &str| text.contains(it);
        (is_there("mqtt: rooms/8/heat back") && is_there("mqtt: twice back")).then_some(())
    });
    assert_eq!(program.terminate().code(), Some(0));
}

#[test]
fn http_redis_and_cron_are_served_by_one_process() {
    let redis = Service::redis();
    let address = redis.address();
    let app = app(
        &format!(
            "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"web\"\n\n\
             [[trigger.redis]]\naddress = \"redis://{address}\"\nchannel = \"c\"\ncomponent = \"events\"\n\n\
             [[trigger.cron]]\ncron_expression = \"* * * * * *\"\ncomponent = \"events\"\n"
        ),
        &[("web", "hello"), ("events", "events")],
    );
    let gyre = Gyre::new();
    let mut program = up(&gyre, &app, &[]);
    let url = program.wait_for("Serving", |it| it.strip_prefix("Serving ").map(str::to_owned));
    assert_eq!(Site::at(&url).get("/").expect(200).text(), "Hello, world!");
    says(&mut program, "Active Channels on");
    publish(address, "c", "hello");
    says(&mut program, "redis: hello");
    let ticks = until("three ticks", || {
        let lines = program.stderr.lines();
        let ticks: Vec<u64> =
            lines.iter().filter_map(|line| line.strip_prefix("cron: ")?.parse().ok()).collect();
        (ticks.len() >= 3).then_some(ticks)
    });
    assert!(ticks.windows(2).all(|pair| pair[1] > pair[0]), "{ticks:?}");
    assert_eq!(program.terminate().code(), Some(0));
}

#[test]
fn a_command_has_arguments_and_input_and_its_exit_code_is_gyres() {
    let gyre = Gyre::new();
    let trigger = "[[trigger.command]]\ncomponent = \"program\"\n";
    let run = |guest: &str, arguments: &[&str], input: &str| {
        let app = app(trigger, &[("program", guest)]);
        let mut all = vec!["up", "--from", app.argument()];
        all.extend(arguments);
        let mut command = gyre.command(&all);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, err) = run("command", &["0", "--flag", "x y"], "from outside");
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(
        out, "arguments: [\"0\", \"--flag\", \"x y\"]\nmark: seen\ninput: from outside\n",
        "{err}"
    );
    assert!(err.contains("to standard error"), "{err}");
    // Rust's standard library tells WASI 0.2 only whether it went well.
    assert_eq!(run("command", &["7"], "").0, Some(1));
    let (code, _, err) = run("command", &["panic"], "");
    assert_eq!(code, Some(1));
    assert!(err.contains("it was to panic"), "{err}");
    let (code, out, err) = run("command03", &["a", "b"], "newer");
    assert_eq!((code, &*out), (Some(0), "arguments: [\"a\", \"b\"]\ninput: newer\n"), "{err}");
    assert_eq!(run("command03", &["fail"], "").0, Some(1));
}

#[test]
fn mistakes_are_told() {
    let gyre = Gyre::new();
    let run = |triggers: &str, guest: &str, more: &[&str]| {
        let app = app(triggers, &[("a", guest)]);
        let mut all = vec!["up", "--from", app.argument(), "--listen", "127.0.0.1:0"];
        all.extend(more);
        gyre.run(&all).failed()
    };
    let _ = run("[[trigger.zzz]]\ncomponent = \"a\"\n", "hello", &[])
        .says("No built-in trigger named 'zzz', and no plugin named 'trigger-zzz' was found");
    let _ = run(
        "[[trigger.cron]]\ncomponent = \"a\"\ncron_expression = \"* * * * *\"\n",
        "events",
        &[],
    )
    .says("expected 6 or 7 fields, the seconds first, but it has 5");
    let _ = run(
        "[[trigger.cron]]\ncomponent = \"a\"\ncron_expression = \"* * * * * *\"\n",
        "hello",
        &[],
    )
    .says("component \"a\" cannot be called by a cron trigger");
    let _ = run(
        "[[trigger.sqs]]\ncomponent = \"a\"\nqueue_url = \"http://127.0.0.1:1/q\"\n",
        "events",
        &[],
    )
    .says("no AWS credentials");
    let _ = run("[[trigger.http]]\ncomponent = \"a\"\nroute = \"/\"\n", "hello", &["--nonsense"])
        .says("Unrecognised trigger option \"--nonsense\"");
}

#[test]
fn a_queues_messages_are_deleted_when_the_component_says_so() {
    let queue = Arc::new(Mutex::new(Queue {
        waiting: vec![message("1", "hello"), message("2", "leave"), message("3", "fail")],
        ..Queue::default()
    }));
    let address = serve_queue(queue.clone());
    let app = app(
        &format!(
            "[[trigger.sqs]]\ncomponent = \"a\"\nqueue_url = \"http://{address}/1/q\"\n\
             max_messages = 5\nidle_wait_seconds = 1\nsystem_attributes = [\"All\"]\n\
             message_attributes = [\"kind\"]\n"
        ),
        &[("a", "events")],
    );
    let gyre = Gyre::new()
        .with_env("AWS_ACCESS_KEY_ID", "key")
        .with_env("AWS_SECRET_ACCESS_KEY", "secret")
        .with_env("AWS_REGION", "eu-central-1");
    let mut program = up(&gyre, &app, &[]);
    says(&mut program, "sqs: 1 hello SentTimestamp:-=5,kind:String=k");
    says(&mut program, "sqs: 2 leave");
    says(&mut program, "the sqs handler returned an error");
    let asked = until("the queue is asked again", || {
        let queue = queue.lock().unwrap();
        (queue.asked.len() >= 2 && !queue.deleted.is_empty()).then(|| queue.asked[0].clone())
    });
    let queue = queue.lock().unwrap();
    assert_eq!(queue.deleted, ["r-1"]);
    assert!(queue.is_signed);
    assert_eq!(asked["QueueUrl"], format!("http://{address}/1/q"));
    assert_eq!((&asked["MaxNumberOfMessages"], &asked["WaitTimeSeconds"]), (&json!(5), &json!(1)));
    assert_eq!(asked["MessageAttributeNames"], json!(["kind"]));
    drop(queue);
    assert_eq!(program.terminate().code(), Some(0));
}
