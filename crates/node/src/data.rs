//! Where guests' data is on a node: a file for each store and database, in a folder of its account.

use std::{collections::BTreeMap, path::PathBuf};

use futures::future::BoxFuture;
use gyre_control::{GuestData, GuestDataError, StoreAddress};
use gyre_data::{Databases, KeyValueError, KeyValueStores, Location};
use gyre_model::Limits;
use gyre_runtime::DataGrants;

/// The name within its file of a store that has a file of its own.
const STORE_NAME: &str = "default";

/// The guests' data of a node.
#[derive(Clone)]
pub(crate) struct NodeData {
    folder: PathBuf,
    stores: KeyValueStores,
    databases: Databases,
}

impl NodeData {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, stores: KeyValueStores::new(), databases: Databases::new() }
    }

    fn location(&self, address: StoreAddress, kind: &str) -> Location {
        let folder = self.folder.join(address.account.to_string());
        Location::file(folder.join(format!("{}.{kind}.db", address.store)))
    }

    /// What an app's components may use, by label.
    pub(crate) fn grants(
        &self,
        stores: &BTreeMap<String, StoreAddress>,
        databases: &BTreeMap<String, StoreAddress>,
        limits: &Limits,
    ) -> DataGrants {
        let mut grants = DataGrants::default();
        for (label, address) in stores {
            let location = self.location(*address, "kv");
            let store = self.stores.open(&location, STORE_NAME, limits.into());
            grants = grants.with_key_value(label, store);
        }
        for (label, address) in databases {
            let database = self.databases.open(&self.location(*address, "sqlite"), limits.into());
            grants = grants.with_database(label, database);
        }
        grants
    }

    /// Writes everything into the files proper.
    pub(crate) async fn close(&self) {
        self.stores.close().await;
        self.databases.close().await;
    }
}

impl GuestData for NodeData {
    fn set_key_value<'a>(
        &'a self,
        store: StoreAddress,
        key: &'a str,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), GuestDataError>> {
        Box::pin(async move {
            let location = self.location(store, "kv");
            let store = self.stores.open(&location, STORE_NAME, (&Limits::server()).into());
            store.set(key, value).await.map_err(|error| match error {
                KeyValueError::Other(_) | KeyValueError::Closed => {
                    GuestDataError::Failed(error.into())
                }
                refused => GuestDataError::Refused(refused.to_string()),
            })
        })
    }
}
