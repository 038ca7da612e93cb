//! Key-value stores and databases as accounts own them: made, listed, linked to apps under a label, and single keys set.

use std::sync::Arc;

use gyre_model::StoreId;
use gyre_store::{App, DbError, Link, Store, StoreKind};

use crate::{
    Actor, AppRef, Control, Error, ErrorKind, GuestDataError, Result, StoreAddress, names,
};

/// The longest key and value of a key-value store that may be set from outside, in bytes.
const KEY_BYTES: usize = 1 << 10;
const VALUE_BYTES: usize = 4 << 20;

impl Control {
    /// The account's stores of that kind, by name, each with its links to apps that are there.
    pub async fn stores(
        &self,
        actor: &Actor,
        kind: StoreKind,
        app: Option<&AppRef>,
    ) -> Result<Vec<(Store, Vec<Link>)>> {
        let app = match app {
            Some(app) => Some(self.find_app(actor, app).await?),
            None => None,
        };
        let mut stores = self.db.stores(actor.account, kind).await?;
        if let Some(app) = app {
            stores.retain(|(_, links)| links.iter().any(|link| link.app == app.id));
        }
        Ok(stores)
    }

    /// Makes a store, and links it if a label is given with an app.
    ///
    /// # Errors
    /// The name is taken or cannot be used.
    pub async fn create_store(
        self: &Arc<Self>,
        actor: &Actor,
        kind: StoreKind,
        name: &str,
        link: Option<(&AppRef, &str)>,
    ) -> Result<Store> {
        names::store_name(name)?;
        // Before anything is made: the app must be the actor's.
        let link = match link {
            Some((app, label)) => {
                names::store_name(label)?;
                Some((self.find_app(actor, app).await?, label))
            }
            None => None,
        };
        let store = Store {
            id: StoreId::new(),
            account: actor.account,
            kind,
            name: name.to_owned(),
            created: self.clock.now(),
        };
        match self.db.create_store(store.clone()).await {
            Err(DbError::Taken { .. }) => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "store.name_taken",
                    format!("there is a store '{name}' already"),
                ));
            }
            result => result?,
        }
        if let Some((app, label)) = link {
            self.link(&app, label, &store).await?;
        }
        Ok(store)
    }

    /// Links a store to an app under a label, in place of what was linked there; what the app serves is released anew with it.
    pub async fn link_store(
        self: &Arc<Self>,
        actor: &Actor,
        kind: StoreKind,
        store: &str,
        app: &AppRef,
        label: &str,
    ) -> Result<()> {
        names::store_name(label)?;
        let store = self.find_store(actor, kind, store).await?;
        let app = self.find_app(actor, app).await?;
        self.link(&app, label, &store).await
    }

    async fn link(self: &Arc<Self>, app: &App, label: &str, store: &Store) -> Result<()> {
        let _turn = self.locks.of(app.id).await;
        let links = self.db.links(app.id).await?;
        let is_there = |link: &Link| {
            link.store.kind == store.kind && link.label == label && link.store.id == store.id
        };
        if links.iter().any(is_there) {
            return Ok(());
        }
        self.db.link_store(app.id, label.to_owned(), store.id, self.clock.now()).await?;
        let version = self.db.app(app.id).await?.map_or(0, |app| app.variables_version);
        self.renew_releases(app, version).await?;
        Ok(())
    }

    /// Sets one key of the store that an app has under a label; where nothing is linked there, the app gets a store of its
    /// own.
    pub async fn set_app_key(
        &self,
        actor: &Actor,
        app: &AppRef,
        label: &str,
        key: &str,
        value: &str,
    ) -> Result<()> {
        names::store_name(label)?;
        let app = self.find_app(actor, app).await?;
        let now = self.clock.now();
        let store = self.db.ensure_link(app.id, StoreKind::KeyValue, label.to_owned(), now).await?;
        self.set_key(&store, key, value).await
    }

    /// Sets one key of a store of the account.
    pub async fn set_store_key(
        &self,
        actor: &Actor,
        store: &str,
        key: &str,
        value: &str,
    ) -> Result<()> {
        let store = self.find_store(actor, StoreKind::KeyValue, store).await?;
        self.set_key(&store, key, value).await
    }

    async fn set_key(&self, store: &Store, key: &str, value: &str) -> Result<()> {
        if key.len() > KEY_BYTES || value.len() > VALUE_BYTES {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "key_value.too_large",
                format!("a key has at most {KEY_BYTES} bytes and a value {VALUE_BYTES}"),
            ));
        }
        let address = StoreAddress { account: store.account, store: store.id };
        let value = value.as_bytes().to_vec();
        self.data.set_key_value(address, key, value).await.map_err(|error| match error {
            GuestDataError::Refused(why) => Error::invalid("key_value.refused", why),
            GuestDataError::Failed(source) => Error::internal(source),
        })
    }

    async fn find_store(&self, actor: &Actor, kind: StoreKind, name: &str) -> Result<Store> {
        self.db.store_by_name(actor.account, kind, name.to_owned()).await?.ok_or_else(|| {
            let what = match kind {
                StoreKind::KeyValue => "key-value store",
                StoreKind::Database => "database",
            };
            Error::not_found(format!("{what} '{}'", name.escape_debug()))
        })
    }
}
