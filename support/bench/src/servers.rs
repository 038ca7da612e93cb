//! Who is measured: how each is prepared and started on an application.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    app::App,
    process::{Question, Server, free_port},
    tools::Tools,
};

/// What wastes least for a fresh instance: pooled slots, what fits kept resident and reset in place, and the page map
/// scanned for what a guest wrote (Linux 6.7 and later).
const TUNED: [&str; 4] = [
    "-O",
    "pooling-allocator=y,pooling-memory-keep-resident=2097152,pooling-table-keep-resident=65536,\
     pooling-async-stack-keep-resident=262144",
    "-O",
    "pooling-pagemap-scan=y",
];
/// What a component of WASI 0.3 needs.
const WASI_0_3: [&str; 4] = ["-S", "p3=y", "-W", "component-model-async=y"];

/// A program that serves an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// The limit: no application at all.
    Hyper,
    GyreServer,
    GyreUp,
    Wasmtime,
    /// With the flags that cost least, and its log off.
    WasmtimeTuned,
    Spin,
}

impl Host {
    /// All of them, in the order they are measured.
    pub(crate) const ALL: [Self; 6] = [
        Self::Hyper,
        Self::GyreServer,
        Self::GyreUp,
        Self::Wasmtime,
        Self::WasmtimeTuned,
        Self::Spin,
    ];

    /// What tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hyper => "bare hyper",
            Self::GyreServer => "gyre server",
            Self::GyreUp => "gyre up",
            Self::Wasmtime => "wasmtime serve",
            Self::WasmtimeTuned => "wasmtime serve, tuned",
            Self::Spin => "spin up",
        }
    }

    /// Its program, or why it is not there.
    pub(crate) fn program(self, tools: &Tools) -> Result<PathBuf, String> {
        match self {
            Self::Hyper => Ok(tools.bench.clone()),
            Self::GyreServer | Self::GyreUp => tools.gyre(),
            Self::Wasmtime | Self::WasmtimeTuned => tools.wasmtime(),
            Self::Spin => tools.spin(),
        }
    }
}

/// One that is not there, and why.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Missing {
    /// The server.
    pub name: String,
    /// Why it was not measured, and what to do about it.
    pub reason: String,
}

/// A host that is ready to be started on its applications, as often as is wanted.
#[derive(Debug)]
pub(crate) struct Contender {
    host: Host,
    program: PathBuf,
    /// The folder for its state and its log.
    folder: PathBuf,
    /// The first application's folder; the others are on a server only.
    app: PathBuf,
    component: PathBuf,
    flags: Vec<&'static str>,
    /// The host names that a server gave the applications.
    names: Vec<String>,
}

/// A running server with its applications.
pub(crate) struct Site {
    pub(crate) server: Server,
    /// How each application is asked for its root.
    pub(crate) roots: Vec<Question>,
}

impl Contender {
    /// Prepares a host in an empty folder. Only a Gyre server can have several applications.
    pub(crate) fn prepare(
        host: Host,
        program: PathBuf,
        apps: &[&App],
        folder: PathBuf,
    ) -> Result<Self> {
        let first = *apps.first().context("no application")?;
        fs_err::create_dir_all(&folder)?;
        let mut flags = Vec::new();
        if first.is_0_3 {
            flags.extend(WASI_0_3);
        }
        let mut contender = Self {
            host,
            program,
            app: folder.join("app"),
            folder,
            component: first.component.clone(),
            flags,
            names: Vec::new(),
        };
        if host == Host::Hyper {
            return Ok(contender);
        }
        for (number, app) in apps.iter().enumerate() {
            let place = match number {
                0 => contender.app.clone(),
                _ => contender.folder.join(format!("app-{number}")),
            };
            app.write(&place)?;
            if host == Host::GyreServer {
                let name = contender.deploy(&place)?;
                contender.names.push(name);
            }
        }
        if host == Host::WasmtimeTuned {
            let plain = contender.flags.len();
            contender.flags.extend(TUNED);
            // An older kernel has no such scan.
            if contender.start().is_err() {
                contender.flags.truncate(plain + 2);
            }
        }
        Ok(contender)
    }

    /// Starts it and waits for the first application's first answer.
    pub(crate) fn start(&self) -> Result<Site> {
        let port = free_port()?;
        let local = Question::root(port);
        // The hosts that the applications were given, on the port of this time.
        let mut roots: Vec<Question> = self
            .names
            .iter()
            .map(|name| Question { host: format!("{name}:{port}"), ..local.clone() })
            .collect();
        let listen = local.address.to_string();
        if roots.is_empty() {
            roots.push(local);
        }
        let mut command = command(&self.program, &self.folder);
        match self.host {
            Host::Hyper => {
                command.args(["hello-hyper", "--listen", &listen]);
            }
            Host::GyreServer => command = self.server_command(&listen),
            Host::GyreUp | Host::Spin => {
                command.arg("up").arg("--from").arg(&self.app);
                command.args(["--listen", &listen, "--quiet"]);
                command.arg("--state-dir").arg(self.folder.join("state"));
            }
            Host::Wasmtime | Host::WasmtimeTuned => {
                command.args(["serve", "-S", "cli=y", "--addr", &listen]);
                command.args(&self.flags).arg(&self.component);
            }
        }
        let server = Server::start(command, &roots[0], 200, &self.log())?;
        Ok(Site { server, roots })
    }

    /// Starts a Gyre server and waits until it is healthy; no application has been asked anything.
    pub(crate) fn start_healthy(&self) -> Result<Site> {
        let port = free_port()?;
        let local = Question::root(port);
        let ask = |name: &String| Question { host: format!("{name}:{port}"), ..local.clone() };
        let roots = self.names.iter().map(ask).collect();
        let server = self.server(port)?;
        Ok(Site { server, roots })
    }

    fn server(&self, port: u16) -> Result<Server> {
        let question = Question {
            host: format!("gyre.localhost:{port}"),
            path: "/healthz".to_owned(),
            ..Question::root(port)
        };
        let command = self.server_command(&question.address.to_string());
        Server::start(command, &question, 200, &self.log())
    }

    fn server_command(&self, listen: &str) -> Command {
        let mut command = command(&self.program, &self.folder);
        command.arg("server").arg("--data").arg(self.folder.join("data"));
        command.args(["--listen", listen, "--domain", "gyre.localhost"]);
        command
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Deploys the application to the server and returns its host name, without port.
    fn deploy(&self, app: &Path) -> Result<String> {
        let port = free_port()?;
        let server = self.server(port)?;
        let token = fs_err::read_to_string(self.folder.join("data/admin-token"))?;
        let mut command = command(&self.program, &self.folder);
        command.arg("deploy").arg("--from").arg(app).arg("--json");
        command.env("GYRE_URL", format!("http://gyre.localhost:{port}"));
        command.env("GYRE_TOKEN", token.trim());
        let output = command.output().context("cannot start gyre deploy")?;
        if !output.status.success() {
            bail!("gyre deploy failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(&output.stdout)))?;
        server.stop();
        let url = answer["url"].as_str().context("gyre deploy --json gave no url")?;
        let authority = url.split("://").nth(1).unwrap_or(url).split('/').next();
        let authority = authority.unwrap_or_default();
        Ok(authority.split(':').next().unwrap_or_default().to_owned())
    }
}

/// A command with a home of its own, and nothing in its environment that would change what it does.
fn command(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["GYRE_", "SPIN_", "XDG_", "WASMTIME_", "RUST_LOG"].iter().any(|of| text.starts_with(of))
        {
            command.env_remove(&name);
        }
    }
    command.env("HOME", home).current_dir(home);
    command
}
