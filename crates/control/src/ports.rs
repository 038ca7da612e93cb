//! What control needs of the node: somebody who runs releases, somebody who routes to them, and the door to
//! the guests' data. The node implements these; tests use doubles.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use futures::future::BoxFuture;
use gyre_model::{
    AccountId, AppId, ChannelId, Digest, ReleaseId, RevisionId, Secret, Settings, StoreId,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Makes a release ready to serve on this node.
pub trait Activator: Send + Sync + 'static {
    /// Fetches, verifies, compiles and probes. Afterwards the release can be routed to at once.
    ///
    /// May be called again for the same release (after a restart, say), and for one whose code is there
    /// already: that must be cheap. Dropping the future abandons the release.
    fn prepare(&self, release: ReleaseSpec) -> BoxFuture<'_, Result<(), ActivationError>>;
}

/// Why a release cannot serve. `Display` is the whole paragraph that the developer reads.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ActivationError {
    /// `compile.failed`, `compile.limit`, `link.missing_import`, `probe.trapped`, `probe.health`, `artifact.invalid` …
    pub code: String,
    /// One paragraph, in words a developer can act on.
    pub message: String,
}

impl ActivationError {
    /// An error of that code.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

/// Leads requests to releases.
pub trait RoutePublisher: Send + Sync + 'static {
    /// Makes `routes` the whole routing table, in one step. Returns when new requests follow it; what is no longer in it drains
    /// on its own. Calls come one after the other, each with a newer table.
    ///
    /// The entries are shared and unchanged ones keep their `Arc`, so that what did not change is found by
    /// pointer.
    fn publish(&self, routes: Vec<std::sync::Arc<RouteEntry>>) -> BoxFuture<'_, ()>;
}

/// The door to the data of guests, for the little that control does with it.
pub trait GuestData: Send + Sync + 'static {
    /// Sets one key of a key-value store, durably. The store's file is made where there is none.
    fn set_key_value<'a>(
        &'a self,
        store: StoreAddress,
        key: &'a str,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), GuestDataError>>;
}

/// Which key-value store or database: one that an account owns. Its id stays when it is renamed or linked elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoreAddress {
    /// Whose it is.
    pub account: AccountId,
    /// Its id.
    pub store: StoreId,
}

/// Why guest data could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum GuestDataError {
    /// It breaks a limit or rule of the store: a sentence for the user.
    #[error("{0}")]
    Refused(String),
    /// It failed.
    #[error("the store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One line of the routing table: what a channel serves. Holds no secret, so it may be kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEntry {
    /// The hosts that lead here: lower case, without port. None if the application has no HTTP trigger.
    pub hosts: Vec<String>,
    /// The release. A new one is made for whatever changes, so equal ids mean equal behaviour.
    pub release: ReleaseId,
    /// Its number in the channel.
    pub number: u64,
    /// The app.
    pub app: AppId,
    /// Its name.
    pub app_name: String,
    /// Whose it is.
    pub account: AccountId,
    /// The channel.
    pub channel: ChannelId,
    /// Its name.
    pub channel_name: String,
    /// The revision.
    pub revision: RevisionId,
    /// Its manifest.
    pub digest: Digest,
    /// Its label.
    pub version: String,
    /// What came with the revision.
    pub settings: Settings,
    /// The types of the application's triggers, each once.
    pub triggers: Vec<String>,
    /// The key-value stores that are linked to the app, by label. Each label that the application names is there.
    pub stores: BTreeMap<String, StoreAddress>,
    /// The databases, likewise.
    pub databases: BTreeMap<String, StoreAddress>,
    /// Which state of the variables it runs with.
    pub variables_version: u64,
    /// When it began to serve; while it is being prepared, when it was made.
    pub activated: Timestamp,
}

impl RouteEntry {
    /// Whether something else than HTTP requests is to call the application.
    pub fn has_events(&self) -> bool {
        self.triggers.iter().any(|kind| kind != HTTP_TRIGGER)
    }

    /// Whether it does in this channel: events are taken for an app once, in its default channel.
    pub fn takes_events(&self) -> bool {
        self.channel_name == crate::DEFAULT_CHANNEL && self.has_events()
    }
}

/// The type of the triggers that have a URL.
pub(crate) const HTTP_TRIGGER: &str = "http";

/// Whether an application with triggers of these types has a URL.
pub(crate) fn has_url(triggers: &[String]) -> bool {
    triggers.iter().any(|kind| kind == HTTP_TRIGGER)
}

/// All that it takes to run a release. [`crate::Releases::spec`] yields it at any time.
#[derive(Clone)]
pub struct ReleaseSpec {
    /// What and for whom.
    pub route: RouteEntry,
    /// The bytes of the OCI manifest whose digest is `route.digest`; the blobs are in the blob store.
    pub manifest: Bytes,
    /// The variables that are set, by name. Those the application defines without a default are all there.
    pub variables: BTreeMap<String, Secret<String>>,
}

impl fmt::Debug for ReleaseSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReleaseSpec")
            .field("route", &self.route)
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
