//! What a component is called for besides HTTP requests, and the exports by which it is.
//!
//! As for a request, each event gets a fresh instance; how that is polled, charged and ended is the same: see `run`.

use bytes::Bytes;
use tokio::sync::oneshot;
use wasmtime::{
    Store,
    component::{ComponentExportIndex, ComponentType, InstancePre, Lift, Lower},
};
use wasmtime_wasi::I32Exit;

use crate::{
    host::{HostState, Program},
    run::{Ended, Guest},
};

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A message came on a Redis channel.
    Redis(Bytes),
    /// It is time: seconds since 1970.
    Cron(u64),
    /// A message came on an MQTT topic.
    Mqtt { topic: String, payload: Bytes },
    /// A message was taken from a queue.
    Sqs(QueueMessage),
    /// The program is to be run.
    Command(Program),
}

/// What a component said to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It has dealt with it.
    Done,
    /// It has dealt with the message, which is to be deleted from its queue.
    Delete,
    /// The message is to stay in its queue.
    Leave,
    /// It could not deal with it; in its own words.
    Failed(String),
    /// The program ended with this code.
    Exit(u8),
}

/// A message of a queue, as components see it.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lower)]
#[component(record)]
pub(crate) struct QueueMessage {
    pub(crate) id: Option<String>,
    #[component(name = "message-attributes")]
    pub(crate) attributes: Vec<QueueAttribute>,
    pub(crate) body: Option<String>,
}

/// An attribute of a message.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lower)]
#[component(record)]
pub(crate) struct QueueAttribute {
    pub(crate) name: String,
    #[component(name = "data-type")]
    pub(crate) data_type: Option<String>,
    pub(crate) value: QueueValue,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lower)]
#[component(variant)]
pub(crate) enum QueueValue {
    #[component(name = "str")]
    Text(String),
    #[component(name = "binary")]
    Binary(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "guests make them")]
enum QueueAction {
    #[component(name = "delete")]
    Delete,
    #[component(name = "leave")]
    Leave,
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
struct CronMetadata {
    timestamp: u64,
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
struct MqttMetadata {
    topic: String,
}

/// The error of the unversioned Redis interface, and of the SQS one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "guests make them")]
enum PlainError {
    #[component(name = "success")]
    Success,
    #[component(name = "error")]
    Error,
}

/// The error of `spin:redis@3.0.0`.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift)]
#[component(variant)]
enum RedisError {
    #[component(name = "invalid-address")]
    InvalidAddress,
    #[component(name = "too-many-connections")]
    TooManyConnections,
    #[component(name = "type-error")]
    TypeError,
    #[component(name = "other")]
    Other(String),
}

/// The error of the cron and MQTT interfaces.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift)]
#[component(variant)]
enum OtherError {
    #[component(name = "other")]
    Other(String),
}

impl From<PlainError> for Reply {
    fn from(_: PlainError) -> Self {
        Self::Failed("error".to_owned())
    }
}

impl From<RedisError> for Reply {
    fn from(error: RedisError) -> Self {
        Self::Failed(match error {
            RedisError::InvalidAddress => "invalid-address".to_owned(),
            RedisError::TooManyConnections => "too-many-connections".to_owned(),
            RedisError::TypeError => "type-error".to_owned(),
            RedisError::Other(text) => text,
        })
    }
}

impl From<OtherError> for Reply {
    fn from(OtherError::Other(text): OtherError) -> Self {
        Self::Failed(text)
    }
}

impl From<QueueAction> for Reply {
    fn from(action: QueueAction) -> Self {
        match action {
            QueueAction::Delete => Self::Delete,
            QueueAction::Leave => Self::Leave,
        }
    }
}

/// An export by which components take events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `fermyon:spin/inbound-redis`.
    Redis,
    /// `spin:redis/inbound-redis` 3.
    Redis3,
    /// World `fermyon:spin-cron` 2.
    Cron,
    /// World `spin:mqtt-trigger` 3.
    Mqtt,
    /// World `fermyon:spin-sqs` 2, or `spin:sqs` 3, whose errors have a text.
    Sqs,
    /// `wasi:cli/run`.
    Command,
}

/// Why a component cannot be called for a kind of events.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventHandlerError {
    /// It exports nothing that is for them.
    #[error("it does not export {0}")]
    None(&'static str),
    /// It exports several.
    #[error("it exports several handlers for one trigger: {}", .0.join(", "))]
    Several(Vec<String>),
}

/// How a component is called for events of one kind.
pub(crate) struct EventHandler {
    pre: InstancePre<HostState>,
    function: ComponentExportIndex,
    shape: Shape,
}

impl EventHandler {
    /// By what the component exports for triggers of that type: exactly one.
    pub(crate) fn of(pre: &InstancePre<HostState>, kind: &str) -> Result<Self, EventHandlerError> {
        let component = pre.component();
        let ty = component.component_type();
        let names: Vec<String> =
            ty.exports(component.engine()).map(|(name, _)| name.to_owned()).collect();
        let exported = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
            names.iter().filter(|name| wanted(name)).cloned().collect()
        };
        let (expected, found, function) = match kind {
            "redis" => (
                "fermyon:spin/inbound-redis or spin:redis/inbound-redis@3.0.0",
                exported(&|name| {
                    name == "fermyon:spin/inbound-redis"
                        || name.starts_with("spin:redis/inbound-redis@3.")
                }),
                Some("handle-message"),
            ),
            "cron" => {
                let name = "handle-cron-event";
                (
                    "the function handle-cron-event (world fermyon:spin-cron@2.0.0/spin-cron)",
                    exported(&|it| it == name),
                    None,
                )
            }
            "mqtt" => {
                let name = "handle-message";
                (
                    "the function handle-message (world spin:mqtt-trigger@3.0.0/spin-mqtt)",
                    exported(&|it| it == name),
                    None,
                )
            }
            "sqs" => {
                let name = "handle-queue-message";
                (
                    "the function handle-queue-message (world fermyon:spin-sqs@2.0.0/spin-sqs)",
                    exported(&|it| it == name),
                    None,
                )
            }
            _ => {
                // The newer one is called where there are both.
                let newest = |version: &str| {
                    exported(&|it| {
                        it.strip_prefix("wasi:cli/run@").is_some_and(|it| it.starts_with(version))
                    })
                };
                let found = newest("0.3.");
                let found = if found.is_empty() { newest("0.2.") } else { found };
                ("wasi:cli/run", found, Some("run"))
            }
        };
        let [name] = &found[..] else {
            return Err(if found.is_empty() {
                EventHandlerError::None(expected)
            } else {
                EventHandlerError::Several(found)
            });
        };
        let interface = function.and_then(|_| component.get_export_index(None, name));
        let function = component
            .get_export_index(interface.as_ref(), function.unwrap_or(name))
            .ok_or(EventHandlerError::None(expected))?;
        let shape = match kind {
            "redis" if name.starts_with("spin:") => Shape::Redis3,
            "redis" => Shape::Redis,
            "cron" => Shape::Cron,
            "mqtt" => Shape::Mqtt,
            "sqs" => Shape::Sqs,
            _ => Shape::Command,
        };
        Ok(Self { pre: pre.clone(), function, shape })
    }

    /// What is instantiated.
    pub(crate) fn instance_pre(&self) -> &InstancePre<HostState> {
        &self.pre
    }

    /// A guest that is to deal with an event. What it says goes into `reply`.
    pub(crate) fn handle(
        &self,
        mut store: Store<HostState>,
        event: Event,
        reply: oneshot::Sender<Reply>,
    ) -> Guest {
        let (pre, function, shape) = (self.pre.clone(), self.function, self.shape);
        Box::pin(async move {
            let handled = call(&pre, &mut store, function, shape, event).await;
            let result = match handled {
                Ok(said) => {
                    // Whoever asked may have gone.
                    let _ = reply.send(said);
                    Ok(())
                }
                Err(error) => match error.downcast_ref::<I32Exit>() {
                    Some(exit) if shape == Shape::Command => {
                        let _ = reply.send(Reply::Exit(u8::try_from(exit.0).unwrap_or(1)));
                        Ok(())
                    }
                    // A program that says it is done is done.
                    Some(I32Exit(0)) => {
                        let _ = reply.send(Reply::Done);
                        Ok(())
                    }
                    _ => Err(error),
                },
            };
            Ended { result, is_answer_whole: false }
        })
    }
}

async fn call(
    pre: &InstancePre<HostState>,
    store: &mut Store<HostState>,
    function: ComponentExportIndex,
    shape: Shape,
    event: Event,
) -> wasmtime::Result<Reply> {
    if let Event::Command(program) = &event {
        store.data_mut().program = program.clone();
    }
    let instance = pre.instantiate_async(&mut *store).await?;
    store.data_mut().instantiated();
    // Both the older interfaces' functions and the asynchronous ones of the newer are called this way.
    macro_rules! call {
        ($parameters:ty, $result:ty, $arguments:expr) => {{
            let function =
                instance.get_typed_func::<$parameters, $result>(&mut *store, &function)?;
            function.call_async(&mut *store, $arguments).await?
        }};
    }
    let done = |(): ()| Reply::Done;
    Ok(match (shape, event) {
        (Shape::Redis, Event::Redis(payload)) => {
            let (said,) = call!((&[u8],), (Result<(), PlainError>,), (&payload[..],));
            said.map_or_else(Reply::from, done)
        }
        (Shape::Redis3, Event::Redis(payload)) => {
            let (said,) = call!((Vec<u8>,), (Result<(), RedisError>,), (payload.to_vec(),));
            said.map_or_else(Reply::from, done)
        }
        (Shape::Cron, Event::Cron(timestamp)) => {
            let metadata = CronMetadata { timestamp };
            let (said,) = call!((CronMetadata,), (Result<(), OtherError>,), (metadata,));
            said.map_or_else(Reply::from, done)
        }
        (Shape::Mqtt, Event::Mqtt { topic, payload }) => {
            let arguments = (payload.to_vec(), MqttMetadata { topic });
            let (said,) = call!((Vec<u8>, MqttMetadata), (Result<(), OtherError>,), arguments);
            said.map_or_else(Reply::from, done)
        }
        (Shape::Sqs, Event::Sqs(message)) => {
            let is_new = instance
                .get_typed_func::<(QueueMessage,), (Result<QueueAction, OtherError>,)>(
                    &mut *store,
                    &function,
                );
            if is_new.is_ok() {
                let (said,) =
                    call!((QueueMessage,), (Result<QueueAction, OtherError>,), (message,));
                said.map_or_else(Reply::from, Reply::from)
            } else {
                let (said,) =
                    call!((QueueMessage,), (Result<QueueAction, PlainError>,), (message,));
                said.map_or_else(Reply::from, Reply::from)
            }
        }
        (Shape::Command, Event::Command(_)) => {
            let (said,) = call!((), (Result<(), ()>,), ());
            Reply::Exit(u8::from(said.is_err()))
        }
        (shape, event) => {
            wasmtime::bail!("a component that is {shape:?} was called for {event:?}")
        }
    })
}
