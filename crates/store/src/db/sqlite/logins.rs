//! SQL of device logins.

use gyre_model::AccountId;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction};

use super::{
    Failure, accounts,
    columns::{maybe_id, maybe_ns, maybe_time, ns, time, words},
};
use crate::db::rows::{Decision, DeviceCode, DeviceStatus, Token};

words!(status_word, status: DeviceStatus {
    Pending = "pending", Approved = "approved", Denied = "denied", Redeemed = "redeemed",
});

fn code(row: &Row<'_>) -> Result<DeviceCode, rusqlite::Error> {
    Ok(DeviceCode {
        device_hash: row.get("device_hash")?,
        user_code: row.get("user_code")?,
        client: row.get("client")?,
        created: time(row, "created")?,
        expires: time(row, "expires")?,
        interval: row.get("interval")?,
        status: status(row, "status")?,
        account: maybe_id(row, "account_id")?,
        last_poll: maybe_time(row, "last_poll")?,
    })
}

pub(in crate::db) fn create(tx: &Transaction<'_>, c: DeviceCode) -> Result<(), Failure> {
    tx.prepare_cached(
        "INSERT INTO device_codes
            (device_hash, user_code, client, created, expires, interval, status, account_id, last_poll)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute((
        c.device_hash,
        c.user_code,
        c.client,
        ns(c.created),
        ns(c.expires),
        c.interval,
        status_word(c.status),
        c.account.map(|id| id.as_uuid().into_bytes()),
        maybe_ns(c.last_poll),
    ))?;
    Ok(())
}

pub(in crate::db) fn by_user_code(
    tx: &Transaction<'_>,
    user_code: String,
    now: Timestamp,
) -> Result<Option<DeviceCode>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM device_codes WHERE user_code = ?1 AND expires > ?2")?
        .query_row((user_code, ns(now)), code)
        .optional()?)
}

pub(in crate::db) fn decide(
    tx: &Transaction<'_>,
    user_code: String,
    decision: Decision,
    account: AccountId,
    now: Timestamp,
) -> Result<bool, Failure> {
    let status = match decision {
        Decision::Approve => DeviceStatus::Approved,
        Decision::Deny => DeviceStatus::Denied,
    };
    let decided = tx
        .prepare_cached(
            "UPDATE device_codes SET status = ?2, account_id = ?3
             WHERE user_code = ?1 AND status = 'pending' AND expires > ?4",
        )?
        .execute((user_code, status_word(status), account.as_uuid().into_bytes(), ns(now)))?;
    Ok(decided > 0)
}

pub(in crate::db) fn poll(
    tx: &Transaction<'_>,
    device_hash: [u8; 32],
    now: Timestamp,
) -> Result<Option<DeviceCode>, Failure> {
    let before = tx
        .prepare_cached("SELECT * FROM device_codes WHERE device_hash = ?1")?
        .query_row([device_hash], code)
        .optional()?;
    if before.is_some() {
        tx.prepare_cached("UPDATE device_codes SET last_poll = ?2 WHERE device_hash = ?1")?
            .execute((device_hash, ns(now)))?;
    }
    Ok(before)
}

pub(in crate::db) fn redeem(
    tx: &Transaction<'_>,
    device_hash: [u8; 32],
    tokens: Vec<Token>,
    now: Timestamp,
) -> Result<bool, Failure> {
    let redeemed = tx
        .prepare_cached(
            "UPDATE device_codes SET status = 'redeemed'
             WHERE device_hash = ?1 AND status = 'approved' AND expires > ?2",
        )?
        .execute((device_hash, ns(now)))?;
    if redeemed == 0 {
        return Ok(false);
    }
    for token in &tokens {
        accounts::insert_token(tx, token)?;
    }
    Ok(true)
}

pub(in crate::db) fn purge(tx: &Transaction<'_>, before: Timestamp) -> Result<u64, Failure> {
    let purged =
        tx.prepare_cached("DELETE FROM device_codes WHERE expires < ?1")?.execute([ns(before)])?;
    Ok(purged as u64)
}

pub(in crate::db) fn count_pending(tx: &Transaction<'_>, now: Timestamp) -> Result<u64, Failure> {
    let count: i64 = tx
        .prepare_cached(
            "SELECT count(*) FROM device_codes WHERE status = 'pending' AND expires > ?1",
        )?
        .query_row([ns(now)], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}
