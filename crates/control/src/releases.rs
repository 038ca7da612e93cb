//! Releases as they are run: rows, content and secrets put together.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use gyre_model::{ReleaseId, Secret};
use gyre_store::{App, Channel, Db, Keyring, Link, Release, Revision, StoreKind};

use crate::{
    ControlConfig, Error, ReleaseSpec, Result, RouteEntry, StoreAddress, names, ports::has_url,
};

/// Reads releases. Cheap to clone, and needs nothing of the node: so the node may hold one.
#[derive(Clone)]
pub struct Releases {
    db: Db,
    keyring: Arc<Keyring>,
    config: ControlConfig,
}

impl Releases {
    /// A reader of these rows.
    pub fn new(db: Db, keyring: Arc<Keyring>, config: ControlConfig) -> Self {
        Self { db, keyring, config }
    }

    /// All that it takes to run a release, whatever its state.
    ///
    /// # Errors
    /// There is no such release, its app was deleted, or a secret does not open.
    pub async fn spec(&self, id: ReleaseId) -> Result<ReleaseSpec> {
        let gone = || Error::not_found(format!("release '{id}'"));
        let release = self.db.release(id).await?.ok_or_else(gone)?;
        let app = self.db.app(release.app).await?.ok_or_else(gone)?;
        let channel = self.db.channel(release.channel).await?.ok_or_else(gone)?;
        let revision = self.db.revision(release.revision).await?.ok_or_else(gone)?;
        if app.deleted.is_some() {
            return Err(gone());
        }
        let variables = self.variables(&release).await?;
        let (stores, databases) = addresses(self.db.links(app.id).await?);
        let manifest = Bytes::from(revision.manifest.clone());
        let route = self.route_of(&release, app, channel, revision, stores, databases)?;
        Ok(ReleaseSpec { route, manifest, variables })
    }

    /// The variables that a release sees.
    pub(crate) async fn variables(
        &self,
        release: &Release,
    ) -> Result<BTreeMap<String, Secret<String>>> {
        let version = release.variables_version;
        let rows = self.db.variables(release.app, Some(release.channel), version).await?;
        rows.into_iter()
            .map(|row| {
                let identity = variable_identity(release.app, row.channel, &row.name);
                let value =
                    self.keyring.open_sealed(&identity, &row.sealed).map_err(Error::internal)?;
                let value = String::from_utf8(value.expose().clone()).map_err(Error::internal)?;
                Ok((row.name, Secret::new(value)))
            })
            .collect()
    }

    /// Everything that is served.
    pub(crate) async fn routes(&self) -> Result<Vec<RouteEntry>> {
        let mut entries = Vec::new();
        for route in self.db.routes().await? {
            let (stores, databases) = addresses(self.db.links(route.app).await?);
            entries.push(RouteEntry {
                hosts: self.hosts(&route.triggers, &route.channel_name, &route.host_label)?,
                release: route.release,
                number: route.release_number,
                app: route.app,
                app_name: route.app_name,
                account: route.account,
                channel: route.channel,
                channel_name: route.channel_name,
                revision: route.revision,
                digest: route.digest,
                version: route.version,
                settings: route.settings,
                triggers: route.triggers,
                stores,
                databases,
                variables_version: route.variables_version,
                activated: route.activated,
            });
        }
        Ok(entries)
    }

    /// The hosts of a channel that serves an application with triggers of these types.
    fn hosts(&self, triggers: &[String], channel: &str, host_label: &str) -> Result<Vec<String>> {
        if !has_url(triggers) {
            return Ok(Vec::new());
        }
        Ok(vec![self.config.app_host(&names::channel_label(channel, host_label)?)])
    }

    fn route_of(
        &self,
        release: &Release,
        app: App,
        channel: Channel,
        revision: Revision,
        stores: BTreeMap<String, StoreAddress>,
        databases: BTreeMap<String, StoreAddress>,
    ) -> Result<RouteEntry> {
        Ok(RouteEntry {
            hosts: self.hosts(&revision.triggers, &channel.name, &app.host_label)?,
            release: release.id,
            number: release.number,
            app: app.id,
            app_name: app.name,
            account: app.account,
            channel: channel.id,
            channel_name: channel.name,
            revision: revision.id,
            digest: revision.digest,
            version: revision.version,
            settings: revision.settings,
            triggers: revision.triggers,
            stores,
            databases,
            variables_version: release.variables_version,
            activated: release.activated.unwrap_or(release.created),
        })
    }
}

/// What a sealed value is bound to, so that no row's value opens as another's.
pub(crate) fn variable_identity(
    app: gyre_model::AppId,
    channel: Option<gyre_model::ChannelId>,
    name: &str,
) -> String {
    match channel {
        Some(channel) => format!("variable {app} {channel} {name}"),
        None => format!("variable {app} - {name}"),
    }
}

/// Links by label: key-value stores and databases.
fn addresses(links: Vec<Link>) -> (BTreeMap<String, StoreAddress>, BTreeMap<String, StoreAddress>) {
    let (mut stores, mut databases) = (BTreeMap::new(), BTreeMap::new());
    for Link { label, store, .. } in links {
        let address = StoreAddress { account: store.account, store: store.id };
        match store.kind {
            StoreKind::KeyValue => stores.insert(label, address),
            StoreKind::Database => databases.insert(label, address),
        };
    }
    (stores, databases)
}
