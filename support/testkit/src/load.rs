//! Requests in a steady stream while something changes, each answer checked.
//!
//! A check names the version that an answer is wholly of. Once an answer of the newer version was
//! complete, no request that starts afterwards may be answered by the older one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use http::Method;

use crate::client::{Answer, Connection, Site};

/// Which version an answer is of, or what is wrong with it.
pub type Check = Box<dyn Fn(&Answer) -> Result<Version, String> + Send + Sync>;

/// The two sides of one swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// What serves before the swap.
    Before,
    /// What serves after it.
    After,
}

/// A load in progress.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    site: Site,
    path: String,
    check: Check,
    wanted: u64,
    started: AtomicU64,
    before: AtomicU64,
    after: AtomicU64,
    /// Set once an answer of the newer version was complete.
    has_swapped: AtomicBool,
    faults: Mutex<Vec<String>>,
    fault_count: AtomicU64,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Answers of the older version.
    pub before: u64,
    /// Answers of the newer one.
    pub after: u64,
    /// How many requests failed or were answered wrongly.
    pub faults: u64,
    /// The first of them, told.
    pub examples: Vec<String>,
}

impl Report {
    /// Panics if a request failed, or if fewer than `count` were sent.
    #[track_caller]
    pub fn expect_flawless(&self, count: u64) {
        let total = self.before + self.after;
        assert_eq!(self.faults, 0, "of {total}: {:#?}", self.examples);
        assert!(total >= count, "only {total} of {count} requests were answered");
    }
}

impl Load {
    /// Begins to send `wanted` requests for `path` over `connections` kept-alive connections.
    pub fn start(
        site: &Site,
        path: &str,
        connections: usize,
        wanted: u64,
        check: impl Fn(&Answer) -> Result<Version, String> + Send + Sync + 'static,
    ) -> Self {
        let check: Check = Box::new(check);
        let shared = Arc::new(Shared {
            site: site.clone(),
            path: path.to_owned(),
            check,
            wanted,
            started: AtomicU64::new(0),
            before: AtomicU64::new(0),
            after: AtomicU64::new(0),
            has_swapped: AtomicBool::new(false),
            faults: Mutex::new(Vec::new()),
            fault_count: AtomicU64::new(0),
        });
        let worker = Arc::clone(&shared);
        let threads = vec![thread::spawn(move || worker.run(connections))];
        Self { shared, threads }
    }

    /// How many requests were answered well so far.
    pub fn answered(&self) -> u64 {
        self.shared.before.load(Ordering::Relaxed) + self.shared.after.load(Ordering::Relaxed)
    }

    /// How many were answered by the newer version so far.
    pub fn answered_after(&self) -> u64 {
        self.shared.after.load(Ordering::Relaxed)
    }

    /// Waits for the last answer.
    #[track_caller]
    pub fn finish(self) -> Report {
        for thread in self.threads {
            thread.join().expect("the load does not panic");
        }
        let shared = self.shared;
        Report {
            before: shared.before.load(Ordering::Relaxed),
            after: shared.after.load(Ordering::Relaxed),
            faults: shared.fault_count.load(Ordering::Relaxed),
            examples: shared.faults.lock().unwrap().clone(),
        }
    }
}

impl Shared {
    fn run(self: &Arc<Self>, connections: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..connections {
                let shared = Arc::clone(self);
                tasks.spawn(async move { shared.keep_asking().await });
            }
            while tasks.join_next().await.is_some() {}
        });
    }

    async fn keep_asking(&self) {
        let mut connection = None;
        while self.started.fetch_add(1, Ordering::Relaxed) < self.wanted {
            // A connection that the server ended between two requests is not a failed request.
            if !connection.as_ref().is_some_and(Connection::is_open) {
                match Connection::open(self.site.address).await {
                    Ok(open) => connection = Some(open),
                    Err(error) => {
                        self.fault(error.to_string());
                        continue;
                    }
                }
            }
            let open = connection.as_mut().expect("it was just opened");
            let must_be_after = self.has_swapped.load(Ordering::SeqCst);
            let request = self.site.request(Method::GET, &self.path, &[], Bytes::new());
            match open.exchange(request).await {
                Ok(answer) => self.judge(&answer, must_be_after),
                Err(error) => {
                    self.fault(error.to_string());
                    connection = None;
                }
            }
        }
    }

    fn judge(&self, answer: &Answer, must_be_after: bool) {
        match (self.check)(answer) {
            Ok(Version::After) => {
                self.has_swapped.store(true, Ordering::SeqCst);
                self.after.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Version::Before) if must_be_after => {
                self.fault("the older version answered after the newer one had".to_owned());
            }
            Ok(Version::Before) => {
                self.before.fetch_add(1, Ordering::Relaxed);
            }
            Err(reason) => self.fault(reason),
        }
    }

    fn fault(&self, reason: String) {
        self.fault_count.fetch_add(1, Ordering::Relaxed);
        let mut faults = self.faults.lock().unwrap();
        if faults.len() < 10 {
            faults.push(reason);
        }
    }
}

/// Judges an answer of the guests `version-old` and `version-new` where `before` is what served first.
fn judge_versions(answer: &Answer, before: &str, after: &str) -> Result<Version, String> {
    let found = answer.header("x-version");
    let version = match found.as_str() {
        version if version == before => Version::Before,
        version if version == after => Version::After,
        _ => return Err(format!("status {}: {}", answer.status, answer.text())),
    };
    let text = answer.text();
    let is_whole = text.lines().eq((0..16).map(|line| format!("{line:02} {found}")));
    if answer.status != 200 || !is_whole {
        return Err(format!("status {}, half an answer: {text}", answer.status));
    }
    Ok(version)
}

/// `version-old` is replaced by `version-new`.
pub fn old_then_new(answer: &Answer) -> Result<Version, String> {
    judge_versions(answer, "old", "new")
}

/// One text is replaced by another.
pub fn text_then_text(
    before: &str,
    after: &str,
) -> impl Fn(&Answer) -> Result<Version, String> + Send + Sync + 'static {
    let (before, after) = (before.to_owned(), after.to_owned());
    move |answer| match (answer.status, answer.text()) {
        (200, text) if text == before => Ok(Version::Before),
        (200, text) if text == after => Ok(Version::After),
        (status, text) => Err(format!("status {status}: {text}")),
    }
}

/// `version-new` is replaced by `version-old`: a rollback.
pub fn new_then_old(answer: &Answer) -> Result<Version, String> {
    judge_versions(answer, "new", "old")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers one connection's requests with these, one after the other.
    fn site_that_answers(answers: Vec<String>) -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let site = Site::at(&format!("http://{}", listener.local_addr().unwrap()));
        thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for answer in answers {
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        site
    }

    fn answer(version: &str, lines: usize) -> String {
        let body: Vec<String> = (0..lines).map(|line| format!("{line:02} {version}\n")).collect();
        let body = body.concat();
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nx-version: {version}\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    fn report_of(answers: Vec<String>) -> Report {
        let count = answers.len() as u64;
        Load::start(&site_that_answers(answers), "/", 1, count, old_then_new).finish()
    }

    #[test]
    fn a_swap_without_a_fault_is_flawless() {
        let report = report_of(vec![answer("old", 16), answer("old", 16), answer("new", 16)]);
        report.expect_flawless(3);
        assert_eq!((report.before, report.after), (2, 1));
    }

    #[test]
    fn an_old_answer_after_a_new_one_is_a_fault() {
        let report = report_of(vec![answer("old", 16), answer("new", 16), answer("old", 16)]);
        assert_eq!(report.faults, 1, "{report:?}");
        assert!(report.examples[0].contains("after the newer one"), "{report:?}");
    }

    #[test]
    fn half_an_answer_is_a_fault() {
        let report = report_of(vec![answer("old", 16), answer("old", 15)]);
        assert_eq!(report.faults, 1, "{report:?}");
    }

    #[test]
    fn a_connection_cut_inside_of_an_answer_is_a_fault() {
        let mut cut = answer("old", 16);
        cut.truncate(cut.len() - 10);
        let report = report_of(vec![answer("old", 16), cut]);
        assert_eq!(report.faults, 1, "{report:?}");
    }
}
