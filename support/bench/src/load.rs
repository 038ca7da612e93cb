//! The load generator: so many kept-alive connections, each asking again as soon as it is answered (or at a steady
//! rate), on one thread per core.
//!
//! It speaks HTTP/1.1 by itself and allocates nothing per request, since whatever it spends, the server on the same
//! machine lacks. It counts strictly: a connection that ends where an answer was due is an error, also where a
//! client might try again.

mod answer;
mod swap;
mod worker;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs},
    sync::atomic::{AtomicBool, AtomicU64},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::Histogram;

pub use swap::{Swap, SwapReport};

/// Which requests are sent, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to.
    pub address: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// The method.
    pub method: String,
    /// More headers.
    pub headers: Vec<(String, String)>,
    /// The body; sent with `Content-Length` if there is one, or if the method is not GET or HEAD.
    pub body: Vec<u8>,
    /// Connections, kept alive; at least 1.
    pub connections: usize,
    /// Threads; at most as many as connections.
    pub threads: usize,
    /// Ends after so many requests.
    pub requests: Option<u64>,
    /// Ends after this time.
    pub duration: Option<Duration>,
    /// Requests per second, evenly spaced; latency then counts from when a request was due. `None`: as many as are
    /// answered.
    pub rate: Option<f64>,
    /// How long an answer may take before it counts as an error.
    pub timeout: Duration,
}

impl Options {
    /// GET of `url` (`http://host[:port]/path`) by 32 connections on all cores for ten seconds. `localhost` and the names
    /// below it are this machine without asking anybody.
    pub fn get(url: &str) -> Result<Self> {
        let Some(rest) = url.strip_prefix("http://") else {
            bail!("{url:?} does not begin with http://");
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) if rest.as_bytes()[at] == b'/' => (&rest[..at], rest[at..].to_owned()),
            Some(at) => (&rest[..at], format!("/{}", &rest[at..])),
            None => (rest, "/".to_owned()),
        };
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => {
                (name, port.parse().with_context(|| format!("{port:?} is not a port"))?)
            }
            _ => (authority, 80),
        };
        let is_local = name == "localhost" || name.ends_with(".localhost");
        let address = if is_local {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
        } else {
            let name = name.trim_matches(['[', ']']);
            let found = (name, port).to_socket_addrs();
            let mut found = found.with_context(|| format!("cannot resolve {name:?}"))?;
            found.next().with_context(|| format!("{name:?} has no address"))?
        };
        Ok(Self {
            address,
            host: authority.to_owned(),
            path,
            method: "GET".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            connections: 32,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            requests: None,
            duration: Some(Duration::from_secs(10)),
            rate: None,
            timeout: Duration::from_secs(30),
        })
    }

    /// The request as it goes over the wire.
    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.path, self.host);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        if !self.body.is_empty() || !matches!(self.method.as_str(), "GET" | "HEAD") {
            head.extend(["Content-Length: ", &self.body.len().to_string(), "\r\n"]);
        }
        head += "\r\n";
        [head.as_bytes(), &self.body].concat()
    }
}

/// An answer as a check sees it.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// Status line and headers, as they came.
    pub head: &'a [u8],
    /// The body, decoded.
    pub body: &'a [u8],
    /// When its request was sent (or due).
    pub started: Instant,
    /// When it was complete.
    pub ended: Instant,
}

/// What came of a load.
#[derive(Debug, Clone)]
pub struct Report {
    /// Answers that were complete in time, whatever their status.
    pub answers: u64,
    /// From the first request to the end.
    pub elapsed: Duration,
    /// How long the answers took.
    pub latency: Histogram,
    /// How many answers had which status.
    pub statuses: BTreeMap<u16, u64>,
    /// What went wrong on the way, and how often.
    pub errors: Errors,
    /// The first few of the failures, told.
    pub examples: Vec<String>,
}

/// Requests that were not answered, or not as they should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// No connection was made.
    pub connect: u64,
    /// The connection ended before the answer did.
    pub closed: u64,
    /// The answer took too long.
    pub timeout: u64,
    /// The answer was not HTTP.
    pub malformed: u64,
    /// The check refused the answer.
    pub refused: u64,
}

impl Errors {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.connect + self.closed + self.timeout + self.malformed + self.refused
    }
}

impl Report {
    /// Answers per second.
    pub fn per_second(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// Requests that failed: an error, or a status of 400 and more.
    pub fn failed(&self) -> u64 {
        let bad = self.statuses.range(400..).map(|(_, count)| count).sum::<u64>();
        self.errors.total() + bad
    }

    /// The figures, for JSON.
    pub fn summary(&self) -> Summary {
        let milliseconds = |share| self.latency.quantile(share).as_secs_f64() * 1e3;
        Summary {
            requests_per_second: self.per_second(),
            p50_ms: milliseconds(0.5),
            p90_ms: milliseconds(0.9),
            p99_ms: milliseconds(0.99),
            max_ms: self.latency.max().as_secs_f64() * 1e3,
            answers: self.answers,
            seconds: self.elapsed.as_secs_f64(),
            statuses: self.statuses.clone(),
            errors: self.errors,
            failed: self.failed(),
        }
    }
}

/// A report's figures.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Answers per second.
    pub requests_per_second: f64,
    /// The median latency.
    pub p50_ms: f64,
    /// What nine of ten do not exceed.
    pub p90_ms: f64,
    /// What 99 of 100 do not exceed.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Answers.
    pub answers: u64,
    /// How long it took.
    pub seconds: f64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Failures by kind.
    pub errors: Errors,
    /// Failures and bad statuses together.
    pub failed: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "requests/s  {:.0}", self.requests_per_second)?;
        writeln!(f, "p50         {:.3} ms", self.p50_ms)?;
        writeln!(f, "p90         {:.3} ms", self.p90_ms)?;
        writeln!(f, "p99         {:.3} ms", self.p99_ms)?;
        writeln!(f, "longest     {:.3} ms", self.max_ms)?;
        let statuses: Vec<_> =
            self.statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
        writeln!(f, "answers     {} ({})", self.answers, statuses.join(", "))?;
        let Errors { connect, closed, timeout, malformed, refused } = self.errors;
        write!(
            f,
            "errors      {} ({connect} connect, {closed} closed, {timeout} timeout, \
             {malformed} malformed, {refused} refused by the check)",
            self.errors.total()
        )
    }
}

/// Looks at an answer, and says what is wrong with it. Called on the thread that received it.
pub type Check<'a> = dyn Fn(&Answer<'_>) -> Result<(), String> + Sync + 'a;

/// Ends a load from outside: set it to true.
pub type Stop = AtomicBool;

/// What the threads of a load share.
struct Shared<'a> {
    options: &'a Options,
    request: Vec<u8>,
    check: Option<&'a Check<'a>>,
    stop: Option<&'a Stop>,
    issued: AtomicU64,
    end: Option<Instant>,
}

/// Sends the requests and waits for the end.
///
/// # Panics
/// If neither a number of requests, nor a duration, nor a way to stop it is given: it would never end.
pub fn run(options: &Options, check: Option<&Check<'_>>, stop: Option<&Stop>) -> Result<Report> {
    assert!(
        options.requests.is_some() || options.duration.is_some() || stop.is_some(),
        "a load has an end"
    );
    let started = Instant::now();
    let shared = Shared {
        options,
        request: options.bytes(),
        check,
        stop,
        issued: AtomicU64::new(0),
        end: options.duration.map(|duration| started + duration),
    };
    let connections = options.connections.max(1);
    let threads = options.threads.clamp(1, connections);
    let tallies = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let own = connections / threads + usize::from(thread < connections % threads);
                let rate = options.rate.map(|rate| rate / threads as f64);
                let shared = &shared;
                scope.spawn(move || worker::run(shared, own, rate))
            })
            .collect();
        let joined = running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<Result<Vec<_>>>()
    })?;
    let now = Instant::now();
    let ended = shared.end.map_or(now, |end| end.min(now));
    let mut report = Report {
        answers: 0,
        elapsed: ended - started,
        latency: Histogram::new(),
        statuses: BTreeMap::new(),
        errors: Errors::default(),
        examples: Vec::new(),
    };
    for tally in tallies {
        report.answers += tally.latency.len();
        report.latency.add(&tally.latency);
        for (status, count) in tally.statuses {
            *report.statuses.entry(status).or_default() += count;
        }
        report.errors.connect += tally.errors.connect;
        report.errors.closed += tally.errors.closed;
        report.errors.timeout += tally.errors.timeout;
        report.errors.malformed += tally.errors.malformed;
        report.errors.refused += tally.errors.refused;
        report.examples.extend(tally.examples);
    }
    report.examples.truncate(worker::MAX_EXAMPLES);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_what() {
        let options = Options::get("http://hello-ab12.gyre.localhost:8000/x?y").unwrap();
        assert_eq!(options.address, "127.0.0.1:8000".parse().unwrap());
        assert_eq!(options.host, "hello-ab12.gyre.localhost:8000");
        assert_eq!(options.path, "/x?y");
        let options = Options::get("http://[::1]?q").unwrap();
        assert_eq!((options.address, options.path.as_str()), ("[::1]:80".parse().unwrap(), "/?q"));
        assert_eq!(Options::get("http://127.0.0.1:1").unwrap().path, "/");
        assert!(Options::get("https://x").is_err());
        assert!(Options::get("http://localhost:x/").is_err());
    }

    #[test]
    fn a_request_has_a_length_where_it_needs_one() {
        let mut options = Options::get("http://127.0.0.1:1/").unwrap();
        assert_eq!(options.bytes(), b"GET / HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n");
        options.method = "POST".into();
        options.body = b"hi".to_vec();
        options.headers = vec![("X".into(), "y".into())];
        let text = String::from_utf8(options.bytes()).unwrap();
        assert!(text.ends_with("X: y\r\nContent-Length: 2\r\n\r\nhi"), "{text:?}");
    }
}
