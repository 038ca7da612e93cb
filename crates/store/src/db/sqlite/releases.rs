//! SQL of releases and of what is served.

use gyre_model::{AppId, ChannelId, ReleaseId};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction};

use super::{
    Failure, apps,
    columns::{count, digest, id, int, maybe_ns, maybe_time, ns, settings, texts, time, words},
};
use crate::db::rows::{Activation, Listing, Page, Release, ReleaseState, Route};

words!(state_word, state: ReleaseState {
    Pending = "pending", Preparing = "preparing", Ready = "ready",
    Active = "active", Failed = "failed", Retired = "retired",
});

fn read_release(row: &Row<'_>) -> Result<Release, rusqlite::Error> {
    Ok(Release {
        id: id(row, "id")?,
        account: id(row, "account_id")?,
        app: id(row, "app_id")?,
        channel: id(row, "channel_id")?,
        revision: id(row, "revision_id")?,
        number: count(row, "number")?,
        variables_version: count(row, "variables_version")?,
        state: state(row, "state")?,
        reason: row.get("reason")?,
        created: time(row, "created")?,
        activated: maybe_time(row, "activated")?,
    })
}

pub(in crate::db) fn create(tx: &Transaction<'_>, mut r: Release) -> Result<Release, Failure> {
    let channel = apps::channel(tx, r.channel)?.ok_or(Failure::missing("channel"))?;
    if apps::by_id(tx, channel.app)?.is_none_or(|app| app.deleted.is_some()) {
        return Err(Failure::missing("app"));
    }
    if apps::revision(tx, r.revision)?.is_none_or(|revision| revision.app != channel.app) {
        return Err(Failure::missing("revision"));
    }
    let channel_id = r.channel.as_uuid().into_bytes();
    let last: i64 = tx
        .prepare_cached("SELECT coalesce(max(number), 0) FROM releases WHERE channel_id = ?1")?
        .query_row([channel_id], |row| row.get(0))?;
    r.number = last.unsigned_abs() + 1;
    tx.prepare_cached(
        "UPDATE releases SET state = 'retired', reason = ?2
         WHERE channel_id = ?1 AND state IN ('pending', 'preparing', 'ready')",
    )?
    .execute((channel_id, format!("overtaken by release {}", r.number)))?;
    tx.prepare_cached(
        "INSERT INTO releases (id, account_id, app_id, channel_id, revision_id, number,
            variables_version, state, reason, created, activated)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute((
        r.id.as_uuid().into_bytes(),
        r.account.as_uuid().into_bytes(),
        r.app.as_uuid().into_bytes(),
        channel_id,
        r.revision.as_uuid().into_bytes(),
        int(r.number),
        int(r.variables_version),
        state_word(r.state),
        &r.reason,
        ns(r.created),
        maybe_ns(r.activated),
    ))?;
    tx.prepare_cached("UPDATE channels SET desired_release = ?2, modified = ?3 WHERE id = ?1")?
        .execute((channel_id, r.id.as_uuid().into_bytes(), ns(r.created)))?;
    apps::touch(tx, r.app, r.created)?;
    Ok(r)
}

pub(in crate::db) fn by_id(
    tx: &Transaction<'_>,
    id: ReleaseId,
) -> Result<Option<Release>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM releases WHERE id = ?1")?
        .query_row([id.as_uuid().into_bytes()], read_release)
        .optional()?)
}

pub(in crate::db) fn list(
    tx: &Transaction<'_>,
    channel: ChannelId,
    page: Page,
) -> Result<Listing<Release>, Failure> {
    let channel = channel.as_uuid().into_bytes();
    let total: i64 = tx
        .prepare_cached("SELECT count(*) FROM releases WHERE channel_id = ?1")?
        .query_row([channel], |row| row.get(0))?;
    let items = tx
        .prepare_cached(
            "SELECT * FROM releases WHERE channel_id = ?1
             ORDER BY number DESC LIMIT ?2 OFFSET ?3",
        )?
        .query_map((channel, int(page.limit), int(page.offset)), read_release)?
        .collect::<Result<_, _>>()?;
    Ok(Listing { items, total: total.unsigned_abs() })
}

pub(in crate::db) fn list_of_app(
    tx: &Transaction<'_>,
    app: AppId,
    page: Page,
) -> Result<Listing<Release>, Failure> {
    let app = app.as_uuid().into_bytes();
    let total: i64 = tx
        .prepare_cached("SELECT count(*) FROM releases WHERE app_id = ?1")?
        .query_row([app], |row| row.get(0))?;
    let items = tx
        .prepare_cached(
            "SELECT * FROM releases WHERE app_id = ?1
             ORDER BY created DESC, id DESC LIMIT ?2 OFFSET ?3",
        )?
        .query_map((app, int(page.limit), int(page.offset)), read_release)?
        .collect::<Result<_, _>>()?;
    Ok(Listing { items, total: total.unsigned_abs() })
}

pub(in crate::db) fn before(
    tx: &Transaction<'_>,
    channel: ChannelId,
    active: ReleaseId,
) -> Result<Option<Release>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT * FROM releases
             WHERE channel_id = ?1 AND activated IS NOT NULL
               AND number < (SELECT number FROM releases WHERE id = ?2)
             ORDER BY number DESC LIMIT 1",
        )?
        .query_row((channel.as_uuid().into_bytes(), active.as_uuid().into_bytes()), read_release)
        .optional()?)
}

pub(in crate::db) fn set_state(
    tx: &Transaction<'_>,
    id: ReleaseId,
    to: ReleaseState,
    reason: Option<String>,
    now: Timestamp,
) -> Result<bool, Failure> {
    let bytes = id.as_uuid().into_bytes();
    let changed = tx
        .prepare_cached(
            "UPDATE releases SET state = ?2, reason = ?3
             WHERE id = ?1 AND state IN ('pending', 'preparing', 'ready')",
        )?
        .execute((bytes, state_word(to), reason))?;
    if changed > 0 && !to.is_unfinished() {
        tx.prepare_cached(
            "UPDATE channels SET desired_release = active_release, modified = ?2
             WHERE desired_release = ?1",
        )?
        .execute((bytes, ns(now)))?;
    }
    Ok(changed > 0)
}

pub(in crate::db) fn activate(
    tx: &Transaction<'_>,
    id: ReleaseId,
    now: Timestamp,
) -> Result<Activation, Failure> {
    let release = by_id(tx, id)?.ok_or(Failure::missing("release"))?;
    let channel = apps::channel(tx, release.channel)?.ok_or(Failure::missing("channel"))?;
    let is_gone = apps::by_id(tx, release.app)?.is_none_or(|app| app.deleted.is_some());
    if is_gone || !release.state.is_unfinished() || channel.desired_release != Some(id) {
        return Ok(Activation::Overtaken);
    }
    let previous = channel.active_release;
    if let Some(previous) = previous {
        tx.prepare_cached("UPDATE releases SET state = 'retired' WHERE id = ?1")?
            .execute([previous.as_uuid().into_bytes()])?;
    }
    let bytes = id.as_uuid().into_bytes();
    tx.prepare_cached(
        "UPDATE releases SET state = 'active', reason = NULL, activated = ?2 WHERE id = ?1",
    )?
    .execute((bytes, ns(now)))?;
    tx.prepare_cached("UPDATE channels SET active_release = ?2, modified = ?3 WHERE id = ?1")?
        .execute((channel.id.as_uuid().into_bytes(), bytes, ns(now)))?;
    apps::touch(tx, release.app, now)?;
    Ok(Activation::Active { previous })
}

pub(in crate::db) fn unfinished(tx: &Transaction<'_>) -> Result<Vec<Release>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT * FROM releases WHERE state IN ('pending', 'preparing', 'ready')
             ORDER BY created, id",
        )?
        .query_map([], read_release)?
        .collect::<Result<_, _>>()?)
}

pub(in crate::db) fn routes(tx: &Transaction<'_>) -> Result<Vec<Route>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT a.id AS account, a.name AS account_name, p.id AS app, p.name AS app_name,
                p.host_label, c.id AS channel, c.name AS channel_name, r.id AS release, r.number,
                r.variables_version, v.id AS revision, v.digest, v.version, v.settings, v.triggers,
                coalesce(r.activated, r.created) AS activated
             FROM channels c
             JOIN apps p ON p.id = c.app_id
             JOIN accounts a ON a.id = p.account_id
             JOIN releases r ON r.id = c.active_release
             JOIN revisions v ON v.id = r.revision_id
             WHERE c.active_release IS NOT NULL AND p.deleted IS NULL
             ORDER BY p.id, c.name",
        )?
        .query_map([], |row| {
            Ok(Route {
                account: id(row, "account")?,
                account_name: row.get("account_name")?,
                app: id(row, "app")?,
                app_name: row.get("app_name")?,
                host_label: row.get("host_label")?,
                channel: id(row, "channel")?,
                channel_name: row.get("channel_name")?,
                release: id(row, "release")?,
                release_number: count(row, "number")?,
                variables_version: count(row, "variables_version")?,
                revision: id(row, "revision")?,
                digest: digest(row, "digest")?,
                version: row.get("version")?,
                settings: settings(row, "settings")?,
                triggers: texts(row, "triggers")?,
                activated: time(row, "activated")?,
            })
        })?
        .collect::<Result<_, _>>()?)
}
