//! Adds up what the runners said about their tests.

use std::ops::AddAssign;

/// Counts over one or more runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl Summary {
    /// A runner's closing line, if this is one: nextest's `Summary […] N tests run: …` or the standard
    /// harness's `test result: …`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let line = without_colours(line);
        if let Some((_, counts)) = line.split_once("run: ")
            && line.trim_start().starts_with("Summary")
        {
            return Some(Self::add_up(counts.split(',')));
        }
        let counts = line.trim_start().strip_prefix("test result: ")?;
        Some(Self::add_up(counts.split_once(". ")?.1.split(';')))
    }

    fn add_up<'a>(counts: impl Iterator<Item = &'a str>) -> Self {
        let mut sum = Self::default();
        for count in counts {
            let mut words = count.split_whitespace();
            let Some(number) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
                continue;
            };
            match words.next() {
                Some("passed") => sum.passed += number,
                Some("failed" | "timed" | "exec") => sum.failed += number,
                Some("skipped" | "ignored") => sum.skipped += number,
                _ => {}
            }
        }
        sum
    }
}

/// Without escape sequences.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            characters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: u64, failed: u64, skipped: u64) -> Summary {
        Summary { passed, failed, skipped }
    }

    #[test]
    fn a_nextest_summary_is_read() {
        let line = "     Summary [   0.005s] 12 tests run: 8 passed (2 slow), 3 failed, 1 timed out, 4 skipped";
        assert_eq!(Summary::parse(line).unwrap(), counts(8, 4, 4));
        let line = "     Summary [   0.005s] 5/9 tests run: 5 passed, 0 skipped";
        assert_eq!(Summary::parse(line).unwrap(), counts(5, 0, 0));
    }

    #[test]
    fn colours_do_not_matter() {
        let line = "\x1b[32;1m     Summary\x1b[0m [   0.1s] \x1b[1m1\x1b[0m test run: \x1b[1m1\x1b[0m \x1b[32mpassed\x1b[0m, \x1b[1m0\x1b[0m skipped";
        assert_eq!(Summary::parse(line).unwrap(), counts(1, 0, 0));
    }

    #[test]
    fn a_line_of_the_standard_harness_is_read() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 5 filtered out; finished in 0.00s";
        assert_eq!(Summary::parse(line).unwrap(), counts(3, 1, 2));
    }

    #[test]
    fn other_lines_are_not_counted() {
        assert_eq!(Summary::parse("  Compiling gyre v0.1.0"), None);
        assert_eq!(Summary::parse("7 passed, 2 failed"), None);
    }
}
