//! Gyre's own API under `/api/v1`. An `{app}` in a path is an app's name or its id.
//!
//! Bodies are JSON with snake_case names; times are RFC 3339; failures are [`crate::Problem`]s.

use std::collections::BTreeMap;

use gyre_model::{AccountId, AppId, Digest, ReleaseId, TokenId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The channel that exists from an app's first release on, and that is meant where none is named.
pub const DEFAULT_CHANNEL: &str = "production";

/// `GET /api/v1/info`. Needs no token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Info {
    /// `gyre`.
    pub name: String,
    /// The server's version.
    pub version: String,
    /// The host of the API.
    pub domain: String,
    /// Under which the apps have their hosts.
    pub apps_domain: String,
    /// The base address of API and registry as the world sees it, with a trailing `/`.
    pub url: String,
}

/// `GET /api/v1/account`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// Whether it may administer the server.
    pub is_admin: bool,
}

/// The query of `GET /api/v1/apps`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AppsQuery {
    /// What the page before had as `next`.
    pub after: Option<String>,
    /// At most so many; 1 to 1,000, by default 100.
    pub limit: Option<u32>,
}

/// `GET /api/v1/apps`: by name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Apps {
    /// The apps.
    pub items: Vec<App>,
    /// For the next page's `after`, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An app: also what `PUT /api/v1/apps/{name}` answers (201 when it was made, 200 when it was there).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where the default channel answers, with a trailing `/`; null if what it serves has no HTTP trigger.
    pub url: Option<String>,
    /// The repository its revisions are pushed to.
    pub repository: String,
    /// When it was made.
    pub created: Timestamp,
    /// When anything of it was changed.
    pub modified: Timestamp,
    /// What the default channel serves, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Release>,
    /// The default channel's newest release, whatever became of it. Not told in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Release>,
}

/// `POST /api/v1/apps/{app}/releases`: exactly one of `digest` and `tag`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateRelease {
    /// The manifest, pushed before to the app's repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// A tag of the app's repository, resolved at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// By default [`DEFAULT_CHANNEL`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Variables to set first. They stay set, whatever becomes of the release.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

impl std::fmt::Debug for CreateRelease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateRelease")
            .field("digest", &self.digest)
            .field("tag", &self.tag)
            .field("channel", &self.channel)
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// How far a release is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseState {
    /// Not started, or waiting for a variable (see the reason).
    Pending,
    /// Being fetched, compiled and probed.
    Preparing,
    /// Prepared, not yet switched to.
    Ready,
    /// What the channel serves.
    Active,
    /// It never served; the reason says why.
    Failed,
    /// It served before, or was overtaken by a newer one (see the reason).
    Retired,
}

impl ReleaseState {
    /// Whether the state will not change by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Active | Self::Failed | Self::Retired)
    }
}

/// A release.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Release {
    /// Its id.
    pub id: ReleaseId,
    /// 1, 2, 3 … within its channel.
    pub number: u64,
    /// Its channel.
    pub channel: String,
    /// How far it is.
    pub state: ReleaseState,
    /// Why it is in that state, in a paragraph, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Required variables that nobody has set: it waits for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_variables: Vec<String>,
    /// What it serves.
    pub revision: RevisionRef,
    /// Where it answers once it is active, with a trailing `/`; null if it has no HTTP trigger.
    pub url: Option<String>,
    /// What calls it: `http`, `redis`, …
    #[serde(default)]
    pub triggers: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it began to serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<Timestamp>,
}

impl Release {
    /// Whether waiting longer is of no use: it is active, it failed, or it waits for a variable.
    pub fn is_settled(&self) -> bool {
        self.state.is_final() || !self.missing_variables.is_empty()
    }
}

/// A revision, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRef {
    /// The manifest's digest: its identity.
    pub digest: Digest,
    /// Its label; more than one revision may have the same. Empty where the app has none.
    pub version: String,
}

/// The query of `GET /api/v1/apps/{app}/releases/{id}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseQuery {
    /// Seconds to wait for the release to settle, at most 60.
    pub wait: Option<u32>,
}

/// `GET /api/v1/apps/{app}/revisions`: newest first, at most 1,000.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Revisions {
    /// The revisions.
    pub items: Vec<Revision>,
}

/// A revision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Revision {
    /// The manifest's digest: its identity.
    pub digest: Digest,
    /// Its label.
    pub version: String,
    /// When it was first deployed.
    pub created: Timestamp,
    /// The channels that serve it.
    pub active_in: Vec<String>,
}

/// `POST /api/v1/apps/{app}/rollback`; answered with a [`Release`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rollback {
    /// A digest, at least four of its hex digits (`sha256:` may be left out), or a version. By default the revision of the release
    /// that was active before the present one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// By default [`DEFAULT_CHANNEL`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
}

/// The query of `GET /api/v1/apps/{app}/logs`.
///
/// Without `follow` the answer is [`Logs`]; with it, [`LogLine`]s as JSON, one a line (`application/x-ndjson`),
/// until the client goes; empty lines keep the connection alive.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogsQuery {
    /// Only what came after: RFC 3339, exclusive.
    pub since: Option<Timestamp>,
    /// At most so many of the newest lines; at most 10,000, by default 100.
    pub max: Option<u32>,
    /// Whether to go on with what comes.
    pub follow: Option<bool>,
}

/// `GET /api/v1/apps/{app}/logs`: oldest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Logs {
    /// The lines.
    pub items: Vec<LogLine>,
}

/// A line of an app's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When: unique within the app, with nanoseconds; the cursor for `since`.
    pub time: Timestamp,
    /// `stdout`, `stderr` or `host`.
    pub stream: String,
    /// Who wrote it.
    pub component: String,
    /// The revision it was written by, as a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The request it was written in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The text, without a newline. Not escaped: it may hold control characters.
    pub line: String,
}

/// `GET /api/v1/apps/{app}/variables`: by name. Values are never returned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Variables {
    /// The variables.
    pub items: Vec<Variable>,
}

/// A variable that is set.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
}

/// `PATCH /api/v1/apps/{app}/variables`: several changes in one step.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SetVariables {
    /// What to set.
    pub set: BTreeMap<String, String>,
    /// What to delete; deleting what is not set is no error.
    pub delete: Vec<String>,
}

/// The body of `PUT /api/v1/apps/{app}/variables/{name}`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetVariable {
    /// The value.
    pub value: String,
}

/// What a change of variables led to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VariablesChanged {
    /// The release by which it comes into effect; absent while the app has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
}

/// `POST /api/v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it is for.
    pub name: String,
    /// Days until it expires; without it, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_days: Option<u32>,
}

/// What it answers: the only time that the secret is shown.
#[derive(Clone, Serialize, Deserialize)]
pub struct CreatedToken {
    /// Its id.
    pub id: TokenId,
    /// What it is for.
    pub name: String,
    /// The secret.
    pub token: String,
}

/// `GET /api/v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tokens {
    /// The personal tokens and sessions of the account that can still be used.
    pub items: Vec<Token>,
}

/// A token, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// What it is for.
    pub name: String,
    /// `personal` or `session`.
    pub kind: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
}
