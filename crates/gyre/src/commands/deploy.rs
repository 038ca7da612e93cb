//! `gyre deploy`: packs an application, pushes what the server lacks, and waits until it serves.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use gyre_api::{
    Client,
    v1::{Release, ReleaseState},
};
use gyre_manifest::{events::EventTriggers, http::list_routes};
use gyre_model::{Application, Digest, LockedApp};
use gyre_package::{
    pack::pack,
    registry::{Client as Registry, Progress, Step},
};
use serde::Serialize;

use super::{DONE, build, client, explain, runtime};
use crate::{
    application::{self, Loading},
    cli::DeployArgs,
    printer,
};

/// What a deploy came to.
#[derive(Debug, Serialize)]
pub(crate) struct Deployed {
    pub(crate) app: String,
    /// None if nothing of it answers HTTP requests.
    pub(crate) url: Option<String>,
    pub(crate) revision: Digest,
    pub(crate) version: String,
    pub(crate) release: u64,
}

/// How a deploy is shown: Spin's lines on standard output, or on standard error where that carries JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voice {
    pub(crate) is_json: bool,
}

impl Voice {
    pub(crate) fn say(self, line: impl std::fmt::Display) {
        if self.is_json { printer::note(line) } else { printer::data(line) }
    }
}

/// `gyre deploy`.
pub(crate) fn run(args: DeployArgs) -> Result<ExitCode> {
    if args.build
        && args.bindle.bindle.is_none()
        && let Some(code) = build::build(&args.from, &[])?
    {
        return Ok(code);
    }
    runtime()?.block_on(async {
        let place = application::find_source(&args.from, &args.bindle)?;
        let profile = args.from.profile.clone();
        let loaded = application::load(&place, Loading { profile, ..Loading::default() }).await?;
        let client = client(&args.server).await?;
        let voice = Voice { is_json: args.format.is_json() };
        let variables = args.variables.iter().cloned().collect();
        let deployed =
            deploy(&client, &loaded.application, variables, args.readiness_timeout, voice).await?;
        if voice.is_json {
            printer::json(&deployed)?;
        }
        DONE
    })
}

/// Deploys a loaded application.
pub(crate) async fn deploy(
    client: &Client,
    application: &Application,
    variables: BTreeMap<String, String>,
    timeout: Duration,
    voice: Voice,
) -> Result<Deployed> {
    check(&application.locked)?;
    let packed = {
        let application = application.clone();
        tokio::task::spawn_blocking(move || pack(&application)).await??
    };
    let name = application.locked.name();
    let version = application.locked.version().unwrap_or("0.0.0");
    voice.say(format_args!("Uploading {name} version {version}+r{}...", packed.digest.short()));
    let app = client.ensure_app(name).await.map_err(explain)?;
    let registry = Registry::new(client.url().clone(), client.token().cloned())?;
    let bar = printer::progress(packed.size(), "Uploading");
    let shown = bar.clone();
    let progress = move |progress: Progress| match progress.step {
        Step::Blobs => shown.set_position(progress.bytes_done),
        Step::Manifest | Step::Done => {}
    };
    let pushed = registry.push(&packed, &app.repository, None, progress).await;
    bar.finish_and_clear();
    pushed.context("the upload failed")?;
    voice.say("Deploying...");
    let release = client.deploy(&app.name, packed.digest, variables).await.map_err(explain)?;
    let release = wait(client, &app.name, release, timeout, voice).await?;
    if let Some(url) = &release.url {
        voice.say("Available Routes:");
        let base = url.trim_end_matches('/');
        for route in list_routes(&application.locked)? {
            voice.say(format_args!("  {}: {base}{route}", route.id));
            if let Some(description) = &route.description {
                voice.say(format_args!("    {description}"));
            }
        }
    }
    let events = events(&release.triggers);
    if !events.is_empty() {
        voice.say(format_args!(
            "Called by: {} (how that goes: gyre logs {})",
            events.join(", "),
            app.name
        ));
    }
    Ok(Deployed {
        app: app.name,
        url: release.url.clone(),
        revision: release.revision.digest,
        version: release.revision.version.clone(),
        release: release.number,
    })
}

/// The types of triggers besides HTTP.
pub(crate) fn events(triggers: &[String]) -> Vec<&str> {
    triggers.iter().map(String::as_str).filter(|kind| *kind != "http").collect()
}

/// Refuses here what the server would refuse later.
fn check(app: &LockedApp) -> Result<()> {
    if app.triggers.iter().any(|trigger| trigger.trigger_type == "command") {
        bail!("triggers of type 'command' run under `gyre up`, not on a server");
    }
    EventTriggers::from_locked(app)?;
    if app.triggers.is_empty() {
        bail!("No triggers in app");
    }
    Ok(())
}

/// Waits until a release serves.
///
/// # Errors
/// It never will, or not in time, with the reason.
pub(crate) async fn wait(
    client: &Client,
    app: &str,
    release: Release,
    timeout: Duration,
    voice: Voice,
) -> Result<Release> {
    let message = "Waiting for application to become ready...";
    let spinner = printer::spinner(message);
    let release = client.wait_for_release(app, release.id, timeout, |_| {}).await;
    spinner.finish_and_clear();
    let release = release.map_err(explain)?;
    let outcome = if release.state == ReleaseState::Active { " ready" } else { " failed" };
    voice.say(format_args!("{message}{outcome}"));
    let reason = release.reason.clone().unwrap_or_default();
    match release.state {
        ReleaseState::Active => Ok(release),
        ReleaseState::Failed => {
            bail!("revision {} did not become ready: {}", release.revision.digest.short(), reason)
        }
        ReleaseState::Retired if release.activated.is_some() => Ok(release),
        ReleaseState::Retired => bail!("this release was overtaken by a newer one: {reason}"),
        _ if !release.missing_variables.is_empty() => {
            let names = release.missing_variables.join(", ");
            let example = &release.missing_variables[0];
            bail!(
                "the application waits for required variables: {names}\nSet them (it starts then by itself): gyre variables set --app {app} {example}=VALUE"
            )
        }
        _ => bail!(
            "the application did not become ready within {} seconds; it may still do so (see `gyre apps info {app}`)",
            timeout.as_secs()
        ),
    }
}
