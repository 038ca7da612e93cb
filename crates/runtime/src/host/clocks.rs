//! `wasi:clocks` 0.2, read from the machine's clocks without a context per instance.

use std::{sync::LazyLock, time::Duration};

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::{
    DynPollable, Pollable,
    bindings::clocks::{monotonic_clock, wall_clock},
    subscribe,
};

use super::{HasHost, HostState};

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wall_clock::add_to_linker::<_, HasHost>(linker, |state| state)?;
    monotonic_clock::add_to_linker::<_, HasHost>(linker, |state| state)
}

/// Where the guests' monotonic clock is at zero.
static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);

pub(super) fn nanoseconds_since_start() -> u64 {
    START.elapsed().as_nanos() as u64
}

impl wall_clock::Host for HostState {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let now = gyre_telemetry::Clock::System.now();
        Ok(wall_clock::Datetime {
            seconds: now.as_second() as u64,
            nanoseconds: now.subsec_nanosecond() as u32,
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1 })
    }
}

impl monotonic_clock::Host for HostState {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(nanoseconds_since_start())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe_duration(when.saturating_sub(nanoseconds_since_start()))
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let deadline = if duration == 0 {
            Deadline::Past { has_yielded: false }
        } else {
            match tokio::time::Instant::now().checked_add(Duration::from_nanos(duration)) {
                Some(instant) => Deadline::At(instant),
                None => Deadline::Never,
            }
        };
        let deadline = self.table.push(deadline)?;
        subscribe(&mut self.table, deadline)
    }
}

enum Deadline {
    /// Ready after the executor had a turn, so that a guest polling in a loop cannot starve its own I/O.
    Past {
        has_yielded: bool,
    },
    At(tokio::time::Instant),
    Never,
}

#[wasmtime_wasi_io::async_trait]
impl Pollable for Deadline {
    async fn ready(&mut self) {
        match self {
            Self::Past { has_yielded: true } => {}
            Self::Past { has_yielded } => {
                *has_yielded = true;
                tokio::task::yield_now().await;
            }
            Self::At(instant) => tokio::time::sleep_until(*instant).await,
            Self::Never => std::future::pending().await,
        }
    }
}
