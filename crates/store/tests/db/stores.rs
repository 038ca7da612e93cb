//! Stores, databases and links.

use gyre_model::StoreId;
use gyre_store::{DbError, Store, StoreKind};

use super::*;

contract! {
    a_label_that_nothing_is_linked_to_gets_a_store_of_its_own_and_keeps_it,
    a_store_is_linked_renamed_and_removed_and_never_crosses_accounts,
}

async fn a_label_that_nothing_is_linked_to_gets_a_store_of_its_own_and_keeps_it<E: Engine>() {
    let world = World::<E>::new().await;
    let db = &world.db;
    let (app, _) = world.app("hello").await;
    let ensure = |app: &App, kind| db.ensure_link(app.id, kind, "default".to_owned(), at(1));
    let store = ensure(&app, StoreKind::KeyValue).await.unwrap();
    assert_eq!(store.name, "hello-default");
    assert_eq!(ensure(&app, StoreKind::KeyValue).await.unwrap(), store);
    let database = ensure(&app, StoreKind::Database).await.unwrap();
    assert_ne!(database.id, store.id);
    let links = db.links(app.id).await.unwrap();
    assert_eq!(links.len(), 2);
    assert_eq!((links[0].app_name.as_str(), links[0].label.as_str()), ("hello", "default"));
    // The next app of the name does not find the data of the one before.
    db.delete_app(app.id, at(2)).await.unwrap();
    let (again, _) = world.app("hello").await;
    let fresh = ensure(&again, StoreKind::KeyValue).await.unwrap();
    assert_ne!(fresh.id, store.id);
    assert_eq!(fresh.name, "hello-default-2");
}

async fn a_store_is_linked_renamed_and_removed_and_never_crosses_accounts<E: Engine>() {
    let world = World::<E>::new().await;
    let db = &world.db;
    let (app, _) = world.app("hello").await;
    let me = world.account.id;
    let kind = StoreKind::KeyValue;
    let new = |account, name: &str| Store {
        id: StoreId::new(),
        account,
        kind,
        name: name.to_owned(),
        created: at(1),
    };
    let (a, b) = (new(me, "a"), new(me, "b"));
    for store in [&a, &b] {
        db.create_store(store.clone()).await.unwrap();
    }
    let error = db.create_store(new(me, "a")).await.unwrap_err();
    assert!(matches!(error, DbError::Taken { what: "store name" }), "{error:?}");
    db.link_store(app.id, "cache".to_owned(), a.id, at(2)).await.unwrap();
    db.link_store(app.id, "cache".to_owned(), b.id, at(3)).await.unwrap();
    let links = db.links(app.id).await.unwrap();
    assert_eq!(links.iter().map(|link| link.store.id).collect::<Vec<_>>(), [b.id]);
    let error = db.rename_store(b.id, "a".to_owned()).await.unwrap_err();
    assert!(matches!(error, DbError::Taken { what: "store name" }), "{error:?}");
    assert!(db.rename_store(b.id, "c".to_owned()).await.unwrap());
    let listed = db.stores(me, kind).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|(s, links)| (s.name.as_str(), links.len())).collect();
    assert_eq!(listed, [("a", 0), ("c", 1)]);
    assert!(db.stores(me, StoreKind::Database).await.unwrap().is_empty());

    let bob = account("bob");
    db.create_account(bob.clone()).await.unwrap();
    let theirs = new(bob.id, "theirs");
    db.create_store(theirs.clone()).await.unwrap();
    let error = db.link_store(app.id, "x".to_owned(), theirs.id, at(4)).await.unwrap_err();
    assert!(matches!(error, DbError::Missing { what: "store" }), "{error:?}");

    assert!(db.unlink_store(app.id, kind, "cache".to_owned()).await.unwrap());
    assert!(!db.unlink_store(app.id, kind, "cache".to_owned()).await.unwrap());
    db.link_store(app.id, "cache".to_owned(), b.id, at(5)).await.unwrap();
    assert!(db.delete_store(b.id).await.unwrap());
    assert!(db.links(app.id).await.unwrap().is_empty(), "links go with their store");
    assert!(!db.delete_store(b.id).await.unwrap());
    assert_eq!(db.store_by_name(me, kind, "c".to_owned()).await.unwrap(), None);
}
