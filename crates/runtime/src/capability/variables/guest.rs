//! The interfaces by which a component reads its variables.

use wasmtime::component::Linker;

use super::VariableError;
use crate::{
    capability::bindings::{fermyon::spin2_0_0::variables as spin, wasi::config::store as wasi},
    host::{HasHost, HostState},
};

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin::add_to_linker::<HostState, HasHost>(linker, |host| host)?;
    wasi::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

impl HostState {
    fn variable(&self, name: &str) -> Result<String, VariableError> {
        self.component.grants.variables.value(&self.app.variables, name)
    }
}

impl spin::Host for HostState {
    fn get(&mut self, name: String) -> wasmtime::Result<Result<String, spin::Error>> {
        Ok(self.variable(&name).map_err(|error| match error {
            VariableError::InvalidName(text) => spin::Error::InvalidName(text),
            VariableError::Undefined(text) => spin::Error::Undefined(text),
            VariableError::Provider(text) => spin::Error::Provider(text),
        }))
    }
}

impl wasi::Host for HostState {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, wasi::Error>> {
        Ok(match self.variable(&key) {
            Ok(value) => Ok(Some(value)),
            Err(VariableError::InvalidName(_) | VariableError::Undefined(_)) => Ok(None),
            Err(VariableError::Provider(text)) => Err(wasi::Error::Upstream(text)),
        })
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, wasi::Error>> {
        let all = self.component.grants.variables.all(&self.app.variables);
        Ok(all.map_err(|error| match error {
            VariableError::Provider(text) => wasi::Error::Upstream(text),
            VariableError::InvalidName(text) | VariableError::Undefined(text) => {
                wasi::Error::Io(text)
            }
        }))
    }
}
