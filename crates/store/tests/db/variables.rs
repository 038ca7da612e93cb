//! Variables and their history.

use gyre_model::AppId;
use gyre_store::{DbError, VariableChange};

use super::*;

contract! {
    a_release_sees_the_variables_as_they_were_at_its_version,
    a_channels_own_variable_stands_before_that_of_all,
}

fn set(name: &str, value: &str) -> VariableChange {
    VariableChange {
        name: name.to_owned(),
        channel: None,
        sealed: Some(value.as_bytes().to_owned()),
    }
}

fn remove(name: &str) -> VariableChange {
    VariableChange { name: name.to_owned(), channel: None, sealed: None }
}

async fn seen(
    db: &Db,
    app: &App,
    channel: Option<&Channel>,
    version: u64,
) -> Vec<(String, String)> {
    let variables = db.variables(app.id, channel.map(|c| c.id), version).await.unwrap();
    variables
        .into_iter()
        .map(|variable| (variable.name, String::from_utf8(variable.sealed).unwrap()))
        .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn a_release_sees_the_variables_as_they_were_at_its_version<E: Engine>() {
    let world = World::<E>::new().await;
    let db = &world.db;
    let (app, channel) = world.app("hello").await;
    let change = |changes| db.change_variables(app.id, changes, at(5));
    assert_eq!(change(vec![set("b", "1"), set("a", "1")]).await.unwrap(), 1);
    assert_eq!(change(vec![set("a", "2")]).await.unwrap(), 2);
    assert_eq!(change(vec![remove("a"), remove("unknown")]).await.unwrap(), 3);
    assert_eq!(change(vec![set("a", "first"), set("a", "last")]).await.unwrap(), 4);
    let all = Some(&channel);
    assert_eq!(seen(db, &app, all, 0).await, []);
    assert_eq!(seen(db, &app, all, 1).await, pairs(&[("a", "1"), ("b", "1")]));
    assert_eq!(seen(db, &app, all, 2).await, pairs(&[("a", "2"), ("b", "1")]));
    assert_eq!(seen(db, &app, all, 3).await, pairs(&[("b", "1")]));
    assert_eq!(seen(db, &app, all, 4).await, pairs(&[("a", "last"), ("b", "1")]));
    assert_eq!(db.app(app.id).await.unwrap().unwrap().variables_version, 4);
    let error = db.change_variables(AppId::new(), vec![set("a", "1")], at(5)).await.unwrap_err();
    assert!(matches!(error, DbError::Missing { what: "app" }));
}

async fn a_channels_own_variable_stands_before_that_of_all<E: Engine>() {
    let world = World::<E>::new().await;
    let db = &world.db;
    let (app, production) = world.app("hello").await;
    let staging = channel(&app, "staging");
    db.create_channel(staging.clone()).await.unwrap();
    let own = VariableChange { channel: Some(staging.id), ..set("a", "of staging") };
    db.change_variables(app.id, vec![set("a", "of all"), own], at(5)).await.unwrap();
    assert_eq!(seen(db, &app, Some(&production), 1).await, pairs(&[("a", "of all")]));
    assert_eq!(seen(db, &app, Some(&staging), 1).await, pairs(&[("a", "of staging")]));
    assert_eq!(seen(db, &app, None, 1).await, pairs(&[("a", "of all")]));
}
