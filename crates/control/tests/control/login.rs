//! The device flow, and renewing what came out of it.

use std::sync::Arc;

use gyre_control::{Error, ErrorKind, Session};

use crate::support::{Platform, platform};

async fn login(platform: &Platform) -> Session {
    let begun = platform.control.begin_device_login("gyre", None).await.unwrap();
    platform.control.decide_login(&platform.admin, &begun.user_code, true).await.unwrap();
    platform.control.poll_device_login(begun.device_code.expose(), "gyre").await.unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.unwrap_err().code
}

#[tokio::test]
async fn a_person_approves_a_code_and_the_program_gets_a_token_once() {
    let platform = platform().await;
    let control = &platform.control;
    let begun =
        control.begin_device_login("583e63e9-461f-4fbe-a246-23e0fb1cad10", None).await.unwrap();
    let poll = || {
        control
            .poll_device_login(begun.device_code.expose(), "583e63e9-461f-4fbe-a246-23e0fb1cad10")
    };
    assert_eq!(begun.verification_url, "http://gyre.test:8000/device-authorization");
    assert_eq!(code(poll().await), "auth.authorization_pending");
    assert_eq!(code(poll().await), "auth.slow_down");
    platform.clock.advance(5);
    assert_eq!(code(poll().await), "auth.authorization_pending");

    let seen =
        control.pending_login(&platform.admin, &begun.user_code.to_lowercase()).await.unwrap();
    assert_eq!(
        (seen.user_code.as_str(), seen.client.as_str()),
        (&*begun.user_code, "Spin's cloud plug-in")
    );
    control.decide_login(&platform.admin, &begun.user_code, true).await.unwrap();
    // Decided is decided.
    assert_eq!(
        code(control.decide_login(&platform.admin, &begun.user_code, false).await),
        "auth.no_such_code"
    );
    assert_eq!(
        code(control.pending_login(&platform.admin, &begun.user_code).await),
        "auth.no_such_code"
    );

    let session = poll().await.unwrap();
    let actor = control.authenticate(session.token.expose(), None).await.unwrap();
    assert_eq!(actor.account, platform.admin.account);
    assert_eq!(session.token.expose().split('.').count(), 3);
    assert_eq!(code(poll().await), "auth.expired_code");
    // What renews a token is no token.
    let refused = control.authenticate(session.refresh_token.expose(), None).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_hundred_polls_at_once_redeem_a_code_once() {
    let platform = Arc::new(platform().await);
    let begun = Arc::new(platform.control.begin_device_login("gyre", None).await.unwrap());
    platform.control.decide_login(&platform.admin, &begun.user_code, true).await.unwrap();
    let polls = (0..100).map(|_| {
        let (platform, begun) = (platform.clone(), begun.clone());
        tokio::spawn(async move {
            platform.control.poll_device_login(begun.device_code.expose(), "gyre").await.is_ok()
        })
    });
    let results = futures::future::join_all(polls).await;
    assert_eq!(results.into_iter().filter(|ok| *ok.as_ref().unwrap()).count(), 1);
}

#[tokio::test]
async fn a_code_ends_by_refusal_by_time_and_for_other_programs() {
    let platform = platform().await;
    let control = &platform.control;
    let begun = control.begin_device_login("gyre", None).await.unwrap();
    control.decide_login(&platform.admin, &begun.user_code, false).await.unwrap();
    let refused = control.poll_device_login(begun.device_code.expose(), "gyre").await;
    assert_eq!(code(refused), "auth.access_denied");

    let begun = control.begin_device_login("gyre", None).await.unwrap();
    control.decide_login(&platform.admin, &begun.user_code, true).await.unwrap();
    let other = control.poll_device_login(begun.device_code.expose(), "other").await;
    assert_eq!(code(other), "auth.expired_code");
    platform.clock.advance(600);
    let late = control.poll_device_login(begun.device_code.expose(), "gyre").await;
    assert_eq!(code(late), "auth.expired_code");

    let begun = control.begin_device_login("gyre", None).await.unwrap();
    platform.clock.advance(600);
    let late = control.decide_login(&platform.admin, &begun.user_code, true).await;
    assert_eq!(code(late), "auth.no_such_code");
    assert_eq!(code(control.poll_device_login("nonsense", "gyre").await), "auth.expired_code");
}

#[tokio::test]
async fn guessing_codes_is_limited() {
    let platform = platform().await;
    let begun = platform.control.begin_device_login("gyre", None).await.unwrap();
    for _ in 0..10 {
        let guess = platform.control.pending_login(&platform.admin, "BBBB-BBBB").await;
        assert_eq!(guess.unwrap_err().kind, ErrorKind::NotFound);
    }
    let blocked = platform.control.decide_login(&platform.admin, &begun.user_code, true).await;
    assert_eq!(blocked.unwrap_err().kind, ErrorKind::TooMany);
    platform.clock.advance(6);
    platform.control.decide_login(&platform.admin, &begun.user_code, true).await.unwrap();
}

#[tokio::test]
async fn beginning_logins_is_limited_by_address() {
    let platform = platform().await;
    let from = Some("192.0.2.7".parse().unwrap());
    for _ in 0..30 {
        platform.control.begin_device_login("gyre", from).await.unwrap();
    }
    let error = platform.control.begin_device_login("gyre", from).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooMany);
}

#[tokio::test]
async fn an_expired_token_is_renewed_by_what_came_with_it() {
    let platform = platform().await;
    let control = &platform.control;
    let first = login(&platform).await;
    platform.clock.advance(25 * 3600);
    assert_eq!(code(control.authenticate(first.token.expose(), None).await), "auth.token_expired");
    let (old, refresh) = (first.token.expose(), first.refresh_token.expose());
    let second = control.refresh(old, refresh).await.unwrap();
    control.authenticate(second.token.expose(), None).await.unwrap();
    // Another program with the same configuration may be a moment late.
    platform.clock.advance(30);
    let third = control.refresh(old, refresh).await.unwrap();
    control.authenticate(third.token.expose(), None).await.unwrap();
    // Later it is somebody who stole it: the whole login ends.
    platform.clock.advance(120);
    assert!(control.refresh(old, refresh).await.is_err());
    assert!(control.authenticate(second.token.expose(), None).await.is_err());
    assert!(control.authenticate(third.token.expose(), None).await.is_err());
}

#[tokio::test]
async fn what_renews_one_login_renews_no_other_and_none_after_signing_out() {
    let platform = platform().await;
    let control = &platform.control;
    let (one, other) = (login(&platform).await, login(&platform).await);
    let mixed = control.refresh(one.token.expose(), other.refresh_token.expose()).await;
    assert_eq!(mixed.unwrap_err().kind, ErrorKind::Unauthenticated);
    let swapped = control.refresh(one.refresh_token.expose(), one.token.expose()).await;
    assert_eq!(swapped.unwrap_err().kind, ErrorKind::Unauthenticated);
    let actor = control.authenticate(one.token.expose(), None).await.unwrap();
    control.sign_out(&actor).await.unwrap();
    let after = control.refresh(one.token.expose(), one.refresh_token.expose()).await;
    assert_eq!(after.unwrap_err().kind, ErrorKind::Unauthenticated);
    control.refresh(other.token.expose(), other.refresh_token.expose()).await.unwrap();
    platform.clock.advance(91 * 24 * 3600);
    let late = control.refresh(other.token.expose(), other.refresh_token.expose()).await;
    assert_eq!(late.unwrap_err().kind, ErrorKind::Unauthenticated);
}
