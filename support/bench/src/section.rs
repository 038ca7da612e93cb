//! What came of one case: a table, its raw figures and its bars.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use crate::{
    bars::{Bar, Bound},
    compare::{Comparison, Metric},
    servers::Missing,
    table::Table,
};

/// What came of one case.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Section {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What it measures.
    pub title: &'static str,
    /// What has to be known to read the table.
    pub notes: Vec<String>,
    /// The figures.
    pub table: Table,
    /// What was measured, with all rounds.
    pub compared: Comparison,
    /// Single measurements that are no rounds, in milliseconds, with their names.
    pub samples: Vec<(&'static str, Vec<f64>)>,
    /// What is to be reached.
    pub bars: Vec<Bar>,
    /// Why the case could not be measured.
    pub failure: Option<String>,
}

impl Section {
    /// One of lanes that were measured in turn.
    pub(crate) fn of(compared: Comparison, metric: Metric, bars: Vec<Bar>) -> Self {
        Self { table: compared.table(metric), compared, bars, ..Self::default() }
    }

    /// One of a case that could not be measured. Its bars are unknown, which the table of bars says.
    pub(crate) fn failed(title: &str, failure: String) -> Self {
        let bar = Bar {
            measure: title.to_owned(),
            bound: Bound::Known,
            unit: "",
            measured: Err(failure.clone()),
        };
        Self { bars: vec![bar], failure: Some(failure), ..Self::default() }
    }

    /// Adds what has to be known to read the table.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Whether it was measured and no request failed.
    pub fn is_clean(&self) -> bool {
        self.failure.is_none() && self.compared.failed() == 0
    }

    /// The rates of all rounds.
    pub(crate) fn rounds(&self) -> Table {
        let count = self.compared.lanes.iter().map(|lane| lane.rounds.len()).max().unwrap_or(0);
        let heading = (1..=count).map(|number| number.to_string());
        let mut table = Table::new(
            std::iter::once("requests/s, p99 ms".to_owned()).chain(heading).collect::<Vec<_>>(),
        );
        for lane in &self.compared.lanes {
            let rounds = lane.rounds.iter().map(|round| {
                format!("{:.0}, {:.2}", round.load.requests_per_second, round.load.p99_ms)
            });
            table.add(std::iter::once(lane.name.clone()).chain(rounds).collect::<Vec<_>>());
        }
        table
    }
}

impl Section {
    /// What it says, one string for each paragraph or table.
    pub(crate) fn paragraphs(&self) -> Vec<String> {
        let mut paragraphs = self.notes.clone();
        if !self.table.is_empty() {
            paragraphs.push(self.table.to_string());
        }
        for Missing { name, reason } in &self.compared.missing {
            paragraphs.push(format!("Not measured: {name}: {reason}."));
        }
        for lane in &self.compared.lanes {
            let failures: BTreeSet<&String> =
                lane.rounds.iter().flat_map(|round| &round.failures).collect();
            let failures = failures.into_iter().take(3);
            let told = failures.map(|failure| format!("Failed: {}: {failure}.", lane.name));
            paragraphs.extend(told);
        }
        let failure = self.failure.as_ref();
        paragraphs.extend(failure.map(|failure| format!("**Failed**: {failure}.")));
        paragraphs
    }
}

/// A text of paragraphs.
pub(crate) fn joined(paragraphs: &[String]) -> String {
    let paragraphs: Vec<&str> = paragraphs.iter().map(|paragraph| paragraph.trim_end()).collect();
    paragraphs.join("\n\n") + "\n"
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&joined(&self.paragraphs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::lane;

    #[test]
    fn a_section_shows_its_figures_and_who_is_missing() {
        let missing =
            Missing { name: "spin up".into(), reason: "SPIN_BIN does not name one".into() };
        let lanes = vec![lane("bare hyper", &[10.0, 20.0], 0)];
        let section =
            Section::of(Comparison { lanes, missing: vec![missing] }, Metric::Rate, vec![]);
        assert!(section.is_clean());
        let text = section.clone().note("Twice.").to_string();
        assert!(text.starts_with("Twice.\n\n|"), "{text}");
        assert!(
            text.contains("\n\nNot measured: spin up: SPIN_BIN does not name one.\n"),
            "{text}"
        );
        let rounds = section.rounds().to_string();
        assert!(rounds.ends_with("| bare hyper         | 10, 2.00 | 20, 2.00 |\n"), "{rounds}");
        let failed = Section { failure: Some("no guest".into()), ..section };
        assert!(!failed.is_clean() && failed.to_string().contains("**Failed**: no guest."));
    }
}
