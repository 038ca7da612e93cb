//! `gyre-bench`: the measurements as commands. `cargo xtask bench` builds what they need and calls it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use gyre_bench::{hello::Hello, http, load};

/// Measures Gyre beside its peers.
#[derive(Debug, Parser)]
#[command(name = "gyre-bench", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare servers on the same component and load
    Http(HttpArgs),
    /// Send requests to a server and count the answers
    Load(LoadArgs),
    /// Serve a greeting with nothing but hyper: the limit of what can be measured
    HelloHyper(HelloArgs),
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
    /// The gyre binary
    #[arg(long, env = "GYRE_BENCH_GYRE", default_value = "target/release/gyre", hide_env = true)]
    gyre: PathBuf,
    /// The folder with the guest programs
    #[arg(long, env = "GYRE_BENCH_GUESTS", default_value = "target/guests", hide_env = true)]
    guests: PathBuf,
    /// The folder with the peers' binaries
    #[arg(long, env = "GYRE_BENCH_PEERS", default_value = "target/peers/bin", hide_env = true)]
    peers: PathBuf,
    /// A spin binary
    #[arg(long, env = "SPIN_BIN")]
    spin: Option<PathBuf>,
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
        Command::Http(args) => compare(args),
        Command::Load(args) => send(&args),
        Command::HelloHyper(args) => serve(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn compare(args: HttpArgs) -> Result<ExitCode> {
    // Servers are started in folders of their own.
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let options = http::Options {
        gyre: absolute(args.gyre),
        bench: std::env::current_exe()?,
        component: absolute(args.component.unwrap_or_else(|| args.guests.join("hello.wasm"))),
        peers: absolute(args.peers),
        spin: args.spin.map(absolute),
        connections: args.connections,
        duration: args.duration,
        warm_up: args.warm_up,
        rounds: args.rounds,
        only: args.only,
    };
    let report = http::run(&options, &|line| eprintln!("{line}"))?;
    println!("\n{report}");
    if let Some(file) = args.json {
        fs_err::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    let is_clean = report.servers.iter().all(|server| server.failed == 0);
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
