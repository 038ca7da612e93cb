//! `gyre build`: runs the commands of the manifest's build sections.

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail};
use gyre_dev::build::{self, Step};
use gyre_manifest::AppManifest;
use gyre_package::load;

use super::runtime;
use crate::{
    application::{self, Place},
    cli::{BuildArgs, Cli, Command, FromArgs},
    config, printer,
};

/// The interfaces of a component's dependencies, beside its sources.
const WIT: &str = "spin-dependencies.wit";

/// `gyre build`.
pub(crate) fn run(args: BuildArgs) -> Result<ExitCode> {
    let code = build_with(&args.from, &args.components, !args.skip_generate_wits)?;
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
    build_with(from, only, true)
}

fn build_with(from: &FromArgs, only: &[String], has_wit: bool) -> Result<Option<ExitCode>> {
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
        if has_wit && let Err(error) = write_wit(&app, folder, &step) {
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
    let targets = app.components.values().filter_map(|component| component.targets.as_ref());
    if targets.chain([&app.application.targets]).any(|targets| !targets.is_empty()) {
        printer::warning(
            "`targets` are accepted, but whether the components can run there is not checked",
        );
    }
    printer::data("Finished building all Spin components");
    Ok(None)
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
