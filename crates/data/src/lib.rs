//! Guests' data: key-value stores and SQLite databases.
//!
//! Both are SQLite files in Spin's formats, one file per store or database, opened when first used and closed
//! when many others are used more; or they are on a server: see [`KeyValueStore`] and [`Database`]. Two rules hold everywhere in this crate. What was acknowledged is on disk:
//! a write's future ends after the commit that was made durable. And no call made from async code holds its
//! thread for long: short reads run in place under a step budget, everything else on one small pool of threads.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use gyre_data::{Databases, KeyValueStores, Location, Value};
//! use gyre_model::Limits;
//!
//! let limits = Limits::server();
//! let stores = KeyValueStores::new();
//! let store = stores.open(&Location::file("kv.db"), "default", (&limits).into());
//! store.set("greeting", b"hello".to_vec()).await?;
//! assert_eq!(store.get("greeting").await?.as_deref(), Some(&b"hello"[..]));
//!
//! let databases = Databases::new();
//! let database = databases.open(&Location::file("app.db"), (&limits).into());
//! let mut connection = database.connect();
//! let result = connection.execute("SELECT ?1 + 1", vec![Value::Integer(41)]).await?;
//! assert_eq!(result.rows, [[Value::Integer(42)]]);
//! # Ok(())
//! # }
//! ```

mod database;
mod error;
mod folder;
mod http;
mod key_value;
mod limits;
mod open_files;
mod pool;

use std::path::PathBuf;

pub use database::{Database, DatabaseConnection, Databases, QueryResult, RowStream, Value};
pub use error::{DatabaseError, KeyValueError};
pub use key_value::{CosmosSettings, DynamoSettings, KeyValueStore, KeyValueStores};
pub use limits::{DatabaseLimits, KeyValueLimits};

/// Where a store or database is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// A file. It and its folder are made by the first write.
    File(PathBuf),
    /// Nowhere: gone with the last handle.
    Memory,
}

impl Location {
    /// The file at `path`.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }
}
