//! What the tests of triggers have in common: applications with triggers, and those who send them events.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "not each test needs all of it; a failure is a panic"
)]

use std::fmt::Write as _;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use gyre_testkit::TestApp;
use serde_json::{Value, json};

/// An application with these triggers, and components by id and guest.
pub(crate) fn app(triggers: &str, components: &[(&str, &str)]) -> TestApp {
    let mut manifest = format!(
        "spin_manifest_version = 2\n\n[application]\nname = \"events\"\nversion = \"1.0.0\"\n\n{triggers}\n"
    );
    for (id, guest) in components {
        write!(
            manifest,
            "[component.{id}]\nsource = \"{guest}.wasm\"\nenvironment = {{ MARK = \"seen\" }}\n\n"
        )
        .unwrap();
    }
    let app = TestApp::with_manifest(&manifest);
    for (_, guest) in components {
        app.put_guest(&format!("{guest}.wasm"), guest);
    }
    app
}

/// Publishes to a Redis channel. How many got it.
pub(crate) fn publish(redis: SocketAddr, channel: &str, message: &str) -> u32 {
    let mut stream = TcpStream::connect(redis).unwrap();
    write!(stream, "PUBLISH {channel} {message}\r\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.trim().trim_start_matches(':').parse().unwrap()
}

/// Publishes to an MQTT topic with quality 1, and waits until the server has it.
pub(crate) fn publish_mqtt(server: SocketAddr, topic: &str, message: &str) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut connect = vec![0, 4];
    connect.extend(b"MQTT\x04\x02\x00\x3c\x00\x01p");
    let mut packet = vec![0x10, connect.len() as u8];
    packet.extend(connect);
    stream.write_all(&packet).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
    let mut body = vec![0, topic.len() as u8];
    body.extend(topic.as_bytes());
    body.extend([0, 1]);
    body.extend(message.as_bytes());
    let mut packet = vec![0x32, body.len() as u8];
    packet.extend(body);
    stream.write_all(&packet).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x40, 2, 0, 1]);
}

/// A message as a queue gives it.
pub(crate) fn message(id: &str, body: &str) -> Value {
    json!({
        "MessageId": id, "ReceiptHandle": format!("r-{id}"), "Body": body,
        "Attributes": { "SentTimestamp": "5" },
        "MessageAttributes": { "kind": { "DataType": "String", "StringValue": "k" } },
    })
}

/// A queue that speaks what SQS does, for one queue.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) waiting: Vec<Value>,
    pub(crate) deleted: Vec<String>,
    pub(crate) asked: Vec<Value>,
    pub(crate) is_signed: bool,
}

/// Serves a queue; its address.
pub(crate) fn serve_queue(queue: Arc<Mutex<Queue>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, queue) = (stream.unwrap(), queue.clone());
            std::thread::spawn(move || serve_client(&stream, &queue));
        }
    });
    address
}

fn serve_client(stream: &TcpStream, queue: &Mutex<Queue>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut action, mut length, mut is_signed) = (String::new(), 0, false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(": ") else { continue };
            match name.to_ascii_lowercase().as_str() {
                "x-amz-target" => {
                    value.trim_start_matches("AmazonSQS.").clone_into(&mut action);
                }
                "content-length" => length = value.parse().unwrap(),
                "authorization" => {
                    is_signed = value.starts_with("AWS4-HMAC-SHA256 Credential=key/")
                        && value.contains("/eu-central-1/sqs/aws4_request");
                }
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let mut queue = queue.lock().unwrap();
        queue.is_signed = is_signed;
        let answer = match action.as_str() {
            "GetQueueAttributes" => json!({ "Attributes": { "VisibilityTimeout": "30" } }),
            "ReceiveMessage" => {
                queue.asked.push(body);
                json!({ "Messages": std::mem::take(&mut queue.waiting) })
            }
            "DeleteMessage" => {
                queue.deleted.push(body["ReceiptHandle"].as_str().unwrap().to_owned());
                json!({})
            }
            other => panic!("the queue was asked for {other:?}"),
        };
        drop(queue);
        let answer = answer.to_string();
        let mut stream = stream;
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len())
            .unwrap();
    }
}
