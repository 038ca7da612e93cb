//! `gyre logs`: what an application's guests wrote, and what the host had to say about them.

use std::process::ExitCode;

use anyhow::Result;
use gyre_api::{LogQuery, v1::LogLine};
use jiff::{SignedDuration, Timestamp};

use super::{DONE, client, explain, runtime, stopped};
use crate::{cli::LogsArgs, printer};

/// `gyre logs`.
pub(crate) fn run(args: LogsArgs) -> Result<ExitCode> {
    runtime()?.block_on(async {
        let client = client(&args.server).await?;
        let since = SignedDuration::try_from(args.since).unwrap_or(SignedDuration::MAX);
        let since = Timestamp::now().checked_sub(since).ok();
        let query = LogQuery { since, max: Some(args.tail) };
        let is_json = args.format.is_json();
        if !args.follow {
            let lines = client.logs(&args.app, query).await.map_err(explain)?;
            if is_json {
                printer::json(&lines)?;
            } else {
                for line in &lines {
                    show(line, args.show_timestamps);
                }
            }
            return DONE;
        }
        let mut follower = client.follow_logs(&args.app, query).await.map_err(explain)?;
        loop {
            let line = tokio::select! {
                line = follower.next() => line.map_err(explain)?,
                () = stopped() => return DONE,
            };
            if is_json {
                // One object a line, so that a program can read them as they come.
                printer::data(serde_json::to_string(&line)?);
            } else {
                show(&line, args.show_timestamps);
            }
        }
    })
}

fn show(line: &LogLine, with_time: bool) {
    let text = printer::inert(&line.line);
    if with_time {
        printer::data(format_args!("[{}] {text}", line.time));
    } else {
        printer::data(text);
    }
}
