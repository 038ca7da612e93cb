//! The Redis trigger: components are called for the messages of channels.
//!
//! One connection for each address, on which RESP2 is spoken. A message that comes while there is none is lost, as Redis
//! keeps none.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use redis::{IntoConnectionInfo as _, RedisConnectionInfo, Value};
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};

use super::{Connection, Listener, STEADY_TIME, Server, TriggerError, backoff::Backoff, server};
use crate::{App, event::Event, loaded::Loaded, spans};

/// What a message may have besides its text: the names of its kind and channel, and the lengths.
const FRAME_BYTES: usize = 64 << 10;

/// One server and the channels that are listened to, each with the components that are called.
pub(super) struct Subscription {
    server: Server,
    account: RedisConnectionInfo,
    channels: BTreeMap<String, Vec<Arc<str>>>,
}

pub(super) fn plan(app: &App, loaded: &Loaded) -> Result<Vec<Subscription>, TriggerError> {
    let mut by_address: BTreeMap<String, BTreeMap<String, Vec<Arc<str>>>> = BTreeMap::new();
    for trigger in &loaded.events.redis {
        let address = app.resolve(loaded, "redis trigger address", &trigger.address)?;
        let channel = app.resolve(loaded, "redis trigger channel", &trigger.channel)?;
        let components = by_address.entry(address).or_default().entry(channel).or_default();
        components.push(trigger.component.as_str().into());
    }
    by_address
        .into_iter()
        .map(|(address, channels)| Subscription::new(&address, channels))
        .collect()
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

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// What Spin prints of it.
    pub(super) fn lines(&self) -> Vec<String> {
        let server = &self.server;
        let channels = self.channels.iter().map(|(channel, components)| {
            format!("\t{server}/{channel}: [{}]", components.join(","))
        });
        std::iter::once(format!("Active Channels on {server}:")).chain(channels).collect()
    }

    /// Connects and subscribes.
    ///
    /// # Errors
    /// A sentence that says that it failed, and why.
    pub(super) async fn connect(&self, app: &App) -> Result<Subscribed, String> {
        let subscribe = async {
            let stream = self.server.connect(app).await?;
            Subscribed::new(stream, &self.account, self.channels.keys(), app.event_bytes()).await
        };
        let late = |_| format!("no answer within {:?}", super::CONNECT_TIME);
        let subscribed = tokio::time::timeout(super::CONNECT_TIME, subscribe).await.map_err(late);
        subscribed.and_then(|it| it).map_err(|reason| {
            format!("Redis trigger failed to connect to {}: {reason}", self.server)
        })
    }

    /// Listens for ever.
    pub(super) async fn listen(self, listener: Listener, mut connection: Option<Subscribed>) {
        let app = &listener.app;
        let server = &self.server;
        let mut backoff = Backoff::default();
        let mut is_first = connection.is_none();
        loop {
            if let Some(connection) = connection.take() {
                let since = Instant::now();
                let reason = self.serve(&listener, connection).await;
                if since.elapsed() >= STEADY_TIME {
                    backoff.reset();
                }
                app.says_of_triggers(&format!(
                    "Redis trigger: disconnected from {server}: {reason}"
                ));
            }
            let again = if is_first {
                ""
            } else {
                let pause = backoff.next();
                app.says_of_triggers(&format!(
                    "Redis trigger: connecting to {server} again in {} ms",
                    pause.as_millis()
                ));
                tokio::time::sleep(pause).await;
                " again"
            };
            is_first = false;
            match self.connect(app).await {
                Ok(new) => {
                    app.says_of_triggers(&format!("Redis trigger: connected to {server}{again}"));
                    connection = Some(new);
                }
                Err(text) => app.says_of_triggers(&text),
            }
        }
    }

    /// Takes messages until the connection is lost. Returns why it was.
    async fn serve(&self, listener: &Listener, mut connection: Subscribed) -> String {
        loop {
            let (channel, payload) = match connection.next().await {
                Ok(message) => message,
                Err(reason) => return reason,
            };
            // One for the message, whoever is called for it; it ends with the last of them.
            let span = spans::of_message("spin_trigger_redis.handle_message", "redis", &channel);
            for component in self.channels.get(&channel).into_iter().flatten() {
                let place = listener.place().await;
                let event = Event::Redis(payload.clone());
                let handled = listener.app.handle("redis", component, event, span.clone());
                // Nobody waits for it.
                tokio::spawn(async move {
                    handled.await;
                    drop(place);
                });
            }
        }
    }
}

/// A connection that is subscribed to channels.
pub(super) struct Subscribed {
    values: BoxStream<'static, Result<Value, String>>,
    /// Held so that the connection stays open for as long as it is read.
    _writer: tokio::io::WriteHalf<Box<dyn Connection>>,
}

impl Subscribed {
    async fn new(
        stream: Box<dyn Connection>,
        account: &RedisConnectionInfo,
        channels: impl Iterator<Item = &String>,
        event_bytes: usize,
    ) -> Result<Self, String> {
        let (reader, mut writer) = tokio::io::split(stream);
        let reader = Limited { reader, left: 0, limit: event_bytes + FRAME_BYTES };
        let mut values = values(reader);
        if let Some(password) = account.password() {
            let mut command = redis::cmd("AUTH");
            if let Some(user) = account.username() {
                command.arg(user);
            }
            command.arg(password);
            let packed = command.get_packed_command();
            writer.write_all(&packed).await.map_err(|error| error.to_string())?;
            writer.flush().await.map_err(|error| error.to_string())?;
            next(&mut values).await?;
        }
        for channel in channels {
            let packed = redis::cmd("SUBSCRIBE").arg(channel).get_packed_command();
            writer.write_all(&packed).await.map_err(|error| error.to_string())?;
            writer.flush().await.map_err(|error| error.to_string())?;
            // What is published to the channels before comes in between; nobody is told of those messages yet.
            while !is_kind(&next(&mut values).await?, b"subscribe") {}
        }
        Ok(Self { values, _writer: writer })
    }

    /// The next message and its channel.
    async fn next(&mut self) -> Result<(String, Bytes), String> {
        loop {
            let value = next(&mut self.values).await?;
            if !is_kind(&value, b"message") {
                continue;
            }
            let Value::Array(parts) = value else { continue };
            let mut parts = parts.into_iter().skip(1);
            if let (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) =
                (parts.next(), parts.next())
            {
                return Ok((String::from_utf8_lossy(&channel).into_owned(), payload.into()));
            }
        }
    }
}

/// Whether it is a message of the server's of that kind: `message`, `subscribe`, …
fn is_kind(value: &Value, kind: &[u8]) -> bool {
    let Value::Array(parts) = value else { return false };
    matches!(parts.first(), Some(Value::BulkString(it)) if it == kind)
}

async fn next(values: &mut BoxStream<'static, Result<Value, String>>) -> Result<Value, String> {
    match values.next().await {
        Some(Ok(Value::ServerError(error))) => Err(error.to_string()),
        Some(value) => value,
        None => Err("the server closed the connection".to_owned()),
    }
}

/// The values that a server sends, each within the reader's limit; the last one may be an error.
fn values<R: AsyncRead + Unpin + Send + 'static>(
    reader: Limited<R>,
) -> BoxStream<'static, Result<Value, String>> {
    #[allow(clippy::default_trait_access, reason = "the decoder's type is another crate's")]
    let state = Some((Default::default(), reader));
    futures::stream::unfold(state, |state| async move {
        let (mut decoder, mut reader) = state?;
        reader.left = reader.limit;
        match redis::parse_redis_value_async(&mut decoder, &mut reader).await {
            Ok(value) => Some((Ok(value), Some((decoder, reader)))),
            Err(error) => Some((Err(error.to_string()), None)),
        }
    })
    .boxed()
}

/// Reads so much, and fails then until it is allowed more.
struct Limited<R> {
    reader: R,
    left: usize,
    limit: usize,
}

impl<R: AsyncRead + Unpin> AsyncRead for Limited<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.reader).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        let Some(left) = self.left.checked_sub(read) else {
            let limit = self.limit - FRAME_BYTES;
            let text = format!("event_bytes limit of {limit} reached: a message is longer");
            return Poll::Ready(Err(io::Error::other(text)));
        };
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(sent: &[u8], event_bytes: usize) -> Vec<Result<Value, String>> {
        let reader = io::Cursor::new(sent.to_vec());
        let limit = event_bytes + FRAME_BYTES;
        values(Limited { reader, left: 0, limit }).collect().await
    }

    #[tokio::test]
    async fn what_is_longer_than_the_limit_ends_the_connection() {
        let message = |length: usize| {
            let text = "x".repeat(length);
            format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${length}\r\n{text}\r\n").into_bytes()
        };
        let two = [message(10), message(10)].concat();
        let read = all(&two, 10).await;
        assert!(read[0].is_ok() && read[1].is_ok(), "{read:?}");
        assert!(is_kind(read[0].as_ref().unwrap(), b"message"));
        let read = all(&message(1_000_000), 100_000).await;
        let error = read[0].as_ref().unwrap_err();
        assert!(error.contains("event_bytes limit of 100000 reached"), "{error}");
        assert_eq!(read.len(), 1);
    }
}
