//! Servers that guests talk to, out of the system's packages: each test has its own, on a free loopback port, with a
//! folder of its own, and ends it.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use fs_err as fs;
use tempfile::TempDir;

use crate::{process::Program, wait::until};

/// A server that runs, until it is dropped.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    program: Program,
    folder: TempDir,
}

/// The user of the databases that are started here.
pub const USER: &str = "gyre";

/// That user's password.
pub const PASSWORD: &str = "a-secret";

/// The database of that user.
pub const DATABASE: &str = "gyre";

impl Service {
    /// Redis, without a password.
    #[track_caller]
    pub fn redis() -> Self {
        Self::redis_at(free_address())
    }

    /// The same where another one was that has been ended.
    #[track_caller]
    pub fn redis_at(address: SocketAddr) -> Self {
        Self::start_at("Redis", address, |folder, port| {
            let mut command = Command::new(program("redis-server"));
            command
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
                .arg(port.to_string())
                .arg("--dir")
                .arg(folder);
            command
        })
    }

    /// Mosquitto, an MQTT server that lets everybody in.
    #[track_caller]
    pub fn mosquitto() -> Self {
        Self::mosquitto_at(free_address())
    }

    /// The same where another one was that has been ended.
    #[track_caller]
    pub fn mosquitto_at(address: SocketAddr) -> Self {
        Self::start_at("Mosquitto", address, |folder, port| {
            let file = folder.join("mosquitto.conf");
            let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
            fs::write(&file, text).unwrap();
            let mut command = Command::new(program("mosquitto"));
            command.arg("-c").arg(file);
            command
        })
    }

    /// PostgreSQL with a database [`DATABASE`] that belongs to [`USER`].
    #[track_caller]
    pub fn postgres() -> Self {
        let bin = newest_postgres();
        let service = Self::start("PostgreSQL", |folder, port| {
            let data = folder.join("data");
            let password = folder.join("password");
            fs::write(&password, PASSWORD).unwrap();
            give_away(folder);
            let mut init = unprivileged(&bin.join("initdb"));
            init.args(["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
                .arg("--username")
                .arg(USER)
                .arg("--pwfile")
                .arg(&password)
                .arg("-D")
                .arg(&data);
            run(init);
            let mut command = unprivileged(&bin.join("postgres"));
            command.arg("-D").arg(data).arg("-k").arg(folder).args(["-h", "127.0.0.1", "-p"]);
            command.arg(port.to_string()).args(["-c", "fsync=off", "-c", "max_connections=200"]);
            command
        });
        until("PostgreSQL has the database", || {
            let mut create = Command::new(bin.join("createdb"));
            create.args(["-h", "127.0.0.1", "-U", USER, "-p"]).arg(service.port().to_string());
            create.arg(DATABASE).env("PGPASSWORD", PASSWORD);
            create
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .success()
                .then_some(())
        });
        service
    }

    /// MariaDB with a database [`DATABASE`] that belongs to [`USER`].
    #[track_caller]
    pub fn mariadb() -> Self {
        Self::start("MariaDB", |folder, port| {
            let data = folder.join("data");
            let mut init = Command::new(program("mariadb-install-db"));
            init.args(["--no-defaults", "--auth-root-authentication-method=normal"])
                .arg("--skip-test-db")
                .args(as_root())
                .arg(format!("--datadir={}", data.display()));
            run(init);
            let first = folder.join("first.sql");
            let text = format!(
                "CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4;\n\
                 CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
                 GRANT ALL ON {DATABASE}.* TO '{USER}'@'%';\n"
            );
            fs::write(&first, text).unwrap();
            let mut command = Command::new(program("mariadbd"));
            command
                .args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"])
                .args(["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M"])
                .args(as_root())
                .arg(format!("--datadir={}", data.display()))
                .arg(format!("--socket={}", folder.join("socket").display()))
                .arg(format!("--pid-file={}", folder.join("pid").display()))
                .arg(format!("--init-file={}", first.display()))
                .arg(format!("--port={port}"));
            command
        })
    }

    #[track_caller]
    fn start(name: &str, command: impl FnOnce(&Path, u16) -> Command) -> Self {
        Self::start_at(name, free_address(), command)
    }

    #[track_caller]
    fn start_at(
        name: &str,
        address: SocketAddr,
        command: impl FnOnce(&Path, u16) -> Command,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::start(command(folder.path(), address.port()));
        let mut service = Self { address, program, folder };
        until(name, || {
            assert!(service.program.is_running(), "{name}: {}", service.program.output());
            TcpStream::connect_timeout(&service.address, Duration::from_millis(200)).ok()
        });
        service
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The folder that it may write to.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.program.kill();
    }
}

/// An address on loopback that is free now.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// The path of a program, also of one that is in root's path only.
#[track_caller]
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("there is no {name}: `cargo xtask test` installs it"))
}

#[track_caller]
fn newest_postgres() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").map(|entries| {
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.parse::<u32>().ok()).max()
    });
    match versions {
        Ok(Some(version)) => format!("/usr/lib/postgresql/{version}/bin").into(),
        _ => program("initdb").parent().expect("it is in a folder").to_owned(),
    }
}

fn is_root() -> bool {
    #[allow(unsafe_code, reason = "geteuid(2) has no safe face in the standard library")]
    // SAFETY: it takes nothing and cannot fail.
    unsafe {
        libc::geteuid() == 0
    }
}

/// MariaDB runs as root only when told so.
fn as_root() -> Option<&'static str> {
    is_root().then_some("--user=root")
}

/// A user without rights: PostgreSQL never runs as root.
fn nobody() -> Option<(u32, u32)> {
    let ids = fs::read_to_string("/etc/passwd").unwrap();
    let entry = |user: &str| {
        let line = ids.lines().find(|line| line.split(':').next() == Some(user))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    if is_root() { entry("postgres").or_else(|| entry("nobody")) } else { None }
}

fn give_away(folder: &Path) {
    if let Some((user, group)) = nobody() {
        std::os::unix::fs::chown(folder, Some(user), Some(group)).unwrap();
    }
}

fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = nobody() {
        command.uid(user).gid(group);
    }
    // The folder of whoever runs the tests may be closed to it.
    command.current_dir("/");
    command
}

#[track_caller]
fn run(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};

    use super::*;

    #[test]
    fn redis_answers() {
        let redis = Service::redis();
        let mut stream = TcpStream::connect(redis.address()).unwrap();
        stream.write_all(b"PING\r\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert_eq!(line, "+PONG\r\n");
    }

    #[test]
    fn postgres_mariadb_and_mosquitto_start() {
        for service in [Service::postgres(), Service::mariadb(), Service::mosquitto()] {
            TcpStream::connect(service.address()).unwrap();
        }
    }
}
