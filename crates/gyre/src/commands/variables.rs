//! `gyre variables list|set|delete`. Values are never shown.

use std::process::ExitCode;

use anyhow::Result;
use gyre_api::v1::SetVariables;

use super::{DONE, client, explain, runtime};
use crate::{
    cli::{VariablesArgs, VariablesCommand},
    printer,
};

/// `gyre variables`.
pub(crate) fn run(args: VariablesArgs) -> Result<ExitCode> {
    runtime()?.block_on(async {
        let (app, server, change) = match args.command {
            VariablesCommand::List { app, server, format } => {
                let variables = client(&server).await?.variables(&app).await.map_err(explain)?;
                if format.is_json() {
                    printer::json(&variables)?;
                } else {
                    for variable in &variables {
                        printer::data(&variable.name);
                    }
                }
                return DONE;
            }
            VariablesCommand::Set { app, values, server } => {
                let set = values.into_iter().collect();
                (app, server, SetVariables { set, ..SetVariables::default() })
            }
            VariablesCommand::Delete { app, names, server } => {
                (app, server, SetVariables { delete: names, ..SetVariables::default() })
            }
        };
        let release = client(&server).await?.set_variables(&app, &change).await.map_err(explain)?;
        match release {
            Some(release) => printer::note(format_args!(
                "Changed; release {} takes over as soon as it is ready.",
                release.number
            )),
            None => printer::note("Changed; it holds from the first deploy on."),
        }
        DONE
    })
}
