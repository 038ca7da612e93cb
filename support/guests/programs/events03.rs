//! Takes the events of Redis and MQTT by their asynchronous interfaces, and prints them. `fail` is not dealt with.

wit_bindgen::generate!({
    path: "../../wit",
    inline: r#"
        package guests:events03@1.0.0;

        world events {
            use spin:mqtt-trigger/spin-mqtt-types@3.0.0.{error, metadata, payload};
            export spin:redis/inbound-redis@3.0.0;
            export handle-message: async func(message: payload, metadata: metadata) -> result<_, error>;
        }
    "#,
    generate_all,
});

use exports::spin::redis::inbound_redis;

struct Events;

export!(Events);

impl inbound_redis::Guest for Events {
    async fn handle_message(message: Vec<u8>) -> Result<(), inbound_redis::Error> {
        let text = String::from_utf8_lossy(&message);
        println!("redis3: {text}");
        if text == "fail" {
            return Err(inbound_redis::Error::Other("it was to fail".to_owned()));
        }
        Ok(())
    }
}

impl Guest for Events {
    async fn handle_message(message: Vec<u8>, metadata: Metadata) -> Result<(), Error> {
        let text = String::from_utf8_lossy(&message);
        println!("mqtt: {} {text}", metadata.topic);
        if text == "fail" {
            return Err(Error::Other("it was to fail".to_owned()));
        }
        Ok(())
    }
}
