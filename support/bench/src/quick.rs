//! `bench quick`: a few ratios of Gyre to a bare hyper server, which change less from machine to machine than rates do, against
//! those that were stored.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::{
    app::App,
    cases,
    compare::{Bench, Comparison, Lane, Metric, Settings, median},
    ratios::Ratios,
    servers::Host,
    table::Table,
    tools::Tools,
};

const HYPER: &str = "bare hyper";
const HELLO: &str = "hello";
const HELLO_0_3: &str = "hello-0.3";
const READ: &str = "key-value-read";

/// What was measured.
#[derive(Debug)]
pub struct Report {
    /// Gyre ÷ bare hyper.
    pub ratios: Ratios,
    /// The rates.
    pub table: Table,
}

/// Measures the ratios; a failed request is an error.
pub fn run(tools: &Tools, settings: &Settings, progress: &dyn Fn(&str)) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let bench = Bench { tools, settings, folder: folder.path(), progress };
    let greeting = cases::greeting;
    let lane = |name, host, app| Lane::named(name, host, app, greeting());
    let lanes = [
        lane(HYPER, Host::Hyper, App::hello(tools)),
        lane(HELLO, Host::GyreServer, App::hello(tools)),
        lane(HELLO_0_3, Host::GyreServer, App::hello_0_3(tools)),
        Lane { name: READ.to_owned(), ..cases::key_value_read(&bench) },
    ];
    let compared = bench.compare(&lanes)?;
    Ok(Report { ratios: ratios(&compared)?, table: compared.table(Metric::Rate) })
}

/// Each lane's rate divided by that of the bare server in the same round: the median of the rounds.
fn ratios(compared: &Comparison) -> Result<Ratios> {
    if compared.failed() > 0 {
        let failures = compared.lanes.iter().flat_map(|lane| &lane.rounds);
        let failures: Vec<_> = failures.flat_map(|round| round.failures.clone()).collect();
        bail!("{} requests failed: {}", compared.failed(), failures.join("; "));
    }
    let hyper = compared.lane(HYPER).map_err(anyhow::Error::msg)?;
    let mut ratios = BTreeMap::new();
    for name in [HELLO, HELLO_0_3, READ] {
        let lane = compared.lane(name).map_err(anyhow::Error::msg)?;
        let of_rounds = lane.rounds.iter().zip(&hyper.rounds).map(|(round, hyper)| {
            round.load.requests_per_second / hyper.load.requests_per_second.max(f64::EPSILON)
        });
        ratios.insert(name.to_owned(), median(of_rounds).context("nothing was measured")?);
    }
    Ok(Ratios { ratios })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compare::tests::lane, servers::Missing};

    #[test]
    fn a_ratio_is_the_median_of_those_of_the_rounds() {
        let compared = |failed| Comparison {
            lanes: vec![
                lane(HYPER, &[100.0, 200.0, 50.0], 0),
                lane(HELLO, &[40.0, 60.0, 25.0], failed),
                lane(HELLO_0_3, &[50.0, 100.0, 25.0], 0),
                lane(READ, &[10.0, 20.0, 5.0], 0),
            ],
            missing: Vec::new(),
        };
        let found = ratios(&compared(0)).unwrap().ratios;
        let found: Vec<_> = found.iter().map(|(name, ratio)| (name.as_str(), *ratio)).collect();
        assert_eq!(found, [(HELLO, 0.4), (HELLO_0_3, 0.5), (READ, 0.1)]);
        assert!(ratios(&compared(1)).is_err());
        let missing = Missing { name: HELLO.into(), reason: "no gyre".into() };
        let missing = Comparison { lanes: vec![lane(HYPER, &[1.0], 0)], missing: vec![missing] };
        assert_eq!(ratios(&missing).unwrap_err().to_string(), "hello: no gyre");
    }
}
