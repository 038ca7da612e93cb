//! How often, how much at once and how long an instance is used that may answer several requests: one of
//! WASI 0.3, whose world allows for it. Flags and defaults are Spin's.

use std::{fmt::Display, str::FromStr, time::Duration};

use rand::{Rng as _, distr::uniform::SampleUniform};

/// A value, or bounds within which each instance gets one of its own, so that not all of them end at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range<T> {
    low: T,
    /// Not included, unless it is `low`.
    high: T,
}

impl<T: Copy + PartialOrd + SampleUniform> Range<T> {
    /// Always that value.
    pub const fn value(value: T) -> Self {
        Self { low: value, high: value }
    }

    /// One of the range's values.
    pub(crate) fn sample(&self) -> T {
        if self.low == self.high {
            return self.low;
        }
        rand::rng().random_range(self.low..self.high)
    }
}

/// Why a text is no [`Range`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// A part of it is no value.
    #[error("expected a value or a range such as 1..8, got {text:?}: {reason}")]
    Value {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing lies between its bounds.
    #[error("the range {0:?} is empty: its end is to be greater than its start")]
    Empty(String),
}

impl<T: Copy + PartialOrd> Range<T> {
    /// Reads `value` or `low..high`.
    ///
    /// # Errors
    /// A part is not what `read` takes, or the range is empty.
    fn parse<E: Display>(
        text: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Self, RangeError> {
        let read = |part: &str| {
            let reason = |error: E| error.to_string();
            read(part)
                .map_err(|error| RangeError::Value { text: text.to_owned(), reason: reason(error) })
        };
        let Some((low, high)) = text.split_once("..") else {
            let value = read(text)?;
            return Ok(Self { low: value, high: value });
        };
        let (low, high) = (read(low)?, read(high)?);
        if low < high { Ok(Self { low, high }) } else { Err(RangeError::Empty(text.to_owned())) }
    }
}

impl FromStr for Range<u32> {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        Self::parse(text, u32::from_str)
    }
}

impl FromStr for Range<Duration> {
    type Err = RangeError;

    /// Durations are numbers with `s`, `ms`, `us` or `ns` behind them; without any, seconds.
    fn from_str(text: &str) -> Result<Self, RangeError> {
        Self::parse(text, duration)
    }
}

fn duration(text: &str) -> Result<Duration, std::num::ParseIntError> {
    type Unit = (&'static str, fn(u64) -> Duration);
    let of: [Unit; 5] = [
        ("ms", Duration::from_millis),
        ("us", Duration::from_micros),
        ("μs", Duration::from_micros),
        ("ns", Duration::from_nanos),
        ("s", Duration::from_secs),
    ];
    for (unit, duration) in of {
        if let Some(number) = text.strip_suffix(unit) {
            return number.parse().map(duration);
        }
    }
    text.parse().map(Duration::from_secs)
}

/// How instances of WASI 0.3 are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReuseConfig {
    /// Requests that an instance answers before it is let go of. 0 counts as 1.
    pub requests: Range<u32>,
    /// Requests that it answers at once. 0 counts as 1.
    pub concurrent: Range<u32>,
    /// How long it is kept while there is none for it, up to a tenth of a second longer.
    pub idle_time: Range<Duration>,
    /// Time until a response's head, beside the app's limits.
    pub request_time: Option<Range<Duration>>,
}

impl Default for ReuseConfig {
    fn default() -> Self {
        Self {
            requests: Range::value(128),
            concurrent: Range::value(16),
            idle_time: Range::value(Duration::from_secs(1)),
            request_time: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_ranges_are_read_as_spin_reads_them() {
        let count = |text: &str| text.parse::<Range<u32>>();
        assert_eq!(count("8"), Ok(Range::value(8)));
        assert_eq!(count("1..8"), Ok(Range { low: 1, high: 8 }));
        for _ in 0..100 {
            assert!((1..8).contains(&count("1..8").unwrap().sample()));
        }
        assert!(matches!(count("8..1"), Err(RangeError::Empty(_))));
        assert!(matches!(count("8..8"), Err(RangeError::Empty(_))));
        assert!(matches!(count("many"), Err(RangeError::Value { .. })));
        assert!(matches!(count("1.."), Err(RangeError::Value { .. })));

        let time = |text: &str| text.parse::<Range<Duration>>();
        for (text, expected) in [
            ("3", Duration::from_secs(3)),
            ("3s", Duration::from_secs(3)),
            ("3ms", Duration::from_millis(3)),
            ("3us", Duration::from_micros(3)),
            ("3ns", Duration::from_nanos(3)),
        ] {
            assert_eq!(time(text), Ok(Range::value(expected)), "{text}");
        }
        let between = Range { low: Duration::from_millis(500), high: Duration::from_secs(2) };
        assert_eq!(time("500ms..2s"), Ok(between));
        assert!(matches!(time("3m"), Err(RangeError::Value { .. })));
    }
}
