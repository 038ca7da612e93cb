//! What key-value stores promise, on files and in memory.

use std::collections::{HashMap, HashSet};

use gyre_model::Limits;
use proptest::prelude::*;
use tempfile::TempDir;

use gyre_testkit::{CosmosDouble, DynamoDouble};

use super::*;

fn unlimited() -> KeyValueLimits {
    (&Limits::unlimited()).into()
}

struct Fixture {
    dir: TempDir,
    stores: KeyValueStores,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), stores: KeyValueStores::new() }
    }

    fn location(&self) -> Location {
        Location::file(self.dir.path().join("deep/kv.db"))
    }

    fn store(&self) -> KeyValueStore {
        self.stores.open(&self.location(), "default", unlimited())
    }
}

#[tokio::test]
async fn what_was_set_is_found_until_it_is_deleted() {
    let fixture = Fixture::new();
    for store in [fixture.store(), fixture.stores.open(&Location::Memory, "default", unlimited())] {
        assert_eq!(store.get("a").await.unwrap(), None);
        assert_eq!(store.keys().await.unwrap(), Vec::<String>::new());
        store.set("a", b"1".to_vec()).await.unwrap();
        store.set("a", b"2".to_vec()).await.unwrap();
        store.set("empty", Vec::new()).await.unwrap();
        assert_eq!(store.get("a").await.unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(store.get("empty").await.unwrap().as_deref(), Some(&b""[..]));
        assert!(store.exists("a").await.unwrap() && !store.exists("b").await.unwrap());
        let keys: HashSet<String> = store.keys().await.unwrap().into_iter().collect();
        assert_eq!(keys, HashSet::from(["a".to_owned(), "empty".to_owned()]));
        store.delete("a").await.unwrap();
        store.delete("a").await.unwrap();
        assert_eq!(store.get("a").await.unwrap(), None);
    }
}

#[tokio::test]
async fn reading_makes_no_file() {
    let fixture = Fixture::new();
    let store = fixture.store();
    assert_eq!(store.get("a").await.unwrap(), None);
    assert!(!store.exists("a").await.unwrap());
    assert_eq!(store.get_many(vec!["a".to_owned()]).await.unwrap(), [("a".to_owned(), None)]);
    assert_eq!(fs_err::read_dir(fixture.dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn stores_of_one_file_do_not_see_each_other() {
    let fixture = Fixture::new();
    let one = fixture.store();
    let other = fixture.stores.open(&fixture.location(), "other", unlimited());
    one.set("a", b"1".to_vec()).await.unwrap();
    assert_eq!(other.get("a").await.unwrap(), None);
    other.set("a", b"2".to_vec()).await.unwrap();
    other.delete("a").await.unwrap();
    assert_eq!(one.keys().await.unwrap(), ["a"]);
    let memory = |n: u8| {
        let store = fixture.stores.open(&Location::Memory, "default", unlimited());
        async move {
            store.set("a", vec![n]).await.unwrap();
            store
        }
    };
    let (first, second) = (memory(1).await, memory(2).await);
    assert_ne!(first.get("a").await.unwrap(), second.get("a").await.unwrap());
}

#[tokio::test]
async fn a_file_that_spin_wrote_is_read_and_one_of_ours_has_the_same_shape() {
    let fixture = Fixture::new();
    let path = fixture.dir.path().join("spin.db");
    let spin = rusqlite::Connection::open(&path).unwrap();
    let schema = "CREATE TABLE spin_key_value (store TEXT NOT NULL, key TEXT NOT NULL,
        value BLOB NOT NULL, PRIMARY KEY (store, key))";
    spin.execute_batch(schema).unwrap();
    spin.execute("INSERT INTO spin_key_value VALUES ('default', 'a', x'01')", []).unwrap();
    let store = fixture.stores.open(&Location::file(&path), "default", unlimited());
    assert_eq!(store.get("a").await.unwrap(), Some(vec![1]));
    store.set("b", vec![2]).await.unwrap();
    let count: i64 =
        spin.query_row("SELECT count(*) FROM spin_key_value", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 2);
}

#[tokio::test]
async fn many_are_set_read_and_deleted_as_one() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let pairs: Vec<_> = (0..500).map(|n| (format!("key {n}"), vec![n as u8; 10])).collect();
    store.set_many(pairs.clone()).await.unwrap();
    let keys: Vec<_> = pairs.iter().rev().map(|(key, _)| key.clone()).collect();
    let got = store.get_many(keys.clone()).await.unwrap();
    assert!(
        got.iter()
            .zip(pairs.iter().rev())
            .all(|(got, set)| { got.0 == set.0 && got.1.as_ref() == Some(&set.1) })
    );
    assert_eq!(store.keys().await.unwrap().len(), 500);
    // Few that are long are read as many are: elsewhere, and all the same.
    store.set("long", vec![9; 400_000]).await.unwrap();
    let long = store.get_many(vec!["long".to_owned(), "key 1".to_owned()]).await.unwrap();
    assert_eq!((long[0].1.as_ref().unwrap().len(), &long[1].1), (400_000, &Some(vec![1; 10])));
    store.delete("long").await.unwrap();
    store.delete_many(keys[100..].to_vec()).await.unwrap();
    assert_eq!(store.keys().await.unwrap().len(), 100);
}

#[tokio::test]
async fn a_number_is_incremented_and_other_values_are_left_alone() {
    let fixture = Fixture::new();
    let store = fixture.store();
    assert_eq!(store.increment("n", 5).await.unwrap(), 5);
    assert_eq!(store.increment("n", -7).await.unwrap(), -2);
    assert_eq!(store.get("n").await.unwrap().unwrap(), (-2i64).to_le_bytes());
    store.set("n", i64::MAX.to_le_bytes().to_vec()).await.unwrap();
    assert_eq!(store.increment("n", 1).await.unwrap(), i64::MIN);
    store.set("text", b"abc".to_vec()).await.unwrap();
    let error = store.increment("text", 1).await.unwrap_err();
    assert_eq!(error, KeyValueError::NotANumber { length: 3 });
    assert_eq!(store.get("text").await.unwrap().unwrap(), b"abc");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn increments_from_everywhere_are_all_counted_and_each_sum_is_seen_once() {
    let fixture = Fixture::new();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = fixture.store();
            tokio::spawn(async move {
                let sums = (0..50).map(|_| store.increment("n", 1));
                let mut seen = Vec::new();
                for sum in sums {
                    seen.push(sum.await.unwrap());
                }
                seen
            })
        })
        .collect();
    let mut seen = Vec::new();
    for task in tasks {
        seen.extend(task.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=400).collect::<Vec<_>>());
    assert_eq!(fixture.store().get("n").await.unwrap().unwrap(), 400i64.to_le_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_swap_at_once_exactly_one_succeeds_each_round() {
    let fixture = Fixture::new();
    let store = fixture.store();
    assert!(store.compare_and_swap("a", None, vec![0]).await.unwrap());
    assert!(!store.compare_and_swap("a", None, vec![9]).await.unwrap());
    for round in 0..20u8 {
        let current = store.get("a").await.unwrap();
        let swaps: Vec<_> = (0..10u8)
            .map(|n| {
                let (store, expected) = (fixture.store(), current.clone());
                tokio::spawn(async move {
                    store.compare_and_swap("a", expected, vec![round, n]).await.unwrap()
                })
            })
            .collect();
        let mut won = Vec::new();
        for (n, swap) in swaps.into_iter().enumerate() {
            if swap.await.unwrap() {
                won.push(n as u8);
            }
        }
        assert_eq!(won.len(), 1);
        assert_eq!(store.get("a").await.unwrap().unwrap(), [round, won[0]]);
    }
}

#[tokio::test]
async fn keys_and_values_that_are_too_long_are_refused_with_the_limit() {
    let fixture = Fixture::new();
    let limits = KeyValueLimits {
        key_bytes: Some(4),
        value_bytes: Some(8),
        result_bytes: 20,
        ..unlimited()
    };
    let store = fixture.stores.open(&fixture.location(), "default", limits);
    let key_error = KeyValueError::KeyTooLong { limit: 4 };
    let value_error = KeyValueError::ValueTooLong { limit: 8 };
    assert_eq!(store.set("12345", Vec::new()).await.unwrap_err(), key_error);
    assert_eq!(store.increment("12345", 1).await.unwrap_err(), key_error);
    assert_eq!(store.set("a", vec![0; 9]).await.unwrap_err(), value_error);
    assert_eq!(store.compare_and_swap("a", None, vec![0; 9]).await.unwrap_err(), value_error);
    let pairs = vec![("a".to_owned(), vec![0; 8]), ("b".to_owned(), vec![0; 9])];
    assert_eq!(store.set_many(pairs).await.unwrap_err(), value_error);
    assert!(!store.exists("a").await.unwrap(), "all or none");
    for key in ["a", "b", "c"] {
        store.set(key, vec![0; 8]).await.unwrap();
    }
    let keys = || vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
    let error = store.get_many(keys()).await.unwrap_err();
    assert_eq!(error.to_string(), "query result exceeds limit of 20 bytes");
    assert_eq!(store.keys().await.unwrap().len(), 3);
    for n in 0..20 {
        store.set(&format!("k{n}"), Vec::new()).await.unwrap();
    }
    assert_eq!(store.keys().await.unwrap_err(), KeyValueError::ResultTooLong { limit: 20 });
}

#[tokio::test]
async fn a_full_store_refuses_what_does_not_fit_and_keeps_the_rest() {
    let fixture = Fixture::new();
    let limits = KeyValueLimits { store_bytes: Some(256 << 10), ..unlimited() };
    let store = fixture.stores.open(&fixture.location(), "default", limits);
    let mut fitted = 0;
    let error = loop {
        match store.set(&format!("key {fitted}"), vec![7; 10_000]).await {
            Ok(()) => fitted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, KeyValueError::Full);
    assert!((10..26).contains(&fitted), "{fitted}");
    // One that fits is not disturbed by those beside it that do not.
    let small = store.set("small", vec![1]);
    let large = store.set("large", vec![1; 1 << 20]);
    let (small, large) = tokio::join!(small, large);
    assert_eq!((small, large), (Ok(()), Err(KeyValueError::Full)));
    for n in 0..fitted {
        assert_eq!(store.get(&format!("key {n}")).await.unwrap().unwrap(), vec![7; 10_000]);
    }
    store.delete("key 0").await.unwrap();
    store.set("again", vec![7; 9_000]).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_as_damaged_and_left_alone() {
    let fixture = Fixture::new();
    let path = fixture.dir.path().join("kv.db");
    let garbage = b"certainly no database ".repeat(1000);
    fs_err::write(&path, &garbage).unwrap();
    let store = fixture.stores.open(&Location::file(&path), "default", unlimited());
    assert!(matches!(store.get("a").await, Err(KeyValueError::Corrupt(_))));
    assert!(matches!(store.set("a", vec![1]).await, Err(KeyValueError::Corrupt(_))));
    assert_eq!(fs_err::read(&path).unwrap(), garbage);
}

#[tokio::test]
async fn closing_leaves_one_file_that_holds_everything() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let writes = (0..100u8).map(|n| {
        let store = store.clone();
        async move { store.set(&n.to_string(), vec![n]).await }
    });
    let (results, ()) = tokio::join!(futures_join(writes), fixture.stores.close());
    assert_eq!(store.get("1").await, Err(KeyValueError::Closed));
    assert_eq!(store.set("a", vec![1]).await, Err(KeyValueError::Closed));
    let again = fixture.store();
    for (n, result) in results.into_iter().enumerate() {
        if result.is_ok() {
            assert_eq!(again.get(&n.to_string()).await.unwrap(), Some(vec![n as u8]));
        }
    }
    drop(again);
    fixture.stores.close().await;
    let names: Vec<_> = fs_err::read_dir(fixture.dir.path().join("deep"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["kv.db"]);
}

async fn futures_join<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pinned: Vec<_> = futures.map(Box::pin).collect();
    let mut results: Vec<Option<T>> = pinned.iter().map(|_| None).collect();
    std::future::poll_fn(move |cx| {
        let mut is_done = true;
        for (future, result) in pinned.iter_mut().zip(&mut results) {
            if result.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *result = Some(value),
                    std::task::Poll::Pending => is_done = false,
                }
            }
        }
        if is_done {
            std::task::Poll::Ready(
                results.iter_mut().map(|result| result.take().unwrap()).collect(),
            )
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn more_stores_than_may_be_open_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let open_files = OpenFiles::new(16);
    let stores = KeyValueStores::with_open_files(open_files.clone());
    let store = |n: u8| {
        stores.open(&Location::file(dir.path().join(n.to_string())), "default", unlimited())
    };
    let all: Vec<_> = (0..100).map(store).collect();
    for (n, store) in all.iter().enumerate() {
        store.set("n", vec![n as u8]).await.unwrap();
    }
    for round in 0..2 {
        for (n, store) in all.iter().enumerate() {
            assert_eq!(store.get("n").await.unwrap(), Some(vec![n as u8]), "round {round}");
        }
    }
    // Closing happens elsewhere: soon, it is so.
    while open_files.count() > 17 {
        tokio::task::yield_now().await;
    }
}

#[derive(Debug, Clone)]
enum Step {
    Set(u8, Vec<u8>),
    Delete(u8),
    Increment(u8, i64),
    Swap(u8, Option<Vec<u8>>, Vec<u8>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..3u8;
    let value = || prop_oneof![Just(vec![]), Just(vec![1]), Just(vec![0; 8])];
    let step = prop_oneof![
        (key(), value()).prop_map(|(k, v)| Step::Set(k, v)),
        key().prop_map(Step::Delete),
        (key(), -3..3i64).prop_map(|(k, n)| Step::Increment(k, n)),
        (key(), prop::option::of(value()), value()).prop_map(|(k, e, n)| Step::Swap(k, e, n)),
        Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_store_behaves_as_a_map(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut fixture = Fixture::new();
            let mut model: HashMap<String, Vec<u8>> = HashMap::new();
            for step in steps {
                let store = fixture.store();
                match step {
                    Step::Set(key, value) => {
                        store.set(&key.to_string(), value.clone()).await.unwrap();
                        model.insert(key.to_string(), value);
                    }
                    Step::Delete(key) => {
                        store.delete(&key.to_string()).await.unwrap();
                        model.remove(&key.to_string());
                    }
                    Step::Increment(key, delta) => {
                        let before = model.get(&key.to_string()).cloned().unwrap_or(vec![0; 8]);
                        let result = store.increment(&key.to_string(), delta).await;
                        if let Ok(bytes) = <[u8; 8]>::try_from(before) {
                            let sum = i64::from_le_bytes(bytes) + delta;
                            assert_eq!(result.unwrap(), sum);
                            model.insert(key.to_string(), sum.to_le_bytes().to_vec());
                        } else {
                            result.unwrap_err();
                        }
                    }
                    Step::Swap(key, expected, new) => {
                        let is_expected = model.get(&key.to_string()) == expected.as_ref();
                        let key = key.to_string();
                        let swapped = store.compare_and_swap(&key, expected, new.clone()).await;
                        assert_eq!(swapped.unwrap(), is_expected);
                        if is_expected {
                            model.insert(key, new);
                        }
                    }
                    Step::Reopen => {
                        fixture.stores.close().await;
                        fixture.stores = KeyValueStores::new();
                    }
                }
                let store = fixture.store();
                let keys: HashSet<String> = store.keys().await.unwrap().into_iter().collect();
                assert_eq!(keys, model.keys().cloned().collect());
                for (key, value) in &model {
                    assert_eq!(store.get(key).await.unwrap().as_ref(), Some(value));
                }
            }
        });
    }
}

/// What every engine promises. `number` reads a number as the engine writes it.
async fn keeps_the_contract(store: &KeyValueStore, number: impl Fn(&[u8]) -> i64) {
    assert_eq!(store.get("a").await.unwrap(), None);
    assert!(!store.exists("a").await.unwrap());
    assert!(store.keys().await.unwrap().is_empty());
    store.set("a", b"1".to_vec()).await.unwrap();
    store.set("a", vec![0, 255]).await.unwrap();
    store.set("empty", Vec::new()).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), Some(vec![0, 255]));
    assert_eq!(store.get("empty").await.unwrap(), Some(Vec::new()));
    assert!(store.exists("a").await.unwrap());
    for _ in 0..2 {
        store.delete("a").await.unwrap();
    }
    assert_eq!(store.keys().await.unwrap(), ["empty"]);

    store.set_many(Vec::new()).await.unwrap();
    let many = (0..200).map(|n| (format!("key {n}"), vec![n]));
    store.set_many(many.collect()).await.unwrap();
    let keys: HashSet<String> = store.keys().await.unwrap().into_iter().collect();
    assert_eq!(keys.len(), 201);
    let asked = vec!["key 7".to_owned(), "none".to_owned(), "empty".to_owned()];
    let mut found = store.get_many(asked).await.unwrap();
    found.retain(|(_, value)| value.is_some());
    found.sort();
    let expected = [("empty".to_owned(), Some(vec![])), ("key 7".to_owned(), Some(vec![7]))];
    assert_eq!(found, expected);
    assert!(store.get_many(Vec::new()).await.unwrap().is_empty());
    store.delete_many(Vec::new()).await.unwrap();
    store.delete_many(keys.into_iter().chain(["none".to_owned()]).collect()).await.unwrap();
    assert!(store.keys().await.unwrap().is_empty());

    assert_eq!(store.increment("n", 5).await.unwrap(), 5);
    assert_eq!(store.increment("n", -7).await.unwrap(), -2);
    assert_eq!(number(&store.get("n").await.unwrap().unwrap()), -2);
    store.set("text", b"abc".to_vec()).await.unwrap();
    store.increment("text", 1).await.unwrap_err();

    let swap = async |expected: Option<&[u8]>, new: &[u8]| {
        let expected = expected.map(<[u8]>::to_vec);
        store.compare_and_swap("c", expected, new.to_vec()).await.unwrap()
    };
    assert!(!swap(Some(b""), b"x").await, "a missing key is not an empty one");
    assert!(swap(None, b"").await);
    assert!(!swap(None, b"x").await);
    assert!(!swap(Some(b"y"), b"x").await);
    assert!(swap(Some(b""), b"x").await);
    assert_eq!(store.get("c").await.unwrap().as_deref(), Some(&b"x"[..]));
}

#[tokio::test]
async fn every_engine_keeps_the_contract() {
    let binary = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().unwrap());
    let fixture = Fixture::new();
    keeps_the_contract(&fixture.store(), binary).await;
    keeps_the_contract(&fixture.stores.open(&Location::Memory, "m", unlimited()), binary).await;
    let server = gyre_testkit::Service::redis();
    let url = format!("redis://{}", server.address());
    let redis = KeyValueStore::redis(&url, unlimited()).unwrap();
    let decimal = |bytes: &[u8]| str::from_utf8(bytes).unwrap().parse().unwrap();
    keeps_the_contract(&redis, decimal).await;
    for consistent_read in [false, true] {
        let server = DynamoDouble::start();
        let settings = DynamoSettings { consistent_read, ..dynamo_settings(&server) };
        keeps_the_contract(&KeyValueStore::dynamo(settings, unlimited()).unwrap(), decimal).await;
    }
    let server = CosmosDouble::start();
    let cosmos = KeyValueStore::cosmos(&cosmos_settings(&server), unlimited()).unwrap();
    keeps_the_contract(&cosmos, decimal).await;
}

fn dynamo_settings(server: &DynamoDouble) -> DynamoSettings {
    DynamoSettings {
        region: DynamoDouble::REGION.to_owned(),
        table: DynamoDouble::TABLE.to_owned(),
        access_key: DynamoDouble::ACCESS_KEY.to_owned(),
        secret_key: DynamoDouble::SECRET_KEY.to_owned().into(),
        token: Some(DynamoDouble::TOKEN.to_owned().into()),
        endpoint: Some(server.url()),
        consistent_read: false,
    }
}

fn cosmos_settings(server: &CosmosDouble) -> CosmosSettings {
    CosmosSettings {
        endpoint: server.url(),
        key: CosmosDouble::KEY.to_owned().into(),
        database: CosmosDouble::DATABASE.to_owned(),
        container: CosmosDouble::CONTAINER.to_owned(),
    }
}

#[tokio::test]
async fn stores_of_clouds_are_asked_again_when_they_put_off_and_say_why_they_refuse() {
    let dynamo = DynamoDouble::start();
    let store = KeyValueStore::dynamo(dynamo_settings(&dynamo), unlimited()).unwrap();
    dynamo.throttle(2);
    store.set("k", b"v".to_vec()).await.unwrap();
    dynamo.throttle(u32::MAX);
    let error = store.get("k").await.unwrap_err().to_string();
    assert!(error.contains("ProvisionedThroughputExceededException"), "{error}");
    dynamo.throttle(0);
    let wrong = DynamoSettings { secret_key: "x".to_owned().into(), ..dynamo_settings(&dynamo) };
    let error = KeyValueStore::dynamo(wrong, unlimited()).unwrap().get("k").await.unwrap_err();
    assert!(error.to_string().contains("InvalidSignatureException"), "{error}");
    let wrong = DynamoSettings { table: "x".to_owned(), ..dynamo_settings(&dynamo) };
    let error = KeyValueStore::dynamo(wrong, unlimited()).unwrap().get("k").await.unwrap_err();
    assert!(error.to_string().contains("Requested resource not found"), "{error}");

    let cosmos = CosmosDouble::start();
    let store = KeyValueStore::cosmos(&cosmos_settings(&cosmos), unlimited()).unwrap();
    cosmos.throttle(2);
    store.set("k", b"v".to_vec()).await.unwrap();
    let key = "eA==".to_owned().into();
    let wrong = CosmosSettings { key, ..cosmos_settings(&cosmos) };
    let error = KeyValueStore::cosmos(&wrong, unlimited()).unwrap().get("k").await.unwrap_err();
    assert!(error.to_string().contains("Unauthorized"), "{error}");
    // What cannot be a document's id.
    let error = store.set("a/b", vec![1]).await.unwrap_err();
    let text = "Key contains an illegal character. Keys must not include any of: /\\?#";
    assert_eq!(error, KeyValueError::Other(text.to_owned()));
    assert_eq!(store.get("a/b").await.unwrap(), None);
    store.delete("a/b").await.unwrap();
    store.set("two words, Grüße", vec![1]).await.unwrap();
    assert_eq!(store.get("two words, Grüße").await.unwrap(), Some(vec![1]));

    let limits = KeyValueLimits { result_bytes: 10, ..unlimited() };
    let dynamo = KeyValueStore::dynamo(dynamo_settings(&dynamo), limits).unwrap();
    let cosmos = KeyValueStore::cosmos(&cosmos_settings(&cosmos), limits).unwrap();
    for store in [dynamo, cosmos] {
        store.set("k", vec![1; 11]).await.unwrap();
        let error = store.get("k").await.unwrap_err();
        assert_eq!(error, KeyValueError::ResultTooLong { limit: 10 });
        assert!(!format!("{store:?}").contains("geheim"));
    }
}

#[tokio::test]
async fn increments_of_many_at_once_are_all_counted_in_clouds() {
    let (dynamo, cosmos) = (DynamoDouble::start(), CosmosDouble::start());
    let dynamo = KeyValueStore::dynamo(dynamo_settings(&dynamo), unlimited()).unwrap();
    let cosmos = KeyValueStore::cosmos(&cosmos_settings(&cosmos), unlimited()).unwrap();
    for store in [dynamo, cosmos] {
        let all = (0..4).map(|_| store.increment("n", 1));
        for result in futures_join(all).await {
            result.unwrap();
        }
        assert_eq!(store.increment("n", 0).await.unwrap(), 4);
    }
}

#[tokio::test]
async fn a_redis_server_that_goes_and_comes_back_is_connected_to_again() {
    let mut server = gyre_testkit::Service::redis();
    let address = server.address();
    let limits = KeyValueLimits { result_bytes: 10, ..unlimited() };
    let store = KeyValueStore::redis(&format!("redis://{address}"), limits).unwrap();
    store.set("k", vec![1; 11]).await.unwrap();
    let error = store.get("k").await.unwrap_err();
    assert_eq!(error, KeyValueError::ResultTooLong { limit: 10 });
    server.kill();
    assert!(matches!(store.get("k").await, Err(KeyValueError::Other(_))));
    let _server = gyre_testkit::Service::redis_at(address);
    assert_eq!(store.get("k").await.unwrap(), None);
    KeyValueStore::redis("http://x", limits).unwrap_err();
}
