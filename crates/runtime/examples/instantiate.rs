//! Times requests to fresh instances, one after the other on each thread, without HTTP around them.
//!
//! `cargo run --release -p gyre-runtime --example instantiate [COMPONENT] [REQUESTS] [THREADS]`

use std::{
    collections::BTreeMap,
    error::Error,
    io::Write as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gyre_model::{Application, BoxError, Connection, Digest, Limits, Settings, WasmFile};
use gyre_runtime::{App, AppSpec, Runtime, RuntimeConfig};
use http::Request;
use http_body_util::{BodyExt as _, Empty};

/// Answers `hello`.
const HELLO: &str = r#"
    (data (i32.const 1024) "hello")
    (func (export "handle") (param $request i32) (param $out i32)
      (call $respond (local.get $out) (i32.const 200) (i32.const 1024) (i32.const 5)))"#;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = tempfile::tempdir()?;
    let path = if let Some(path) = args.next() {
        path.into()
    } else {
        let own = folder.path().join("hello.wat");
        fs_err::write(&own, shell(HELLO))?;
        own
    };
    let requests: usize = args.next().map_or(Ok(20_000), |n| n.parse())?;
    let runtime = Runtime::new(RuntimeConfig::default())?;
    let application = Arc::new(application(path)?);
    let source = Arc::new(move || Ok(application.clone()));
    let app = runtime.app(AppSpec { limits: Limits::server(), ..AppSpec::new("bench", source) });
    let threads: usize = args.next().map_or(Ok(1), |n| n.parse())?;
    let begin = Instant::now();
    let times = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| time(&app, requests))).collect();
        let times =
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?);
        times.collect::<Result<Vec<_>, _>>()
    })?;
    let rate = (requests * threads) as f64 / begin.elapsed().as_secs_f64();
    let mut times: Vec<Duration> = times.concat();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let mean = times.iter().sum::<Duration>() / times.len() as u32;
    writeln!(
        std::io::stdout(),
        "{} requests on {threads} threads: median {:.1?}, mean {mean:.1?}, p99 {:.1?}, {rate:.0} a second",
        times.len(),
        at(0.5),
        at(0.99)
    )?;
    Ok(())
}

/// Makes requests one after the other, and says how long each took, without the first ones, which warm the pool.
fn time(app: &Arc<App>, requests: usize) -> Result<Vec<Duration>, String> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let executor = executor.map_err(|error| error.to_string())?;
    executor.block_on(async {
        app.load().await.map_err(|error| error.to_string())?;
        let mut times = Vec::with_capacity(requests);
        for _ in 0..requests {
            let body = Empty::<Bytes>::new().map_err(|never| -> BoxError { match never {} });
            let request = Request::get("http://example.com/").body(body);
            let connection = Connection {
                peer: ([127, 0, 0, 1], 1).into(),
                local: ([127, 0, 0, 1], 2).into(),
                is_tls: false,
            };
            let begin = Instant::now();
            let response = app.call(request.map_err(|error| error.to_string())?, connection).await;
            if !response.status().is_success() {
                return Err(format!("answered with {}", response.status()));
            }
            response.into_body().collect().await.map_err(|error| error.to_string())?;
            times.push(begin.elapsed());
        }
        Ok(times.split_off(requests / 10))
    })
}

/// The tests' shell for guests, without the host function that is there in tests only.
fn shell(body: &str) -> String {
    let shell = include_str!("../src/testing/guest.wat").replace(";; BODY", body);
    let lines = shell.lines().filter(|line| !line.contains("\"panic\""));
    lines.collect::<Vec<_>>().join("\n")
}

fn application(path: PathBuf) -> Result<Application, Box<dyn Error>> {
    let locked = serde_json::json!({
        "spin_lock_version": 0,
        "metadata": { "name": "bench" },
        "triggers": [{ "id": "t", "trigger_type": "http",
            "trigger_config": { "component": "it", "route": "/..." } }],
        "components": [{ "id": "it", "source": { "content_type": "application/wasm" } }],
    });
    let digest = Digest::of(fs_err::read(&path)?);
    Ok(Application {
        locked: serde_json::from_value(locked)?,
        settings: Settings::default(),
        wasm: BTreeMap::from([("it".to_owned(), WasmFile { path, digest })]),
        mounts: BTreeMap::new(),
    })
}
