//! What the platform's database promises, whatever engine keeps it: each test is written once and run for each
//! engine. An engine is a way to open a database of the test's own.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, and its helpers, may")]

use std::path::PathBuf;

use gyre_model::{AccountId, AppId, ChannelId, Digest, ReleaseId, RevisionId, Settings, TokenId};
use gyre_store::{Account, App, Channel, Db, Release, ReleaseState, Revision, Token, TokenKind};
use jiff::Timestamp;
use tempfile::TempDir;

#[path = "db/accounts.rs"]
mod accounts;
#[path = "db/apps.rs"]
mod apps;
#[path = "db/crash.rs"]
mod crash;
#[path = "db/registry.rs"]
mod registry;
#[path = "db/releases.rs"]
mod releases;
#[path = "db/stores.rs"]
mod stores;
#[path = "db/variables.rs"]
mod variables;

/// How a database of the test's own is opened, and opened again.
trait Engine {
    async fn new() -> Self;
    async fn open(&self) -> Db;
}

/// SQLite in a folder that goes with it.
struct Sqlite {
    dir: TempDir,
}

impl Sqlite {
    fn path(&self) -> PathBuf {
        self.dir.path().join("gyre.db")
    }
}

impl Engine for Sqlite {
    async fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
    async fn open(&self) -> Db {
        Db::open_sqlite(&self.path()).await.unwrap()
    }
}

/// `contract! { name, … }`: runs the functions `name<E: Engine>()` of the module for each engine.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name::<crate::Sqlite>().await;
            })*
        }
    };
}
use contract;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// An open database with what most tests start from.
struct World<E> {
    engine: E,
    db: Db,
    account: Account,
}

impl<E: Engine> World<E> {
    async fn new() -> Self {
        let engine = E::new().await;
        let db = engine.open().await;
        let account = account("alice");
        db.create_account(account.clone()).await.unwrap();
        Self { engine, db, account }
    }

    async fn app(&self, name: &str) -> (App, Channel) {
        let app = app(&self.account, name);
        let channel = channel(&app, "production");
        self.db.create_app(app.clone(), vec![channel.clone()]).await.unwrap();
        (app, channel)
    }

    async fn revision(&self, app: &App, content: &str) -> Revision {
        let revision = revision(app, content);
        self.db.create_revision(revision).await.unwrap().0
    }

    async fn release(&self, channel: &Channel, revision: &Revision) -> Release {
        self.db.create_release(release(channel, revision)).await.unwrap()
    }
}

fn account(name: &str) -> Account {
    Account { id: AccountId::new(), name: name.to_owned(), is_admin: false, created: at(0) }
}

fn token(account: &Account, hash: u8, kind: TokenKind) -> Token {
    let id = TokenId::new();
    Token {
        id,
        account: account.id,
        family: id,
        kind,
        hash: [hash; 32],
        name: format!("token {hash}"),
        created: at(i64::from(hash)),
        expires: None,
        revoked: None,
        last_used: None,
    }
}

fn app(account: &Account, name: &str) -> App {
    let id = AppId::new();
    let simple = id.as_uuid().simple().to_string();
    App {
        id,
        account: account.id,
        name: name.to_owned(),
        storage_id: format!("oci://{name}"),
        description: String::new(),
        host_label: format!("{name}-{}", &simple[24..]),
        variables_version: 0,
        created: at(0),
        modified: at(0),
        deleted: None,
    }
}

fn channel(app: &App, name: &str) -> Channel {
    Channel {
        id: ChannelId::new(),
        account: app.account,
        app: app.id,
        name: name.to_owned(),
        desired_release: None,
        active_release: None,
        created: at(0),
        modified: at(0),
    }
}

fn revision(app: &App, content: &str) -> Revision {
    Revision {
        id: RevisionId::new(),
        account: app.account,
        app: app.id,
        digest: Digest::of(content),
        version: format!("1.0.0+{content}"),
        manifest: content.as_bytes().to_owned(),
        settings: Settings { health_path: Some("/healthy".to_owned()), ..Settings::default() },
        triggers: vec!["http".to_owned(), "redis".to_owned()],
        created: at(1),
    }
}

fn release(channel: &Channel, revision: &Revision) -> Release {
    Release {
        id: ReleaseId::new(),
        account: channel.account,
        app: channel.app,
        channel: channel.id,
        revision: revision.id,
        number: 0,
        variables_version: 0,
        state: ReleaseState::Preparing,
        reason: None,
        created: at(2),
        activated: None,
    }
}
