//! Accounts, their tokens, and who it is that asks.

use std::net::IpAddr;

use gyre_model::{AccountId, Secret, TokenId};
use gyre_store::{Account, Page, Token, TokenKind};
use jiff::{SignedDuration, Timestamp};

use crate::{Control, Error, ErrorKind, Result, token};

/// The account that is made on the first start.
const ADMIN: &str = "admin";
/// How often the use of a token is noted, at most.
const TOUCH_SECONDS: i64 = 60;

/// Who asks. Only [`Control::authenticate`] makes one, so to hold one is to be signed in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Actor {
    /// The account.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// Whether it may administer the server.
    pub is_admin: bool,
    /// The token they showed.
    pub token: TokenId,
    /// The login that the token comes from.
    pub family: TokenId,
    /// When the token ends, if it does.
    pub expires: Option<Timestamp>,
    /// From where they ask, where that is known.
    pub from: Option<IpAddr>,
}

impl Control {
    /// Makes the account `admin` where there is none, and, while it has no token that works, gives it one: the only way in
    /// at first. `save` keeps the token where its owner finds it; it is not valid before that has succeeded.
    ///
    /// Returns the token if one was made.
    pub async fn bootstrap(
        &self,
        save: impl FnOnce(&Secret<String>) -> std::io::Result<()>,
    ) -> Result<Option<Secret<String>>> {
        let now = self.clock.now();
        let account = match self.db.account_by_name(ADMIN.to_owned()).await? {
            Some(account) => account,
            None if self.db.accounts(Page::first(1)).await?.total > 0 => return Ok(None),
            None => self.create_account(ADMIN, true).await?,
        };
        if !account.is_admin || !self.db.tokens(account.id, now).await?.is_empty() {
            return Ok(None);
        }
        let (secret, row) =
            self.mint(account.id, TokenKind::Personal, "first start", None, None)?;
        save(&secret).map_err(Error::internal)?;
        self.db.create_token(row).await?;
        Ok(Some(secret))
    }

    /// Adds an account.
    pub async fn create_account(&self, name: &str, is_admin: bool) -> Result<Account> {
        let account = Account {
            id: AccountId::new(),
            name: name.to_owned(),
            is_admin,
            created: self.clock.now(),
        };
        self.db.create_account(account.clone()).await?;
        Ok(account)
    }

    /// A personal token for an account: for whoever runs the server, not for what comes over the network.
    pub async fn issue_token(
        &self,
        account: AccountId,
        name: &str,
        expires: Option<Timestamp>,
    ) -> Result<(Token, Secret<String>)> {
        let (secret, row) = self.mint(account, TokenKind::Personal, name, expires, None)?;
        self.db.create_token(row.clone()).await?;
        Ok((row, secret))
    }

    /// Who holds `token`.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`]: there is no such token, or it expired or was revoked.
    pub async fn authenticate(&self, token: &str, from: Option<IpAddr>) -> Result<Actor> {
        let refused = |code, message: &str| {
            Err(Error::new(ErrorKind::Unauthenticated, code, message)
                .with_hint("sign in again with `gyre login`"))
        };
        if token.is_empty() {
            return refused("auth.unauthenticated", "you are not signed in");
        }
        let found = if token::is_plausible(token) {
            self.db.token_by_hash(token::hash(token)).await?
        } else {
            None
        };
        // A token that only renews others opens nothing.
        let Some((row, account)) = found.filter(|(row, _)| row.kind != TokenKind::Refresh) else {
            return refused("auth.unauthenticated", "the token is not valid");
        };
        let now = self.clock.now();
        if row.revoked.is_some() {
            return refused("auth.unauthenticated", "the token has been revoked");
        }
        if row.expires.is_some_and(|expires| expires <= now) {
            return refused("auth.token_expired", "the token has expired");
        }
        let is_stale = |used: Timestamp| now.as_second() - used.as_second() > TOUCH_SECONDS;
        if row.last_used.is_none_or(is_stale) {
            self.db.touch_token(row.id, now).await?;
        }
        Ok(Actor {
            account: account.id,
            name: account.name,
            is_admin: account.is_admin,
            token: row.id,
            family: row.family,
            expires: row.expires,
            from,
        })
    }

    /// Makes a personal token for the actor's account: the only time that its secret is seen.
    pub async fn create_token(
        &self,
        actor: &Actor,
        name: &str,
        expires_in_days: Option<u32>,
    ) -> Result<(Token, Secret<String>)> {
        let is_valid = (1..=128).contains(&name.len()) && !name.chars().any(char::is_control);
        if !is_valid {
            return Err(Error::invalid(
                "token.name_invalid",
                "a token's name has 1 to 128 characters",
            ));
        }
        let expires = match expires_in_days {
            None => None,
            Some(days @ 1..=3_650) => {
                Some(self.clock.now() + SignedDuration::from_hours(24 * i64::from(days)))
            }
            Some(_) => {
                return Err(Error::invalid(
                    "token.expiry_invalid",
                    "a token ends after 1 to 3,650 days, or never",
                ));
            }
        };
        self.issue_token(actor.account, name, expires).await
    }

    /// The account's tokens that still work, but for those that only renew others.
    pub async fn tokens(&self, actor: &Actor) -> Result<Vec<Token>> {
        let mut tokens = self.db.tokens(actor.account, self.clock.now()).await?;
        tokens.retain(|token| token.kind != TokenKind::Refresh);
        Ok(tokens)
    }

    /// Revokes a token of the account, and every session that came from it.
    pub async fn revoke_token(&self, actor: &Actor, id: TokenId) -> Result<()> {
        let tokens = self.tokens(actor).await?;
        let token = tokens
            .iter()
            .find(|token| token.id == id)
            .ok_or_else(|| Error::not_found(format!("token '{id}'")))?;
        let now = self.clock.now();
        if token.family == id {
            self.db.revoke_family(actor.account, id, now).await?;
        } else {
            self.db.revoke_token(actor.account, id, now).await?;
        }
        Ok(())
    }

    /// Ends the actor's login: the token they showed, and what would renew it.
    ///
    /// A session that was opened with a personal token ends alone; the personal token is its owner's to revoke.
    pub async fn sign_out(&self, actor: &Actor) -> Result<()> {
        let now = self.clock.now();
        let tokens = self.db.tokens(actor.account, now).await?;
        let is_derived = tokens
            .iter()
            .any(|token| token.id == actor.family && token.kind == TokenKind::Personal);
        if is_derived {
            self.db.revoke_token(actor.account, actor.token, now).await?;
        } else {
            self.db.revoke_family(actor.account, actor.family, now).await?;
        }
        Ok(())
    }

    /// A token and its row, not yet stored. Without a family it begins one.
    pub(crate) fn mint(
        &self,
        account: AccountId,
        kind: TokenKind,
        name: &str,
        expires: Option<Timestamp>,
        family: Option<TokenId>,
    ) -> Result<(Secret<String>, Token)> {
        let now = self.clock.now();
        let id = TokenId::new();
        let (secret, hash) = token::mint(account, id, now, expires)?;
        let row = Token {
            id,
            account,
            family: family.unwrap_or(id),
            kind,
            hash,
            name: name.to_owned(),
            created: now,
            expires,
            revoked: None,
            last_used: None,
        };
        Ok((secret, row))
    }
}
