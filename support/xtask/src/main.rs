//! `cargo xtask`: what a contributor and the continuous integration run, in one program.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

mod apps;
mod bench;
mod ci;
mod debian;
mod digest;
mod fuzz;
mod guests;
mod interfaces;
mod layers;
mod packages;
mod paths;
mod peers;
mod process;
mod summary;
mod test;
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and measures Gyre")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set up what the tests need, say what is installed, and run them all
    Test(test::Args),
    /// Build the guest programs of the tests
    Guests(guests::Args),
    /// Build the sample applications, in several languages and of several ages
    Apps(apps::Args),
    /// Everything that must pass before a change lands: format, lints, layers, dependencies, tests
    Ci,
    /// Feed what reads untrusted input with made-up input
    Fuzz(fuzz::Args),
    /// Write the page of all interfaces and the tests that use them
    Interfaces(interfaces::Args),
    /// Check which crate uses which
    Layers,
    /// Install the servers that Gyre is measured beside
    Peers,
    /// Measure (`cargo xtask bench --help` says what)
    #[command(disable_help_flag = true)]
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Test(args) => return test::run(&args),
        Command::Guests(args) => guests::run(&args),
        Command::Apps(args) => apps::run(&args),
        Command::Ci => return ci::run(),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Interfaces(args) => interfaces::run(&args),
        Command::Layers => layers::run(),
        Command::Peers => peers::run(),
        Command::Bench(args) => return bench::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
