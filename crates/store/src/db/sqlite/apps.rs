//! SQL of apps, revisions and channels.

use gyre_model::{AccountId, AppId, ChannelId, Digest, RevisionId};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction};

use super::{
    Failure,
    columns::{
        count, digest, id, int, invalid, maybe_id, maybe_ns, maybe_time, ns, settings, texts, time,
    },
};
use crate::db::rows::{App, AppState, Channel, Listing, Page, Revision};

fn app(row: &Row<'_>) -> Result<App, rusqlite::Error> {
    Ok(App {
        id: id(row, "id")?,
        account: id(row, "account_id")?,
        name: row.get("name")?,
        storage_id: row.get("storage_id")?,
        description: row.get("description")?,
        host_label: row.get("host_label")?,
        variables_version: count(row, "variables_version")?,
        created: time(row, "created")?,
        modified: time(row, "modified")?,
        deleted: maybe_time(row, "deleted")?,
    })
}

fn read_revision(row: &Row<'_>) -> Result<Revision, rusqlite::Error> {
    Ok(Revision {
        id: id(row, "id")?,
        account: id(row, "account_id")?,
        app: id(row, "app_id")?,
        digest: digest(row, "digest")?,
        version: row.get("version")?,
        manifest: row.get("manifest")?,
        settings: settings(row, "settings")?,
        triggers: texts(row, "triggers")?,
        created: time(row, "created")?,
    })
}

fn read_channel(row: &Row<'_>) -> Result<Channel, rusqlite::Error> {
    Ok(Channel {
        id: id(row, "id")?,
        account: id(row, "account_id")?,
        app: id(row, "app_id")?,
        name: row.get("name")?,
        desired_release: maybe_id(row, "desired_release")?,
        active_release: maybe_id(row, "active_release")?,
        created: time(row, "created")?,
        modified: time(row, "modified")?,
    })
}

pub(in crate::db) fn create(
    tx: &Transaction<'_>,
    a: App,
    channels: Vec<Channel>,
) -> Result<(), Failure> {
    tx.prepare_cached(
        "INSERT INTO apps (id, account_id, name, storage_id, description, host_label,
            variables_version, created, modified, deleted)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute((
        a.id.as_uuid().into_bytes(),
        a.account.as_uuid().into_bytes(),
        a.name,
        a.storage_id,
        a.description,
        a.host_label,
        int(a.variables_version),
        ns(a.created),
        ns(a.modified),
        maybe_ns(a.deleted),
    ))?;
    for channel in channels {
        create_channel(tx, channel)?;
    }
    Ok(())
}

pub(in crate::db) fn by_id(tx: &Transaction<'_>, id: AppId) -> Result<Option<App>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM apps WHERE id = ?1")?
        .query_row([id.as_uuid().into_bytes()], app)
        .optional()?)
}

pub(in crate::db) fn by_name(
    tx: &Transaction<'_>,
    account: AccountId,
    name: String,
) -> Result<Option<App>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT * FROM apps WHERE account_id = ?1 AND name = ?2 AND deleted IS NULL",
        )?
        .query_row((account.as_uuid().into_bytes(), name), app)
        .optional()?)
}

pub(in crate::db) fn by_storage_id(
    tx: &Transaction<'_>,
    account: AccountId,
    storage_id: String,
) -> Result<Option<App>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT * FROM apps WHERE account_id = ?1 AND storage_id = ?2 AND deleted IS NULL",
        )?
        .query_row((account.as_uuid().into_bytes(), storage_id), app)
        .optional()?)
}

pub(in crate::db) fn by_host_label(
    tx: &Transaction<'_>,
    label: String,
) -> Result<Option<App>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM apps WHERE host_label = ?1")?
        .query_row([label], app)
        .optional()?)
}

pub(in crate::db) fn list(
    tx: &Transaction<'_>,
    account: Option<AccountId>,
    search: Option<String>,
    page: Page,
) -> Result<Listing<AppState>, Failure> {
    let account = account.map(|id| id.as_uuid().into_bytes());
    // A macro, since SQLite's planner is served best by plain text and both statements need the same.
    macro_rules! wanted {
        () => {
            "FROM apps WHERE deleted IS NULL AND (?1 IS NULL OR account_id = ?1)
             AND (?2 IS NULL OR instr(name, ?2) > 0)"
        };
    }
    let total: i64 = tx
        .prepare_cached(concat!("SELECT count(*) ", wanted!()))?
        .query_row((&account, &search), |row| row.get(0))?;
    let apps: Vec<App> = tx
        .prepare_cached(concat!("SELECT * ", wanted!(), " ORDER BY name, id LIMIT ?3 OFFSET ?4"))?
        .query_map((&account, &search, int(page.limit), int(page.offset)), app)?
        .collect::<Result<_, _>>()?;
    let items = apps.into_iter().map(|app| with_state(tx, app)).collect::<Result<_, _>>()?;
    Ok(Listing { items, total: total.unsigned_abs() })
}

pub(in crate::db) fn state(tx: &Transaction<'_>, id: AppId) -> Result<Option<AppState>, Failure> {
    by_id(tx, id)?.map(|app| with_state(tx, app)).transpose()
}

fn with_state(tx: &Transaction<'_>, app: App) -> Result<AppState, Failure> {
    let channels = channels(tx, app.id)?;
    let latest_version = tx
        .prepare_cached(
            "SELECT version FROM revisions WHERE app_id = ?1 ORDER BY created DESC, id DESC LIMIT 1",
        )?
        .query_row([app.id.as_uuid().into_bytes()], |row| row.get(0))
        .optional()?;
    Ok(AppState { app, channels, latest_version })
}

pub(in crate::db) fn delete(
    tx: &Transaction<'_>,
    id: AppId,
    now: Timestamp,
) -> Result<bool, Failure> {
    let deleted = tx
        .prepare_cached(
            "UPDATE apps SET deleted = ?2, modified = ?2 WHERE id = ?1 AND deleted IS NULL",
        )?
        .execute((id.as_uuid().into_bytes(), ns(now)))?;
    tx.prepare_cached(
        "UPDATE releases SET state = 'retired', reason = 'the app was deleted'
         WHERE app_id = ?1 AND state IN ('pending', 'preparing', 'ready')",
    )?
    .execute([id.as_uuid().into_bytes()])?;
    Ok(deleted > 0)
}

pub(in crate::db) fn create_revision(
    tx: &Transaction<'_>,
    r: Revision,
) -> Result<(Revision, bool), Failure> {
    let triggers = serde_json::to_string(&r.triggers).map_err(|error| invalid(error.into()))?;
    if let Some(mut there) = revision_by_digest(tx, r.app, r.digest)? {
        // They follow from the digest; a row of before they were kept may have others.
        if there.triggers != r.triggers {
            tx.prepare_cached("UPDATE revisions SET triggers = ?2 WHERE id = ?1")?
                .execute((there.id.as_uuid().into_bytes(), triggers))?;
            there.triggers = r.triggers;
        }
        return Ok((there, false));
    }
    if by_id(tx, r.app)?.is_none_or(|app| app.deleted.is_some()) {
        return Err(Failure::missing("app"));
    }
    let settings = serde_json::to_string(&r.settings).map_err(|error| invalid(error.into()))?;
    tx.prepare_cached(
        "INSERT INTO revisions (id, account_id, app_id, digest, version, manifest, settings, triggers, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute((
        r.id.as_uuid().into_bytes(),
        r.account.as_uuid().into_bytes(),
        r.app.as_uuid().into_bytes(),
        r.digest.as_bytes(),
        &r.version,
        &r.manifest,
        settings,
        triggers,
        ns(r.created),
    ))?;
    touch(tx, r.app, r.created)?;
    Ok((r, true))
}

/// Notes that something of the app has changed.
pub(super) fn touch(tx: &Transaction<'_>, app: AppId, now: Timestamp) -> Result<(), Failure> {
    tx.prepare_cached("UPDATE apps SET modified = max(modified, ?2) WHERE id = ?1")?
        .execute((app.as_uuid().into_bytes(), ns(now)))?;
    Ok(())
}

pub(in crate::db) fn revision(
    tx: &Transaction<'_>,
    id: RevisionId,
) -> Result<Option<Revision>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM revisions WHERE id = ?1")?
        .query_row([id.as_uuid().into_bytes()], read_revision)
        .optional()?)
}

pub(in crate::db) fn revision_by_digest(
    tx: &Transaction<'_>,
    app: AppId,
    digest: Digest,
) -> Result<Option<Revision>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM revisions WHERE app_id = ?1 AND digest = ?2")?
        .query_row((app.as_uuid().into_bytes(), digest.as_bytes()), read_revision)
        .optional()?)
}

pub(in crate::db) fn revision_by_version(
    tx: &Transaction<'_>,
    app: AppId,
    version: String,
) -> Result<Option<Revision>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT * FROM revisions WHERE app_id = ?1 AND version = ?2
             ORDER BY created DESC, id DESC LIMIT 1",
        )?
        .query_row((app.as_uuid().into_bytes(), version), read_revision)
        .optional()?)
}

pub(in crate::db) fn revisions(
    tx: &Transaction<'_>,
    app: AppId,
    page: Page,
) -> Result<Listing<Revision>, Failure> {
    let app = app.as_uuid().into_bytes();
    let total: i64 = tx
        .prepare_cached("SELECT count(*) FROM revisions WHERE app_id = ?1")?
        .query_row([app], |row| row.get(0))?;
    let items = tx
        .prepare_cached(
            "SELECT * FROM revisions WHERE app_id = ?1
             ORDER BY created DESC, id DESC LIMIT ?2 OFFSET ?3",
        )?
        .query_map((app, int(page.limit), int(page.offset)), read_revision)?
        .collect::<Result<_, _>>()?;
    Ok(Listing { items, total: total.unsigned_abs() })
}

pub(in crate::db) fn create_channel(tx: &Transaction<'_>, c: Channel) -> Result<(), Failure> {
    tx.prepare_cached(
        "INSERT INTO channels
            (id, account_id, app_id, name, desired_release, active_release, created, modified)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute((
        c.id.as_uuid().into_bytes(),
        c.account.as_uuid().into_bytes(),
        c.app.as_uuid().into_bytes(),
        c.name,
        c.desired_release.map(|id| id.as_uuid().into_bytes()),
        c.active_release.map(|id| id.as_uuid().into_bytes()),
        ns(c.created),
        ns(c.modified),
    ))?;
    Ok(())
}

pub(in crate::db) fn channel(
    tx: &Transaction<'_>,
    id: ChannelId,
) -> Result<Option<Channel>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM channels WHERE id = ?1")?
        .query_row([id.as_uuid().into_bytes()], read_channel)
        .optional()?)
}

pub(in crate::db) fn channel_by_name(
    tx: &Transaction<'_>,
    app: AppId,
    name: String,
) -> Result<Option<Channel>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM channels WHERE app_id = ?1 AND name = ?2")?
        .query_row((app.as_uuid().into_bytes(), name), read_channel)
        .optional()?)
}

pub(in crate::db) fn channels(tx: &Transaction<'_>, app: AppId) -> Result<Vec<Channel>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM channels WHERE app_id = ?1 ORDER BY name")?
        .query_map([app.as_uuid().into_bytes()], read_channel)?
        .collect::<Result<_, _>>()?)
}
