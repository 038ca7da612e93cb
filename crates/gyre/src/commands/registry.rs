//! `gyre registry push`, `pull` and `login`: applications in OCI registries, as `spin registry` has them.

use std::{io::Read as _, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use gyre_model::Secret;
use gyre_package::{
    pack::{PackOptions, pack_with},
    registry::{Credentials, ImageReference, Progress, Step, client_of},
};

use super::{DONE, build, runtime};
use crate::{
    application::{self, Loading},
    cli::{
        FromArgs, RegistryArgs, RegistryCommand, RegistryLoginArgs, RegistryPullArgs,
        RegistryPushArgs,
    },
    config, printer,
};

/// `gyre registry`.
pub(crate) fn run(args: RegistryArgs) -> Result<ExitCode> {
    match args.command {
        RegistryCommand::Push(args) => push(args),
        RegistryCommand::Pull(args) => runtime()?.block_on(pull(args)),
        RegistryCommand::Login(args) => login(args),
    }
}

fn push(args: RegistryPushArgs) -> Result<ExitCode> {
    let from = FromArgs {
        from: args.from.clone(),
        from_registry: None,
        profile: args.profile.clone(),
        insecure: args.insecure,
    };
    if args.build
        && let Some(code) = build::build(&from, &[])?
    {
        return Ok(code);
    }
    let image: ImageReference = args.reference.parse()?;
    runtime()?.block_on(async {
        let place = application::find(args.from.as_deref())?;
        let loading = Loading {
            profile: args.profile,
            cache: args.cache_dir,
            keep_dependencies: !args.compose,
            ..Loading::default()
        };
        let loaded = application::load(&place, loading).await?;
        let remote = application::remote(&image, args.insecure).await?;
        let Some(tag) = remote.tag() else {
            bail!("{image} names a digest, which nothing can be pushed to; name a tag");
        };
        let options = PackOptions {
            archives: args.archive_layers,
            annotations: args.annotations.into_iter().collect(),
        };
        let application = loaded.application.clone();
        let packed =
            tokio::task::spawn_blocking(move || pack_with(&application, options)).await??;
        let bar = printer::progress(packed.size(), "Pushing");
        let shown = bar.clone();
        let progress = move |progress: Progress| match progress.step {
            Step::Blobs => shown.set_position(progress.bytes_done),
            Step::Manifest | Step::Done => {}
        };
        let pushed = remote.client().push(&packed, remote.repository(), Some(tag), progress).await;
        bar.finish_and_clear();
        let digest = pushed.with_context(|| format!("cannot push {image}"))?;
        printer::data(format_args!("Pushed with digest {digest}"));
        DONE
    })
}

async fn pull(args: RegistryPullArgs) -> Result<ExitCode> {
    let image: ImageReference = args.reference.parse()?;
    let cache = match args.cache_dir {
        Some(dir) => dir,
        None => config::cache_folder()?,
    };
    let remote = application::remote(&image, args.insecure).await?;
    let spinner = printer::spinner("Pulling the application");
    let pulled = remote.pull(&cache, |_| {}).await;
    spinner.finish_and_clear();
    pulled.with_context(|| format!("cannot pull {image}"))?;
    printer::data("Successfully pulled the app from the registry");
    DONE
}

fn login(args: RegistryLoginArgs) -> Result<ExitCode> {
    let user = match args.username {
        Some(user) => user,
        None => dialoguer::Input::<String>::new().with_prompt("Username").interact_text()?,
    };
    let password: Secret<String> = match args.password {
        Some(password) => password.into(),
        None if args.password_stdin => {
            let mut text = String::new();
            std::io::stdin().lock().take(1 << 20).read_to_string(&mut text)?;
            text.trim_end_matches(['\r', '\n']).to_owned().into()
        }
        None => bail!("give the password with --password-stdin, or with --password"),
    };
    let credentials = Credentials::Password { user: user.clone(), password: password.clone() };
    let client = client_of(&args.server, false, Some(credentials))?;
    runtime()?.block_on(client.check()).context("cannot log in to the registry")?;
    config::credentials()?.save(&args.server, &user, &password)?;
    printer::data(format_args!("Successfully logged in as {user} to registry {}", args.server));
    DONE
}
