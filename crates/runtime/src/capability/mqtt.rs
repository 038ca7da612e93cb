//! MQTT 3.1.1: publishing, over a connection of the instance's own.
//!
//! A message is published when the server has acknowledged it as its quality of service says. `spin` translates for the
//! versions of the interface.

mod spin;

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use gyre_telemetry::{Blame, Kind};
use rumqttc::{ConnectReturnCode, Login, Packet, PubRel, Publish, QoS};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Mutex,
};
use url::Url;
use uuid::Uuid;
use wasmtime::component::{Resource, ResourceTableError};

use super::{
    Origin,
    egress::Purpose,
    server::{CONNECT_TIME, Protocol, ServerError, ServerStream},
    traced::{Blamed, InstanceTrace, traced},
};
use crate::host::HostState;

const MQTT: Protocol = Protocol {
    name: "mqtt",
    purpose: Purpose::Mqtt,
    plain: &["mqtt", "tcp"],
    encrypted: &["mqtts", "ssl"],
    ports: (1883, 8883),
};

/// Connections that one instance may have open.
const CONNECTIONS: usize = 1_024;

/// The largest packet, either way.
const PACKET_BYTES: usize = 16 << 20;

/// The longest topic: its length has two bytes on the wire.
const TOPIC_BYTES: usize = 65_535;

pub(crate) use spin::{add_async_to_linker, add_to_linker};

/// What a guest is told when an operation fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Error {
    /// The address cannot be read.
    InvalidAddress,
    /// The instance has as many connections as it may have.
    TooManyConnections,
    /// There is no connection; why.
    ConnectionFailed(String),
    /// Anything else.
    Other(String),
}

impl Blamed for Error {
    fn blame(&self) -> Blame {
        match self {
            Self::InvalidAddress | Self::TooManyConnections => Blame::Guest,
            Self::ConnectionFailed(_) | Self::Other(_) => Blame::Host,
        }
    }
}

/// How a connection is made.
pub(super) struct Settings {
    pub(super) address: String,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) keep_alive: Duration,
}

/// An open connection. Its handles are one; publishing is one message at a time.
#[derive(Clone)]
#[allow(unreachable_pub, reason = "the generated code re-exports it")]
pub struct Connection {
    session: Arc<Mutex<Session>>,
    trace: InstanceTrace,
}

struct Session {
    stream: ServerStream,
    buffer: BytesMut,
    last_id: u16,
    /// The longest payload, in bytes.
    payload_bytes: Option<u64>,
}

impl Connection {
    pub(super) async fn open(origin: &Origin, settings: &Settings) -> Result<Self, Error> {
        let span = origin.trace.client("spin_outbound_mqtt.open_connection");
        traced(span, Self::connect(origin, settings)).await
    }

    async fn connect(origin: &Origin, settings: &Settings) -> Result<Self, Error> {
        let address = &settings.address;
        let url = Url::parse(address).map_err(|_| Error::InvalidAddress)?;
        let (stream, _) = MQTT.connect(origin, &url).await.map_err(|error| match error {
            ServerError::Address => Error::InvalidAddress,
            ServerError::Denied => {
                Error::ConnectionFailed(format!("address {address} is not permitted"))
            }
            ServerError::Connect(text) => Error::ConnectionFailed(text),
        })?;
        let mut session = Session {
            stream,
            buffer: BytesMut::new(),
            last_id: 0,
            payload_bytes: origin.app.shared.mqtt_payload_bytes,
        };
        let greeted = tokio::time::timeout(CONNECT_TIME, session.greet(&url, settings)).await;
        let late = |_| Err(format!("no answer within {CONNECT_TIME:?}"));
        greeted.unwrap_or_else(late).map_err(Error::ConnectionFailed)?;
        let session = Arc::new(Mutex::new(session));
        // The server closes what it hears nothing of; this ends with the last handle.
        if !settings.keep_alive.is_zero() {
            let (weak, pause) = (Arc::downgrade(&session), settings.keep_alive / 2);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(pause).await;
                    let Some(session) = weak.upgrade() else { return };
                    if session.lock().await.write(&Packet::PingReq).await.is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { session, trace: origin.trace.clone() })
    }

    pub(super) async fn publish(
        &self,
        topic: &str,
        payload: Vec<u8>,
        qos: QoS,
    ) -> Result<(), Error> {
        let mut span = self.trace.span(Kind::Producer, "spin_outbound_mqtt.publish");
        if span.is_on() {
            span.set("messaging.operation", "publish");
            span.set("messaging.system", "mqtt");
            span.set("messaging.destination.name", topic.to_owned());
        }
        traced(span, async {
            if topic.len() > TOPIC_BYTES {
                return Err(Error::Other(format!("a topic is at most {TOPIC_BYTES} bytes long")));
            }
            let mut session = self.session.lock().await;
            let size = payload.len();
            if let Some(limit) = session.payload_bytes.filter(|&limit| size as u64 > limit) {
                return Err(Error::Other(format!(
                    "payload size {size} exceeds the maximum allowed size of {limit} bytes"
                )));
            }
            session.publish(topic, payload, qos).await.map_err(Error::Other)
        })
        .await
    }
}

impl Session {
    async fn greet(&mut self, url: &Url, settings: &Settings) -> Result<(), String> {
        let named = url.query_pairs().find(|(name, _)| name == "client_id");
        let id = match named {
            Some((_, id)) => id.into_owned(),
            None => format!("gyre-{}", Uuid::new_v4().simple()),
        };
        let mut connect = rumqttc::Connect::new(id);
        connect.clean_session = true;
        connect.keep_alive = u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX);
        let (username, password) = (&settings.username, &settings.password);
        connect.login = (!username.is_empty()).then(|| Login::new(username, password));
        self.write(&Packet::Connect(connect)).await?;
        match self.read().await? {
            Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => Ok(()),
            Packet::ConnAck(answer) => Err(format!("the server refuses: {:?}", answer.code)),
            _ => Err("the server does not speak MQTT 3.1.1".to_owned()),
        }
    }

    async fn publish(&mut self, topic: &str, payload: Vec<u8>, qos: QoS) -> Result<(), String> {
        let mut message = Publish::new(topic, qos, payload);
        if qos != QoS::AtMostOnce {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            message.pkid = self.last_id;
        }
        let id = message.pkid;
        self.write(&Packet::Publish(message)).await?;
        if qos == QoS::AtMostOnce {
            return Ok(());
        }
        loop {
            match self.read().await? {
                Packet::PubAck(answer) if answer.pkid == id => return Ok(()),
                Packet::PubRec(answer) if answer.pkid == id => {
                    self.write(&Packet::PubRel(PubRel::new(id))).await?;
                }
                Packet::PubComp(answer) if answer.pkid == id => return Ok(()),
                Packet::Disconnect => return Err("the server ended the connection".to_owned()),
                // Answers to pings, and to messages whose sender did not wait for them.
                _ => {}
            }
        }
    }

    async fn read(&mut self) -> Result<Packet, String> {
        loop {
            match Packet::read(&mut self.buffer, PACKET_BYTES) {
                Ok(packet) => return Ok(packet),
                Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(error.to_string()),
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    async fn write(&mut self, packet: &Packet) -> Result<(), String> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, PACKET_BYTES).map_err(|error| error.to_string())?;
        let written = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error| error.to_string())
    }
}

impl HostState {
    fn push_mqtt(
        &mut self,
        opened: Result<Connection, Error>,
    ) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
        let connection = match opened {
            Ok(connection) => connection,
            Err(error) => return Ok(Err(error)),
        };
        match self.table.push(connection) {
            Ok(handle) => {
                self.capabilities.mqtt += 1;
                Ok(Ok(handle))
            }
            Err(ResourceTableError::Full) => Ok(Err(Error::TooManyConnections)),
            Err(error) => Err(error.into()),
        }
    }

    fn mqtt_is_full(&self) -> bool {
        self.capabilities.mqtt >= CONNECTIONS
    }

    fn drop_mqtt(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        self.capabilities.mqtt -= 1;
        Ok(())
    }
}
