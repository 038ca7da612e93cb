//! One application that burns all the processor time it gets, and what another one on the same server feels of it.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    app::App,
    bars::{Bar, Bound},
    cases,
    compare::{Bench, Comparison, Lane, Measured, Metric, Request, Round},
    latency,
    load::{self, Report},
    section::Section,
    servers::{Contender, Host},
};

/// The neighbour's connections, each with a request that never ends by itself.
const BUSY: usize = 2;
/// How long the neighbour has been busy before anything is measured.
const AHEAD: Duration = Duration::from_millis(500);

const ALONE: &str = "alone";
const BESIDE: &str = "beside it";

/// Measures the peak without the neighbour, and then half of it without and with.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<Section> {
    let host = Host::GyreServer;
    let program = host.program(bench.tools).map_err(anyhow::Error::msg)?;
    let hello = App::hello(bench.tools);
    let busy = App::guest(bench.tools, "evil-loop");
    let folder = bench.folder.join("server");
    let contender = Contender::prepare(host, program, &[&hello, &busy], folder)?;
    let lane = Lane::new(host, hello, cases::greeting());
    let rounds = bench.settings.rounds.max(1);

    let peak = |number| {
        let site = contender.start()?;
        let round = bench.measure(&site, &lane, None)?;
        bench.tell(number, "peak", &round);
        anyhow::Ok(round)
    };
    let peaks = (1..=rounds).map(peak).collect::<Result<Vec<_>>>()?;
    let peaks = [Measured::of("peak".to_owned(), peaks)];
    let rate = latency::half(&peaks)?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let mut ended = 0;
    for number in 1..=rounds {
        let site = contender.start()?;
        alone.push(bench.measure(&site, &lane, Some(rate))?);
        site.server.stop();
        let (round, busy) = beside_it(bench, &contender, &lane, rate)?;
        ended += busy.answers;
        beside.push(round);
        for (name, rounds) in [(ALONE, &alone), (BESIDE, &beside)] {
            rounds.last().into_iter().for_each(|round| bench.tell(number, name, round));
        }
    }
    let lanes = [(ALONE, alone), (BESIDE, beside)];
    let lanes = lanes.map(|(name, rounds)| Measured::of(name.to_owned(), rounds)).into();
    let compared = Comparison { lanes, missing: Vec::new() };
    let bar = Bar {
        measure: "p99 beside a tenant that burns its whole CPU allowance".to_owned(),
        bound: Bound::AtMost(1.5),
        unit: "× alone",
        measured: compared.ratio(Metric::P99, BESIDE, ALONE),
    };
    let section = Section::of(compared, Metric::P99, vec![bar]);
    Ok(section.note(format!(
        "Requests come at a steady {rate:.0} per second, half of the peak. {BUSY} connections ask the other application, \
         which loops until its processor time is used up (which happened {ended} times meanwhile)."
    )))
}

/// Measures one round while the other application is busy.
fn beside_it(
    bench: &Bench<'_>,
    contender: &Contender,
    lane: &Lane,
    rate: f64,
) -> Result<(Round, Report)> {
    let site = contender.start()?;
    let looping = Request { expected: None, ..Request::get("/", "") };
    let mut options = site.roots.get(1).context("the neighbour is not there")?.load(&looping)?;
    options.connections = BUSY;
    options.threads = 1;
    options.duration = None;
    options.timeout = Duration::from_mins(5);
    let stop = AtomicBool::new(false);
    let (round, report) = std::thread::scope(|scope| {
        let load = scope.spawn(|| load::run(&options, None, Some(&stop)));
        std::thread::sleep(AHEAD);
        let round = bench.measure(&site, lane, Some(rate));
        stop.store(true, Relaxed);
        // It may be in the middle of its allowance: with the server, its connections end.
        site.server.stop();
        let report = load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        anyhow::Ok((round?, report?))
    })?;
    // Its processor time is used up: 504. Everything else would mean that it was not busy at all.
    if let Some((status, count)) = report.statuses.iter().find(|(status, _)| **status != 504) {
        bail!("the neighbour was not busy: {count} of its requests were answered with {status}");
    }
    Ok((round, report))
}
