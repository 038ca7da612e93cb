//! Stores in SQLite: reads run where they are called, writes are queued.

use std::sync::Arc;

use rusqlite::OptionalExtension as _;
use tokio::sync::oneshot;

use super::{
    INLINE_BYTES, INLINE_ITEMS, Pairs,
    file::File,
    write::{Done, Op},
};
use crate::{KeyValueError, pool::Pool};

/// One store of a file, or in memory. Reads block for as long as SQLite takes for them: microseconds.
#[derive(Debug, Clone)]
pub(super) struct Local {
    file: Arc<File>,
    name: Arc<str>,
    result_bytes: usize,
}

impl Local {
    pub(super) fn new(file: Arc<File>, name: &str, result_bytes: usize) -> Self {
        Self { file, name: name.into(), result_bytes }
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        let value = self.file.read(|sql| {
            sql.prepare_cached("SELECT value FROM spin_key_value WHERE store = ?1 AND key = ?2")?
                .query_row([&*self.name, key], |row| row.get(0))
                .optional()
        })?;
        Ok(value.flatten())
    }

    pub(super) fn exists(&self, key: &str) -> Result<bool, KeyValueError> {
        let there = self.file.read(|sql| {
            sql.prepare_cached("SELECT 1 FROM spin_key_value WHERE store = ?1 AND key = ?2")?
                .exists([&*self.name, key])
        })?;
        Ok(there.unwrap_or(false))
    }

    pub(super) async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        if let Some(keys) = self.list(INLINE_ITEMS)? {
            return Ok(keys);
        }
        let this = self.clone();
        on_pool(move || this.list(usize::MAX).map(Option::unwrap_or_default)).await
    }

    fn list(&self, at_most: usize) -> Result<Option<Vec<String>>, KeyValueError> {
        let limit = self.result_bytes;
        let read = self.file.read(|sql| {
            let mut statement =
                sql.prepare_cached("SELECT key FROM spin_key_value WHERE store = ?1")?;
            let mut rows = statement.query([&*self.name])?;
            let (mut keys, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                if keys.len() == at_most {
                    return Ok(Ok(None));
                }
                let key: String = row.get(0)?;
                bytes += key.len();
                if bytes > limit {
                    return Ok(Err(KeyValueError::ResultTooLong { limit }));
                }
                keys.push(key);
            }
            Ok(Ok(Some(keys)))
        })?;
        read.unwrap_or(Ok(Some(Vec::new())))
    }

    pub(super) async fn get_many(
        &self,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, KeyValueError> {
        if keys.len() <= INLINE_ITEMS
            && let Some(pairs) = self.collect(&keys, INLINE_BYTES)?
        {
            return Ok(pairs);
        }
        let this = self.clone();
        on_pool(move || this.collect(&keys, usize::MAX).map(Option::unwrap_or_default)).await
    }

    fn collect(&self, keys: &[String], at_most: usize) -> Result<Option<Pairs>, KeyValueError> {
        let limit = self.result_bytes;
        let mut bytes = 0;
        let mut pairs = Vec::with_capacity(keys.len());
        for key in keys {
            let value = self.get(key)?;
            bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            if bytes > limit {
                return Err(KeyValueError::ResultTooLong { limit });
            }
            if bytes > at_most {
                return Ok(None);
            }
            pairs.push((key.clone(), value));
        }
        Ok(Some(pairs))
    }

    pub(super) async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), KeyValueError> {
        self.write(Op::Set(vec![(key.to_owned(), value)])).await.map(drop)
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), KeyValueError> {
        self.write(Op::Delete(vec![key.to_owned()])).await.map(drop)
    }

    pub(super) async fn set_many(
        &self,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<(), KeyValueError> {
        self.write(Op::Set(pairs)).await.map(drop)
    }

    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        self.write(Op::Delete(keys)).await.map(drop)
    }

    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, KeyValueError> {
        match self.write(Op::Increment { key: key.to_owned(), delta }).await? {
            Done::Number(sum) => Ok(sum),
            Done::Nothing | Done::Swapped(_) => Err(KeyValueError::Closed),
        }
    }

    pub(super) async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<bool, KeyValueError> {
        match self.write(Op::Swap { key: key.to_owned(), expected, new }).await? {
            Done::Swapped(swapped) => Ok(swapped),
            Done::Nothing | Done::Number(_) => Err(KeyValueError::Closed),
        }
    }

    async fn write(&self, op: Op) -> Result<Done, KeyValueError> {
        self.file.submit(self.name.clone(), op).await.map_err(|_| KeyValueError::Closed)?
    }
}

async fn on_pool<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, KeyValueError> + Send + 'static,
) -> Result<T, KeyValueError> {
    let (answer, result) = oneshot::channel();
    Pool::key_value().run(move || {
        let _ = answer.send(f());
    });
    result.await.map_err(|_| KeyValueError::Closed)?
}
