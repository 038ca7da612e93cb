//! Redis, by commands over a connection of the instance's own.
//!
//! What is done here is the newest shape of the interface; `spin1`, `spin2` and `spin3` translate. A connection is
//! made when the guest opens it and closed with its handle, or with the instance.

mod spin1;
mod spin2;
mod spin3;

use gyre_telemetry::{Blame, Span};
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo as _, Value,
    aio::MultiplexedConnection, cmd,
};
use url::Url;
use wasmtime::component::{Linker, Resource, ResourceTableError};

use super::{
    Origin,
    egress::Purpose,
    server::{Allowance, CONNECT_TIME, Protocol, ServerError},
    traced::{Blamed, InstanceTrace, noted, set_server, traced},
};
use crate::host::HostState;

const REDIS: Protocol = Protocol {
    name: "redis",
    purpose: Purpose::Redis,
    plain: &["redis", "valkey"],
    encrypted: &["rediss", "valkeys"],
    ports: (6379, 6379),
};

/// Connections that one instance may have open, as in Spin.
const CONNECTIONS: usize = 1_024;

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin1::add_to_linker(linker)?;
    spin2::add_to_linker(linker)
}

pub(crate) fn add_async_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin3::add_to_linker(linker)
}

/// What a guest is told when an operation fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Error {
    /// The address cannot be read, or the component may not connect to it.
    InvalidAddress,
    /// The instance has as many connections as it may have.
    TooManyConnections,
    /// The server answered with a value of another type than the function gives.
    Type,
    /// Anything else.
    Other(String),
}

impl Blamed for Error {
    fn blame(&self) -> Blame {
        match self {
            Self::Other(_) => Blame::Host,
            Self::InvalidAddress | Self::TooManyConnections | Self::Type => Blame::Guest,
        }
    }
}

impl From<redis::RedisError> for Error {
    fn from(error: redis::RedisError) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedReturnType => Self::Type,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl From<redis::ParsingError> for Error {
    fn from(_: redis::ParsingError) -> Self {
        Self::Type
    }
}

/// What a guest hands to a command.
pub(super) enum Parameter {
    Integer(i64),
    Binary(Vec<u8>),
}

/// A part of a command's answer.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Nil,
    Status(String),
    Integer(i64),
    Binary(Vec<u8>),
}

/// An open connection.
#[derive(Clone)]
#[allow(unreachable_pub, reason = "the generated code re-exports it")]
pub struct Connection {
    server: MultiplexedConnection,
    answers: Allowance,
    trace: InstanceTrace,
}

impl Connection {
    pub(super) async fn open(origin: &Origin, address: &str) -> Result<Self, Error> {
        let mut span = origin.trace.database("spin_outbound_redis.open_connection", "redis");
        set_server(&mut span, address);
        traced(span, Self::connect(origin, address)).await
    }

    async fn connect(origin: &Origin, address: &str) -> Result<Self, Error> {
        let url = Url::parse(address).map_err(|_| Error::InvalidAddress)?;
        let info = url.as_str().into_connection_info().map_err(|_| Error::InvalidAddress)?;
        let (stream, answers) = REDIS.connect(origin, &url).await.map_err(|error| match error {
            ServerError::Address | ServerError::Denied => Error::InvalidAddress,
            ServerError::Connect(text) => Error::Other(text),
        })?;
        // An answer takes as long as it takes: a command may wait for others. The call's own limits hold.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let settings = info.redis_settings();
        let greet = MultiplexedConnection::new_with_config(settings, stream, config);
        let greeted = tokio::time::timeout(CONNECT_TIME, greet).await;
        let late = |_| Error::Other(format!("no answer within {CONNECT_TIME:?}"));
        let (connection, driver) = greeted.map_err(late)??;
        // Ends with the last handle.
        tokio::spawn(driver);
        Ok(Self { server: connection, answers, trace: origin.trace.clone() })
    }

    async fn ask<T: FromRedisValue>(&self, name: &'static str, command: &Cmd) -> Result<T, Error> {
        self.ask_within(self.trace.database(name, "redis"), command).await
    }

    async fn ask_within<T: FromRedisValue>(&self, span: Span, command: &Cmd) -> Result<T, Error> {
        self.answers.renew();
        let answer = command.query_async(&mut self.server.clone()).await;
        noted(span, answer.map_err(Error::from))
    }

    pub(super) async fn publish(&self, channel: &str, payload: &[u8]) -> Result<(), Error> {
        self.ask::<Value>("PUBLISH", cmd("PUBLISH").arg(channel).arg(payload)).await.map(drop)
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.ask("GET", cmd("GET").arg(key)).await
    }

    pub(super) async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.ask("SET", cmd("SET").arg(key).arg(value)).await
    }

    pub(super) async fn incr(&self, key: &str) -> Result<i64, Error> {
        self.ask("INCRBY", cmd("INCRBY").arg(key).arg(1)).await
    }

    pub(super) async fn del(&self, keys: &[String]) -> Result<i64, Error> {
        self.ask("DEL", cmd("DEL").arg(keys)).await
    }

    pub(super) async fn sadd(&self, key: &str, values: &[String]) -> Result<i64, Error> {
        self.ask("SADD", cmd("SADD").arg(key).arg(values)).await
    }

    pub(super) async fn smembers(&self, key: &str) -> Result<Vec<String>, Error> {
        self.ask("SMEMBERS", cmd("SMEMBERS").arg(key)).await
    }

    pub(super) async fn srem(&self, key: &str, values: &[String]) -> Result<i64, Error> {
        self.ask("SREM", cmd("SREM").arg(key).arg(values)).await
    }

    pub(super) async fn execute(
        &self,
        command: &str,
        parameters: Vec<Parameter>,
    ) -> Result<Vec<Answer>, Error> {
        let mut span = self.trace.database("spin_outbound_redis.execute", "redis");
        span.rename(|| command.to_owned());
        let mut command = cmd(command);
        for parameter in parameters {
            match parameter {
                Parameter::Integer(value) => command.arg(value),
                Parameter::Binary(value) => command.arg(value),
            };
        }
        let mut answers = Vec::new();
        flatten(self.ask_within(span, &command).await?, &mut answers)?;
        Ok(answers)
    }
}

/// The parts of an answer, arrays and sets within it taken apart.
fn flatten(value: Value, into: &mut Vec<Answer>) -> Result<(), Error> {
    let text = |text: String| Answer::Binary(text.into_bytes());
    match value {
        Value::Nil => into.push(Answer::Nil),
        Value::Okay => into.push(Answer::Status("OK".to_owned())),
        Value::SimpleString(status) => into.push(Answer::Status(status)),
        Value::Int(value) => into.push(Answer::Integer(value)),
        Value::BulkString(bytes) => into.push(Answer::Binary(bytes)),
        Value::Double(value) => into.push(text(value.to_string())),
        Value::Boolean(value) => into.push(text(value.to_string())),
        Value::VerbatimString { text: value, .. } => into.push(text(value)),
        Value::BigNumber(digits) => into.push(Answer::Binary(digits)),
        Value::Array(values) | Value::Set(values) => {
            for value in values {
                flatten(value, into)?;
            }
        }
        Value::ServerError(error) => return Err(Error::Other(error.to_string())),
        other => {
            return Err(Error::Other(format!("a value of this type has no place here: {other:?}")));
        }
    }
    Ok(())
}

impl HostState {
    /// Makes room for a connection among the instance's handles.
    fn push_redis(
        &mut self,
        opened: Result<Connection, Error>,
    ) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
        let connection = match opened {
            Ok(connection) => connection,
            Err(error) => return Ok(Err(error)),
        };
        match self.table.push(connection) {
            Ok(handle) => {
                self.capabilities.redis += 1;
                Ok(Ok(handle))
            }
            Err(ResourceTableError::Full) => Ok(Err(Error::TooManyConnections)),
            Err(error) => Err(error.into()),
        }
    }

    fn redis_is_full(&self) -> bool {
        self.capabilities.redis >= CONNECTIONS
    }

    fn drop_redis(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        self.capabilities.redis -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
