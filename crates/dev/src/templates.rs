//! Project templates in Spin's format: `metadata/spin-template.toml`, snippets, and `content/` in Liquid.
//!
//! Two are built into the binary; any folder of the same shape can be loaded. A template only ever writes
//! below the folder it was asked to write to, and never over a file unless that was asked for.

mod builtin;
mod filters;
mod load;
mod write;

pub use builtin::builtin;
pub use load::load;
pub use write::{Request, Target, Written, write};

use std::{collections::BTreeMap, path::PathBuf};

use indexmap::IndexMap;

/// A template, ready to be written out.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its name: `http-rust`.
    pub id: String,
    /// One line for people.
    pub description: String,
    /// What it can be found by.
    pub tags: Vec<String>,
    /// What it asks for, in the order of asking.
    pub parameters: Vec<Parameter>,
    pub(crate) new_application: Section,
    pub(crate) add_component: Section,
    pub(crate) outputs: Vec<Output>,
    /// The files of `content/`, by path relative to it.
    pub(crate) content: BTreeMap<PathBuf, Vec<u8>>,
    /// The files of `metadata/snippets/`.
    pub(crate) snippets: BTreeMap<String, String>,
}

/// A value that a template asks for.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The variable's name in the template.
    pub name: String,
    /// The question.
    pub prompt: String,
    /// The answer if none is given. Itself a template.
    pub default: Option<String>,
    /// What an answer must look like.
    pub pattern: Option<regex::Regex>,
    /// The only answers, where there are such.
    pub allowed_values: Option<Vec<String>>,
}

impl Parameter {
    /// Whether `value` may be given.
    ///
    /// # Errors
    /// A sentence that says what would be accepted.
    pub fn check(&self, value: &str) -> Result<(), String> {
        if let Some(allowed) = &self.allowed_values
            && !allowed.iter().any(|each| each == value)
        {
            return Err(format!("must be one of: {}", allowed.join(", ")));
        }
        match &self.pattern {
            Some(pattern) if !pattern.is_match(value) => {
                Err(format!("Input '{value}' does not match pattern '{pattern}'"))
            }
            _ => Ok(()),
        }
    }
}

/// How a template is used for a new application, or for one more component.
#[derive(Debug, Clone, Default)]
pub(crate) struct Section {
    pub(crate) is_supported: bool,
    pub(crate) skip_files: Vec<String>,
    pub(crate) skip_parameters: Vec<String>,
    pub(crate) snippets: IndexMap<String, String>,
}

/// Something to make besides files.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// A folder, as a template.
    pub(crate) path: String,
    /// Whether it is relative to the manifest's folder instead of the component's.
    pub(crate) at_manifest: bool,
}

impl Template {
    /// The parameters that are asked for when it is used so.
    pub fn parameters_for(&self, target: &Target) -> Vec<&Parameter> {
        let section = self.section(target);
        self.parameters.iter().filter(|p| !section.skip_parameters.contains(&p.name)).collect()
    }

    /// Whether it can be used so.
    pub fn supports(&self, target: &Target) -> bool {
        self.section(target).is_supported
    }

    pub(crate) fn section(&self, target: &Target) -> &Section {
        match target {
            Target::NewApplication => &self.new_application,
            Target::AddComponent { .. } => &self.add_component,
        }
    }
}

/// Why a template could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A file could not be read or written; the error names it.
    #[error("cannot use the template's files")]
    Io(#[from] std::io::Error),
    /// `spin-template.toml` is not what it should be.
    #[error("template manifest {path} is not valid")]
    Manifest {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A parameter's pattern is no regular expression.
    #[error("parameter {parameter} has an invalid pattern")]
    Pattern {
        /// The parameter.
        parameter: String,
        /// What is wrong.
        #[source]
        source: Box<regex::Error>,
    },
    /// A file's Liquid is wrong.
    #[error("{file} is not a valid template")]
    Liquid {
        /// The file in the template.
        file: String,
        /// What is wrong with it.
        #[source]
        source: Box<liquid::Error>,
    },
    /// The template cannot be used in this way.
    #[error("template '{template}' doesn't support {what}")]
    Unsupported {
        /// The template.
        template: String,
        /// `creating a new application` or `adding to an existing one`.
        what: &'static str,
    },
    /// A parameter got no value and has no default.
    #[error("parameter '{0}' needs a value (--value {0}=…)")]
    MissingValue(String),
    /// A parameter's value is refused.
    #[error("parameter '{parameter}': {reason}")]
    InvalidValue {
        /// The parameter.
        parameter: String,
        /// What would be accepted.
        reason: String,
    },
    /// The name cannot name an application.
    #[error(
        "'{0}' is not a valid name: use letters, digits and dashes, each word starting with a letter (for example 'my-app')"
    )]
    Name(String),
    /// A file is already there.
    #[error("{0} already exists (use --allow-overwrite to write over it)")]
    Exists(PathBuf),
    /// A path would lead out of the target folder.
    #[error("template path {0} leads out of the target folder")]
    Outside(PathBuf),
    /// The manifest to add to cannot be extended.
    #[error("cannot add a component to {path}: {reason}")]
    Add {
        /// The manifest.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}
