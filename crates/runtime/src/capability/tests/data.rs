//! Stores, databases and variables, called as the engine calls them for a guest.

use super::{
    bindings::{
        fermyon::spin2_0_0::{key_value as spin_kv, sqlite, variables as spin_variables},
        wasi::{
            config::store as config,
            keyvalue::{
                atomics::{self, CasError, HostCas},
                batch,
                store::{self as bucket, HostBucket},
            },
        },
    },
    *,
};
use spin_kv::HostStore;
use sqlite::HostConnection;

fn granted(dir: &Path) -> Fixture {
    Fixture::new(&json!({"key_value_stores": ["default"], "databases": ["default"]})).with_data(dir)
}

/// Another handle of the same resource, as a guest's borrow makes one.
fn borrow<T: 'static>(
    handle: &wasmtime::component::Resource<T>,
) -> wasmtime::component::Resource<T> {
    wasmtime::component::Resource::new_borrow(handle.rep())
}

#[tokio::test]
async fn a_store_keeps_what_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = granted(dir.path()).host();
    let store = HostStore::open(&mut host, "default".into()).unwrap().unwrap();
    let get = async |host: &mut HostState| {
        HostStore::get(host, borrow(&store), "k".into()).await.unwrap()
    };
    assert_eq!(get(&mut host).await.unwrap(), None);
    HostStore::set(&mut host, borrow(&store), "k".into(), b"v".to_vec()).await.unwrap().unwrap();
    assert_eq!(get(&mut host).await.unwrap().as_deref(), Some(&b"v"[..]));
    assert!(HostStore::exists(&mut host, borrow(&store), "k".into()).await.unwrap().unwrap());
    let keys = HostStore::get_keys(&mut host, borrow(&store)).await.unwrap().unwrap();
    assert_eq!(keys, ["k"]);
    for _ in 0..2 {
        HostStore::delete(&mut host, borrow(&store), "k".into()).await.unwrap().unwrap();
    }
    assert_eq!(get(&mut host).await.unwrap(), None);
    HostStore::drop(&mut host, store).unwrap();
}

#[tokio::test]
async fn what_the_manifest_does_not_name_is_denied() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Fixture::new(&json!({})).with_data(dir.path()).host();
    let open = HostStore::open(&mut host, "default".into()).unwrap();
    assert!(matches!(open, Err(spin_kv::Error::AccessDenied)));
    let open = bucket::Host::open(&mut host, "default".into()).unwrap();
    assert!(matches!(open, Err(bucket::Error::AccessDenied)));
    let open = HostConnection::open(&mut host, "default".into()).unwrap();
    assert!(matches!(open, Err(sqlite::Error::AccessDenied)));
}

#[tokio::test]
async fn more_stores_than_the_table_holds_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = granted(dir.path()).limits(|limits| limits.resource_table_entries = 3);
    let mut host = fixture.host();
    for _ in 0..3 {
        HostStore::open(&mut host, "default".into()).unwrap().unwrap();
    }
    let open = HostStore::open(&mut host, "default".into()).unwrap();
    assert!(matches!(open, Err(spin_kv::Error::StoreTableFull)));
    let open = bucket::Host::open(&mut host, "default".into()).unwrap();
    assert!(matches!(open, Err(bucket::Error::Other(text)) if text == "store table full"));
}

#[tokio::test]
async fn batches_and_increments_work_on_the_same_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = granted(dir.path()).host();
    let it = bucket::Host::open(&mut host, "default".into()).unwrap().unwrap();
    let pairs = vec![("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())];
    batch::Host::set_many(&mut host, borrow(&it), pairs).await.unwrap().unwrap();
    let keys = || vec!["a".to_owned(), "missing".to_owned(), "b".to_owned()];
    let mut found = batch::Host::get_many(&mut host, borrow(&it), keys()).await.unwrap().unwrap();
    found.sort();
    let expected = [("a".to_owned(), Some(b"1".to_vec())), ("b".to_owned(), Some(b"2".to_vec()))];
    assert_eq!(found, expected);
    batch::Host::delete_many(&mut host, borrow(&it), keys()).await.unwrap().unwrap();
    let page = HostBucket::list_keys(&mut host, borrow(&it), None).await.unwrap().unwrap();
    assert!(page.keys.is_empty() && page.cursor.is_none());
    let page = HostBucket::list_keys(&mut host, borrow(&it), Some("x".into())).await.unwrap();
    assert!(
        matches!(page, Err(bucket::Error::Other(text)) if text == "list_keys: cursor not supported")
    );

    for (delta, sum) in [(5, 5), (-7, -2)] {
        let at = "n".to_owned();
        let now = atomics::Host::increment(&mut host, borrow(&it), at, delta).await.unwrap();
        assert_eq!(now.unwrap(), sum);
    }
    HostBucket::set(&mut host, borrow(&it), "n".into(), b"text".to_vec()).await.unwrap().unwrap();
    let wrong = atomics::Host::increment(&mut host, borrow(&it), "n".into(), 1).await.unwrap();
    assert!(matches!(wrong, Err(bucket::Error::Other(_))));
}

#[tokio::test]
async fn a_swap_fails_when_the_value_changed_and_goes_on_from_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = granted(dir.path()).host();
    let it = bucket::Host::open(&mut host, "default".into()).unwrap().unwrap();
    let set = async |host: &mut HostState, value: &str| {
        HostBucket::set(host, borrow(&it), "k".into(), value.into()).await.unwrap().unwrap();
    };
    set(&mut host, "one").await;
    let cas = HostCas::new(&mut host, borrow(&it), "k".into()).unwrap().unwrap();
    let seen = HostCas::current(&mut host, borrow(&cas)).await.unwrap().unwrap();
    assert_eq!(seen.as_deref(), Some(&b"one"[..]));
    set(&mut host, "two").await;
    let swapped = atomics::Host::swap(&mut host, cas, b"mine".to_vec()).await.unwrap();
    let Err(CasError::CasFailed(next)) = swapped else { panic!("swapped: {swapped:?}") };
    atomics::Host::swap(&mut host, next, b"mine".to_vec()).await.unwrap().unwrap();
    let now = HostBucket::get(&mut host, borrow(&it), "k".into()).await.unwrap().unwrap();
    assert_eq!(now.as_deref(), Some(&b"mine"[..]));
}

#[tokio::test]
async fn a_swap_that_saw_nothing_does_not_replace_what_came_since() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = granted(dir.path()).host();
    let it = bucket::Host::open(&mut host, "default".into()).unwrap().unwrap();
    let cas = HostCas::new(&mut host, borrow(&it), "k".into()).unwrap().unwrap();
    assert_eq!(HostCas::current(&mut host, borrow(&cas)).await.unwrap().unwrap(), None);
    HostBucket::set(&mut host, borrow(&it), "k".into(), b"theirs".to_vec()).await.unwrap().unwrap();
    let swapped = atomics::Host::swap(&mut host, cas, b"mine".to_vec()).await.unwrap();
    assert!(matches!(swapped, Err(CasError::CasFailed(_))));
    // One that never looked replaces whatever is there, as with Spin.
    let cas = HostCas::new(&mut host, borrow(&it), "k".into()).unwrap().unwrap();
    atomics::Host::swap(&mut host, cas, b"mine".to_vec()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_database_takes_parameters_of_every_kind_and_gives_them_back() {
    use sqlite::Value::{Blob, Integer, Null, Real, Text};
    let dir = tempfile::tempdir().unwrap();
    let mut host = granted(dir.path()).host();
    let connection = HostConnection::open(&mut host, "default".into()).unwrap().unwrap();
    let run = async |host: &mut HostState, sql: &str, parameters: Vec<sqlite::Value>| {
        HostConnection::execute(host, borrow(&connection), sql.into(), parameters).await.unwrap()
    };
    run(&mut host, "CREATE TABLE t(i, r, s, b, n)", vec![]).await.unwrap();
    let row = vec![Integer(-1), Real(0.5), Text("é".into()), Blob(vec![0, 255]), Null];
    run(&mut host, "INSERT INTO t VALUES (?, ?, ?, ?, ?)", row).await.unwrap();
    let result = run(&mut host, "SELECT * FROM t", vec![]).await.unwrap();
    assert_eq!(result.columns, ["i", "r", "s", "b", "n"]);
    let [row] = &result.rows[..] else { panic!("{} rows", result.rows.len()) };
    let [Integer(-1), Real(r), Text(s), Blob(b), Null] = &row.values[..] else {
        panic!("{:?}", row.values)
    };
    assert!((r - 0.5).abs() < f64::EPSILON && s == "é" && b == &[0, 255]);
    let failed = run(&mut host, "SELEKT 1", vec![]).await;
    assert!(matches!(failed, Err(sqlite::Error::Io(text)) if text.contains("SELEKT")));
}

#[tokio::test]
async fn closing_a_connection_makes_room_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = granted(dir.path()).limits(|limits| limits.database_connections = 2);
    let mut host = fixture.host();
    let open = |host: &mut HostState| HostConnection::open(host, "default".into()).unwrap();
    let first = open(&mut host).unwrap();
    open(&mut host).unwrap();
    let third = open(&mut host);
    assert!(matches!(third, Err(sqlite::Error::Io(text)) if text == "too many connections opened"));
    HostConnection::drop(&mut host, first).unwrap();
    open(&mut host).unwrap();
}

#[tokio::test]
async fn variables_are_read_by_every_interface() {
    let fixture = Fixture::new(&json!({}));
    let mut host = fixture.host();
    let get = async |host: &mut HostState, name: &str| {
        spin_variables::Host::get(host, name.into()).await.unwrap()
    };
    assert_eq!(get(&mut host, "said").await.unwrap(), "hi!");
    assert!(matches!(get(&mut host, "greeting").await, Err(spin_variables::Error::Undefined(_))));
    assert!(matches!(get(&mut host, "1").await, Err(spin_variables::Error::InvalidName(_))));
    assert!(matches!(get(&mut host, "lacking").await, Err(spin_variables::Error::Provider(_))));

    let read = async |host: &mut HostState, name: &str| {
        config::Host::get(host, name.into()).await.unwrap()
    };
    assert_eq!(read(&mut host, "said").await.unwrap().as_deref(), Some("hi!"));
    assert_eq!(read(&mut host, "greeting").await.unwrap(), None);
    assert_eq!(read(&mut host, "1").await.unwrap(), None);
    assert!(matches!(read(&mut host, "lacking").await, Err(config::Error::Upstream(_))));

    let needed = ("needed".to_owned(), "given".to_owned());
    fixture.spec.variables.replace(vec![VariablesProvider::values([needed])]);
    let mut all = config::Host::get_all(&mut host).await.unwrap().unwrap();
    all.sort();
    let expected = [("lacking", "given"), ("said", "hi!")];
    assert_eq!(all, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}
