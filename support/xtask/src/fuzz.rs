//! Runs the fuzz targets: each reads what a stranger may have written, and must neither crash nor hang.

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::{paths, process};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seconds for each target
    #[arg(long, default_value_t = SECONDS)]
    seconds: u32,
    /// Only these targets
    targets: Vec<String>,
}

/// How long each target runs.
const SECONDS: u32 = 60;

/// The most memory that a target may use, in MiB.
const MEMORY: u32 = 2_048;

/// The most time that one input may take, in seconds.
const INPUT_SECONDS: u32 = 10;

pub(crate) fn run(args: &Args) -> Result<()> {
    let all = targets()?;
    for target in &args.targets {
        if !all.contains(target) {
            bail!("there is no target {target:?}: {}", all.join(", "));
        }
    }
    let chosen: Vec<&String> = all
        .iter()
        .filter(|target| args.targets.is_empty() || args.targets.contains(target))
        .collect();
    fuzz(&chosen, args.seconds)
}

/// Runs every target for the usual time.
pub(crate) fn run_all() -> Result<u64> {
    let all = targets()?;
    fuzz(&all.iter().collect::<Vec<_>>(), SECONDS)?;
    Ok(all.len() as u64)
}

fn fuzz(targets: &[&String], seconds: u32) -> Result<()> {
    if !process::exists("cargo-fuzz") {
        println!("Installing cargo-fuzz with cargo (a minute or two)");
        let mut cargo = process::command("cargo");
        process::run(cargo.args(["install", "cargo-fuzz", "--locked"]), "installing cargo-fuzz")?;
    }
    let folder = paths::root().join("fuzz");
    let build = paths::cache().join("build/fuzz");
    for target in targets {
        println!("Fuzzing {target} for {seconds} s");
        let corpus = paths::cache().join("fuzz").join(target);
        fs::create_dir_all(&corpus)?;
        let mut cargo = process::command("cargo");
        cargo.current_dir(&folder).args(["fuzz", "run", "--sanitizer", "none", "--target-dir"]);
        cargo.arg(&build).arg(target).arg(&corpus).arg(folder.join("seeds").join(target)).arg("--");
        cargo.arg(format!("-max_total_time={seconds}"));
        cargo.arg(format!("-rss_limit_mb={MEMORY}")).arg(format!("-timeout={INPUT_SECONDS}"));
        cargo.args(["-print_final_stats=1", "-verbosity=0"]);
        process::run(&mut cargo, "fuzzing").with_context(|| {
            format!("{target}: the input is in {}", folder.join("artifacts").join(target).display())
        })?;
    }
    Ok(())
}

/// Every target has a file.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(paths::root().join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
