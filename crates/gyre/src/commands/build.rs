//! `gyre build`: runs the commands of the manifest's build sections.

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, Result, anyhow, bail};
use gyre_dev::build::{self, Step};
use gyre_manifest::AppManifest;
use gyre_package::{
    load,
    targets::{self, Checked},
};

use super::runtime;
use crate::{
    application::{self, Loading, Place},
    cli::{BuildArgs, Cli, Command, FromArgs},
    config, printer,
};

/// The interfaces of a component's dependencies, beside its sources.
const WIT: &str = "spin-dependencies.wit";

/// `gyre build`.
pub(crate) fn run(args: BuildArgs) -> Result<ExitCode> {
    let extras = Extras { wit: !args.skip_generate_wits, targets: !args.skip_target_checks };
    let code = build_with(&args.from, &args.components, extras)?;
    if let Some(code) = code {
        return Ok(code);
    }
    if !args.up {
        return Ok(ExitCode::SUCCESS);
    }
    let mut up: Vec<String> = vec!["gyre".into(), "up".into()];
    if let Some(from) = &args.from.from {
        up.extend(["--from".into(), from.display().to_string()]);
    }
    if let Some(profile) = &args.from.profile {
        up.extend(["--profile".into(), profile.clone()]);
    }
    up.extend(args.components.iter().flat_map(|id| ["--component-id".into(), id.clone()]));
    up.extend(args.up_args);
    match <Cli as clap::Parser>::try_parse_from(up) {
        Ok(Cli { command: Command::Up(up), .. }) => super::up::run(up),
        Ok(_) => bail!("these are not arguments of `gyre up`"),
        Err(error) => error.exit(),
    }
}

/// Builds an application. The exit code of the command that failed, if one did.
pub(crate) fn build(from: &FromArgs, only: &[String]) -> Result<Option<ExitCode>> {
    build_with(from, only, Extras { wit: true, targets: true })
}

/// What is done besides running commands.
#[derive(Clone, Copy)]
struct Extras {
    /// Interfaces of dependencies are written.
    wit: bool,
    /// The components are checked against the manifest's targets.
    targets: bool,
}

fn build_with(from: &FromArgs, only: &[String], extras: Extras) -> Result<Option<ExitCode>> {
    let Place::Manifest(path) = application::find_from(from)? else {
        bail!("a component cannot be built without its application's manifest");
    };
    let manifest = application::read_manifest(&path)?;
    let app = manifest.normalize(from.profile.as_deref())?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let steps = build::plan(&app, folder, only)?;
    if steps.is_empty() {
        printer::note("None of the components have a build command.");
        return Ok(None);
    }
    for step in steps {
        if extras.wit
            && let Err(error) = write_wit(&app, folder, &step)
        {
            // The build may do without: it says so itself where it cannot.
            printer::note(format_args!(
                "the interfaces of {}'s dependencies were not written ({error:#}); --skip-generate-wits leaves them alone",
                step.component
            ));
        }
        for command in &step.commands {
            printer::data(format_args!("Building component {} with `{command}`", step.component));
            let status = build::run(command, &step.workdir)?;
            if !status.success() {
                printer::error(&anyhow::anyhow!(
                    "the build of component {} failed: `{command}` ended with {status}",
                    step.component
                ));
                // What the tool says with its exit code is passed on.
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                return Ok(Some(ExitCode::from(code.filter(|code| *code != 0).unwrap_or(1))));
            }
        }
    }
    printer::data("Finished building all Spin components");
    let targets = app.components.values().filter_map(|component| component.targets.as_ref());
    let has_targets = targets.chain([&app.application.targets]).any(|targets| !targets.is_empty());
    if !extras.targets || !has_targets {
        return Ok(None);
    }
    let checked = check_targets(&path, &app, folder, from.profile.clone(), only)?;
    for environment in checked.unknown {
        printer::warning(format_args!(
            "whether the components can run in {environment} is not checked: its worlds are not on this machine"
        ));
    }
    for problem in &checked.problems {
        printer::error(&anyhow!("{problem}"));
    }
    Ok((!checked.problems.is_empty()).then_some(ExitCode::FAILURE))
}

/// Checks what was built against the targets of the manifest.
fn check_targets(
    path: &Path,
    app: &AppManifest,
    folder: &Path,
    profile: Option<String>,
    only: &[String],
) -> Result<Checked> {
    let place = Place::Manifest(path.to_owned());
    let loading = Loading { profile, components: only.to_vec(), ..Loading::default() };
    let loaded = runtime()?.block_on(application::load(&place, loading));
    let loaded = loaded.context("cannot check the components against their targets")?;
    Ok(targets::check(app, folder, &loaded.application)?)
}

/// Writes the interfaces of a component's dependencies beside its sources.
fn write_wit(app: &AppManifest, folder: &Path, step: &Step) -> Result<()> {
    let path = step.workdir.join(WIT);
    let cache = config::cache_folder()?.join("components");
    let packages = config::packages()?;
    let wit = load::dependencies_wit(app, folder, &step.component, &cache, &packages);
    if let Some(text) = runtime()?.block_on(wit)?
        && fs_err::read_to_string(&path).ok().as_deref() != Some(text.as_str())
    {
        fs_err::write(&path, text)?;
    }
    Ok(())
}
