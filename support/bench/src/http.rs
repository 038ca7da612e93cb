//! `bench http`: Gyre, a bare hyper server and the peers that are there, in turn, on one component.

use std::{fmt, path::PathBuf};

use anyhow::Result;
use serde::Serialize;

use crate::{
    app::App,
    compare::{Bench, Comparison, Lane, Metric, Request, Settings},
    hello::GREETING,
    machine::Machine,
    section::Section,
    servers::Host,
    tools::Tools,
};

/// The measurements.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What they were taken on.
    pub machine: Machine,
    /// How.
    pub settings: Settings,
    /// The servers.
    pub compared: Comparison,
}

/// Measures the servers whose names contain one of `only` (all, if that is empty) on a component that answers any GET with
/// 200 by `wasi:http` 0.2: the greeting, or whatever a component given here says.
pub fn run(
    tools: &Tools,
    settings: &Settings,
    component: Option<PathBuf>,
    only: &[String],
    progress: &dyn Fn(&str),
) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let bench = Bench { tools, settings, folder: folder.path(), progress };
    let request =
        Request { expected: component.is_none().then(|| GREETING.into()), ..Request::get("/", "") };
    let app = component.map_or_else(|| App::hello(tools), |component| App::of("hello", component));
    let is_wanted = |host: &Host| {
        only.is_empty() || only.iter().any(|only| host.name().contains(only.as_str()))
    };
    let hosts = Host::ALL.into_iter().filter(is_wanted);
    let lanes: Vec<Lane> =
        hosts.map(|host| Lane::new(host, app.clone(), request.clone())).collect();
    let compared = bench.compare(&lanes)?;
    Ok(Report { machine: Machine::this(), settings: settings.clone(), compared })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { connections, duration, rounds, .. } = &self.settings;
        writeln!(f, "{}", self.machine)?;
        writeln!(
            f,
            "{connections} connections, medians of {rounds} × {} s, load generator on the same machine\n",
            duration.as_secs_f64()
        )?;
        write!(f, "{}", Section::of(self.compared.clone(), Metric::Rate, Vec::new()))
    }
}
