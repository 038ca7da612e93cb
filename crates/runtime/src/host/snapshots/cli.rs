//! `wasi:cli`.

use wasmtime::{StoreContextMut, component::Linker};
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr,
    terminal_stdin, terminal_stdout,
};

use super::{HostState, Snapshot, resource, same, this};

pub(super) fn add_to_linker(
    linker: &mut Linker<HostState>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    let environment = &mut snapshot.instance(linker, "cli/environment")?;
    same!(environment, environment::Host, this, "": get_environment(), get_arguments(), initial_cwd());
    let exit = &mut snapshot.instance(linker, "cli/exit")?;
    exit.func_wrap("exit", |mut store: StoreContextMut<'_, HostState>, (status,)| {
        exit::Host::exit(store.data_mut(), status)
    })?;
    let stdin = &mut snapshot.instance(linker, "cli/stdin")?;
    same!(stdin, stdin::Host, this, "": get_stdin());
    let stdout = &mut snapshot.instance(linker, "cli/stdout")?;
    same!(stdout, stdout::Host, this, "": get_stdout());
    let stderr = &mut snapshot.instance(linker, "cli/stderr")?;
    same!(stderr, stderr::Host, this, "": get_stderr());

    let input = &mut snapshot.instance(linker, "cli/terminal-input")?;
    resource(input, "terminal-input", terminal_input::HostTerminalInput::drop)?;
    let output = &mut snapshot.instance(linker, "cli/terminal-output")?;
    resource(output, "terminal-output", terminal_output::HostTerminalOutput::drop)?;
    let stdin = &mut snapshot.instance(linker, "cli/terminal-stdin")?;
    same!(stdin, terminal_stdin::Host, this, "": get_terminal_stdin());
    let stdout = &mut snapshot.instance(linker, "cli/terminal-stdout")?;
    same!(stdout, terminal_stdout::Host, this, "": get_terminal_stdout());
    let stderr = &mut snapshot.instance(linker, "cli/terminal-stderr")?;
    same!(stderr, terminal_stderr::Host, this, "": get_terminal_stderr());
    Ok(())
}
