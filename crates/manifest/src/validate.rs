//! What can only be judged with the whole manifest in view.

use std::{collections::HashMap, ops::Range};

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    hosts::{
        AllowedHost, HostError, SERVICE_CHAINING_SUFFIX, convert_http_hosts, validate_templates,
    },
    http::{self, HttpApp, HttpRoute, HttpTrigger, Part},
    id::KebabId,
    normalize::all_components,
    schema::{AppManifest, Component, ComponentSpec, FilesMount, Spanned, Trigger, values},
    suggest::did_you_mean,
    template::Template,
};

/// Notes what is wrong. `app` is the manifest as written, `normalized` the same in canonical form.
pub(crate) fn validate(app: &AppManifest, normalized: &AppManifest, out: &mut Diagnostics) {
    check_references(normalized, out);
    check_trigger_ids(normalized, out);
    check_http(normalized, out);
    for component in all_components(app) {
        check_templates(app, component, out);
        check_hosts(app, normalized, component, out);
        check_files(component, out);
    }
}

fn with_suggestion<'a>(
    diagnostic: Diagnostic,
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Diagnostic {
    match did_you_mean(word, known) {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    }
}

fn component_ids(app: &AppManifest) -> impl Iterator<Item = &str> {
    app.components.keys().map(KebabId::as_str)
}

/// Triggers call components that there are.
fn check_references(app: &AppManifest, out: &mut Diagnostics) {
    for (_, trigger) in app.all_triggers() {
        for spec in trigger.component.iter().chain(trigger.components.values().flatten()) {
            if let ComponentSpec::Reference(id) = spec.value()
                && !app.components.contains_key(id)
            {
                let message = format!("no such component \"{id}\"");
                let diagnostic = Diagnostic::error("manifest.component", message).at(spec.span());
                out.push(with_suggestion(diagnostic, id.as_str(), component_ids(app)));
            }
        }
    }
}

fn check_trigger_ids(app: &AppManifest, out: &mut Diagnostics) {
    let mut seen: HashMap<&str, Range<usize>> = HashMap::new();
    for (_, trigger) in app.all_triggers() {
        if let Some(earlier) = seen.insert(&trigger.id, trigger.span.clone()) {
            let message = format!("two triggers have the id \"{}\"", trigger.id);
            out.push(
                Diagnostic::warning("manifest.duplicate", message)
                    .at(trigger.span.clone())
                    .with_label(earlier, "the other one"),
            );
        }
    }
}

fn check_http(app: &AppManifest, out: &mut Diagnostics) {
    let Some(triggers) = app.triggers.get(http::TRIGGER_TYPE) else { return };
    let mut fine: Vec<(&Trigger, HttpTrigger)> = Vec::new();
    for trigger in triggers {
        match HttpTrigger::from_config(&trigger.id, &crate::lock::trigger_config(trigger)) {
            Ok(read) => fine.push((trigger, read)),
            Err(error) => {
                let at = trigger.config_spans.get(&error.path.join("."));
                let span = match (at, error.part) {
                    (Some((key, _)), Part::Key) => key.clone(),
                    (Some((_, value)), Part::Value) => value.clone(),
                    (None, _) => trigger.span.clone(),
                };
                let diagnostic =
                    Diagnostic::error("manifest.trigger", error.error.to_string()).at(span);
                out.push(match error.help {
                    Some(help) => diagnostic.with_help(help),
                    None => diagnostic,
                });
            }
        }
    }
    // One by one, so that all bad routes are noted and not only the first.
    fine.retain(|(trigger, read)| match HttpApp::new(vec![read.clone()]) {
        Ok(_) => true,
        Err(error) => {
            let span = trigger.config_span("route");
            out.push(Diagnostic::error("manifest.route", error.to_string()).at(span));
            false
        }
    });
    let routes = HttpApp::new(fine.iter().map(|(_, read)| read.clone()).collect());
    if let Ok(routes) = routes {
        warn_of_routes(&routes, &fine, out);
    }
}

fn warn_of_routes(routes: &HttpApp, triggers: &[(&Trigger, HttpTrigger)], out: &mut Diagnostics) {
    for duplicate in routes.duplicates() {
        let message = format!(
            "route {} is a duplicate and will never be used: {}",
            duplicate.route, duplicate.message
        );
        let used = triggers[duplicate.effective].0.config_span("route");
        out.push(
            Diagnostic::warning("manifest.duplicate_route", message)
                .at(triggers[duplicate.replaced].0.config_span("route"))
                .with_label(used, "this one is used"),
        );
    }
    for (route, used) in routes.routes().filter(|(route, _)| route.is_reserved()) {
        let message = format!(
            "route {} will never be reached: routes under {} are answered by the host",
            route.based(),
            crate::routes::RESERVED_PREFIX
        );
        let public = HttpRoute::Public(route.raw().to_owned());
        let written = triggers.iter().find(|(_, read)| read.id == used.id && read.route == public);
        let diagnostic = Diagnostic::warning("manifest.reserved_route", message);
        out.push(match written {
            Some((trigger, _)) => diagnostic.at(trigger.config_span("route")),
            None => diagnostic,
        });
    }
}

fn check_templates(app: &AppManifest, component: &Component, out: &mut Diagnostics) {
    for template in component.variables.values() {
        check_template(app, template, out);
    }
}

/// Whether the template is one, and all its names are variables.
fn check_template(app: &AppManifest, text: &Spanned<String>, out: &mut Diagnostics) -> bool {
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => {
            let diagnostic = Diagnostic::error("manifest.template", error.to_string());
            out.push(diagnostic.at(text.span()).with_help("a name ends with '}}'"));
            return false;
        }
    };
    let mut is_fine = true;
    for name in template.names().filter(|name| !app.variables.contains_key(*name)) {
        let error = crate::template::TemplateError::Unknown(name.to_owned());
        let diagnostic = Diagnostic::error("manifest.template", error.to_string()).at(text.span());
        let known = app.variables.keys().map(crate::id::LowerSnakeId::as_str);
        let help = did_you_mean(name, known).unwrap_or_else(|| {
            format!("declare it: `[variables]` `{name} = {{ default = \"\" }}`")
        });
        out.push(diagnostic.with_help(help));
        is_fine = false;
    }
    is_fine
}

fn check_hosts(
    app: &AppManifest,
    normalized: &AppManifest,
    component: &Component,
    out: &mut Diagnostics,
) {
    let default = |name: &str| app.variables.get(name)?.default.clone();
    for entry in &component.allowed_outbound_hosts {
        if !check_template(app, entry, out) {
            continue;
        }
        let single = [entry.as_str()];
        // The list with nothing but this is refused in other words than this among others.
        let checked = match (entry.as_str(), component.allowed_outbound_hosts.len()) {
            ("insecure:allow-all", 1) => Err(HostError::InsecureAllowAll),
            ("insecure:allow-all", _) => AllowedHost::parse(entry).map(|_| ()),
            _ => validate_templates(&single, default).map(|_| ()),
        };
        match checked {
            Ok(()) => check_chaining(normalized, entry, out),
            Err(error) => {
                let message = format!("`allowed_outbound_hosts` is malformed: {}", error.full());
                let diagnostic =
                    Diagnostic::error("manifest.allowed_outbound_hosts", message).at(entry.span());
                out.push(match host_help(&error) {
                    Some(help) => diagnostic.with_help(help),
                    None => diagnostic,
                });
            }
        }
    }
    check_http_hosts(component, out);
}

fn host_help(error: &HostError) -> Option<String> {
    if let HostError::NoScheme(text) = error {
        return AllowedHost::parse(&format!("https://{text}"))
            .is_ok()
            .then(|| format!("write \"https://{text}\", or another scheme"));
    }
    error.hint().map(str::to_owned)
}

fn check_chaining(app: &AppManifest, entry: &Spanned<String>, out: &mut Diagnostics) {
    let Some((_, rest)) = entry.split_once("://") else { return };
    let host = rest.split([':', '/']).next().unwrap_or_default();
    let Some(target) = host.strip_suffix(SERVICE_CHAINING_SUFFIX) else { return };
    if target != "*" && !target.contains('{') && !app.components.contains_key(target) {
        let message = format!("no such component \"{target}\" to chain to");
        let diagnostic = Diagnostic::warning("manifest.component", message).at(entry.span());
        out.push(with_suggestion(diagnostic, target, component_ids(app)));
    }
}

fn check_http_hosts(component: &Component, out: &mut Diagnostics) {
    let Some(first) = component.allowed_http_hosts.first() else { return };
    out.push(match convert_http_hosts(&values(&component.allowed_http_hosts)) {
        Ok(hosts) => {
            let fix = format!("replace it with `allowed_outbound_hosts = {hosts:?}`");
            let message = "Use of the deprecated field `allowed_http_hosts`";
            Diagnostic::warning("manifest.deprecated", message).at(first.span()).with_help(fix)
        }
        Err(error) => {
            let message = format!("`allowed_http_hosts` is malformed: {}", error.full());
            Diagnostic::error("manifest.allowed_http_hosts", message).at(first.span())
        }
    });
}

/// What is wrong with `files` whatever exists on disk.
fn check_files(component: &Component, out: &mut Diagnostics) {
    let help = "If you want to include a directory, use source-destination form, or a glob pattern ending in **/*.";
    for mount in &component.files {
        let FilesMount::Pattern(pattern) = mount.value() else { continue };
        let last = pattern.rsplit('/').next();
        let mistake = match last {
            Some("..") => "A file pattern can't end in a parent directory path (..)",
            Some(".") => "A file pattern can't end in a current directory path (.)",
            _ => "",
        };
        if !mistake.is_empty() {
            out.push(Diagnostic::error("manifest.files", mistake).at(mount.span()).with_help(help));
        }
        let everything = match pattern.as_str() {
            "*" => "directory",
            "**/*" => "directory tree",
            _ => continue,
        };
        let message = format!(
            "A component is including the entire application {everything} as asset files. This is unlikely to be what you want."
        );
        out.push(Diagnostic::warning("manifest.files", message).at(mount.span()).with_help(
            format!(
                "If this is what you want, use the pattern \"./{pattern}\" to avoid this warning."
            ),
        ));
    }
}
