//! Taking the addresses to listen on, so that nobody else has them and every worker does.
//!
//! Sockets that are shared between the threads of one process (`SO_REUSEPORT`) could be shared with another process
//! of the same user, too, and each would get a part of the requests. So an address is probed without sharing
//! first, and on Linux held by a name that only one process can have.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use gyre_model::Upstream;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{EdgeHandle, EdgeLimits, Routes, TlsConfig, TlsError, handle, request::Service, tls};

/// Connections that may wait to be accepted, per worker.
const BACKLOG: i32 = 4096;

/// What a client says of proxies it came through (`Forwarded`, `X-Forwarded-*`, `X-Real-IP`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// Passed on: what stands before us is trusted, or nobody relies on it.
    Keep,
    /// Removed: anyone could say so.
    Strip,
}

/// How an edge listens.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// The addresses, each with a port; 0 is any free one.
    pub listen: Vec<SocketAddr>,
    /// Threads; by default one per core.
    pub workers: Option<usize>,
    /// Set, only TLS is spoken.
    pub tls: Option<TlsConfig>,
    /// What clients are held to.
    pub limits: EdgeLimits,
    /// What becomes of forwarding headers.
    pub forwarded: Forwarded,
    /// The text of the 404 for a host that leads nowhere. Empty: no body.
    pub unknown_host: &'static str,
}

impl EdgeConfig {
    /// One that faces the internet.
    pub fn server(listen: Vec<SocketAddr>) -> Self {
        Self {
            listen,
            workers: None,
            tls: None,
            limits: EdgeLimits::server(),
            forwarded: Forwarded::Strip,
            unknown_host: "There is no application at this address.\n",
        }
    }

    /// One for `gyre up`.
    pub fn local(listen: SocketAddr) -> Self {
        Self {
            listen: vec![listen],
            workers: None,
            tls: None,
            limits: EdgeLimits::local(),
            forwarded: Forwarded::Keep,
            unknown_host: "",
        }
    }
}

/// Why an edge cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("{0} is already in use")]
    InUse(SocketAddr),
    /// The address is not ours, or the port is reserved.
    #[error("cannot listen on {address}")]
    Address {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// No address was asked for.
    #[error("no address to listen on")]
    NoAddress,
    /// TLS cannot be spoken.
    #[error("cannot serve TLS")]
    Tls(#[from] TlsError),
}

/// Where an edge begins.
#[derive(Debug)]
pub struct Edge;

impl Edge {
    /// Takes the addresses. From here on clients can connect; they are served once [`Bound::serve`] is called.
    pub fn bind(config: EdgeConfig) -> Result<Bound, BindError> {
        if config.listen.is_empty() {
            return Err(BindError::NoAddress);
        }
        let tls = config.tls.as_ref().map(tls::load).transpose()?;
        let workers = config
            .workers
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
            .max(1);
        let mut listeners: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
        let (mut addresses, mut holds) = (Vec::new(), Vec::new());
        for &asked in &config.listen {
            let failed = |source: io::Error| match source.kind() {
                io::ErrorKind::AddrInUse => BindError::InUse(asked),
                _ => BindError::Address { address: asked, source },
            };
            if asked.port() != 0 {
                holds.push(Hold::take(asked).map_err(failed)?);
                socket(asked, false).map_err(failed)?;
            }
            let mut address = asked;
            for of_worker in &mut listeners {
                let socket = socket(address, true).map_err(failed)?;
                socket.listen(BACKLOG).map_err(failed)?;
                let listener = TcpListener::from(socket);
                address = listener.local_addr().map_err(failed)?;
                of_worker.push(listener);
            }
            if asked.port() == 0 {
                holds.push(Hold::take(address).map_err(failed)?);
            }
            addresses.push(address);
        }
        Ok(Bound { config, tls, addresses, listeners, holds })
    }
}

/// An edge that has its addresses.
#[derive(Debug)]
pub struct Bound {
    pub(crate) config: EdgeConfig,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) addresses: Vec<SocketAddr>,
    /// The sockets of each worker.
    pub(crate) listeners: Vec<Vec<TcpListener>>,
    pub(crate) holds: Vec<Hold>,
}

impl Bound {
    /// The first address, with its real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The addresses in the order they were asked for, with their real ports.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many threads will serve.
    pub fn workers(&self) -> usize {
        self.listeners.len()
    }

    /// Starts serving. `upstream` is called once on each worker's thread, with the worker's number from 0, inside of
    /// its executor (`tokio::task::spawn_local` works there).
    pub fn serve<U: Upstream>(
        self,
        upstream: impl Fn(usize) -> U + Send + Sync + 'static,
        routes: Arc<Routes<U::Target>>,
    ) -> EdgeHandle {
        let (forwarded, unknown_host) = (self.config.forwarded, self.config.unknown_host);
        handle::start(self, move |worker| Service {
            upstream: upstream(worker),
            routes: routes.clone(),
            forwarded,
            unknown_host,
        })
    }
}

fn socket(address: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a port be taken again while old connections to it time out; does not let two listen.
    socket.set_reuse_address(true)?;
    if is_shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// An address held against other processes that would share it.
#[derive(Debug)]
pub(crate) struct Hold {
    #[cfg(target_os = "linux")]
    _name: Option<std::os::unix::net::UnixListener>,
}

impl Hold {
    /// Two processes that probe at the same moment both find the address free; only one gets the name. Where there
    /// are no such names, the probe alone must do.
    #[cfg(target_os = "linux")]
    fn take(address: SocketAddr) -> io::Result<Self> {
        use std::os::{linux::net::SocketAddrExt, unix::net};
        let name = format!("gyre-edge/{address}");
        let name = net::SocketAddr::from_abstract_name(name)?;
        match net::UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Self { _name: Some(listener) }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
            Err(_) => Ok(Self { _name: None }),
        }
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::unnecessary_wraps, reason = "it can fail on Linux")]
    fn take(_: SocketAddr) -> io::Result<Self> {
        Ok(Self {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> EdgeConfig {
        let config = EdgeConfig::local(([127, 0, 0, 1], port).into());
        EdgeConfig { workers: Some(3), ..config }
    }

    #[test]
    fn all_workers_listen_on_the_port_that_the_first_was_given() {
        let bound = Edge::bind(loopback(0)).unwrap();
        assert_ne!(bound.local_addr().port(), 0);
        assert_eq!(bound.workers(), 3);
        for listener in bound.listeners.iter().flatten() {
            assert_eq!(listener.local_addr().unwrap(), bound.local_addr());
        }
    }

    #[test]
    fn a_port_in_use_is_refused_whoever_uses_it() {
        let bound = Edge::bind(loopback(0)).unwrap();
        let again = Edge::bind(loopback(bound.local_addr().port())).unwrap_err();
        assert_eq!(again.to_string(), format!("{} is already in use", bound.local_addr()));

        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        assert!(matches!(Edge::bind(loopback(port)), Err(BindError::InUse(_))));

        // One that shares its port is in nobody's way but ours.
        let shared = socket("127.0.0.1:0".parse().unwrap(), true).unwrap();
        shared.listen(1).unwrap();
        let port = shared.local_addr().unwrap().as_socket().unwrap().port();
        assert!(matches!(Edge::bind(loopback(port)), Err(BindError::InUse(_))));
    }

    #[test]
    fn a_port_can_be_taken_again_once_it_is_free() {
        let bound = Edge::bind(loopback(0)).unwrap();
        let port = bound.local_addr().port();
        drop(bound);
        assert_eq!(Edge::bind(loopback(port)).unwrap().local_addr().port(), port);
    }

    #[test]
    fn what_cannot_be_had_is_said_with_its_address() {
        let config = EdgeConfig::local("192.0.2.1:0".parse().unwrap());
        assert_eq!(Edge::bind(config).unwrap_err().to_string(), "cannot listen on 192.0.2.1:0");
        assert!(matches!(Edge::bind(EdgeConfig::server(Vec::new())), Err(BindError::NoAddress)));
        let tls = TlsConfig { cert: "no-such-file".into(), key: "no-such-file".into() };
        let config = EdgeConfig { tls: Some(tls), ..loopback(0) };
        assert!(matches!(Edge::bind(config), Err(BindError::Tls(TlsError::Io(_)))));
    }
}
