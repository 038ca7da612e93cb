//! The interfaces by which a component reads its variables.

use gyre_telemetry::Blame;
use wasmtime::component::{Accessor, Linker};

use super::VariableError;
use crate::{
    capability::{
        bindings::{
            data::{fermyon::spin::config as spin1, spin3::variables::variables as spin3},
            fermyon::spin2_0_0::variables as spin2,
            wasi::config::store as wasi,
        },
        traced::{Blamed, traced},
    },
    host::{HasHost, HostState},
};

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin1::add_to_linker::<HostState, HasHost>(linker, |host| host)?;
    spin2::add_to_linker::<HostState, HasHost>(linker, |host| host)?;
    wasi::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

pub(crate) fn add_async_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin3::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

impl Blamed for VariableError {
    fn blame(&self) -> Blame {
        match self {
            Self::InvalidName(_) | Self::Undefined(_) => Blame::Guest,
            Self::Provider(_) => Blame::Host,
        }
    }
}

impl HostState {
    fn variable<'a>(
        &'a self,
        span: &'static str,
        name: &'a str,
    ) -> impl Future<Output = Result<String, VariableError>> + Send + use<'a> {
        let (component, app) = (&*self.component, &*self.app);
        let span = self.capabilities.trace().client(span);
        traced(span, async move { component.grants.variables.value(&app.variables, name).await })
    }
}

impl spin1::Host for HostState {
    async fn get_config(&mut self, key: String) -> wasmtime::Result<Result<String, spin1::Error>> {
        Ok(self.variable("spin_config.get", &key).await.map_err(|error| match error {
            VariableError::InvalidName(text) => spin1::Error::InvalidKey(text),
            VariableError::Undefined(text) | VariableError::Provider(text) => {
                spin1::Error::Provider(text)
            }
        }))
    }
}

impl spin2::Host for HostState {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<String, spin2::Error>> {
        Ok(self.variable("spin_variables.get", &name).await.map_err(|error| match error {
            VariableError::InvalidName(text) => spin2::Error::InvalidName(text),
            VariableError::Undefined(text) => spin2::Error::Undefined(text),
            VariableError::Provider(text) => spin2::Error::Provider(text),
        }))
    }
}

impl spin3::Host for HostState {}

impl spin3::HostWithStore<HostState> for HasHost {
    async fn get(
        host: &Accessor<HostState, Self>,
        name: String,
    ) -> wasmtime::Result<Result<String, spin3::Error>> {
        let (component, app, span) = host.with(|mut host| {
            let host = host.get();
            let span = host.capabilities.trace().client("spin_variables.get");
            (host.component.clone(), host.app.clone(), span)
        });
        let value = traced(span, component.grants.variables.value(&app.variables, &name)).await;
        Ok(value.map_err(|error| match error {
            VariableError::InvalidName(text) => spin3::Error::InvalidName(text),
            VariableError::Undefined(text) => spin3::Error::Undefined(text),
            VariableError::Provider(text) => spin3::Error::Provider(text),
        }))
    }
}

impl wasi::Host for HostState {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, wasi::Error>> {
        Ok(match self.variable("wasi_config.get", &key).await {
            Ok(value) => Ok(Some(value)),
            Err(VariableError::InvalidName(_) | VariableError::Undefined(_)) => Ok(None),
            Err(VariableError::Provider(text)) => Err(wasi::Error::Upstream(text)),
        })
    }

    async fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, wasi::Error>> {
        let (component, app) = (&*self.component, &*self.app);
        let span = self.capabilities.trace().client("wasi_config.get_all");
        let all = traced(span, component.grants.variables.all(&app.variables)).await;
        Ok(all.map_err(|error| match error {
            VariableError::Provider(text) => wasi::Error::Upstream(text),
            VariableError::InvalidName(text) | VariableError::Undefined(text) => {
                wasi::Error::Io(text)
            }
        }))
    }
}
