//! Releases: the newest wins, and what is served changes in one step.

use gyre_model::ReleaseId;
use gyre_store::{Activation, DbError, Page};

use super::*;

contract! {
    the_first_release_becomes_active_and_is_routed,
    a_newer_release_overtakes_one_that_is_not_ready_yet,
    a_release_that_fails_changes_nothing_for_users,
    a_rollback_goes_to_what_was_served_before,
    releases_asked_for_at_once_get_numbers_without_gaps_and_one_is_desired,
    a_revision_of_another_app_cannot_be_released,
}

async fn the_first_release_becomes_active_and_is_routed<E: Engine>() {
    let world = World::<E>::new().await;
    let db = &world.db;
    let (app, channel) = world.app("hello").await;
    let revision = world.revision(&app, "one").await;
    let release = world.release(&channel, &revision).await;
    assert_eq!(release.number, 1);
    assert_eq!(db.unfinished_releases().await.unwrap(), std::slice::from_ref(&release));
    assert_eq!(db.routes().await.unwrap(), []);
    let shown = db.channel(channel.id).await.unwrap().unwrap();
    assert_eq!((shown.desired_release, shown.active_release), (Some(release.id), None));
    let activation = db.activate_release(release.id, at(9)).await.unwrap();
    assert_eq!(activation, Activation::Active { previous: None });
    let again = db.activate_release(release.id, at(10)).await.unwrap();
    assert_eq!(again, Activation::Overtaken, "it is active already");
    let shown = db.release(release.id).await.unwrap().unwrap();
    assert_eq!((shown.state, shown.activated), (ReleaseState::Active, Some(at(9))));
    let routes = db.routes().await.unwrap();
    let [route] = &routes[..] else { panic!("{routes:?}") };
    assert_eq!(
        (route.account_name.as_str(), route.app_name.as_str(), route.channel_name.as_str()),
        ("alice", "hello", "production")
    );
    assert_eq!(
        (route.release, route.revision, route.digest),
        (release.id, revision.id, revision.digest)
    );
    assert_eq!(route.settings, revision.settings);
    assert_eq!((&route.host_label, route.activated), (&app.host_label, at(9)));
    db.close().await;
    assert_eq!(world.engine.open().await.routes().await.unwrap(), routes);
}

async fn a_newer_release_overtakes_one_that_is_not_ready_yet<E: Engine>() {
    let world = World::<E>::new().await;
    let db = &world.db;
    let (app, channel) = world.app("hello").await;
    let one = world.revision(&app, "one").await;
    let two = world.revision(&app, "two").await;
    let first = world.release(&channel, &one).await;
    let reason = Some("variable greeting is missing".to_owned());
    assert!(
        db.set_release_state(first.id, ReleaseState::Pending, reason.clone(), at(3)).await.unwrap()
    );
    assert_eq!(db.release(first.id).await.unwrap().unwrap().reason, reason);
    let second = world.release(&channel, &two).await;
    assert_eq!(second.number, 2);
    let shown = db.release(first.id).await.unwrap().unwrap();
    assert_eq!(shown.state, ReleaseState::Retired);
    assert_eq!(shown.reason.as_deref(), Some("overtaken by release 2"));
    // Whoever still prepares the first is too late, whatever they say.
    assert_eq!(db.activate_release(first.id, at(5)).await.unwrap(), Activation::Overtaken);
    assert!(!db.set_release_state(first.id, ReleaseState::Failed, None, at(5)).await.unwrap());
    let shown = db.channel(channel.id).await.unwrap().unwrap();
    assert_eq!(shown.desired_release, Some(second.id));
    let activation = db.activate_release(second.id, at(6)).await.unwrap();
    assert_eq!(activation, Activation::Active { previous: None });
    assert_eq!(db.unfinished_releases().await.unwrap(), []);
}

async fn a_release_that_fails_changes_nothing_for_users<E: Engine>() {
    let world = World::<E>::new().await;
    let db = &world.db;
    let (app, channel) = world.app("hello").await;
    let one = world.revision(&app, "one").await;
    let two = world.revision(&app, "two").await;
    let first = world.release(&channel, &one).await;
    db.activate_release(first.id, at(3)).await.unwrap();
    let before = db.routes().await.unwrap();
    let second = world.release(&channel, &two).await;
    assert!(db.set_release_state(second.id, ReleaseState::Ready, None, at(4)).await.unwrap());
    let reason = Some("it traps".to_owned());
    assert!(
        db.set_release_state(second.id, ReleaseState::Failed, reason.clone(), at(4)).await.unwrap()
    );
    assert_eq!(db.routes().await.unwrap(), before);
    let shown = db.channel(channel.id).await.unwrap().unwrap();
    assert_eq!(
        (shown.desired_release, shown.active_release),
        (Some(first.id), Some(first.id)),
        "what is served is what is desired again"
    );
    assert_eq!(db.activate_release(second.id, at(5)).await.unwrap(), Activation::Overtaken);
    let shown = db.release(second.id).await.unwrap().unwrap();
    assert_eq!((shown.state, shown.reason), (ReleaseState::Failed, reason));
}

async fn a_rollback_goes_to_what_was_served_before<E: Engine>() {
    let world = World::<E>::new().await;
    let db = &world.db;
    let (app, channel) = world.app("hello").await;
    let mut served = Vec::new();
    for (n, content) in ["one", "two", "broken", "three"].into_iter().enumerate() {
        let revision = world.revision(&app, content).await;
        let release = world.release(&channel, &revision).await;
        if content == "broken" {
            db.set_release_state(release.id, ReleaseState::Failed, None, at(3)).await.unwrap();
        } else {
            let previous = served.last().copied();
            let activation = db.activate_release(release.id, at(3 + n as i64)).await.unwrap();
            assert_eq!(activation, Activation::Active { previous });
            served.push(release.id);
        }
    }
    let before = db.release_before(channel.id, served[2]).await.unwrap().unwrap();
    assert_eq!(before.id, served[1], "not the broken one");
    assert_eq!(before.state, ReleaseState::Retired);
    // Back to one of long ago: then what was served before is the newest.
    let back = Release { revision: before.revision, ..release(&channel, &revision(&app, "")) };
    let back = db.create_release(back).await.unwrap();
    db.activate_release(back.id, at(20)).await.unwrap();
    let before = db.release_before(channel.id, back.id).await.unwrap().unwrap();
    assert_eq!(before.id, served[2]);
    assert_eq!(db.release_before(channel.id, served[0]).await.unwrap(), None);
    let listing = db.releases(channel.id, Page::first(2)).await.unwrap();
    assert_eq!(listing.items.iter().map(|r| r.number).collect::<Vec<_>>(), [5, 4]);
    assert_eq!(listing.total, 5);
    assert_eq!(db.app_releases(app.id, Page::ALL).await.unwrap().total, 5);
}

async fn releases_asked_for_at_once_get_numbers_without_gaps_and_one_is_desired<E: Engine>() {
    let world = World::<E>::new().await;
    let db = &world.db;
    let (app, channel) = world.app("hello").await;
    let revision = world.revision(&app, "one").await;
    let releases = (0..20).map(|_| db.create_release(release(&channel, &revision)));
    let releases: Vec<Release> =
        futures::future::join_all(releases).await.into_iter().map(Result::unwrap).collect();
    let mut numbers: Vec<u64> = releases.iter().map(|release| release.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    let activations = releases.iter().map(|release| db.activate_release(release.id, at(9)));
    let activations = futures::future::join_all(activations).await;
    let active = activations
        .into_iter()
        .filter(|activation| *activation.as_ref().unwrap() != Activation::Overtaken)
        .count();
    assert_eq!(active, 1);
    let newest = releases.iter().find(|release| release.number == 20).unwrap();
    assert_eq!(db.routes().await.unwrap()[0].release, newest.id);
    let error = db.activate_release(ReleaseId::new(), at(9)).await.unwrap_err();
    assert!(matches!(error, DbError::Missing { what: "release" }));
}

async fn a_revision_of_another_app_cannot_be_released<E: Engine>() {
    let world = World::<E>::new().await;
    let (_, channel) = world.app("hello").await;
    let (other, _) = world.app("other").await;
    let revision = world.revision(&other, "one").await;
    let error = world.db.create_release(release(&channel, &revision)).await.unwrap_err();
    assert!(matches!(error, DbError::Missing { what: "revision" }), "{error:?}");
}
