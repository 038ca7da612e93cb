//! The first request to an application that a server knows but has not loaded, its compiled code on disk: a server is
//! started again and again on the same data.

use anyhow::{Result, bail};

use crate::{
    app::App,
    bars::{Bar, Bound},
    cases,
    compare::Bench,
    load::{self, Answer},
    process::Question,
    section::Section,
    servers::{Contender, Host},
    table::Table,
};

const HEALTHY: &str = "server's start to its first answer (/healthz)";
const FIRST: &str = "first request to the app";
const SECOND: &str = "second request to the app";

/// Starts the server as often as is wanted, and asks the application twice each time.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<Section> {
    let host = Host::GyreServer;
    let program = host.program(bench.tools).map_err(anyhow::Error::msg)?;
    let hello = App::hello(bench.tools);
    let contender = Contender::prepare(host, program, &[&hello], bench.folder.join("server"))?;
    let mut samples = [(HEALTHY, Vec::new()), (FIRST, Vec::new()), (SECOND, Vec::new())];
    for number in 1..=bench.settings.starts.max(1) {
        let site = contender.start_healthy()?;
        let times = [
            site.server.first_answer.as_secs_f64() * 1e3,
            ask(&site.roots[0])?,
            ask(&site.roots[0])?,
        ];
        site.server.stop();
        for ((_, samples), time) in samples.iter_mut().zip(times) {
            samples.push(time);
        }
        if number % 10 == 0 {
            (bench.progress)(&format!(
                "{number} starts, the last first request {:.2} ms",
                times[1]
            ));
        }
    }
    let mut table = Table::new(["", "p50 ms", "p99 ms", "longest ms"]);
    for (name, times) in &samples {
        let of = |share| format!("{:.2}", quantile(times, share));
        table.add([(*name).to_owned(), of(0.5), of(0.99), of(1.0)]);
    }
    let first = samples[1].1.clone();
    let bar = |measure: &str, bound, measured| Bar {
        measure: format!("first request to an app known but not loaded, {measure}"),
        bound: Bound::AtMost(bound),
        unit: "ms",
        measured: Ok(measured),
    };
    let bars =
        vec![bar("p50", 2.0, quantile(&first, 0.5)), bar("p99", 5.0, quantile(&first, 0.99))];
    let section = Section { table, bars, samples: samples.into(), ..Section::default() };
    Ok(section.note(format!(
        "{} starts of `gyre server` on the same data, the app's compiled code on disk. Each request has a connection of \
         its own, whose making counts.",
        first.len()
    )))
}

/// One request on a new connection; how long it took until its answer was whole, in milliseconds.
fn ask(root: &Question) -> Result<f64> {
    let request = cases::greeting();
    let mut options = root.load(&request)?;
    options.connections = 1;
    options.duration = None;
    options.requests = Some(1);
    let check = |answer: &Answer<'_>| request.check(answer);
    let report = load::run(&options, Some(&check), None)?;
    if report.failed() > 0 {
        bail!("the app did not answer as it should: {:?} {:?}", report.statuses, report.examples);
    }
    Ok(report.latency.max().as_secs_f64() * 1e3)
}

/// What `share` of the times do not exceed.
fn quantile(times: &[f64], share: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    let rank = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1));
    times.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_time_that_was_measured() {
        let times: Vec<f64> = (1..=50).rev().map(f64::from).collect();
        let of = |share| quantile(&times, share) as u64;
        assert_eq!([of(0.5), of(0.98), of(0.99), of(1.0)], [25, 49, 50, 50]);
        assert!(quantile(&[], 0.5).abs() < f64::EPSILON);
    }
}
