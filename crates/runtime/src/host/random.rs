//! `wasi:random` 0.2, from the thread's cryptographic generator: seeding one per instance would cost more than
//! most requests draw from it.

use rand::RngCore;
use wasmtime::{bail, component::Linker};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use super::{HasHost, HostState};

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    random::add_to_linker::<_, HasHost>(linker, |state| state)?;
    insecure::add_to_linker::<_, HasHost>(linker, |state| state)?;
    insecure_seed::add_to_linker::<_, HasHost>(linker, |state| state)
}

impl random::Host for HostState {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        let limit = self.app.limits.random_bytes;
        if len > limit {
            bail!("{len} random bytes were asked for at once; the limit is {limit}");
        }
        let mut bytes = vec![0; len as usize];
        rand::rng().fill_bytes(&mut bytes);
        Ok(bytes)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(rand::rng().next_u64())
    }
}

impl insecure::Host for HostState {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        random::Host::get_random_bytes(self, len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        random::Host::get_random_u64(self)
    }
}

impl insecure_seed::Host for HostState {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        let mut rng = rand::rng();
        Ok((rng.next_u64(), rng.next_u64()))
    }
}
