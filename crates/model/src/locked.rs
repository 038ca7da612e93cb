//! The locked app: the JSON by which an application is stored and shipped, versions 0 and 1.
//!
//! The format is Spin's (`spin.lock`, the layer `application/vnd.fermyon.spin.application.v1+config`). Unknown
//! fields are ignored and lost; what must not be ignored is named in `must_understand`.

use base64::{Engine as _, alphabet, engine};
use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Metadata, settings of triggers, and other free-form tables.
pub type ValuesMap = Map<String, Value>;

/// An application, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockedApp {
    /// 0, or 1 where `must_understand` or `host_requirements` are present.
    pub spin_lock_version: u32,
    /// Fields that a reader may not ignore.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub must_understand: Vec<String>,
    /// `name`, `version`, `description`, `authors`, `triggers`, `origin`, …
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: ValuesMap,
    /// Features the host must have.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub host_requirements: ValuesMap,
    /// The application's variables, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub variables: IndexMap<String, LockedVariable>,
    /// What calls its components.
    pub triggers: Vec<LockedTrigger>,
    /// Its components.
    pub components: Vec<LockedComponent>,
}

/// A variable of the application.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedVariable {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its value where nothing else gives one. Without it the variable is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Whether its value is a secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

/// A trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockedTrigger {
    /// Unique in the application.
    pub id: String,
    /// `http`, `redis`, …
    pub trigger_type: String,
    /// The settings of that type; `component` names what is called.
    pub trigger_config: Value,
    /// What is composed with the component, by role. Empty in what is stored and shipped: there the component has it.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub trigger_dependencies: IndexMap<String, Vec<LockedDependency>>,
}

/// A component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockedComponent {
    /// Unique in the application.
    pub id: String,
    /// `description`, `allowed_outbound_hosts`, `key_value_stores`, `databases`, `ai_models`, `build`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: ValuesMap,
    /// Its code.
    pub source: LockedSource,
    /// Its environment variables.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    /// Its files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ContentPath>,
    /// Its variables, as templates over the application's.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub config: IndexMap<String, String>,
    /// What satisfies its imports.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub dependencies: IndexMap<String, LockedDependency>,
    /// What its trigger wants composed with it, by role: `middleware`, the outermost first.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub trigger_dependencies: IndexMap<String, Vec<LockedDependency>>,
    /// Features the host must have for this component.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub host_requirements: ValuesMap,
}

/// A dependency of a component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockedDependency {
    /// Its code.
    pub source: LockedSource,
    /// The export to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<String>,
    /// Which of the parent's capabilities it inherits: `"All"` or `{"Some": [...]}`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub inherit: Value,
}

/// A component's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedSource {
    /// `application/wasm`.
    pub content_type: String,
    /// Where the bytes are.
    #[serde(flatten)]
    pub content: ContentRef,
}

/// A file that a component sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentPath {
    /// Where the bytes are.
    #[serde(flatten)]
    pub content: ContentRef,
    /// The path the guest sees.
    pub path: String,
}

/// Where content is: at least one of the three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentRef {
    /// A URL, `file:///…` for local content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The bytes themselves, base64 without padding.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "inline_to_base64",
        deserialize_with = "inline_from_base64"
    )]
    pub inline: Option<Vec<u8>>,
    /// `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Writes without padding, as Spin does, and reads either.
const BASE64: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &alphabet::STANDARD,
    engine::GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent),
);

#[allow(clippy::ref_option, reason = "the signature is serde's")]
fn inline_to_base64<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => to.serialize_str(&BASE64.encode(bytes)),
        None => to.serialize_none(),
    }
}

fn inline_from_base64<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
    Option::<String>::deserialize(from)?
        .map(|text| BASE64.decode(text).map_err(serde::de::Error::custom))
        .transpose()
}

/// Why a locked app cannot be run by this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnderstandError {
    /// A lock version of the future.
    #[error("invalid locked app: version {0} is not supported (0 and 1 are)")]
    Version(u32),
    /// It asks to be understood in fields or features that are unknown here.
    #[error(
        "This version of Gyre does not support the following features required by this application: {}",
        .0.join(", ")
    )]
    Features(Vec<String>),
}

impl LockedApp {
    /// The application's name, or nothing where the metadata lacks one.
    pub fn name(&self) -> &str {
        self.metadata.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The application's version label, if it has one.
    pub fn version(&self) -> Option<&str> {
        self.metadata.get("version").and_then(Value::as_str)
    }

    /// The component of that id.
    pub fn component(&self, id: &str) -> Option<&LockedComponent> {
        self.components.iter().find(|component| component.id == id)
    }

    /// Checks that nothing in it must be understood that is not, given the features `supported`.
    ///
    /// # Errors
    /// The version, or the features, that are not supported.
    pub fn ensure_understood(&self, supported: &[&str]) -> Result<(), UnderstandError> {
        if self.spin_lock_version > 1 {
            return Err(UnderstandError::Version(self.spin_lock_version));
        }
        let known = ["host_requirements", "component_host_requirements"];
        let fields = self.must_understand.iter().filter(|name| !known.contains(&name.as_str()));
        let requirements = std::iter::once(&self.host_requirements)
            .chain(self.components.iter().map(|component| &component.host_requirements))
            .flatten()
            .filter(|(name, value)| {
                value.as_str() != Some("optional") && !supported.contains(&name.as_str())
            })
            .map(|(name, _)| name);
        let mut missing: Vec<String> = fields.chain(requirements).cloned().collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() { Ok(()) } else { Err(UnderstandError::Features(missing)) }
    }
}

impl LockedComponent {
    /// A list of strings of the metadata: `allowed_outbound_hosts`, `key_value_stores`, `databases`, `ai_models`.
    pub fn metadata_list(&self, key: &str) -> Vec<String> {
        let list = self.metadata.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }

    /// What it is for, in its developer's words.
    pub fn description(&self) -> Option<&str> {
        self.metadata.get("description").and_then(Value::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = r#"{"spin_lock_version":1,"must_understand":["component_host_requirements"],
        "metadata":{"name":"hello","version":"0.1.0"},"triggers":[{"id":"t","trigger_type":"http",
        "trigger_config":{"component":"a","route":"/..."}}],"components":[{"id":"a","source":{
        "content_type":"application/wasm","digest":"sha256:00"},"files":[{"inline":"aGk","path":"/x"}],
        "host_requirements":{"local_service_chaining":"required","nice":"optional"}}]}"#;

    #[test]
    fn a_locked_app_survives_reading_and_writing() {
        let app: LockedApp = serde_json::from_str(HELLO).unwrap();
        assert_eq!(app.name(), "hello");
        assert_eq!(app.components[0].files[0].content.inline.as_deref(), Some(&b"hi"[..]));
        let again: LockedApp = serde_json::from_str(&serde_json::to_string(&app).unwrap()).unwrap();
        assert_eq!(app, again);
    }

    #[test]
    fn required_features_must_be_supported_and_optional_ones_need_not() {
        let app: LockedApp = serde_json::from_str(HELLO).unwrap();
        assert_eq!(app.ensure_understood(&["local_service_chaining"]), Ok(()));
        let features = vec!["local_service_chaining".to_owned()];
        assert_eq!(app.ensure_understood(&[]), Err(UnderstandError::Features(features)));
    }
}
