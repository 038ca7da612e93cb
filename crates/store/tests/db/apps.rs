//! Apps, revisions and channels.

use gyre_store::{DbError, Page};

use super::*;

contract! {
    an_app_is_found_by_all_of_its_names_and_they_are_its_own,
    a_deleted_app_gives_its_name_back_but_not_its_host,
    apps_are_listed_by_page_account_and_search,
    a_revision_is_what_its_digest_says_and_is_made_once,
}

async fn an_app_is_found_by_all_of_its_names_and_they_are_its_own<E: Engine>() {
    let world = World::<E>::new().await;
    let (app, channel) = world.app("hello").await;
    let db = &world.db;
    let me = world.account.id;
    assert_eq!(db.app(app.id).await.unwrap(), Some(app.clone()));
    assert_eq!(db.app_by_name(me, "hello".to_owned()).await.unwrap(), Some(app.clone()));
    let found = db.app_by_storage_id(me, "oci://hello".to_owned()).await.unwrap();
    assert_eq!(found, Some(app.clone()));
    assert_eq!(db.app_by_host_label(app.host_label.clone()).await.unwrap(), Some(app.clone()));
    assert_eq!(db.channels(app.id).await.unwrap(), std::slice::from_ref(&channel));
    let found = db.channel_by_name(app.id, "production".to_owned()).await.unwrap();
    assert_eq!(found, Some(channel.clone()));
    assert_eq!(db.channel(channel.id).await.unwrap(), Some(channel.clone()));

    let error = db.create_app(super::app(&world.account, "hello"), Vec::new()).await.unwrap_err();
    assert!(matches!(error, DbError::Taken { what: "app name" }), "{error:?}");
    let same_host = App { host_label: app.host_label.clone(), ..super::app(&world.account, "b") };
    let error = db.create_app(same_host, Vec::new()).await.unwrap_err();
    assert!(matches!(error, DbError::Taken { what: "host label" }), "{error:?}");
    let error = db.create_channel(super::channel(&app, "production")).await.unwrap_err();
    assert!(matches!(error, DbError::Taken { what: "channel name" }), "{error:?}");
    // A channel that cannot be made takes the app with it: both or none.
    let other = super::app(&world.account, "other");
    let twice = vec![super::channel(&other, "x"), super::channel(&other, "x")];
    db.create_app(other.clone(), twice).await.unwrap_err();
    assert_eq!(db.app(other.id).await.unwrap(), None);
    // Another account may use the name.
    let bob = account("bob");
    db.create_account(bob.clone()).await.unwrap();
    db.create_app(super::app(&bob, "hello"), Vec::new()).await.unwrap();
    assert_eq!(db.app_by_name(me, "hello".to_owned()).await.unwrap(), Some(app));
}

async fn a_deleted_app_gives_its_name_back_but_not_its_host<E: Engine>() {
    let world = World::<E>::new().await;
    let (app, channel) = world.app("hello").await;
    let db = &world.db;
    let revision = world.revision(&app, "one").await;
    let release = world.release(&channel, &revision).await;
    db.activate_release(release.id, at(3)).await.unwrap();
    assert_eq!(db.routes().await.unwrap().len(), 1);
    assert!(db.delete_app(app.id, at(9)).await.unwrap());
    assert!(!db.delete_app(app.id, at(10)).await.unwrap());
    assert_eq!(db.routes().await.unwrap(), [], "its routes go at once");
    let me = world.account.id;
    assert_eq!(db.app_by_name(me, "hello".to_owned()).await.unwrap(), None);
    assert_eq!(db.app(app.id).await.unwrap().unwrap().deleted, Some(at(9)));
    let error = db.create_release(super::release(&channel, &revision)).await.unwrap_err();
    assert!(matches!(error, DbError::Missing { what: "app" }), "{error:?}");
    let same_host =
        App { host_label: app.host_label.clone(), ..super::app(&world.account, "hello") };
    let error = db.create_app(same_host, Vec::new()).await.unwrap_err();
    assert!(matches!(error, DbError::Taken { what: "host label" }), "{error:?}");
    let (again, _) = world.app("hello").await;
    assert_eq!(db.app_by_name(me, "hello".to_owned()).await.unwrap(), Some(again));
}

async fn apps_are_listed_by_page_account_and_search<E: Engine>() {
    let world = World::<E>::new().await;
    let db = &world.db;
    for n in 0..30 {
        let (app, _) = world.app(&format!("app-{n:02}")).await;
        if n == 7 {
            world.revision(&app, "seven").await;
        }
    }
    let bob = account("bob");
    db.create_account(bob.clone()).await.unwrap();
    db.create_app(super::app(&bob, "app-99"), Vec::new()).await.unwrap();
    let me = Some(world.account.id);
    let page = db.apps(me, None, Page { offset: 5, limit: 10 }).await.unwrap();
    let names: Vec<_> = page.items.iter().map(|state| state.app.name.clone()).collect();
    assert_eq!(names, (5..15).map(|n| format!("app-{n:02}")).collect::<Vec<_>>());
    assert_eq!(page.total, 30);
    assert_eq!(page.items[2].latest_version.as_deref(), Some("1.0.0+seven"));
    assert_eq!(page.items[2].channels.len(), 1);
    let found = db.apps(me, Some("-2".to_owned()), Page::first(100)).await.unwrap();
    assert_eq!((found.items.len(), found.total), (10, 10));
    // A search is text, not a pattern.
    assert_eq!(db.apps(me, Some("%".to_owned()), Page::ALL).await.unwrap().total, 0);
    assert_eq!(db.apps(None, None, Page::ALL).await.unwrap().total, 31);
}

async fn a_revision_is_what_its_digest_says_and_is_made_once<E: Engine>() {
    let world = World::<E>::new().await;
    let db = &world.db;
    let (app, _) = world.app("hello").await;
    let one = revision(&app, "one");
    assert_eq!(db.create_revision(one.clone()).await.unwrap(), (one.clone(), true));
    let again = revision(&app, "one");
    assert_eq!(db.create_revision(again).await.unwrap(), (one.clone(), false));
    let two = Revision { created: at(5), version: one.version.clone(), ..revision(&app, "two") };
    db.create_revision(two.clone()).await.unwrap();
    assert_eq!(db.revision(one.id).await.unwrap(), Some(one.clone()));
    let found = db.revision_by_digest(app.id, one.digest).await.unwrap();
    assert_eq!(found, Some(one.clone()));
    let newest = db.revision_by_version(app.id, one.version.clone()).await.unwrap();
    assert_eq!(newest, Some(two.clone()), "the newest of a version");
    let listing = db.revisions(app.id, Page::first(1)).await.unwrap();
    assert_eq!((listing.items, listing.total), (vec![two], 2));
    assert_eq!(db.app(app.id).await.unwrap().unwrap().modified, at(5));
}
