//! SQL of Bindle's index.

use gyre_model::{AccountId, Digest};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction};

use super::{
    Failure,
    columns::{count, id, int, ns, time},
    registry,
};
use crate::db::rows::InvoiceRow;

fn read_invoice(row: &Row<'_>) -> Result<InvoiceRow, rusqlite::Error> {
    Ok(InvoiceRow {
        account: id(row, "account_id")?,
        name: row.get("name")?,
        version: row.get("version")?,
        invoice: row.get("invoice")?,
        is_yanked: row.get("is_yanked")?,
        created: time(row, "created")?,
    })
}

pub(in crate::db) fn put(
    tx: &Transaction<'_>,
    invoice: InvoiceRow,
    parcels: Vec<Digest>,
) -> Result<(), Failure> {
    let account = invoice.account.as_uuid().into_bytes();
    let (name, version) = (&invoice.name, &invoice.version);
    tx.prepare_cached(
        "INSERT INTO invoices (account_id, name, version, invoice, is_yanked, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((
        account,
        name,
        version,
        &invoice.invoice,
        invoice.is_yanked,
        ns(invoice.created),
    ))?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO invoice_parcels (account_id, name, version, digest)
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    )?;
    for parcel in parcels {
        insert.execute((account, name, version, parcel.as_bytes()))?;
    }
    Ok(())
}

pub(in crate::db) fn by_name(
    tx: &Transaction<'_>,
    account: AccountId,
    name: String,
    version: String,
) -> Result<Option<InvoiceRow>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT * FROM invoices WHERE account_id = ?1 AND name = ?2 AND version = ?3",
        )?
        .query_row((account.as_uuid().into_bytes(), name, version), read_invoice)
        .optional()?)
}

pub(in crate::db) fn yank(
    tx: &Transaction<'_>,
    account: AccountId,
    name: String,
    version: String,
    invoice: String,
) -> Result<bool, Failure> {
    let changed = tx
        .prepare_cached(
            "UPDATE invoices SET is_yanked = 1, invoice = ?4
             WHERE account_id = ?1 AND name = ?2 AND version = ?3",
        )?
        .execute((account.as_uuid().into_bytes(), name, version, invoice))?;
    Ok(changed > 0)
}

pub(in crate::db) fn names(
    tx: &Transaction<'_>,
    account: AccountId,
    word: String,
    with_yanked: bool,
) -> Result<Vec<(String, String)>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT name, version FROM invoices
             WHERE account_id = ?1 AND instr(name, ?2) > 0 AND (?3 OR NOT is_yanked)
             ORDER BY name",
        )?
        .query_map((account.as_uuid().into_bytes(), word, with_yanked), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?)
}

pub(in crate::db) fn put_parcel(
    tx: &Transaction<'_>,
    account: AccountId,
    digest: Digest,
    size: u64,
    now: Timestamp,
) -> Result<(), Failure> {
    tx.prepare_cached(
        "INSERT INTO parcels (account_id, digest, size, created)
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    )?
    .execute((account.as_uuid().into_bytes(), digest.as_bytes(), int(size), ns(now)))?;
    Ok(())
}

pub(in crate::db) fn parcel(
    tx: &Transaction<'_>,
    account: AccountId,
    digest: Digest,
) -> Result<Option<u64>, Failure> {
    let size = tx
        .prepare_cached("SELECT size FROM parcels WHERE account_id = ?1 AND digest = ?2")?
        .query_row((account.as_uuid().into_bytes(), digest.as_bytes()), |row| count(row, "size"))
        .optional()?;
    match size {
        Some(size) => Ok(Some(size)),
        None => registry::account_blob(tx, account, digest),
    }
}
