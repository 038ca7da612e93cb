//! Key-value stores, their links, and keys set from outside.

use gyre_control::{AppRef, rows::StoreKind};

use crate::support::{hello, plain, platform};

const KIND: StoreKind = StoreKind::KeyValue;

#[tokio::test]
async fn a_store_that_is_linked_before_the_first_deploy_is_the_one_the_app_uses() {
    let platform = platform().await;
    let (control, admin) = (&platform.control, &platform.admin);
    let store = control.create_store(admin, KIND, "mystore", None).await.unwrap();
    let taken = control.create_store(admin, KIND, "mystore", None).await.unwrap_err();
    assert_eq!(taken.code, "store.name_taken");
    let (app, _) = control.ensure_app(admin, "hello", None).await.unwrap();
    control.link_store(admin, KIND, "mystore", &AppRef::Id(app.app.id), "default").await.unwrap();
    platform.deploy(&plain("one")).await;
    let spec = platform.activator.prepared.lock().unwrap().pop().unwrap();
    assert_eq!(spec.route.stores["default"].store, store.id);
    let stores = control.stores(admin, KIND, None).await.unwrap();
    assert_eq!(stores.len(), 1, "no other was made");
    assert_eq!(stores[0].1[0].app_name, "hello");

    control.set_app_key(admin, &hello(), "default", "k", "v").await.unwrap();
    control.set_store_key(admin, "mystore", "k2", "v2").await.unwrap();
    let set = platform.data.0.lock().unwrap();
    let id = store.id.to_string();
    assert_eq!(set[&(id.clone(), "k".to_owned())], b"v");
    assert_eq!(set[&(id, "k2".to_owned())], b"v2");
}

#[tokio::test]
async fn another_link_comes_into_effect_by_a_new_release() {
    let platform = platform().await;
    let (control, admin) = (&platform.control, &platform.admin);
    let one = platform.deploy(&plain("one")).await;
    let store =
        control.create_store(admin, KIND, "shared", Some((&hello(), "default"))).await.unwrap();
    let latest = control.latest_release(admin, &hello()).await.unwrap().unwrap();
    assert_eq!((latest.number, latest.digest), (2, one.digest));
    platform.wait(&latest).await;
    let tables = platform.publisher.0.lock().unwrap();
    assert_eq!(tables.last().unwrap()[0].stores["default"].store, store.id);
}

#[tokio::test]
async fn keys_are_refused_where_the_store_refuses_or_is_anothers() {
    let platform = platform().await;
    let (control, admin) = (&platform.control, &platform.admin);
    control.create_store(admin, KIND, "mystore", None).await.unwrap();
    let refused = control.set_store_key(admin, "mystore", "refused", "v").await.unwrap_err();
    assert_eq!(refused.message, "the store is full");
    let long = control.set_store_key(admin, "mystore", &"k".repeat(2_000), "v").await.unwrap_err();
    assert_eq!(long.code, "key_value.too_large");
    let (mallory, _) = platform.stranger("mallory").await;
    let error = control.set_store_key(&mallory, "mystore", "k", "v").await.unwrap_err();
    assert!(error.is_not_found());
    assert!(control.stores(&mallory, KIND, None).await.unwrap().is_empty());
}
