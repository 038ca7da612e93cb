//! The door by which guests reach the world: resolve, check every address, connect, in one step and in one place.
//!
//! No other part of the runtime looks up a name or opens a connection for a guest. What is checked is the very
//! address that is then connected to, at each attempt, so that no answer of a name server can change in between.

mod client_tls;
mod networks;
mod tls;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use gyre_telemetry::metrics;
use ipnet::IpNet;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use url::Host;

pub use client_tls::{ClientTls, ClientTlsError, ClientTlsSettings};
pub(crate) use tls::{TlsPeer, handshake, secure, trusting};

use crate::ConnectionLimits;

/// How long an address may take before the next one is tried beside it.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// The addresses of a name that are tried.
const MAX_ADDRESSES: usize = 16;

/// Names of one app that are looked up at once: a look-up takes a thread.
const LOOKUPS_AT_ONCE: usize = 8;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The name has no address.
    #[error("address not available")]
    Resolve(#[source] Option<io::Error>),
    /// All addresses are ones that guests must not reach.
    #[error("destination address is prohibited")]
    Prohibited,
    /// No address could be connected to; the last one's reason.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Http,
    Redis,
    Postgres,
    Mysql,
    Mqtt,
    Socket,
}

impl Purpose {
    /// As metrics name it.
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Redis => "redis",
            Self::Postgres => "pg",
            Self::Mysql => "mysql",
            Self::Mqtt => "mqtt",
            Self::Socket => "wasi-sockets",
        }
    }
}

/// The right to connections, where they have a limit.
type Places = Option<Limited>;

struct Limited {
    limit: usize,
    free: Arc<Semaphore>,
}

impl Limited {
    /// The share that is taken, from 0 to 1.
    fn used(&self) -> Option<f64> {
        let taken = self.limit.saturating_sub(self.free.available_permits());
        (self.limit > 0).then(|| taken as f64 / self.limit as f64)
    }
}

fn places(limit: Option<u32>) -> Places {
    let limit = limit? as usize;
    Some(Limited { limit, free: Arc::new(Semaphore::new(limit)) })
}

/// An app's door.
pub(crate) struct Door {
    block_private_networks: bool,
    blocked: Vec<IpNet>,
    connections: Places,
    /// In the order of [`Purpose`].
    kinds: [Places; 6],
    /// How many wait for the right to a connection.
    waiting: AtomicUsize,
    lookups: Semaphore,
    resolver: Resolver,
}

/// Who looks up names.
enum Resolver {
    /// The machine.
    System,
    /// A test.
    #[cfg(test)]
    Fixed(Box<Lookup>),
}

/// Gives the addresses of a name.
#[cfg(test)]
type Lookup = dyn Fn(&str) -> Vec<IpAddr> + Send + Sync;

/// The right to have a connection, while it is kept.
#[derive(Debug)]
pub(crate) struct Permit {
    of_kind: Option<OwnedSemaphorePermit>,
    of_all: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// Whether there is a limit that it counts for.
    pub(crate) fn is_counted(&self) -> bool {
        self.of_kind.is_some() || self.of_all.is_some()
    }
}

/// Counts somebody who waits, for as long as it is kept.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Door {
    /// A door that may be closed to special addresses, for at most `connections` at once.
    pub(crate) fn new(block_private_networks: bool, connections: Option<u32>) -> Self {
        Self {
            block_private_networks,
            blocked: Vec::new(),
            connections: places(connections),
            kinds: Default::default(),
            waiting: AtomicUsize::new(0),
            lookups: Semaphore::new(LOOKUPS_AT_ONCE),
            resolver: Resolver::System,
        }
    }

    /// The same, closed to these networks as well.
    pub(crate) fn blocking(mut self, networks: Vec<IpNet>) -> Self {
        self.blocked = networks;
        self
    }

    /// The same, with limits for each kind of connection.
    pub(crate) fn limiting(mut self, limits: ConnectionLimits) -> Self {
        let ConnectionLimits { http, redis, postgres, mysql, mqtt, sockets } = limits;
        self.kinds = [http, redis, postgres, mysql, mqtt, sockets].map(places);
        self
    }

    fn places_of(&self, purpose: Purpose) -> &Places {
        &self.kinds[purpose as usize]
    }

    /// The right to one connection, now or not at all.
    pub(crate) fn permit_now(&self, purpose: Purpose) -> Option<Permit> {
        let permit = self.try_permit(purpose);
        if permit.is_some() {
            self.measure(purpose, None);
        } else {
            let is_full = |places: &Limited| places.free.available_permits() == 0;
            let is_of_all = self.connections.as_ref().is_some_and(is_full);
            metrics::permit_rejected(purpose.name(), is_of_all);
        }
        permit
    }

    fn try_permit(&self, purpose: Purpose) -> Option<Permit> {
        let take = |places: &Places| match places {
            None => Some(None),
            Some(places) => places.free.clone().try_acquire_owned().ok().map(Some),
        };
        Some(Permit { of_kind: take(self.places_of(purpose))?, of_all: take(&self.connections)? })
    }

    fn measure(&self, purpose: Purpose, waited: Option<Duration>) {
        if !metrics::is_on() {
            return;
        }
        let used = |places: &Places| places.as_ref().and_then(Limited::used);
        let (of_kind, of_all) = (used(self.places_of(purpose)), used(&self.connections));
        metrics::permit(purpose.name(), waited, of_kind, of_all);
    }

    /// The right to one connection, once there is one. `make_room` is called when there is none: it may close
    /// a connection that is idle. One that becomes idle later is to be closed by whoever sees
    /// [`Self::is_wanted`].
    pub(crate) async fn permit(&self, purpose: Purpose, make_room: impl FnOnce()) -> Permit {
        if let Some(permit) = self.try_permit(purpose) {
            self.measure(purpose, None);
            return permit;
        }
        let _waiting = Waiting::new(&self.waiting);
        let begin = Instant::now();
        make_room();
        let take = async |places: &Places| match places {
            None => None,
            Some(places) => {
                let place = places.free.clone().acquire_owned().await;
                Some(place.expect("the semaphore is never closed"))
            }
        };
        // In this order, so that nobody has a place among all while waiting for one of a kind.
        let of_kind = take(self.places_of(purpose)).await;
        let permit = Permit { of_kind, of_all: take(&self.connections).await };
        self.measure(purpose, Some(begin.elapsed()));
        permit
    }

    /// Whether somebody waits for the right to a connection.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Whether guests must not reach that address.
    pub(crate) fn prohibits(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        self.blocked
            .iter()
            .any(|network| network.contains(&address) || network.contains(&canonical))
            || self.block_private_networks && !networks::is_public(address)
    }

    /// Connects to a host as a guest named it.
    pub(crate) async fn connect(
        &self,
        host: &Host<String>,
        port: u16,
    ) -> Result<TcpStream, ConnectError> {
        connect_first(&self.addresses(host, port).await?).await
    }

    /// The addresses that [`Self::connect`] would try, for a library that connects by itself: to these, and to none
    /// that it looks up.
    pub(crate) async fn addresses(
        &self,
        host: &Host<String>,
        port: u16,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        let addresses = match host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => self.resolve(name).await?,
        };
        self.admit(addresses, port)
    }

    /// Those of a host's addresses that guests may reach.
    fn admit(&self, found: Vec<IpAddr>, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        if found.is_empty() {
            return Err(ConnectError::Resolve(None));
        }
        let admitted = found.into_iter().filter(|address| !self.prohibits(*address));
        let admitted: Vec<_> =
            admitted.take(MAX_ADDRESSES).map(|address| SocketAddr::new(address, port)).collect();
        if admitted.is_empty() { Err(ConnectError::Prohibited) } else { Ok(admitted) }
    }

    /// Connects to a listener of our own, wherever it is.
    pub(crate) async fn connect_to_own(address: SocketAddr) -> Result<TcpStream, ConnectError> {
        connect_first(&[address]).await
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let _turn = self.lookups.acquire().await.expect("the semaphore is never closed");
        match &self.resolver {
            Resolver::System => {
                let found = tokio::net::lookup_host((name, 0)).await;
                let found = found.map_err(|error| ConnectError::Resolve(Some(error)))?;
                Ok(found.map(|address| address.ip()).collect())
            }
            #[cfg(test)]
            Resolver::Fixed(resolve) => Ok(resolve(name)),
        }
    }

    #[cfg(test)]
    pub(crate) fn with_resolver(
        mut self,
        resolve: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.resolver = Resolver::Fixed(Box::new(resolve));
        self
    }
}

/// Connects to the first address that answers; each next one is tried when those before failed or are slow.
async fn connect_first(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut attempts = FuturesUnordered::new();
    let mut rest = addresses.iter();
    let mut failure = None;
    loop {
        if let Some(address) = rest.next() {
            attempts.push(connect_to(*address));
        } else if attempts.is_empty() {
            let none = || io::Error::from(io::ErrorKind::AddrNotAvailable);
            return Err(ConnectError::Connect(failure.unwrap_or_else(none)));
        }
        let patience = async {
            if rest.len() == 0 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(NEXT_ADDRESS_AFTER).await;
        };
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Some(error),
            },
            () = patience => {}
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the door")]
async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use tokio::net::TcpListener;

    use super::*;

    async fn canary() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    async fn is_untouched(canary: &TcpListener) -> bool {
        tokio::time::timeout(Duration::from_millis(20), canary.accept()).await.is_err()
    }

    #[test]
    fn networks_that_are_blocked_are_closed_in_either_form_of_an_address() {
        let door = Door::new(false, None).blocking(vec!["192.0.2.0/24".parse().unwrap()]);
        for address in ["192.0.2.1", "::ffff:192.0.2.1"] {
            assert!(door.prohibits(address.parse().unwrap()), "{address}");
        }
        for address in ["192.0.3.1", "127.0.0.1", "::1"] {
            assert!(!door.prohibits(address.parse().unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn no_way_of_writing_a_loopback_address_gets_through() {
        let (canary, port) = canary().await;
        let door = Door::new(true, None);
        let written = [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "127.0.0.1.",
            "0",
            "0.0.0.0",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:7f00:0001]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "１２７.0.0.1",
            "127。0。0。1",
        ];
        for host in written {
            let parsed = Host::parse(host).unwrap();
            let result = door.connect(&parsed, port).await;
            assert!(
                matches!(result, Err(ConnectError::Prohibited | ConnectError::Resolve(_))),
                "{host} → {parsed}: {result:?}"
            );
        }
        assert!(is_untouched(&canary).await);
    }

    #[tokio::test]
    async fn an_open_door_leads_to_loopback() {
        let (canary, port) = canary().await;
        let door = Door::new(false, None);
        for host in ["127.0.0.1", "127.1", "localhost"] {
            door.connect(&Host::parse(host).unwrap(), port).await.unwrap();
            canary.accept().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_name_that_changes_its_mind_never_leads_inside() {
        let (canary, port) = canary().await;
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        // Alternates between an address of documentation (not public either) and loopback.
        let door = Door::new(true, None).with_resolver(move |_| {
            match count.fetch_add(1, Ordering::SeqCst) % 3 {
                0 => vec![Ipv4Addr::LOCALHOST.into()],
                1 => vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::new(10, 0, 0, 1).into()],
                _ => vec![Ipv4Addr::LOCALHOST.to_ipv6_mapped().into()],
            }
        });
        for _ in 0..1_000 {
            let result = door.connect(&Host::Domain("rebind.example".into()), port).await;
            assert!(matches!(result, Err(ConnectError::Prohibited)), "{result:?}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1_000);
        assert!(is_untouched(&canary).await);
    }

    #[test]
    fn of_many_addresses_only_those_allowed_are_tried() {
        let public = IpAddr::V4(Ipv4Addr::new(93, 184, 215, 14));
        let found = std::iter::repeat_n(IpAddr::V4(Ipv4Addr::LOCALHOST), 15).chain([public]);
        let admitted = Door::new(true, None).admit(found.collect(), 80).unwrap();
        assert_eq!(admitted, [SocketAddr::new(public, 80)]);
        let many = vec![public; 100];
        assert_eq!(Door::new(true, None).admit(many, 80).unwrap().len(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let (listener, port) = canary().await;
        // Bound but not listening: refused.
        let door = Door::new(false, None).with_resolver(|_| {
            vec![Ipv4Addr::new(127, 0, 0, 2).into(), Ipv4Addr::LOCALHOST.into()]
        });
        door.connect(&Host::Domain("two.example".into()), port).await.unwrap();
        listener.accept().await.unwrap();
    }

    #[tokio::test]
    async fn permits_are_as_many_as_the_limit() {
        let door = Door::new(false, Some(2));
        let first = door.permit_now(Purpose::Http).unwrap();
        let _second = door.permit(Purpose::Redis, || ()).await;
        assert!(door.permit_now(Purpose::Http).is_none());
        drop(first);
        assert!(door.permit_now(Purpose::Http).is_some());
    }

    #[tokio::test]
    async fn a_kind_has_a_limit_of_its_own_within_that_of_all() {
        let limits = ConnectionLimits { mqtt: Some(1), sockets: Some(0), ..Default::default() };
        let door = Door::new(false, Some(2)).limiting(limits);
        assert!(door.permit_now(Purpose::Socket).is_none());
        let mqtt = door.permit_now(Purpose::Mqtt).unwrap();
        assert!(door.permit_now(Purpose::Mqtt).is_none());
        let http = door.permit_now(Purpose::Http).unwrap();
        assert!(door.permit_now(Purpose::Http).is_none());
        drop(mqtt);
        let _http = door.permit_now(Purpose::Http).unwrap();
        // What there is no room for among all does not use up the kind's own.
        assert!(door.permit_now(Purpose::Mqtt).is_none());
        let mut waiting = std::pin::pin!(door.permit(Purpose::Mqtt, || ()));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert!(door.is_wanted());
        drop(http);
        assert!(waiting.await.is_counted());
        assert!(!door.is_wanted());
    }
}
