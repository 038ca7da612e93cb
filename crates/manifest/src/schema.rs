//! What a manifest says, in the shape of version 2. Version 1 is converted to it when it is read.
//!
//! Values that another loader may have to complain about are [`Spanned`]: they know where they were written.

mod component;
mod dependency;
mod write;

use std::{
    fmt,
    ops::{Deref, Range},
};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::id::{KebabId, LowerSnakeId};
pub use component::{
    BuildConfig, Commands, Component, ComponentProfile, ComponentSource, FilesMount,
};
pub(crate) use dependency::is_package;
pub use dependency::{
    ComponentDependency, DependencyName, DependencyNameError, DependencySource, Inherit,
    PackageName, TriggerDependency, capabilities,
};

/// A value and the bytes of the manifest's text that say it.
#[derive(Debug, Clone)]
pub struct Spanned<T> {
    value: T,
    span: Range<usize>,
}

impl<T> Spanned<T> {
    /// A value written there.
    pub fn new(value: T, span: Range<usize>) -> Self {
        Self { value, span }
    }

    /// Where it was written.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The value alone.
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// Their values.
pub(crate) fn values(list: &[Spanned<String>]) -> Vec<String> {
    list.iter().map(|item| item.value().clone()).collect()
}

/// An application as its manifest describes it.
///
/// Before [`Manifest::normalize`](crate::Manifest::normalize) it is what was written; after it, every trigger has
/// an id, every [`ComponentSpec`] is a reference, the profile is applied, and no dependency is another component.
#[derive(Debug, Clone)]
pub struct AppManifest {
    /// `[application]`.
    pub application: AppDetails,
    /// `[variables]`.
    pub variables: IndexMap<LowerSnakeId, Variable>,
    /// `[[trigger.<type>]]`.
    pub triggers: IndexMap<String, Vec<Trigger>>,
    /// `[component.<id>]`.
    pub components: IndexMap<KebabId, Component>,
}

/// `[application]`.
#[derive(Debug, Clone)]
pub struct AppDetails {
    /// Any text, never absent.
    pub name: Spanned<String>,
    /// Empty where there is none.
    pub version: String,
    /// Empty where there is none.
    pub description: String,
    /// Who wrote it.
    pub authors: Vec<String>,
    /// The environments that it must run in.
    pub targets: Vec<Spanned<TargetEnvironment>>,
    /// Settings of a type of triggers.
    pub trigger: IndexMap<String, Map<String, Value>>,
    /// Settings of tools, ours among them.
    pub tool: IndexMap<String, Value>,
}

/// A variable of the application. Exactly one of `required` and `default` is there.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Where it is named.
    pub span: Range<usize>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether somebody must give it a value.
    pub required: bool,
    /// Its value where nobody does.
    pub default: Option<String>,
    /// Whether its value is not for everyone's eyes.
    pub secret: bool,
}

/// A trigger of any type.
#[derive(Debug, Clone)]
pub struct Trigger {
    /// The table's first key, or the table.
    pub span: Range<usize>,
    /// Empty where none was given, until it is normalized.
    pub id: String,
    /// What it calls.
    pub component: Option<Spanned<ComponentSpec>>,
    /// Others that it calls, by role.
    pub components: IndexMap<String, Vec<Spanned<ComponentSpec>>>,
    /// What is composed with the component, by role.
    pub dependencies: IndexMap<String, Vec<Spanned<TriggerDependency>>>,
    /// Everything else: the settings of its type.
    pub config: Map<String, Value>,
    /// Where each of those settings was written, its key and its value, by its dotted path: `executor.type`.
    pub config_spans: IndexMap<String, (Range<usize>, Range<usize>)>,
}

impl Trigger {
    /// The component that it calls, if it calls one and was normalized.
    pub fn component_id(&self) -> Option<&KebabId> {
        match self.component.as_ref()?.value() {
            ComponentSpec::Reference(id) => Some(id),
            ComponentSpec::Inline(_) => None,
        }
    }

    /// Where the value at a dotted path was written; the trigger itself if it was not.
    pub fn config_span(&self, path: &str) -> Range<usize> {
        self.config_spans.get(path).map_or_else(|| self.span.clone(), |(_, value)| value.clone())
    }
}

/// The component of a trigger.
#[derive(Debug, Clone)]
pub enum ComponentSpec {
    /// One of the application's.
    Reference(KebabId),
    /// One written in place.
    Inline(Box<Component>),
}

/// An environment that an application must run in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetEnvironment {
    /// `name` or `name:version`.
    Catalogue(String),
    /// A document at this URL.
    Url(String),
    /// A document at this path, relative to the manifest's folder.
    Path(String),
}

impl AppManifest {
    /// All triggers with their types, in order.
    pub fn all_triggers(&self) -> impl Iterator<Item = (&str, &Trigger)> {
        self.triggers
            .iter()
            .flat_map(|(kind, triggers)| triggers.iter().map(|trigger| (kind.as_str(), trigger)))
    }

    /// The manifest as text, in version 2. Comments and layout are not kept.
    pub fn to_toml(&self) -> String {
        write::to_toml(self)
    }
}
