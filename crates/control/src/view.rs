//! Rows put together as people look at them.

use gyre_model::{Digest, ReleaseId, RevisionId};
use gyre_store::{App, Channel, Release, ReleaseState, Revision};
use jiff::Timestamp;

use crate::{Control, Error, Result, names, ports::has_url};

/// An app and what its default channel does.
#[derive(Debug, Clone)]
pub struct AppView {
    /// The app.
    pub app: App,
    /// Its channels, by name.
    pub channels: Vec<(Channel, Option<ReleaseView>)>,
    /// The version of its newest revision.
    pub latest_version: Option<String>,
    /// The host of its default channel, without port.
    pub host: String,
    /// The address of its default channel, with a trailing `/`. None if what that serves has no HTTP trigger.
    pub url: Option<String>,
    /// The repository that its revisions are pushed to.
    pub repository: String,
}

impl AppView {
    /// What the default channel serves.
    pub fn active(&self) -> Option<&ReleaseView> {
        let mut channels = self.channels.iter();
        channels.find(|(channel, _)| channel.name == crate::DEFAULT_CHANNEL)?.1.as_ref()
    }
}

/// A release with what it serves and where.
#[derive(Debug, Clone)]
pub struct ReleaseView {
    /// Its id.
    pub id: ReleaseId,
    /// 1, 2, 3 … within its channel.
    pub number: u64,
    /// Its channel's name.
    pub channel: String,
    /// How far it is.
    pub state: ReleaseState,
    /// Why, in a paragraph.
    pub reason: Option<String>,
    /// Required variables that nobody has set, while it waits for them.
    pub missing_variables: Vec<String>,
    /// The revision's id.
    pub revision: RevisionId,
    /// The revision's manifest.
    pub digest: Digest,
    /// The revision's label.
    pub version: String,
    /// Where it answers once it is active, with a trailing `/`. None if the application has no HTTP trigger.
    pub url: Option<String>,
    /// The types of the application's triggers.
    pub triggers: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it began to serve.
    pub activated: Option<Timestamp>,
}

/// A revision and which channels serve it.
#[derive(Debug, Clone)]
pub struct RevisionView {
    /// The revision.
    pub revision: Revision,
    /// The channels' names.
    pub active_in: Vec<String>,
}

impl Control {
    pub(crate) async fn release_view(&self, app: &App, release: Release) -> Result<ReleaseView> {
        let channel = self
            .db
            .channel(release.channel)
            .await?
            .ok_or_else(|| Error::internal("a release without a channel"))?;
        let revision = self
            .db
            .revision(release.revision)
            .await?
            .ok_or_else(|| Error::internal("a release without a revision"))?;
        let missing_variables = match release.state {
            ReleaseState::Pending if !self.activations.is_under_way(release.id) => {
                self.missing_variables(&release, &revision).await?
            }
            _ => Vec::new(),
        };
        let url = if has_url(&revision.triggers) {
            let label = names::channel_label(&channel.name, &app.host_label)?;
            Some(self.config.app_url(&label))
        } else {
            None
        };
        Ok(ReleaseView {
            id: release.id,
            number: release.number,
            state: release.state,
            reason: release.reason,
            missing_variables,
            revision: revision.id,
            digest: revision.digest,
            version: revision.version,
            url,
            triggers: revision.triggers,
            channel: channel.name,
            created: release.created,
            activated: release.activated,
        })
    }
}
