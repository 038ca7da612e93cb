//! `gyre login`, `gyre logout`: signing in by a code that is approved in a browser, or with a token.

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, bail};
use gyre_api::{Client, DevicePoll};
use serde::Serialize;

use super::{DONE, anonymous, explain, runtime};
use crate::{
    cli::{LoginArgs, LogoutArgs},
    config::{self, SignIn},
    printer,
};

/// `gyre login`.
pub(crate) fn login(args: LoginArgs) -> Result<ExitCode> {
    runtime()?.block_on(async {
        if args.status {
            return status(args.format.is_json()).await;
        }
        let client = anonymous(&args.url)?;
        let sign_in = match args.token {
            Some(token) => {
                SignIn { url: args.url.clone(), token, refresh_token: None, expiration: None }
            }
            None => by_code(&client, &args.url).await?,
        };
        let client = client.with_token(sign_in.token.clone().into());
        let account = client.account().await.map_err(explain)?;
        config::save(&sign_in)?;
        printer::note(format_args!("Signed in to {} as {}.", args.url, account.name));
        DONE
    })
}

async fn by_code(client: &Client, url: &str) -> Result<SignIn> {
    let code = client.create_device_code().await.map_err(explain)?;
    printer::data(format_args!("\nCopy your one-time code:\n\n{}\n", code.user_code));
    printer::data("...and open the authorization page in your browser:\n");
    printer::data(format_args!("{}\n", code.verification_url));
    let mut interval = Duration::from_secs(u64::try_from(code.interval).unwrap_or(5).max(1));
    let end = tokio::time::Instant::now()
        + Duration::from_secs(u64::try_from(code.expires_in).unwrap_or(600));
    loop {
        printer::data("Waiting for device authorization...");
        tokio::time::sleep(interval).await;
        match client.poll_device_code(&code.device_code).await.map_err(explain)? {
            DevicePoll::Pending => {}
            DevicePoll::SlowDown => interval += Duration::from_secs(5),
            DevicePoll::Approved(token) => {
                printer::data("Device authorized!");
                return Ok(SignIn {
                    url: url.to_owned(),
                    token: token.token,
                    refresh_token: Some(token.refresh_token),
                    expiration: token.expiration.parse().ok(),
                });
            }
        }
        if tokio::time::Instant::now() > end {
            bail!("the code has expired; `gyre login` gives a new one");
        }
    }
}

async fn status(is_json: bool) -> Result<ExitCode> {
    #[derive(Serialize)]
    struct Status {
        url: String,
        account: String,
        expiration: Option<jiff::Timestamp>,
    }
    let Some(kept) = config::load()? else { bail!("you are not signed in; run `gyre login`") };
    let client = anonymous(&kept.url)?.with_token(kept.token.clone().into());
    let account = client.account().await.map_err(explain)?;
    if is_json {
        printer::json(&Status {
            url: kept.url,
            account: account.name,
            expiration: kept.expiration,
        })?;
    } else {
        printer::data(format_args!("Signed in to {} as {}.", kept.url, account.name));
    }
    DONE
}

/// `gyre logout`.
pub(crate) fn logout(_: LogoutArgs) -> Result<ExitCode> {
    let Some(kept) = config::load()? else {
        printer::note("You were not signed in.");
        return DONE;
    };
    let is_session = kept.refresh_token.is_some();
    if is_session {
        // A token that was given by hand is its owner's to revoke; a session ends with the sign-out.
        let ended = runtime()?.block_on(async {
            anonymous(&kept.url)?
                .with_token(kept.token.clone().into())
                .logout()
                .await
                .map_err(explain)
        });
        if ended.is_err() {
            printer::warning(format_args!(
                "{} could not be told; its session ends by itself",
                kept.url
            ));
        }
    }
    config::forget()?;
    printer::note(format_args!("Signed out of {}.", kept.url));
    DONE
}
