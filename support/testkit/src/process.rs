//! Child processes that never outlive their test, with every line of their output kept.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::wait::PATIENCE;

/// A program that runs beside the test.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    /// What it wrote to standard output.
    pub stdout: Capture,
    /// What it wrote to standard error.
    pub stderr: Capture,
}

impl Program {
    /// Starts `command` with both outputs kept.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let name = format!("{command:?}");
        die_with_parent(&mut command);
        let spawned =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{name}: {error}"));
        let stdout = Capture::of(child.stdout.take().expect("it is piped"));
        let stderr = Capture::of(child.stderr.take().expect("it is piped"));
        Self { name, child, stdout, stderr }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had so far, in bytes (Linux's `VmHWM`).
    #[track_caller]
    pub fn most_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = fs_err::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kibibytes.expect("Linux says it").parse::<u64>().expect("it is a number") << 10
    }

    /// Sends a signal.
    #[track_caller]
    pub fn signal(&self, signal: i32) {
        let id = i32::try_from(self.child.id()).expect("process ids are small");
        #[allow(unsafe_code, reason = "kill(2) has no safe face in the standard library")]
        // SAFETY: kill takes no pointers. The child is ours and not yet reaped, so the id is its own.
        let sent = unsafe { libc::kill(id, signal) };
        assert_eq!(sent, 0, "{}: {}", self.name, std::io::Error::last_os_error());
    }

    /// Ends it at once, as a power cut would: no handler of its own runs.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Asks it to end, and waits until it did.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_within(PATIENCE)
    }

    /// Waits until it ends by itself; panics, and ends it, when `limit` is over.
    #[track_caller]
    pub fn wait_within(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.stdout.finish();
                self.stderr.finish();
                return status;
            }
            assert!(start.elapsed() < limit, "{} did not end\n{}", self.name, self.output());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for a line on either output for which `pick` gives something.
    #[track_caller]
    pub fn wait_for<T>(&mut self, what: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        self.wait_for_within(PATIENCE, what, pick)
    }

    /// As `wait_for`; panics when `limit` is over.
    #[track_caller]
    pub fn wait_for_within<T>(
        &mut self,
        limit: Duration,
        what: &str,
        pick: impl Fn(&str) -> Option<T>,
    ) -> T {
        let start = Instant::now();
        loop {
            let found = self.stdout.find(&pick).or_else(|| self.stderr.find(&pick));
            if let Some(found) = found {
                return found;
            }
            let has_ended = !self.is_running();
            if has_ended {
                // What it wrote last may be on its way.
                self.stdout.finish();
                self.stderr.finish();
                if let Some(found) = self.stdout.find(&pick).or_else(|| self.stderr.find(&pick)) {
                    return found;
                }
            }
            assert!(
                !has_ended && start.elapsed() < limit,
                "{} did not say {what}\n{}",
                self.name,
                self.output()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Both outputs, for messages.
    pub fn output(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}", self.stdout.text(), self.stderr.text())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let was_running = self.is_running();
        self.kill();
        if thread::panicking() {
            eprintln!("{} (running: {was_running})\n{}", self.name, self.output());
        }
    }
}

/// The lines of one output, as they come.
#[derive(Clone, Debug)]
pub struct Capture(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<(Vec<String>, bool)>,
    has_ended: Condvar,
}

impl Capture {
    fn of(from: impl Read + Send + 'static) -> Self {
        let shared =
            Arc::new(Shared { state: Mutex::new((Vec::new(), false)), has_ended: Condvar::new() });
        let capture = Self(Arc::clone(&shared));
        thread::spawn(move || {
            let mut reader = BufReader::new(from);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(count) if count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
                shared.state.lock().unwrap().0.push(text);
                line.clear();
            }
            shared.state.lock().unwrap().1 = true;
            shared.has_ended.notify_all();
        });
        capture
    }

    /// All of it so far.
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Its lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.state.lock().unwrap().0.clone()
    }

    fn find<T>(&self, pick: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.0.state.lock().unwrap().0.iter().find_map(|line| pick(line))
    }

    /// Waits for the end of the stream; a grandchild that holds it open is not waited for long.
    fn finish(&self) {
        let state = self.0.state.lock().unwrap();
        let limit = Duration::from_secs(2);
        drop(self.0.has_ended.wait_timeout_while(state, limit, |(_, has_ended)| !*has_ended));
    }
}

/// Lets the kernel end the child when the thread that starts it ends, however that comes about.
fn die_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code, reason = "prctl(2) has no safe face in the standard library")]
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe and takes no pointers.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Program::start(command)
    }

    #[test]
    fn both_outputs_are_kept_to_the_last_line() {
        let mut program = shell("echo one; echo two >&2; printf three; exit 4");
        assert_eq!(program.wait().code(), Some(4));
        assert_eq!(program.stdout.lines(), ["one", "three"]);
        assert_eq!(program.stderr.lines(), ["two"]);
    }

    #[test]
    fn a_line_is_waited_for_on_either_output() {
        let mut program = shell("echo port 7 >&2; sleep 600");
        let port = program.wait_for("a port", |line| line.strip_prefix("port ").map(str::to_owned));
        assert_eq!(port, "7");
        assert!(program.is_running());
        assert!(!program.terminate().success());
    }

    #[test]
    #[should_panic(expected = "did not say the word")]
    fn a_program_that_ends_without_the_line_is_told() {
        shell("echo something else").wait_for("the word", |line| (line == "word").then_some(()));
    }
}
