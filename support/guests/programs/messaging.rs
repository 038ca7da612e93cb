//! Uses every function of `fermyon:spin/redis` (`/redis1`), `fermyon:spin/redis@2.0.0` (`/redis2`) and
//! `fermyon:spin/mqtt@2.0.0` (`/mqtt2`) on the server at `?address=`, and answers `ok`. `/denied` says what a server that
//! it may not reach gives.

use guests::{Request, Responder};

mod bindings {
    #![allow(clippy::all, clippy::pedantic, reason = "bindings are written by wit-bindgen")]
    wit_bindgen::generate!({ path: "../../wit", world: "gyre:host/messaging", generate_all });

    pub use fermyon::spin::{redis as redis1, redis_types};
    pub use fermyon::spin2_0_0::{mqtt, redis as redis2};
}

use bindings::{mqtt, redis_types, redis1, redis2};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    let address = request.query("address").unwrap_or_default();
    match request.path().as_str() {
        "/redis1" => one(&address),
        "/redis2" => two(&address),
        "/mqtt2" => publish(&address),
        "/denied" => return responder.text(denied(&address)),
        other => panic!("no part {other}"),
    }
    responder.text("ok");
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn one(address: &str) {
    use redis_types::{RedisParameter, RedisResult};
    redis1::set(address, "one", b"value").expect("it is set");
    assert_eq!(redis1::get(address, "one").expect("it is got"), b"value");
    assert_eq!(redis1::get(address, "one-nothing").expect("it is got"), b"");
    assert_eq!(redis1::incr(address, "one-count").expect("it counts"), 1);
    assert!(redis1::incr(address, "one").is_err(), "a text is no number");
    assert_eq!(redis1::del(address, &strings(&["one", "one-count", "none"])), Ok(2));
    assert_eq!(redis1::sadd(address, "one-set", &strings(&["a", "b", "a"])), Ok(2));
    let mut members = redis1::smembers(address, "one-set").expect("they are listed");
    members.sort();
    assert_eq!(members, ["a", "b"]);
    assert_eq!(redis1::srem(address, "one-set", &strings(&["a", "c"])), Ok(1));
    redis1::publish(address, "channel", b"message").expect("it is published");
    let parts = redis1::execute(address, "ECHO", &[RedisParameter::Int64(7)]).expect("it is run");
    assert!(matches!(&parts[..], [RedisResult::Binary(text)] if text == b"7"), "{parts:?}");
}

fn two(address: &str) {
    use redis2::{Connection, Error, RedisParameter, RedisResult};
    let redis = Connection::open(address).expect("it is open");
    redis.set("two", b"value").expect("it is set");
    assert_eq!(redis.get("two").expect("it is got"), Some(b"value".to_vec()));
    assert_eq!(redis.get("two-nothing").expect("it is got"), None);
    assert_eq!(redis.incr("two-count").expect("it counts"), 1);
    assert!(matches!(redis.incr("two"), Err(Error::Other(_))));
    assert_eq!(redis.del(&strings(&["two-count", "none"])).expect("they are gone"), 1);
    assert_eq!(redis.sadd("two-set", &strings(&["a", "b", "a"])).expect("added"), 2);
    let mut members = redis.smembers("two-set").expect("they are listed");
    members.sort();
    assert_eq!(members, ["a", "b"]);
    assert_eq!(redis.srem("two-set", &strings(&["a", "c"])).expect("removed"), 1);
    redis.publish("channel", b"message").expect("it is published");
    let run = |command: &str, texts: &[&str]| {
        let texts = texts.iter().map(|text| RedisParameter::Binary(text.as_bytes().to_vec()));
        redis.execute(command, &texts.collect::<Vec<_>>())
    };
    let parts = run("RPUSH", &["two-list", "a", "b"]).expect("it is run");
    assert!(matches!(&parts[..], [RedisResult::Int64(2)]), "{parts:?}");
    let parts = run("LRANGE", &["two-list", "0", "-1"]).expect("it is run");
    let is_list = matches!(&parts[..], [RedisResult::Binary(a), RedisResult::Binary(b)] if a == b"a" && b == b"b");
    assert!(is_list, "{parts:?}");
    let parts = run("PING", &[]).expect("it is run");
    assert!(matches!(&parts[..], [RedisResult::Status(text)] if text == "PONG"), "{parts:?}");
    let parts = run("GET", &["nothing"]).expect("it is run");
    assert!(matches!(&parts[..], [RedisResult::Nil]), "{parts:?}");
    assert!(matches!(run("NONSENSE", &[]), Err(Error::Other(_))));
    assert!(matches!(redis.smembers("two"), Err(Error::Other(_))), "a value is no set");
    assert!(matches!(Connection::open("no address"), Err(Error::InvalidAddress)));
}

fn publish(address: &str) {
    use mqtt::{Connection, Qos};
    let connection = Connection::open(address, "", "", 30).expect("it is open");
    for (qos, payload) in [
        (Qos::AtMostOnce, "at most once"),
        (Qos::AtLeastOnce, "at least once"),
        (Qos::ExactlyOnce, "exactly once"),
    ] {
        connection.publish("topic", payload.as_bytes(), qos).expect("it is published");
    }
}

fn denied(address: &str) -> String {
    let open = redis2::Connection::open(address).map(drop);
    let get = redis1::get(address, "key");
    let address = address.replace("redis://", "mqtt://");
    let mqtt = mqtt::Connection::open(&address, "", "", 30).map(drop);
    format!("{open:?} {get:?} {mqtt:?}")
}
