//! `bench http`: Gyre, a bare hyper server and the peers that are there, in turn, on the same component and load.

use std::{fmt, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    load::{self, Answer, Summary},
    machine::Machine,
    process::Question,
    servers::{self, Contender, Missing},
};

/// What is measured, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `gyre` binary.
    pub gyre: PathBuf,
    /// The binary that has `hello-hyper`: this crate's.
    pub bench: PathBuf,
    /// A component that answers any GET with 200, by `wasi:http` 0.2.
    pub component: PathBuf,
    /// Where `cargo xtask peers` installs them.
    pub peers: PathBuf,
    /// A `spin` binary.
    pub spin: Option<PathBuf>,
    /// Connections, kept alive.
    pub connections: usize,
    /// How long each measurement takes.
    pub duration: Duration,
    /// How long each server is warmed up before.
    pub warm_up: Duration,
    /// Measurements of each server; medians are shown.
    pub rounds: usize,
    /// Only servers whose names contain one of these. Empty: all.
    pub only: Vec<String>,
}

/// The measurements.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What they were taken on.
    pub machine: Machine,
    /// Connections, kept alive.
    pub connections: usize,
    /// How long each took.
    pub seconds: f64,
    /// The servers, in the order they were measured.
    pub servers: Vec<Measured>,
    /// Who was not measured.
    pub missing: Vec<Missing>,
}

/// What was measured of one server: medians, and the rounds that they were taken from.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The server.
    pub name: &'static str,
    /// Answers per second.
    pub requests_per_second: f64,
    /// The median latency.
    pub p50_ms: f64,
    /// What 99 of 100 answers do not exceed.
    pub p99_ms: f64,
    /// Resident memory of all its processes after the load, in MiB.
    pub resident_mib: Option<f64>,
    /// From the start of its process to its first answer.
    pub first_answer_ms: f64,
    /// Requests that failed, in all rounds.
    pub failed: u64,
    /// Each round.
    pub rounds: Vec<Round>,
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// What the load generator saw.
    pub load: Summary,
    /// Resident memory after the load.
    pub resident_mib: Option<f64>,
    /// From the start of the process to its first answer.
    pub first_answer_ms: f64,
}

/// Measures them all; `progress` is told what is being done.
pub fn run(options: &Options, progress: &dyn Fn(&str)) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let (contenders, missing) = servers::prepare(options, folder.path())?;
    for Missing { name, reason } in &missing {
        progress(&format!("{name}: {reason}"));
    }
    let mut rounds: Vec<Vec<Round>> = contenders.iter().map(|_| Vec::new()).collect();
    // In turn, so that what changes on the machine meanwhile changes for all.
    for round in 1..=options.rounds.max(1) {
        for (contender, rounds) in contenders.iter().zip(&mut rounds) {
            let name = contender.name;
            let measured =
                measure(contender, options).with_context(|| format!("measuring {name}"))?;
            let per_second = measured.load.requests_per_second;
            let failed = match measured.load.failed {
                0 => String::new(),
                failed => format!(", {failed} failed"),
            };
            progress(&format!("round {round}: {name}: {per_second:.0} requests/s{failed}"));
            rounds.push(measured);
        }
    }
    let servers = contenders.iter().zip(rounds);
    Ok(Report {
        machine: Machine::this(),
        connections: options.connections,
        seconds: options.duration.as_secs_f64(),
        servers: servers.map(|(contender, rounds)| Measured::of(contender.name, rounds)).collect(),
        missing,
    })
}

fn measure(contender: &Contender, options: &Options) -> Result<Round> {
    let (server, question) = contender.start()?;
    let load = |duration| {
        let Question { address, host, path } = &question;
        let mut load = load::Options::get(&format!("http://{address}{path}"))?;
        load.host.clone_from(host);
        load.connections = options.connections;
        load.duration = Some(duration);
        let is_good = |answer: &Answer<'_>| {
            let is_empty = answer.body.is_empty();
            if is_empty { Err(format!("an empty answer, {}", answer.status)) } else { Ok(()) }
        };
        load::run(&load, Some(&is_good), None)
    };
    if !options.warm_up.is_zero() {
        load(options.warm_up)?;
    }
    let report = load(options.duration)?;
    let resident_mib = server.resident_bytes().map(|bytes| bytes as f64 / f64::from(1 << 20));
    let first_answer_ms = server.first_answer.as_secs_f64() * 1e3;
    server.stop();
    Ok(Round { load: report.summary(), resident_mib, first_answer_ms })
}

impl Measured {
    fn of(name: &'static str, rounds: Vec<Round>) -> Self {
        let of = |value: &dyn Fn(&Round) -> Option<f64>| median(rounds.iter().filter_map(value));
        Self {
            name,
            requests_per_second: of(&|round| Some(round.load.requests_per_second))
                .unwrap_or_default(),
            p50_ms: of(&|round| Some(round.load.p50_ms)).unwrap_or_default(),
            p99_ms: of(&|round| Some(round.load.p99_ms)).unwrap_or_default(),
            resident_mib: of(&|round| round.resident_mib),
            first_answer_ms: of(&|round| Some(round.first_answer_ms)).unwrap_or_default(),
            failed: rounds.iter().map(|round| round.load.failed).sum(),
            rounds,
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => None,
        (count, middle) if count % 2 == 0 => {
            Some(f64::midpoint(values[middle - 1], values[middle]))
        }
        (_, middle) => Some(values[middle]),
    }
}

impl Report {
    /// What was measured of a server.
    pub fn server(&self, name: &str) -> Option<&Measured> {
        self.servers.iter().find(|server| server.name == name)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.servers.first().map_or(0, |server| server.rounds.len());
        writeln!(f, "{}", self.machine)?;
        writeln!(
            f,
            "{} connections, medians of {rounds} × {} s, load generator on the same machine\n",
            self.connections, self.seconds
        )?;
        let ratio = |to: Option<&Measured>, of: &Measured| match to {
            Some(to) if of.requests_per_second > 0.0 => {
                format!("{:.2}", to.requests_per_second / of.requests_per_second)
            }
            _ => "–".to_owned(),
        };
        let gyre = self.server("gyre server");
        let mut rows = vec![
            [
                "",
                "requests/s",
                "p50 ms",
                "p99 ms",
                "resident MiB",
                "first answer ms",
                "failed",
                "÷ bare hyper",
                "gyre server ÷ it",
            ]
            .map(str::to_owned),
        ];
        for server in &self.servers {
            let to_hyper = match self.server("bare hyper") {
                Some(hyper) if hyper.requests_per_second > 0.0 => {
                    format!("{:.2}", server.requests_per_second / hyper.requests_per_second)
                }
                _ => "–".to_owned(),
            };
            rows.push([
                server.name.to_owned(),
                format!("{:.0}", server.requests_per_second),
                format!("{:.2}", server.p50_ms),
                format!("{:.2}", server.p99_ms),
                server.resident_mib.map_or_else(|| "–".to_owned(), |mib| format!("{mib:.0}")),
                format!("{:.0}", server.first_answer_ms),
                server.failed.to_string(),
                to_hyper,
                ratio(gyre, server),
            ]);
        }
        write_table(f, &rows)?;
        for Missing { name, reason } in &self.missing {
            writeln!(f, "\nnot measured: {name}: {reason}")?;
        }
        Ok(())
    }
}

/// A table in Markdown, so that it can be kept as it is printed.
fn write_table<const N: usize>(f: &mut fmt::Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for (number, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            match column {
                0 => write!(f, "| {cell:<width$} |")?,
                _ => write!(f, " {cell:>width$} |")?,
            }
        }
        writeln!(f)?;
        if number == 0 {
            for (column, width) in widths.into_iter().enumerate() {
                match column {
                    0 => write!(f, "|{:-<1$}|", "", width + 2)?,
                    _ => write!(f, "{:-<1$}:|", "", width + 1)?,
                }
            }
            writeln!(f)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn the_table_compares_and_names_who_is_missing() {
        let server = |name, requests_per_second| Measured {
            name,
            requests_per_second,
            p50_ms: 1.0,
            p99_ms: 2.0,
            resident_mib: None,
            first_answer_ms: 3.0,
            failed: 0,
            rounds: Vec::new(),
        };
        let report = Report {
            machine: Machine::this(),
            connections: 32,
            seconds: 5.0,
            servers: vec![server("bare hyper", 1000.0), server("gyre server", 500.0)],
            missing: vec![Missing { name: "spin up", reason: "SPIN_BIN does not name one".into() }],
        };
        let text = report.to_string();
        let row = text.lines().find(|line| line.starts_with("| gyre server")).unwrap();
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        assert_eq!(
            cells[1..],
            ["gyre server", "500", "1.00", "2.00", "–", "3", "0", "0.50", "1.00", ""]
        );
        assert!(text.contains("| bare hyper "));
        assert!(text.contains("not measured: spin up: SPIN_BIN does not name one"));
    }
}
