//! The Fermyon Cloud dialect under `/api`, as `spin cloud` 0.11 speaks it.
//!
//! Fields are camelCase, enumerations PascalCase strings, ids UUID strings, times RFC 3339. A field the plug-in
//! requires is present even where it does not use the value.

use gyre_model::{AppId, ChannelId};
use serde::{Deserialize, Serialize};

/// The client id that the Fermyon plug-in sends.
pub const PLUGIN_CLIENT_ID: &str = "583e63e9-461f-4fbe-a246-23e0fb1cad10";

/// The client id that `gyre login` sends.
pub const GYRE_CLIENT_ID: &str = "gyre";

/// `POST /api/device-codes`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateDeviceCode {
    /// Which program asks.
    pub client_id: String,
}

/// What it answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceCode {
    /// The program's half. Secret.
    pub device_code: String,
    /// The person's half, to be shown.
    pub user_code: String,
    /// Where the person approves.
    pub verification_url: String,
    /// Seconds until both halves are worth nothing.
    pub expires_in: i64,
    /// Seconds between two polls.
    pub interval: i32,
}

/// `POST /api/auth-tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateToken {
    /// `DeviceFlow`.
    pub provider: String,
    /// Which program asks.
    #[serde(default)]
    pub client_id: String,
    /// The device code.
    pub provider_code: String,
}

/// `POST /api/auth-tokens/refresh`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefreshToken {
    /// The token to be replaced; it may have expired.
    pub token: String,
    /// What it was given with.
    pub refresh_token: String,
}

/// A token, as both of these answer. `Debug` shows no secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenInfo {
    /// For the `Authorization` header.
    pub token: String,
    /// For `POST /api/auth-tokens/refresh`.
    pub refresh_token: String,
    /// When `token` ends, RFC 3339.
    pub expiration: String,
}

impl std::fmt::Debug for TokenInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenInfo").field("expiration", &self.expiration).finish_non_exhaustive()
    }
}

/// The query of `GET /api/apps`. What else may be sent is ignored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppsQuery {
    /// From 0.
    pub page_index: Option<i32>,
    /// Ignored for the first page: see [`AppItemPage`].
    pub page_size: Option<i32>,
    /// A part of the name, whatever its case.
    pub search_text: Option<String>,
    /// Whether `search_text` must be the whole name.
    pub exact_match: Option<bool>,
}

/// `GET /api/apps`.
///
/// The plug-in looks an app up by reading one page of 50, so the server answers with everything at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppItemPage {
    /// The apps of this page.
    pub items: Vec<AppItem>,
    /// How many there are.
    pub total_items: i32,
    /// From 0.
    pub page_index: i32,
    /// How many a page holds.
    pub page_size: i32,
    /// Whether no page follows.
    pub is_last_page: bool,
}

/// `POST /api/apps`; answered with the id as a JSON string.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateApp {
    /// The app's name.
    pub name: String,
    /// `oci://<repository>`.
    pub storage_id: String,
}

/// An app.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppItem {
    /// Its id.
    pub id: AppId,
    /// Its name.
    pub name: String,
    /// `oci://<repository>`.
    pub storage_id: String,
    /// The complete host name, with a port where it is not the scheme's own.
    pub subdomain: String,
    /// Its channels; may be empty.
    pub channels: Vec<AppChannelItem>,
    /// When anything of it was changed.
    pub last_modified: String,
    /// When it was made.
    pub created: String,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How it fares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_status: Option<HealthStatus>,
    /// Its custom domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// The revision made last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_revision: Option<RevisionItem>,
}

/// A channel within an [`AppItem`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppChannelItem {
    /// Its id.
    pub id: ChannelId,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: String,
    /// The version of what it serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_revision_number: Option<String>,
}

/// A revision within an [`AppItem`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionItem {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub app_id: AppId,
    /// Its version.
    pub revision_number: String,
    /// When it was made.
    pub created: String,
}

/// How an app fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthStatus {
    /// It serves.
    Healthy,
    /// It does not.
    Unhealthy,
    /// Partly.
    Degraded,
}

/// A custom domain.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Domain {
    /// The host name.
    pub name: String,
    /// `InProgress`, `Error`, `Ready` or `Provisioning`.
    pub validation_status: String,
}

/// `POST /api/revisions`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterRevision {
    /// The app's storage id.
    pub app_storage_id: String,
    /// The version, which is the tag that was pushed.
    pub revision_number: String,
}

/// The query of `GET /api/apps/{id}/logs/raw`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RawLogsQuery {
    /// At most so many of the newest lines.
    pub max: Option<i32>,
    /// Only what came after: RFC 3339, exclusive.
    pub since: Option<String>,
}

/// `GET /api/apps/{id}/logs/raw`: entries newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RawLogs {
    /// The entries.
    pub entries: Vec<LogEntry>,
}

/// Some lines of one origin.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// Where they came from.
    pub meta: LogMeta,
    /// The lines, oldest first.
    pub log_lines: Vec<LogLine>,
}

/// Where lines came from. Empty where it is not known.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogMeta {
    /// The app.
    pub app_id: String,
    /// The channel.
    pub channel_id: String,
    /// The revision.
    pub deployment_id: String,
    /// The request.
    pub request_id: String,
    /// The trigger.
    pub trigger_id: String,
    /// The component.
    pub component_id: String,
}

/// A line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogLine {
    /// When, RFC 3339 with nanoseconds: unique within the app, and the cursor for `since`.
    pub time: String,
    /// `stdout`, `stderr` or `host`.
    pub source: String,
    /// The text.
    pub line: String,
}

/// `POST` and `DELETE /api/variable-pairs`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VariablePair {
    /// The app.
    pub app_id: AppId,
    /// The variable's name.
    pub variable: String,
    /// Its value; absent when deleting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The body of `GET /api/variable-pairs`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VariablesQuery {
    /// The app.
    pub app_id: AppId,
}

/// `GET /api/variable-pairs`: each element is a JSON document in a string, `{"key":"name"}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Variables {
    /// The documents.
    pub vars: Vec<String>,
}

/// A link of a store or database to an app, under a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceLabel {
    /// What the app calls it.
    pub label: String,
    /// The app.
    pub app_id: AppId,
    /// Its name; always given by the server, not always by clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_name: Option<String>,
}

/// `GET /api/key-value-stores`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyValueStores {
    /// The stores.
    pub key_value_stores: Vec<KeyValueStore>,
}

/// A key-value store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyValueStore {
    /// Its name, unique in the account.
    pub name: String,
    /// The apps that use it.
    pub links: Vec<ResourceLabel>,
}

/// `POST /api/key-value-pairs`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyValuePair {
    /// With it, `store_name` is a label of that app.
    #[serde(default)]
    pub app_id: Option<AppId>,
    /// The store, or the label.
    pub store_name: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_on_the_wire_are_those_the_plugin_reads() {
        let item = AppItem {
            id: "0190b8a0-0000-7000-8000-000000000001".parse().unwrap(),
            name: "hello".into(),
            storage_id: "oci://hello".into(),
            subdomain: "hello-abcdefgh.example.com:8000".into(),
            channels: vec![],
            last_modified: "t".into(),
            created: "t".into(),
            description: None,
            health_status: Some(HealthStatus::Healthy),
            domain: None,
            latest_revision: None,
        };
        assert_eq!(
            serde_json::to_string(&item).unwrap(),
            r#"{"id":"0190b8a0-0000-7000-8000-000000000001","name":"hello","storageId":"oci://hello","subdomain":"hello-abcdefgh.example.com:8000","channels":[],"lastModified":"t","created":"t","healthStatus":"Healthy"}"#
        );
        let body = r#"{"appStorageId":"oci://hello","revisionNumber":"0.1.0"}"#;
        assert_eq!(
            serde_json::from_str::<RegisterRevision>(body).unwrap().revision_number,
            "0.1.0"
        );
        let body = r#"{"provider":"DeviceFlow","clientId":"x","providerCode":"y"}"#;
        assert_eq!(serde_json::from_str::<CreateToken>(body).unwrap().provider_code, "y");
    }
}
