//! Stores in Redis, as Spin keeps them: a key of the store is a key of the server's database.

use std::{collections::HashSet, fmt, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, aio::MultiplexedConnection, cmd,
};
use tokio::sync::Mutex;

use super::Pairs;
use crate::KeyValueError;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// Keys that one step of a listing asks for.
const SCAN: usize = 1_000;

/// Sets a key if its value is the expected one: the arguments are whether one is expected, that one, and the new one.
const SWAP: &str = "local now = redis.call('GET', KEYS[1])
if (ARGV[1] == '1' and now == ARGV[2]) or (ARGV[1] == '0' and not now) then
  redis.call('SET', KEYS[1], ARGV[3])
  return 1
end
return 0";

/// A store on a Redis server. One connection serves all, several requests at once.
pub(super) struct Redis {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
    result_bytes: usize,
}

impl fmt::Debug for Redis {
    /// Without the URL, which may have a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.client.get_connection_info().addr().to_string()).finish()
    }
}

impl Redis {
    pub(super) fn new(url: &str, result_bytes: usize) -> Result<Self, KeyValueError> {
        let client = Client::open(url).map_err(|error| explain(&error))?;
        Ok(Self { client, connection: Mutex::default(), result_bytes })
    }

    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let made = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        *connection = Some(made.clone());
        Ok(made)
    }

    async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, KeyValueError> {
        let result = match self.connection().await {
            Ok(mut connection) => command.query_async(&mut connection).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &result
            && (error.is_unrecoverable_error() || error.is_timeout())
        {
            *self.connection.lock().await = None;
        }
        result.map_err(|error| explain(&error))
    }

    fn check(&self, bytes: usize) -> Result<(), KeyValueError> {
        let limit = self.result_bytes;
        if bytes > limit { Err(KeyValueError::ResultTooLong { limit }) } else { Ok(()) }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        let value: Option<Vec<u8>> = self.run(cmd("GET").arg(key)).await?;
        self.check(value.as_ref().map_or(0, Vec::len))?;
        Ok(value)
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, KeyValueError> {
        self.run(cmd("EXISTS").arg(key)).await
    }

    pub(super) async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        // A key may come more than once.
        let (mut keys, mut bytes, mut cursor) = (HashSet::new(), 0, 0u64);
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("COUNT").arg(SCAN);
            let (next, some): (u64, Vec<String>) = self.run(&scan).await?;
            for key in some {
                let length = key.len();
                if keys.insert(key) {
                    bytes += length;
                    self.check(bytes)?;
                }
            }
            if next == 0 {
                return Ok(keys.into_iter().collect());
            }
            cursor = next;
        }
    }

    pub(super) async fn get_many(&self, keys: Vec<String>) -> Result<Pairs, KeyValueError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let values: Vec<Option<Vec<u8>>> = self.run(cmd("MGET").arg(&keys)).await?;
        let found = values.iter().flatten().map(Vec::len).sum::<usize>();
        self.check(keys.iter().map(String::len).sum::<usize>() + found)?;
        Ok(keys.into_iter().zip(values).collect())
    }

    pub(super) async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), KeyValueError> {
        self.run(cmd("SET").arg(key).arg(value)).await
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), KeyValueError> {
        self.run(cmd("DEL").arg(key)).await
    }

    pub(super) async fn set_many(
        &self,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<(), KeyValueError> {
        if pairs.is_empty() {
            return Ok(());
        }
        let mut command = cmd("MSET");
        for (key, value) in pairs {
            command.arg(key).arg(value);
        }
        self.run(&command).await
    }

    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.run(cmd("DEL").arg(keys)).await
    }

    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, KeyValueError> {
        self.run(cmd("INCRBY").arg(key).arg(delta)).await
    }

    pub(super) async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<bool, KeyValueError> {
        let mut command = cmd("EVAL");
        command.arg(SWAP).arg(1).arg(key);
        command.arg(i32::from(expected.is_some())).arg(expected.unwrap_or_default()).arg(new);
        self.run(&command).await
    }
}

fn explain(error: &RedisError) -> KeyValueError {
    KeyValueError::Other(error.to_string())
}
