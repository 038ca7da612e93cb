//! The SQS trigger: components are called for the messages of queues, at any endpoint that speaks the JSON protocol of
//! Amazon SQS.
//!
//! A message is deleted when the component says so, and otherwise comes back when its visibility timeout is over,
//! which is put off while the component runs.

mod client;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use gyre_manifest::events::SqsTrigger;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use url::Url;

use self::client::Client;
use super::{Listener, Server, TriggerError, TriggerOptions, backoff::Backoff, server};
use crate::{
    App,
    event::{Event, QueueAttribute, QueueMessage, QueueValue, Reply},
    loaded::Loaded,
    spans,
};

/// The longest that SQS waits for messages.
const LONGEST_POLL_SECONDS: u64 = 20;

/// How long an answer may take beyond the time that it was asked to wait for messages.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// What an answer may have besides its messages' texts.
const FRAME_BYTES: usize = 1 << 20;

/// Messages of one queue that are dealt with at once.
const MESSAGES_AT_ONCE: usize = 100;

/// A queue's visibility timeout where it does not say: SQS's own default.
const VISIBILITY_SECONDS: u64 = 30;

/// With what queues are asked: the account, and where.
#[derive(Clone)]
pub struct SqsAccess {
    credentials: Credentials,
    region: Option<String>,
    endpoint: Option<String>,
}

impl fmt::Debug for SqsAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { credentials: _, region, endpoint } = self;
        f.debug_struct("SqsAccess")
            .field("region", region)
            .field("endpoint", endpoint)
            .finish_non_exhaustive()
    }
}

impl SqsAccess {
    /// From the environment variables that AWS's tools read: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, `AWS_REGION` or `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL_SQS` or `AWS_ENDPOINT_URL`.
    /// Nothing if there is no key.
    pub fn from_environment(variables: impl IntoIterator<Item = (String, String)>) -> Option<Self> {
        let known: HashMap<String, String> =
            variables.into_iter().filter(|(name, _)| name.starts_with("AWS_")).collect();
        let get = |name: &str| known.get(name).filter(|value| !value.is_empty()).cloned();
        let (id, secret) = (get("AWS_ACCESS_KEY_ID")?, get("AWS_SECRET_ACCESS_KEY")?);
        Some(Self {
            credentials: Credentials::new(
                id,
                secret,
                get("AWS_SESSION_TOKEN"),
                None,
                "environment",
            ),
            region: get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION")),
            endpoint: get("AWS_ENDPOINT_URL_SQS").or_else(|| get("AWS_ENDPOINT_URL")),
        })
    }

    /// From variables of the app's, which are called as the environment variables are, in small letters. They need not be
    /// in its manifest. Nothing if there is no key.
    fn of_app(app: &App, loaded: &Loaded) -> Option<Self> {
        let known = VARIABLES.iter().filter_map(|name| {
            let variables = &app.context().variables;
            let value = variables.given(&loaded.defaults, &name.to_ascii_lowercase())?;
            Some(((*name).to_owned(), value))
        });
        Self::from_environment(known)
    }
}

/// What says with what queues are asked.
const VARIABLES: [&str; 7] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_SQS",
    "AWS_ENDPOINT_URL",
];

/// One trigger.
pub(super) struct Queue {
    client: Client,
    access: SqsAccess,
    endpoint: Url,
    region: String,
    trigger: SqsTrigger,
    component: Arc<str>,
}

pub(super) fn plan(
    app: &App,
    loaded: &Loaded,
    options: &TriggerOptions,
) -> Result<Vec<Arc<Queue>>, TriggerError> {
    if loaded.events.sqs.is_empty() {
        return Ok(Vec::new());
    }
    let access = SqsAccess::of_app(app, loaded).or_else(|| options.sqs.clone());
    let access = access.ok_or_else(|| {
        let text = "the sqs trigger has no AWS credentials here: set the application's variables aws_access_key_id and \
                    aws_secret_access_key (under `gyre up` the environment's AWS_ACCESS_KEY_ID and \
                    AWS_SECRET_ACCESS_KEY do, too)";
        TriggerError::Missing(text.to_owned())
    })?;
    let triggers = loaded.events.sqs.iter();
    triggers.map(|trigger| Ok(Arc::new(Queue::new(access.clone(), trigger)?))).collect()
}

impl Queue {
    fn new(access: SqsAccess, trigger: &SqsTrigger) -> Result<Self, TriggerError> {
        let wrong = |address: &str, reason: String| TriggerError::Address {
            kind: "sqs",
            address: address.to_owned(),
            reason,
        };
        let given = access.endpoint.as_deref().unwrap_or(&trigger.queue_url);
        let mut endpoint = Url::parse(given).map_err(|error| wrong(given, error.to_string()))?;
        let (server, _) = server("sqs", endpoint.as_str(), &["http"], &["https"], (80, 443))?;
        if access.endpoint.is_none() {
            endpoint.set_path("/");
        }
        endpoint.set_query(None);
        // Without one that is said, that of the queue's host: sqs.REGION.amazonaws.com.
        let of_host = || {
            let mut labels = endpoint.host_str()?.split('.');
            (labels.next()? == "sqs" && endpoint.host_str()?.ends_with(".amazonaws.com"))
                .then(|| labels.next().map(str::to_owned))?
        };
        let region = access.region.clone().or_else(of_host);
        Ok(Self {
            region: region.unwrap_or_else(|| "us-east-1".to_owned()),
            client: Client::new(server),
            access,
            endpoint,
            component: trigger.component.as_str().into(),
            trigger: trigger.clone(),
        })
    }

    pub(super) fn server(&self) -> &Server {
        self.client.server()
    }

    /// Calls an action of SQS.
    async fn call(
        &self,
        app: &App,
        action: &str,
        mut arguments: Value,
        wait: u64,
    ) -> Result<Value, String> {
        arguments["QueueUrl"] = self.trigger.queue_url.as_str().into();
        let body = arguments.to_string().into_bytes();
        let mut request = http::Request::post(self.endpoint.as_str())
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("AmazonSQS.{action}"))
            .body(body)
            .map_err(|error| error.to_string())?;
        self.sign(&mut request)?;
        let time = Duration::from_secs(wait) + ANSWER_TIME;
        let limit = usize::from(self.trigger.max_messages) * 2 * app.event_bytes() + FRAME_BYTES;
        let answered = tokio::time::timeout(time, self.client.send(app, request, limit)).await;
        let (status, answer) = answered.map_err(|_| format!("no answer within {time:?}"))??;
        let answer: Value = if answer.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&answer)
                .map_err(|_| format!("it answered {status} with what is no JSON"))?
        };
        if status.is_success() {
            return Ok(answer);
        }
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        let message =
            if answer.get("message").is_some() { text("message") } else { text("Message") };
        Err(format!("it answered {status}: {} {message}", text("__type")).trim_end().to_owned())
    }

    fn sign(&self, request: &mut http::Request<Vec<u8>>) -> Result<(), String> {
        let identity = self.access.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("sqs")
            .time(SystemTime::from(gyre_telemetry::Clock::System.now()))
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let headers: Vec<(&str, &str)> = request
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        let signable = SignableRequest::new(
            request.method().as_str(),
            request.uri().to_string(),
            headers.into_iter(),
            SignableBody::Bytes(request.body()),
        )
        .map_err(|error| error.to_string())?;
        let signed = sign(signable, &parameters).map_err(|error| error.to_string())?;
        let (instructions, _) = signed.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }

    /// Takes messages for ever.
    pub(super) async fn listen(self: Arc<Self>, listener: Listener) {
        let app = &listener.app;
        let queue = &self.trigger.queue_url;
        let idle = Duration::from_secs(self.trigger.idle_wait_seconds);
        let wait = self.trigger.idle_wait_seconds.min(LONGEST_POLL_SECONDS);
        let visibility = self.visibility(app).await;
        let places = Arc::new(Semaphore::new(MESSAGES_AT_ONCE));
        let mut backoff = Backoff::default();
        let mut is_lost = false;
        loop {
            let room = places.clone().acquire_owned().await;
            drop(room.expect("the semaphore is never closed"));
            let asked = Instant::now();
            let received = self.call(app, "ReceiveMessage", self.wanted(wait), wait).await;
            let messages = match received {
                Ok(answer) => messages(&answer),
                Err(reason) => {
                    is_lost = true;
                    let pause = backoff.next();
                    app.says_of_triggers(&format!(
                        "SQS trigger: cannot receive from {queue}: {reason}; asking again in {} ms",
                        pause.as_millis()
                    ));
                    tokio::time::sleep(pause).await;
                    continue;
                }
            };
            backoff.reset();
            if std::mem::take(&mut is_lost) {
                app.says_of_triggers(&format!("SQS trigger: receiving from {queue} again"));
            }
            if messages.is_empty() {
                // The queue may not have waited, or less long than it was to.
                tokio::time::sleep(idle.saturating_sub(asked.elapsed())).await;
            }
            for message in messages {
                let (queue, app) = (self.clone(), app.clone());
                let place = (listener.place().await, places.clone().acquire_owned().await);
                tokio::spawn(async move {
                    let _place = place;
                    queue.deal_with(&app, message, visibility).await;
                });
            }
        }
    }

    fn wanted(&self, wait: u64) -> Value {
        let mut wanted = json!({
            "MaxNumberOfMessages": self.trigger.max_messages,
            "WaitTimeSeconds": wait,
        });
        if !self.trigger.system_attributes.is_empty() {
            // The older name for endpoints that do not know the newer one yet.
            wanted["AttributeNames"] = json!(self.trigger.system_attributes);
            wanted["MessageSystemAttributeNames"] = json!(self.trigger.system_attributes);
        }
        if !self.trigger.message_attributes.is_empty() {
            wanted["MessageAttributeNames"] = json!(self.trigger.message_attributes);
        }
        wanted
    }

    /// How long a message that was taken stays hidden from others.
    async fn visibility(&self, app: &App) -> Duration {
        let asked = json!({ "AttributeNames": ["VisibilityTimeout"] });
        let answer = self.call(app, "GetQueueAttributes", asked, 0).await.ok();
        let seconds = answer.as_ref().and_then(|answer| {
            answer.get("Attributes")?.get("VisibilityTimeout")?.as_str()?.parse::<u64>().ok()
        });
        Duration::from_secs(seconds.unwrap_or(VISIBILITY_SECONDS).max(1))
    }

    async fn deal_with(&self, app: &Arc<App>, received: Received, visibility: Duration) {
        let url = &self.trigger.queue_url;
        let queue = url.rsplit('/').next().unwrap_or(url);
        let span = spans::of_message("spin_trigger_sqs.handle_message", "aws_sqs", queue);
        let handled = app.handle("sqs", &self.component, Event::Sqs(received.message), span);
        let keep_hidden = async {
            loop {
                tokio::time::sleep(visibility / 2).await;
                let change = json!({
                    "ReceiptHandle": received.receipt,
                    "VisibilityTimeout": visibility.as_secs(),
                });
                if let Err(reason) = self.call(app, "ChangeMessageVisibility", change, 0).await {
                    app.says_of_triggers(&format!(
                        "SQS trigger: cannot keep a message of {} hidden: {reason}",
                        self.trigger.queue_url
                    ));
                }
            }
        };
        let reply = tokio::select! {
            reply = handled => reply,
            () = keep_hidden => None,
        };
        if reply == Some(Reply::Delete) {
            let delete = json!({ "ReceiptHandle": received.receipt });
            if let Err(reason) = self.call(app, "DeleteMessage", delete, 0).await {
                app.says_of_triggers(&format!(
                    "SQS trigger: cannot delete a message of {}: {reason}",
                    self.trigger.queue_url
                ));
            }
        }
    }
}

/// A message, and the name under which it is to be spoken of.
struct Received {
    receipt: String,
    message: QueueMessage,
}

/// The messages of an answer to `ReceiveMessage`. One without a receipt cannot be dealt with.
fn messages(answer: &Value) -> Vec<Received> {
    let all = answer.get("Messages").and_then(Value::as_array).into_iter().flatten();
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    all.filter_map(|it| {
        Some(Received {
            receipt: text(it, "ReceiptHandle")?,
            message: QueueMessage {
                id: text(it, "MessageId"),
                attributes: attributes(it),
                body: text(it, "Body"),
            },
        })
    })
    .collect()
}

/// The system's attributes, then the message's own; each sorted by name.
fn attributes(message: &Value) -> Vec<QueueAttribute> {
    let sorted = |name: &str| -> BTreeMap<&String, &Value> {
        message.get(name).and_then(Value::as_object).into_iter().flatten().collect()
    };
    let system = sorted("Attributes").into_iter().filter_map(|(name, value)| {
        let value = QueueValue::Text(value.as_str()?.to_owned());
        Some(QueueAttribute { name: name.clone(), data_type: None, value })
    });
    let own = sorted("MessageAttributes").into_iter().filter_map(|(name, value)| {
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        let given = match (text("StringValue"), text("BinaryValue")) {
            (Some(text), _) => QueueValue::Text(text.to_owned()),
            (None, Some(encoded)) => QueueValue::Binary(base64(encoded)?),
            (None, None) => return None,
        };
        let data_type = text("DataType").map(str::to_owned);
        Some(QueueAttribute { name: name.clone(), data_type, value: given })
    });
    system.chain(own).collect()
}

/// The bytes of a text in base64, with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_with_their_attributes() {
        let answer = json!({ "Messages": [
            { "MessageId": "1", "ReceiptHandle": "r1", "Body": "hello",
              "Attributes": { "SentTimestamp": "5", "ApproximateReceiveCount": "1" },
              "MessageAttributes": {
                  "kind": { "DataType": "String", "StringValue": "x" },
                  "blob": { "DataType": "Binary", "BinaryValue": "AAH/" },
                  "odd": { "DataType": "Other" } } },
            { "MessageId": "2", "Body": "without a receipt" },
        ]});
        let read = messages(&answer);
        assert_eq!(read.len(), 1);
        assert_eq!((&*read[0].receipt, read[0].message.body.as_deref()), ("r1", Some("hello")));
        let attributes: Vec<_> = read[0]
            .message
            .attributes
            .iter()
            .map(|it| (it.name.as_str(), it.data_type.as_deref(), it.value.clone()))
            .collect();
        let text = |text: &str| QueueValue::Text(text.to_owned());
        assert_eq!(
            attributes,
            [
                ("ApproximateReceiveCount", None, text("1")),
                ("SentTimestamp", None, text("5")),
                ("blob", Some("Binary"), QueueValue::Binary(vec![0, 1, 255])),
                ("kind", Some("String"), text("x")),
            ]
        );
        assert!(messages(&Value::Null).is_empty());
    }

    #[test]
    fn base64_is_read() {
        assert_eq!(base64("aGVsbG8=").as_deref(), Some(&b"hello"[..]));
        assert_eq!(base64("aGVsbG8").as_deref(), Some(&b"hello"[..]));
        assert_eq!(base64("a?"), None);
    }

    #[test]
    fn the_environment_says_who_and_where() {
        let environment = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            SqsAccess::from_environment(pairs.collect::<Vec<_>>())
        };
        assert!(environment(&[("AWS_ACCESS_KEY_ID", "a")]).is_none());
        let access = environment(&[
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "geheim"),
            ("AWS_ENDPOINT_URL", "http://general"),
            ("AWS_ENDPOINT_URL_SQS", "http://special/path"),
        ])
        .unwrap();
        assert!(!format!("{access:?}").contains("geheim"));
        let trigger = |url: &str| SqsTrigger {
            component: "a".into(),
            queue_url: url.into(),
            max_messages: 10,
            idle_wait_seconds: 2,
            system_attributes: vec![],
            message_attributes: vec![],
        };
        let queue = trigger("https://sqs.eu-west-1.amazonaws.com/1/q");
        let special = Queue::new(access.clone(), &queue).unwrap();
        assert_eq!(special.endpoint.as_str(), "http://special/path");
        let access = SqsAccess { endpoint: None, ..access };
        let usual = Queue::new(access.clone(), &queue).unwrap();
        assert_eq!(usual.endpoint.as_str(), "https://sqs.eu-west-1.amazonaws.com/");
        assert_eq!(usual.region, "eu-west-1");
        assert!(Queue::new(access, &trigger("q")).is_err());
    }
}
