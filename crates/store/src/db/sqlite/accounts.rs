//! SQL of accounts and tokens.

use gyre_model::{AccountId, TokenId};
use jiff::{Timestamp, ToSpan};
use rusqlite::{OptionalExtension, Row, Transaction};

use super::{
    Failure,
    columns::{id, int, maybe_ns, maybe_time, ns, time, words},
};
use crate::db::rows::{Account, Listing, Page, Rotation, Token, TokenKind};

words!(kind_word, kind: TokenKind { Session = "session", Personal = "personal", Refresh = "refresh" });

fn account(row: &Row<'_>) -> Result<Account, rusqlite::Error> {
    Ok(Account {
        id: id(row, "id")?,
        name: row.get("name")?,
        is_admin: row.get("is_admin")?,
        created: time(row, "created")?,
    })
}

fn token(row: &Row<'_>) -> Result<Token, rusqlite::Error> {
    Ok(Token {
        id: id(row, "id")?,
        account: id(row, "account_id")?,
        family: id(row, "family")?,
        kind: kind(row, "kind")?,
        hash: row.get("hash")?,
        name: row.get("name")?,
        created: time(row, "created")?,
        expires: maybe_time(row, "expires")?,
        revoked: maybe_time(row, "revoked")?,
        last_used: maybe_time(row, "last_used")?,
    })
}

pub(in crate::db) fn create(tx: &Transaction<'_>, a: Account) -> Result<(), Failure> {
    tx.prepare_cached(
        "INSERT INTO accounts (id, name, is_admin, created) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((a.id.as_uuid().into_bytes(), a.name, a.is_admin, ns(a.created)))?;
    Ok(())
}

pub(in crate::db) fn by_id(
    tx: &Transaction<'_>,
    id: AccountId,
) -> Result<Option<Account>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM accounts WHERE id = ?1")?
        .query_row([id.as_uuid().into_bytes()], account)
        .optional()?)
}

pub(in crate::db) fn by_name(
    tx: &Transaction<'_>,
    name: String,
) -> Result<Option<Account>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM accounts WHERE name = ?1")?
        .query_row([name], account)
        .optional()?)
}

pub(in crate::db) fn list(tx: &Transaction<'_>, page: Page) -> Result<Listing<Account>, Failure> {
    let total: i64 = tx.query_row("SELECT count(*) FROM accounts", [], |row| row.get(0))?;
    let items = tx
        .prepare_cached("SELECT * FROM accounts ORDER BY name LIMIT ?1 OFFSET ?2")?
        .query_map([int(page.limit), int(page.offset)], account)?
        .collect::<Result<_, _>>()?;
    Ok(Listing { items, total: total.unsigned_abs() })
}

pub(in crate::db) fn create_token(tx: &Transaction<'_>, t: Token) -> Result<(), Failure> {
    insert_token(tx, &t)
}

pub(super) fn insert_token(tx: &Transaction<'_>, t: &Token) -> Result<(), Failure> {
    if by_id(tx, t.account)?.is_none() {
        return Err(Failure::missing("account"));
    }
    tx.prepare_cached(
        "INSERT INTO tokens
            (id, account_id, family, kind, hash, name, created, expires, revoked, last_used)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute((
        t.id.as_uuid().into_bytes(),
        t.account.as_uuid().into_bytes(),
        t.family.as_uuid().into_bytes(),
        kind_word(t.kind),
        t.hash,
        &t.name,
        ns(t.created),
        maybe_ns(t.expires),
        maybe_ns(t.revoked),
        maybe_ns(t.last_used),
    ))?;
    Ok(())
}

pub(in crate::db) fn token_by_hash(
    tx: &Transaction<'_>,
    hash: [u8; 32],
) -> Result<Option<(Token, Account)>, Failure> {
    let found = tx
        .prepare_cached("SELECT * FROM tokens WHERE hash = ?1")?
        .query_row([hash], token)
        .optional()?;
    let Some(token) = found else { return Ok(None) };
    let account = by_id(tx, token.account)?.ok_or(Failure::missing("account"))?;
    Ok(Some((token, account)))
}

pub(in crate::db) fn tokens(
    tx: &Transaction<'_>,
    account: AccountId,
    now: Timestamp,
) -> Result<Vec<Token>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT * FROM tokens
             WHERE account_id = ?1 AND revoked IS NULL AND (expires IS NULL OR expires > ?2)
             ORDER BY created DESC, id DESC",
        )?
        .query_map((account.as_uuid().into_bytes(), ns(now)), token)?
        .collect::<Result<_, _>>()?)
}

pub(in crate::db) fn touch_token(
    tx: &Transaction<'_>,
    id: TokenId,
    now: Timestamp,
) -> Result<(), Failure> {
    let recently = now.checked_sub(1.minute()).unwrap_or(now);
    tx.prepare_cached(
        "UPDATE tokens SET last_used = ?2
         WHERE id = ?1 AND (last_used IS NULL OR last_used <= ?3)",
    )?
    .execute((id.as_uuid().into_bytes(), ns(now), ns(recently)))?;
    Ok(())
}

pub(in crate::db) fn revoke_token(
    tx: &Transaction<'_>,
    account: AccountId,
    id: TokenId,
    now: Timestamp,
) -> Result<bool, Failure> {
    let revoked = tx
        .prepare_cached(
            "UPDATE tokens SET revoked = ?3
             WHERE account_id = ?1 AND id = ?2 AND revoked IS NULL",
        )?
        .execute((account.as_uuid().into_bytes(), id.as_uuid().into_bytes(), ns(now)))?;
    Ok(revoked > 0)
}

pub(in crate::db) fn revoke_family(
    tx: &Transaction<'_>,
    account: AccountId,
    family: TokenId,
    now: Timestamp,
) -> Result<u64, Failure> {
    let revoked = tx
        .prepare_cached(
            "UPDATE tokens SET revoked = ?3
             WHERE account_id = ?1 AND family = ?2 AND revoked IS NULL",
        )?
        .execute((account.as_uuid().into_bytes(), family.as_uuid().into_bytes(), ns(now)))?;
    Ok(revoked as u64)
}

pub(in crate::db) fn rotate_token(
    tx: &Transaction<'_>,
    old: TokenId,
    new: Vec<Token>,
    now: Timestamp,
) -> Result<Rotation, Failure> {
    let old = tx
        .prepare_cached("SELECT * FROM tokens WHERE id = ?1")?
        .query_row([old.as_uuid().into_bytes()], token)
        .optional()?
        .ok_or(Failure::missing("token"))?;
    if !revoke_token(tx, old.account, old.id, now)? {
        revoke_family(tx, old.account, old.family, now)?;
        return Ok(Rotation::Reused);
    }
    for token in &new {
        insert_token(tx, token)?;
    }
    Ok(Rotation::Done)
}

pub(in crate::db) fn purge_tokens(tx: &Transaction<'_>, before: Timestamp) -> Result<u64, Failure> {
    let purged = tx
        .prepare_cached("DELETE FROM tokens WHERE expires < ?1 OR revoked < ?1")?
        .execute([ns(before)])?;
    Ok(purged as u64)
}
