//! Bodies that are long, slow, or end in trailers, and clients that leave.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use gyre_testkit::{Gyre, TestApp, Up, until};

const GIB: u64 = 1 << 30;

/// By how much the process may grow while a body of any length passes through a component.
const GROWTH: u64 = 64 << 20;

fn up(guest: &str) -> (Up, TestApp) {
    let app = TestApp::of_guest(guest, guest, "");
    (Gyre::new().up(app.path(), &[]), app)
}

/// Resident memory of a process, in bytes.
fn resident(id: u32) -> u64 {
    let status = fs_err::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

/// The byte at a place of the long body: no two pages of it are alike.
fn byte_at(place: u64) -> u8 {
    (place.wrapping_mul(2_654_435_761) >> 20) as u8
}

fn piece(place: u64, length: usize) -> Vec<u8> {
    (place..place + length as u64).map(byte_at).collect()
}

#[test]
fn a_gibibyte_passes_through_a_component_in_constant_memory() {
    let (up, _app) = up("echo-stream");
    let _ = up.site().post("/", "warm").expect(200);
    let id = up.program.id();
    let before = resident(id);

    let most = Arc::new(AtomicU64::new(before));
    let is_over = Arc::new(AtomicBool::new(false));
    let (watched, over) = (most.clone(), is_over.clone());
    let watch = thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            watched.fetch_max(resident(id), Ordering::Relaxed);
            thread::sleep(Duration::from_millis(20));
        }
    });

    let stream = TcpStream::connect(up.address()).unwrap();
    let mut sending = stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {GIB}\r\n\r\n");
        sending.write_all(head.as_bytes()).unwrap();
        let mut sent = 0;
        while sent < GIB {
            sending.write_all(&piece(sent, 1 << 20)).unwrap();
            sent += 1 << 20;
        }
    });
    let mut body = Chunks::after_head(stream);
    let mut received = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = body.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        // All of it is counted, and every 16th piece compared.
        if (received >> 20) % 16 == 0 {
            assert_eq!(buffer[..count], piece(received, count), "at {received}");
        }
        received += count as u64;
    }
    sender.join().unwrap();
    is_over.store(true, Ordering::Relaxed);
    watch.join().unwrap();
    assert_eq!(received, GIB);
    let grown = most.load(Ordering::Relaxed) - before;
    println!("a body of 1 GiB: resident memory grew by {} KiB", grown >> 10);
    assert!(grown < GROWTH, "it grew by {grown} bytes");
}

#[test]
fn events_come_one_by_one() {
    let (up, app) = up("stream");
    let mut stream = TcpStream::connect(up.address()).unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut lines = BufReader::new(Chunks::after_head(stream)).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "data: 0");
    let log = || printed(&app);
    assert!(!log().contains("sent all"), "the first event came only with the last");
    let rest: Vec<String> =
        lines.map(|line| line.unwrap()).filter(|line| !line.is_empty()).collect();
    let expected: Vec<String> = (1..20).map(|number| format!("data: {number}")).collect();
    assert_eq!(rest, expected);
    until("the guest has ended", || log().contains("sent all").then_some(()));
}

#[test]
fn trailers_pass_both_ways() {
    let (up, _app) = up("stream");
    let mut stream = TcpStream::connect(up.address()).unwrap();
    stream
        .write_all(
            b"POST /trailers HTTP/1.1\r\nhost: x\r\nte: trailers\r\ntrailer: x-sum\r\n\
            transfer-encoding: chunked\r\nconnection: close\r\n\r\n\
            4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("4\r\nbody\r\n"), "{answer}");
    assert!(answer.ends_with("0\r\nx-got: x-sum=42\r\n\r\n"), "{answer}");
}

#[test]
fn a_client_that_leaves_ends_the_guest() {
    let (up, app) = up("stream");
    let mut stream = TcpStream::connect(up.address()).unwrap();
    stream.write_all(b"GET /ticks HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut lines = BufReader::new(Chunks::after_head(stream.try_clone().unwrap())).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "tick 0");
    stream.shutdown(Shutdown::Both).unwrap();
    drop((stream, lines));
    let log = || printed(&app);
    // A guest that runs prints thirty lines in that time.
    until("the guest prints no more", || {
        let before = log().len();
        thread::sleep(Duration::from_millis(300));
        (log().len() == before).then_some(())
    });
    assert!(!up.site().get("/events").text().is_empty(), "others are served");
}

/// A body in chunks, as it comes.
struct Chunks {
    stream: BufReader<TcpStream>,
    left: usize,
    has_ended: bool,
}

impl Chunks {
    #[track_caller]
    fn after_head(stream: TcpStream) -> Self {
        let mut stream = BufReader::with_capacity(1 << 20, stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).unwrap() > 0, "no whole head: {head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.to_lowercase().contains("transfer-encoding: chunked"), "{head}");
        Self { stream, left: 0, has_ended: false }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.has_ended {
            return Ok(0);
        }
        if self.left == 0 {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            self.left = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            if self.left == 0 {
                self.has_ended = true;
                return Ok(0);
            }
        }
        let most = buffer.len().min(self.left);
        let count = self.stream.read(&mut buffer[..most])?;
        self.left -= count;
        if self.left == 0 {
            self.stream.read_exact(&mut [0; 2])?;
        }
        Ok(count)
    }
}

/// What the guest printed so far; its log begins with its first line.
fn printed(app: &TestApp) -> String {
    fs_err::read_to_string(app.path().join(".spin/logs/stream_stdout.txt")).unwrap_or_default()
}
