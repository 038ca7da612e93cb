//! What is left after a kill, in a damaged file, and in a backup. SQLite only: a server has its own tests for it.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use gyre_store::{DbError, Page};

use super::*;

const FOLDER: &str = "GYRE_TEST_CRASH_DB";

#[tokio::test]
async fn what_was_acknowledged_before_a_kill_is_there_afterwards() {
    if let Some(path) = env::var_os(FOLDER) {
        return write_until_killed(Path::new(&path)).await;
    }
    let engine = Sqlite::new().await;
    let mut acknowledged = 0;
    for round in 0..5 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::what_was_acknowledged_before_a_kill_is_there_afterwards"])
            .arg("--nocapture")
            .env(FOLDER, engine.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut names = Vec::new();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines =
            lines.map(Result::unwrap).filter_map(|l| l.strip_prefix("done ").map(str::to_owned));
        for name in lines {
            names.push(name);
            if names.len() == 20 + round * 7 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let db = engine.open().await;
        for name in &names {
            let found = db.account_by_name(name.clone()).await.unwrap();
            let account = found.unwrap_or_else(|| panic!("{name} was acknowledged"));
            let token = db.app_by_name(account.id, "app".to_owned()).await.unwrap();
            assert!(token.is_some());
        }
        acknowledged += names.len() as u64;
        let total = db.accounts(Page::first(1)).await.unwrap().total;
        assert!(total >= acknowledged);
        db.check().await.unwrap();
        db.close().await;
    }
}

async fn write_until_killed(path: &Path) {
    let db = Db::open_sqlite(path).await.unwrap();
    loop {
        let account = account(&AccountId::new().to_string());
        let name = account.name.clone();
        db.create_account(account.clone()).await.unwrap();
        let app = app(&account, "app");
        db.create_app(app.clone(), vec![channel(&app, "production")]).await.unwrap();
        println!("done {name}");
        std::io::stdout().flush().unwrap();
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_as_damaged_and_left_alone() {
    let engine = Sqlite::new().await;
    let garbage = b"this is not a database, but it is long enough to look like one".repeat(100);
    fs_err::write(engine.path(), &garbage).unwrap();
    let error = Db::open_sqlite(&engine.path()).await.unwrap_err();
    assert!(matches!(error, DbError::Corrupt(_)), "{error:?}");
    assert_eq!(fs_err::read(engine.path()).unwrap(), garbage);
}

#[tokio::test]
async fn a_database_in_a_folder_that_is_missing_is_not_available() {
    let engine = Sqlite::new().await;
    let error = Db::open_sqlite(&engine.dir.path().join("no/gyre.db")).await.unwrap_err();
    assert!(matches!(error, DbError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn closing_leaves_one_file_and_a_backup_holds_everything() {
    let world = World::<Sqlite>::new().await;
    let copy = world.engine.dir.path().join("backup.db");
    world.app("hello").await;
    world.db.backup(&copy).await.unwrap();
    world.app("later").await;
    world.db.backup(&copy).await.unwrap_err();
    world.db.close().await;
    assert!(!world.engine.dir.path().join("gyre.db-wal").exists());
    let db = Db::open_sqlite(&copy).await.unwrap();
    let me = world.account.id;
    assert!(db.app_by_name(me, "hello".to_owned()).await.unwrap().is_some());
    assert!(db.app_by_name(me, "later".to_owned()).await.unwrap().is_none());
}
