//! Key-value stores: Spin's `spin_key_value` table in a SQLite file, several stores to a file if need be; or a server.
//!
//! What follows is true of SQLite. Reads run where they are called, on one of the file's reading connections. Writes of all guests of a file that
//! are under way at the same moment share one transaction and so one sync; each is answered after it.

mod cosmos;
mod dynamo;
mod file;
mod local;
mod redis;
mod write;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::oneshot;

use crate::{KeyValueError, KeyValueLimits, Location, open_files::OpenFiles, pool::Pool};
use cosmos::Cosmos;
use dynamo::Dynamo;
use file::File;
use local::Local;
use redis::Redis;

pub use cosmos::CosmosSettings;
pub use dynamo::DynamoSettings;

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
        KeyValueStore { engine: Engine::Local(Local::new(file, name, limits.result_bytes)), limits }
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

/// One key-value store. Cheap to clone. A file stays open for as long as there is a handle: keep one. A store in SQLite
/// is read when the future is polled first, without waiting.
#[derive(Debug, Clone)]
pub struct KeyValueStore {
    engine: Engine,
    limits: KeyValueLimits,
}

/// What keeps a store.
#[derive(Debug, Clone)]
enum Engine {
    Local(Local),
    Redis(Arc<Redis>),
    Dynamo(Arc<Dynamo>),
    Cosmos(Arc<Cosmos>),
}

/// Calls the function of whatever engine it is.
macro_rules! engine {
    ($self:ident, $it:ident => $call:expr, $local:expr) => {
        match &$self.engine {
            Engine::Local($it) => $local,
            Engine::Redis($it) => $call,
            Engine::Dynamo($it) => $call,
            Engine::Cosmos($it) => $call,
        }
    };
    ($self:ident, $it:ident => $call:expr) => {
        engine!($self, $it => $call, $call)
    };
}

impl KeyValueStore {
    /// All keys of the Redis database at `url` (`redis://`; TLS is not spoken). Connected to when first used, and again
    /// after a connection is lost.
    ///
    /// # Errors
    /// The URL is none of a Redis server, or asks for TLS.
    pub fn redis(url: &str, limits: KeyValueLimits) -> Result<Self, KeyValueError> {
        let redis = Redis::new(url, limits.result_bytes)?;
        Ok(Self { engine: Engine::Redis(Arc::new(redis)), limits })
    }

    /// All items of a DynamoDB table.
    ///
    /// # Errors
    /// The endpoint is not a URL of HTTP.
    pub fn dynamo(settings: DynamoSettings, limits: KeyValueLimits) -> Result<Self, KeyValueError> {
        let dynamo = Dynamo::new(settings, limits.result_bytes)?;
        Ok(Self { engine: Engine::Dynamo(Arc::new(dynamo)), limits })
    }

    /// All documents of a Cosmos DB container.
    ///
    /// # Errors
    /// The endpoint is not a URL of HTTP, or the key is malformed.
    pub fn cosmos(
        settings: &CosmosSettings,
        limits: KeyValueLimits,
    ) -> Result<Self, KeyValueError> {
        let cosmos = Cosmos::new(settings, limits.result_bytes)?;
        Ok(Self { engine: Engine::Cosmos(Arc::new(cosmos)), limits })
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// The file is damaged or cannot be read, or the server cannot be reached or refuses: as for all that follow.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        engine!(self, it => it.get(key).await, it.get(key))
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub async fn exists(&self, key: &str) -> Result<bool, KeyValueError> {
        engine!(self, it => it.exists(key).await, it.exists(key))
    }

    /// All keys, in no particular order.
    ///
    /// # Errors
    /// They are more than `result_bytes`; or as [`KeyValueStore::get`].
    pub async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        engine!(self, it => it.keys().await)
    }

    /// The values of `keys`, in their order; `None` for those that have none.
    ///
    /// # Errors
    /// They are more than `result_bytes`; or as [`KeyValueStore::get`].
    pub async fn get_many(
        &self,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, KeyValueError> {
        engine!(self, it => it.get_many(keys).await)
    }

    /// Sets `key`. Durable when it returns, as are all writes, as far as the engine is; a write whose future is dropped
    /// may happen or not.
    ///
    /// # Errors
    /// Key or value are too long, the store is full, or the file is damaged or cannot be written.
    pub async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), KeyValueError> {
        self.check(key, Some(&value))?;
        engine!(self, it => it.set(key, value).await)
    }

    /// Removes `key`, if it is there.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub async fn delete(&self, key: &str) -> Result<(), KeyValueError> {
        engine!(self, it => it.delete(key).await)
    }

    /// Sets all or none. In Cosmos DB, and beyond 100 keys or 3 MiB in DynamoDB, those before a failure stay set. Of a
    /// key that comes twice, the last value counts.
    ///
    /// # Errors
    /// As [`KeyValueStore::set`].
    pub async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        for (key, value) in &pairs {
            self.check(key, Some(value))?;
        }
        engine!(self, it => it.set_many(pairs).await)
    }

    /// Removes all or none, with the exceptions of [`KeyValueStore::set_many`].
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        engine!(self, it => it.delete_many(keys).await)
    }

    /// Adds `delta` to the number at `key` (a missing one is 0), wrapping around; returns the sum. In SQLite the number
    /// is 8 bytes, little-endian; in Redis and DynamoDB it is decimal text, in Cosmos DB a number that no other function
    /// wrote. Where the server adds (Redis, Cosmos DB), a sum beyond its range fails.
    ///
    /// # Errors
    /// The value is no number; or as [`KeyValueStore::set`].
    pub async fn increment(&self, key: &str, delta: i64) -> Result<i64, KeyValueError> {
        self.check(key, None)?;
        engine!(self, it => it.increment(key, delta).await)
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
        engine!(self, it => it.compare_and_swap(key, expected, new).await)
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
}

#[cfg(test)]
mod tests;
