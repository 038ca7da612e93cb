//! Runs the fuzz targets: each reads what a stranger may have written, and must neither crash nor hang.

use std::path::Path;

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

/// What is installed if there is none.
const CARGO_FUZZ: &str = "0.13.2";

/// How long each target runs.
const SECONDS: u32 = 60;

/// The most memory that a target may use, in MiB.
const MEMORY: u32 = 2_048;

/// How much of a failed fuzzer's output is shown.
const SHOWN_LINES: usize = 40;

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
        cargo.args(["install", "cargo-fuzz", "--version", CARGO_FUZZ, "--locked"]);
        process::run_quietly(&mut cargo, "installing cargo-fuzz")?;
    }
    let folder = paths::root().join("fuzz");
    let build = paths::cache().join("build/fuzz");
    let host = host()?;
    println!("Compiling the fuzz targets");
    let mut cargo = process::command("cargo");
    // Without a sanitizer (this is safe Rust) a stable compiler is enough.
    cargo.current_dir(&folder).args(["fuzz", "build", "--sanitizer", "none", "--target", &host]);
    process::run_quietly(cargo.arg("--target-dir").arg(&build), "compiling the fuzz targets")?;
    let mut crashed = Vec::new();
    for target in targets {
        let program = build.join(&host).join("release").join(target);
        if !fuzz_one(target, &program, &folder, seconds)? {
            crashed.push(target.as_str());
        }
    }
    if !crashed.is_empty() {
        let artifacts = folder.join("artifacts");
        bail!("fuzzing found crashes in {}: see {}", crashed.join(", "), artifacts.display());
    }
    Ok(())
}

/// Whether `target` got through all of its time.
fn fuzz_one(target: &str, program: &Path, folder: &Path, seconds: u32) -> Result<bool> {
    println!("Fuzzing {target} for {seconds} s");
    let corpus = paths::cache().join("fuzz").join(target);
    let artifacts = folder.join("artifacts").join(target);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let mut fuzzer = process::command(program);
    fuzzer.arg(&corpus).arg(folder.join("seeds").join(target));
    // It is a prefix of file names, not a folder.
    fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzzer.arg(format!("-max_total_time={seconds}"));
    fuzzer.arg(format!("-rss_limit_mb={MEMORY}")).arg(format!("-timeout={INPUT_SECONDS}"));
    let output = fuzzer.output().with_context(|| format!("running {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let figures = text.lines().rev().find_map(figures);
    if let (true, Some(figures)) = (output.status.success(), figures) {
        println!("{target}: {figures}, no crash");
        return Ok(true);
    }
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    println!("{target}: {}\n{}", output.status, last.join("\n"));
    Ok(false)
}

/// What the fuzzer's last line says: `#9 DONE cov: 8 ft: 7 corp: 6/5b lim: 4 exec/s: 3 rss: 2Mb`.
fn figures(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let executions = words.first()?.strip_prefix('#')?;
    if words.get(1) != Some(&"DONE") {
        return None;
    }
    let after = |name: &str| {
        let place = words.iter().position(|word| *word == name)?;
        words.get(place + 1).copied()
    };
    let inputs = after("corp:")?.split('/').next()?;
    Some(format!("{executions} executions, coverage {}, {inputs} inputs kept", after("cov:")?))
}

/// The kind of machine that rustc compiles for when nothing else is said.
fn host() -> Result<String> {
    let version = process::output_of(process::command("rustc").arg("-vV"));
    let version = version.context("there is no rustc on the path")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_in_the_last_line_of_a_run() {
        let line = "#35\tDONE   cov: 412 ft: 650 corp: 31/2Kb lim: 4 exec/s: 3 rss: 44Mb";
        let found = figures(line).expect("it is such a line");
        assert_eq!(found, "35 executions, coverage 412, 31 inputs kept");
        assert_eq!(figures("#32\tpulse  cov: 412 ft: 650 corp: 31/2Kb exec/s: 16"), None);
        assert_eq!(figures("Done 35 runs in 2 second(s)"), None);
    }
}
