//! Who is measured: how each is prepared and started on the same component.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    http::Options,
    process::{Question, Server, free_port},
};

/// What wastes least for a fresh instance: pooled slots, what fits kept resident and reset in place, and the page map
/// scanned for what a guest wrote (Linux 6.7 and later).
const TUNED: &str = "pooling-allocator=y,pooling-memory-keep-resident=2097152,\
                     pooling-table-keep-resident=65536,pooling-async-stack-keep-resident=262144";
const PAGEMAP_SCAN: &str = "pooling-pagemap-scan=y";

/// A server that can be measured.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// The folder for its state and its log.
    folder: PathBuf,
    kind: Kind,
}

enum Kind {
    Hyper { bench: PathBuf },
    GyreServer { gyre: PathBuf, host: String },
    GyreUp { gyre: PathBuf, app: PathBuf },
    Wasmtime { wasmtime: PathBuf, component: PathBuf, flags: Vec<String> },
    Spin { spin: PathBuf, app: PathBuf },
}

/// One that is not there, and why.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Missing {
    /// The server.
    pub name: &'static str,
    /// Why it was not measured, and what to do about it.
    pub reason: String,
}

/// Prepares all that are there.
pub(crate) fn prepare(options: &Options, folder: &Path) -> Result<(Vec<Contender>, Vec<Missing>)> {
    let app = folder.join("app");
    fs_err::create_dir_all(&app)?;
    fs_err::copy(&options.component, app.join("hello.wasm")).with_context(|| {
        format!("no component {} (`cargo xtask guests` builds it)", options.component.display())
    })?;
    fs_err::write(
        app.join("spin.toml"),
        "spin_manifest_version = 2\n\n[application]\nname = \"hello\"\nversion = \"0.1.0\"\n\n\
         [[trigger.http]]\nroute = \"/...\"\ncomponent = \"hello\"\n\n\
         [component.hello]\nsource = \"hello.wasm\"\n",
    )?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    let mut add = |name: &'static str, kind: Result<Kind, String>| -> Result<()> {
        if !options.only.is_empty() && !options.only.iter().any(|only| name.contains(only.as_str()))
        {
            return Ok(());
        }
        let own = folder.join(name.replace([' ', ','], "-"));
        fs_err::create_dir_all(&own)?;
        match kind {
            Ok(kind) => found.push(Contender { name, folder: own, kind }),
            Err(reason) => missing.push(Missing { name, reason }),
        }
        Ok(())
    };
    add("bare hyper", Ok(Kind::Hyper { bench: options.bench.clone() }))?;
    let gyre = || {
        let gyre = options.gyre.clone();
        let missing = || format!("no {} (`cargo build --release` makes it)", gyre.display());
        if gyre.is_file() { Ok(gyre) } else { Err(missing()) }
    };
    add("gyre server", gyre().map(|gyre| Kind::GyreServer { gyre, host: String::new() }))?;
    add("gyre up", gyre().map(|gyre| Kind::GyreUp { gyre, app: app.clone() }))?;
    let wasmtime = || {
        let installed = options.peers.join("wasmtime");
        if installed.is_file() { Some(installed) } else { on_path("wasmtime") }
            .ok_or_else(|| "not found (`cargo xtask peers` installs it)".to_owned())
    };
    let serve = |flags: &[&str]| {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let component = options.component.clone();
        wasmtime().map(|wasmtime| Kind::Wasmtime { wasmtime, component, flags })
    };
    add("wasmtime serve", serve(&[]))?;
    add("wasmtime serve, tuned", serve(&["-O", TUNED, "-O", PAGEMAP_SCAN]))?;
    let spin = match &options.spin {
        None => Err("SPIN_BIN does not name one".to_owned()),
        Some(spin) if !spin.is_file() => Err(format!("SPIN_BIN: no {}", spin.display())),
        Some(spin) => Ok(Kind::Spin { spin: spin.clone(), app: app.clone() }),
    };
    add("spin up", spin)?;
    for contender in &mut found {
        contender.prepare(&app).with_context(|| format!("preparing {}", contender.name))?;
    }
    Ok((found, missing))
}

impl Contender {
    /// Starts it and waits for its first answer.
    pub(crate) fn start(&self) -> Result<(Server, Question)> {
        let port = free_port()?;
        let mut question = Question::root(port);
        let listen = question.address.to_string();
        let command = match &self.kind {
            Kind::Hyper { bench } => {
                let mut command = self.command(bench);
                command.args(["hello-hyper", "--listen", &listen]);
                command
            }
            Kind::GyreServer { gyre, host } => {
                // The host that the application was given, on the port of this time.
                question.host = format!("{host}:{port}");
                self.gyre_server(gyre, &listen)
            }
            Kind::GyreUp { gyre, app } => {
                let mut command = self.command(gyre);
                command.arg("up").arg("--from").arg(app).args(["--listen", &listen, "--quiet"]);
                command.arg("--state-dir").arg(self.folder.join("state"));
                command
            }
            Kind::Wasmtime { wasmtime, component, flags } => {
                let mut command = self.command(wasmtime);
                command
                    .args(["serve", "-S", "cli=y", "--addr", &listen])
                    .args(flags)
                    .arg(component);
                command
            }
            Kind::Spin { spin, app } => {
                let mut command = self.command(spin);
                command.arg("up").arg("--from").arg(app).args(["--listen", &listen, "--quiet"]);
                command.arg("--state-dir").arg(self.folder.join("state"));
                command
            }
        };
        let server = Server::start(command, &question, 200, &self.folder.join("log"))?;
        Ok((server, question))
    }

    fn prepare(&mut self, app: &Path) -> Result<()> {
        match &self.kind {
            Kind::GyreServer { gyre, .. } => {
                let given = deploy(gyre, app, &self.folder)?;
                if let Kind::GyreServer { host, .. } = &mut self.kind {
                    *host = given;
                }
            }
            // An older kernel has no such scan.
            Kind::Wasmtime { flags, .. } if !flags.is_empty() && self.start().is_err() => {
                if let Kind::Wasmtime { flags, .. } = &mut self.kind {
                    flags.truncate(2);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn command(&self, program: &Path) -> Command {
        command(program, &self.folder)
    }

    fn gyre_server(&self, gyre: &Path, listen: &str) -> Command {
        gyre_server(gyre, &self.folder, listen)
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

fn gyre_server(gyre: &Path, folder: &Path, listen: &str) -> Command {
    let mut command = command(gyre, folder);
    command.arg("server").arg("--data").arg(folder.join("data")).args(["--listen", listen]);
    command.args(["--domain", "gyre.localhost"]);
    command
}

/// Deploys the application to a server on `folder` and returns its host name, without port.
fn deploy(gyre: &Path, app: &Path, folder: &Path) -> Result<String> {
    let port = free_port()?;
    let mut question = Question::root(port);
    question.host = format!("gyre.localhost:{port}");
    "/healthz".clone_into(&mut question.path);
    let listen = question.address.to_string();
    let server =
        Server::start(gyre_server(gyre, folder, &listen), &question, 200, &folder.join("log"))?;
    let token = fs_err::read_to_string(folder.join("data/admin-token"))?;
    let mut command = command(gyre, folder);
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
    let authority = url.split("://").nth(1).unwrap_or(url).split('/').next().unwrap_or_default();
    Ok(authority.split(':').next().unwrap_or_default().to_owned())
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
