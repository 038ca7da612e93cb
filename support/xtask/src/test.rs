//! Sets up what the tests need, runs them all, and says at the very end how many there were.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use walkdir::WalkDir;

use crate::packages::{self, Need};
use crate::summary::Summary;
use crate::{apps, fuzz, guests, paths, process, toolchain};

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Run the long tests, too: soak, millions of requests, a thousand kills, a minute of each fuzz target
    #[arg(long)]
    long: bool,
    /// Only tests whose names contain this
    filter: Option<String>,
}

/// Programs that tests talk to or are helped by.
const NEEDS: [Need; 6] = [
    Need { program: "skopeo", package: "skopeo", why: "tests of the OCI registry" },
    Need {
        program: "redis-server",
        package: "redis-server",
        why: "tests of guests that use Redis",
    },
    Need {
        program: "pg_ctlcluster",
        package: "postgresql",
        why: "tests of guests that use PostgreSQL",
    },
    Need { program: "mariadbd", package: "mariadb-server", why: "tests of guests that use MySQL" },
    Need { program: "mosquitto", package: "mosquitto", why: "tests of guests that use MQTT" },
    Need {
        program: "mosquitto_sub",
        package: "mosquitto-clients",
        why: "tests of guests that use MQTT",
    },
];

/// Where a test writes that it could not run: its name, a tab, the reason. The kit in `support/testkit`
/// knows this variable.
const SKIPPED: &str = "GYRE_SKIPPED_TESTS";

pub(crate) fn run(args: &Args) -> ExitCode {
    match run_all(args) {
        Ok(sum) if sum.failed == 0 && sum.passed + sum.skipped > 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(args: &Args) -> Result<Summary> {
    packages::provide(&NEEDS)?;
    let toolchain = toolchain::provide()?;
    guests::build(&toolchain)?;
    apps::build(&toolchain)?;

    let notes = tempfile::NamedTempFile::new()?;
    let mut sum = Summary::default();
    let mut has_succeeded = true;
    for command in &mut runners(args) {
        command.current_dir(paths::root()).env(SKIPPED, notes.path());
        command.env("CARGO_TARGET_DIR", paths::cargo_target());
        let (counts, status) = watch(command)?;
        if counts == Summary::default() && !status {
            bail!("the tests could not be run (see above)");
        }
        sum += counts;
        has_succeeded &= status;
    }
    name_skipped(args, notes.path(), &mut sum)?;
    if args.long && args.filter.is_none() {
        match fuzz::run_all() {
            Ok(targets) => sum.passed += targets,
            Err(error) => {
                eprintln!("error: {error:#}");
                sum.failed += 1;
            }
        }
    }
    // A runner that failed without a failed test is a failure all the same.
    if !has_succeeded && sum.failed == 0 {
        sum.failed = 1;
    }
    println!("{sum}");
    Ok(sum)
}

/// nextest where it is installed, else cargo's own; then the examples in the documentation.
fn runners(args: &Args) -> Vec<Command> {
    let colour = if std::io::stderr().is_terminal() { "always" } else { "never" };
    let mut runners = Vec::new();
    let mut main = process::command("cargo");
    if has_nextest() {
        main.args(["nextest", "run", "--release", "--workspace", "--no-tests", "pass"]);
        main.args(["--color", colour]);
        if args.long {
            main.args(["--profile", "long"]);
        }
        main.args(&args.filter);
    } else {
        main.args(["test", "--release", "--workspace", "--no-fail-fast", "--color", colour]);
        main.args(["--lib", "--bins", "--tests"]);
        main.args(&args.filter);
        if !args.long {
            main.args(["--", "--skip", "long_"]);
        }
    }
    runners.push(main);
    if args.filter.is_none() && has_examples() {
        let mut examples = process::command("cargo");
        examples.args(["test", "--release", "--workspace", "--doc", "--color", colour]);
        runners.push(examples);
    }
    runners
}

/// Whether some documentation has an example in it: to look for one with rustdoc takes minutes.
fn has_examples() -> bool {
    ["crates", "support"].iter().any(|folder| {
        WalkDir::new(paths::root().join(folder)).into_iter().flatten().any(|entry| {
            let is_source = entry.path().extension().is_some_and(|extension| extension == "rs");
            is_source && fs::read_to_string(entry.path()).is_ok_and(|text| has_example(&text))
        })
    })
}

/// Whether a block of code in the documentation of this source would be compiled: one that names no other
/// language.
fn has_example(source: &str) -> bool {
    let mut is_inside = false;
    source.lines().any(|line| {
        let line = line.trim_start();
        let text = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        let Some(language) = text.and_then(|text| text.trim().strip_prefix("```")) else {
            return false;
        };
        is_inside = !is_inside;
        is_inside && ["", "rust", "no_run", "should_panic"].contains(&language)
    })
}

fn has_nextest() -> bool {
    process::exists("cargo-nextest")
}

/// Runs with its output shown, and adds up the closing lines in it.
fn watch(command: &mut Command) -> Result<(Summary, bool)> {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("starting cargo")?;
    let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let from_stderr = std::thread::spawn(move || copy(stderr, std::io::stderr()));
    let mut sum = copy(stdout, std::io::stdout());
    sum += from_stderr.join().unwrap_or_default();
    Ok((sum, child.wait()?.success()))
}

fn copy(from: impl BufRead, mut to: impl Write) -> Summary {
    let mut sum = Summary::default();
    for line in from.split(b'\n') {
        let Ok(line) = line else { break };
        drop(to.write_all(&line).and_then(|()| to.write_all(b"\n")));
        if let Some(counts) = Summary::parse(&String::from_utf8_lossy(&line)) {
            sum += counts;
        }
    }
    sum
}

/// Names every test that did not run. One that found that it cannot run here has told the runner that it
/// passed: it is counted where it belongs.
fn name_skipped(args: &Args, notes: &Path, sum: &mut Summary) -> Result<()> {
    for line in fs::read_to_string(notes)?.lines() {
        let (name, reason) = line.split_once('\t').unwrap_or((line, "no reason given"));
        println!("skipped: {name}: {reason}");
        sum.passed = sum.passed.saturating_sub(1);
        sum.skipped += 1;
    }
    if args.filter.is_some() {
        // What a filter leaves out was not asked for.
        sum.skipped = fs::read_to_string(notes)?.lines().count() as u64;
    } else if !args.long && has_nextest() {
        for name in left_out()? {
            println!("skipped: {name}: long; `cargo xtask test --long` runs it");
        }
    }
    Ok(())
}

/// The tests that the default filter leaves out.
fn left_out() -> Result<Vec<String>> {
    let mut command = process::command("cargo");
    command.current_dir(paths::root()).env("CARGO_TARGET_DIR", paths::cargo_target());
    command.args(["nextest", "list", "--release", "--workspace", "--message-format", "json"]);
    let output = command.output().context("listing the tests")?;
    if !output.status.success() {
        bail!("listing the tests: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let list: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let mut names = Vec::new();
    for (binary, suite) in list["rust-suites"].as_object().into_iter().flatten() {
        for (name, case) in suite["testcases"].as_object().into_iter().flatten() {
            if case["filter-match"]["status"] == "mismatch" {
                names.push(format!("{binary} {name}"));
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_in_documentation_are_found_and_other_blocks_are_not() {
        assert!(has_example("/// Adds.\n///\n/// ```\n/// add(1, 2);\n/// ```\nfn add() {}"));
        assert!(has_example("//! ```rust\n//! ```"));
        assert!(!has_example("/// ```text\n/// a → b\n/// ```\nfn draw() {}"));
        assert!(!has_example("let fence = \"```\";"));
    }
}
