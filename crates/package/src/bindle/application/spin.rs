//! The manifest of an application in a bindle, as Spin 0.1 to 0.10 wrote it: `spin.toml` of version 1 whose sources are digests and
//! whose files are groups, with its keys in camel case. Its name and version are the bindle's.

use std::collections::{BTreeMap, HashMap};

use gyre_manifest::{
    Manifest as SpinToml,
    hosts::{convert_http_hosts, database_hosts},
    lock::lock,
    schema::{ComponentSource, FilesMount},
};
use gyre_model::{
    Digest, LockedApp,
    locked::{ContentPath, ContentRef, LockedComponent, LockedTrigger, LockedVariable},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use toml::Table;

use super::{Invoice, LoadError, files_of};
use crate::limits;

/// The name of the group with a component's files.
pub(super) fn group(component: &str) -> String {
    format!("files-{component}")
}

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Manifest {
    trigger: Table,
    /// `config` up to Spin 0.3.
    #[serde(default, alias = "config", skip_serializing_if = "Table::is_empty")]
    variables: Table,
    #[serde(default)]
    component: Vec<Component>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Component {
    /// The SHA-256 of a parcel.
    source: String,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// A group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allowed_http_hosts: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_value_stores: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<String, String>,
    trigger: Table,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    config: BTreeMap<String, String>,
}

impl Manifest {
    pub(super) fn from_toml(text: &str) -> Result<Self, LoadError> {
        toml::from_str(text).map_err(LoadError::Toml)
    }

    pub(super) fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("every key is a string")
    }

    /// The manifest that says most of what the locked app says; none if its triggers are not of a kind that can be said.
    /// Whether it says everything is for the caller to find out.
    pub(super) fn of(locked: &LockedApp) -> Option<Self> {
        let mut trigger = Table::try_from(locked.metadata.get("trigger")?).ok()?;
        // All of one type, and one for each component.
        let kind = trigger.remove("type")?;
        if !matches!(kind.as_str(), Some("http" | "redis")) {
            return None;
        }
        trigger.insert("type".to_owned(), kind);
        if trigger.get("type").and_then(toml::Value::as_str) == Some("http") {
            // Spin's readers of the time want it.
            trigger.entry("base").or_insert_with(|| "/".into());
        }
        let components = locked.components.iter().map(|component| {
            let mut calls = locked.triggers.iter().filter(|trigger| calls(trigger, component));
            let trigger = calls.next().filter(|_| calls.next().is_none())?;
            Component::of(component, trigger)
        });
        let variables = locked.variables.iter().map(|(name, variable)| {
            let LockedVariable { default, secret, .. } = variable;
            let mut table = Table::new();
            match default {
                Some(default) => table.insert("default".to_owned(), default.as_str().into()),
                None => table.insert("required".to_owned(), true.into()),
            };
            if *secret {
                table.insert("secret".to_owned(), true.into());
            }
            (name.clone(), toml::Value::Table(table))
        });
        let variables = variables.collect();
        let component = components.collect::<Option<_>>()?;
        Some(Self { trigger, variables, component })
    }

    /// The locked app that it means, with the files of the invoice's groups.
    pub(super) fn to_locked(&self, invoice: &Invoice) -> Result<LockedApp, LoadError> {
        let text = toml::to_string(&self.to_spin_toml(invoice)).expect("every key is a string");
        let manifest = SpinToml::parse(&text).map_err(LoadError::Manifest)?;
        let manifest = manifest.normalize(None).map_err(LoadError::Manifest)?;
        let mut locked = lock(&manifest, None);
        let groups = files_of(invoice);
        let described: HashMap<_, _> =
            manifest.components.iter().map(|(id, component)| (id.as_str(), component)).collect();
        let mut count = 0;
        for component in &mut locked.components {
            let Some(described) = described.get(component.id.as_str()) else { continue };
            component.source.content = content(&component.id, described.source.value())?;
            for mount in &described.files {
                let FilesMount::Pattern(group) = mount.value() else { continue };
                let files = groups.get(group.as_str()).map_or(&[][..], Vec::as_slice);
                // Before they are copied: many components may name one large group.
                count += files.len();
                if count > limits::ENTRIES {
                    let limit = limits::ENTRIES as u64;
                    return Err(LoadError::TooLarge { limit, of: "files" });
                }
                component.files.extend_from_slice(files);
            }
            let by_path = |one: &ContentPath, other: &ContentPath| one.path.cmp(&other.path);
            component.files.sort_by(by_path);
        }
        Ok(locked)
    }

    /// As a `spin.toml` of version 1.
    fn to_spin_toml(&self, invoice: &Invoice) -> Table {
        let specification = &invoice.bindle;
        let mut root = Table::new();
        root.insert("spin_manifest_version".to_owned(), "1".into());
        root.insert("name".to_owned(), specification.name.as_str().into());
        root.insert("version".to_owned(), specification.version.to_string().into());
        if let Some(description) = &specification.description {
            root.insert("description".to_owned(), description.as_str().into());
        }
        root.insert("authors".to_owned(), specification.authors.clone().into());
        // What came before all routes is no longer said apart from them.
        let mut trigger = self.trigger.clone();
        let base = trigger.get("base").and_then(toml::Value::as_str).unwrap_or_default();
        let base = base.trim_matches('/').to_owned();
        if !base.is_empty() {
            trigger.remove("base");
        }
        root.insert("trigger".to_owned(), trigger.into());
        root.insert("variables".to_owned(), self.variables.clone().into());
        let components = self.component.iter().map(|component| component.to_spin_toml(&base));
        let components = components.map(toml::Value::Table);
        root.insert("component".to_owned(), toml::Value::Array(components.collect()));
        root
    }
}

impl Component {
    fn of(locked: &LockedComponent, trigger: &LockedTrigger) -> Option<Self> {
        let mut config = trigger.trigger_config.as_object()?.clone();
        config.shift_remove("component");
        let stores = locked.metadata_list("key_value_stores");
        let hosts = http_hosts(&locked.metadata_list("allowed_outbound_hosts"));
        let has_files = !locked.files.is_empty();
        Some(Self {
            source: super::sha256(&locked.source.content)?.to_owned(),
            id: locked.id.clone(),
            description: locked.description().map(str::to_owned),
            files: has_files.then(|| group(&locked.id)),
            allowed_http_hosts: Some(hosts).filter(|hosts| !hosts.is_empty()),
            key_value_stores: Some(stores).filter(|stores| !stores.is_empty()),
            environment: locked.env.clone().into_iter().collect(),
            trigger: Table::try_from(config).ok()?,
            config: locked.config.clone().into_iter().collect(),
        })
    }

    fn to_spin_toml(&self, base: &str) -> Table {
        let mut trigger = self.trigger.clone();
        if let Some(toml::Value::String(route)) = trigger.get_mut("route")
            && !base.is_empty()
        {
            *route = format!("/{base}/{}", route.trim_start_matches('/'));
        }
        let mut table = Table::new();
        let mut put = |key: &str, value: toml::Value| table.insert(key.to_owned(), value);
        let texts = |map: &BTreeMap<String, String>| {
            let entries = map.iter().map(|(key, value)| (key.clone(), value.as_str().into()));
            toml::Value::Table(entries.collect())
        };
        put("id", self.id.as_str().into());
        put("source", self.source.as_str().into());
        if let Some(description) = &self.description {
            put("description", description.as_str().into());
        }
        if let Some(group) = &self.files {
            put("files", vec![group.as_str()].into());
        }
        put("allowed_http_hosts", self.allowed_http_hosts.clone().unwrap_or_default().into());
        put("key_value_stores", self.key_value_stores.clone().unwrap_or_default().into());
        put("environment", texts(&self.environment));
        put("trigger", trigger.into());
        put("config", texts(&self.config));
        table
    }
}

fn calls(trigger: &LockedTrigger, component: &LockedComponent) -> bool {
    trigger.trigger_config.get("component").and_then(Value::as_str) == Some(&component.id)
}

fn content(component: &str, source: &ComponentSource) -> Result<ContentRef, LoadError> {
    let wrong = |stated: String| LoadError::Source { component: component.to_owned(), stated };
    let ComponentSource::Local(sha256) = source else { return Err(wrong(source.to_string())) };
    let digest = format!("sha256:{sha256}");
    if digest.parse::<Digest>().is_err() {
        return Err(wrong(sha256.clone()));
    }
    Ok(ContentRef { digest: Some(digest), ..ContentRef::default() })
}

/// The entries of `allowed_http_hosts` that come to these hosts, apart from the databases that version 1 opens by itself; if
/// there are no such entries, some others.
fn http_hosts(outbound: &[String]) -> Vec<String> {
    let databases = database_hosts();
    let rest: Vec<_> =
        outbound.iter().filter(|host| !databases.contains(&host.as_str())).cloned().collect();
    let all = vec!["insecure:allow-all".to_owned()];
    if convert_http_hosts(&all).is_ok_and(|converted| converted == rest) {
        return all;
    }
    let plain = rest.iter().filter_map(|host| host.strip_prefix("http://"));
    plain.map(str::to_owned).collect()
}
