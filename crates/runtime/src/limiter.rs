//! Holds an instance to its memory and its structure, and notes what it was denied so that a trap can be
//! explained.

use std::sync::Arc;

use gyre_model::Limits;
use wasmtime::ResourceLimiter;

use crate::call::{CallState, Denied};

/// Core instances that one component may have: as many as Spin allows.
pub(crate) const CORE_INSTANCES: u32 = 200;
/// Tables of one component.
pub(crate) const TABLES: u32 = 64;
/// Linear memories of one component.
pub(crate) const MEMORIES: u32 = 32;
/// Elements of one table.
pub(crate) const TABLE_ELEMENTS: u32 = 100_000;

/// Counts the linear memories of one instance together.
pub(crate) struct MemoryLimiter {
    limit: u64,
    table_limit: usize,
    used: u64,
    /// What the latest growth added, should it turn out to have failed.
    latest: u64,
    state: Arc<CallState>,
}

impl MemoryLimiter {
    pub(crate) fn new(limits: &Limits, state: Arc<CallState>) -> Self {
        Self {
            limit: limits.memory_bytes.unwrap_or(u64::MAX),
            table_limit: limits.table_elements.unwrap_or(TABLE_ELEMENTS) as usize,
            used: 0,
            latest: 0,
            state,
        }
    }

    /// Bytes of its linear memories.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// From now on denials are noted there.
    pub(crate) fn note_in(&mut self, state: Arc<CallState>) {
        self.state = state;
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let added = desired.saturating_sub(current) as u64;
        let total = self.used.saturating_add(added);
        if total > self.limit {
            self.state.deny(Denied::Memory(self.limit));
            return Ok(false);
        }
        self.used = total;
        self.latest = added;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.used -= std::mem::take(&mut self.latest);
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let is_allowed = desired <= self.table_limit;
        if !is_allowed {
            self.state.deny(Denied::Table(self.table_limit));
        }
        Ok(is_allowed)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(bytes: u64) -> MemoryLimiter {
        let limits = Limits { memory_bytes: Some(bytes), ..Limits::unlimited() };
        MemoryLimiter::new(&limits, Arc::new(CallState::new()))
    }

    #[test]
    fn memories_are_counted_together_and_a_denial_is_noted() {
        let mut limiter = limiter(1 << 20);
        assert!(limiter.memory_growing(0, 600 << 10, None).unwrap());
        assert!(!limiter.memory_growing(0, 600 << 10, None).unwrap());
        assert_eq!(limiter.state.denied().unwrap().to_string(), "memory limit of 1 MiB reached");
        assert!(limiter.memory_growing(600 << 10, 1 << 20, None).unwrap());
        assert!(!limiter.memory_growing(1 << 20, (1 << 20) + 1, None).unwrap());
    }

    #[test]
    fn a_growth_that_fails_later_is_given_back() {
        let mut limiter = limiter(1 << 20);
        assert!(limiter.memory_growing(0, 1 << 20, None).unwrap());
        limiter.memory_grow_failed(wasmtime::format_err!("no memory")).unwrap();
        assert!(limiter.memory_growing(0, 1 << 20, None).unwrap());
        assert_eq!(limiter.state.denied(), None);
    }
}
