//! Measures lanes in turn, round after round: a lane is a host with an application and one request to it.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use serde::{Serialize, Serializer};

use crate::{
    app::App,
    load::{self, Answer, Summary},
    process::Question,
    servers::{Contender, Host, Missing, Site},
    table::Table,
    tools::Tools,
};

/// How everything is measured.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    /// Connections, kept alive.
    pub connections: usize,
    /// How long each measurement takes.
    #[serde(serialize_with = "seconds")]
    pub duration: Duration,
    /// How long each server is warmed up before.
    #[serde(serialize_with = "seconds")]
    pub warm_up: Duration,
    /// Measurements of each server; medians are shown.
    pub rounds: usize,
    /// How often a server is started where starts are measured.
    pub starts: usize,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    duration.as_secs_f64().serialize(serializer)
}

/// A request and its only good answer.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    /// The body that each answer has, with status 200. `None`: any that is not empty.
    pub(crate) expected: Option<Vec<u8>>,
}

impl Request {
    /// GET of a path that answers with this.
    pub(crate) fn get(path: &str, expected: impl Into<Vec<u8>>) -> Self {
        let expected = Some(expected.into());
        Self { method: "GET", path: path.to_owned(), body: Vec::new(), expected }
    }

    /// POST of a body that comes back.
    pub(crate) fn echo(path: &str, body: Vec<u8>) -> Self {
        Self { method: "POST", path: path.to_owned(), expected: Some(body.clone()), body }
    }

    /// Says what is wrong with an answer.
    pub(crate) fn check(&self, answer: &Answer<'_>) -> Result<(), String> {
        let Answer { status, body, .. } = *answer;
        let is_expected = match &self.expected {
            Some(expected) => body == expected.as_slice(),
            None => !body.is_empty(),
        };
        // A bad status is counted as such.
        if is_expected || status >= 400 {
            return Ok(());
        }
        let beginning = String::from_utf8_lossy(&body[..body.len().min(100)]);
        Err(format!("another answer: {status}, {} bytes, {beginning:?}", body.len()))
    }
}

/// What is measured in turn with others.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) name: String,
    pub(crate) host: Host,
    pub(crate) app: App,
    pub(crate) request: Request,
    /// A path that is asked for once before the load.
    pub(crate) before: Option<&'static str>,
}

impl Lane {
    /// One that is called as its host is.
    pub(crate) fn new(host: Host, app: App, request: Request) -> Self {
        Self { name: host.name().to_owned(), host, app, request, before: None }
    }

    /// One with a name of its own.
    pub(crate) fn named(name: &str, host: Host, app: App, request: Request) -> Self {
        Self { name: name.to_owned(), ..Self::new(host, app, request) }
    }
}

/// What was measured of a lane: medians, and the rounds that they were taken from.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The lane.
    pub name: String,
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
    /// The first few of the failures, told.
    pub failures: Vec<String>,
}

/// Lanes that were measured in turn.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Comparison {
    /// In the order they were measured.
    pub lanes: Vec<Measured>,
    /// Who was not measured.
    pub missing: Vec<Missing>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    Rate,
    P99,
}

/// The context that measurements are made in.
pub(crate) struct Bench<'a> {
    pub(crate) tools: &'a Tools,
    pub(crate) settings: &'a Settings,
    /// A folder for whatever is started.
    pub(crate) folder: &'a Path,
    /// Is told what is being done.
    pub(crate) progress: &'a dyn Fn(&str),
}

/// A lane whose host is there.
pub(crate) struct Ready<'a> {
    pub(crate) lane: &'a Lane,
    contender: Contender,
}

impl Bench<'_> {
    /// Prepares the lanes whose hosts are there.
    pub(crate) fn prepare<'l>(&self, lanes: &'l [Lane]) -> Result<(Vec<Ready<'l>>, Vec<Missing>)> {
        let (mut ready, mut missing) = (Vec::new(), Vec::new());
        for (number, lane) in lanes.iter().enumerate() {
            let name = lane.name.clone();
            match lane.host.program(self.tools) {
                Ok(program) => {
                    let folder = self.folder.join(number.to_string());
                    let contender = Contender::prepare(lane.host, program, &[&lane.app], folder)
                        .with_context(|| format!("preparing {name}"))?;
                    ready.push(Ready { lane, contender });
                }
                Err(reason) => {
                    (self.progress)(&format!("{name}: {reason}"));
                    missing.push(Missing { name, reason });
                }
            }
        }
        Ok((ready, missing))
    }

    /// Measures the lanes in turn, each at its peak.
    pub(crate) fn compare(&self, lanes: &[Lane]) -> Result<Comparison> {
        let (ready, missing) = self.prepare(lanes)?;
        Ok(Comparison { lanes: self.rounds(&ready, None)?, missing })
    }

    /// Measures lanes that are ready, in turn, so that what changes on the machine meanwhile changes for all; at so many
    /// requests per second, or at the peak of each.
    pub(crate) fn rounds(&self, ready: &[Ready<'_>], rate: Option<f64>) -> Result<Vec<Measured>> {
        let mut rounds: Vec<Vec<Round>> = ready.iter().map(|_| Vec::new()).collect();
        for number in 1..=self.settings.rounds.max(1) {
            for (Ready { lane, contender }, rounds) in ready.iter().zip(&mut rounds) {
                let name = &lane.name;
                let site = contender.start().with_context(|| format!("starting {name}"))?;
                let round =
                    self.measure(&site, lane, rate).with_context(|| format!("measuring {name}"))?;
                site.server.stop();
                self.tell(number, name, &round);
                rounds.push(round);
            }
        }
        let named = ready.iter().map(|ready| ready.lane.name.clone());
        Ok(named.zip(rounds).map(|(name, rounds)| Measured::of(name, rounds)).collect())
    }

    /// Warms a server up and measures it once.
    pub(crate) fn measure(&self, site: &Site, lane: &Lane, rate: Option<f64>) -> Result<Round> {
        let root = &site.roots[0];
        if let Some(path) = lane.before {
            root.at(path).expect(200)?;
        }
        if !self.settings.warm_up.is_zero() {
            self.load(root, &lane.request, self.settings.warm_up, rate)?;
        }
        let report = self.load(root, &lane.request, self.settings.duration, rate)?;
        if report.answers == 0 {
            bail!("no answer at all: {}", report.examples.join("; "));
        }
        let resident = site.server.resident_bytes();
        Ok(Round {
            load: report.summary(),
            resident_mib: resident.map(|bytes| bytes as f64 / f64::from(1 << 20)),
            first_answer_ms: site.server.first_answer.as_secs_f64() * 1e3,
            failures: report.examples,
        })
    }

    fn load(
        &self,
        root: &Question,
        request: &Request,
        duration: Duration,
        rate: Option<f64>,
    ) -> Result<load::Report> {
        let mut load = root.load(request)?;
        load.connections = self.settings.connections;
        load.duration = Some(duration);
        load.rate = rate;
        load::run(&load, Some(&|answer: &Answer<'_>| request.check(answer)), None)
    }

    /// Says what came of a round.
    pub(crate) fn tell(&self, number: usize, name: &str, round: &Round) {
        let Summary { requests_per_second, p99_ms, failed, .. } = &round.load;
        let failed = match failed {
            0 => String::new(),
            failed => format!(", {failed} failed: {}", round.failures.join("; ")),
        };
        (self.progress)(&format!(
            "round {number}: {name}: {requests_per_second:.0} requests/s, p99 {p99_ms:.2} ms{failed}"
        ));
    }
}

impl Question {
    /// The load that sends a request here.
    pub(crate) fn load(&self, request: &Request) -> Result<load::Options> {
        let mut load = load::Options::get(&format!("http://{}{}", self.address, request.path))?;
        load.host.clone_from(&self.host);
        request.method.clone_into(&mut load.method);
        load.body.clone_from(&request.body);
        Ok(load)
    }
}

impl Measured {
    /// The medians of rounds.
    pub(crate) fn of(name: String, rounds: Vec<Round>) -> Self {
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

    fn value(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Rate => self.requests_per_second,
            Metric::P99 => self.p99_ms,
        }
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
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

impl Comparison {
    /// What was measured of a lane, or why nothing was.
    pub fn lane(&self, name: &str) -> Result<&Measured, String> {
        if let Some(lane) = self.lanes.iter().find(|lane| lane.name == name) {
            return Ok(lane);
        }
        let missing = self.missing.iter().find(|missing| missing.name == name);
        Err(missing.map_or_else(
            || format!("{name} was left out"),
            |Missing { name, reason }| format!("{name}: {reason}"),
        ))
    }

    /// Requests that failed, of all lanes.
    pub fn failed(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.failed).sum()
    }

    /// A lane's figure divided by another's, or why there is none. Where requests failed there is none: an error may be
    /// fast.
    pub(crate) fn ratio(&self, metric: Metric, of: &str, to: &str) -> Result<f64, String> {
        let value = |name| {
            let lane = self.lane(name)?;
            match (lane.failed, lane.value(metric)) {
                (0, value) if value > 0.0 => Ok(value),
                (0, _) => Err(format!("{name} gave no answer")),
                (failed, _) => Err(format!("{failed} requests to {name} failed")),
            }
        };
        Ok(value(of)? / value(to)?)
    }

    /// As `ratio` of rates, to the fastest of several that are there.
    pub(crate) fn ratio_to_best(&self, of: &str, to: &[&str]) -> Result<f64, String> {
        let there = to.iter().filter_map(|name| self.lane(name).ok());
        let best =
            there.max_by(|a, b| f64::total_cmp(&a.requests_per_second, &b.requests_per_second));
        match best {
            Some(best) => self.ratio(Metric::Rate, of, &best.name),
            None => Err(self.lane(to[0]).err().unwrap_or_default()),
        }
    }

    /// The lanes as a table, each compared with the first one, and Gyre's server with each.
    pub(crate) fn table(&self, metric: Metric) -> Table {
        const GYRE: Host = Host::GyreServer;
        let what = match metric {
            Metric::Rate => "",
            Metric::P99 => "p99 ",
        };
        let first = self.lanes.first();
        let gyre = self.lanes.iter().find(|lane| lane.name == GYRE.name());
        let gyre = gyre.filter(|_| self.lanes.len() > 1);
        let mut heading: Vec<String> =
            ["", "requests/s", "p50 ms", "p99 ms", "resident MiB", "first answer ms", "failed"]
                .map(str::to_owned)
                .into();
        heading.extend(first.map(|first| format!("{what}÷ {}", first.name)));
        heading.extend(gyre.map(|gyre| format!("{what}{} ÷ it", gyre.name)));
        let mut table = Table::new(heading);
        let divided = |of: &Measured, to: &Measured| match to.value(metric) {
            divisor if divisor > 0.0 => format!("{:.2}", of.value(metric) / divisor),
            _ => "–".to_owned(),
        };
        for lane in &self.lanes {
            let mut row = vec![
                lane.name.clone(),
                format!("{:.0}", lane.requests_per_second),
                format!("{:.2}", lane.p50_ms),
                format!("{:.2}", lane.p99_ms),
                lane.resident_mib.map_or_else(|| "–".to_owned(), |mib| format!("{mib:.0}")),
                format!("{:.0}", lane.first_answer_ms),
                lane.failed.to_string(),
            ];
            row.extend(first.map(|first| divided(lane, first)));
            row.extend(gyre.map(|gyre| divided(gyre, lane)));
            table.add(row);
        }
        table
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{collections::BTreeMap, time::Instant};

    use super::*;
    use crate::load::Errors;

    /// A lane with rounds of these rates.
    pub(crate) fn lane(name: &str, rates: &[f64], failed: u64) -> Measured {
        let round = |requests_per_second: f64| Round {
            load: Summary {
                requests_per_second,
                p50_ms: 1.0,
                p90_ms: 1.5,
                p99_ms: 2.0,
                max_ms: 3.0,
                answers: 100,
                seconds: 1.0,
                statuses: BTreeMap::new(),
                errors: Errors::default(),
                failed,
            },
            resident_mib: None,
            first_answer_ms: 3.0,
            failures: Vec::new(),
        };
        Measured::of(name.to_owned(), rates.iter().map(|rate| round(*rate)).collect())
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn the_table_compares_with_the_first_lane_and_with_gyre() {
        let lanes = vec![lane("bare hyper", &[1000.0], 0), lane("gyre server", &[500.0], 0)];
        let comparison = Comparison { lanes, missing: Vec::new() };
        let text = comparison.table(Metric::Rate).to_string();
        let row = text.lines().find(|line| line.starts_with("| gyre server")).unwrap();
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        assert_eq!(
            cells[1..],
            ["gyre server", "500", "1.00", "2.00", "–", "3", "0", "0.50", "1.00", ""]
        );
        assert!(text.lines().next().unwrap().ends_with("| ÷ bare hyper | gyre server ÷ it |"));
    }

    #[test]
    fn a_ratio_is_of_medians_and_only_of_what_was_measured_without_failure() {
        let comparison = Comparison {
            lanes: vec![
                lane("a", &[10.0, 30.0, 20.0], 0),
                lane("b", &[5.0], 0),
                lane("c", &[40.0], 0),
                lane("bad", &[90.0], 2),
            ],
            missing: vec![Missing { name: "spin up".into(), reason: "not there".into() }],
        };
        assert_eq!(comparison.ratio(Metric::Rate, "a", "b"), Ok(4.0));
        assert_eq!(comparison.ratio(Metric::P99, "a", "b"), Ok(1.0));
        assert_eq!(comparison.ratio_to_best("a", &["b", "c", "d"]), Ok(0.5));
        let why = |of, to| comparison.ratio(Metric::Rate, of, to).unwrap_err();
        assert_eq!(why("a", "spin up"), "spin up: not there");
        assert_eq!(why("a", "bad"), "2 requests to bad failed");
        assert_eq!(comparison.ratio_to_best("a", &["spin up"]).unwrap_err(), "spin up: not there");
        assert_eq!(why("nobody", "a"), "nobody was left out");
        assert_eq!(comparison.failed(), 2);
    }

    #[test]
    fn an_answer_is_the_expected_one_or_refused() {
        let now = Instant::now();
        let answer = |status, body| Answer { status, head: b"", body, started: now, ended: now };
        let request = Request::get("/", "Hello");
        assert_eq!(request.check(&answer(200, b"Hello")), Ok(()));
        let told = request.check(&answer(200, b"Hello ")).unwrap_err();
        assert_eq!(told, "another answer: 200, 6 bytes, \"Hello \"");
        let any = Request { expected: None, ..request };
        assert_eq!(any.check(&answer(200, b"x")), Ok(()));
        assert!(any.check(&answer(200, b"")).is_err());
    }
}
