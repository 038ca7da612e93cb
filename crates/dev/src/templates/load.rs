//! Reads a template from its files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use serde::Deserialize;

use super::{Output, Parameter, Section, Template, TemplateError};

/// Reads the template in `dir` (the folder that holds `metadata/` and `content/`).
pub fn load(dir: &Path) -> Result<Template, TemplateError> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry.map_err(std::io::Error::from)?;
        if entry.file_type().is_file() {
            let relative = entry.path().strip_prefix(dir).expect("walked from dir").to_owned();
            files.insert(relative, fs_err::read(entry.path())?);
        }
    }
    assemble(files)
}

/// Makes a template of its files, by path relative to its folder.
pub(super) fn assemble(files: BTreeMap<PathBuf, Vec<u8>>) -> Result<Template, TemplateError> {
    const MANIFEST: &str = "metadata/spin-template.toml";
    let Some(manifest) = files.get(Path::new(MANIFEST)) else {
        return Err(std::io::Error::new(
            std::io::ErrorKind::NotFound,
            format!("the template has no {MANIFEST}"),
        )
        .into());
    };
    let raw: Raw = toml::from_str(&String::from_utf8_lossy(manifest)).map_err(|source| {
        TemplateError::Manifest { path: MANIFEST.to_owned(), source: Box::new(source) }
    })?;
    let mut content = BTreeMap::new();
    let mut snippets = BTreeMap::new();
    for (path, bytes) in files {
        if let Ok(path) = path.strip_prefix("content") {
            content.insert(path.to_owned(), bytes);
        } else if let Ok(path) = path.strip_prefix("metadata/snippets") {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            snippets.insert(path.to_string_lossy().into_owned(), text);
        }
    }
    let parameters = raw.parameters.into_iter().map(|(name, raw)| raw.into_parameter(name));
    Ok(Template {
        id: raw.id,
        description: raw.description.unwrap_or_default(),
        tags: raw.tags,
        parameters: parameters.collect::<Result<_, _>>()?,
        new_application: raw.new_application.unwrap_or_default().into_section(),
        add_component: raw.add_component.unwrap_or_default().into_section(),
        outputs: raw.outputs.into_values().map(RawOutput::into_output).collect(),
        content,
        snippets,
    })
}

#[derive(Deserialize)]
struct Raw {
    #[expect(dead_code, reason = "only \"1\" parses")]
    manifest_version: Version,
    id: String,
    description: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    /// Accepted and without effect, as in Spin.
    #[serde(rename = "trigger_type")]
    _trigger_type: Option<String>,
    new_application: Option<RawSection>,
    add_component: Option<RawSection>,
    #[serde(default)]
    parameters: IndexMap<String, RawParameter>,
    #[serde(default)]
    outputs: IndexMap<String, RawOutput>,
}

#[derive(Deserialize)]
enum Version {
    #[serde(rename = "1")]
    One,
}

#[derive(Deserialize, Default)]
struct RawSection {
    supported: Option<bool>,
    #[serde(default)]
    skip_files: Vec<String>,
    #[serde(default)]
    skip_parameters: Vec<String>,
    #[serde(default)]
    snippets: IndexMap<String, String>,
}

impl RawSection {
    fn into_section(self) -> Section {
        Section {
            is_supported: self.supported.unwrap_or(true),
            skip_files: self.skip_files,
            skip_parameters: self.skip_parameters,
            snippets: self.snippets,
        }
    }
}

#[derive(Deserialize)]
struct RawParameter {
    #[expect(dead_code, reason = "only \"string\" parses")]
    r#type: Type,
    prompt: String,
    default: Option<String>,
    pattern: Option<String>,
    allowed_values: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    String,
}

impl RawParameter {
    fn into_parameter(self, name: String) -> Result<Parameter, TemplateError> {
        let pattern = self.pattern.as_deref().map(regex::Regex::new).transpose();
        let pattern = pattern.map_err(|source| TemplateError::Pattern {
            parameter: name.clone(),
            source: Box::new(source),
        })?;
        let Self { prompt, default, allowed_values, .. } = self;
        Ok(Parameter { name, prompt, default, pattern, allowed_values })
    }
}

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
enum RawOutput {
    CreateDir { path: String, at: Option<At> },
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum At {
    Component,
    Manifest,
}

impl RawOutput {
    fn into_output(self) -> Output {
        let Self::CreateDir { path, at } = self;
        Output { path, at_manifest: at == Some(At::Manifest) }
    }
}
