//! SQL of the registry's index.

use gyre_model::{AccountId, Digest, RepositoryId};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction};

use super::{
    Failure,
    columns::{count, digest, id, int, ns, time},
};
use crate::db::rows::{ManifestRow, Page, Repository};

fn read_repository(row: &Row<'_>) -> Result<Repository, rusqlite::Error> {
    Ok(Repository {
        id: id(row, "id")?,
        account: id(row, "account_id")?,
        name: row.get("name")?,
        created: time(row, "created")?,
    })
}

fn read_manifest(row: &Row<'_>) -> Result<ManifestRow, rusqlite::Error> {
    Ok(ManifestRow {
        repository: id(row, "repository_id")?,
        account: id(row, "account_id")?,
        digest: digest(row, "digest")?,
        media_type: row.get("media_type")?,
        size: count(row, "size")?,
        created: time(row, "created")?,
    })
}

pub(in crate::db) fn ensure(
    tx: &Transaction<'_>,
    account: AccountId,
    name: String,
    now: Timestamp,
) -> Result<Repository, Failure> {
    if let Some(there) = by_name(tx, account, name.clone())? {
        return Ok(there);
    }
    let new = Repository { id: RepositoryId::new(), account, name, created: now };
    tx.prepare_cached(
        "INSERT INTO repositories (id, account_id, name, created) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((
        new.id.as_uuid().into_bytes(),
        account.as_uuid().into_bytes(),
        &new.name,
        ns(now),
    ))?;
    Ok(new)
}

pub(in crate::db) fn by_name(
    tx: &Transaction<'_>,
    account: AccountId,
    name: String,
) -> Result<Option<Repository>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM repositories WHERE account_id = ?1 AND name = ?2")?
        .query_row((account.as_uuid().into_bytes(), name), read_repository)
        .optional()?)
}

fn by_id(tx: &Transaction<'_>, id: RepositoryId) -> Result<Repository, Failure> {
    tx.prepare_cached("SELECT * FROM repositories WHERE id = ?1")?
        .query_row([id.as_uuid().into_bytes()], read_repository)
        .optional()?
        .ok_or(Failure::missing("repository"))
}

pub(in crate::db) fn list(
    tx: &Transaction<'_>,
    account: AccountId,
    page: Page,
) -> Result<Vec<Repository>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT * FROM repositories WHERE account_id = ?1 ORDER BY name LIMIT ?2 OFFSET ?3",
        )?
        .query_map(
            (account.as_uuid().into_bytes(), int(page.limit), int(page.offset)),
            read_repository,
        )?
        .collect::<Result<_, _>>()?)
}

pub(in crate::db) fn link_blob(
    tx: &Transaction<'_>,
    repository: RepositoryId,
    digest: Digest,
    size: u64,
    now: Timestamp,
) -> Result<(), Failure> {
    let account = by_id(tx, repository)?.account;
    tx.prepare_cached(
        "INSERT INTO repository_blobs (repository_id, account_id, digest, size, created)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    )?
    .execute((
        repository.as_uuid().into_bytes(),
        account.as_uuid().into_bytes(),
        digest.as_bytes(),
        int(size),
        ns(now),
    ))?;
    Ok(())
}

pub(in crate::db) fn blob(
    tx: &Transaction<'_>,
    repository: RepositoryId,
    digest: Digest,
) -> Result<Option<u64>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT size FROM repository_blobs WHERE repository_id = ?1 AND digest = ?2",
        )?
        .query_row((repository.as_uuid().into_bytes(), digest.as_bytes()), |row| count(row, "size"))
        .optional()?)
}

pub(in crate::db) fn account_blob(
    tx: &Transaction<'_>,
    account: AccountId,
    digest: Digest,
) -> Result<Option<u64>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT size FROM repository_blobs WHERE digest = ?2 AND account_id = ?1 LIMIT 1",
        )?
        .query_row((account.as_uuid().into_bytes(), digest.as_bytes()), |row| count(row, "size"))
        .optional()?)
}

pub(in crate::db) fn unlink_blob(
    tx: &Transaction<'_>,
    repository: RepositoryId,
    digest: Digest,
) -> Result<bool, Failure> {
    let removed = tx
        .prepare_cached(
            "DELETE FROM repository_blobs WHERE repository_id = ?1 AND digest = ?2
             AND NOT EXISTS (SELECT 1 FROM manifest_blobs
                WHERE repository_id = ?1 AND blob_digest = ?2)",
        )?
        .execute((repository.as_uuid().into_bytes(), digest.as_bytes()))?;
    Ok(removed > 0)
}

pub(in crate::db) fn put_manifest(
    tx: &Transaction<'_>,
    m: ManifestRow,
    blobs: Vec<Digest>,
    tag: Option<String>,
) -> Result<(), Failure> {
    let account = by_id(tx, m.repository)?.account.as_uuid().into_bytes();
    let repository = m.repository.as_uuid().into_bytes();
    tx.prepare_cached(
        "INSERT INTO manifests (repository_id, account_id, digest, media_type, size, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
    )?
    .execute((
        repository,
        account,
        m.digest.as_bytes(),
        m.media_type,
        int(m.size),
        ns(m.created),
    ))?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO manifest_blobs (repository_id, account_id, manifest_digest, blob_digest)
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    )?;
    for blob in blobs {
        insert.execute((repository, account, m.digest.as_bytes(), blob.as_bytes()))?;
    }
    if let Some(tag) = tag {
        tx.prepare_cached(
            "INSERT INTO tags (repository_id, account_id, name, digest, modified)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET digest = excluded.digest, modified = excluded.modified",
        )?
        .execute((repository, account, tag, m.digest.as_bytes(), ns(m.created)))?;
    }
    Ok(())
}

pub(in crate::db) fn manifest(
    tx: &Transaction<'_>,
    repository: RepositoryId,
    digest: Digest,
) -> Result<Option<ManifestRow>, Failure> {
    Ok(tx
        .prepare_cached("SELECT * FROM manifests WHERE repository_id = ?1 AND digest = ?2")?
        .query_row((repository.as_uuid().into_bytes(), digest.as_bytes()), read_manifest)
        .optional()?)
}

pub(in crate::db) fn tagged(
    tx: &Transaction<'_>,
    repository: RepositoryId,
    tag: String,
) -> Result<Option<ManifestRow>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT m.* FROM tags t
             JOIN manifests m ON m.repository_id = t.repository_id AND m.digest = t.digest
             WHERE t.repository_id = ?1 AND t.name = ?2",
        )?
        .query_row((repository.as_uuid().into_bytes(), tag), read_manifest)
        .optional()?)
}

pub(in crate::db) fn delete_manifest(
    tx: &Transaction<'_>,
    repository: RepositoryId,
    digest: Digest,
) -> Result<bool, Failure> {
    let removed = tx
        .prepare_cached("DELETE FROM manifests WHERE repository_id = ?1 AND digest = ?2")?
        .execute((repository.as_uuid().into_bytes(), digest.as_bytes()))?;
    Ok(removed > 0)
}

pub(in crate::db) fn delete_tag(
    tx: &Transaction<'_>,
    repository: RepositoryId,
    tag: String,
) -> Result<bool, Failure> {
    let removed = tx
        .prepare_cached("DELETE FROM tags WHERE repository_id = ?1 AND name = ?2")?
        .execute((repository.as_uuid().into_bytes(), tag))?;
    Ok(removed > 0)
}

pub(in crate::db) fn tags(
    tx: &Transaction<'_>,
    repository: RepositoryId,
    last: Option<String>,
    limit: u64,
) -> Result<Vec<String>, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT name FROM tags WHERE repository_id = ?1 AND (?2 IS NULL OR name > ?2)
             ORDER BY name LIMIT ?3",
        )?
        .query_map((repository.as_uuid().into_bytes(), last, int(limit)), |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

pub(in crate::db) fn is_used(tx: &Transaction<'_>, digest: Digest) -> Result<bool, Failure> {
    Ok(tx
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM repository_blobs WHERE digest = ?1)
                 OR EXISTS (SELECT 1 FROM manifests WHERE digest = ?1)
                 OR EXISTS (SELECT 1 FROM manifest_blobs WHERE blob_digest = ?1)
                 OR EXISTS (SELECT 1 FROM invoice_parcels WHERE digest = ?1)
                 OR EXISTS (SELECT 1 FROM parcels WHERE digest = ?1)
                 OR EXISTS (SELECT 1 FROM revisions WHERE digest = ?1)",
        )?
        .query_row([digest.as_bytes()], |row| row.get(0))?)
}
