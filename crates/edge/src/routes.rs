//! Which host leads to what: an immutable table behind one atomic pointer.
//!
//! A request reads the table once, so it is served wholly by one state of the world; a swap is one store.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use crate::{Host, HostError};

/// The table in force. Readers never wait; whoever publishes stores a whole new table.
pub type Routes<T> = ArcSwap<RoutingTable<T>>;

/// Hosts and what each leads to.
#[derive(Debug, Clone)]
pub struct RoutingTable<T> {
    hosts: HashMap<Box<str>, Arc<T>>,
    local: Option<Arc<T>>,
    fallback: Option<Arc<T>>,
}

impl<T> Default for RoutingTable<T> {
    fn default() -> Self {
        Self { hosts: HashMap::new(), local: None, fallback: None }
    }
}

impl<T> RoutingTable<T> {
    /// A table in which no host leads anywhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty table with room for `hosts`.
    pub fn with_capacity(hosts: usize) -> Self {
        Self { hosts: HashMap::with_capacity(hosts), local: None, fallback: None }
    }

    /// A table in which every host leads to `target`: what `gyre up` uses.
    pub fn single(target: Arc<T>) -> Self {
        Self { hosts: HashMap::new(), local: None, fallback: Some(target) }
    }

    /// Lets `host` (any spelling of it; a port is ignored) lead to `target`; returns what it led to before.
    pub fn insert(&mut self, host: &str, target: Arc<T>) -> Result<Option<Arc<T>>, HostError> {
        let host = Host::parse(host)?;
        Ok(self.hosts.insert(host.name().into(), target))
    }

    /// Lets addresses and `localhost` lead to `target` where the client reached us by a loopback address.
    pub fn set_local(&mut self, target: Arc<T>) {
        self.local = Some(target);
    }

    /// Lets every host that is not in the table lead to `target`.
    pub fn set_fallback(&mut self, target: Arc<T>) {
        self.fallback = Some(target);
    }

    /// What `host` leads to, for a client that reached us by a loopback address or not.
    pub fn find(&self, host: &Host, on_loopback: bool) -> Option<&Arc<T>> {
        self.hosts
            .get(host.name())
            .or_else(|| self.local.as_ref().filter(|_| on_loopback && host.is_local()))
            .or(self.fallback.as_ref())
    }

    /// How many hosts are in the table.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether no host is in the table.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<T: Copy>(table: &RoutingTable<T>, host: &str, on_loopback: bool) -> Option<T> {
        table.find(&Host::parse(host).unwrap(), on_loopback).map(|target| **target)
    }

    #[test]
    fn any_spelling_of_a_host_finds_its_line() {
        let mut table = RoutingTable::with_capacity(1);
        assert!(table.insert("Hello.Example.", Arc::new(1)).unwrap().is_none());
        assert_eq!(find(&table, "hello.example:8000", false), Some(1));
        assert_eq!(find(&table, "HELLO.EXAMPLE", false), Some(1));
        assert_eq!(find(&table, "other.example", true), None);
        assert_eq!(table.insert("hello.example", Arc::new(2)).unwrap().as_deref(), Some(&1));
        assert_eq!(table.len(), 1);
        assert!(table.insert("not a host", Arc::new(3)).is_err());
    }

    #[test]
    fn addresses_lead_to_the_local_target_on_loopback_only() {
        let mut table = RoutingTable::new();
        table.set_local(Arc::new(1));
        assert_eq!(find(&table, "127.0.0.1:8000", true), Some(1));
        assert_eq!(find(&table, "[::1]", true), Some(1));
        assert_eq!(find(&table, "localhost", true), Some(1));
        assert_eq!(find(&table, "localhost", false), None);
        assert_eq!(find(&table, "127.1", true), None);
        table.set_fallback(Arc::new(2));
        assert_eq!(find(&table, "127.1", true), Some(2));
        assert_eq!(find(&RoutingTable::single(Arc::new(3)), "anything", false), Some(3));
    }
}
