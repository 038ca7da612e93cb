//! Every limit that a client meets, by name.
//!
//! [`EdgeLimits::server`] is what faces the internet; [`EdgeLimits::local`] limits nothing that a plain hyper
//! server (and so `spin up`) would not.

use std::time::Duration;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The limits of a listener. Sizes are in bytes; `None` is unlimited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeLimits {
    /// Time for a TLS handshake, and for the head of an HTTP/1 request from its first byte to its last. A connection
    /// that takes longer is closed.
    pub head_time: Option<Duration>,
    /// Header fields of a request; one with more is answered 431.
    pub headers: usize,
    /// The head of an HTTP/1 request; a longer one is answered 431. `None`: what fits in the connection's buffer.
    pub head_bytes: Option<usize>,
    /// The target of a request (path and query); a longer one is answered 414. HTTP/1 has 65,534 at most.
    pub uri_bytes: usize,
    /// How long a connection may be open without a request.
    pub idle_time: Option<Duration>,
    /// How slowly a request's body may come.
    pub body_rate: Option<BodyRate>,
    /// How long a client may leave an answer unread before its connection is closed.
    pub unread_time: Option<Duration>,
    /// The read and write buffer of an HTTP/1 connection, at least 8,192. `None` is hyper's default, some 400 KiB.
    pub http1_max_buf_size: Option<usize>,
    /// What HTTP/2 connections are held to.
    pub http2: Http2Limits,
    /// Connections from one address (one /64 network for IPv6). More are closed as they come.
    pub connections_per_ip: Option<u32>,
    /// Whether connections from this machine count, too. A proxy in front of Gyre would soon reach the limit.
    pub connections_per_ip_on_loopback: bool,
    /// Connections in all. More are closed as they come: the newest are shed.
    pub connections: Option<u32>,
    /// Requests being answered on one worker thread; more are answered 503 with `Retry-After: 1`.
    pub requests_per_worker: Option<u32>,
    /// How long a drain leaves an idle HTTP/1 connection open for a request that may be on its way.
    pub drain_idle_time: Duration,
}

/// The slowest that a body may come: at `bytes_per_second` over time, with `grace` in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyRate {
    /// The rate that must be kept over time, at least 1.
    pub bytes_per_second: u32,
    /// How far behind it a sender may be; a body of which nothing comes ends after this time.
    pub grace: Duration,
}

/// The limits of an HTTP/2 connection.
///
/// The budget for overhead of small DATA frames is h2's: half of the connection's window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2Limits {
    /// Requests at once on one connection.
    pub streams: u32,
    /// Flow-control window of one request's body.
    pub stream_window: u32,
    /// Flow-control window of all bodies of a connection.
    pub connection_window: u32,
    /// What may wait to be sent on one stream.
    pub send_buffer: usize,
    /// Names and values of a request's head, as HTTP/2 counts them.
    pub header_list_bytes: u32,
    /// Streams that the client has reset before they were looked at (rapid reset). More end the connection.
    pub pending_resets: usize,
    /// Streams that the client's errors have made us reset. More end the connection.
    pub local_error_resets: usize,
    /// How often a quiet client is asked for a sign of life.
    pub ping_interval: Option<Duration>,
    /// How long it may take to give one.
    pub ping_time: Duration,
}

impl EdgeLimits {
    /// What faces the internet.
    pub fn server() -> Self {
        Self {
            head_time: Some(Duration::from_secs(10)),
            headers: 100,
            head_bytes: Some(64 * KIB),
            uri_bytes: 8 * KIB,
            idle_time: Some(Duration::from_mins(1)),
            body_rate: Some(BodyRate { bytes_per_second: 1024, grace: Duration::from_secs(30) }),
            unread_time: Some(Duration::from_mins(1)),
            http1_max_buf_size: None,
            http2: Http2Limits {
                streams: 100,
                stream_window: 64 * KIB as u32,
                connection_window: MIB as u32,
                send_buffer: 64 * KIB,
                header_list_bytes: 16 * KIB as u32,
                pending_resets: 20,
                local_error_resets: 256,
                ping_interval: Some(Duration::from_secs(20)),
                ping_time: Duration::from_secs(20),
            },
            connections_per_ip: Some(256),
            connections_per_ip_on_loopback: false,
            connections: Some(four_fifths_of_the_descriptors()),
            requests_per_worker: Some(2_000),
            drain_idle_time: Duration::from_millis(250),
        }
    }

    /// What `gyre up` starts from: nothing is limited that a plain hyper server would not limit.
    pub fn local() -> Self {
        Self {
            head_time: None,
            headers: 100,
            head_bytes: None,
            uri_bytes: usize::MAX,
            idle_time: None,
            body_rate: None,
            unread_time: None,
            http1_max_buf_size: None,
            http2: Http2Limits {
                streams: 200,
                stream_window: MIB as u32,
                connection_window: MIB as u32,
                send_buffer: 400 * KIB,
                header_list_bytes: 16 * KIB as u32,
                pending_resets: 20,
                local_error_resets: 1024,
                ping_interval: None,
                ping_time: Duration::from_secs(20),
            },
            connections_per_ip: None,
            connections_per_ip_on_loopback: false,
            connections: None,
            requests_per_worker: None,
            drain_idle_time: Duration::from_millis(250),
        }
    }

    /// How often deadlines are looked at: often enough to be late by at most a quarter of the shortest.
    pub(crate) fn sweep_interval(&self) -> Duration {
        [self.head_time, self.idle_time, self.unread_time]
            .into_iter()
            .flatten()
            .min()
            .map_or(Duration::from_secs(1), |shortest| shortest / 4)
            .clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// 80 % of the file descriptors that this process may have: the rest is for files, databases and outbound
/// connections.
fn four_fifths_of_the_descriptors() -> u32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.unwrap_or(u64::MAX).min(u64::from(u32::MAX));
    (limit / 5 * 4) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_looked_at_at_least_every_second() {
        let mut limits = EdgeLimits::server();
        assert_eq!(limits.sweep_interval(), Duration::from_secs(1));
        limits.idle_time = Some(Duration::from_millis(400));
        assert_eq!(limits.sweep_interval(), Duration::from_millis(100));
        limits.idle_time = Some(Duration::ZERO);
        assert_eq!(limits.sweep_interval(), Duration::from_millis(10));
        assert_eq!(EdgeLimits::local().sweep_interval(), Duration::from_secs(1));
    }

    #[test]
    fn a_fifth_of_the_descriptors_is_left_for_others() {
        let connections = EdgeLimits::server().connections.unwrap();
        assert!(connections >= 100, "{connections}");
    }
}
