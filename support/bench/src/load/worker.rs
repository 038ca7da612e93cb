//! One thread of a load: its connections, in one event loop.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::{Answer, Errors, Shared, answer::Incoming};
use crate::Histogram;

/// How many failures are told.
pub(super) const MAX_EXAMPLES: usize = 10;
/// How often timeouts are looked for.
const SWEEP: Duration = Duration::from_millis(100);
/// How long to wait after no connection could be made.
const RETRY: Duration = Duration::from_millis(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_BUFFER: usize = 64 << 10;

/// What one thread has counted.
pub(super) struct Tally {
    pub(super) latency: Histogram,
    pub(super) statuses: BTreeMap<u16, u64>,
    pub(super) errors: Errors,
    pub(super) examples: Vec<String>,
}

#[derive(Default)]
struct Connection {
    stream: Option<TcpStream>,
    incoming: Incoming,
    /// The request on its way: since when, and how much of it has been written.
    asked: Option<(Instant, usize)>,
    /// Not to be used before.
    rests_until: Option<Instant>,
    is_done: bool,
}

/// What happened to a request.
enum Failure {
    Connect(io::Error),
    Closed(String),
    Timeout,
    Malformed(&'static str),
}

struct Worker<'a> {
    shared: &'a Shared<'a>,
    poll: Poll,
    tally: Tally,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    /// When the next request is due and how far apart they are, at a steady rate.
    pace: Option<(Instant, Duration)>,
}

pub(super) fn run(shared: &Shared<'_>, connections: usize, rate: Option<f64>) -> Result<Tally> {
    let tally = Tally {
        latency: Histogram::new(),
        statuses: BTreeMap::new(),
        errors: Errors::default(),
        examples: Vec::new(),
    };
    let pace = rate.map(|rate| (Instant::now(), Duration::from_secs_f64(1.0 / rate.max(1e-3))));
    let mut worker = Worker {
        shared,
        poll: Poll::new().context("cannot wait for sockets")?,
        tally,
        connections: (0..connections).map(|_| Connection::default()).collect(),
        buffer: vec![0; READ_BUFFER],
        pace,
    };
    worker.run()?;
    Ok(worker.tally)
}

impl Worker<'_> {
    fn run(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut swept = Instant::now();
        loop {
            let now = Instant::now();
            self.ask_those_who_can(now);
            if now >= swept + SWEEP {
                swept = now;
                self.sweep(now);
            }
            if self.connections.iter().all(|connection| connection.is_done) {
                return Ok(());
            }
            match self.wait(&mut events, self.next_deed(now)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("cannot wait for sockets"),
            }
            for event in &events {
                self.go_on(event.token().0, event.is_read_closed() || event.is_error());
            }
        }
    }

    /// How long there is nothing to do unless something happens.
    fn next_deed(&self, now: Instant) -> Duration {
        let mut free = self.connections.iter().filter(|c| c.asked.is_none() && !c.is_done);
        // Where every connection waits for its answer, a request that is due waits with them.
        let due = self.pace.filter(|_| free.clone().any(|c| c.rests_until.is_none()));
        let due = due.map(|(due, _)| due.saturating_duration_since(now));
        let rests = free.any(|c| c.rests_until.is_some()).then_some(RETRY);
        [due, rests].into_iter().flatten().min().map_or(SWEEP, |deed| deed.min(SWEEP))
    }

    fn wait(&mut self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        let mut timeout = timeout;
        if self.pace.is_some() && !timeout.is_zero() {
            // The selector counts in milliseconds and rounds up: requests would be sent late, in bursts.
            let precise = Timespec::try_from(timeout).map_err(io::Error::other)?;
            let length = self.shared.request.len();
            let open = self.connections.iter().filter_map(|connection| {
                let is_written = connection.asked.is_none_or(|(_, written)| written == length);
                let write = if is_written { PollFlags::empty() } else { PollFlags::OUT };
                Some(PollFd::new(connection.stream.as_ref()?, PollFlags::IN | write))
            });
            rustix::event::poll(&mut open.collect::<Vec<_>>(), Some(&precise))?;
            timeout = Duration::ZERO;
        }
        self.poll.poll(events, Some(timeout))
    }

    /// Lets connections without a request send one, where it is time for one.
    fn ask_those_who_can(&mut self, now: Instant) {
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            let rests = connection.rests_until.is_some_and(|until| now < until);
            if connection.asked.is_some() || connection.is_done || rests {
                continue;
            }
            connection.rests_until = None;
            self.ask(index, now);
        }
    }

    /// Sends a request, if one is left to send and due.
    fn ask(&mut self, index: usize, now: Instant) {
        let due = match &mut self.pace {
            None => now,
            // At a steady rate, the last ones end with the time and not with the next that is due.
            Some((due, _)) if *due > now && !self.shared.is_over(now) => return,
            Some((due, interval)) => {
                let this = *due;
                *due += *interval;
                this
            }
        };
        if !self.shared.claim(now) {
            let connection = &mut self.connections[index];
            connection.is_done = true;
            connection.stream = None;
            return;
        }
        self.connections[index].asked = Some((due, 0));
        if self.connections[index].stream.is_none()
            && let Err(error) = self.connect(index)
        {
            return self.fail(index, Failure::Connect(error));
        }
        self.write(index);
    }

    fn connect(&mut self, index: usize) -> io::Result<()> {
        let address = self.shared.options.address;
        let stream = std::net::TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(index), interest)?;
        self.connections[index].stream = Some(stream);
        Ok(())
    }

    /// Something happened on a connection. `has_ended`: the other side sends no more than what has come.
    fn go_on(&mut self, index: usize, has_ended: bool) {
        let connection = &mut self.connections[index];
        match (&connection.asked, &connection.stream) {
            (_, None) => {}
            // An idle connection: that something happens can only mean that it ends.
            (None, Some(_)) => connection.stream = None,
            (Some((_, written)), Some(_)) => {
                if *written < self.shared.request.len() {
                    self.write(index);
                }
                self.read(index, has_ended);
            }
        }
    }

    fn write(&mut self, index: usize) {
        let Connection { stream: Some(stream), asked: Some((_, written)), .. } =
            &mut self.connections[index]
        else {
            return;
        };
        while *written < self.shared.request.len() {
            match stream.write(&self.shared.request[*written..]) {
                Ok(count) => *written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // An answer may have come all the same: reading says more.
                Err(_) => return,
            }
        }
    }

    fn read(&mut self, index: usize, has_ended: bool) {
        loop {
            let connection = &mut self.connections[index];
            let (Some(stream), Some((started, _))) = (&mut connection.stream, connection.asked)
            else {
                return;
            };
            let count = match stream.read(&mut self.buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return self.fail(index, Failure::Closed(error.to_string())),
            };
            if count == 0 {
                if !connection.incoming.end() {
                    let when = if connection.incoming.is_empty() { "before" } else { "within" };
                    return self.fail(index, Failure::Closed(format!("closed {when} an answer")));
                }
                return self.answered(index, started, true);
            }
            let to_head = self.shared.options.method == "HEAD";
            match connection.incoming.take(&self.buffer[..count], to_head) {
                Ok(true) => return self.answered(index, started, has_ended),
                // All that had come has been read; more will be told. But an end is told only once.
                Ok(false) if count < self.buffer.len() && !has_ended => return,
                Ok(false) => {}
                Err(malformed) => return self.fail(index, Failure::Malformed(malformed.0)),
            }
        }
    }

    fn answered(&mut self, index: usize, started: Instant, has_ended: bool) {
        let ended = Instant::now();
        let connection = &mut self.connections[index];
        connection.asked = None;
        let Some(whole) = connection.incoming.whole() else { return };
        let verdict = self.shared.check.map_or(Ok(()), |check| {
            let (status, head, body) = (whole.head.status, whole.head_bytes, whole.body);
            check(&Answer { status, head, body, started, ended })
        });
        if let Err(told) = verdict {
            self.tally.errors.refused += 1;
            self.tally.tell(told);
        }
        // What comes after the end is waited for and looked at, but does not count.
        if !self.shared.is_past(ended) {
            self.tally.latency.record(ended.saturating_duration_since(started));
            *self.tally.statuses.entry(whole.head.status).or_default() += 1;
        }
        if whole.head.closes || has_ended {
            connection.stream = None;
        }
        connection.incoming.clear();
        self.ask(index, ended);
    }

    fn fail(&mut self, index: usize, failure: Failure) {
        let connection = &mut self.connections[index];
        connection.stream = None;
        connection.asked = None;
        connection.incoming.clear();
        let errors = &mut self.tally.errors;
        let (count, told) = match failure {
            Failure::Connect(error) => {
                connection.rests_until = Some(Instant::now() + RETRY);
                (&mut errors.connect, format!("cannot connect: {error}"))
            }
            Failure::Closed(told) => (&mut errors.closed, told),
            Failure::Timeout => (&mut errors.timeout, "no answer in time".to_owned()),
            Failure::Malformed(what) => (&mut errors.malformed, format!("not HTTP: {what}")),
        };
        *count += 1;
        self.tally.tell(told);
    }

    fn sweep(&mut self, now: Instant) {
        for index in 0..self.connections.len() {
            let asked = self.connections[index].asked;
            let is_late = asked.is_some_and(|(started, _)| {
                now.saturating_duration_since(started) > self.shared.options.timeout
            });
            if is_late {
                self.fail(index, Failure::Timeout);
            }
        }
    }
}

impl Tally {
    fn tell(&mut self, told: String) {
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(told);
        }
    }
}

impl Shared<'_> {
    /// Whether no more requests are to be sent.
    fn is_over(&self, now: Instant) -> bool {
        self.is_past(now)
            || self.stop.is_some_and(|stop| stop.load(Relaxed))
            || self.options.requests.is_some_and(|limit| self.issued.load(Relaxed) >= limit)
    }

    fn is_past(&self, now: Instant) -> bool {
        self.end.is_some_and(|end| now >= end)
    }

    /// Takes one of the requests that are left.
    fn claim(&self, now: Instant) -> bool {
        if self.is_over(now) {
            return false;
        }
        let issued = self.issued.fetch_add(1, Relaxed);
        self.options.requests.is_none_or(|limit| issued < limit)
    }
}
