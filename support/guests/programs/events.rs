//! Takes the events of Redis, cron and SQS by their interfaces of the time before asynchronous functions, and prints
//! them. What says `fail` is not dealt with, `leave` is left in its queue, and `sleep` takes a second.

use std::time::Duration;

wit_bindgen::generate!({
    path: "../../wit",
    inline: r#"
        package guests:events@1.0.0;

        world events {
            use fermyon:spin-cron/cron-types@2.0.0.{metadata, error as cron-error};
            use fermyon:spin-sqs/sqs-types@2.0.0.{message, message-action, error as queue-error};
            export fermyon:spin/inbound-redis;
            export handle-cron-event: func(metadata: metadata) -> result<_, cron-error>;
            export handle-queue-message: func(message: message) -> result<message-action, queue-error>;
        }
    "#,
    generate_all,
});

use exports::fermyon::spin::inbound_redis;
use fermyon::spin_sqs::sqs_types::MessageAttributeValue;

struct Events;

export!(Events);

impl inbound_redis::Guest for Events {
    fn handle_message(message: Vec<u8>) -> Result<(), inbound_redis::Error> {
        let text = String::from_utf8_lossy(&message);
        if text == "sleep" {
            std::thread::sleep(Duration::from_secs(1));
        }
        println!("redis: {text}");
        if text == "fail" { Err(inbound_redis::Error::Error) } else { Ok(()) }
    }
}

impl Guest for Events {
    fn handle_cron_event(metadata: Metadata) -> Result<(), CronError> {
        println!("cron: {}", metadata.timestamp);
        match std::env::var("CRON_FAILS") {
            Ok(reason) => Err(CronError::Other(reason)),
            Err(_) => Ok(()),
        }
    }

    fn handle_queue_message(message: Message) -> Result<MessageAction, QueueError> {
        let body = message.body.unwrap_or_default();
        let attributes: Vec<String> = message
            .message_attributes
            .iter()
            .map(|it| {
                let value = match &it.value {
                    MessageAttributeValue::Str(text) => text.clone(),
                    MessageAttributeValue::Binary(bytes) => format!("{bytes:?}"),
                };
                format!("{}:{}={value}", it.name, it.data_type.as_deref().unwrap_or("-"))
            })
            .collect();
        println!("sqs: {} {body} {}", message.id.unwrap_or_default(), attributes.join(","));
        match body.as_str() {
            "fail" => Err(QueueError::Error),
            "leave" => Ok(MessageAction::Leave),
            _ => Ok(MessageAction::Delete),
        }
    }
}
