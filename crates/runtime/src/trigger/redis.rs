//! The Redis trigger: components are called for the messages of channels.
//!
//! One connection for each address. A message that comes while there is none is lost, as Redis keeps none.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::StreamExt as _;
use redis::{IntoConnectionInfo as _, RedisConnectionInfo, aio::PubSub};

use super::{Server, Stop, TriggerError, TriggerOptions, Triggers, backoff::Backoff, server};
use crate::{App, event::Event, loaded::Loaded, spans};

/// One server and the channels that are listened to, each with the components that are called.
struct Subscription {
    server: Server,
    account: RedisConnectionInfo,
    channels: BTreeMap<String, Vec<Arc<str>>>,
}

pub(super) async fn start(
    app: &Arc<App>,
    loaded: &Loaded,
    options: &TriggerOptions,
    stop: &Stop,
    triggers: &mut Triggers,
) -> Result<(), TriggerError> {
    let mut by_address: BTreeMap<String, BTreeMap<String, Vec<Arc<str>>>> = BTreeMap::new();
    for trigger in &loaded.events.redis {
        let address = app.resolve(loaded, "redis trigger address", &trigger.address)?;
        let channel = app.resolve(loaded, "redis trigger channel", &trigger.channel)?;
        let components = by_address.entry(address).or_default().entry(channel).or_default();
        components.push(trigger.component.as_str().into());
    }
    for (address, channels) in by_address {
        let subscription = Subscription::new(&address, channels)?;
        let connection = match subscription.connect(app).await {
            Ok(connection) => Some(connection),
            Err(reason) if options.is_patient => {
                let server = &subscription.server;
                app.says_of_trigger(&format!(
                    "Redis trigger failed to connect to {server}: {reason}; it goes on trying"
                ));
                None
            }
            Err(reason) => {
                let server = &subscription.server;
                let text = format!("Redis trigger failed to connect to {server}: {reason}");
                return Err(TriggerError::Connect(text));
            }
        };
        let server = &subscription.server;
        triggers.lines.push(format!("Active Channels on {server}:"));
        triggers.lines.extend(subscription.channels.iter().map(|(channel, components)| {
            format!("\t{server}/{channel}: [{}]", components.join(","))
        }));
        let (app, mut stop) = (app.clone(), stop.clone());
        triggers.tasks.spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = subscription.listen(&app, connection) => {}
            }
        });
    }
    Ok(())
}

impl Subscription {
    fn new(address: &str, channels: BTreeMap<String, Vec<Arc<str>>>) -> Result<Self, TriggerError> {
        let (server, url) =
            server("redis", address, &["redis", "valkey"], &["rediss", "valkeys"], (6379, 6379))?;
        let info = url.as_str().into_connection_info().map_err(|error| TriggerError::Address {
            kind: "redis",
            address: server.to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self { server, account: info.redis_settings().clone(), channels })
    }

    async fn connect(&self, app: &App) -> Result<PubSub, String> {
        let stream = self.server.connect(app).await?;
        let subscribe = async {
            let mut connection = PubSub::new(&self.account, stream).await?;
            for channel in self.channels.keys() {
                connection.subscribe(channel).await?;
            }
            Ok(connection)
        };
        let late = |_| format!("no answer within {:?}", super::CONNECT_TIME);
        let subscribed =
            tokio::time::timeout(super::CONNECT_TIME, subscribe).await.map_err(late)?;
        subscribed.map_err(|error: redis::RedisError| error.to_string())
    }

    /// Listens for ever.
    async fn listen(&self, app: &Arc<App>, mut connection: Option<PubSub>) {
        let mut backoff = Backoff::default();
        let server = &self.server;
        loop {
            if let Some(mut connection) = connection.take() {
                let mut messages = connection.on_message();
                while let Some(message) = messages.next().await {
                    backoff.reset();
                    let payload = Bytes::copy_from_slice(message.get_payload_bytes());
                    self.dispatch(app, message.get_channel_name(), &payload);
                }
                app.says_of_trigger(&format!("Redis trigger: disconnected from {server}"));
            }
            let pause = backoff.next();
            app.says_of_trigger(&format!(
                "Redis trigger: connecting to {server} again in {} ms",
                pause.as_millis()
            ));
            tokio::time::sleep(pause).await;
            match self.connect(app).await {
                Ok(again) => {
                    app.says_of_trigger(&format!("Redis trigger: connected to {server} again"));
                    connection = Some(again);
                }
                Err(reason) => app.says_of_trigger(&format!(
                    "Redis trigger failed to connect to {server}: {reason}"
                )),
            }
        }
    }

    /// Calls all components of a channel, at the same time. Nobody waits for them.
    fn dispatch(&self, app: &Arc<App>, channel: &str, payload: &Bytes) {
        // One for the message, whoever is called for it; it ends with the last of them.
        let span = spans::of_message("spin_trigger_redis.handle_message", "redis", channel);
        for component in self.channels.get(channel).into_iter().flatten() {
            if app.admits(component, payload.len()) {
                let event = Event::Redis(payload.clone());
                tokio::spawn(app.handle("redis", component, event, span.clone()));
            }
        }
    }
}
