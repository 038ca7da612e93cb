//! The domain: who may do what to which app, and what happens then.
//!
//! Functions take an [`Actor`] and know neither HTTP nor SQL. What is not the actor's does not exist for them. What a
//! node must do is behind the [`ports`].

mod accounts;
mod activation;
mod apps;
pub mod bindles;
mod config;
mod data;
mod error;
mod locks;
mod login;
mod logs;
mod names;
pub mod ports;
pub mod registry;
mod releases;
mod revisions;
mod routes;
mod throttle;
mod token;
mod variables;
mod view;

use std::{net::IpAddr, sync::Arc};

use gyre_model::AccountId;
use gyre_store::{AppLogs, Blobs, Db, DbError, Keyring};
use gyre_telemetry::Clock;

pub use accounts::Actor;
pub use apps::{AppPage, AppRef};
pub use config::{BindlePolicy, ControlConfig, Trust};
pub use error::{Error, ErrorKind, Result};
pub use login::{DeviceLogin, PendingLogin, Session};
pub use logs::{LogFollower, LogQuery};
pub use ports::{
    ActivationError, Activator, GuestData, GuestDataError, ReleaseSpec, RouteEntry, RoutePublisher,
    StoreAddress,
};
pub use releases::Releases;
pub use revisions::{NewRelease, Source};
pub use view::{AppView, ReleaseView, RevisionView};

/// The rows that control's functions return as they are.
pub mod rows {
    pub use gyre_store::{
        Account, App, Channel, Link, ReleaseState, Revision, Store, StoreKind, StoredLog, Token,
        TokenKind,
    };
}

use activation::Activations;
use locks::AppLocks;
use routes::RouteTable;
use throttle::Throttle;

/// The channel that exists from an app's beginning on, and that is meant where none is named.
pub const DEFAULT_CHANNEL: &str = "production";

/// What control is made of.
pub struct Parts {
    /// The platform's rows.
    pub db: Db,
    /// The content.
    pub blobs: Blobs,
    /// What secrets are sealed with.
    pub keyring: Arc<Keyring>,
    /// What guests print.
    pub logs: AppLogs,
    /// The time of day.
    pub clock: Clock,
    /// Who runs releases.
    pub activator: Arc<dyn Activator>,
    /// Who routes to them.
    pub publisher: Arc<dyn RoutePublisher>,
    /// The door to the guests' data.
    pub data: Arc<dyn GuestData>,
    /// How the platform is called and reached.
    pub config: ControlConfig,
}

/// The domain. One for a process.
pub struct Control {
    db: Db,
    blobs: Blobs,
    keyring: Arc<Keyring>,
    logs: AppLogs,
    clock: Clock,
    activator: Arc<dyn Activator>,
    publisher: Arc<dyn RoutePublisher>,
    data: Arc<dyn GuestData>,
    config: ControlConfig,
    releases: Releases,
    routes: RouteTable,
    activations: Activations,
    locks: AppLocks,
    throttles: Throttles,
}

/// How often may be tried what guessers try.
struct Throttles {
    /// Beginning a device login.
    codes: Throttle<IpAddr>,
    /// Signing in to the pages.
    sign_ins: Throttle<IpAddr>,
    /// Trying user codes: by who tries, by where from, and in all.
    guesses_by_account: Throttle<AccountId>,
    guesses_by_network: Throttle<IpAddr>,
    guesses: Throttle<()>,
}

impl Control {
    /// Puts the parts together. Does nothing yet: see [`Control::bootstrap`] and [`Control::start`].
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { db, blobs, keyring, logs, clock, activator, publisher, data, config } = parts;
        Arc::new(Self {
            releases: Releases::new(db.clone(), keyring.clone(), config.clone()),
            db,
            blobs,
            keyring,
            logs,
            clock,
            activator,
            publisher,
            data,
            config,
            routes: RouteTable::default(),
            activations: Activations::default(),
            locks: AppLocks::default(),
            throttles: Throttles {
                codes: Throttle::new(30, 10),
                sign_ins: Throttle::new(20, 20),
                guesses_by_account: Throttle::new(10, 10),
                guesses_by_network: Throttle::new(10, 10),
                guesses: Throttle::new(100, 100),
            },
        })
    }

    /// Names, scheme and port.
    pub fn config(&self) -> &ControlConfig {
        &self.config
    }

    /// The time of day, as everything here sees it.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether the platform's rows can be read and written: what a health check asks.
    pub async fn check(&self) -> Result<()> {
        Ok(self.db.check().await?)
    }
}

impl From<DbError> for Error {
    fn from(error: DbError) -> Self {
        let (kind, code, message) = match &error {
            DbError::Taken { what } => {
                (ErrorKind::Conflict, "taken", format!("the {what} is taken"))
            }
            DbError::Missing { what } => return Self::not_found(what),
            DbError::Full => {
                (ErrorKind::StorageFull, "storage.full", "the server's disk is full".to_owned())
            }
            DbError::Locked | DbError::Unavailable(_) | DbError::Closed => (
                ErrorKind::Unavailable,
                "database.unavailable",
                "the server cannot reach its database now".to_owned(),
            ),
            _ => return Self::internal(error),
        };
        let retry_after =
            (kind == ErrorKind::Unavailable).then_some(std::time::Duration::from_secs(1));
        Self { source: Some(Box::new(error)), retry_after, ..Self::new(kind, code, message) }
    }
}
