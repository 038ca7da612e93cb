//! As `messaging`, for `spin:redis@3.0.0` (`/redis3`) and `spin:mqtt@3.0.0` (`/mqtt3`), whose functions are
//! asynchronous. The address follows `?`.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_bindgen, wit_future, wit_stream};

mod bindings {
    #![allow(clippy::all, clippy::pedantic, reason = "bindings are written by wit-bindgen")]
    wasip3::wit_bindgen::generate!({
        path: "../../wit",
        world: "gyre:host/messaging-async",
        generate_all,
        runtime_path: "wasip3::wit_bindgen::rt",
    });

    pub use spin::mqtt::mqtt;
    pub use spin::redis::redis;
}

use bindings::{mqtt, redis};

wasip3::http::service::export!(Guest);

struct Guest;

impl wasip3::exports::http::handler::Guest for Guest {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (path, address) = path.split_once('?').expect("the address follows ?");
        let text = match path {
            "/redis3" => {
                three(address).await;
                "ok".to_owned()
            }
            "/mqtt3" => {
                publish(address).await;
                "ok".to_owned()
            }
            _ => {
                let open = redis::Connection::open(address.to_owned()).await.map(drop);
                let address = address.replace("redis://", "mqtt://");
                let mqtt = mqtt::Connection::open(address, String::new(), String::new(), 30).await;
                format!("{open:?} {:?}", mqtt.map(drop))
            }
        };
        let (mut body, contents) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(Fields::new(), Some(contents), trailers);
        wit_bindgen::spawn(async move {
            body.write_all(text.into_bytes()).await;
        });
        Ok(response)
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn text(text: &str) -> String {
    text.to_owned()
}

async fn three(address: &str) {
    use redis::{Connection, Error, RedisParameter, RedisResult};
    let redis = Connection::open(text(address)).await.expect("it is open");
    redis.set(text("three"), b"value".to_vec()).await.expect("it is set");
    assert_eq!(redis.get(text("three")).await.expect("it is got"), Some(b"value".to_vec()));
    assert_eq!(redis.get(text("three-nothing")).await.expect("it is got"), None);
    assert_eq!(redis.incr(text("three-count")).await.expect("it counts"), 1);
    assert!(matches!(redis.incr(text("three")).await, Err(Error::Other(_))));
    assert_eq!(redis.del(strings(&["three-count", "none"])).await.expect("gone"), 1);
    let set = || text("three-set");
    assert_eq!(redis.sadd(set(), strings(&["a", "b", "a"])).await.expect("added"), 2);
    let mut members = redis.smembers(set()).await.expect("they are listed");
    members.sort();
    assert_eq!(members, ["a", "b"]);
    assert_eq!(redis.srem(set(), strings(&["a", "c"])).await.expect("removed"), 1);
    redis.publish(text("channel"), b"message".to_vec()).await.expect("it is published");
    let parts = redis.execute(text("ECHO"), vec![RedisParameter::Int64(7)]).await.expect("run");
    assert!(matches!(&parts[..], [RedisResult::Binary(text)] if text == b"7"), "{parts:?}");
}

async fn publish(address: &str) {
    use mqtt::{Connection, Qos};
    let open = Connection::open(text(address), String::new(), String::new(), 30);
    let connection = open.await.expect("it is open");
    for (qos, payload) in [
        (Qos::AtMostOnce, "at most once"),
        (Qos::AtLeastOnce, "at least once"),
        (Qos::ExactlyOnce, "exactly once"),
    ] {
        let payload = payload.as_bytes().to_vec();
        connection.publish(text("topic"), payload, qos).await.expect("it is published");
    }
}
