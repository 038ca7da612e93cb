//! SQL of stores, databases and their links.

use gyre_model::{AccountId, AppId, StoreId};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction};

use super::{
    Failure, apps,
    columns::{id, ns, time, words},
};
use crate::db::rows::{Link, Store, StoreKind};

words!(kind_word, kind: StoreKind { KeyValue = "key_value", Database = "database" });

fn store(row: &Row<'_>) -> Result<Store, rusqlite::Error> {
    Ok(Store {
        id: id(row, "id")?,
        account: id(row, "account_id")?,
        kind: kind(row, "kind")?,
        name: row.get("name")?,
        created: time(row, "created")?,
    })
}

fn read_link(row: &Row<'_>) -> Result<Link, rusqlite::Error> {
    Ok(Link {
        app: id(row, "app_id")?,
        app_name: row.get("app_name")?,
        label: row.get("label")?,
        store: store(row)?,
    })
}

pub(in crate::db) fn create(tx: &Transaction<'_>, s: Store) -> Result<(), Failure> {
    tx.prepare_cached(
        "INSERT INTO stores (id, account_id, kind, name, created) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((
        s.id.as_uuid().into_bytes(),
        s.account.as_uuid().into_bytes(),
        kind_word(s.kind),
        s.name,
        ns(s.created),
    ))?;
    Ok(())
}

pub(in crate::db) fn by_name(
    tx: &Transaction<'_>,
    account: AccountId,
    kind: StoreKind,
    name: String,
) -> Result<Option<Store>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM stores WHERE account_id = ?1 AND kind = ?2 AND name = ?3")?
        .query_row((account.as_uuid().into_bytes(), kind_word(kind), name), store)
        .optional()?)
}

fn by_id(tx: &Transaction<'_>, id: StoreId) -> Result<Option<Store>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM stores WHERE id = ?1")?
        .query_row([id.as_uuid().into_bytes()], store)
        .optional()?)
}

pub(in crate::db) fn list(
    tx: &Transaction<'_>,
    account: AccountId,
    kind: StoreKind,
) -> Result<Vec<(Store, Vec<Link>)>, Failure> {
    let account = account.as_uuid().into_bytes();
    let stores: Vec<Store> = tx
        .prepare_cached("SELECT * FROM stores WHERE account_id = ?1 AND kind = ?2 ORDER BY name")?
        .query_map((account, kind_word(kind)), store)?
        .collect::<Result<_, _>>()?;
    let mut links_of = tx.prepare_cached(
        "SELECT s.*, l.app_id, l.label, p.name AS app_name FROM links l
         JOIN stores s ON s.id = l.store_id JOIN apps p ON p.id = l.app_id
         WHERE l.store_id = ?1 AND p.deleted IS NULL ORDER BY p.name, l.label",
    )?;
    stores
        .into_iter()
        .map(|store| {
            let links = links_of
                .query_map([store.id.as_uuid().into_bytes()], read_link)?
                .collect::<Result<_, _>>()?;
            Ok((store, links))
        })
        .collect()
}

pub(in crate::db) fn delete(tx: &Transaction<'_>, id: StoreId) -> Result<bool, Failure> {
    let removed = tx
        .prepare_cached("DELETE FROM stores WHERE id = ?1")?
        .execute([id.as_uuid().into_bytes()])?;
    Ok(removed > 0)
}

pub(in crate::db) fn rename(
    tx: &Transaction<'_>,
    id: StoreId,
    name: String,
) -> Result<bool, Failure> {
    let renamed = tx
        .prepare_cached("UPDATE stores SET name = ?2 WHERE id = ?1")?
        .execute((id.as_uuid().into_bytes(), name))?;
    Ok(renamed > 0)
}

pub(in crate::db) fn link(
    tx: &Transaction<'_>,
    app: AppId,
    label: String,
    store: StoreId,
    now: Timestamp,
) -> Result<(), Failure> {
    let app = apps::by_id(tx, app)?.ok_or(Failure::missing("app"))?;
    // One account's app never reaches another's data, whatever the caller checked.
    let store = by_id(tx, store)?.filter(|store| store.account == app.account);
    let store = store.ok_or(Failure::missing("store"))?;
    tx.prepare_cached(
        "INSERT INTO links (app_id, account_id, kind, label, store_id, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET store_id = excluded.store_id, created = excluded.created",
    )?
    .execute((
        app.id.as_uuid().into_bytes(),
        app.account.as_uuid().into_bytes(),
        kind_word(store.kind),
        label,
        store.id.as_uuid().into_bytes(),
        ns(now),
    ))?;
    apps::touch(tx, app.id, now)
}

pub(in crate::db) fn unlink(
    tx: &Transaction<'_>,
    app: AppId,
    kind: StoreKind,
    label: String,
) -> Result<bool, Failure> {
    let removed = tx
        .prepare_cached("DELETE FROM links WHERE app_id = ?1 AND kind = ?2 AND label = ?3")?
        .execute((app.as_uuid().into_bytes(), kind_word(kind), label))?;
    Ok(removed > 0)
}

pub(in crate::db) fn links(tx: &Transaction<'_>, app: AppId) -> Result<Vec<Link>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT s.*, l.app_id, l.label, p.name AS app_name FROM links l
             JOIN stores s ON s.id = l.store_id JOIN apps p ON p.id = l.app_id
             WHERE l.app_id = ?1 ORDER BY l.kind, l.label",
        )?
        .query_map([app.as_uuid().into_bytes()], read_link)?
        .collect::<Result<_, _>>()?)
}

pub(in crate::db) fn ensure_link(
    tx: &Transaction<'_>,
    app: AppId,
    kind: StoreKind,
    label: String,
    now: Timestamp,
) -> Result<Store, Failure> {
    let linked = tx
        .prepare_cached(
            "SELECT s.* FROM links l JOIN stores s ON s.id = l.store_id
             WHERE l.app_id = ?1 AND l.kind = ?2 AND l.label = ?3",
        )?
        .query_row((app.as_uuid().into_bytes(), kind_word(kind), &label), store)
        .optional()?;
    if let Some(linked) = linked {
        return Ok(linked);
    }
    let app = apps::by_id(tx, app)?.ok_or(Failure::missing("app"))?;
    // An app of that name may have been deleted and have left its data behind: that stays its own.
    let plain = format!("{}-{label}", app.name);
    let mut name = plain.clone();
    for n in 2.. {
        if by_name(tx, app.account, kind, name.clone())?.is_none() {
            break;
        }
        name = format!("{plain}-{n}");
    }
    let new = Store { id: StoreId::new(), account: app.account, kind, name, created: now };
    create(tx, new.clone())?;
    link(tx, app.id, label, new.id, now)?;
    Ok(new)
}
