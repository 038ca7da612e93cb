//! `bench full`: all cases in turn, and what is to be reached.

use std::fmt;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::{
    bars::{self, Bar},
    cases::{self, CASES, Case},
    compare::{Bench, Settings},
    machine::Machine,
    section::{Section, joined},
    tools::{Tools, Version},
};

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What it was taken on.
    pub machine: Machine,
    /// What was measured.
    pub versions: Vec<Version>,
    /// How.
    pub settings: Settings,
    /// The cases.
    pub sections: Vec<Section>,
    /// Bars that no case measures.
    pub unmeasured: Vec<Bar>,
}

/// Measures all cases, or those that are named; `progress` is told what is being done. A case that fails is told in the
/// report, and the others are measured all the same.
pub fn run(
    tools: &Tools,
    settings: &Settings,
    only: &[String],
    progress: &dyn Fn(&str),
) -> Result<Report> {
    let chosen = choose(only)?;
    tools.gyre().map_err(anyhow::Error::msg)?;
    let mut sections = Vec::new();
    for Case { name, title, measure } in chosen {
        progress(&format!("{name}: {title}"));
        let folder = tempfile::tempdir().context("no folder for servers")?;
        let bench = Bench { tools, settings, folder: folder.path(), progress };
        let section = measure(&bench).unwrap_or_else(|error| {
            let failure = format!("{error:#}");
            progress(&format!("{name} failed: {failure}"));
            Section::failed(title, failure)
        });
        sections.push(Section { name, title, ..section });
    }
    let unmeasured = if only.is_empty() { cases::unmeasured() } else { Vec::new() };
    Ok(Report {
        machine: Machine::this(),
        versions: tools.versions(),
        settings: settings.clone(),
        sections,
        unmeasured,
    })
}

/// The cases of these names; all, if there are none.
fn choose(only: &[String]) -> Result<Vec<&'static Case>> {
    if let Some(unknown) = only.iter().find(|only| CASES.iter().all(|case| case.name != **only)) {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        bail!("there is no case {unknown:?}; there are {}", names.join(", "));
    }
    let is_chosen = |case: &&Case| only.is_empty() || only.iter().any(|only| case.name == *only);
    Ok(CASES.iter().filter(is_chosen).collect())
}

impl Report {
    /// Whether everything was measured and no request failed. Bars may have been missed.
    pub fn is_clean(&self) -> bool {
        self.sections.iter().all(Section::is_clean)
    }

    /// What is to be reached.
    pub fn bars(&self) -> impl Iterator<Item = &Bar> {
        self.sections.iter().flat_map(|section| &section.bars).chain(&self.unmeasured)
    }

    fn conditions(&self) -> String {
        let Settings { connections, duration, warm_up, rounds, starts: _ } = &self.settings;
        format!(
            "{connections} connections kept alive; medians of {rounds} rounds of {} s, each with a server that was \
             started for it and warmed up for {} s, all lanes of a case in turn; load generator on the same machine. \
             Every answer's status and body is checked.",
            duration.as_secs_f64(),
            warm_up.as_secs_f64()
        )
    }

    /// The page that is kept: docs/reference/figures.md.
    pub fn markdown(&self) -> String {
        let facts = [self.machine.to_string()].into_iter();
        let facts = facts.chain(self.versions.iter().map(|version| version.version.clone()));
        let facts = facts.chain([self.conditions()]).map(|fact| format!("- {fact}"));
        let mut page = vec![
            "# Figures".to_owned(),
            "Written by `cargo xtask bench full --markdown docs/reference/figures.md`; \
             [how it measures](benchmarks.md)."
                .to_owned(),
            facts.collect::<Vec<_>>().join("\n"),
            "## What is to be reached".to_owned(),
            bars::table(self.bars()).to_string(),
        ];
        for section in &self.sections {
            page.push(format!("## {}", section.title));
            page.extend(section.paragraphs());
            if !section.compared.lanes.is_empty() {
                page.push("All rounds:".to_owned());
                page.push(section.rounds().to_string());
            }
        }
        joined(&page)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        for Version { version, .. } in &self.versions {
            writeln!(f, "{version}")?;
        }
        writeln!(f, "{}\n", self.conditions())?;
        for section in &self.sections {
            writeln!(f, "{} ({})\n\n{section}", section.title, section.name)?;
        }
        write!(f, "{}", bars::table(self.bars()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        bars::Bound,
        compare::{Comparison, Metric, tests::lane},
    };

    #[test]
    fn cases_are_chosen_by_name() {
        let names = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|only| (*only).to_owned()).collect();
            choose(&only).map(|cases| cases.iter().map(|case| case.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap().len(), CASES.len());
        assert_eq!(names(&["wagi", "hello"]).unwrap(), ["hello", "wagi"]);
        let error = names(&["hallo"]).unwrap_err().to_string();
        assert!(error.contains("\"hallo\"") && error.contains("hello-0.3"), "{error}");
    }

    #[test]
    fn the_page_has_the_machine_the_bars_and_all_rounds() {
        let compared = Comparison {
            lanes: vec![lane("bare hyper", &[100.0], 0), lane("gyre server", &[40.0], 0)],
            missing: Vec::new(),
        };
        let bar = Bar {
            measure: "hello".into(),
            bound: Bound::AtLeast(0.33),
            unit: "× bare hyper",
            measured: compared.ratio(Metric::Rate, "gyre server", "bare hyper"),
        };
        let section = Section { title: "Hello", ..Section::of(compared, Metric::Rate, vec![bar]) };
        let broken = Section::failed("Hello again", "no guest".into());
        let report = |sections| Report {
            machine: Machine::this(),
            versions: vec![Version { program: "gyre", version: "gyre 1.2.3".into() }],
            settings: Settings {
                connections: 32,
                duration: Duration::from_secs(5),
                warm_up: Duration::from_secs(1),
                rounds: 1,
                starts: 50,
            },
            sections,
            unmeasured: cases::unmeasured(),
        };
        let clean = report(vec![section.clone()]);
        assert!(clean.is_clean());
        let page = clean.markdown();
        assert!(page.contains("\n- gyre 1.2.3\n- 32 connections"), "{page}");
        assert!(page.contains(" ≥ 0.33 × bare hyper |"), "{page}");
        assert!(page.contains(" 0.40 × bare hyper |"), "{page}");
        assert!(page.contains("no case of this program does it"), "{page}");
        assert!(page.contains("\n## Hello\n\n|") && page.contains(" 40, 2.00 |\n"), "{page}");
        assert!(page.ends_with("|\n") && !page.contains("\n\n\n"), "{page}");
        let broken = report(vec![section, broken]);
        assert!(!broken.is_clean());
        let page = broken.markdown();
        assert!(
            page.contains("| Hello again ") && page.contains("not measured: no guest"),
            "{page}"
        );
    }
}
