//! Compiling in a child process: both of its ends.
//!
//! The child gets the path of a component, the fingerprint of the engines that are to run the code, and its
//! limits; it holds itself to those before it reads the first byte. The artefact comes back on its standard
//! output, after a byte that says for which of the engines it is; or, on standard error, one paragraph saying why
//! there is none.

use std::{
    io::{self, Read, Write},
    path::Path,
    process::{Command, ExitCode, ExitStatus, Stdio},
    sync::mpsc,
    time::Duration,
};

use fs_err as fs;
use gyre_model::WasmFile;
use wasmtime::Engine;

use super::{Artefact, CompileError, compile_bytes, paragraph};
use crate::{
    cache::Fingerprint,
    engine::{Abi, code_config},
};

/// The most that is read of what the child says went wrong.
const REASON_BYTES: u64 = 16 << 10;

/// The component is not valid: its author's matter.
const EXIT_INVALID: u8 = 3;
/// The child could not do its work: ours.
const EXIT_FAILED: u8 = 4;

/// How the child is started.
pub(super) struct Child<'a> {
    pub(super) program: &'a Path,
    pub(super) args: &'a [String],
    pub(super) cpu_seconds: u64,
    pub(super) memory_bytes: u64,
}

impl Child<'_> {
    /// Compiles a component to an artefact.
    pub(super) fn compile(&self, id: &str, wasm: &WasmFile) -> Result<Artefact, CompileError> {
        let component = id.to_owned();
        let failed = |reason: String| CompileError::Failed { component: id.to_owned(), reason };
        let mut child = Command::new(self.program)
            .args(self.args)
            .arg(&wasm.path)
            .arg(fingerprint().map_err(|error| failed(format!("{error:#}")))?)
            .arg(self.cpu_seconds.to_string())
            .arg(self.memory_bytes.to_string())
            // It needs no secret that our environment may hold.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("the compiler cannot be started: {error}")))?;

        let artefact = read_aside(child.stdout.take(), self.memory_bytes);
        let reason = read_aside(child.stderr.take(), REASON_BYTES);
        // A child that gets little processor time must not be there forever.
        let patience = Duration::from_secs(self.cpu_seconds.saturating_mul(4).saturating_add(30));
        let artefact = artefact.recv_timeout(patience);
        if artefact.is_err() {
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| failed(error.to_string()))?;
        let reason = reason.recv().unwrap_or_default();
        let reason = paragraph(&String::from_utf8_lossy(&reason));
        let Ok(artefact) = artefact else {
            let limit = format!("it did not end within {} s", patience.as_secs());
            return Err(CompileError::Limit { component, limit });
        };
        if status.success() {
            let mut code = artefact;
            let abi = abi_of((!code.is_empty()).then(|| code.remove(0)));
            let abi = abi.ok_or_else(|| failed("the compiler gave no code".to_owned()))?;
            return Ok(Artefact { abi, code });
        }
        if let Some(limit) = self.limit_reached(status, &reason) {
            return Err(CompileError::Limit { component, limit });
        }
        match status.code().map(u8::try_from) {
            Some(Ok(EXIT_INVALID)) => Err(CompileError::Invalid { component, reason }),
            Some(Ok(EXIT_FAILED)) => Err(failed(reason)),
            _ => Err(failed(format!("the compiler ended with {status}: {reason}"))),
        }
    }

    /// Which of its limits ended the child, if one did.
    fn limit_reached(&self, status: ExitStatus, reason: &str) -> Option<String> {
        #[cfg(unix)]
        {
            use std::os::unix::process::ExitStatusExt as _;
            if status.signal() == Some(libc::SIGXCPU) {
                return Some(format!(
                    "it needs more than {} s of processor time",
                    self.cpu_seconds
                ));
            }
        }
        // An allocation that fails ends a Rust program, saying so; stacks of threads fail otherwise.
        let is_memory = reason.contains("memory allocation of")
            || reason.contains("Cannot allocate memory")
            || reason.contains("Resource temporarily unavailable");
        (is_memory && !status.success())
            .then(|| format!("it needs more than {} MiB of memory", self.memory_bytes >> 20))
    }
}

/// Reads a pipe to its end on a thread of its own, so that neither pipe can fill up unread.
fn read_aside(pipe: Option<impl Read + Send + 'static>, max_bytes: u64) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(pipe) = pipe {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let mut pipe = pipe.take(max_bytes);
            if pipe.read_to_end(&mut bytes).is_ok() {
                // Who has more to say says it to nobody, rather than wait.
                let _ = io::copy(&mut pipe.into_inner(), &mut io::sink());
                let _ = sender.send(bytes);
            }
        });
    }
    receiver
}

/// The child's own end: what a program does when it is called as [`Compiler::Child`](super::Compiler::Child) says.
///
/// `args` are those that followed the ones configured there.
pub fn compile_child_main(args: &[String]) -> ExitCode {
    let outcome = match args {
        [path, engine, cpu_seconds, memory_bytes] => {
            limit_self(cpu_seconds, memory_bytes).and_then(|()| run(Path::new(path), engine))
        }
        _ => Err((EXIT_FAILED, "the compiler was called with the wrong arguments".to_owned())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, reason)) => {
            let _ = writeln!(io::stderr(), "{reason}");
            ExitCode::from(code)
        }
    }
}

type Ended = (u8, String);

fn run(path: &Path, engine_expected: &str) -> Result<(), Ended> {
    let ours = |reason: String| (EXIT_FAILED, reason);
    if fingerprint().map_err(|error| ours(format!("{error:#}")))? != engine_expected {
        return Err(ours("the compiler and the engine are not of the same version".to_owned()));
    }
    let bytes = fs::read(path).map_err(|error| ours(error.to_string()))?;
    let artefact = compile_bytes(bytes).map_err(|reason| (EXIT_INVALID, reason))?;
    let mut out = io::stdout().lock();
    out.write_all(&[byte_of(artefact.abi)])
        .and_then(|()| out.write_all(&artefact.code))
        .map_err(|error| ours(error.to_string()))
}

/// Of both engines together.
fn fingerprint() -> wasmtime::Result<String> {
    let hex = |abi| Engine::new(&code_config(abi)).map(|engine| Fingerprint::of(&engine).hex());
    Ok(format!("{}-{}", hex(Abi::Sync)?, hex(Abi::Async)?))
}

fn byte_of(abi: Abi) -> u8 {
    match abi {
        Abi::Sync => b's',
        Abi::Async => b'a',
    }
}

fn abi_of(byte: Option<u8>) -> Option<Abi> {
    match byte? {
        b's' => Some(Abi::Sync),
        b'a' => Some(Abi::Async),
        _ => None,
    }
}

/// Holds this process to its limits.
#[cfg(unix)]
fn limit_self(cpu_seconds: &str, memory_bytes: &str) -> Result<(), Ended> {
    use rustix::process::{Resource, Rlimit, nice, setrlimit};
    let ours = |reason: String| (EXIT_FAILED, reason);
    let number = |text: &str| text.parse::<u64>().map_err(|error| ours(error.to_string()));
    let set = |resource, limit: u64| {
        let limits = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, limits).map_err(|error| ours(format!("cannot set a limit: {error}")))
    };
    // The soft limit sends SIGXCPU, which says what happened; the hard one a second later kills.
    let cpu = number(cpu_seconds)?;
    let limits = Rlimit { current: Some(cpu), maximum: Some(cpu.saturating_add(1)) };
    setrlimit(Resource::Cpu, limits)
        .map_err(|error| ours(format!("cannot set a limit: {error}")))?;
    set(Resource::As, number(memory_bytes)?)?;
    set(Resource::Core, 0)?;
    set(Resource::Fsize, 0)?;
    // Serving comes before compiling. That it may not be lowered is no reason to fail.
    let _ = nice(10);
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    Ok(())
}

#[cfg(not(unix))]
fn limit_self(_: &str, _: &str) -> Result<(), Ended> {
    Ok(())
}
