//! Durations in buckets that grow with them: within 1 % of the truth at any size, a fixed 58 KiB whatever is recorded.

use std::time::Duration;

/// Buckets per power of two, as a power of two.
const PRECISION: u32 = 7;
const LINEAR: u64 = 1 << PRECISION;

/// Counts durations, in nanoseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self { counts: vec![0; index(u64::MAX) + 1], total: 0, max: 0 }
    }

    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[index(nanoseconds)] += 1;
        self.total += 1;
        self.max = self.max.max(nanoseconds);
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether none was counted.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The longest, exactly.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// What `share` (0 to 1) of them do not exceed: 0.5 is the median, 0.99 the p99. Zero if there are none.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(highest(index).min(self.max));
            }
        }
        Duration::ZERO
    }
}

/// The bucket of a value.
fn index(value: u64) -> usize {
    if value < LINEAR {
        return value as usize;
    }
    let shift = value.ilog2() - PRECISION;
    ((u64::from(shift) + 1) * LINEAR + (value >> shift) - LINEAR) as usize
}

/// The highest value of a bucket.
fn highest(index: usize) -> u64 {
    let index = index as u64;
    if index < LINEAR {
        return index;
    }
    let shift = index / LINEAR - 1;
    let lowest = (index % LINEAR + LINEAR) << shift;
    lowest + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_the_bucket_that_holds_it() {
        let mut values: Vec<u64> = (0..2000).collect();
        values.extend((11..64).flat_map(|power| {
            let value = 1_u64 << power;
            [value - 1, value, value + 1, value + value / 3]
        }));
        values.push(u64::MAX);
        for value in values {
            let index = index(value);
            assert!(highest(index) >= value, "{value}");
            assert!(index == 0 || highest(index - 1) < value, "{value}");
            assert!((highest(index) - value) as f64 <= value as f64 / 100.0, "{value}");
        }
    }

    #[test]
    fn quantiles_are_what_they_are_called() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        let mut other = Histogram::new();
        for microseconds in 1..=500 {
            histogram.record(Duration::from_micros(microseconds));
            other.record(Duration::from_micros(500 + microseconds));
        }
        histogram.add(&other);
        assert_eq!(histogram.len(), 1000);
        for (share, microseconds) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = histogram.quantile(share).as_secs_f64() * 1e6;
            assert!((found - microseconds).abs() <= microseconds / 100.0, "{share}: {found}");
        }
        assert_eq!(histogram.quantile(1.0), Duration::from_millis(1));
        assert_eq!(histogram.max(), Duration::from_millis(1));
    }
}
