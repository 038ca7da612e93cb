//! The MQTT trigger (MQTT 3.1.1): components are called for the messages of topics.
//!
//! Each trigger has a connection and a session of its own, which the server forgets with the connection: what is
//! published while there is none is lost. A message of quality 1 or 2 is acknowledged when the component is done with
//! it, however that went.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use rumqttc::{
    ConnectReturnCode, Login, Packet, PubAck, PubComp, PubRec, Publish, QoS, Subscribe,
    SubscribeReasonCode,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Interval, MissedTickBehavior, interval_at},
};
use uuid::Uuid;

use super::{Connection, Listener, STEADY_TIME, Server, TriggerError, backoff::Backoff, server};
use crate::{App, event::Event, loaded::Loaded, spans};

/// What a message's packet may have besides its text: topic and lengths.
const FRAME_BYTES: usize = 66 << 10;

/// The largest packet that is written.
const WRITTEN_BYTES: usize = 1 << 20;

/// One trigger.
pub(super) struct Subscription {
    server: Server,
    login: Option<Login>,
    keep_alive: u16,
    topic: String,
    qos: QoS,
    component: Arc<str>,
}

/// A message that a component is done with.
type Done = (QoS, u16);

pub(super) fn plan(app: &App, loaded: &Loaded) -> Result<Vec<Subscription>, TriggerError> {
    let Some(settings) = &loaded.events.mqtt_server else { return Ok(Vec::new()) };
    let address = app.resolve(loaded, "mqtt trigger address", &settings.address)?;
    let username = app.resolve(loaded, "mqtt trigger username", &settings.username)?;
    let password = app.resolve(loaded, "mqtt trigger password", &settings.password)?;
    let (server, _) =
        server("mqtt", &address, &["mqtt", "tcp"], &["mqtts", "ssl", "tls"], (1883, 8883))?;
    let subscriptions = loaded.events.mqtt.iter().map(|trigger| {
        Ok(Subscription {
            server: server.clone(),
            login: (!username.is_empty()).then(|| Login::new(&username, &password)),
            keep_alive: settings.keep_alive_interval,
            topic: app.resolve(loaded, "mqtt trigger topic", &trigger.topic)?,
            qos: match trigger.qos {
                0 => QoS::AtMostOnce,
                1 => QoS::AtLeastOnce,
                _ => QoS::ExactlyOnce,
            },
            component: trigger.component.as_str().into(),
        })
    });
    subscriptions.collect()
}

impl Subscription {
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Connects and subscribes.
    ///
    /// # Errors
    /// A sentence that says that it failed, and why.
    pub(super) async fn connect(&self, app: &App) -> Result<Session, String> {
        let connect = async {
            let connection = self.server.connect(app).await?;
            let packet_bytes = app.event_bytes() + FRAME_BYTES;
            let mut session = Session { connection, buffer: BytesMut::new(), packet_bytes };
            self.greet(&mut session).await?;
            Ok(session)
        };
        let late = |_| format!("no answer within {:?}", super::CONNECT_TIME);
        let connected = tokio::time::timeout(super::CONNECT_TIME, connect).await.map_err(late);
        connected.and_then(|it| it).map_err(|reason: String| {
            format!("MQTT trigger failed to connect to {}: {reason}", self.server)
        })
    }

    async fn greet(&self, session: &mut Session) -> Result<(), String> {
        let mut connect = rumqttc::Connect::new(format!("gyre-{}", Uuid::new_v4().simple()));
        connect.keep_alive = self.keep_alive;
        connect.clean_session = true;
        connect.login.clone_from(&self.login);
        session.write(&Packet::Connect(connect)).await?;
        match session.read().await? {
            Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => {}
            Packet::ConnAck(answer) => return Err(format!("it refuses: {:?}", answer.code)),
            _ => return Err("it does not speak MQTT 3.1.1".to_owned()),
        }
        let mut subscribe = Subscribe::new(&self.topic, self.qos);
        subscribe.pkid = 1;
        session.write(&Packet::Subscribe(subscribe)).await?;
        loop {
            match session.read().await? {
                Packet::SubAck(answer) => {
                    let is_granted = !answer.return_codes.contains(&SubscribeReasonCode::Failure);
                    let refused = || format!("it refuses a subscription to {:?}", self.topic);
                    return if is_granted { Ok(()) } else { Err(refused()) };
                }
                // The server may send what it kept for the topic first; it sends that again where it must.
                Packet::Publish(message) if message.qos == QoS::AtMostOnce => {}
                _ => return Err("it answered a subscription with something else".to_owned()),
            }
        }
    }

    /// Listens for ever.
    pub(super) async fn listen(self, listener: Listener, mut session: Option<Session>) {
        let app = &listener.app;
        let server = &self.server;
        let mut backoff = Backoff::default();
        let mut is_first = session.is_none();
        loop {
            if let Some(session) = session.take() {
                let since = Instant::now();
                let reason = self.serve(&listener, session).await;
                if since.elapsed() >= STEADY_TIME {
                    backoff.reset();
                }
                app.says_of_triggers(&format!(
                    "MQTT trigger: disconnected from {server}: {reason}"
                ));
            }
            let again = if is_first {
                ""
            } else {
                let pause = backoff.next();
                app.says_of_triggers(&format!(
                    "MQTT trigger: connecting to {server} again in {} ms",
                    pause.as_millis()
                ));
                tokio::time::sleep(pause).await;
                " again"
            };
            is_first = false;
            match self.connect(app).await {
                Ok(new) => {
                    app.says_of_triggers(&format!("MQTT trigger: connected to {server}{again}"));
                    session = Some(new);
                }
                Err(text) => app.says_of_triggers(&text),
            }
        }
    }

    /// Takes messages until the connection is lost. Returns why it was.
    async fn serve(&self, listener: &Listener, mut session: Session) -> String {
        let (done, mut is_done) = mpsc::unbounded_channel::<Done>();
        let mut ping = self.ping();
        let mut is_answered = true;
        // Messages of quality 2 that were taken and not released yet.
        let mut taken = HashSet::new();
        // A message for which there is no place yet. Nothing more is read then, but what is done is still acknowledged.
        let mut waiting = None;
        loop {
            let written = tokio::select! {
                place = listener.place(), if waiting.is_some() => {
                    if let Some(message) = waiting.take() {
                        self.dispatch(&listener.app, message, place, &done);
                    }
                    Ok(())
                }
                packet = session.read(), if waiting.is_none() => match packet {
                    Err(reason) => return reason,
                    Ok(Packet::Publish(message)) => {
                        if message.qos != QoS::ExactlyOnce || taken.insert(message.pkid) {
                            waiting = Some(message);
                        }
                        Ok(())
                    }
                    Ok(Packet::PubRel(release)) => {
                        taken.remove(&release.pkid);
                        session.write(&Packet::PubComp(PubComp::new(release.pkid))).await
                    }
                    Ok(Packet::PingResp) => {
                        is_answered = true;
                        Ok(())
                    }
                    Ok(Packet::Disconnect) => return "the server said so".to_owned(),
                    Ok(_) => Ok(()),
                },
                Some((qos, id)) = is_done.recv() => match qos {
                    QoS::AtMostOnce => Ok(()),
                    QoS::AtLeastOnce => session.write(&Packet::PubAck(PubAck::new(id))).await,
                    QoS::ExactlyOnce => session.write(&Packet::PubRec(PubRec::new(id))).await,
                },
                () = next(&mut ping) => {
                    // An answer that nobody could read is none that did not come.
                    if !is_answered && waiting.is_none() {
                        return "the server is silent".to_owned();
                    }
                    is_answered = false;
                    session.write(&Packet::PingReq).await
                }
            };
            if let Err(reason) = written {
                return reason;
            }
        }
    }

    /// When the connection is to be tested; never if the interval is 0.
    fn ping(&self) -> Option<Interval> {
        let period = Duration::from_secs(self.keep_alive.into());
        (!period.is_zero()).then(|| {
            let mut ping = interval_at(tokio::time::Instant::now() + period, period);
            ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ping
        })
    }

    fn dispatch(
        &self,
        app: &Arc<App>,
        message: Publish,
        place: OwnedSemaphorePermit,
        done: &mpsc::UnboundedSender<Done>,
    ) {
        let (qos, id) = (message.qos, message.pkid);
        let done = done.clone();
        let name = "spin_trigger_mqtt.handle_message";
        let span = spans::of_message(name, "mqtt", &message.topic);
        let event = Event::Mqtt { topic: message.topic, payload: message.payload };
        let handled = app.handle("mqtt", &self.component, event, span);
        tokio::spawn(async move {
            handled.await;
            drop(place);
            // The connection may be another by now.
            let _ = done.send((qos, id));
        });
    }
}

async fn next(ping: &mut Option<Interval>) {
    match ping {
        Some(ping) => drop(ping.tick().await),
        None => std::future::pending().await,
    }
}

/// A connection, and what was read of it and not understood yet.
pub(super) struct Session {
    connection: Box<dyn Connection>,
    buffer: BytesMut,
    /// The largest packet that is read.
    packet_bytes: usize,
}

impl Session {
    /// The next packet. Nothing is lost if this is dropped.
    async fn read(&mut self) -> Result<Packet, String> {
        loop {
            match Packet::read(&mut self.buffer, self.packet_bytes) {
                Ok(packet) => return Ok(packet),
                Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(error.to_string()),
            }
            match self.connection.read_buf(&mut self.buffer).await {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    async fn write(&mut self, packet: &Packet) -> Result<(), String> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, WRITTEN_BYTES).map_err(|error| error.to_string())?;
        let written = async {
            self.connection.write_all(&bytes).await?;
            self.connection.flush().await
        };
        written.await.map_err(|error| error.to_string())
    }
}
