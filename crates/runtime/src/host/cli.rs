//! `wasi:cli` 0.2: environment, standard streams, exit. There is no terminal, and only programs have something to read.

use gyre_model::LogStream;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::{
    I32Exit,
    cli::StdinStream as _,
    p2::{
        DynInputStream, DynOutputStream,
        bindings::cli::{
            environment, exit, stderr, stdin, stdout, terminal_input, terminal_output,
            terminal_stderr, terminal_stdin, terminal_stdout,
        },
        pipe::ClosedInputStream,
    },
};

use super::{HasHost, HostState};

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
    terminal_stderr::add_to_linker::<_, HasHost>(linker, |state| state)
}

impl environment::Host for HostState {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(match &self.gateway {
            Some(gateway) => gateway.env.clone(),
            None => self.component.env.clone(),
        })
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(match &self.gateway {
            Some(gateway) => gateway.arguments.clone(),
            None => self.program.arguments.clone(),
        })
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for HostState {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        self.exit_with_code(u8::from(status.is_err()))
    }

    fn exit_with_code(&mut self, code: u8) -> wasmtime::Result<()> {
        Err(I32Exit(code.into()).into())
    }
}

impl stdin::Host for HostState {
    fn get_stdin(&mut self) -> wasmtime::Result<Resource<DynInputStream>> {
        let given = self.gateway.as_mut().and_then(|gateway| gateway.stdin.take());
        let stream: DynInputStream = match given {
            Some(stream) => stream,
            None if self.program.reads_stdin => wasmtime_wasi::cli::stdin().p2_stream(),
            None => Box::new(ClosedInputStream),
        };
        Ok(self.table.push(stream)?)
    }
}

impl stdout::Host for HostState {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = match &self.gateway {
            Some(gateway) => (gateway.stdout)(),
            None => Box::new(self.output(LogStream::Stdout)),
        };
        Ok(self.table.push(stream)?)
    }
}

impl stderr::Host for HostState {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(self.output(LogStream::Stderr));
        Ok(self.table.push(stream)?)
    }
}

// Nobody ever gets such a resource, so nobody can drop one.
impl terminal_input::Host for HostState {}
impl terminal_input::HostTerminalInput for HostState {
    fn drop(&mut self, terminal: Resource<terminal_input::TerminalInput>) -> wasmtime::Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}
impl terminal_output::Host for HostState {}
impl terminal_output::HostTerminalOutput for HostState {
    fn drop(
        &mut self,
        terminal: Resource<terminal_output::TerminalOutput>,
    ) -> wasmtime::Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}
impl terminal_stdin::Host for HostState {
    fn get_terminal_stdin(
        &mut self,
    ) -> wasmtime::Result<Option<Resource<terminal_input::TerminalInput>>> {
        Ok(None)
    }
}
impl terminal_stdout::Host for HostState {
    fn get_terminal_stdout(
        &mut self,
    ) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}
impl terminal_stderr::Host for HostState {
    fn get_terminal_stderr(
        &mut self,
    ) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}
