//! `gyre apps list|info|delete`.

use std::process::ExitCode;

use anyhow::Result;

use super::{DONE, client, confirm, deploy, explain, runtime};
use crate::{
    cli::{AppsArgs, AppsCommand},
    printer,
};

/// `gyre apps`.
pub(crate) fn run(args: AppsArgs) -> Result<ExitCode> {
    runtime()?.block_on(async {
        match args.command {
            AppsCommand::List { server, format } => {
                let apps = client(&server).await?.apps().await.map_err(explain)?;
                if format.is_json() {
                    printer::json(&apps)?;
                } else if apps.is_empty() {
                    printer::note("No applications found");
                } else {
                    for app in &apps {
                        printer::data(&app.name);
                    }
                }
            }
            AppsCommand::Info { app, server, format } => {
                let app = client(&server).await?.app(&app).await.map_err(explain)?;
                if format.is_json() {
                    printer::json(&app)?;
                    return DONE;
                }
                printer::data(format_args!("Name: {}", app.name));
                if let Some(description) = &app.description {
                    printer::data(format_args!("Description: {}", printer::inert(description)));
                }
                if let Some(url) = &app.url {
                    printer::data(format_args!("URL: {url}"));
                }
                if let Some(active) = &app.active {
                    let events = deploy::events(&active.triggers);
                    if !events.is_empty() {
                        printer::data(format_args!("Called by: {}", events.join(", ")));
                    }
                    let (version, digest) = (&active.revision.version, active.revision.digest);
                    printer::data(format_args!("Revision: {version} ({})", digest.short()));
                    printer::data(format_args!(
                        "Release: {} of channel {}",
                        active.number, active.channel
                    ));
                }
                if let Some(latest) = app.latest.filter(|latest| {
                    app.active.as_ref().is_none_or(|active| active.id != latest.id)
                }) {
                    let state = format!("{:?}", latest.state).to_lowercase();
                    printer::data(format_args!("Newest release: {} ({state})", latest.number));
                    if let Some(reason) = &latest.reason {
                        printer::data(format_args!("  {}", printer::inert(reason)));
                    }
                }
            }
            AppsCommand::Delete { app, yes, server } => {
                let client = client(&server).await?;
                let found = client.app(&app).await.map_err(explain)?;
                let question = match &found.url {
                    Some(url) => format!("Delete {} and everything at {url}?", found.name),
                    None => format!("Delete {}?", found.name),
                };
                if !yes && !confirm(&question)? {
                    printer::note("Nothing was deleted.");
                    return Ok(ExitCode::FAILURE);
                }
                client.delete_app(&found.id.to_string()).await.map_err(explain)?;
                printer::data(format_args!("Deleted app \"{}\" successfully.", found.name));
            }
        }
        DONE
    })
}
