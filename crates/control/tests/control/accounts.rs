//! Accounts, tokens, and who may see what.

use gyre_control::{AppRef, ErrorKind, NewRelease, Source};
use gyre_model::Digest;

use crate::support::{hello, plain, platform, reopened};

#[tokio::test]
async fn the_first_start_makes_an_admin_with_a_token_and_later_ones_do_not() {
    let platform = platform().await;
    assert_eq!(platform.admin.name, "admin");
    assert!(platform.admin.is_admin);
    // `reopened` asserts that no second token is made, and signs in with the first.
    let platform = reopened(platform).await;
    let tokens = platform.control.tokens(&platform.admin).await.unwrap();
    assert_eq!(tokens.len(), 1);
    // Locked out, the machine's owner gets in again by a restart.
    platform.control.revoke_token(&platform.admin, tokens[0].id).await.unwrap();
    let saved = std::sync::Mutex::new(String::new());
    let again = platform
        .control
        .bootstrap(|token| {
            saved.lock().unwrap().clone_from(token.expose());
            Ok(())
        })
        .await
        .unwrap()
        .unwrap();
    assert_eq!(*saved.lock().unwrap(), *again.expose());
    platform.control.authenticate(again.expose(), None).await.unwrap();
}

#[tokio::test]
async fn a_token_that_could_not_be_saved_was_never_made() {
    let platform = platform().await;
    let tokens = platform.control.tokens(&platform.admin).await.unwrap();
    platform.control.revoke_token(&platform.admin, tokens[0].id).await.unwrap();
    let kept = std::sync::Mutex::new(String::new());
    let error = platform
        .control
        .bootstrap(|token| {
            kept.lock().unwrap().clone_from(token.expose());
            Err(std::io::Error::other("disk full"))
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
    let kept = kept.into_inner().unwrap();
    let refused = platform.control.authenticate(&kept, None).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_token_works_until_it_expires_or_is_revoked() {
    let platform = platform().await;
    let control = &platform.control;
    let (row, token) = control.create_token(&platform.admin, "ci", Some(1)).await.unwrap();
    let actor = control.authenticate(token.expose(), None).await.unwrap();
    assert_eq!(actor.token, row.id);
    platform.clock.advance(24 * 3600 - 1);
    control.authenticate(token.expose(), None).await.unwrap();
    platform.clock.advance(1);
    let expired = control.authenticate(token.expose(), None).await.unwrap_err();
    assert_eq!((expired.kind, expired.code), (ErrorKind::Unauthenticated, "auth.token_expired"));

    let (row, token) = control.create_token(&platform.admin, "other", None).await.unwrap();
    control.revoke_token(&platform.admin, row.id).await.unwrap();
    let revoked = control.authenticate(token.expose(), None).await.unwrap_err();
    assert_eq!(revoked.message, "the token has been revoked");
    // The same as for one that never was.
    let again = control.revoke_token(&platform.admin, row.id).await.unwrap_err();
    assert!(again.is_not_found());

    for nonsense in ["", "x", "a.b.c", "é", &"x".repeat(100_000)] {
        let error = control.authenticate(nonsense, None).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
    }
    for days in [0, 4_000] {
        let error = control.create_token(&platform.admin, "x", Some(days)).await.unwrap_err();
        assert_eq!(error.code, "token.expiry_invalid");
    }
}

#[tokio::test]
async fn a_page_session_ends_with_the_token_that_opened_it() {
    let platform = platform().await;
    let control = &platform.control;
    let (row, token) = control.create_token(&platform.admin, "mine", None).await.unwrap();
    let (_, session) = control.open_page_session(token.expose(), None).await.unwrap();
    assert_ne!(session.expose(), token.expose());
    let actor = control.authenticate(session.expose(), None).await.unwrap();
    // Signing out ends the session, and not the token.
    control.sign_out(&actor).await.unwrap();
    assert!(control.authenticate(session.expose(), None).await.is_err());
    control.authenticate(token.expose(), None).await.unwrap();

    let (_, session) = control.open_page_session(token.expose(), None).await.unwrap();
    control.revoke_token(&platform.admin, row.id).await.unwrap();
    assert!(control.authenticate(session.expose(), None).await.is_err());

    let (_, session) =
        control.open_page_session(platform.admin_token.expose(), None).await.unwrap();
    platform.clock.advance(12 * 3600);
    assert!(control.authenticate(session.expose(), None).await.is_err());
}

#[tokio::test]
async fn signing_in_to_pages_is_limited_by_address() {
    let platform = platform().await;
    let from = Some("192.0.2.7".parse().unwrap());
    for _ in 0..20 {
        let error = platform.control.open_page_session("guess", from).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
    }
    let error = platform.control.open_page_session("guess", from).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooMany);
    assert!(error.retry_after.is_some());
    // Others are not held up.
    let other = Some("192.0.2.8".parse().unwrap());
    let token = platform.admin_token.expose();
    platform.control.open_page_session(token, other).await.unwrap();
}

#[tokio::test]
async fn what_is_anothers_does_not_exist() {
    let platform = platform().await;
    let control = &platform.control;
    let release = platform.deploy(&plain("one")).await;
    let (mallory, _) = platform.stranger("mallory").await;
    let id = control.app(&platform.admin, &hello()).await.unwrap().app.id;
    for app in [hello(), AppRef::Id(id)] {
        assert!(control.app(&mallory, &app).await.unwrap_err().is_not_found());
        assert!(control.delete_app(&mallory, &app).await.unwrap_err().is_not_found());
        assert!(control.revisions(&mallory, &app).await.unwrap_err().is_not_found());
        assert!(control.rollback(&mallory, &app, None, None).await.unwrap_err().is_not_found());
        assert!(control.release(&mallory, &app, release.id).await.unwrap_err().is_not_found());
        assert!(control.variables(&mallory, &app).await.unwrap_err().is_not_found());
        let new = NewRelease::of(Source::Digest(release.digest));
        assert!(control.create_release(&mallory, &app, new).await.unwrap_err().is_not_found());
    }
    assert_eq!(control.apps(&mallory, None, 0, 10).await.unwrap().total, 0);
    // Their own app of the same name is another app, in another repository.
    let (own, is_new) = control.ensure_app(&mallory, "hello", None).await.unwrap();
    assert!(is_new);
    assert_ne!(own.app.id, id);
    let new = NewRelease::of(Source::Digest(release.digest));
    let error = control.create_release(&mallory, &hello(), new).await.unwrap_err();
    assert_eq!(error.code, "revision.not_pushed");
    let new = NewRelease::of(Source::Digest(Digest::of("nothing")));
    let same = control.create_release(&mallory, &hello(), new).await.unwrap_err();
    assert_eq!(same.code, error.code, "what another has pushed is as unknown as what nobody has");
    assert!(control.release(&mallory, &hello(), release.id).await.unwrap_err().is_not_found());
}
