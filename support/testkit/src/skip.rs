//! Tests that cannot run on this machine. They are counted and named, never passed over in silence.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::thread;

/// The file in which `cargo xtask test` collects what was skipped.
const NOTES: &str = "GYRE_SKIPPED_TESTS";

/// Records that the calling test cannot run here, and why; the test then returns.
pub fn skip(reason: &str) {
    let name = test_name();
    eprintln!("skipped: {name}: {reason}");
    if let Some(path) = env::var_os(NOTES) {
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        // One write, so that lines of tests that end together do not mix.
        file.write_all(format!("{name}\t{reason}\n").as_bytes()).unwrap();
    }
}

/// The name of the test that calls.
fn test_name() -> String {
    let binary = env::current_exe().ok().and_then(|path| {
        let stem = path.file_stem()?.to_str()?;
        Some(stem.rsplit_once('-').map_or(stem, |(name, _)| name).to_owned())
    });
    // The harness names each test's thread; alone in its process it may run on the main one.
    let thread = thread::current().name().filter(|name| *name != "main").map(str::to_owned);
    let test = thread.or_else(|| env::var("NEXTEST_TEST_NAME").ok()).or_else(|| env::args().nth(1));
    format!("{} {}", binary.unwrap_or_default(), test.unwrap_or_default())
}
