//! Key-value stores and databases as things that accounts own, and their links to apps.

use gyre_model::{AccountId, AppId, StoreId};
use jiff::Timestamp;

use super::{
    db_methods,
    rows::{Link, Store, StoreKind},
};

db_methods! {
    /// Adds a store. `Taken` if its name is.
    write fn create_store(store: Store) -> () = stores::create;
    /// The account's store of that kind and name.
    read fn store_by_name(account: AccountId, kind: StoreKind, name: String) -> Option<Store>
        = stores::by_name;
    /// An account's stores of that kind, by name, each with its links.
    read fn stores(account: AccountId, kind: StoreKind) -> Vec<(Store, Vec<Link>)> = stores::list;
    /// Removes a store and its links; returns whether it was there. Its file is the caller's.
    write fn delete_store(id: StoreId) -> bool = stores::delete;
    /// Renames a store; returns whether it was there. `Taken` if the name is.
    write fn rename_store(id: StoreId, name: String) -> bool = stores::rename;
    /// Links a store to an app under a label, in place of what was linked there.
    write fn link_store(app: AppId, label: String, store: StoreId, now: Timestamp) -> () = stores::link;
    /// Removes a link; returns whether it was there.
    write fn unlink_store(app: AppId, kind: StoreKind, label: String) -> bool = stores::unlink;
    /// An app's links, by kind and label.
    read fn links(app: AppId) -> Vec<Link> = stores::links;
    /// What the label leads to; where nothing is linked, a new store of the app's account, named after app and label.
    write fn ensure_link(app: AppId, kind: StoreKind, label: String, now: Timestamp) -> Store
        = stores::ensure_link;
}
