//! SQL of variables and their history.

use std::collections::BTreeMap;

use gyre_model::{AppId, ChannelId};
use jiff::Timestamp;
use rusqlite::{Row, Transaction};

use super::{
    Failure, apps,
    columns::{count, int, maybe_id, ns, time},
};
use crate::db::rows::{Variable, VariableChange};

fn variable(row: &Row<'_>) -> Result<Variable, rusqlite::Error> {
    Ok(Variable {
        name: row.get("name")?,
        channel: maybe_id(row, "channel_id")?,
        sealed: row.get("value")?,
        since: count(row, "since")?,
        changed: time(row, "changed")?,
    })
}

pub(in crate::db) fn change(
    tx: &Transaction<'_>,
    app: AppId,
    changes: Vec<VariableChange>,
    now: Timestamp,
) -> Result<u64, Failure> {
    let row = apps::by_id(tx, app)?.filter(|app| app.deleted.is_none());
    let row = row.ok_or(Failure::missing("app"))?;
    let version = row.variables_version + 1;
    let app_id = app.as_uuid().into_bytes();
    // The last word on a name counts, if it is said twice.
    let changes: BTreeMap<_, _> =
        changes.into_iter().map(|change| ((change.channel, change.name), change.sealed)).collect();
    for ((channel, name), sealed) in changes {
        let channel = channel.map(|id| id.as_uuid().into_bytes());
        tx.prepare_cached(
            "UPDATE variables SET until = ?4
             WHERE app_id = ?1 AND channel_id IS ?2 AND name = ?3 AND until IS NULL",
        )?
        .execute((app_id, channel, &name, int(version)))?;
        if let Some(sealed) = sealed {
            tx.prepare_cached(
                "INSERT INTO variables (account_id, app_id, channel_id, name, value, since, changed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((
                row.account.as_uuid().into_bytes(),
                app_id,
                channel,
                name,
                sealed,
                int(version),
                ns(now),
            ))?;
        }
    }
    tx.prepare_cached("UPDATE apps SET variables_version = ?2 WHERE id = ?1")?
        .execute((app_id, int(version)))?;
    apps::touch(tx, app, now)?;
    Ok(version)
}

pub(in crate::db) fn at(
    tx: &Transaction<'_>,
    app: AppId,
    channel: Option<ChannelId>,
    version: u64,
) -> Result<Vec<Variable>, Failure> {
    let channel = channel.map(|id| id.as_uuid().into_bytes());
    let rows: Vec<Variable> = tx
        .prepare_cached(
            "SELECT * FROM variables
             WHERE app_id = ?1 AND since <= ?3 AND (until IS NULL OR until > ?3)
               AND (channel_id IS NULL OR channel_id = ?2)
             ORDER BY name, channel_id IS NULL",
        )?
        .query_map((app.as_uuid().into_bytes(), channel, int(version)), variable)?
        .collect::<Result<_, _>>()?;
    let mut seen = rows;
    // A channel's own come first of their name.
    seen.dedup_by(|later, earlier| later.name == earlier.name);
    Ok(seen)
}
