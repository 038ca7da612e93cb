//! `fermyon:spin/mqtt@2.0.0`, and `spin:mqtt@3.0.0`, the same functions asynchronous.

use std::time::Duration;

use rumqttc::QoS;
use wasmtime::component::{Accessor, Linker, Resource};

use super::{Connection, Error, Settings};
use crate::{
    capability::bindings::messaging::{spin2::mqtt as spin2, spin3::mqtt::mqtt as spin3},
    host::{HasHost, HostState},
};

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin2::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

pub(crate) fn add_async_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin3::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

/// The two versions have the same types by other names.
macro_rules! types_of {
    ($spin:ident) => {
        impl From<Error> for $spin::Error {
            fn from(error: Error) -> Self {
                match error {
                    Error::InvalidAddress => Self::InvalidAddress,
                    Error::TooManyConnections => Self::TooManyConnections,
                    Error::ConnectionFailed(text) => Self::ConnectionFailed(text),
                    Error::Other(text) => Self::Other(text),
                }
            }
        }

        impl From<$spin::Qos> for QoS {
            fn from(qos: $spin::Qos) -> Self {
                match qos {
                    $spin::Qos::AtMostOnce => Self::AtMostOnce,
                    $spin::Qos::AtLeastOnce => Self::AtLeastOnce,
                    $spin::Qos::ExactlyOnce => Self::ExactlyOnce,
                }
            }
        }

        impl $spin::Host for HostState {}
    };
}

types_of!(spin2);
types_of!(spin3);

fn settings(address: String, username: String, password: String, seconds: u64) -> Settings {
    let keep_alive = Duration::from_secs(seconds.min(u16::MAX.into()));
    Settings { address, username, password, keep_alive }
}

impl spin2::HostConnection for HostState {
    async fn open(
        &mut self,
        address: String,
        username: String,
        password: String,
        keep_alive_seconds: u64,
    ) -> wasmtime::Result<Result<Resource<Connection>, spin2::Error>> {
        if self.mqtt_is_full() {
            return Ok(Err(Error::TooManyConnections.into()));
        }
        let settings = settings(address, username, password, keep_alive_seconds);
        let opened = Connection::open(self.capabilities.origin(), &settings).await;
        Ok(self.push_mqtt(opened)?.map_err(Into::into))
    }

    async fn publish(
        &mut self,
        connection: Resource<Connection>,
        topic: String,
        payload: Vec<u8>,
        qos: spin2::Qos,
    ) -> wasmtime::Result<Result<(), spin2::Error>> {
        let published = self.table.get(&connection)?.publish(&topic, payload, qos.into()).await;
        Ok(published.map_err(Into::into))
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.drop_mqtt(connection)
    }
}

impl spin3::HostConnection for HostState {
    fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.drop_mqtt(connection)
    }
}

type Host3 = Accessor<HostState, HasHost>;

impl spin3::HostConnectionWithStore<HostState> for HasHost {
    async fn open(
        host: &Host3,
        address: String,
        username: String,
        password: String,
        keep_alive_seconds: u64,
    ) -> wasmtime::Result<Result<Resource<Connection>, spin3::Error>> {
        let origin = host.with(|mut host| {
            let host = host.get();
            (!host.mqtt_is_full()).then(|| host.capabilities.origin().clone())
        });
        let Some(origin) = origin else { return Ok(Err(Error::TooManyConnections.into())) };
        let settings = settings(address, username, password, keep_alive_seconds);
        let opened = Connection::open(&origin, &settings).await;
        Ok(host.with(|mut host| host.get().push_mqtt(opened))?.map_err(Into::into))
    }

    async fn publish(
        host: &Host3,
        connection: Resource<Connection>,
        topic: String,
        payload: Vec<u8>,
        qos: spin3::Qos,
    ) -> wasmtime::Result<Result<(), spin3::Error>> {
        let connection = host.with(|mut host| {
            host.get().table.get(&connection).cloned().map_err(wasmtime::Error::from)
        })?;
        Ok(connection.publish(&topic, payload, qos.into()).await.map_err(Into::into))
    }
}
