//! `fermyon:spin/redis` without a version: each call names its server. An instance keeps a connection to each.

use wasmtime::component::Linker;

use super::{Answer as Part, CONNECTIONS, Connection, Error, Parameter};
use crate::{
    capability::bindings::messaging::spin1::{
        redis::{self as spin, Host},
        redis_types as types,
    },
    host::{HasHost, HostState},
};

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    types::add_to_linker::<HostState, HasHost>(linker, |host| host)?;
    spin::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

/// What a guest gets, unless it traps.
type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

/// The interface has no words for what went wrong.
#[allow(clippy::unnecessary_wraps, reason = "it is what the generated traits return")]
fn answer<T>(result: Result<T, Error>) -> Answer<T> {
    Ok(result.map_err(|_| types::Error::Error))
}

impl From<types::RedisParameter> for Parameter {
    fn from(parameter: types::RedisParameter) -> Self {
        match parameter {
            types::RedisParameter::Int64(value) => Self::Integer(value),
            types::RedisParameter::Binary(value) => Self::Binary(value),
        }
    }
}

impl From<Part> for types::RedisResult {
    fn from(part: Part) -> Self {
        match part {
            Part::Nil => Self::Nil,
            Part::Status(text) => Self::Status(text),
            Part::Integer(value) => Self::Int64(value),
            Part::Binary(value) => Self::Binary(value),
        }
    }
}

impl HostState {
    /// The instance's connection to a server.
    async fn redis_at(&mut self, address: &str) -> Result<Connection, Error> {
        let known = &self.capabilities.redis_by_address;
        if let Some((_, connection)) = known.iter().find(|(each, _)| each == address) {
            return Ok(connection.clone());
        }
        if known.len() >= CONNECTIONS {
            return Err(Error::TooManyConnections);
        }
        let connection = Connection::open(self.capabilities.origin(), address).await?;
        self.capabilities.redis_by_address.push((address.to_owned(), connection.clone()));
        Ok(connection)
    }
}

impl types::Host for HostState {}

impl Host for HostState {
    async fn publish(&mut self, address: String, channel: String, payload: Vec<u8>) -> Answer<()> {
        answer(async { self.redis_at(&address).await?.publish(&channel, &payload).await }.await)
    }

    async fn get(&mut self, address: String, key: String) -> Answer<Vec<u8>> {
        let value = async { self.redis_at(&address).await?.get(&key).await }.await;
        answer(value.map(Option::unwrap_or_default))
    }

    async fn set(&mut self, address: String, key: String, value: Vec<u8>) -> Answer<()> {
        answer(async { self.redis_at(&address).await?.set(&key, &value).await }.await)
    }

    async fn incr(&mut self, address: String, key: String) -> Answer<i64> {
        answer(async { self.redis_at(&address).await?.incr(&key).await }.await)
    }

    async fn del(&mut self, address: String, keys: Vec<String>) -> Answer<i64> {
        answer(async { self.redis_at(&address).await?.del(&keys).await }.await)
    }

    async fn sadd(&mut self, address: String, key: String, values: Vec<String>) -> Answer<i64> {
        answer(async { self.redis_at(&address).await?.sadd(&key, &values).await }.await)
    }

    async fn smembers(&mut self, address: String, key: String) -> Answer<Vec<String>> {
        answer(async { self.redis_at(&address).await?.smembers(&key).await }.await)
    }

    async fn srem(&mut self, address: String, key: String, values: Vec<String>) -> Answer<i64> {
        answer(async { self.redis_at(&address).await?.srem(&key, &values).await }.await)
    }

    async fn execute(
        &mut self,
        address: String,
        command: String,
        parameters: Vec<types::RedisParameter>,
    ) -> Answer<Vec<types::RedisResult>> {
        let parameters = parameters.into_iter().map(Into::into).collect();
        let parts =
            async { self.redis_at(&address).await?.execute(&command, parameters).await }.await;
        answer(parts.map(|parts| parts.into_iter().map(Into::into).collect()))
    }
}
