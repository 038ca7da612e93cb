//! The registry's index.

use gyre_model::RepositoryId;
use gyre_store::{DbError, ManifestRow, Page};

use super::*;

contract! {
    a_repository_is_made_once_for_each_account,
    a_blob_is_seen_through_the_repositories_that_have_it,
    a_tag_leads_to_the_manifest_put_last_and_goes_with_it,
}

async fn a_repository_is_made_once_for_each_account<E: Engine>() {
    let world = World::<E>::new().await;
    let db = &world.db;
    let (me, hello) = (world.account.id, || "hello".to_owned());
    assert_eq!(db.repository(me, hello()).await.unwrap(), None);
    let made = db.ensure_repository(me, hello(), at(1)).await.unwrap();
    assert_eq!(db.ensure_repository(me, hello(), at(2)).await.unwrap(), made);
    assert_eq!(db.repository(me, hello()).await.unwrap(), Some(made.clone()));
    let bob = account("bob");
    db.create_account(bob.clone()).await.unwrap();
    let theirs = db.ensure_repository(bob.id, hello(), at(3)).await.unwrap();
    assert_ne!(theirs.id, made.id);
    assert_eq!(db.repositories(me, Page::ALL).await.unwrap(), [made]);
}

async fn a_blob_is_seen_through_the_repositories_that_have_it<E: Engine>() {
    let world = World::<E>::new().await;
    let db = &world.db;
    let me = world.account.id;
    let here = db.ensure_repository(me, "here".to_owned(), at(1)).await.unwrap();
    let there = db.ensure_repository(me, "there".to_owned(), at(1)).await.unwrap();
    let bob = account("bob");
    db.create_account(bob.clone()).await.unwrap();
    let blob = Digest::of("blob");
    db.link_blob(here.id, blob, 4, at(2)).await.unwrap();
    db.link_blob(here.id, blob, 4, at(3)).await.unwrap();
    assert_eq!(db.repository_blob(here.id, blob).await.unwrap(), Some(4));
    assert_eq!(db.repository_blob(there.id, blob).await.unwrap(), None);
    assert_eq!(db.account_blob(me, blob).await.unwrap(), Some(4));
    assert_eq!(db.account_blob(bob.id, blob).await.unwrap(), None, "not another account's");
    assert!(db.is_digest_used(blob).await.unwrap());
    assert!(db.unlink_blob(here.id, blob).await.unwrap());
    assert!(!db.unlink_blob(here.id, blob).await.unwrap());
    assert!(!db.is_digest_used(blob).await.unwrap());
    let error = db.link_blob(RepositoryId::new(), blob, 4, at(2)).await.unwrap_err();
    assert!(matches!(error, DbError::Missing { what: "repository" }));
}

async fn a_tag_leads_to_the_manifest_put_last_and_goes_with_it<E: Engine>() {
    let world = World::<E>::new().await;
    let db = &world.db;
    let repository =
        db.ensure_repository(world.account.id, "r".to_owned(), at(1)).await.unwrap().id;
    let manifest = |content: &str, second| ManifestRow {
        repository,
        account: world.account.id,
        digest: Digest::of(content),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        size: content.len() as u64,
        created: at(second),
    };
    let (one, two) = (manifest("one", 2), manifest("two", 3));
    let layer = Digest::of("layer");
    db.link_blob(repository, layer, 5, at(1)).await.unwrap();
    let put = |manifest: &ManifestRow, tag: Option<&str>| {
        db.put_manifest(manifest.clone(), vec![layer, layer], tag.map(str::to_owned))
    };
    let tagged = |tag: &str| db.tagged_manifest(repository, tag.to_owned());
    put(&one, Some("latest")).await.unwrap();
    put(&one, Some("v1")).await.unwrap();
    put(&two, Some("latest")).await.unwrap();
    put(&two, None).await.unwrap();
    assert_eq!(db.manifest(repository, one.digest).await.unwrap(), Some(one.clone()));
    assert_eq!(tagged("latest").await.unwrap(), Some(two.clone()));
    assert_eq!(tagged("v1").await.unwrap(), Some(one.clone()));
    assert!(!db.unlink_blob(repository, layer).await.unwrap(), "a manifest needs it");
    assert_eq!(db.tags(repository, None, 10).await.unwrap(), ["latest", "v1"]);
    assert_eq!(db.tags(repository, Some("latest".to_owned()), 10).await.unwrap(), ["v1"]);
    assert_eq!(db.tags(repository, None, 1).await.unwrap(), ["latest"]);
    assert!(db.delete_tag(repository, "v1".to_owned()).await.unwrap());
    assert!(!db.delete_tag(repository, "v1".to_owned()).await.unwrap());
    assert!(db.delete_manifest(repository, two.digest).await.unwrap());
    assert!(!db.delete_manifest(repository, two.digest).await.unwrap());
    assert_eq!(tagged("latest").await.unwrap(), None);
    assert_eq!(db.tags(repository, None, 10).await.unwrap(), Vec::<String>::new());
    assert!(db.delete_manifest(repository, one.digest).await.unwrap());
    assert!(db.unlink_blob(repository, layer).await.unwrap(), "nothing needs it any more");
}
