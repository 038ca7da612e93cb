//! Who may connect, and the counts that say how it goes. Asked once per connection, never per request.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use crate::{EdgeLimits, EdgeStats};

/// What all workers of an edge share.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    open: AtomicU32,
    by_ip: Mutex<HashMap<IpAddr, u32>>,
    pub(crate) accepted: AtomicU64,
    pub(crate) shed: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) refused_requests: AtomicU64,
    pub(crate) overloaded_requests: AtomicU64,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    counted: Option<IpAddr>,
}

impl Admission {
    /// A place for one more connection from `ip`, unless a limit is reached.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr, limits: &EdgeLimits) -> Option<Permit> {
        let open = self.open.fetch_add(1, Relaxed) + 1;
        let mut permit = Permit { admission: self.clone(), counted: None };
        if limits.connections.is_some_and(|limit| open > limit) {
            self.shed.fetch_add(1, Relaxed);
            return None;
        }
        let ip = ip.to_canonical();
        if let Some(limit) = limits.connections_per_ip
            && (limits.connections_per_ip_on_loopback || !ip.is_loopback())
        {
            let network = network_of(ip);
            let mut by_ip = self.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
            let count = by_ip.entry(network).or_default();
            if *count >= limit {
                drop(by_ip);
                self.shed.fetch_add(1, Relaxed);
                return None;
            }
            *count += 1;
            permit.counted = Some(network);
        }
        self.accepted.fetch_add(1, Relaxed);
        Some(permit)
    }

    pub(crate) fn stats(&self) -> EdgeStats {
        EdgeStats {
            open: self.open.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            shed: self.shed.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
            refused_requests: self.refused_requests.load(Relaxed),
            overloaded_requests: self.overloaded_requests.load(Relaxed),
        }
    }
}

/// Whoever has one IPv6 address has the 2⁶⁴ of its network.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Relaxed);
        if let Some(ip) = self.counted {
            let mut by_ip = self.admission.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = by_ip.get_mut(&ip) {
                *count -= 1;
                if *count == 0 {
                    by_ip.remove(&ip);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_given_back() {
        let admission = Arc::new(Admission::default());
        let limits = EdgeLimits {
            connections: Some(3),
            connections_per_ip: Some(2),
            ..EdgeLimits::server()
        };
        let first = admission.admit(ip("192.0.2.1"), &limits).unwrap();
        let second = admission.admit(ip("::ffff:192.0.2.1"), &limits).unwrap();
        assert!(admission.admit(ip("192.0.2.1"), &limits).is_none());
        let third = admission.admit(ip("192.0.2.2"), &limits).unwrap();
        assert!(admission.admit(ip("192.0.2.3"), &limits).is_none());
        drop(first);
        let fourth = admission.admit(ip("192.0.2.1"), &limits).unwrap();
        let stats = admission.stats();
        assert_eq!((stats.open, stats.accepted, stats.shed), (3, 4, 2));
        drop((second, third, fourth));
        assert_eq!(admission.stats().open, 0);
        assert!(admission.by_ip.lock().unwrap().is_empty());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_and_this_machine_does_not_count() {
        let admission = Arc::new(Admission::default());
        let limits = EdgeLimits { connections_per_ip: Some(1), ..EdgeLimits::server() };
        let _first = admission.admit(ip("2001:db8::1"), &limits).unwrap();
        assert!(admission.admit(ip("2001:db8::ffff:2"), &limits).is_none());
        let _other = admission.admit(ip("2001:db8:0:1::1"), &limits).unwrap();
        let _here = [(); 3].map(|()| admission.admit(ip("127.0.0.1"), &limits).unwrap());
    }
}
