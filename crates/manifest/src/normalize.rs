//! One form for what a manifest can say in several: generated ids, components of their own, the profile applied.

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use indexmap::IndexMap;

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    id::KebabId,
    schema::{
        AppManifest, BuildConfig, Component, ComponentDependency, ComponentSource, ComponentSpec,
        DependencyName, DependencySource, Inherit, Spanned,
    },
    suggest::did_you_mean,
};

/// All components, those written in triggers included.
pub(crate) fn all_components(app: &AppManifest) -> impl Iterator<Item = &Component> {
    let inline = app.all_triggers().flat_map(|(_, trigger)| {
        let specs = trigger.component.iter().chain(trigger.components.values().flatten());
        specs.filter_map(|spec| match spec.value() {
            ComponentSpec::Inline(component) => Some(&**component),
            ComponentSpec::Reference(_) => None,
        })
    });
    app.components.values().chain(inline)
}

/// The application in canonical form. If errors are noted, what is wrong is left as it was.
pub(crate) fn normalize(
    mut app: AppManifest,
    profile: Option<&str>,
    out: &mut Diagnostics,
) -> AppManifest {
    name_triggers(&mut app);
    hoist_components(&mut app);
    if let Some(profile) = profile {
        apply_profile(&mut app, profile);
    }
    inherit(&mut app, out);
    replace_components(&mut app, out);
    check_dependencies(&app, out);
    merge_hosts(&mut app);
    app
}

fn name_triggers(app: &mut AppManifest) {
    let mut taken: HashSet<String> =
        app.all_triggers().map(|(_, trigger)| trigger.id.clone()).collect();
    for (kind, triggers) in &mut app.triggers {
        let mut counter = 1;
        for trigger in triggers.iter_mut().filter(|trigger| trigger.id.is_empty()) {
            let natural = trigger.component_id().map(|id| format!("{id}-{kind}-trigger"));
            trigger.id = match natural {
                Some(id) if !taken.contains(&id) => id,
                _ => loop {
                    let id = format!("{kind}-trigger{counter}");
                    if !taken.contains(&id) {
                        break id;
                    }
                    counter += 1;
                },
            };
            taken.insert(trigger.id.clone());
        }
    }
}

fn hoist_components(app: &mut AppManifest) {
    for trigger in app.triggers.values_mut().flatten() {
        let natural: Option<KebabId> = format!("{}-component", trigger.id).parse().ok();
        let specs: Vec<_> =
            trigger.component.iter_mut().chain(trigger.components.values_mut().flatten()).collect();
        let is_only = specs.len() == 1;
        for spec in specs {
            let ComponentSpec::Inline(component) = spec.value() else { continue };
            let id = natural
                .clone()
                .filter(|id| is_only && !app.components.contains_key(id))
                .unwrap_or_else(|| free_inline_id(&app.components));
            app.components.insert(id.clone(), (**component).clone());
            *spec = Spanned::new(ComponentSpec::Reference(id), spec.span());
        }
    }
}

fn free_inline_id(components: &IndexMap<KebabId, Component>) -> KebabId {
    let mut counter = 1;
    loop {
        let id: KebabId = format!("inline-component{counter}")
            .parse()
            .expect("words of letters and digits are an id");
        if !components.contains_key(&id) {
            return id;
        }
        counter += 1;
    }
}

fn apply_profile(app: &mut AppManifest, profile: &str) {
    for component in app.components.values_mut() {
        let Some(overrides) = component.profile.get(profile).cloned() else { continue };
        if let Some(command) = overrides.build_command {
            match &mut component.build {
                Some(build) => build.command = command,
                none => {
                    *none = Some(BuildConfig { command, workdir: None, watch: Vec::new() });
                }
            }
        }
        if let Some(source) = overrides.source {
            component.source = source;
        }
        component.environment.extend(overrides.environment);
        component.dependencies.extend(overrides.dependencies);
    }
}

/// `dependencies_inherit_configuration` becomes each dependency's own.
fn inherit(app: &mut AppManifest, out: &mut Diagnostics) {
    for (id, component) in &mut app.components {
        let Some(all) = component.dependencies_inherit_configuration.take() else { continue };
        let own = component.dependencies.values().find(|dependency| dependency.inherit.is_some());
        if let Some(own) = own {
            let message = format!(
                "Component `{id}` specifies both `dependencies_inherit_configuration` and per-dependency `inherit_configuration`. These are mutually exclusive; use one or the other."
            );
            out.push(
                Diagnostic::error("manifest.dependency", message)
                    .at(all.span())
                    .with_label(own.span(), "has its own"),
            );
        } else if *all {
            for dependency in component.dependencies.values_mut() {
                let inherit = Some(Inherit::All(true));
                let all = ComponentDependency { inherit, ..dependency.value().clone() };
                *dependency = Spanned::new(all, dependency.span());
            }
        }
    }
}

/// Dependencies on components become dependencies on those components' sources.
fn replace_components(app: &mut AppManifest, out: &mut Diagnostics) {
    let components = app.components.clone();
    let mut resolve = |source: &DependencySource, depender: &str, span: std::ops::Range<usize>| {
        let DependencySource::Component { component: id } = source else { return None };
        let Some(component) = components.get(id) else {
            let message = format!("dependency ID {id} does not exist");
            let diagnostic = Diagnostic::error("manifest.dependency", message).at(span);
            let known = components.keys().map(KebabId::as_str);
            out.push(match did_you_mean(id.as_str(), known) {
                Some(help) => diagnostic.with_help(help),
                None => diagnostic,
            });
            return None;
        };
        let surprises = surprises(component);
        if !surprises.is_empty() {
            let message = format!(
                "Dependencies may not have their own resources or permissions. Component {id} cannot be used as a dependency of {depender} because it specifies: {}",
                surprises.join(", ")
            );
            let label = "this component";
            out.push(
                Diagnostic::error("manifest.dependency", message)
                    .at(span)
                    .with_label(component.span.clone(), label),
            );
            return None;
        }
        Some(match component.source.value().clone() {
            ComponentSource::Local(path) => DependencySource::Local { path },
            ComponentSource::Remote { url, digest } => DependencySource::Http { url, digest },
            ComponentSource::Registry { registry, package, version } => {
                let version = version.to_string();
                DependencySource::Package { version, registry, package: Some(package) }
            }
        })
    };
    for (id, component) in &mut app.components {
        for dependency in component.dependencies.values_mut() {
            if let Some(source) = resolve(&dependency.source, id.as_str(), dependency.span()) {
                let replaced = ComponentDependency { source, ..dependency.value().clone() };
                *dependency = Spanned::new(replaced, dependency.span());
            }
        }
    }
    for trigger in app.triggers.values_mut().flatten() {
        for dependency in trigger.dependencies.values_mut().flatten() {
            if let Some(source) = resolve(&dependency.source, &trigger.id, dependency.span()) {
                let mut replaced = dependency.value().clone();
                replaced.source = source;
                *dependency = Spanned::new(replaced, dependency.span());
            }
        }
    }
}

/// What would not be heeded if the component were a dependency.
fn surprises(component: &Component) -> Vec<&'static str> {
    [
        ("ai_models", component.ai_models.is_empty()),
        ("allowed_http_hosts", component.allowed_http_hosts.is_empty()),
        ("allowed_outbound_hosts", component.allowed_outbound_hosts.is_empty()),
        ("dependencies", component.dependencies.is_empty()),
        ("environment", component.environment.is_empty()),
        ("files", component.files.is_empty()),
        ("key_value_stores", component.key_value_stores.is_empty()),
        ("sqlite_databases", component.sqlite_databases.is_empty()),
        ("variables", component.variables.is_empty()),
    ]
    .into_iter()
    .filter_map(|(name, is_empty)| (!is_empty).then_some(name))
    .collect()
}

fn check_dependencies(app: &AppManifest, out: &mut Diagnostics) {
    for (id, component) in &app.components {
        let mut wrong = |span, reason: String| {
            let message = format!("component \"{id}\" has invalid dependencies: {reason}");
            out.push(Diagnostic::error("manifest.dependency", message).at(span));
        };
        let dependencies: Vec<_> = component.dependencies.iter().collect();
        for (place, (name, dependency)) in dependencies.iter().enumerate() {
            let span = dependency.span();
            match (name, &dependency.source) {
                (DependencyName::Plain(plain), DependencySource::Package { package: None, .. }) => {
                    wrong(
                        span.clone(),
                        format!("dependency \"{plain}\" must specify a package name"),
                    );
                }
                (
                    DependencyName::Package(package),
                    DependencySource::Package { .. } | DependencySource::Local { .. },
                ) if package.interface.is_none() && dependency.export.is_some() => {
                    wrong(
                        span.clone(),
                        format!(
                            "using an export to satisfy the package dependency \"{package}\" is not currently permitted"
                        ),
                    );
                }
                _ => {}
            }
            for (other, _) in &dependencies[..place] {
                if let (DependencyName::Package(this), DependencyName::Package(that)) =
                    (name, other)
                    && this.conflicts_with(that)
                {
                    wrong(span.clone(), format!("\"{that}\" dependency conflicts with \"{this}\""));
                }
            }
        }
    }
}

/// The deprecated list goes into the one that replaced it. If it is wrong, that is noted elsewhere.
fn merge_hosts(app: &mut AppManifest) {
    for component in app.components.values_mut() {
        let Some(first) = component.allowed_http_hosts.first().map(Spanned::span) else { continue };
        if let Ok(hosts) = component.outbound_hosts() {
            let converted = hosts.into_iter().skip(component.allowed_outbound_hosts.len());
            let converted: Vec<_> =
                converted.map(|host| Spanned::new(host, first.clone())).collect();
            component.allowed_outbound_hosts.extend(converted);
            component.allowed_http_hosts.clear();
        }
    }
}
