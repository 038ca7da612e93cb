//! The rows as the rest of the platform sees them, whatever engine keeps them.

use gyre_model::{
    AccountId, AppId, ChannelId, Digest, ReleaseId, RepositoryId, RevisionId, Settings, StoreId,
    TokenId,
};
use jiff::Timestamp;

/// A part of a listing: how many rows to skip and how many to return at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Rows to skip.
    pub offset: u64,
    /// Rows to return at most.
    pub limit: u64,
}

impl Page {
    /// Everything.
    pub const ALL: Self = Self { offset: 0, limit: i64::MAX as u64 };

    /// The first `limit` rows.
    pub fn first(limit: u64) -> Self {
        Self { offset: 0, limit }
    }
}

/// A page of rows and how many there are in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// The rows of the page.
    pub items: Vec<T>,
    /// How many rows there are on all pages.
    pub total: u64,
}

/// Who owns apps, tokens, stores and databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its name, unique.
    pub name: String,
    /// Whether it may do everything.
    pub is_admin: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Made by a login; expires.
    Session,
    /// Made by its owner for a program; expires only if asked to.
    Personal,
    /// Exchanged, once, for a new session.
    Refresh,
}

/// An access token. The token itself is not kept: only its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Whose it is.
    pub account: AccountId,
    /// The first token of its login: tokens that replaced each other share it.
    pub family: TokenId,
    /// What it is for.
    pub kind: TokenKind,
    /// The sha256 of the token as its owner holds it.
    pub hash: [u8; 32],
    /// What its owner calls it.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it stops working, if ever.
    pub expires: Option<Timestamp>,
    /// When it was revoked, or exchanged, if it was.
    pub revoked: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used: Option<Timestamp>,
}

/// What became of the exchange of a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The old token is spent, the new ones are there.
    Done,
    /// The old token had been spent or revoked before: all tokens of its family are revoked now.
    Reused,
}

/// How far a device login is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceStatus {
    /// Nobody has decided.
    Pending,
    /// Somebody agreed; the device may fetch its token.
    Approved,
    /// Somebody refused.
    Denied,
    /// The device has fetched its token.
    Redeemed,
}

/// A device login under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCode {
    /// The sha256 of the code that the device polls with.
    pub device_hash: [u8; 32],
    /// The code that a person types, or what the caller makes of it; unique among those under way.
    pub user_code: String,
    /// What the client calls itself.
    pub client: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it can no longer be approved or redeemed.
    pub expires: Timestamp,
    /// How many seconds the device is to wait between polls.
    pub interval: u32,
    /// How far it is.
    pub status: DeviceStatus,
    /// Who approved or denied it.
    pub account: Option<AccountId>,
    /// When the device last asked.
    pub last_poll: Option<Timestamp>,
}

/// A person's word on a device login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Log the device in.
    Approve,
    /// Do not.
    Deny,
}

/// An application's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// Whose it is.
    pub account: AccountId,
    /// Its name, unique among those of its account that are not deleted.
    pub name: String,
    /// What clients of the old cloud call it: `oci://<name>`.
    pub storage_id: String,
    /// What it is for, in its owner's words.
    pub description: String,
    /// The first label of its host name, unique for ever: `<name>-<8 characters>`.
    pub host_label: String,
    /// How often its variables were changed.
    pub variables_version: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it or something of it was last changed.
    pub modified: Timestamp,
    /// When it was deleted, if it was.
    pub deleted: Option<Timestamp>,
}

/// An app with what a list of apps shows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppState {
    /// The app.
    pub app: App,
    /// Its channels, by name.
    pub channels: Vec<Channel>,
    /// The version of its newest revision, if it has one.
    pub latest_version: Option<String>,
}

/// An immutable deployed version of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its id.
    pub id: RevisionId,
    /// Whose it is.
    pub account: AccountId,
    /// Of which app.
    pub app: AppId,
    /// Its identity: the digest of `manifest`.
    pub digest: Digest,
    /// Its label.
    pub version: String,
    /// The OCI manifest, byte for byte.
    pub manifest: Vec<u8>,
    /// What the manifest's annotation says.
    pub settings: Settings,
    /// The types of its triggers, each once.
    pub triggers: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
}

/// A named, running pointer of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// Whose it is.
    pub account: AccountId,
    /// Of which app.
    pub app: AppId,
    /// Its name, unique in the app.
    pub name: String,
    /// The release that was asked for last.
    pub desired_release: Option<ReleaseId>,
    /// The release that is served.
    pub active_release: Option<ReleaseId>,
    /// When it was made.
    pub created: Timestamp,
    /// When one of its releases last changed.
    pub modified: Timestamp,
}

/// How far a release is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReleaseState {
    /// Waits for something that its owner has to do: a variable to be set.
    Pending,
    /// Is fetched, compiled, probed.
    Preparing,
    /// Could be served.
    Ready,
    /// Is served.
    Active,
    /// Cannot be served, for the reason given.
    Failed,
    /// Was served, or was overtaken before it could be.
    Retired,
}

impl ReleaseState {
    /// The word for it: `pending`, `preparing`, `ready`, `active`, `failed`, `retired`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Retired => "retired",
        }
    }

    /// Whether it may yet become active.
    pub fn is_unfinished(self) -> bool {
        matches!(self, Self::Pending | Self::Preparing | Self::Ready)
    }
}

/// What a channel serves or served: a revision with the version of its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its id.
    pub id: ReleaseId,
    /// Whose it is.
    pub account: AccountId,
    /// Of which app.
    pub app: AppId,
    /// Of which channel.
    pub channel: ChannelId,
    /// What it serves.
    pub revision: RevisionId,
    /// 1, 2, 3… of its channel. Given by [`Db::create_release`](crate::Db::create_release).
    pub number: u64,
    /// The version of the app's variables that it sees.
    pub variables_version: u64,
    /// How far it is.
    pub state: ReleaseState,
    /// Why it failed, waits or was overtaken.
    pub reason: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last made active.
    pub activated: Option<Timestamp>,
}

/// What became of the wish to make a release active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// It is served from now on; what was served before is retired.
    Active {
        /// What was served before.
        previous: Option<ReleaseId>,
    },
    /// A newer release was asked for, it had failed, or the app was deleted: nothing changed.
    Overtaken,
}

/// A variable of an app as some release sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// The channel it is for; `None`: for all.
    pub channel: Option<ChannelId>,
    /// Its value, sealed by the keyring.
    pub sealed: Vec<u8>,
    /// The version of the app's variables that it came with.
    pub since: u64,
    /// When that was.
    pub changed: Timestamp,
}

/// One change of an app's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableChange {
    /// Its name.
    pub name: String,
    /// The channel it is for; `None`: for all.
    pub channel: Option<ChannelId>,
    /// The new value, sealed; `None`: remove it.
    pub sealed: Option<Vec<u8>>,
}

/// One line of the routing table: a channel that serves something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The account's id.
    pub account: AccountId,
    /// The account's name.
    pub account_name: String,
    /// The app's id.
    pub app: AppId,
    /// The app's name.
    pub app_name: String,
    /// The first label of the app's host name.
    pub host_label: String,
    /// The channel's id.
    pub channel: ChannelId,
    /// The channel's name.
    pub channel_name: String,
    /// The active release.
    pub release: ReleaseId,
    /// Its number.
    pub release_number: u64,
    /// The version of the variables that it sees.
    pub variables_version: u64,
    /// The revision's id.
    pub revision: RevisionId,
    /// The revision's digest.
    pub digest: Digest,
    /// The revision's version.
    pub version: String,
    /// The revision's settings.
    pub settings: Settings,
    /// The types of the revision's triggers.
    pub triggers: Vec<String>,
    /// When the release was made active.
    pub activated: Timestamp,
}

/// A repository of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its id.
    pub id: RepositoryId,
    /// Whose it is.
    pub account: AccountId,
    /// Its name, unique in the account.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
}

/// A manifest of a repository. Its bytes are a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRow {
    /// The repository.
    pub repository: RepositoryId,
    /// Whose it is.
    pub account: AccountId,
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was put.
    pub created: Timestamp,
}

/// A bindle's invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceRow {
    /// Whose it is.
    pub account: AccountId,
    /// The bindle's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The invoice as TOML, with our own signature.
    pub invoice: String,
    /// Whether nobody should use it any more.
    pub is_yanked: bool,
    /// When it was put.
    pub created: Timestamp,
}

/// What a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreKind {
    /// A key-value store.
    KeyValue,
    /// A SQLite database.
    Database,
}

/// A key-value store or a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Its id.
    pub id: StoreId,
    /// Whose it is.
    pub account: AccountId,
    /// What it is.
    pub kind: StoreKind,
    /// Its name, unique among those of its kind in the account.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
}

/// A store under a label of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The app.
    pub app: AppId,
    /// The app's name.
    pub app_name: String,
    /// The label.
    pub label: String,
    /// What it leads to.
    pub store: Store,
}
