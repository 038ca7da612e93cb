//! Signing in: by a code that a person approves (RFC 8628), by a token, and again by what renews it.

use std::{net::IpAddr, time::Duration};

use gyre_model::Secret;
use gyre_store::{DbError, Decision, DeviceCode, DeviceStatus, Rotation, Token, TokenKind};
use jiff::{SignedDuration, Timestamp};

use crate::{Actor, Control, Error, ErrorKind, Result, names, throttle::network, token};

/// How long a code may be approved and redeemed.
const CODE_LIFE: SignedDuration = SignedDuration::from_mins(10);
/// Seconds between two polls.
const INTERVAL: u32 = 5;
/// How much earlier a poll may come, for clocks and networks are not exact.
const EARLY: SignedDuration = SignedDuration::from_millis(500);
/// Logins under way at once, that nobody has decided on: with so many, guessing a code is hopeless still.
const MAX_PENDING: u64 = 1_000;
/// Of these a user code is made: no vowels, so no words.
const CODE_ALPHABET: &[u8] = b"BCDFGHJKLMNPQRSTVWXZ";
const CODE_LENGTH: usize = 8;
/// How long a session's token is good for…
const SESSION_LIFE: SignedDuration = SignedDuration::from_hours(24);
/// …and how long it can be renewed.
const REFRESH_LIFE: SignedDuration = SignedDuration::from_hours(24 * 90);
/// How long a page stays signed in.
const PAGE_LIFE: SignedDuration = SignedDuration::from_hours(12);
/// Two programs that share a configuration may both renew a token: for so long the second is no thief.
const REUSE_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// A device login that has begun.
#[derive(Debug)]
pub struct DeviceLogin {
    /// The program's half.
    pub device_code: Secret<String>,
    /// The person's half, as it is shown: `BCDF-GHJK`.
    pub user_code: String,
    /// Where the person approves.
    pub verification_url: String,
    /// How long it can be approved.
    pub expires_in: Duration,
    /// How long to wait between polls.
    pub interval: Duration,
}

/// A device login as the person is shown it.
#[derive(Debug, Clone)]
pub struct PendingLogin {
    /// The code as it is shown.
    pub user_code: String,
    /// What the program calls itself. Not to be trusted, nor to be shown unescaped.
    pub client: String,
    /// When it began.
    pub created: Timestamp,
}

/// Tokens of a new or renewed login.
#[derive(Debug)]
pub struct Session {
    /// Shown with every request.
    pub token: Secret<String>,
    /// Shown once, for new ones.
    pub refresh_token: Secret<String>,
    /// When `token` ends.
    pub expires: Timestamp,
}

impl Control {
    /// Begins a device login for the program `client`.
    pub async fn begin_device_login(
        &self,
        client: &str,
        from: Option<IpAddr>,
    ) -> Result<DeviceLogin> {
        let now = self.clock.now();
        if client.len() > 128 || client.chars().any(char::is_control) {
            return Err(Error::invalid(
                "auth.client_invalid",
                "a client id has at most 128 characters",
            ));
        }
        self.throttles.codes.take(network(from), now).map_err(|wait| {
            Error::too_many("too many logins were begun from your address", wait)
        })?;
        if self.db.count_pending_device_codes(now).await? >= MAX_PENDING {
            return Err(Error::too_many(
                "too many logins are waiting for approval",
                Duration::from_mins(1),
            ));
        }
        let device_code = Secret::new(token::random_base64()?);
        loop {
            let user_code = names::random_text(CODE_ALPHABET, CODE_LENGTH)?;
            let row = DeviceCode {
                device_hash: token::hash(device_code.expose()),
                user_code: user_code.clone(),
                client: client.to_owned(),
                created: now,
                expires: now + CODE_LIFE,
                interval: INTERVAL,
                status: DeviceStatus::Pending,
                account: None,
                last_poll: None,
            };
            match self.db.create_device_code(row).await {
                // Somebody has that code just now.
                Err(DbError::Taken { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    let user_code = shown(&user_code);
                    return Ok(DeviceLogin {
                        verification_url: format!("{}device-authorization", self.config.url()),
                        device_code,
                        user_code,
                        expires_in: CODE_LIFE.unsigned_abs(),
                        interval: Duration::from_secs(u64::from(INTERVAL)),
                    });
                }
            }
        }
    }

    /// Asks, for the program, whether the person has approved.
    ///
    /// # Errors
    /// `auth.authorization_pending` and `auth.slow_down` (ask again later), `auth.access_denied`, `auth.expired_code`.
    pub async fn poll_device_login(&self, device_code: &str, client: &str) -> Result<Session> {
        let now = self.clock.now();
        let expired = || {
            Error::invalid("auth.expired_code", "the code has expired or was used already")
                .with_hint("sign in again for a new code")
        };
        if !token::is_plausible(device_code) {
            return Err(expired());
        }
        let hash = token::hash(device_code);
        let code = self.db.poll_device_code(hash, now).await?.ok_or_else(expired)?;
        if code.expires <= now || code.client != client {
            return Err(expired());
        }
        let wait = SignedDuration::from_secs(i64::from(code.interval));
        let account = match (code.status, code.account, code.last_poll) {
            (DeviceStatus::Approved, Some(account), _) => account,
            (DeviceStatus::Pending, _, Some(last)) if now.duration_since(last) < wait - EARLY => {
                let slow_down = "the program asks too often whether the login is approved";
                return Err(Error {
                    retry_after: Some(wait.unsigned_abs()),
                    ..Error::invalid("auth.slow_down", slow_down)
                });
            }
            (DeviceStatus::Pending, ..) => {
                return Err(Error {
                    retry_after: Some(wait.unsigned_abs()),
                    ..Error::invalid(
                        "auth.authorization_pending",
                        "nobody has approved the login yet",
                    )
                });
            }
            (DeviceStatus::Denied, ..) => {
                return Err(Error::invalid("auth.access_denied", "the login was refused"));
            }
            _ => return Err(expired()),
        };
        let (session, rows) = self.session(account, &client_name(client), None)?;
        if self.db.redeem_device_code(hash, rows, now).await? {
            Ok(session)
        } else {
            Err(expired())
        }
    }

    /// The login of a user code, for the page on which it is approved.
    ///
    /// # Errors
    /// There is none, nobody is waiting for it any more, or the actor has guessed too often.
    pub async fn pending_login(&self, actor: &Actor, user_code: &str) -> Result<PendingLogin> {
        let code = self.guessed(actor, user_code).await?;
        Ok(PendingLogin {
            user_code: shown(&code.user_code),
            client: client_name(&code.client),
            created: code.created,
        })
    }

    /// Approves or refuses it.
    pub async fn decide_login(
        &self,
        actor: &Actor,
        user_code: &str,
        is_approved: bool,
    ) -> Result<()> {
        let code = self.guessed(actor, user_code).await?;
        let decision = if is_approved { Decision::Approve } else { Decision::Deny };
        let now = self.clock.now();
        let account = actor.account;
        if self.db.decide_device_code(code.user_code, decision, account, now).await? {
            Ok(())
        } else {
            Err(no_such_code())
        }
    }

    async fn guessed(&self, actor: &Actor, user_code: &str) -> Result<DeviceCode> {
        let now = self.clock.now();
        let throttles = &self.throttles;
        throttles
            .guesses_by_account
            .take(actor.account, now)
            .and_then(|()| throttles.guesses_by_network.take(network(actor.from), now))
            .and_then(|()| throttles.guesses.take((), now))
            .map_err(|wait| Error::too_many("too many codes were tried", wait))?;
        let code = normalised(user_code).ok_or_else(no_such_code)?;
        let code = self.db.device_code(code, now).await?;
        code.filter(|code| code.status == DeviceStatus::Pending && code.expires > now)
            .ok_or_else(no_such_code)
    }

    /// New tokens for old: the one that is ending, or has ended, and the one that renews it.
    pub async fn refresh(&self, old: &str, refresh_token: &str) -> Result<Session> {
        let refused = || {
            Error::new(
                ErrorKind::Unauthenticated,
                "auth.unauthenticated",
                "the login cannot be renewed",
            )
            .with_hint("sign in again with `gyre login`")
        };
        if !token::is_plausible(old) || !token::is_plausible(refresh_token) {
            return Err(refused());
        }
        let (refresh, account) = self
            .db
            .token_by_hash(token::hash(refresh_token))
            .await?
            .filter(|(token, _)| token.kind == TokenKind::Refresh)
            .ok_or_else(refused)?;
        let now = self.clock.now();
        let access = self.db.token_by_hash(token::hash(old)).await?;
        let is_of_family = access.is_some_and(|(token, _)| token.family == refresh.family);
        if !is_of_family || refresh.expires.is_some_and(|expires| expires <= now) {
            return Err(refused());
        }
        let (session, rows) = self.session(account.id, &refresh.name, Some(refresh.family))?;
        let is_just_spent =
            refresh.revoked.is_some_and(|spent| now.duration_since(spent) <= REUSE_GRACE);
        if is_just_spent && self.is_family_alive(&refresh).await? {
            for row in rows {
                self.db.create_token(row).await?;
            }
            return Ok(session);
        }
        match self.db.rotate_token(refresh.id, rows, now).await? {
            Rotation::Done => Ok(session),
            Rotation::Reused => Err(refused()),
        }
    }

    /// Whether the login goes on: a token that was spent had others made in its place, one that was revoked with its login had not.
    async fn is_family_alive(&self, token: &Token) -> Result<bool> {
        let tokens = self.db.tokens(token.account, self.clock.now()).await?;
        Ok(tokens
            .iter()
            .any(|other| other.family == token.family && other.kind == TokenKind::Refresh))
    }

    /// Signs a person in to the pages by a token. The session has a secret of its own, that ends with the token.
    pub async fn open_page_session(
        &self,
        token: &str,
        from: Option<IpAddr>,
    ) -> Result<(Actor, Secret<String>)> {
        let now = self.clock.now();
        self.throttles
            .sign_ins
            .take(network(from), now)
            .map_err(|wait| Error::too_many("too many attempts to sign in", wait))?;
        let actor = self.authenticate(token, from).await?;
        let end = now + PAGE_LIFE;
        let expires = actor.expires.map_or(end, |expires| expires.min(end));
        let (secret, row) = self.mint(
            actor.account,
            TokenKind::Session,
            "browser",
            Some(expires),
            Some(actor.family),
        )?;
        self.db.create_token(row.clone()).await?;
        Ok((Actor { token: row.id, expires: Some(expires), ..actor }, secret))
    }

    fn session(
        &self,
        account: gyre_model::AccountId,
        name: &str,
        family: Option<gyre_model::TokenId>,
    ) -> Result<(Session, Vec<Token>)> {
        let now = self.clock.now();
        let expires = now + SESSION_LIFE;
        let (token, row) = self.mint(account, TokenKind::Session, name, Some(expires), family)?;
        let (refresh_token, refresh_row) = self.mint(
            account,
            TokenKind::Refresh,
            name,
            Some(now + REFRESH_LIFE),
            Some(row.family),
        )?;
        Ok((Session { token, refresh_token, expires }, vec![row, refresh_row]))
    }
}

fn no_such_code() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "auth.no_such_code",
        "there is no login with that code: it has expired, was decided on, or was mistyped",
    )
}

/// What a person is told about a program.
fn client_name(client: &str) -> String {
    match client {
        "583e63e9-461f-4fbe-a246-23e0fb1cad10" => "Spin's cloud plug-in".to_owned(),
        "gyre" => "the gyre command".to_owned(),
        "bindle" => "the bindle command".to_owned(),
        other => other.to_owned(),
    }
}

/// `BCDFGHJK` as `BCDF-GHJK`.
fn shown(code: &str) -> String {
    match code.split_at_checked(CODE_LENGTH / 2) {
        Some((left, right)) => format!("{left}-{right}"),
        None => code.to_owned(),
    }
}

/// What a person typed, as it is kept.
fn normalised(typed: &str) -> Option<String> {
    if typed.len() > 64 {
        return None;
    }
    let letters = typed.chars().filter(|c| *c != '-' && !c.is_whitespace());
    let code: String = letters.map(|c| c.to_ascii_uppercase()).collect();
    let is_code = code.len() == CODE_LENGTH && code.bytes().all(|b| CODE_ALPHABET.contains(&b));
    is_code.then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_may_be_typed_as_it_is_shown_or_otherwise() {
        assert_eq!(shown("BCDFGHJK"), "BCDF-GHJK");
        for typed in ["BCDF-GHJK", "bcdfghjk", " bcdf ghjk\n"] {
            assert_eq!(normalised(typed).as_deref(), Some("BCDFGHJK"), "{typed:?}");
        }
        for typed in ["", "BCDFGHJ", "BCDFGHJKL", "ACDFGHJK", "BCDFGHJ\u{e9}"] {
            assert_eq!(normalised(typed), None, "{typed:?}");
        }
    }
}
