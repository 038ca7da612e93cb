//! Applications as bindles: `gyre bindle prepare` and `push` as Spin 0.6 had them, and what `--bindle` loads.

use std::path::Path;

use anyhow::{Context as _, Result};
use gyre_model::Application;
use gyre_package::bindle::{
    BindleId, Role,
    application::{check, load as load_bindle, write},
    client::Client,
    standalone::Standalone,
};
use serde_json::Value;

use super::{client, fetch, now, secret_key, send};
use crate::{
    application::{self, Loading},
    cli::{
        FromArgs,
        bindle::{BindleApplicationArgs, BindlePrepareArgs, BindlePushArgs, BindleServerArgs},
    },
    printer,
};

/// `gyre bindle prepare`.
pub(super) async fn prepare(args: BindlePrepareArgs, insecure: bool) -> Result<()> {
    let bindle = make(args.application, insecure, &args.staging_dir).await?;
    let folder = fs_err::canonicalize(&args.staging_dir)?;
    let id = bindle.invoice().id()?;
    printer::data(format_args!("id:      {id}"));
    printer::data(format_args!("command: gyre bindle push -p {} {id}", folder.display()));
    Ok(())
}

/// `gyre bindle push` of an application.
pub(super) async fn push(
    args: &BindleServerArgs,
    client: &Client,
    push: BindlePushArgs,
) -> Result<()> {
    let temporary = tempfile::Builder::new().prefix("bindle-").tempdir()?;
    let folder = push.staging_dir.as_deref().unwrap_or(temporary.path());
    let bindle = make(push.application, args.insecure, folder).await?;
    send(client, &bindle).await?;
    printer::data(format_args!("pushed: {}", bindle.invoice().id()?));
    Ok(())
}

/// Makes the bindle of an application in a folder of its own below `folder`.
async fn make(args: BindleApplicationArgs, insecure: bool, folder: &Path) -> Result<Standalone> {
    let BindleApplicationArgs { from, from_registry, profile, buildinfo, .. } = &args;
    let from = FromArgs {
        from: from.clone(),
        from_registry: from_registry.clone(),
        insecure,
        profile: profile.clone(),
    };
    let key = if args.sign {
        let (file, label) = (args.secrets_file.as_deref(), args.label.as_deref());
        Some(secret_key(file, Role::Creator, label, false)?)
    } else {
        None
    };
    let place = application::find_from(&from)?;
    let loading = Loading { profile: from.profile, ..Loading::default() };
    let loaded = application::load(&place, loading).await?;
    let (application, build) = (loaded.application.clone(), buildinfo.clone());
    let into = folder.to_owned();
    let making = tokio::task::spawn_blocking(move || {
        let mut bindle = write(&application, build.as_ref(), &into)?;
        if let Some(key) = key {
            bindle.sign(&key, Role::Creator, now())?;
        }
        anyhow::Ok(bindle)
    });
    making.await?.context("cannot make a bindle of the application")
}

/// Loads the application of a bindle: fetches what is not in the cache, and lays out its files below `work`.
pub(crate) async fn load(
    id: &BindleId,
    server: &BindleServerArgs,
    cache: &Path,
    work: &Path,
) -> Result<Application> {
    let client = client(server).await?;
    let invoice = fetch(server, &client, id, false).await;
    let invoice = invoice.with_context(|| format!("cannot get the bindle {id}"))?;
    check(&invoice).with_context(|| format!("cannot run the bindle {id}"))?;
    let sizes = invoice.parcel.iter().map(|parcel| parcel.label.size);
    let bar = printer::progress(sizes.sum(), "Fetching");
    let pulled = client.pull(invoice, &cache.join("bindles"), |label| bar.inc(label.size)).await;
    bar.finish_and_clear();
    let bindle = pulled.with_context(|| format!("cannot get the bindle {id}"))?;
    let work = work.to_owned();
    let loading =
        tokio::task::spawn_blocking(move || load_bindle(bindle.invoice(), &bindle, &work));
    let mut application = loading.await?.with_context(|| format!("cannot run the bindle {id}"))?;
    let origin = format!("bindle+{}?id={id}", client.address());
    application.locked.metadata.insert("origin".to_owned(), Value::String(origin));
    Ok(application)
}
