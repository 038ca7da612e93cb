//! The platform's rows: one set of methods on nouns, whatever engine keeps them.
//!
//! Every method that writes is one transaction, and is durable when it returns. Dropping its future does not undo
//! or stop it. SQL stays in the engines' own folders; these methods only choose the engine.

mod accounts;
mod apps;
mod bindles;
mod logins;
mod registry;
mod releases;
pub(crate) mod rows;
#[allow(clippy::needless_pass_by_value, reason = "the methods of Db hand over what they own")]
mod sqlite;
mod stores;
mod variables;

use std::path::Path;

use sqlite::Sqlite;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a row could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A name, hash or code that has to be unique is taken.
    #[error("{what} is taken")]
    Taken {
        /// What: `account name`, `app name`, `host label`, `token`, `user code`, …
        what: &'static str,
    },
    /// Something that the row refers to, or the row itself, is not there.
    #[error("{what} does not exist")]
    Missing {
        /// What: `app`, `account`, `repository`, …
        what: &'static str,
    },
    /// The disk is full. Nothing was written.
    #[error("database or disk is full")]
    Full,
    /// Someone else holds the database for too long.
    #[error("database is locked by another program")]
    Locked,
    /// The file is damaged or no database.
    #[error("database is damaged")]
    Corrupt(#[source] BoxError),
    /// The database was made or changed by a newer version of Gyre.
    #[error("database has schema version {found}, this version of Gyre knows {known}")]
    Newer {
        /// The version of its schema.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// A migration differs from the one that was applied.
    #[error("migration {version} of the database is not the one of this version of Gyre")]
    Diverged {
        /// Which.
        version: u32,
    },
    /// The database cannot be opened or reached.
    #[error("database is not available")]
    Unavailable(#[source] BoxError),
    /// The database was closed.
    #[error("database is closed")]
    Closed,
    /// Anything else: a mistake of ours.
    #[error("database operation failed")]
    Other(#[source] BoxError),
}

/// The platform's rows. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Db {
    /// In a file of this machine.
    Sqlite(Sqlite),
}

impl Db {
    /// Opens the SQLite database at `path`, making it where it is not, and brings its schema up to date.
    ///
    /// # Errors
    /// It is locked, damaged, newer than this program, or cannot be made.
    pub async fn open_sqlite(path: &Path) -> Result<Self, DbError> {
        Sqlite::open(path).await.map(Self::Sqlite)
    }

    /// Ends what is under way, writes everything into the file proper and closes it. Later calls fail with
    /// [`DbError::Closed`].
    pub async fn close(&self) {
        match self {
            Self::Sqlite(db) => db.close().await,
        }
    }

    /// Asks the engine whether it can read and write: what a health check shows.
    pub async fn check(&self) -> Result<(), DbError> {
        match self {
            Self::Sqlite(db) => db.check().await,
        }
    }

    /// Writes a consistent copy of everything to a new file at `path` while others read and write.
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub async fn backup(&self, path: &Path) -> Result<(), DbError> {
        match self {
            Self::Sqlite(db) => db.backup(path).await,
        }
    }
}

/// `db_methods! { read|write name(arg: Type, …) -> Output = module::function; … }`: each is a method of [`Db`] that
/// takes owned arguments to the engine's function of that name.
macro_rules! db_methods {
    ($($(#[$doc:meta])* $mode:ident fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $out:ty = $module:ident::$function:ident;)*) => {
        impl super::Db {
            $($(#[$doc])*
            pub async fn $name(&self, $($arg: $type),*) -> Result<$out, super::DbError> {
                match self {
                    Self::Sqlite(db) => {
                        db.$mode(move |tx| super::sqlite::$module::$function(tx, $($arg),*)).await
                    }
                }
            })*
        }
    };
}
use db_methods;
