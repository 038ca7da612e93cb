//! What is to be reached, and whether it was.

use serde::{Serialize, Serializer};

use crate::table::Table;

/// A measure, and what it has to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What is measured.
    pub measure: String,
    /// What it has to be.
    pub bound: Bound,
    /// What the number counts, written after it: `× bare hyper`, `ms`.
    pub unit: &'static str,
    /// What it is, or why nobody knows.
    pub measured: Result<f64, String>,
}

/// What a measure has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// Anything: it is to be known.
    Known,
}

/// Whether a bar was reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// It was.
    Reached,
    /// It was not; by this share of what it has to be.
    MissedBy(f64),
    /// There is no bar.
    Known,
    /// It was not measured.
    Unknown,
}

impl Bar {
    /// Whether it was reached.
    pub fn verdict(&self) -> Verdict {
        let Ok(measured) = self.measured else { return Verdict::Unknown };
        match self.bound {
            Bound::Known => Verdict::Known,
            Bound::AtLeast(bound) if measured >= bound => Verdict::Reached,
            Bound::AtMost(bound) if measured <= bound => Verdict::Reached,
            Bound::AtLeast(bound) => Verdict::MissedBy((bound - measured) / bound),
            Bound::AtMost(bound) => Verdict::MissedBy((measured - bound) / bound),
        }
    }

    fn row(&self) -> [String; 4] {
        let unit = self.unit;
        let bound = match self.bound {
            Bound::AtLeast(bound) => format!("≥ {bound} {unit}"),
            Bound::AtMost(bound) => format!("≤ {bound} {unit}"),
            Bound::Known => "reported".to_owned(),
        };
        let measured = match &self.measured {
            Ok(measured) => format!("{} {unit}", figures(*measured)),
            Err(_) => "–".to_owned(),
        };
        let verdict = match (self.verdict(), &self.measured) {
            (_, Err(reason)) => format!("not measured: {reason}"),
            (Verdict::Reached, _) => "reached".to_owned(),
            (Verdict::MissedBy(share), _) if share >= 1.0 => {
                format!("missed: {} times the bar", figures(share + 1.0))
            }
            (Verdict::MissedBy(share), _) => format!("missed by {:.0} %", (share * 100.0).ceil()),
            (Verdict::Known | Verdict::Unknown, _) => "–".to_owned(),
        };
        [self.measure.clone(), bound, measured, verdict]
    }
}

impl Serialize for Bar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            measure: &'a str,
            bar: &'a str,
            measured: Option<f64>,
            unit: &'static str,
            verdict: &'a str,
        }
        let [measure, bar, _, verdict] = &self.row();
        let measured = self.measured.as_ref().ok().copied();
        Written { measure, bar, measured, unit: self.unit, verdict }.serialize(serializer)
    }
}

/// Three figures of a number, where it has as many.
pub(crate) fn figures(number: f64) -> String {
    match number.abs() {
        ..10.0 => format!("{number:.2}"),
        ..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// All of them: measure, bar, measured, verdict.
pub fn table<'a>(bars: impl IntoIterator<Item = &'a Bar>) -> Table {
    let mut table = Table::new(["measure", "bar", "measured", ""]);
    for bar in bars {
        table.add(bar.row());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(bound: Bound, measured: Result<f64, String>) -> Bar {
        Bar { measure: "hello".into(), bound, unit: "× bare hyper", measured }
    }

    #[test]
    fn a_bar_is_reached_from_the_right_side() {
        assert_eq!(bar(Bound::AtLeast(0.5), Ok(0.5)).verdict(), Verdict::Reached);
        assert_eq!(bar(Bound::AtLeast(0.5), Ok(0.25)).verdict(), Verdict::MissedBy(0.5));
        assert_eq!(bar(Bound::AtMost(2.0), Ok(2.0)).verdict(), Verdict::Reached);
        assert_eq!(bar(Bound::AtMost(2.0), Ok(3.0)).verdict(), Verdict::MissedBy(0.5));
        assert_eq!(bar(Bound::Known, Ok(3.0)).verdict(), Verdict::Known);
        assert_eq!(bar(Bound::AtLeast(1.0), Err("no".into())).verdict(), Verdict::Unknown);
    }

    #[test]
    fn the_table_says_by_how_much_and_why_not() {
        let bars = [
            bar(Bound::AtLeast(0.33), Ok(0.3)),
            bar(Bound::AtMost(5.0), Ok(12.34)),
            bar(Bound::AtMost(5.0), Ok(4.0)),
            bar(Bound::Known, Ok(170_000.4)),
            bar(Bound::AtLeast(8.0), Err("SPIN_BIN does not name one".into())),
        ];
        let text = table(&bars).to_string();
        let lines: Vec<Vec<&str>> =
            text.lines().skip(2).map(|line| line.split('|').map(str::trim).collect()).collect();
        assert_eq!(
            lines[0][1..5],
            ["hello", "≥ 0.33 × bare hyper", "0.30 × bare hyper", "missed by 10 %"]
        );
        assert_eq!(lines[1][3..5], ["12.3 × bare hyper", "missed: 2.47 times the bar"]);
        assert_eq!(lines[2][4], "reached");
        assert_eq!(lines[3][2..5], ["reported", "170000 × bare hyper", "–"]);
        let json = serde_json::to_value(&bars[0]).unwrap();
        assert_eq!(json["measured"], 0.3);
        assert_eq!(
            (&json["bar"], &json["verdict"]),
            (&"≥ 0.33 × bare hyper".into(), &"missed by 10 %".into())
        );
        assert!(serde_json::to_value(&bars[4]).unwrap()["measured"].is_null());
        assert_eq!(lines[4][3..5], ["–", "not measured: SPIN_BIN does not name one"]);
    }
}
