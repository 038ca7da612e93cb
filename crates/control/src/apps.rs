//! Apps: made, found, listed, deleted.

use gyre_model::{AppId, ChannelId};
use gyre_store::{App, AppState, Channel, DbError, Page};

use crate::{
    Actor, AppView, Control, DEFAULT_CHANNEL, Error, ErrorKind, ReleaseView, Result, names,
};

/// How an app's storage id begins; its repository follows.
const OCI: &str = "oci://";

/// An app, as a caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppRef {
    /// By its id.
    Id(AppId),
    /// By its name within the actor's account.
    Name(String),
}

impl From<&str> for AppRef {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id)
    }
}

impl From<AppId> for AppRef {
    fn from(id: AppId) -> Self {
        Self::Id(id)
    }
}

impl std::fmt::Display for AppRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Some of an account's apps, by name.
#[derive(Debug, Clone)]
pub struct AppPage {
    /// The apps. Their active releases are told as the routing table knows them: `created` is when they began to serve.
    pub items: Vec<AppView>,
    /// How many there are in all.
    pub total: u64,
}

impl Control {
    /// The account's app of that name, made where there is none; whether it was made. `storage_id` is `oci://<repository>`,
    /// by default that of the app's name.
    ///
    /// # Errors
    /// The name cannot be used, or an app of that name has another storage id, or the other way round.
    pub async fn ensure_app(
        &self,
        actor: &Actor,
        name: &str,
        storage_id: Option<&str>,
    ) -> Result<(AppView, bool)> {
        let name = names::app_name(name)?;
        let repository = match storage_id {
            Some(id) => id.strip_prefix(OCI).unwrap_or(id),
            None => &name,
        };
        if !gyre_package::registry::is_repository(repository) {
            return Err(Error::invalid(
                "app.storage_id_invalid",
                "the storage id must be 'oci://' and the name of a repository",
            ));
        }
        let storage_id = format!("{OCI}{repository}");
        loop {
            if let Some(app) = self.db.app_by_name(actor.account, name.clone()).await? {
                if app.storage_id != storage_id {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        "app.name_taken",
                        format!("there is an app '{name}' already, with another storage id"),
                    ));
                }
                return Ok((self.app_view(app).await?, false));
            }
            if let Some(other) =
                self.db.app_by_storage_id(actor.account, storage_id.clone()).await?
            {
                // Made since it was looked for by name.
                if other.name == name {
                    continue;
                }
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "app.storage_id_taken",
                    format!("the app '{}' has the storage id '{storage_id}'", other.name),
                ));
            }
            match self.create_app(actor, &name, &storage_id).await {
                Ok(app) => return Ok((self.app_view(app).await?, true)),
                // Somebody was faster, or the lot fell on a label that is in use: look again.
                Err(DbError::Taken { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn create_app(
        &self,
        actor: &Actor,
        name: &str,
        storage_id: &str,
    ) -> Result<App, DbError> {
        let now = self.clock.now();
        let host_label =
            names::host_label(name).map_err(|error| DbError::Other(Box::new(error)))?;
        let app = App {
            id: AppId::new(),
            account: actor.account,
            name: name.to_owned(),
            storage_id: storage_id.to_owned(),
            description: String::new(),
            host_label,
            variables_version: 0,
            created: now,
            modified: now,
            deleted: None,
        };
        let channel = Channel {
            id: ChannelId::new(),
            account: actor.account,
            app: app.id,
            name: DEFAULT_CHANNEL.to_owned(),
            desired_release: None,
            active_release: None,
            created: now,
            modified: now,
        };
        self.db.create_app(app.clone(), vec![channel]).await?;
        Ok(app)
    }

    /// One app.
    pub async fn app(&self, actor: &Actor, app: &AppRef) -> Result<AppView> {
        let app = self.find_app(actor, app).await?;
        let mut view = self.app_view(app).await?;
        for (channel, active) in &mut view.channels {
            *active = match channel.active_release {
                Some(id) => match self.db.release(id).await? {
                    Some(release) => Some(self.release_view(&view.app, release).await?),
                    None => None,
                },
                None => None,
            };
        }
        Ok(view)
    }

    /// The account's apps by name: from the `offset`-th on, at most `limit`; those whose name contains `search`.
    pub async fn apps(
        &self,
        actor: &Actor,
        search: Option<&str>,
        offset: u64,
        limit: u64,
    ) -> Result<AppPage> {
        let search = search.filter(|text| !text.is_empty()).map(str::to_ascii_lowercase);
        let page = Page { offset, limit };
        let listing = self.db.apps(Some(actor.account), search, page).await?;
        let items = listing.items.into_iter().map(|state| self.view_of(state)).collect();
        Ok(AppPage { items, total: listing.total })
    }

    /// Deletes an app. When this returns its hosts lead nowhere; its stores and databases stay.
    pub async fn delete_app(&self, actor: &Actor, app: &AppRef) -> Result<()> {
        let app = self.find_app(actor, app).await?;
        let _turn = self.locks.of(app.id).await;
        let channels = self.db.channels(app.id).await?;
        if !self.db.delete_app(app.id, self.clock.now()).await? {
            return Err(Error::not_found(format!("app '{}'", app.name)));
        }
        for channel in &channels {
            self.activations.cancel(channel.id);
        }
        self.routes.remove_app(app.id, &*self.publisher).await;
        Ok(())
    }

    /// The actor's app that is meant; what is another's, or deleted, does not exist.
    pub(crate) async fn find_app(&self, actor: &Actor, app: &AppRef) -> Result<App> {
        let found = match app {
            AppRef::Id(id) => self.db.app(*id).await?,
            AppRef::Name(name) => match names::app_name(name) {
                Ok(name) => self.db.app_by_name(actor.account, name).await?,
                Err(_) => None,
            },
        };
        found
            .filter(|app| app.account == actor.account && app.deleted.is_none())
            .ok_or_else(|| Error::not_found(format!("app '{}'", app.to_string().escape_debug())))
    }

    /// The actor's app of that storage id.
    pub(crate) async fn find_app_by_storage_id(
        &self,
        actor: &Actor,
        storage_id: &str,
    ) -> Result<App> {
        let repository = storage_id.strip_prefix(OCI).unwrap_or(storage_id);
        self.db.app_by_storage_id(actor.account, format!("{OCI}{repository}")).await?.ok_or_else(
            || {
                let shown = storage_id.escape_debug();
                Error::not_found(format!("app with the storage id '{shown}'"))
            },
        )
    }

    /// The repository of an app.
    pub(crate) fn repository_of(app: &App) -> &str {
        app.storage_id.strip_prefix(OCI).unwrap_or(&app.storage_id)
    }

    async fn app_view(&self, app: App) -> Result<AppView> {
        let state = self
            .db
            .app_state(app.id)
            .await?
            .ok_or_else(|| Error::not_found(format!("app '{}'", app.name)))?;
        Ok(self.view_of(state))
    }

    /// What is served is known without asking the database: it is what was published.
    fn view_of(&self, state: AppState) -> AppView {
        let AppState { app, channels, latest_version } = state;
        let channels = channels.into_iter().map(|channel| {
            let active = self.routes.of(channel.id).map(|route| ReleaseView {
                id: route.release,
                number: route.number,
                channel: route.channel_name.clone(),
                state: gyre_store::ReleaseState::Active,
                reason: None,
                missing_variables: Vec::new(),
                revision: route.revision,
                digest: route.digest,
                version: route.version.clone(),
                url: route.hosts.first().map(|host| self.config.host_url(host)),
                triggers: route.triggers.clone(),
                created: route.activated,
                activated: Some(route.activated),
            });
            (channel, active)
        });
        let channels: Vec<_> = channels.collect();
        let default = channels.iter().find(|(channel, _)| channel.name == DEFAULT_CHANNEL);
        let has_no_url = default
            .and_then(|(_, active)| active.as_ref())
            .is_some_and(|active: &ReleaseView| active.url.is_none());
        AppView {
            channels,
            latest_version,
            host: self.config.app_host(&app.host_label),
            url: (!has_no_url).then(|| self.config.app_url(&app.host_label)),
            repository: Self::repository_of(&app).to_owned(),
            app,
        }
    }
}
