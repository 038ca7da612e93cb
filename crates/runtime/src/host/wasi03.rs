//! WASI 0.3: as 0.2, what nearly every guest touches is served from [`HostState`] itself, files and sockets are
//! wasmtime-wasi's, and what a guest may do is decided in the same places.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use gyre_model::LogStream;
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime::{
    StoreContextMut,
    component::{
        Access, Accessor, Destination, FutureReader, Linker, Resource, Source, StreamConsumer,
        StreamProducer, StreamReader, StreamResult,
    },
};
use wasmtime_wasi::{
    cli::StdinStream as _,
    filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView as _},
    p2::{OutputStream as _, bindings as p2},
    p3::{
        bindings::{
            cli::{
                environment, exit, stderr, stdin, stdout, terminal_input, terminal_output,
                terminal_stderr, terminal_stdin, terminal_stdout, types::ErrorCode,
            },
            clocks::{self, monotonic_clock, system_clock},
            filesystem::{self, preopens},
            random::{insecure, insecure_seed, random},
            sockets,
        },
        cli::{TerminalInput, TerminalOutput},
    },
    sockets::WasiSockets,
};

use super::{HasHost, HostState, clocks::nanoseconds_since_start};
use crate::guest_log::GuestStream;

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    environment::add_to_linker::<_, HasHost>(linker, |state| state)?;
    exit::add_to_linker::<_, HasHost>(linker, |state| state)?;
    stdin::add_to_linker::<_, HasHost>(linker, |state| state)?;
    stdout::add_to_linker::<_, HasHost>(linker, |state| state)?;
    stderr::add_to_linker::<_, HasHost>(linker, |state| state)?;
    terminal_input::add_to_linker::<_, HasHost>(linker, |state| state)?;
    terminal_output::add_to_linker::<_, HasHost>(linker, |state| state)?;
    terminal_stdin::add_to_linker::<_, HasHost>(linker, |state| state)?;
    terminal_stdout::add_to_linker::<_, HasHost>(linker, |state| state)?;
    terminal_stderr::add_to_linker::<_, HasHost>(linker, |state| state)?;
    monotonic_clock::add_to_linker::<_, HasHost>(linker, |state| state)?;
    system_clock::add_to_linker::<_, HasHost>(linker, |state| state)?;
    random::add_to_linker::<_, HasHost>(linker, |state| state)?;
    insecure::add_to_linker::<_, HasHost>(linker, |state| state)?;
    insecure_seed::add_to_linker::<_, HasHost>(linker, |state| state)?;
    preopens::add_to_linker::<_, HasHost>(linker, |state| state)?;
    filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, HostState::filesystem)?;
    sockets::types::add_to_linker::<_, WasiSockets>(linker, HostState::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<_, WasiSockets>(linker, HostState::sockets)
}

impl environment::Host for HostState {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        p2::cli::environment::Host::get_environment(self)
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        p2::cli::environment::Host::get_arguments(self)
    }

    fn get_initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for HostState {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        p2::cli::exit::Host::exit(self, status)
    }

    fn exit_with_code(&mut self, code: u8) -> wasmtime::Result<()> {
        p2::cli::exit::Host::exit_with_code(self, code)
    }
}

/// How a stream of bytes ended.
type Ended = FutureReader<Result<(), ErrorCode>>;

impl stdin::Host for HostState {}
impl<T> stdin::HostWithStore<T> for HasHost {
    fn read_via_stream(
        mut store: Access<'_, T, Self>,
    ) -> wasmtime::Result<(StreamReader<u8>, Ended)> {
        let stream = if store.get().program.reads_stdin {
            StreamReader::new(
                &mut store,
                FromStdin(wasmtime_wasi::cli::stdin().async_stream().into()),
            )?
        } else {
            StreamReader::new(&mut store, std::iter::empty())?
        };
        Ok((stream, FutureReader::new(&mut store, async { wasmtime::error::Ok(Ok(())) })?))
    }
}

/// What is taken of the process's standard input at once.
const STDIN_BYTES: usize = 8 << 10;

/// The process's standard input.
struct FromStdin(Pin<Box<dyn AsyncRead + Send + Sync>>);

impl<T> StreamProducer<T> for FromStdin {
    type Item = u8;
    type Buffer = Bytes;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: StoreContextMut<'a, T>,
        mut destination: Destination<'a, u8, Bytes>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut bytes = [0; STDIN_BYTES];
        let mut bytes = ReadBuf::new(&mut bytes);
        match self.0.as_mut().poll_read(cx, &mut bytes) {
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if !bytes.filled().is_empty() => {
                destination.set_buffer(Bytes::copy_from_slice(bytes.filled()));
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(_) => Poll::Ready(Ok(StreamResult::Dropped)),
        }
    }
}

impl stdout::Host for HostState {}
impl<T> stdout::HostWithStore<T> for HasHost {
    fn write_via_stream(
        store: Access<'_, T, Self>,
        data: StreamReader<u8>,
    ) -> wasmtime::Result<Ended> {
        write_to_log(store, data, LogStream::Stdout)
    }
}

impl stderr::Host for HostState {}
impl<T> stderr::HostWithStore<T> for HasHost {
    fn write_via_stream(
        store: Access<'_, T, Self>,
        data: StreamReader<u8>,
    ) -> wasmtime::Result<Ended> {
        write_to_log(store, data, LogStream::Stderr)
    }
}

fn write_to_log<T>(
    mut store: Access<'_, T, HasHost>,
    data: StreamReader<u8>,
    stream: LogStream,
) -> wasmtime::Result<Ended> {
    let (done, is_done) = tokio::sync::oneshot::channel();
    let output = store.get().output(stream);
    data.pipe(&mut store, ToLog { output, _done: done })?;
    FutureReader::new(&mut store, async {
        // The sender is never used, only dropped: when the guest has closed its end.
        let Err(_) = is_done.await as Result<std::convert::Infallible, _>;
        wasmtime::error::Ok(Ok(()))
    })
}

/// A standard stream at the end of a guest's stream.
struct ToLog {
    output: GuestStream,
    _done: tokio::sync::oneshot::Sender<std::convert::Infallible>,
}

impl<T> StreamConsumer<T> for ToLog {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, T>,
        source: Source<'_, u8>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        let bytes = source.remaining();
        // Taken in pieces, as 0.2's streams are.
        let bytes = &bytes[..bytes.len().min(self.output.check_write()?)];
        let length = bytes.len();
        if length > 0 {
            self.output.write(Bytes::copy_from_slice(bytes))?;
            source.mark_read(length);
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

// Nobody ever gets such a resource, so nobody can drop one.
impl terminal_input::Host for HostState {}
impl terminal_input::HostTerminalInput for HostState {
    fn drop(&mut self, terminal: Resource<TerminalInput>) -> wasmtime::Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}
impl terminal_output::Host for HostState {}
impl terminal_output::HostTerminalOutput for HostState {
    fn drop(&mut self, terminal: Resource<TerminalOutput>) -> wasmtime::Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}
impl terminal_stdin::Host for HostState {
    fn get_terminal_stdin(&mut self) -> wasmtime::Result<Option<Resource<TerminalInput>>> {
        Ok(None)
    }
}
impl terminal_stdout::Host for HostState {
    fn get_terminal_stdout(&mut self) -> wasmtime::Result<Option<Resource<TerminalOutput>>> {
        Ok(None)
    }
}
impl terminal_stderr::Host for HostState {
    fn get_terminal_stderr(&mut self) -> wasmtime::Result<Option<Resource<TerminalOutput>>> {
        Ok(None)
    }
}

impl clocks::types::Host for HostState {}

impl monotonic_clock::Host for HostState {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(nanoseconds_since_start())
    }

    fn get_resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }
}

impl<T> monotonic_clock::HostWithStore<T> for HasHost {
    async fn wait_until(_: &Accessor<T, Self>, when: u64) -> wasmtime::Result<()> {
        wait(when.saturating_sub(nanoseconds_since_start())).await;
        Ok(())
    }

    async fn wait_for(_: &Accessor<T, Self>, nanoseconds: u64) -> wasmtime::Result<()> {
        wait(nanoseconds).await;
        Ok(())
    }
}

async fn wait(nanoseconds: u64) {
    if nanoseconds == 0 {
        // So that a guest that waits in a loop for nothing cannot starve its own I/O.
        return tokio::task::yield_now().await;
    }
    match tokio::time::Instant::now().checked_add(Duration::from_nanos(nanoseconds)) {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

impl system_clock::Host for HostState {
    fn now(&mut self) -> wasmtime::Result<system_clock::Instant> {
        let now = gyre_telemetry::Clock::System.now();
        Ok(system_clock::Instant {
            seconds: now.as_second(),
            nanoseconds: now.subsec_nanosecond() as u32,
        })
    }

    fn get_resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }
}

impl random::Host for HostState {
    /// As many as were asked for, or as many as are given at once: the guest asks again.
    fn get_random_bytes(&mut self, most: u64) -> wasmtime::Result<Vec<u8>> {
        let most = most.min(self.app.limits.random_bytes);
        p2::random::random::Host::get_random_bytes(self, most)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        p2::random::random::Host::get_random_u64(self)
    }
}

impl insecure::Host for HostState {
    fn get_insecure_random_bytes(&mut self, most: u64) -> wasmtime::Result<Vec<u8>> {
        random::Host::get_random_bytes(self, most)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        random::Host::get_random_u64(self)
    }
}

impl insecure_seed::Host for HostState {
    fn get_insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        p2::random::insecure_seed::Host::insecure_seed(self)
    }
}

impl preopens::Host for HostState {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        p2::filesystem::preopens::Host::get_directories(self)
    }
}
