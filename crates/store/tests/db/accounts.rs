//! Accounts, tokens and device logins.

use gyre_model::TokenId;
use gyre_store::{DbError, Decision, DeviceCode, DeviceStatus, Page, Rotation, Token, TokenKind};

use super::*;

contract! {
    an_account_is_found_by_id_and_name_and_its_name_is_its_own,
    a_token_is_found_by_its_hash_until_it_is_purged,
    a_refresh_token_works_once_and_a_second_use_ends_its_family,
    a_device_login_is_approved_once_and_redeemed_once,
    a_device_login_that_expired_or_was_denied_gives_no_token,
    redeeming_at_once_from_many_sides_works_for_one,
}

async fn an_account_is_found_by_id_and_name_and_its_name_is_its_own<E: Engine>() {
    let World { db, account: alice, engine } = World::<E>::new().await;
    let bob = Account { is_admin: true, ..account("bob") };
    db.create_account(bob.clone()).await.unwrap();
    let error = db.create_account(account("bob")).await.unwrap_err();
    assert!(matches!(error, DbError::Taken { what: "account name" }), "{error:?}");
    assert_eq!(db.account(bob.id).await.unwrap(), Some(bob.clone()));
    assert_eq!(db.account_by_name("alice".to_owned()).await.unwrap(), Some(alice.clone()));
    assert_eq!(db.account_by_name("carol".to_owned()).await.unwrap(), None);
    let page = db.accounts(Page { offset: 1, limit: 5 }).await.unwrap();
    assert_eq!((page.items, page.total), (vec![bob.clone()], 2));
    db.close().await;
    assert!(matches!(db.account(bob.id).await, Err(DbError::Closed)));
    assert!(matches!(db.create_account(account("dan")).await, Err(DbError::Closed)));
    assert_eq!(engine.open().await.account(bob.id).await.unwrap(), Some(bob));
}

async fn a_token_is_found_by_its_hash_until_it_is_purged<E: Engine>() {
    let World { db, account, engine: _engine } = World::<E>::new().await;
    let kept = token(&account, 1, TokenKind::Personal);
    let short = Token { expires: Some(at(100)), ..token(&account, 2, TokenKind::Session) };
    for token in [&kept, &short] {
        db.create_token(token.clone()).await.unwrap();
    }
    let again = Token { id: TokenId::new(), ..kept.clone() };
    let error = db.create_token(again).await.unwrap_err();
    assert!(matches!(error, DbError::Taken { what: "token" }), "{error:?}");
    let stranger = token(&super::account("nobody"), 9, TokenKind::Personal);
    let error = db.create_token(stranger).await.unwrap_err();
    assert!(matches!(error, DbError::Missing { what: "account" }), "{error:?}");
    let found = db.token_by_hash([1; 32]).await.unwrap();
    assert_eq!(found, Some((kept.clone(), account.clone())));
    assert_eq!(db.token_by_hash([7; 32]).await.unwrap(), None);
    assert_eq!(db.tokens(account.id, at(50)).await.unwrap(), [short.clone(), kept.clone()]);
    assert_eq!(db.tokens(account.id, at(100)).await.unwrap(), std::slice::from_ref(&kept));

    for (second, noted) in [(200, 200), (230, 200), (260, 260)] {
        db.touch_token(kept.id, at(second)).await.unwrap();
        let (token, _) = db.token_by_hash([1; 32]).await.unwrap().unwrap();
        assert_eq!(token.last_used, Some(at(noted)), "noted at most once a minute");
    }
    let other = super::account("other");
    assert!(!db.revoke_token(other.id, kept.id, at(300)).await.unwrap(), "not its owner");
    assert!(db.revoke_token(account.id, kept.id, at(300)).await.unwrap());
    assert!(!db.revoke_token(account.id, kept.id, at(301)).await.unwrap());
    let (token, _) = db.token_by_hash([1; 32]).await.unwrap().unwrap();
    assert_eq!(token.revoked, Some(at(300)));
    assert_eq!(db.tokens(account.id, at(50)).await.unwrap(), [short]);
    assert_eq!(db.purge_tokens(at(300)).await.unwrap(), 1);
    assert_eq!(db.purge_tokens(at(301)).await.unwrap(), 1);
    assert_eq!(db.token_by_hash([1; 32]).await.unwrap(), None);
}

async fn a_refresh_token_works_once_and_a_second_use_ends_its_family<E: Engine>() {
    let World { db, account, engine: _engine } = World::<E>::new().await;
    let first = token(&account, 1, TokenKind::Refresh);
    let other = token(&account, 9, TokenKind::Personal);
    db.create_token(first.clone()).await.unwrap();
    db.create_token(other.clone()).await.unwrap();
    let next = |hash, kind| Token { family: first.family, ..token(&account, hash, kind) };
    let pair = vec![next(2, TokenKind::Session), next(3, TokenKind::Refresh)];
    assert_eq!(db.rotate_token(first.id, pair, at(10)).await.unwrap(), Rotation::Done);
    assert_eq!(db.tokens(account.id, at(11)).await.unwrap().len(), 3);
    let pair = vec![next(4, TokenKind::Session), next(5, TokenKind::Refresh)];
    assert_eq!(db.rotate_token(first.id, pair, at(12)).await.unwrap(), Rotation::Reused);
    assert_eq!(db.tokens(account.id, at(13)).await.unwrap(), [other], "the thief has nothing");
    assert_eq!(db.token_by_hash([4; 32]).await.unwrap(), None);
    let error = db.rotate_token(TokenId::new(), Vec::new(), at(14)).await.unwrap_err();
    assert!(matches!(error, DbError::Missing { what: "token" }));
}

fn code(n: u8, user_code: &str) -> DeviceCode {
    DeviceCode {
        device_hash: [n; 32],
        user_code: user_code.to_owned(),
        client: "a laptop".to_owned(),
        created: at(0),
        expires: at(600),
        interval: 5,
        status: DeviceStatus::Pending,
        account: None,
        last_poll: None,
    }
}

async fn a_device_login_is_approved_once_and_redeemed_once<E: Engine>() {
    let World { db, account, engine: _engine } = World::<E>::new().await;
    db.create_device_code(code(1, "BCDF-GHJK")).await.unwrap();
    let error = db.create_device_code(code(2, "BCDF-GHJK")).await.unwrap_err();
    assert!(matches!(error, DbError::Taken { what: "user code" }), "{error:?}");
    assert_eq!(db.count_pending_device_codes(at(1)).await.unwrap(), 1);
    assert_eq!(db.poll_device_code([9; 32], at(1)).await.unwrap(), None);
    assert_eq!(db.poll_device_code([1; 32], at(1)).await.unwrap(), Some(code(1, "BCDF-GHJK")));
    let polled = db.poll_device_code([1; 32], at(6)).await.unwrap().unwrap();
    assert_eq!(polled.last_poll, Some(at(1)), "the poll before this one");
    let tokens = vec![token(&account, 1, TokenKind::Session)];
    assert!(!db.redeem_device_code([1; 32], tokens.clone(), at(7)).await.unwrap(), "not yet");
    let user_code = || "BCDF-GHJK".to_owned();
    assert!(db.device_code(user_code(), at(7)).await.unwrap().is_some());
    let decide = |decision| db.decide_device_code(user_code(), decision, account.id, at(8));
    assert!(decide(Decision::Approve).await.unwrap());
    assert!(!decide(Decision::Deny).await.unwrap(), "decided");
    let approved = db.poll_device_code([1; 32], at(9)).await.unwrap().unwrap();
    assert_eq!((approved.status, approved.account), (DeviceStatus::Approved, Some(account.id)));
    assert!(db.redeem_device_code([1; 32], tokens.clone(), at(10)).await.unwrap());
    assert!(!db.redeem_device_code([1; 32], tokens, at(10)).await.unwrap(), "works once");
    assert_eq!(db.tokens(account.id, at(11)).await.unwrap().len(), 1);
    assert_eq!(db.count_pending_device_codes(at(11)).await.unwrap(), 0);
    assert_eq!(db.purge_device_codes(at(601)).await.unwrap(), 1);
}

async fn a_device_login_that_expired_or_was_denied_gives_no_token<E: Engine>() {
    let World { db, account, engine: _engine } = World::<E>::new().await;
    for (n, name) in [(1, "late"), (2, "denied"), (3, "approved too late")] {
        db.create_device_code(code(n, name)).await.unwrap();
    }
    let decide = |name: &str, decision, second| {
        db.decide_device_code(name.to_owned(), decision, account.id, at(second))
    };
    assert!(decide("denied", Decision::Deny, 5).await.unwrap());
    assert!(decide("approved too late", Decision::Approve, 5).await.unwrap());
    assert!(!decide("late", Decision::Approve, 600).await.unwrap());
    assert!(db.device_code("late".to_owned(), at(600)).await.unwrap().is_none());
    for n in 1..=3 {
        let tokens = vec![token(&account, n, TokenKind::Session)];
        assert!(!db.redeem_device_code([n; 32], tokens, at(600)).await.unwrap());
    }
    assert_eq!(db.tokens(account.id, at(1)).await.unwrap(), []);
}

async fn redeeming_at_once_from_many_sides_works_for_one<E: Engine>() {
    let World { db, account, engine: _engine } = World::<E>::new().await;
    db.create_device_code(code(1, "code")).await.unwrap();
    let user_code = "code".to_owned();
    assert!(db.decide_device_code(user_code, Decision::Approve, account.id, at(1)).await.unwrap());
    let attempts = (0..20).map(|n| {
        let tokens = vec![token(&account, n, TokenKind::Session)];
        db.redeem_device_code([1; 32], tokens, at(2))
    });
    let results = futures::future::join_all(attempts).await;
    assert_eq!(results.into_iter().filter(|result| *result.as_ref().unwrap()).count(), 1);
    assert_eq!(db.tokens(account.id, at(3)).await.unwrap().len(), 1);
}
