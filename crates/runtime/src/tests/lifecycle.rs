//! Loading, compiling, unloading, draining.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;

use crate::{
    AppSpec, CacheConfig, CompileEvent, Runtime, RuntimeConfig,
    testing::{Builder, HELLO, get, guest, runtime, until},
};

fn with_cache(dir: &std::path::Path) -> Arc<Runtime> {
    let cache = Some(CacheConfig { dir: dir.to_owned(), key: [1; 32] });
    Runtime::new(RuntimeConfig { cache, instances: 10, ..RuntimeConfig::default() }).unwrap()
}

#[tokio::test]
async fn an_app_is_loaded_once_however_many_ask_and_again_after_it_was_unloaded() {
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = loads.clone();
    let app = Builder::only(HELLO).build_with(&runtime(), |spec| {
        let source = spec.source.clone();
        let source = Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            source()
        });
        AppSpec { source, ..spec }
    });
    assert!(!app.app.is_loaded());
    assert_eq!(loads.load(Ordering::SeqCst), 0);
    let got = futures::future::join_all((0..10).map(|_| app.get("/"))).await;
    assert!(got.iter().all(|got| got.text == "hello"));
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    app.app.unload();
    assert!(!app.app.is_loaded());
    assert_eq!(app.get("/").await.text, "hello");
    assert_eq!(loads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_app_that_could_not_be_loaded_is_tried_again() {
    let fails = Arc::new(AtomicUsize::new(1));
    let app = Builder::only(HELLO).build_with(&runtime(), |spec| {
        let source = spec.source.clone();
        let source = Arc::new(move || {
            if fails.fetch_sub(1, Ordering::SeqCst) == 1 {
                return Err("the disk is on fire".into());
            }
            source()
        });
        AppSpec { source, ..spec }
    });
    assert_eq!(app.get("/").await.status, 500);
    assert!(app.log.host().contains("the disk is on fire"), "{}", app.log.host());
    assert_eq!(app.get("/").await.text, "hello");
}

#[tokio::test]
async fn requests_that_run_outlive_an_unload_and_a_drain_waits_for_them() {
    let app = Builder::only(
        r#"
        (data (i32.const 1024) "done")
        (func (export "handle") (param $request i32) (param $out i32)
          (call $sleep_ms (i64.const 60))
          (call $respond (local.get $out) (i32.const 200) (i32.const 1024) (i32.const 4)))"#,
    );
    let app = app.build();
    app.app.load().await.unwrap();
    let unload = async {
        assert!(!app.app.drain(Duration::from_millis(1)).await);
        app.app.unload();
        app.app.drain(Duration::from_secs(20)).await
    };
    let (got, is_drained) = tokio::join!(app.get("/"), unload);
    assert_eq!(got.text, "done");
    assert!(is_drained);
    assert!(!app.app.is_loaded());
}

#[tokio::test]
async fn idle_apps_are_unloaded_and_those_in_use_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Some(CacheConfig { dir: dir.path().to_owned(), key: [1; 32] });
    let idle_time = Some(Duration::from_millis(50));
    let config = RuntimeConfig { cache, idle_time, instances: 10, ..RuntimeConfig::default() };
    let runtime = Runtime::new(config).unwrap();
    let idle = Builder::only(HELLO).build_with(&runtime, |spec| spec);
    let busy = Builder::only(
        r#"
        (func (export "handle") (param $request i32) (param $out i32)
          (call $sleep_ms (i64.const 60000)))"#,
    );
    let busy = busy.build_with(&runtime, |spec| spec);
    idle.get("/").await;
    let request = busy.begin(get("/"));
    tokio::select! {
        _ = request => unreachable!("it sleeps"),
        () = until("the idle one has gone", || !idle.app.is_loaded()) => {}
    }
    // The select dropped the request, so that only its having been loaded then counts.
    assert!(busy.app.is_loaded());
    assert_eq!(idle.get("/").await.text, "hello");
}

#[tokio::test]
async fn the_least_recently_used_app_makes_room() {
    let config = RuntimeConfig { max_loaded: 2, instances: 10, ..RuntimeConfig::default() };
    let runtime = Runtime::new(config).unwrap();
    let app = || Builder::only(HELLO).build_with(&runtime, |spec| spec);
    let (first, second, third) = (app(), app(), app());
    // Each at another tick of the runtime's clock.
    for app in [&first, &second, &first, &third] {
        let now = runtime.ticks();
        until("time goes on", || runtime.ticks() > now + 1).await;
        assert_eq!(app.get("/").await.text, "hello");
    }
    assert!(first.app.is_loaded() && !second.app.is_loaded() && third.app.is_loaded());
    assert_eq!(second.get("/").await.text, "hello");
    assert!(!first.app.is_loaded());
}

#[test]
fn an_application_is_compiled_once_and_then_comes_from_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = with_cache(dir.path());
    let other = guest(&format!("{HELLO} (func $other)"));
    let (application, _folder) = Builder::new()
        .component("a", &json!("/a"), &guest(HELLO))
        .component("same", &json!("/same"), &guest(HELLO))
        .component("other", &json!("/other"), &other)
        .application();
    let compile = |runtime: &Runtime| {
        let events = Mutex::new(Vec::new());
        runtime.compile(&application, &|event| events.lock().unwrap().push(event)).unwrap();
        let mut counts = (0, 0, 0);
        for event in events.into_inner().unwrap() {
            match event {
                CompileEvent::Cached { .. } => counts.0 += 1,
                CompileEvent::Started { wasm_bytes, .. } => {
                    assert!(wasm_bytes > 1000);
                    counts.1 += 1;
                }
                CompileEvent::Finished { .. } => counts.2 += 1,
            }
        }
        counts
    };
    assert_eq!(compile(&runtime), (0, 2, 2));
    assert_eq!(compile(&runtime), (2, 0, 0));
    // A server that starts anew.
    assert_eq!(compile(&with_cache(dir.path())), (2, 0, 0));
}

#[tokio::test]
async fn an_app_serves_from_a_cache_that_was_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let serve = async || {
        let app = Builder::only(HELLO).build_with(&with_cache(dir.path()), |spec| spec);
        assert_eq!(app.get("/").await.text, "hello");
    };
    let entries = || {
        let engines = fs_err::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let entries = engines.flat_map(|engine| fs_err::read_dir(engine).unwrap());
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    serve().await;
    let [entry] = entries().try_into().unwrap();
    let whole = fs_err::read(&entry).unwrap();
    serve().await;
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 4;
    for damaged in [damaged, whole[..whole.len() / 2].to_vec(), Vec::new()] {
        fs_err::write(&entry, damaged).unwrap();
        serve().await;
        assert_eq!(fs_err::metadata(&entry).unwrap().len(), whole.len() as u64);
    }
    assert_eq!(entries().len(), 1, "nothing half done is left");
}

#[test]
fn a_component_that_does_not_compile_says_why_in_one_paragraph() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = b"\0asm\x0d\0\x01\0garbage";
    let (application, _folder) = Builder::new().component("bad", &json!("/"), wasm).application();
    let error = with_cache(dir.path()).compile(&application, &|_| {}).unwrap_err().to_string();
    assert!(error.starts_with("component \"bad\" does not compile: "), "{error}");
    assert!(!error.contains('\n') && error.len() < 1000, "{error}");
}

#[tokio::test]
async fn the_pool_being_exhausted_is_a_503() {
    let config = RuntimeConfig { instances: 1, ..RuntimeConfig::default() };
    let runtime = Runtime::new(config).unwrap();
    let app = Builder::only(
        r#"
        (func (export "handle") (param $request i32) (param $out i32)
          (call $sleep_ms (i64.const 50))
          (call $respond (local.get $out) (i32.const 200) (i32.const 1024) (i32.const 0)))"#,
    );
    let app = app.build_with(&runtime, |spec| spec);
    app.app.load().await.unwrap();
    let (first, second) = tokio::join!(app.get("/"), app.get("/"));
    assert_eq!((first.status, second.status), (200, 503));
    assert_eq!(second.headers["retry-after"], "1");
    assert_eq!(app.get("/").await.status, 200);
}

#[tokio::test]
async fn without_a_pool_instances_are_made_one_by_one() {
    let config = RuntimeConfig { is_pooling: false, ..RuntimeConfig::default() };
    let app = Builder::only(HELLO).build_with(&Runtime::new(config).unwrap(), |spec| spec);
    assert_eq!(app.get("/").await.text, "hello");
}
