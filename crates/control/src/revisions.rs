//! Revisions and the releases made of them: deploy, roll back, list.

use std::{collections::BTreeMap, sync::Arc};

use gyre_model::{ChannelId, Digest, LockedApp, ReleaseId, RevisionId, Secret};
use gyre_package::limits;
use gyre_store::{App, Channel, DbError, Page, Release, ReleaseState, Revision, StoreKind};
use gyre_telemetry::chain;

use crate::{
    Actor, AppRef, Control, DEFAULT_CHANNEL, Error, ErrorKind, ReleaseView, Result, RevisionView,
    names,
};

/// How many stores and databases an app may name.
const MAX_LABELS: usize = 100;
/// How many channels an app may have.
const MAX_CHANNELS: usize = 100;
/// How many revisions are listed.
const LISTED: u64 = 1_000;

/// What to deploy, of the app's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// That manifest.
    Digest(Digest),
    /// What the tag points to now.
    Tag(String),
}

/// A release to be made.
#[derive(Debug)]
pub struct NewRelease {
    /// What to deploy.
    pub source: Source,
    /// Into which channel, by default [`DEFAULT_CHANNEL`]; one that is not there is made.
    pub channel: Option<String>,
    /// Variables to be set first.
    pub variables: BTreeMap<String, Secret<String>>,
}

impl NewRelease {
    /// Of that source, into the default channel.
    pub fn of(source: Source) -> Self {
        Self { source, channel: None, variables: BTreeMap::new() }
    }
}

impl Control {
    /// Makes a release of what was pushed and begins to activate it.
    ///
    /// Doing so again with the same makes another release of the same revision: identity is the digest.
    pub async fn create_release(
        self: &Arc<Self>,
        actor: &Actor,
        app: &AppRef,
        new: NewRelease,
    ) -> Result<ReleaseView> {
        let app = self.find_app(actor, app).await?;
        self.deploy(actor, app, new).await
    }

    /// The same for the app of that storage id, by tag: what the old cloud's clients do.
    pub async fn register_revision(
        self: &Arc<Self>,
        actor: &Actor,
        storage_id: &str,
        tag: &str,
    ) -> Result<ReleaseView> {
        let app = self.find_app_by_storage_id(actor, storage_id).await?;
        self.deploy(actor, app, NewRelease::of(Source::Tag(tag.to_owned()))).await
    }

    async fn deploy(
        self: &Arc<Self>,
        actor: &Actor,
        app: App,
        new: NewRelease,
    ) -> Result<ReleaseView> {
        let (digest, manifest, tag) = self.resolve(actor, &app, &new.source).await?;
        let contents = self.inspect(&manifest).await?.map_err(|error| {
            Error::invalid(
                "artifact.invalid",
                format!("what was pushed cannot be deployed: {}", chain(&error)),
            )
        })?;
        let labels = labels(&contents.locked)?;
        let channel_name = new.channel.as_deref().unwrap_or(DEFAULT_CHANNEL);
        names::channel_name(channel_name)?;
        names::channel_label(channel_name, &app.host_label)?;
        let changes = self.variable_changes(&app, new.variables, Vec::new())?;

        let _turn = self.locks.of(app.id).await;
        let now = self.clock.now();
        let channel = self.ensure_channel(&app, channel_name).await?;
        for (kind, label) in labels {
            self.db.ensure_link(app.id, kind, label, now).await?;
        }
        let version = contents.locked.version().map(str::to_owned).or(tag).unwrap_or_default();
        let revision = Revision {
            id: RevisionId::new(),
            account: app.account,
            app: app.id,
            digest,
            version,
            manifest,
            triggers: trigger_types(&contents.locked),
            settings: contents.settings,
            created: now,
        };
        let (revision, _) = self.db.create_revision(revision).await?;
        let variables_version = if changes.is_empty() {
            // Read under the lock: what the caller found may be older.
            self.db.app(app.id).await?.map_or(0, |app| app.variables_version)
        } else {
            self.change_variables(&app, changes).await?
        };
        self.make_release(&app, channel.id, revision.id, variables_version).await
    }

    /// Makes a release of an earlier revision and begins to activate it. The newest variables stand.
    ///
    /// Without a revision it is that of the newest earlier release that was active and had another revision than the present one;
    /// if there is none, but an earlier release was active with other variables, it is that release, variables included.
    pub async fn rollback(
        self: &Arc<Self>,
        actor: &Actor,
        app: &AppRef,
        revision: Option<&str>,
        channel: Option<&str>,
    ) -> Result<ReleaseView> {
        let app = self.find_app(actor, app).await?;
        let channel_name = channel.unwrap_or(DEFAULT_CHANNEL);
        names::channel_name(channel_name)?;
        let _turn = self.locks.of(app.id).await;
        let channel = self
            .db
            .channel_by_name(app.id, channel_name.to_owned())
            .await?
            .ok_or_else(|| Error::not_found(format!("channel '{channel_name}'")))?;
        let current = self.db.app(app.id).await?.map_or(0, |app| app.variables_version);
        let (revision, variables_version) = match revision {
            Some(text) => (self.find_revision(&app, text).await?.id, current),
            None => self.release_to_go_back_to(&channel, current).await?,
        };
        self.make_release(&app, channel.id, revision, variables_version).await
    }

    async fn release_to_go_back_to(
        &self,
        channel: &Channel,
        variables_version: u64,
    ) -> Result<(RevisionId, u64)> {
        let nothing = || {
            Error::new(
                ErrorKind::Conflict,
                "rollback.nothing",
                "there is no earlier release to go back to",
            )
        };
        let active = channel.active_release.ok_or_else(nothing)?;
        let active = self.db.release(active).await?.ok_or_else(nothing)?;
        let mut with_other_variables = None;
        let mut at = active.id;
        while let Some(earlier) = self.db.release_before(channel.id, at).await? {
            if earlier.revision != active.revision {
                return Ok((earlier.revision, variables_version));
            }
            if earlier.variables_version != active.variables_version {
                with_other_variables.get_or_insert((earlier.revision, earlier.variables_version));
            }
            at = earlier.id;
        }
        with_other_variables.ok_or_else(nothing)
    }

    /// The app's revisions, newest first.
    pub async fn revisions(&self, actor: &Actor, app: &AppRef) -> Result<Vec<RevisionView>> {
        let app = self.find_app(actor, app).await?;
        let mut active: BTreeMap<RevisionId, Vec<String>> = BTreeMap::new();
        for channel in self.db.channels(app.id).await? {
            if let Some(release) = channel.active_release
                && let Some(release) = self.db.release(release).await?
            {
                active.entry(release.revision).or_default().push(channel.name);
            }
        }
        let revisions = self.db.revisions(app.id, Page::first(LISTED)).await?.items;
        let view = |revision: Revision| RevisionView {
            active_in: active.remove(&revision.id).unwrap_or_default(),
            revision,
        };
        Ok(revisions.into_iter().map(view).collect())
    }

    /// The newest release of the app's default channel, whatever became of it.
    pub async fn latest_release(&self, actor: &Actor, app: &AppRef) -> Result<Option<ReleaseView>> {
        let app = self.find_app(actor, app).await?;
        let channel = self.db.channel_by_name(app.id, DEFAULT_CHANNEL.to_owned()).await?;
        let Some(channel) = channel else { return Ok(None) };
        let latest = self.db.releases(channel.id, Page::first(1)).await?.items.pop();
        match latest {
            Some(release) => self.release_view(&app, release).await.map(Some),
            None => Ok(None),
        }
    }

    /// Adds the row and begins. The app's lock is held.
    pub(crate) async fn make_release(
        self: &Arc<Self>,
        app: &App,
        channel: ChannelId,
        revision: RevisionId,
        variables_version: u64,
    ) -> Result<ReleaseView> {
        let release = Release {
            id: ReleaseId::new(),
            account: app.account,
            app: app.id,
            channel,
            revision,
            number: 0,
            variables_version,
            state: ReleaseState::Pending,
            reason: None,
            created: self.clock.now(),
            activated: None,
        };
        let release = self.db.create_release(release).await?;
        self.launch(&release);
        self.release_view(app, release).await
    }

    /// The manifest that is meant: its digest, its bytes and the tag, if it was by tag.
    async fn resolve(
        &self,
        actor: &Actor,
        app: &App,
        source: &Source,
    ) -> Result<(Digest, Vec<u8>, Option<String>)> {
        let name = Self::repository_of(app);
        let missing = || {
            let what = match source {
                Source::Digest(digest) => digest.to_string(),
                Source::Tag(tag) => format!("'{}'", tag.escape_debug()),
            };
            Error::new(
                ErrorKind::NotFound,
                "revision.not_pushed",
                format!("nothing was pushed to the repository '{name}' as {what}"),
            )
        };
        let repository =
            self.db.repository(actor.account, name.to_owned()).await?.ok_or_else(missing)?;
        let (row, tag) = match source {
            Source::Digest(digest) => (self.db.manifest(repository.id, *digest).await?, None),
            Source::Tag(tag) if gyre_package::registry::is_tag(tag) => {
                (self.db.tagged_manifest(repository.id, tag.clone()).await?, Some(tag.clone()))
            }
            Source::Tag(_) => (None, None),
        };
        let row = row.ok_or_else(missing)?;
        let bytes = self
            .blobs
            .read_all(&row.digest, limits::MANIFEST_BYTES)
            .await
            .map_err(crate::registry::blob_error)?
            .ok_or_else(|| Error::internal(format!("the manifest {} is gone", row.digest)))?;
        Ok((row.digest, bytes, tag))
    }

    async fn ensure_channel(&self, app: &App, name: &str) -> Result<Channel> {
        loop {
            if let Some(channel) = self.db.channel_by_name(app.id, name.to_owned()).await? {
                return Ok(channel);
            }
            if self.db.channels(app.id).await?.len() >= MAX_CHANNELS {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "channel.too_many",
                    format!("an app has at most {MAX_CHANNELS} channels"),
                ));
            }
            let now = self.clock.now();
            let channel = Channel {
                id: ChannelId::new(),
                account: app.account,
                app: app.id,
                name: name.to_owned(),
                desired_release: None,
                active_release: None,
                created: now,
                modified: now,
            };
            match self.db.create_channel(channel).await {
                Ok(()) | Err(DbError::Taken { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The revision that `text` means: a digest, the beginning of one, or a version.
    async fn find_revision(&self, app: &App, text: &str) -> Result<Revision> {
        let missing = || Error::not_found(format!("revision '{}'", text.escape_debug()));
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let is_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_hex && (4..=64).contains(&hex.len()) {
            let revisions = self.db.revisions(app.id, Page::ALL).await?.items;
            let mut found = revisions.into_iter().filter(|r| r.digest.hex().starts_with(hex));
            match (found.next(), found.next()) {
                (Some(revision), None) => return Ok(revision),
                (Some(_), Some(_)) => {
                    return Err(Error::invalid(
                        "revision.ambiguous",
                        format!("more than one revision begins with '{hex}'"),
                    ));
                }
                // It may be a version yet.
                (None, _) => {}
            }
        }
        self.db.revision_by_version(app.id, text.to_owned()).await?.ok_or_else(missing)
    }
}

/// The types of an application's triggers, each once, in the order of their first ones.
fn trigger_types(locked: &LockedApp) -> Vec<String> {
    let mut types = Vec::new();
    for trigger in &locked.triggers {
        if !types.contains(&trigger.trigger_type) {
            types.push(trigger.trigger_type.clone());
        }
    }
    types
}

/// The stores and databases that an application names.
fn labels(locked: &LockedApp) -> Result<Vec<(StoreKind, String)>> {
    let mut labels = Vec::new();
    for component in &locked.components {
        for (key, kind) in
            [("key_value_stores", StoreKind::KeyValue), ("databases", StoreKind::Database)]
        {
            let list = component.metadata.get(key).and_then(serde_json::Value::as_array);
            for label in list.into_iter().flatten().filter_map(serde_json::Value::as_str) {
                names::store_name(label)?;
                let label = (kind, label.to_owned());
                if !labels.contains(&label) {
                    labels.push(label);
                }
            }
        }
    }
    if labels.len() > MAX_LABELS {
        return Err(Error::invalid(
            "artifact.invalid",
            format!("the application names more than {MAX_LABELS} stores and databases"),
        ));
    }
    Ok(labels)
}
