//! Measures: builds Gyre and the measuring program in the release profile, and runs it.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{guests, paths, process, toolchain};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure, and how: passed on to gyre-bench
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match measure(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<ExitCode> {
    guests::build(&toolchain::provide()?)?;
    let target = paths::cargo_target();
    let mut cargo = process::command("cargo");
    cargo.current_dir(paths::root()).env("CARGO_TARGET_DIR", &target);
    cargo.args(["build", "--release", "--package", "gyre", "--package", "gyre-bench"]);
    process::run(&mut cargo, "building")?;
    let mut bench = process::command(target.join("release/gyre-bench"));
    bench
        .args(&args.arguments)
        .env("GYRE_BENCH_GYRE", target.join("release/gyre"))
        .env("GYRE_BENCH_GUESTS", paths::target().join("guests"))
        .env("GYRE_BENCH_PEERS", paths::target().join("peers/bin"));
    let status = bench.status().context("starting gyre-bench")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
