//! Servers as child processes: started, asked until they answer, weighed, and always ended.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

/// How long a server may take to answer for the first time: it may compile.
const START_TIME: Duration = Duration::from_mins(2);
/// How long a server may take to end before it is killed.
const END_TIME: Duration = Duration::from_secs(5);

/// A running server. Ended when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// From its start to its first answer.
    pub(crate) first_answer: Duration,
}

/// What a server is asked, and where.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    pub(crate) path: String,
}

/// An answer to a question.
#[derive(Debug)]
struct Reply {
    status: u16,
    body: Vec<u8>,
}

impl Question {
    /// The root of a server on this machine.
    pub(crate) fn root(port: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self { address, host: address.to_string(), path: "/".to_owned() }
    }

    /// The same server and host, another path.
    pub(crate) fn at(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    /// Asks once, and fails if the answer has another status.
    pub(crate) fn expect(&self, status: u16) -> Result<()> {
        let path = &self.path;
        let answer = self.ask().with_context(|| format!("asking for {path}"))?;
        if answer.status != status {
            let body = String::from_utf8_lossy(&answer.body);
            bail!("{path} was answered with {}: {body}", answer.status);
        }
        Ok(())
    }

    /// One answer on a connection of its own.
    fn ask(&self) -> std::io::Result<Reply> {
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let Self { host, path, .. } = self;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let status = answer.get(9..12).and_then(|status| std::str::from_utf8(status).ok());
        let status = status.and_then(|status| status.parse().ok());
        let body = memchr::memmem::find(&answer, b"\r\n\r\n").map(|at| answer.split_off(at + 4));
        match (status, body) {
            (Some(status), Some(body)) => Ok(Reply { status, body }),
            _ => Err(std::io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Server {
    /// Starts `command`, its output going to a file, and waits until it answers `question` with `status`.
    pub(crate) fn start(
        mut command: Command,
        question: &Question,
        status: u16,
        log: &Path,
    ) -> Result<Self> {
        let output = fs_err::File::create(log)?.into_parts().0;
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let mut server = Self { child, first_answer: Duration::ZERO };
        let said = || {
            let text = fs_err::read_to_string(log).unwrap_or_default();
            text.lines()
                .rev()
                .take(5)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join("\n")
        };
        loop {
            let answered = question.ask().map(|reply| reply.status);
            if answered.as_ref().is_ok_and(|answered| *answered == status) {
                server.first_answer = started.elapsed();
                return Ok(server);
            }
            if let Some(ended) = server.child.try_wait()? {
                bail!("{name} ended ({ended}):\n{}", said());
            }
            if started.elapsed() > START_TIME {
                bail!("{name} did not answer {status} (the last was {answered:?}):\n{}", said());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Resident memory of the process and its children, in bytes. `None` where the system does not say.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let parents = parents()?;
        let mut tree = vec![self.child.id()];
        let mut next = 0;
        while let Some(&parent) = tree.get(next) {
            tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            next += 1;
        }
        Some(tree.into_iter().filter_map(resident_of).sum())
    }

    /// Ends it, gently at first.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < END_TIME {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Every process and its parent.
fn parents() -> Option<Vec<(u32, u32)>> {
    let entries = fs_err::read_dir("/proc").ok()?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let of = |pid: u32| {
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    };
    Some(pids.filter_map(of).collect())
}

fn resident_of(pid: u32) -> Option<u64> {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

/// A port that nobody uses now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_weighs_something() {
        let own = std::process::id();
        assert!(resident_of(own).unwrap() > 1 << 20);
        assert!(parents().unwrap().iter().any(|(pid, _)| *pid == own));
    }

    #[test]
    fn a_server_that_ends_at_once_is_told_with_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such luck >&2; exit 3"]);
        let question = Question::root(free_port().unwrap());
        let log = folder.path().join("log");
        let error = Server::start(command, &question, 200, &log).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such luck"), "{error}");
    }
}
