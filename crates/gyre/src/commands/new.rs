//! `gyre new`, `gyre add`, `gyre templates`: applications and components from templates.

use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, anyhow, bail};
use gyre_dev::templates::{self, Request, Target, Template};
use serde::Serialize;

use crate::{
    cli::{AddArgs, FormatArgs, NewArgs, TemplateArgs, TemplatesArgs, TemplatesCommand},
    printer,
};

/// `gyre new`.
pub(crate) fn new(args: NewArgs) -> Result<ExitCode> {
    let template = choose(&args.template, &Target::NewApplication)?;
    let name = match (args.name, args.init) {
        (Some(name), _) => name,
        (None, true) => folder_name(&std::env::current_dir()?)?,
        (None, false) => ask("Enter a name for your new application")?,
    };
    let output = match (args.output, args.init) {
        (Some(output), _) => output,
        (None, true) => PathBuf::from("."),
        (None, false) => PathBuf::from(&name),
    };
    let values = values(&template, &Target::NewApplication, &args.template)?;
    let written = templates::write(
        &template,
        &Request {
            name: name.clone(),
            output: output.clone(),
            target: Target::NewApplication,
            values,
            authors: authors(),
            allow_overwrite: args.template.allow_overwrite,
        },
    )?;
    printer::note(format_args!(
        "Created {name} in {} ({} files from template {}).",
        output.display(),
        written.files.len(),
        template.id
    ));
    let enter = if args.init { String::new() } else { format!("cd {} && ", output.display()) };
    printer::note(format_args!("Next: {enter}gyre build --up"));
    Ok(ExitCode::SUCCESS)
}

/// `gyre add`.
pub(crate) fn add(args: AddArgs) -> Result<ExitCode> {
    let manifest = if args.file.is_dir() { args.file.join("spin.toml") } else { args.file };
    if !manifest.is_file() {
        bail!(
            "{} not found: run this in an application's folder, or name it with --file",
            manifest.display()
        );
    }
    let target = Target::AddComponent { manifest: manifest.clone() };
    let template = choose(&args.template, &target)?;
    let name = match args.name {
        Some(name) => name,
        None => ask("Enter a name for your new component")?,
    };
    let base = manifest.parent().unwrap_or(Path::new("."));
    let output = args.output.map_or_else(|| base.join(&name), |output| base.join(output));
    let values = values(&template, &target, &args.template)?;
    templates::write(
        &template,
        &Request {
            name: name.clone(),
            output,
            target,
            values,
            authors: authors(),
            allow_overwrite: args.template.allow_overwrite,
        },
    )?;
    printer::note(format_args!("Added {name} to {}.", manifest.display()));
    Ok(ExitCode::SUCCESS)
}

/// `gyre templates`.
pub(crate) fn templates(args: TemplatesArgs) -> Result<ExitCode> {
    #[derive(Serialize)]
    struct Line<'a> {
        id: &'a str,
        description: &'a str,
        tags: &'a [String],
    }
    let (tags, is_json) = match &args.command {
        Some(TemplatesCommand::List { tag, format }) => {
            (tag.as_slice(), FormatArgs::is_json(*format))
        }
        None => (&[][..], false),
    };
    let all = tagged(tags);
    let lines = all.iter().map(|template| Line {
        id: &template.id,
        description: &template.description,
        tags: &template.tags,
    });
    if is_json {
        printer::json(&lines.collect::<Vec<_>>())?;
    } else {
        let width = all.iter().map(|template| template.id.len()).max().unwrap_or_default();
        for line in lines {
            printer::data(format_args!("{:width$}  {}", line.id, line.description));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tagged(tags: &[String]) -> Vec<Template> {
    let mut all = templates::builtin();
    all.retain(|template| tags.iter().all(|tag| template.tags.contains(tag)));
    all
}

fn choose(args: &TemplateArgs, target: &Target) -> Result<Template> {
    let mut all = tagged(&args.tag);
    all.retain(|template| template.supports(target));
    match &args.template {
        Some(id) => {
            let ids =
                all.iter().map(|template| template.id.as_str()).collect::<Vec<_>>().join(", ");
            all.iter()
                .find(|template| &template.id == id)
                .cloned()
                .ok_or_else(|| anyhow!("Template {id} not found. There are: {ids}"))
        }
        None if all.is_empty() => {
            bail!("no template has all of these tags: {}", args.tag.join(", "))
        }
        None if !std::io::stdin().is_terminal() => {
            bail!("which template? Name it with --template (see `gyre templates`)")
        }
        None => {
            let lines =
                all.iter().map(|template| format!("{} ({})", template.id, template.description));
            let at = dialoguer::Select::new()
                .with_prompt("Pick a template to start your application with")
                .items(lines.collect::<Vec<_>>())
                .default(0)
                .interact()?;
            Ok(all.swap_remove(at))
        }
    }
}

fn values(
    template: &Template,
    target: &Target,
    args: &TemplateArgs,
) -> Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    if let Some(path) = &args.values_file {
        let table: toml::Table = toml::from_str(&fs_err::read_to_string(path)?)
            .with_context(|| format!("{} is not valid TOML", path.display()))?;
        for (name, value) in table {
            let value = match value {
                toml::Value::String(text) => text,
                other => other.to_string(),
            };
            values.insert(name, value);
        }
    }
    values.extend(args.values.iter().cloned());
    if args.accept_defaults || !std::io::stdin().is_terminal() {
        return Ok(values);
    }
    for parameter in template.parameters_for(target) {
        if values.contains_key(&parameter.name) {
            continue;
        }
        let mut prompt = dialoguer::Input::<String>::new()
            .with_prompt(&parameter.prompt)
            .validate_with(|value: &String| parameter.check(value));
        if let Some(default) = &parameter.default {
            prompt = prompt.default(default.clone()).allow_empty(true);
        }
        values.insert(parameter.name.clone(), prompt.interact_text()?);
    }
    Ok(values)
}

fn ask(prompt: &str) -> Result<String> {
    if !std::io::stdin().is_terminal() {
        bail!("a name is needed (gyre new NAME)");
    }
    Ok(dialoguer::Input::<String>::new().with_prompt(prompt).interact_text()?)
}

fn folder_name(path: &Path) -> Result<String> {
    let name = path.file_name().context("this folder has no name to take for the application")?;
    Ok(name.to_string_lossy().into_owned())
}

/// `Name <mail>` as git knows it, or the login name.
fn authors() -> String {
    let git = |key: &str| {
        let output = Command::new("git").args(["config", key]).output().ok()?;
        let value = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !value.is_empty()).then_some(value)
    };
    let name = git("user.name").or_else(|| std::env::var("USER").ok()).unwrap_or_default();
    let text = match git("user.email") {
        Some(mail) => format!("{name} <{mail}>"),
        None => name,
    };
    // It goes into TOML strings.
    text.replace(['"', '\\'], "")
}
