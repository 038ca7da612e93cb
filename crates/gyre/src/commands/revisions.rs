//! `gyre revisions list`, `gyre rollback`.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    DONE, client,
    deploy::{Deployed, Voice, wait},
    explain, runtime,
};
use crate::{
    cli::{RevisionsArgs, RevisionsCommand, RollbackArgs},
    printer,
};

/// `gyre revisions`.
pub(crate) fn run(args: RevisionsArgs) -> Result<ExitCode> {
    let RevisionsCommand::List { app, server, format } = args.command;
    runtime()?.block_on(async {
        let revisions = client(&server).await?.revisions(&app).await.map_err(explain)?;
        if format.is_json() {
            printer::json(&revisions)?;
            return DONE;
        }
        if revisions.is_empty() {
            printer::note("No revisions found");
        }
        let width =
            revisions.iter().map(|revision| revision.version.len()).max().unwrap_or_default();
        for revision in revisions {
            let active = match revision.active_in.as_slice() {
                [] => String::new(),
                channels => format!("  active in {}", channels.join(", ")),
            };
            printer::data(format_args!(
                "{}  {:width$}  {:.0}{active}",
                revision.digest.short(),
                revision.version,
                revision.created
            ));
        }
        DONE
    })
}

/// `gyre rollback`.
pub(crate) fn rollback(args: RollbackArgs) -> Result<ExitCode> {
    runtime()?.block_on(async {
        let client = client(&args.server).await?;
        let voice = Voice { is_json: args.format.is_json() };
        let release =
            client.rollback(&args.app, args.revision.as_deref()).await.map_err(explain)?;
        let (version, digest) = (release.revision.version.clone(), release.revision.digest);
        voice.say(format_args!("Rolling back {} to {version} ({})...", args.app, digest.short()));
        let release = wait(&client, &args.app, release, args.readiness_timeout, voice).await?;
        if voice.is_json {
            printer::json(&Deployed {
                app: args.app,
                url: release.url.clone(),
                revision: digest,
                version,
                release: release.number,
            })?;
        } else {
            let place = release.url.map_or_else(String::new, |url| format!(" at {url}"));
            voice.say(format_args!(
                "{} now serves {version} ({}){place}",
                args.app,
                digest.short()
            ));
        }
        DONE
    })
}
