//! The real binary, run with a home of its own.

use std::env;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::client::{Site, UrlParts};
use crate::process::Program;
use crate::programs;

/// Long enough for a cold `cargo build` of a template.
const VERB_PATIENCE: Duration = Duration::from_mins(8);

/// One user: a binary and a home folder.
#[derive(Debug)]
pub struct Gyre {
    binary: PathBuf,
    home: TempDir,
    environment: Vec<(String, String)>,
}

/// How a verb ended.
#[derive(Debug)]
pub struct Run {
    /// The exit code; 128 + signal if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Panics unless the verb succeeded.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "it failed\n{}", self.both());
        self
    }

    /// Panics unless the verb failed (and not by a panic or a signal).
    #[track_caller]
    #[must_use]
    pub fn failed(self) -> Self {
        assert!(self.code != 0, "it succeeded\n{}", self.both());
        assert!(self.code != 101 && self.code < 128, "it crashed\n{}", self.both());
        self
    }

    /// Panics unless standard error has `text` in it.
    #[track_caller]
    #[must_use]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in\n{}", self.both());
        self
    }

    /// Asserts that `text` was printed.
    #[track_caller]
    #[must_use]
    pub fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "{text:?} is not in\n{}", self.both());
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON: {error}\n{}", self.both()))
    }

    /// Both outputs, for messages.
    pub fn both(&self) -> String {
        format!("code {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

impl Default for Gyre {
    fn default() -> Self {
        Self::new()
    }
}

impl Gyre {
    /// A user who never ran Gyre before.
    #[track_caller]
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { binary: binary(), home, environment: Vec::new() }
    }

    /// Adds to the environment of everything this user runs.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let value = value.as_ref().to_str().expect("values in tests are text");
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets `gyre build` compile for WebAssembly with what this machine has.
    #[must_use]
    pub fn with_guest_toolchain(self) -> Self {
        programs::guest_toolchain()
            .into_iter()
            .fold(self, |gyre, (name, value)| gyre.with_env(&name, value))
    }

    /// The user's home folder.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The binary.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A command of this user's, in the home folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        self.prepare(&mut command);
        command.args(arguments);
        command
    }

    /// Gives another program (`skopeo`) this user's environment.
    pub fn prepare(&self, command: &mut Command) {
        // What the shell or cargo set for the test must not decide what the binary does.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            let is_ours = [
                "GYRE_",
                "SPIN_",
                "BINDLE_",
                "OTEL_",
                "CARGO_",
                "RUSTUP_",
                "RUSTC",
                "RUSTFLAGS",
                "XDG_",
            ]
            .iter()
            .any(|prefix| name.starts_with(prefix));
            let is_proxy = name.to_ascii_lowercase().ends_with("_proxy");
            if is_ours || is_proxy || name == "RUST_LOG" {
                command.env_remove(name.as_ref());
            }
        }
        // Compilers keep their own home: `gyre build` starts them.
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            command.env(name, env::var_os(name).map_or_else(|| home.join(folder), PathBuf::from));
        }
        for name in
            ["CARGO_REGISTRIES_CRATES_IO_PROTOCOL", "CARGO_HTTP_CAINFO", "CARGO_NET_OFFLINE"]
        {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .current_dir(self.home())
            .env("HOME", self.home())
            .env("NO_COLOR", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    /// Runs a verb to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Run {
        self.run_in(self.home(), arguments)
    }

    /// As `run`, in another folder.
    #[track_caller]
    pub fn run_in(&self, folder: &Path, arguments: &[&str]) -> Run {
        let mut command = self.command(arguments);
        command.current_dir(folder);
        finish(Program::start(command))
    }

    /// Starts a verb that the test goes on beside.
    #[track_caller]
    pub fn start(&self, arguments: &[&str]) -> Program {
        Program::start(self.command(arguments))
    }

    /// `gyre up` of an application's folder or component, on a free port.
    #[track_caller]
    pub fn up(&self, app: &Path, arguments: &[&str]) -> Up {
        let app = app.to_str().expect("paths in tests are text");
        let mut all = vec!["up", "--from", app, "--listen", "127.0.0.1:0"];
        all.extend(arguments);
        let mut program = self.start(&all);
        // Whole language runtimes are compiled first, on a machine with other work.
        let url = program.wait_for_within(VERB_PATIENCE, "Serving", |line| {
            line.strip_prefix("Serving ").map(str::to_owned)
        });
        Up { url, program }
    }
}

/// A `gyre up` that serves.
#[derive(Debug)]
pub struct Up {
    /// What it said it serves.
    pub url: String,
    /// The process.
    pub program: Program,
}

impl Up {
    /// Its site.
    #[track_caller]
    pub fn site(&self) -> Site {
        Site::at(&self.url)
    }

    /// Where it listens.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        UrlParts::of(&self.url).loopback()
    }
}

/// Waits for a verb's end.
#[track_caller]
pub fn finish(mut program: Program) -> Run {
    use std::os::unix::process::ExitStatusExt;
    let status = program.wait_within(VERB_PATIENCE);
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Run { code, stdout: program.stdout.text(), stderr: program.stderr.text() }
}

/// The binary under test: what cargo says, else the one built beside this test.
#[track_caller]
pub fn binary() -> PathBuf {
    for name in ["CARGO_BIN_EXE_gyre", "NEXTEST_BIN_EXE_gyre"] {
        if let Some(path) = env::var_os(name) {
            return path.into();
        }
    }
    let test = env::current_exe().unwrap();
    let beside = test.ancestors().nth(2).map(|profile| profile.join("gyre")).unwrap_or_default();
    assert!(beside.is_file(), "no {}: run `cargo build --release`", beside.display());
    beside
}
