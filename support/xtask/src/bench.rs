//! Measures: builds Gyre and the measuring program in the release profile, and runs it.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{apps, guests, paths, process, toolchain};

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
    let toolchain = toolchain::provide()?;
    guests::build(&toolchain)?;
    if takes_samples(&args.arguments) {
        apps::build(&toolchain)?;
    }
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
        .env("GYRE_BENCH_APPS", paths::target().join("apps"))
        .env("GYRE_BENCH_PEERS", paths::target().join("peers/bin"))
        .env("GYRE_BENCH_RATIOS", paths::root().join("support/bench/ratios.toml"));
    let status = bench.status().context("starting gyre-bench")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the sample applications are measured, whose tools take long to install.
fn takes_samples(arguments: &[String]) -> bool {
    let is = |at: usize, what: &str| arguments.get(at).is_some_and(|argument| argument == what);
    let of = |case: &str| arguments.iter().any(|argument| argument.ends_with(case));
    let is_help = of("--help") || of("-h");
    let is_restricted = arguments.iter().any(|argument| argument.starts_with("--only"));
    is(0, "full") && !is_help && (!is_restricted || of("javascript") || of("python"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_built_where_they_are_measured() {
        let takes = |text: &str| {
            let arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
            takes_samples(&arguments)
        };
        for text in ["full", "full --rounds 1", "full --only python", "full --only=javascript"] {
            assert!(takes(text), "{text}");
        }
        for text in ["http", "quick", "full --help", "full --only hello", "load http://a/python"] {
            assert!(!takes(text), "{text}");
        }
    }
}
