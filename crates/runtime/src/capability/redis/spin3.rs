//! `spin:redis@3.0.0`: the functions of `fermyon:spin/redis@2.0.0`, asynchronous.

use wasmtime::component::{Accessor, Linker, Resource};

use super::{Answer as Part, Connection, Error, Parameter};
use crate::{
    capability::bindings::messaging::spin3::redis::redis::{
        self as spin, Host, HostConnection, HostConnectionWithStore,
    },
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
    fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.drop_redis(connection)
    }
}

type Host3 = Accessor<HostState, HasHost>;

/// The connection itself, so that nothing of the instance is held while it is waited for.
fn connection(host: &Host3, handle: &Resource<Connection>) -> wasmtime::Result<Connection> {
    host.with(|mut host| Ok(host.get().table.get(handle)?.clone()))
}

impl HostConnectionWithStore<HostState> for HasHost {
    async fn open(host: &Host3, address: String) -> Answer<Resource<Connection>> {
        let origin = host.with(|mut host| {
            let host = host.get();
            (!host.redis_is_full()).then(|| host.capabilities.origin().clone())
        });
        let Some(origin) = origin else { return answer(Err(Error::TooManyConnections)) };
        let opened = Connection::open(&origin, &address).await;
        answer(host.with(|mut host| host.get().push_redis(opened))?)
    }

    async fn publish(
        host: &Host3,
        handle: Resource<Connection>,
        channel: String,
        payload: Vec<u8>,
    ) -> Answer<()> {
        answer(connection(host, &handle)?.publish(&channel, &payload).await)
    }

    async fn get(
        host: &Host3,
        handle: Resource<Connection>,
        key: String,
    ) -> Answer<Option<Vec<u8>>> {
        answer(connection(host, &handle)?.get(&key).await)
    }

    async fn set(
        host: &Host3,
        handle: Resource<Connection>,
        key: String,
        value: Vec<u8>,
    ) -> Answer<()> {
        answer(connection(host, &handle)?.set(&key, &value).await)
    }

    async fn incr(host: &Host3, handle: Resource<Connection>, key: String) -> Answer<i64> {
        answer(connection(host, &handle)?.incr(&key).await)
    }

    async fn del(host: &Host3, handle: Resource<Connection>, keys: Vec<String>) -> Answer<u32> {
        count(connection(host, &handle)?.del(&keys).await)
    }

    async fn sadd(
        host: &Host3,
        handle: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Answer<u32> {
        count(connection(host, &handle)?.sadd(&key, &values).await)
    }

    async fn smembers(
        host: &Host3,
        handle: Resource<Connection>,
        key: String,
    ) -> Answer<Vec<String>> {
        answer(connection(host, &handle)?.smembers(&key).await)
    }

    async fn srem(
        host: &Host3,
        handle: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Answer<u32> {
        count(connection(host, &handle)?.srem(&key, &values).await)
    }

    async fn execute(
        host: &Host3,
        handle: Resource<Connection>,
        command: String,
        parameters: Vec<spin::RedisParameter>,
    ) -> Answer<Vec<spin::RedisResult>> {
        let parameters = parameters.into_iter().map(Into::into).collect();
        let parts = connection(host, &handle)?.execute(&command, parameters).await;
        answer(parts.map(|parts| parts.into_iter().map(Into::into).collect()))
    }
}
