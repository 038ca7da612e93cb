//! Deploy, activation, rollback, deletion, restart.

use std::collections::BTreeMap;

use gyre_control::{ErrorKind, NewRelease, Source, rows::ReleaseState};
use gyre_model::Settings;
use serde_json::json;

use crate::support::{annotated, artifact, hello, needs_greeting, plain, platform, reopened};

#[tokio::test]
async fn a_deploy_serves_at_a_host_that_stays_the_same() {
    let platform = platform().await;
    let first = platform.deploy(&plain("one")).await;
    assert_eq!((first.state, first.number, &*first.version), (ReleaseState::Active, 1, "0.1.0"));
    let routes = platform.publisher.now();
    let (host, digest) = routes.iter().next().unwrap();
    assert_eq!((routes.len(), *digest), (1, first.digest));
    assert_eq!(first.url, Some(format!("http://{host}:8000/")));
    let label = host.strip_suffix(".apps.test").unwrap();
    assert!(label.starts_with("hello-") && label.len() == "hello-".len() + 8, "{label}");

    let second = platform.deploy(&plain("two")).await;
    assert_eq!((second.state, second.number, &second.url), (ReleaseState::Active, 2, &first.url));
    assert_eq!(platform.publisher.now(), BTreeMap::from([(host.clone(), second.digest)]));
    let first = platform.wait(&first).await;
    assert_eq!(first.state, ReleaseState::Retired);
    let spec = platform.activator.prepared.lock().unwrap().pop().unwrap();
    assert_eq!(spec.manifest, plain("two").manifest);
    assert!(
        spec.route.stores.contains_key("default") && spec.route.databases.contains_key("default")
    );
    assert_ne!(spec.route.stores["default"].store, spec.route.databases["default"].store);
}

#[tokio::test]
async fn the_same_version_with_other_code_is_another_revision() {
    let platform = platform().await;
    let control = &platform.control;
    let first = platform.pushed(&plain("one")).await;
    control.register_revision(&platform.admin, "oci://hello", "0.1.0").await.unwrap();
    let second = platform.pushed(&plain("two")).await;
    let release = control.register_revision(&platform.admin, "oci://hello", "0.1.0").await.unwrap();
    assert_ne!(first, second);
    assert_eq!(
        (release.digest, platform.wait(&release).await.state),
        (second, ReleaseState::Active)
    );
    // And the same code is the same revision, deployed again.
    let again = control.register_revision(&platform.admin, "oci://hello", "0.1.0").await.unwrap();
    assert_eq!(again.revision, release.revision);
    assert_eq!(platform.wait(&again).await.state, ReleaseState::Active);
    let revisions = control.revisions(&platform.admin, &hello()).await.unwrap();
    assert_eq!(revisions.len(), 2);
    assert_eq!(revisions[0].active_in, ["production"]);
    assert!(revisions[1].active_in.is_empty());
}

#[tokio::test]
async fn a_release_that_fails_changes_nothing_and_says_why() {
    let platform = platform().await;
    let good = platform.deploy(&plain("good")).await;
    let bad = platform.pushed(&plain("bad")).await;
    let why = "the component 'hello' does not compile: unexpected end of file".to_owned();
    platform.activator.failures.lock().unwrap().insert(bad, why.clone());
    let published = platform.publisher.0.lock().unwrap().len();
    let failed = platform.deploy(&plain("bad")).await;
    assert_eq!((failed.state, failed.reason), (ReleaseState::Failed, Some(why)));
    assert_eq!(
        platform.publisher.0.lock().unwrap().len(),
        published,
        "the routes were not touched"
    );
    let app = platform.control.app(&platform.admin, &hello()).await.unwrap();
    assert_eq!(app.active().unwrap().id, good.id);
    // A variable is set: what is renewed is what is served, not what failed.
    let set = BTreeMap::from([("x".to_owned(), "y".to_owned().into())]);
    let control = &platform.control;
    let renewed = control.set_variables(&platform.admin, &hello(), set, vec![]).await.unwrap();
    assert_eq!(renewed.unwrap().digest, good.digest);
    let next = platform.deploy(&plain("better")).await;
    assert_eq!(next.state, ReleaseState::Active);
}

#[tokio::test]
async fn an_activator_that_panics_fails_one_release_only() {
    let platform = platform().await;
    *platform.activator.panics.lock().unwrap() = true;
    let failed = platform.deploy(&plain("one")).await;
    assert_eq!(failed.state, ReleaseState::Failed);
    *platform.activator.panics.lock().unwrap() = false;
    assert_eq!(platform.deploy(&plain("one")).await.state, ReleaseState::Active);
}

#[tokio::test]
async fn the_newest_release_wins_and_the_older_gives_up() {
    let platform = platform().await;
    platform.activator.gate.send_replace(false);
    let mut waiting = platform.activator.waiting.subscribe();
    let first = platform.release(&plain("one")).await;
    waiting.wait_for(|n| *n == 1).await.unwrap();
    let second = platform.release(&plain("two")).await;
    let third = platform.release(&plain("three")).await;
    // The older preparations were dropped although the gate is shut.
    let first = platform.wait(&first).await;
    assert_eq!(first.state, ReleaseState::Retired);
    assert_eq!(first.reason.as_deref(), Some("overtaken by release 2"));
    assert_eq!(platform.wait(&second).await.state, ReleaseState::Retired);
    platform.activator.gate.send_replace(true);
    assert_eq!(platform.wait(&third).await.state, ReleaseState::Active);
    let prepared: Vec<_> =
        platform.activator.prepared.lock().unwrap().iter().map(|s| s.route.digest).collect();
    assert_eq!(prepared, [third.digest]);
    let digests: Vec<_> = platform.publisher.now().into_values().collect();
    assert_eq!(digests, [third.digest]);
}

#[tokio::test]
async fn waiting_ends_when_the_time_is_over() {
    let platform = platform().await;
    platform.activator.gate.send_replace(false);
    let release = platform.release(&plain("one")).await;
    let wait = std::time::Duration::from_millis(30);
    let seen = platform
        .control
        .wait_for_release(&platform.admin, &hello(), release.id, wait)
        .await
        .unwrap();
    assert!(seen.state.is_unfinished());
    platform.activator.gate.send_replace(true);
    assert_eq!(platform.wait(&release).await.state, ReleaseState::Active);
}

#[tokio::test]
async fn a_release_waits_for_its_variables_and_goes_on_when_they_are_set() {
    let platform = platform().await;
    let control = &platform.control;
    let waits = platform.deploy(&needs_greeting("one")).await;
    assert_eq!(
        (waits.state, &*waits.missing_variables),
        (ReleaseState::Pending, &["greeting".to_owned()][..])
    );
    assert!(waits.reason.unwrap().contains("gyre variables set --app hello greeting="));
    assert!(platform.publisher.now().is_empty());

    let secret = "canary-5f1c8e";
    let set = BTreeMap::from([("greeting".to_owned(), secret.to_owned().into())]);
    let release = control.set_variables(&platform.admin, &hello(), set, vec![]).await.unwrap();
    let release = platform.wait(&release.unwrap()).await;
    assert_eq!(release.state, ReleaseState::Active);
    assert_eq!(release.digest, waits.digest);
    let spec = platform.activator.prepared.lock().unwrap().pop().unwrap();
    assert_eq!(spec.variables["greeting"].expose(), secret);
    assert!(!format!("{spec:?}").contains(secret));
    assert_eq!(control.variables(&platform.admin, &hello()).await.unwrap(), ["greeting"]);
    assert!(is_on_disk(&platform, b"greeting"), "names are");
    assert!(!is_on_disk(&platform, secret.as_bytes()), "a value is on disk as it is");

    // Taken away again, the next release waits and the old one goes on serving.
    let gone = vec!["greeting".to_owned()];
    let next =
        control.set_variables(&platform.admin, &hello(), BTreeMap::new(), gone).await.unwrap();
    let next = platform.wait(&next.unwrap()).await;
    assert_eq!(next.state, ReleaseState::Pending);
    let app = control.app(&platform.admin, &hello()).await.unwrap();
    assert_eq!(app.active().unwrap().id, release.id);
}

#[tokio::test]
async fn variables_can_come_with_the_release() {
    let platform = platform().await;
    let digest = platform.pushed(&needs_greeting("one")).await;
    let new = NewRelease {
        source: Source::Digest(digest),
        channel: None,
        variables: BTreeMap::from([("greeting".to_owned(), "hi".to_owned().into())]),
    };
    let release = platform.control.create_release(&platform.admin, &hello(), new).await.unwrap();
    let release = platform.wait(&release).await;
    assert_eq!((release.state, release.number), (ReleaseState::Active, 1));
    let bad = NewRelease {
        source: Source::Digest(digest),
        channel: None,
        variables: BTreeMap::from([("Bad-Name".to_owned(), "hi".to_owned().into())]),
    };
    let error = platform.control.create_release(&platform.admin, &hello(), bad).await.unwrap_err();
    assert_eq!(error.code, "variable.name_invalid");
}

#[tokio::test]
async fn a_rollback_serves_the_revision_from_before() {
    let platform = platform().await;
    let control = &platform.control;
    let nothing = control.rollback(&platform.admin, &hello(), None, None).await.unwrap_err();
    assert!(nothing.is_not_found());
    let one = platform.deploy(&plain("one")).await;
    let nothing = control.rollback(&platform.admin, &hello(), None, None).await.unwrap_err();
    assert_eq!(nothing.code, "rollback.nothing");
    // A variable set between two deploys is no revision to go back to.
    let set = BTreeMap::from([("x".to_owned(), "1".to_owned().into())]);
    let with_x =
        control.set_variables(&platform.admin, &hello(), set, vec![]).await.unwrap().unwrap();
    platform.wait(&with_x).await;
    let two = platform.deploy(&plain("two")).await;
    let set = BTreeMap::from([("x".to_owned(), "2".to_owned().into())]);
    let with_x =
        control.set_variables(&platform.admin, &hello(), set, vec![]).await.unwrap().unwrap();
    platform.wait(&with_x).await;

    let back = control.rollback(&platform.admin, &hello(), None, None).await.unwrap();
    let back = platform.wait(&back).await;
    assert_eq!((back.state, back.digest, back.number), (ReleaseState::Active, one.digest, 5));
    let spec = platform.activator.prepared.lock().unwrap().pop().unwrap();
    assert_eq!(spec.variables["x"].expose(), "2", "the newest variables stand");
    // And again is forward again.
    let forth = control.rollback(&platform.admin, &hello(), None, None).await.unwrap();
    assert_eq!(platform.wait(&forth).await.digest, two.digest);

    for name in [one.digest.to_string(), one.digest.hex(), one.digest.short()] {
        let named = control.rollback(&platform.admin, &hello(), Some(&name), None).await.unwrap();
        assert_eq!(named.digest, one.digest, "{name}");
    }
    let newest = control.rollback(&platform.admin, &hello(), Some("0.1.0"), None).await.unwrap();
    assert_eq!(newest.digest, two.digest, "of one version the newest revision");
    for unknown in ["9.9.9", "ffffffffffff", "", "'; --"] {
        let error =
            control.rollback(&platform.admin, &hello(), Some(unknown), None).await.unwrap_err();
        assert!(error.is_not_found(), "{unknown}");
    }
    // The next deploy goes live again.
    assert_eq!(platform.deploy(&plain("three")).await.state, ReleaseState::Active);
}

#[tokio::test]
async fn a_change_of_variables_alone_can_be_taken_back() {
    let platform = platform().await;
    let control = &platform.control;
    platform.deploy(&plain("one")).await;
    for value in ["1", "2"] {
        let set = BTreeMap::from([("x".to_owned(), value.to_owned().into())]);
        let new = control.set_variables(&platform.admin, &hello(), set, vec![]).await.unwrap();
        platform.wait(&new.unwrap()).await;
    }
    let back = control.rollback(&platform.admin, &hello(), None, None).await.unwrap();
    platform.wait(&back).await;
    let spec = platform.activator.prepared.lock().unwrap().pop().unwrap();
    assert_eq!(spec.variables["x"].expose(), "1");
}

#[tokio::test]
async fn a_deleted_app_is_served_no_more_and_its_name_is_free() {
    let platform = platform().await;
    let control = &platform.control;
    let old = platform.deploy(&plain("one")).await;
    // One more is on its way: it must not bring the app back.
    platform.activator.gate.send_replace(false);
    platform.release(&plain("two")).await;
    platform.activator.waiting.subscribe().wait_for(|n| *n == 1).await.unwrap();
    control.delete_app(&platform.admin, &hello()).await.unwrap();
    assert!(platform.publisher.now().is_empty());
    platform.activator.waiting.subscribe().wait_for(|n| *n == 0).await.unwrap();
    platform.activator.gate.send_replace(true);
    assert!(control.app(&platform.admin, &hello()).await.unwrap_err().is_not_found());
    assert!(control.delete_app(&platform.admin, &hello()).await.unwrap_err().is_not_found());

    let new = platform.deploy(&plain("one")).await;
    assert_eq!(new.state, ReleaseState::Active);
    assert_ne!(new.url, old.url);
    assert_eq!(platform.publisher.now().len(), 1);
    // What it had stored is not the new app's.
    let prepared = platform.activator.prepared.lock().unwrap();
    let stores: Vec<_> = prepared.iter().map(|spec| spec.route.stores["default"]).collect();
    assert_ne!(stores.first(), stores.last());
}

#[tokio::test]
async fn what_was_unfinished_when_the_process_ended_is_finished_by_the_next() {
    let platform = platform().await;
    let one = platform.deploy(&plain("one")).await;
    platform.activator.gate.send_replace(false);
    let two = platform.release(&plain("two")).await;
    platform.activator.waiting.subscribe().wait_for(|n| *n == 1).await.unwrap();
    let platform = reopened(platform).await;
    // What was served is served from the first moment on.
    let first_table = platform.publisher.0.lock().unwrap()[0].clone();
    assert_eq!(first_table.len(), 1);
    assert_eq!(first_table[0].digest, one.digest);
    assert_eq!(platform.wait(&two).await.state, ReleaseState::Active);
    let digests: Vec<_> = platform.publisher.now().into_values().collect();
    assert_eq!(digests, [two.digest]);
}

#[tokio::test]
async fn what_cannot_be_deployed_is_refused_with_the_reason() {
    let platform = platform().await;
    let control = &platform.control;
    control.ensure_app(&platform.admin, "hello", None).await.unwrap();
    let none = control.register_revision(&platform.admin, "oci://hello", "0.1.0").await;
    assert_eq!(none.unwrap_err().code, "revision.not_pushed");
    let none = control.register_revision(&platform.admin, "oci://other", "0.1.0").await;
    assert!(none.unwrap_err().is_not_found());
    let refused = async |artifact| {
        let digest = platform.pushed(&artifact).await;
        let new = NewRelease::of(Source::Digest(digest));
        let error = control.create_release(&platform.admin, &hello(), new).await.unwrap_err();
        assert_eq!((error.kind, error.code), (ErrorKind::Invalid, "artifact.invalid"));
        error.message
    };
    let message =
        refused(artifact("x", json!({ "must_understand": ["teleport"], "spin_lock_version": 1 })))
            .await;
    assert!(message.contains("teleport"), "{message}");
    let annotation = (Settings::ANNOTATION.to_owned(), r#"{"limits":{"memory-gib":1}}"#.to_owned());
    let message = refused(annotated("x", json!({}), BTreeMap::from([annotation]))).await;
    assert!(message.contains("memory-gib"), "{message}");
}

#[tokio::test]
async fn settings_travel_with_the_revision() {
    let platform = platform().await;
    let annotation = (Settings::ANNOTATION.to_owned(), r#"{"health-path":"/up"}"#.to_owned());
    platform.deploy(&annotated("x", json!({}), BTreeMap::from([annotation]))).await;
    let spec = platform.activator.prepared.lock().unwrap().pop().unwrap();
    assert_eq!(spec.route.settings.health_path.as_deref(), Some("/up"));
}

#[tokio::test]
async fn another_channel_has_a_host_of_its_own() {
    let platform = platform().await;
    let digest = platform.pushed(&plain("one")).await;
    let new = |channel: &str| NewRelease {
        channel: Some(channel.to_owned()),
        ..NewRelease::of(Source::Digest(digest))
    };
    let control = &platform.control;
    let release = control.create_release(&platform.admin, &hello(), new("pr-12")).await.unwrap();
    let release = platform.wait(&release).await;
    let url = release.url.unwrap();
    assert!(url.starts_with("http://pr-12--hello-"), "{url}");
    assert_eq!(release.state, ReleaseState::Active);
    let app = control.app(&platform.admin, &hello()).await.unwrap();
    assert!(app.active().is_none(), "production serves nothing yet");
    let error =
        control.create_release(&platform.admin, &hello(), new("Bad Name")).await.unwrap_err();
    assert_eq!(error.code, "channel.name_invalid");
}

#[tokio::test]
async fn making_an_app_again_finds_it() {
    let platform = platform().await;
    let control = &platform.control;
    let (first, is_new) =
        control.ensure_app(&platform.admin, "Hello", Some("oci://hello")).await.unwrap();
    assert!(is_new);
    assert_eq!(first.app.name, "hello");
    let (again, is_new) = control.ensure_app(&platform.admin, "hello", None).await.unwrap();
    assert!(!is_new);
    assert_eq!(again.app.id, first.app.id);
    let taken =
        control.ensure_app(&platform.admin, "hello", Some("oci://other")).await.unwrap_err();
    assert_eq!(taken.code, "app.name_taken");
    let taken =
        control.ensure_app(&platform.admin, "other", Some("oci://hello")).await.unwrap_err();
    assert_eq!(taken.code, "app.storage_id_taken");
    let bad = control.ensure_app(&platform.admin, "x", Some("oci://../x")).await.unwrap_err();
    assert_eq!(bad.code, "app.storage_id_invalid");
    let many = futures::future::join_all(
        (0..10).map(|_| control.ensure_app(&platform.admin, "race", None)),
    )
    .await;
    assert_eq!(many.into_iter().filter(|result| result.as_ref().unwrap().1).count(), 1);
}

#[tokio::test]
async fn twenty_deploys_at_once_leave_the_last_one_serving() {
    let platform = platform().await;
    let mut digests = Vec::new();
    for n in 0..20 {
        digests.push(platform.pushed(&plain(&format!("code {n}"))).await);
    }
    let app = hello();
    let releases = futures::future::join_all(digests.iter().map(|digest| {
        let new = NewRelease::of(Source::Digest(*digest));
        platform.control.create_release(&platform.admin, &app, new)
    }))
    .await;
    let mut releases: Vec<_> = releases.into_iter().map(Result::unwrap).collect();
    releases.sort_by_key(|release| release.number);
    let last = releases.pop().unwrap();
    assert_eq!((last.number, platform.wait(&last).await.state), (20, ReleaseState::Active));
    for release in releases {
        assert_eq!(platform.wait(&release).await.state, ReleaseState::Retired);
    }
    // Tables never go back: the numbers only grow.
    let tables = platform.publisher.0.lock().unwrap();
    let numbers: Vec<_> = tables.iter().filter_map(|t| t.first()).map(|e| e.number).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
}

/// Whether any file below the platform's folder holds those bytes.
fn is_on_disk(platform: &crate::support::Platform, needle: &[u8]) -> bool {
    fn look(dir: &std::path::Path, needle: &[u8]) -> bool {
        fs_err::read_dir(dir).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                return look(&path, needle);
            }
            let bytes = fs_err::read(&path).unwrap_or_default();
            bytes.windows(needle.len()).any(|window| window == needle)
        })
    }
    look(platform.dir.path(), needle)
}
