//! A manifest without errors.

#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use gyre_model::Settings;
use toml::de::{DeTable, DeValue};

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    normalize, read,
    schema::AppManifest,
    validate,
};

/// The version in which a manifest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestVersion {
    /// `spin_manifest_version = "1"`.
    V1,
    /// `spin_manifest_version = 2`.
    V2,
}

/// A manifest that was read and found without errors.
#[derive(Debug, Clone)]
pub struct Manifest {
    text: Arc<str>,
    version: ManifestVersion,
    app: AppManifest,
    settings: Settings,
    warnings: Diagnostics,
}

impl Manifest {
    /// Reads and checks the text of a `spin.toml`, as far as that is possible without looking at other files.
    ///
    /// # Errors
    /// Everything that is wrong, and what is worth a warning besides.
    pub fn parse(text: &str) -> Result<Self, Diagnostics> {
        let mut out = Diagnostics::default();
        let parsed = parse(text, &mut out);
        let out = out.located(text);
        match parsed {
            Some((version, app, settings)) if !out.has_errors() => {
                Ok(Self { text: text.into(), version, app, settings, warnings: out })
            }
            _ => Err(out),
        }
    }

    /// The text that was read: what spans are about.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The version in which it is written.
    pub fn version(&self) -> ManifestVersion {
        self.version
    }

    /// The application as it is written; if in version 1, as version 2 has it.
    pub fn app(&self) -> &AppManifest {
        &self.app
    }

    /// `[application.tool.gyre]`.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is no error and yet probably not meant.
    pub fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }

    /// The names of all build profiles, in order.
    pub fn profiles(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for profile in normalize::all_components(&self.app).flat_map(|one| one.profile.keys()) {
            if !names.contains(&profile.as_str()) {
                names.push(profile);
            }
        }
        names
    }

    /// The application with all ids, components and dependencies in their canonical form, as the build profile
    /// has it.
    ///
    /// # Errors
    /// If there is no such profile, or if it makes the dependencies of a component wrong.
    pub fn normalize(&self, profile: Option<&str>) -> Result<AppManifest, Diagnostics> {
        let mut out = Diagnostics::default();
        if let Some(profile) = profile
            && !self.profiles().contains(&profile)
        {
            let message = format!("Profile {profile} is not defined in this application");
            let diagnostic = Diagnostic::error("manifest.profile", message);
            let help = crate::suggest::did_you_mean(profile, self.profiles());
            return Err(match help {
                Some(help) => diagnostic.with_help(help).into(),
                None => diagnostic.into(),
            });
        }
        let app = normalize::normalize(self.app.clone(), profile, &mut out);
        let out = out.located(&self.text);
        if out.has_errors() { Err(out) } else { Ok(app) }
    }
}

fn parse(text: &str, out: &mut Diagnostics) -> Option<(ManifestVersion, AppManifest, Settings)> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            let diagnostic = Diagnostic::error("toml.syntax", error.message());
            out.push(match error.span() {
                Some(span) => diagnostic.at(span),
                None => diagnostic,
            });
        }
        return None;
    }
    let root = root.into_inner();
    let version = version(&root, out)?;
    let (app, settings) = match version {
        ManifestVersion::V1 => (read::v1(out, &root)?, Settings::default()),
        ManifestVersion::V2 => read::v2(out, &root)?,
    };
    let normalized = normalize::normalize(app.clone(), None, out);
    validate::validate(&app, &normalized, out);
    Some((version, app, settings))
}

fn version(root: &DeTable<'_>, out: &mut Diagnostics) -> Option<ManifestVersion> {
    let found = root.get("spin_manifest_version").or_else(|| root.get("spin_version"));
    let Some(node) = found else {
        out.push(
            Diagnostic::error("manifest.missing_key", "missing field `spin_manifest_version`")
                .at(0..0)
                .with_help("begin the manifest with `spin_manifest_version = 2`"),
        );
        return None;
    };
    match node.get_ref() {
        DeValue::String(text) if text == "1" => return Some(ManifestVersion::V1),
        DeValue::Integer(number) if (number.radix(), number.as_str()) == (10, "2") => {
            return Some(ManifestVersion::V2);
        }
        _ => {}
    }
    let value = match read::json(node.get_ref()) {
        serde_json::Value::Null => "a number".to_owned(),
        value => value.to_string(),
    };
    out.push(
        Diagnostic::error("manifest.version", format!("invalid manifest version: {value}"))
            .at(node.span())
            .with_help("it is the number 2, or for old manifests the string \"1\""),
    );
    None
}
