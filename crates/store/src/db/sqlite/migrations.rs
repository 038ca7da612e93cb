//! Brings a database's schema up to date, one migration per transaction.
//!
//! What was applied is recorded with its checksum: a migration is never changed after a release.

use gyre_model::Digest;
use rusqlite::{Connection, TransactionBehavior};

use super::Failure;
use crate::DbError;

/// All migrations in order; the first is version 1.
const MIGRATIONS: [(&str, &str); 3] = [
    ("initial", include_str!("../../../../../migrations/sqlite/0001_initial.sql")),
    ("triggers", include_str!("../../../../../migrations/sqlite/0002_triggers.sql")),
    ("bindle", include_str!("../../../../../migrations/sqlite/0003_bindle.sql")),
];

pub(super) fn apply(connection: &mut Connection) -> Result<(), DbError> {
    apply_all(connection, &MIGRATIONS)
}

fn apply_all(connection: &mut Connection, migrations: &[(&str, &str)]) -> Result<(), DbError> {
    let known = migrations.len() as u32;
    let mut run = || -> Result<(), Failure> {
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL
            ) STRICT",
        )?;
        let found = newest(connection)?;
        if found > known {
            return Err(DbError::Newer { found, known }.into());
        }
        for (version, (name, sql)) in (1..).zip(migrations) {
            let checksum = Digest::of(sql).to_string();
            // Immediate, then looked at: two nodes may start on one file.
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let applied: Option<String> = tx
                .prepare("SELECT checksum FROM schema_migrations WHERE version = ?1")?
                .query_map([version], |row| row.get(0))?
                .next()
                .transpose()?;
            match applied {
                Some(applied) if applied == checksum => continue,
                Some(_) => return Err(DbError::Diverged { version }.into()),
                None => {}
            }
            tx.execute_batch(sql)?;
            tx.execute(
                "INSERT INTO schema_migrations (version, name, checksum) VALUES (?1, ?2, ?3)",
                (version, name, checksum),
            )?;
            tx.commit()?;
            tracing::info!(version, name, "migrated the database");
        }
        Ok(())
    };
    run().map_err(DbError::from)
}

fn newest(connection: &Connection) -> Result<u32, rusqlite::Error> {
    connection
        .query_row("SELECT coalesce(max(version), 0) FROM schema_migrations", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: (&str, &str) = ("a", "CREATE TABLE a (x)");
    const B: (&str, &str) = ("b", "ALTER TABLE a ADD COLUMN y");

    #[test]
    fn migrations_are_applied_once_and_in_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        apply_all(&mut connection, &[A]).unwrap();
        apply_all(&mut connection, &[A, B]).unwrap();
        apply_all(&mut connection, &[A, B]).unwrap();
        connection.execute("INSERT INTO a (x, y) VALUES (1, 2)", []).unwrap();
    }

    #[test]
    fn a_database_of_a_newer_version_is_refused_and_untouched() {
        let mut connection = Connection::open_in_memory().unwrap();
        apply_all(&mut connection, &[A, B]).unwrap();
        let error = apply_all(&mut connection, &[A]).unwrap_err();
        assert!(matches!(error, DbError::Newer { found: 2, known: 1 }));
    }

    #[test]
    fn a_migration_that_was_changed_later_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        apply_all(&mut connection, &[A]).unwrap();
        let error = apply_all(&mut connection, &[("a", "CREATE TABLE a (z)")]).unwrap_err();
        assert!(matches!(error, DbError::Diverged { version: 1 }));
    }

    #[test]
    fn a_migration_that_fails_leaves_nothing_behind() {
        let mut connection = Connection::open_in_memory().unwrap();
        let broken = ("b", "CREATE TABLE b (x); CREATE TABLE b (x)");
        apply_all(&mut connection, &[A, broken]).unwrap_err();
        assert_eq!(newest(&connection).unwrap(), 1);
        apply_all(&mut connection, &[A, ("b", "CREATE TABLE b (x)")]).unwrap();
    }
}
