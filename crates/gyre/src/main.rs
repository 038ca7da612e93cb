//! `gyre`: the developer's tool, the cloud, and its client, in one binary.
//!
//! What was typed → what it means → one match.

#![allow(clippy::needless_pass_by_value, reason = "a verb owns its arguments")]
#![allow(clippy::unnecessary_debug_formatting, reason = "paths are quoted as Spin quotes them")]

mod application;
mod cli;
mod commands;
mod config;
mod diagnostics;
mod printer;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    gyre_telemetry::init(&cli.log_filter());
    // Whoever goes on to handle a broken pipe as an error would print one where `head` just had enough.
    let outcome = match cli.command {
        Command::New(args) => commands::new::new(args),
        Command::Add(args) => commands::new::add(args),
        Command::Templates(args) => commands::new::templates(args),
        Command::Build(args) => commands::build::run(args),
        Command::Up(args) => commands::up::run(args),
        Command::Server(args) => commands::server::run(args),
        Command::Quickstart(args) => commands::quickstart::run(args),
        Command::Login(args) => commands::login::login(args),
        Command::Logout(args) => commands::login::logout(args),
        Command::Deploy(args) => commands::deploy::run(args),
        Command::Apps(args) => commands::apps::run(args),
        Command::Revisions(args) => commands::revisions::run(args),
        Command::Rollback(args) => commands::revisions::rollback(args),
        Command::Registry(args) => commands::registry::run(args),
        Command::Bindle(args) => commands::bindle::run(args),
        Command::Logs(args) => commands::logs::run(args),
        Command::Variables(args) => commands::variables::run(args),
        Command::CompileComponent(args) => return gyre_runtime::compile_child_main(&args.args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            printer::error(&error);
            ExitCode::FAILURE
        }
    }
}
