//! One module for each verb: settings in, effects and printing out.

pub(crate) mod apps;
pub(crate) mod bindle;
pub(crate) mod build;
pub(crate) mod deploy;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod new;
pub(crate) mod quickstart;
pub(crate) mod registry;
pub(crate) mod revisions;
pub(crate) mod server;
pub(crate) mod up;
pub(crate) mod variables;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use gyre_api::{Client, ClientOptions};
use gyre_telemetry::otlp::Service;

use crate::{cli::ServerUrlArgs, config, printer};

/// The threads of a verb that waits for others.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .context("cannot start the threads that wait for the network")
}

/// Begins to export what the environment asks for. `has_otel` is whether guests are to have telemetry of their own.
pub(crate) fn start_telemetry(service: Service, has_otel: bool) -> Result<()> {
    gyre_telemetry::otlp::start(service)?;
    if has_otel && !gyre_telemetry::otlp::is_exporting() {
        printer::note(
            "Warning: --experimental-wasi-otel is given, but no OTEL_EXPORTER_* environment variables were found. \
             No telemetry will be exported.",
        );
    }
    Ok(())
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// A client of the server that is meant, with a token that has not run out.
pub(crate) async fn client(args: &ServerUrlArgs) -> Result<Client> {
    let mut sign_in = config::resolve(args)?;
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(5);
    if let (Some(expiration), Some(refresh)) = (sign_in.expiration, sign_in.refresh_token.clone())
        && expiration < soon
    {
        let client = anonymous(&sign_in.url)?;
        let renewed = client.refresh(&sign_in.token, &refresh).await.map_err(explain)?;
        sign_in.token.clone_from(&renewed.token);
        sign_in.refresh_token = Some(renewed.refresh_token.clone());
        sign_in.expiration = renewed.expiration.parse().ok();
        config::save(&sign_in)?;
    }
    Ok(anonymous(&sign_in.url)?.with_token(sign_in.token.into()))
}

/// A client without a token.
pub(crate) fn anonymous(url: &str) -> Result<Client> {
    let user_agent = Some(concat!("gyre/", env!("CARGO_PKG_VERSION")).to_owned());
    let options = ClientOptions { url: url.to_owned(), user_agent, ..ClientOptions::default() };
    Client::new(options).map_err(explain)
}

/// A server's error with what to do about it.
pub(crate) fn explain(error: gyre_api::Error) -> anyhow::Error {
    match error.hint() {
        Some(hint) => anyhow::Error::new(error).context(Hinted(hint)),
        None => error.into(),
    }
}

/// What a person can do about an error; shown after its causes.
#[derive(Debug)]
pub(crate) struct Hinted(pub(crate) String);

impl std::fmt::Display for Hinted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A question that is answered with yes; without a terminal the answer is no.
pub(crate) fn confirm(question: &str) -> Result<bool> {
    use std::io::IsTerminal as _;
    if !std::io::stdin().is_terminal() {
        printer::note("not a terminal: use --yes to go on without being asked");
        return Ok(false);
    }
    Ok(dialoguer::Confirm::new().with_prompt(question).default(false).interact()?)
}

/// Nothing went wrong.
pub(crate) const DONE: Result<ExitCode> = Ok(ExitCode::SUCCESS);
