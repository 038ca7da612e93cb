//! `fermyon:spin/redis@2.0.0`.

use wasmtime::component::{Linker, Resource};

use super::{Answer as Part, Connection, Error, Parameter};
use crate::{
    capability::bindings::messaging::spin2::redis::{self as spin, Host, HostConnection},
    host::{HasHost, HostState},
};

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

/// What a guest gets, unless it traps.
type Answer<T> = wasmtime::Result<Result<T, spin::Error>>;

impl From<Error> for spin::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidAddress => Self::InvalidAddress,
            Error::TooManyConnections => Self::TooManyConnections,
            Error::Type => Self::TypeError,
            Error::Other(text) => Self::Other(text),
        }
    }
}

impl From<spin::RedisParameter> for Parameter {
    fn from(parameter: spin::RedisParameter) -> Self {
        match parameter {
            spin::RedisParameter::Int64(value) => Self::Integer(value),
            spin::RedisParameter::Binary(value) => Self::Binary(value),
        }
    }
}

impl From<Part> for spin::RedisResult {
    fn from(part: Part) -> Self {
        match part {
            Part::Nil => Self::Nil,
            Part::Status(text) => Self::Status(text),
            Part::Integer(value) => Self::Int64(value),
            Part::Binary(value) => Self::Binary(value),
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "it is what the generated traits return")]
fn answer<T>(result: Result<T, Error>) -> Answer<T> {
    Ok(result.map_err(Into::into))
}

fn count(result: Result<i64, Error>) -> Answer<u32> {
    answer(result.map(|count| u32::try_from(count).unwrap_or(u32::MAX)))
}

impl Host for HostState {}

impl HostConnection for HostState {
    async fn open(&mut self, address: String) -> Answer<Resource<Connection>> {
        if self.redis_is_full() {
            return answer(Err(Error::TooManyConnections));
        }
        let opened = Connection::open(self.capabilities.origin(), &address).await;
        answer(self.push_redis(opened)?)
    }

    async fn publish(
        &mut self,
        connection: Resource<Connection>,
        channel: String,
        payload: Vec<u8>,
    ) -> Answer<()> {
        answer(self.table.get(&connection)?.publish(&channel, &payload).await)
    }

    async fn get(
        &mut self,
        connection: Resource<Connection>,
        key: String,
    ) -> Answer<Option<Vec<u8>>> {
        answer(self.table.get(&connection)?.get(&key).await)
    }

    async fn set(
        &mut self,
        connection: Resource<Connection>,
        key: String,
        value: Vec<u8>,
    ) -> Answer<()> {
        answer(self.table.get(&connection)?.set(&key, &value).await)
    }

    async fn incr(&mut self, connection: Resource<Connection>, key: String) -> Answer<i64> {
        answer(self.table.get(&connection)?.incr(&key).await)
    }

    async fn del(&mut self, connection: Resource<Connection>, keys: Vec<String>) -> Answer<u32> {
        count(self.table.get(&connection)?.del(&keys).await)
    }

    async fn sadd(
        &mut self,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Answer<u32> {
        count(self.table.get(&connection)?.sadd(&key, &values).await)
    }

    async fn smembers(
        &mut self,
        connection: Resource<Connection>,
        key: String,
    ) -> Answer<Vec<String>> {
        answer(self.table.get(&connection)?.smembers(&key).await)
    }

    async fn srem(
        &mut self,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Answer<u32> {
        count(self.table.get(&connection)?.srem(&key, &values).await)
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        command: String,
        parameters: Vec<spin::RedisParameter>,
    ) -> Answer<Vec<spin::RedisResult>> {
        let parameters = parameters.into_iter().map(Into::into).collect();
        let parts = self.table.get(&connection)?.execute(&command, parameters).await;
        answer(parts.map(|parts| parts.into_iter().map(Into::into).collect()))
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.drop_redis(connection)
    }
}
