//! Writes: what is waiting, taken together into one transaction.
//!
//! An operation that fails for its own reasons (not a number, not as expected) has written nothing and does not
//! disturb the others. When SQLite refuses something, the batch is undone and each is tried alone.

use std::{collections::VecDeque, sync::Arc};

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};
use tokio::sync::oneshot;

use super::file::explain;
use crate::KeyValueError;

/// One transaction takes at most this many operations and about this many bytes.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 16 << 20;

pub(super) enum Op {
    Set(Vec<(String, Vec<u8>)>),
    Delete(Vec<String>),
    Increment { key: String, delta: i64 },
    Swap { key: String, expected: Option<Vec<u8>>, new: Vec<u8> },
}

pub(super) enum Done {
    Nothing,
    Number(i64),
    Swapped(bool),
}

pub(super) struct Waiting {
    pub(super) store: Arc<str>,
    pub(super) op: Op,
    pub(super) answer: oneshot::Sender<Result<Done, KeyValueError>>,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<Waiting>,
    /// Whether someone is on the way to take from it.
    pub(super) is_scheduled: bool,
}

impl Queue {
    pub(super) fn take_batch(&mut self) -> Vec<Waiting> {
        let mut bytes = 0;
        let mut count = 0;
        for waiting in self.waiting.iter().take(BATCH) {
            bytes += waiting.op.size();
            if count > 0 && bytes > BATCH_BYTES {
                break;
            }
            count += 1;
        }
        self.waiting.drain(..count).collect()
    }
}

impl Op {
    fn size(&self) -> usize {
        match self {
            Self::Set(pairs) => pairs.iter().map(|(key, value)| key.len() + value.len()).sum(),
            Self::Delete(keys) => keys.iter().map(String::len).sum(),
            Self::Increment { key, .. } => key.len(),
            Self::Swap { key, expected, new } => {
                key.len() + new.len() + expected.as_ref().map_or(0, Vec::len)
            }
        }
    }

    fn apply(
        &self,
        sql: &Connection,
        store: &str,
    ) -> Result<Result<Done, KeyValueError>, rusqlite::Error> {
        match self {
            Self::Set(pairs) => {
                for (key, value) in pairs {
                    set(sql, store, key, value)?;
                }
                Ok(Ok(Done::Nothing))
            }
            Self::Delete(keys) => {
                let mut delete =
                    sql.prepare_cached("DELETE FROM spin_key_value WHERE store = ?1 AND key = ?2")?;
                for key in keys {
                    delete.execute([store, key])?;
                }
                Ok(Ok(Done::Nothing))
            }
            Self::Increment { key, delta } => {
                let number = match value(sql, store, key)? {
                    None => 0,
                    Some(bytes) => match <[u8; 8]>::try_from(bytes.as_slice()) {
                        Ok(bytes) => i64::from_le_bytes(bytes),
                        Err(_) => {
                            return Ok(Err(KeyValueError::NotANumber { length: bytes.len() }));
                        }
                    },
                };
                let sum = number.wrapping_add(*delta);
                set(sql, store, key, &sum.to_le_bytes())?;
                Ok(Ok(Done::Number(sum)))
            }
            Self::Swap { key, expected, new } => {
                let is_as_expected = value(sql, store, key)? == *expected;
                if is_as_expected {
                    set(sql, store, key, new)?;
                }
                Ok(Ok(Done::Swapped(is_as_expected)))
            }
        }
    }
}

fn value(sql: &Connection, store: &str, key: &str) -> Result<Option<Vec<u8>>, rusqlite::Error> {
    sql.prepare_cached("SELECT value FROM spin_key_value WHERE store = ?1 AND key = ?2")?
        .query_row([store, key], |row| row.get(0))
        .optional()
}

fn set(sql: &Connection, store: &str, key: &str, value: &[u8]) -> Result<(), rusqlite::Error> {
    sql.prepare_cached(
        "INSERT INTO spin_key_value (store, key, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (store, key) DO UPDATE SET value = excluded.value",
    )?
    .execute((store, key, value))?;
    Ok(())
}

/// Runs a batch and answers it; returns whether the connection is still good.
pub(super) fn run_batch(sql: &mut Connection, batch: Vec<Waiting>) -> bool {
    match run_together(sql, &batch) {
        Ok(results) => {
            for (waiting, result) in batch.into_iter().zip(results) {
                let _ = waiting.answer.send(result);
            }
        }
        Err(error) if batch.len() == 1 => {
            for waiting in batch {
                let _ = waiting.answer.send(Err(explain(&error)));
            }
        }
        Err(_) => {
            for waiting in batch {
                let alone = run_together(sql, std::slice::from_ref(&waiting));
                let result = match alone {
                    Ok(mut results) => results.pop().unwrap_or(Err(KeyValueError::Closed)),
                    Err(error) => Err(explain(&error)),
                };
                let _ = waiting.answer.send(result);
            }
        }
    }
    sql.is_autocommit()
}

fn run_together(
    sql: &mut Connection,
    batch: &[Waiting],
) -> Result<Vec<Result<Done, KeyValueError>>, rusqlite::Error> {
    let tx = sql.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let results = batch
        .iter()
        .map(|waiting| waiting.op.apply(&tx, &waiting.store))
        .collect::<Result<_, _>>()?;
    tx.commit()?;
    Ok(results)
}
