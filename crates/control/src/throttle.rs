//! Token buckets: how often somebody may try.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::Mutex,
    time::Duration,
};

use jiff::Timestamp;

/// Keys that are remembered at once. Beyond, full buckets are forgotten first, then any: forgetting is to the caller's
/// advantage, so nobody is locked out by others.
const KEYS: usize = 50_000;

/// A rate, per key.
#[derive(Debug)]
pub(crate) struct Throttle<K> {
    burst: f64,
    per_second: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

impl<K: Eq + Hash> Throttle<K> {
    /// `burst` at once, and `per_minute` over time.
    pub(crate) fn new(burst: u32, per_minute: u32) -> Self {
        Self {
            burst: f64::from(burst),
            per_second: f64::from(per_minute) / 60.0,
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Takes one, or says how long to wait for the next.
    pub(crate) fn take(&self, key: K, now: Timestamp) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if buckets.len() >= KEYS && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| self.filled(*bucket, now) < self.burst);
            if buckets.len() >= KEYS {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { tokens: self.burst, at: now });
        let tokens = self.filled(*bucket, now);
        let taken = if tokens >= 1.0 { tokens - 1.0 } else { tokens };
        *bucket = Bucket { tokens: taken, at: now };
        if tokens >= 1.0 {
            return Ok(());
        }
        Err(Duration::from_secs_f64(((1.0 - tokens) / self.per_second).ceil()))
    }

    fn filled(&self, bucket: Bucket, now: Timestamp) -> f64 {
        let seconds = now.duration_since(bucket.at).as_secs_f64().max(0.0);
        (bucket.tokens + seconds * self.per_second).min(self.burst)
    }
}

/// What an address counts as: itself, or its /64, since those who have one IPv6 address have the whole network.
pub(crate) fn network(address: Option<IpAddr>) -> IpAddr {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(v6)) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        Some(v4) => v4,
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let throttle = Throttle::new(3, 6);
        for _ in 0..3 {
            throttle.take("a", at(0)).unwrap();
        }
        assert_eq!(throttle.take("a", at(0)), Err(Duration::from_secs(10)));
        assert_eq!(throttle.take("b", at(0)), Ok(()));
        assert_eq!(throttle.take("a", at(9)), Err(Duration::from_secs(1)));
        assert_eq!(throttle.take("a", at(10)), Ok(()));
        assert!(throttle.take("a", at(10)).is_err());
        // A clock that goes back gives nothing away.
        assert!(throttle.take("a", at(5)).is_err());
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let throttle = Throttle::new(1, 1);
        for key in 0..KEYS + 10 {
            throttle.take(key, at(0)).unwrap();
        }
        assert!(throttle.buckets.lock().unwrap().len() <= KEYS);
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let ip = |text: &str| network(Some(text.parse().unwrap()));
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff:1"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
        assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"));
    }
}
