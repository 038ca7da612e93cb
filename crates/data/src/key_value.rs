//! Key-value stores: Spin's `spin_key_value` table in a SQLite file, several stores to a file if need be.
//!
//! Reads run where they are called, on one of the file's reading connections. Writes of all guests of a file that
//! are under way at the same moment share one transaction and so one sync; each is answered after it.

mod file;
mod write;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use rusqlite::OptionalExtension as _;
use tokio::sync::oneshot;

use crate::{KeyValueError, KeyValueLimits, Location, open_files::OpenFiles, pool::Pool};
use file::File;
use write::{Done, Op};

/// A listing or many values are read in place up to this many; more, on the pool.
const INLINE_ITEMS: usize = 64;
/// Likewise, in bytes of values.
const INLINE_BYTES: usize = 256 << 10;

/// Keys with their values, if they have one.
type Pairs = Vec<(String, Option<Vec<u8>>)>;

/// The key-value stores that are open in this process. Cheap to clone.
#[derive(Clone)]
pub struct KeyValueStores(Arc<Inner>);

struct Inner {
    open_files: Arc<OpenFiles>,
    files: Mutex<HashMap<Location, Weak<File>>>,
}

impl fmt::Debug for KeyValueStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyValueStores")
    }
}

impl Default for KeyValueStores {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyValueStores {
    /// With nothing open.
    pub fn new() -> Self {
        Self::with_open_files(OpenFiles::shared().clone())
    }

    fn with_open_files(open_files: Arc<OpenFiles>) -> Self {
        Self(Arc::new(Inner { open_files, files: Mutex::default() }))
    }

    /// A handle of the store `name` in the file at `location`. Nothing is opened or made before it is used, so this
    /// never fails. Handles of one file share connections; each call for [`Location::Memory`] makes a store of
    /// its own. Where handles of one file differ in `store_bytes`, the newest counts.
    pub fn open(&self, location: &Location, name: &str, limits: KeyValueLimits) -> KeyValueStore {
        let mut files = self.0.files.lock().unwrap_or_else(PoisonError::into_inner);
        let known = files.get(location).and_then(Weak::upgrade);
        let file = known.filter(|file| !file.is_closed()).unwrap_or_else(|| {
            let file = File::new(location.clone(), self.0.open_files.clone());
            if *location != Location::Memory {
                if files.len() == files.capacity() {
                    files.retain(|_, file| file.strong_count() > 0);
                }
                files.insert(location.clone(), Arc::downgrade(&file));
            }
            file
        });
        file.set_quota(limits.store_bytes);
        KeyValueStore { file, name: name.into(), limits }
    }

    /// Ends what is under way, writes everything into the files proper and closes them. Handles that are still
    /// around fail with [`KeyValueError::Closed`] from then on.
    pub async fn close(&self) {
        let files: Vec<_> = {
            let mut files = self.0.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.drain().filter_map(|(_, file)| file.upgrade()).collect()
        };
        for file in files {
            let (done, wait) = oneshot::channel();
            Pool::key_value().run(move || {
                file.close();
                let _ = done.send(());
            });
            let _ = wait.await;
        }
    }
}

/// One key-value store. Cheap to clone. Its file stays open for as long as there is a handle: keep one. Reads block for as long as SQLite takes for them: microseconds.
#[derive(Debug, Clone)]
pub struct KeyValueStore {
    file: Arc<File>,
    name: Arc<str>,
    limits: KeyValueLimits,
}

impl KeyValueStore {
    /// The value of `key`.
    ///
    /// # Errors
    /// The file is damaged or cannot be read.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        let value = self.file.read(|sql| {
            sql.prepare_cached("SELECT value FROM spin_key_value WHERE store = ?1 AND key = ?2")?
                .query_row([&*self.name, key], |row| row.get(0))
                .optional()
        })?;
        Ok(value.flatten())
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// The file is damaged or cannot be read.
    pub fn exists(&self, key: &str) -> Result<bool, KeyValueError> {
        let there = self.file.read(|sql| {
            sql.prepare_cached("SELECT 1 FROM spin_key_value WHERE store = ?1 AND key = ?2")?
                .exists([&*self.name, key])
        })?;
        Ok(there.unwrap_or(false))
    }

    /// All keys, in no particular order.
    ///
    /// # Errors
    /// They are more than `result_bytes`; or the file is damaged or cannot be read.
    pub async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        if let Some(keys) = self.list(INLINE_ITEMS)? {
            return Ok(keys);
        }
        let this = self.clone();
        on_pool(move || this.list(usize::MAX).map(Option::unwrap_or_default)).await
    }

    /// All keys, unless there are more than `at_most`.
    fn list(&self, at_most: usize) -> Result<Option<Vec<String>>, KeyValueError> {
        let limit = self.limits.result_bytes;
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

    /// The values of `keys`, in their order; `None` for those that have none.
    ///
    /// # Errors
    /// They are more than `result_bytes`; or the file is damaged or cannot be read.
    pub async fn get_many(
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

    /// The values of `keys`, unless they are more than `at_most` bytes.
    fn collect(&self, keys: &[String], at_most: usize) -> Result<Option<Pairs>, KeyValueError> {
        let limit = self.limits.result_bytes;
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

    /// Sets `key`. Durable when it returns, as are all writes; a write whose future is dropped may happen or not.
    ///
    /// # Errors
    /// Key or value are too long, the store is full, or the file is damaged or cannot be written.
    pub async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), KeyValueError> {
        self.check(key, Some(&value))?;
        self.write(Op::Set(vec![(key.to_owned(), value)])).await.map(drop)
    }

    /// Removes `key`, if it is there.
    ///
    /// # Errors
    /// The file is damaged or cannot be written.
    pub async fn delete(&self, key: &str) -> Result<(), KeyValueError> {
        self.write(Op::Delete(vec![key.to_owned()])).await.map(drop)
    }

    /// Sets all or none. Of a key that comes twice, the last value counts.
    ///
    /// # Errors
    /// As [`KeyValueStore::set`].
    pub async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        for (key, value) in &pairs {
            self.check(key, Some(value))?;
        }
        self.write(Op::Set(pairs)).await.map(drop)
    }

    /// Removes all or none.
    ///
    /// # Errors
    /// The file is damaged or cannot be written.
    pub async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        self.write(Op::Delete(keys)).await.map(drop)
    }

    /// Adds `delta` to the 8-byte little-endian number at `key` (a missing one is 0), wrapping around; returns the
    /// sum.
    ///
    /// # Errors
    /// The value is not 8 bytes long; or as [`KeyValueStore::set`].
    pub async fn increment(&self, key: &str, delta: i64) -> Result<i64, KeyValueError> {
        self.check(key, None)?;
        match self.write(Op::Increment { key: key.to_owned(), delta }).await? {
            Done::Number(sum) => Ok(sum),
            Done::Nothing | Done::Swapped(_) => Err(KeyValueError::Closed),
        }
    }

    /// Sets `key` to `new` if its value is `expected` (`None`: if it has none); returns whether it did.
    ///
    /// # Errors
    /// As [`KeyValueStore::set`].
    pub async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<bool, KeyValueError> {
        self.check(key, Some(&new))?;
        match self.write(Op::Swap { key: key.to_owned(), expected, new }).await? {
            Done::Swapped(swapped) => Ok(swapped),
            Done::Nothing | Done::Number(_) => Err(KeyValueError::Closed),
        }
    }

    fn check(&self, key: &str, value: Option<&Vec<u8>>) -> Result<(), KeyValueError> {
        if let Some(limit) = self.limits.key_bytes.filter(|&limit| key.len() > limit) {
            return Err(KeyValueError::KeyTooLong { limit });
        }
        let length = value.map_or(0, Vec::len);
        if let Some(limit) = self.limits.value_bytes.filter(|&limit| length > limit) {
            return Err(KeyValueError::ValueTooLong { limit });
        }
        Ok(())
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

#[cfg(test)]
mod tests;
