//! `gyre-bench`: the measurements as commands. `cargo xtask bench` builds what they need and calls it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use gyre_bench::{
    Settings, Tools, full,
    hello::Hello,
    http, load, quick,
    ratios::{self, Ratios},
};

/// Measures Gyre beside its peers.
#[derive(Debug, Parser)]
#[command(name = "gyre-bench", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure all that has a bar to reach, Gyre and the peers that are there in turn
    Full(FullArgs),
    /// Compare a few ratios of Gyre to a bare server with those that were stored
    Quick(QuickArgs),
    /// Compare servers on the same component and load
    Http(HttpArgs),
    /// Send requests to a server and count the answers
    Load(LoadArgs),
    /// Serve a greeting, bytes and echoes with nothing but hyper: the limit of what can be measured
    HelloHyper(HelloArgs),
}

/// Where everything is.
#[derive(Debug, Args)]
struct ToolArgs {
    /// The gyre binary
    #[arg(long, env = "GYRE_BENCH_GYRE", default_value = "target/release/gyre", hide_env = true)]
    gyre: PathBuf,
    /// The folder with the guest programs
    #[arg(long, env = "GYRE_BENCH_GUESTS", default_value = "target/guests", hide_env = true)]
    guests: PathBuf,
    /// The folder with the sample applications
    #[arg(long, env = "GYRE_BENCH_APPS", default_value = "target/apps", hide_env = true)]
    apps: PathBuf,
    /// The folder with the peers' binaries
    #[arg(long, env = "GYRE_BENCH_PEERS", default_value = "target/peers/bin", hide_env = true)]
    peers: PathBuf,
    /// A spin binary
    #[arg(long, env = "SPIN_BIN")]
    spin: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct FullArgs {
    /// Only the case of this name
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Connections, kept alive
    #[arg(short, long, default_value_t = 32)]
    connections: usize,
    /// How long each measurement takes, in seconds
    #[arg(short, long, default_value = "5", value_parser = seconds)]
    duration: Duration,
    /// How long each server is warmed up before, in seconds
    #[arg(long, default_value = "1", value_parser = seconds)]
    warm_up: Duration,
    /// Measurements of each server, of which the median is shown
    #[arg(short, long, default_value_t = 5)]
    rounds: usize,
    /// How often a server is started where starts are measured
    #[arg(long, default_value_t = 50)]
    starts: usize,
    /// Write the figures, all rounds with them, to this file as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the page of all figures to this file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    tools: ToolArgs,
}

#[derive(Debug, Args)]
struct QuickArgs {
    /// Connections, kept alive
    #[arg(short, long, default_value_t = 32)]
    connections: usize,
    /// How long each measurement takes, in seconds
    #[arg(short, long, default_value = "3", value_parser = seconds)]
    duration: Duration,
    /// How long each server is warmed up before, in seconds
    #[arg(long, default_value = "1", value_parser = seconds)]
    warm_up: Duration,
    /// Measurements of each server, of which the median counts
    #[arg(short, long, default_value_t = 5)]
    rounds: usize,
    /// Store the ratios instead of comparing them
    #[arg(long)]
    store: bool,
    /// The file of stored ratios
    #[arg(
        long,
        env = "GYRE_BENCH_RATIOS",
        value_name = "FILE",
        default_value = "support/bench/ratios.toml",
        hide_env = true
    )]
    ratios: PathBuf,
    #[command(flatten)]
    tools: ToolArgs,
}

#[derive(Debug, Args)]
struct HttpArgs {
    /// Connections, kept alive
    #[arg(short, long, default_value_t = 32)]
    connections: usize,
    /// How long each measurement takes, in seconds
    #[arg(short, long, default_value = "5", value_parser = seconds)]
    duration: Duration,
    /// How long each server is warmed up before, in seconds
    #[arg(long, default_value = "1", value_parser = seconds)]
    warm_up: Duration,
    /// Measurements of each server, of which the median is shown
    #[arg(short, long, default_value_t = 3)]
    rounds: usize,
    /// Only servers with this in their name
    #[arg(long)]
    only: Vec<String>,
    /// The component [default: the `hello` of the guest programs]
    #[arg(long)]
    component: Option<PathBuf>,
    /// Write the figures to this file as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    tools: ToolArgs,
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// `http://host[:port]/path`
    url: String,
    /// Connections, kept alive
    #[arg(short, long, default_value_t = 32)]
    connections: usize,
    /// Threads [default: one per core]
    #[arg(short, long)]
    threads: Option<usize>,
    /// For how many seconds [default: 10, unless --requests is given]
    #[arg(short, long, value_parser = seconds)]
    duration: Option<Duration>,
    /// How many requests
    #[arg(short = 'n', long)]
    requests: Option<u64>,
    /// Requests per second, evenly spaced [default: as many as are answered]
    #[arg(long)]
    rate: Option<f64>,
    /// The Host header [default: the URL's]
    #[arg(long)]
    host: Option<String>,
    /// The method
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// A header
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The body
    #[arg(long, default_value = "")]
    body: String,
    /// Check that each answer is wholly `--old` or wholly `--new`, and never old after new
    #[arg(long, requires = "old", requires = "new")]
    verify: bool,
    /// The body before the swap
    #[arg(long, value_name = "BODY")]
    old: Option<String>,
    /// The body after it
    #[arg(long, value_name = "BODY")]
    new: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct HelloArgs {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Threads [default: one per core]
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Full(args) => measure(args),
        Command::Quick(args) => check(args),
        Command::Http(args) => compare(args),
        Command::Load(args) => send(&args),
        Command::HelloHyper(args) => serve(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

impl ToolArgs {
    fn tools(self) -> Result<Tools> {
        Ok(Tools {
            gyre: absolute(self.gyre),
            bench: std::env::current_exe()?,
            guests: absolute(self.guests),
            apps: absolute(self.apps),
            peers: absolute(self.peers),
            spin: self.spin.map(absolute),
        })
    }
}

/// Servers are started in folders of their own.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn progress(line: &str) {
    eprintln!("{line}");
}

fn code(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(args: FullArgs) -> Result<ExitCode> {
    let settings = Settings {
        connections: args.connections,
        duration: args.duration,
        warm_up: args.warm_up,
        rounds: args.rounds,
        starts: args.starts,
    };
    let report = full::run(&args.tools.tools()?, &settings, &args.only, &progress)?;
    println!("\n{report}");
    if let Some(file) = args.json {
        fs_err::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    if let Some(file) = args.markdown {
        fs_err::write(file, report.markdown())?;
    }
    if !report.is_clean() {
        eprintln!("error: not everything could be measured, or requests failed");
    }
    Ok(code(report.is_clean()))
}

fn check(args: QuickArgs) -> Result<ExitCode> {
    let settings = Settings {
        connections: args.connections,
        duration: args.duration,
        warm_up: args.warm_up,
        rounds: args.rounds,
        starts: 1,
    };
    // Before the minutes are spent.
    let stored = if args.store { None } else { Some(Ratios::read(&args.ratios)?) };
    let report = quick::run(&args.tools.tools()?, &settings, &progress)?;
    println!("\n{}", report.table);
    let Some(stored) = stored else {
        report.ratios.write(&args.ratios)?;
        println!("{} ratios in {}", report.ratios.ratios.len(), args.ratios.display());
        return Ok(ExitCode::SUCCESS);
    };
    let compared = report.ratios.compare(&stored);
    println!("{}", ratios::table(&compared));
    Ok(code(compared.iter().all(ratios::Compared::is_good)))
}

fn compare(args: HttpArgs) -> Result<ExitCode> {
    let settings = Settings {
        connections: args.connections,
        duration: args.duration,
        warm_up: args.warm_up,
        rounds: args.rounds,
        starts: 1,
    };
    let component = args.component.map(absolute);
    let report = http::run(&args.tools.tools()?, &settings, component, &args.only, &progress)?;
    println!("\n{report}");
    if let Some(file) = args.json {
        fs_err::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(code(report.compared.failed() == 0))
}

fn send(args: &LoadArgs) -> Result<ExitCode> {
    let mut options = load::Options::get(&args.url)?;
    options.connections = args.connections;
    options.threads = args.threads.unwrap_or(options.threads);
    options.requests = args.requests;
    options.duration = args.duration.or(options.duration.filter(|_| args.requests.is_none()));
    options.rate = args.rate;
    options.host = args.host.clone().unwrap_or(options.host);
    options.method.clone_from(&args.method);
    options.headers.clone_from(&args.headers);
    options.body = args.body.clone().into_bytes();
    let swap = args.verify.then(|| {
        let body = |text: &Option<String>| text.clone().unwrap_or_default();
        load::Swap::new(body(&args.old), body(&args.new))
    });
    let check = |answer: &load::Answer<'_>| swap.as_ref().map_or(Ok(()), |swap| swap.check(answer));
    let report = load::run(&options, Some(&check), None)?;
    let summary = report.summary();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        println!("{summary}");
    }
    for example in &report.examples {
        eprintln!("failed: {example}");
    }
    let mut is_clean = report.failed() == 0;
    if let Some(swap) = swap {
        let seen = swap.report();
        is_clean &= seen.is_clean();
        let back = if seen.went_back { ", and old again after new" } else { "" };
        eprintln!("{} old, {} new, {} neither{back}", seen.old, seen.new, seen.other);
    }
    Ok(code(is_clean))
}

fn serve(args: &HelloArgs) -> Result<ExitCode> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let hello = Hello::start(args.listen, args.threads.unwrap_or_else(cores))?;
    println!("Serving http://{}", hello.address);
    hello.wait();
    Ok(ExitCode::SUCCESS)
}

fn seconds(text: &str) -> Result<Duration> {
    let seconds: f64 = text.parse().context("not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).context("not a number of seconds")
}

fn header(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once(':').context("NAME: VALUE is expected")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
