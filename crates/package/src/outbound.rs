//! The HTTP client of everything here that fetches or sends. Names of this machine, `localhost` and everything below it, are
//! resolved without asking anybody.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
    time::Duration,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// How long it may take until a server is reached.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// What a client that speaks to `url` begins with.
pub(crate) fn client(url: &Url) -> reqwest::ClientBuilder {
    let client = reqwest::Client::builder()
        .user_agent(concat!("gyre/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(LoopbackResolver)
        .connect_timeout(CONNECT_TIME)
        .tcp_keepalive(Duration::from_secs(30));
    // A proxy of the environment is for the world outside.
    if is_loopback(url) { client.no_proxy() } else { client }
}

/// A resolver for `reqwest` that knows `*.localhost` (RFC 6761) and asks the system for all other names. The `Host`
/// header keeps the name.
#[derive(Debug, Clone, Copy, Default)]
struct LoopbackResolver;

impl Resolve for LoopbackResolver {
    fn resolve(&self, name: Name) -> Resolving {
        if is_localhost(name.as_str()) {
            let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            let addresses: Addrs = Box::new(loopback.map(|ip| SocketAddr::new(ip, 0)).into_iter());
            return Box::pin(std::future::ready(Ok(addresses)));
        }
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let found =
                tokio::task::spawn_blocking(move || (name.as_str(), 0).to_socket_addrs()).await??;
            Ok(Box::new(found) as Addrs)
        })
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether the URL leads to this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(name),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_at_or_below_localhost_are_this_machine() {
        for name in ["localhost", "gyre.localhost", "a.b.LOCALHOST", "gyre.localhost."] {
            assert!(is_localhost(name), "{name}");
        }
        for name in ["notlocalhost", "localhost.example.com", "example.com", ""] {
            assert!(!is_localhost(name), "{name}");
        }
        assert!(is_loopback(&"http://127.0.0.1:1".parse().unwrap()));
        assert!(is_loopback(&"http://[::1]:1".parse().unwrap()));
        assert!(!is_loopback(&"http://192.0.2.1".parse().unwrap()));
    }
}
