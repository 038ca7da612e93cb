//! What logs promise, in a folder of the test's own.

use bytes::Bytes;
use gyre_model::LogEntry;
use jiff::ToSpan as _;
use tempfile::TempDir;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

struct Fixture {
    dir: TempDir,
    logs: AppLogs,
    app: AppId,
}

impl Fixture {
    fn new(config: LogsConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let logs = AppLogs::open(dir.path(), config).unwrap();
        Self { dir, logs, app: AppId::new() }
    }

    fn sink(&self, limits: &Limits) -> Arc<dyn LogSink> {
        let origin = LogOrigin { app: self.app, channel: None, release: None, revision: None };
        self.logs.sink(origin, limits)
    }

    async fn lines(&self, filter: &LogFilter) -> Vec<String> {
        let logs = self.logs.query(self.app, filter).await.unwrap();
        logs.into_iter().map(|log| log.line).collect()
    }

    fn size(&self) -> u64 {
        let segments = segment::list(&self.logs.dir_of(self.app)).unwrap();
        segments.iter().map(|s| fs_err::metadata(&s.path).unwrap().len()).sum()
    }
}

fn entry(time: Timestamp, line: impl Into<Bytes>) -> LogEntry {
    LogEntry {
        time,
        component: "hello".into(),
        request: None,
        stream: LogStream::Stdout,
        bytes: line.into(),
    }
}

/// A clock at the time of the entries, so that none is too old.
fn config() -> LogsConfig {
    LogsConfig { clock: Clock::manual(at(0)), ..LogsConfig::default() }
}

#[tokio::test]
async fn lines_are_found_in_order_with_times_that_are_unique() {
    let fixture = Fixture::new(config());
    let sink = fixture.sink(&Limits::unlimited());
    for n in 0..100 {
        // The clock stands still, then goes back.
        sink.write(entry(at(5 - n / 50), format!("line {n}")));
    }
    let logs = fixture.logs.query(fixture.app, &LogFilter::default()).await.unwrap();
    let expected: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
    assert_eq!(
        logs.iter().map(|log| &log.line).collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
    assert!(logs.windows(2).all(|pair| pair[0].time < pair[1].time));
    assert_eq!(logs[0].time, at(5));
    // Since is exclusive: what a client has seen does not come again.
    let filter = LogFilter { since: Some(logs[41].time), ..LogFilter::default() };
    assert_eq!(fixture.lines(&filter).await, expected[42..]);
    let filter = LogFilter { max: Some(3), ..LogFilter::default() };
    assert_eq!(fixture.lines(&filter).await, expected[97..]);
}

#[tokio::test]
async fn a_filter_finds_what_it_names() {
    let fixture = Fixture::new(config());
    let sink = fixture.sink(&Limits::unlimited());
    let request = RequestId::new();
    sink.write(entry(at(1), "plain"));
    sink.write(LogEntry { request: Some(request), ..entry(at(2), "asked") });
    sink.write(LogEntry { stream: LogStream::Host, ..entry(at(3), "trapped") });
    sink.write(LogEntry {
        component: "other".into(),
        ..entry(at(4), Bytes::from_static(b"\xff!"))
    });
    let none = LogFilter::default();
    for (filter, expected) in [
        (LogFilter { request: Some(request), ..none.clone() }, "asked"),
        (LogFilter { stream: Some(LogStream::Host), ..none.clone() }, "trapped"),
        (LogFilter { component: Some("other".to_owned()), ..none.clone() }, "\u{fffd}!"),
        (LogFilter { contains: Some("lai".to_owned()), ..none.clone() }, "plain"),
        (LogFilter { since: Some(at(2)), until: Some(at(4)), ..none.clone() }, "trapped"),
    ] {
        assert_eq!(fixture.lines(&filter).await, [expected]);
    }
    let nobody = fixture.logs.query(AppId::new(), &none).await.unwrap();
    assert_eq!(nobody, []);
}

#[tokio::test]
async fn an_app_above_its_rate_loses_lines_and_is_told_how_many() {
    let fixture = Fixture::new(config());
    let limits = Limits {
        log_bytes_per_second: Some(1),
        log_burst_bytes: 1640, // ten lines of 100 bytes and what each costs beside
        ..Limits::server()
    };
    let (sink, other) = (fixture.sink(&limits), fixture.sink(&limits));
    for n in 0..50 {
        sink.write(entry(at(n), vec![b'x'; 100]));
        other.write(entry(at(n), vec![b'y'; 100]));
    }
    // Nothing is said after the drops: the count is there all the same.
    let host = LogFilter { stream: Some(LogStream::Host), ..LogFilter::default() };
    let mut told = Vec::new();
    let mut dropped = 0;
    while dropped < 90 {
        told = fixture.lines(&host).await;
        dropped =
            told.iter().map(|line| line.split(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    }
    assert_eq!(dropped, 90, "{told:?}");
    let guest = LogFilter { stream: Some(LogStream::Stdout), ..LogFilter::default() };
    assert_eq!(fixture.lines(&guest).await.len(), 10, "both sinks share one allowance");
}

#[tokio::test]
async fn a_log_stays_within_its_size_and_the_oldest_goes_first() {
    let config = LogsConfig { app_bytes: 40_000, segment_bytes: 10_000, ..config() };
    let fixture = Fixture::new(config);
    let sink = fixture.sink(&Limits::unlimited());
    for n in 0..2_000 {
        sink.write(entry(at(n), format!("line {n}")));
        if n % 20 == 0 {
            fixture.logs.flush().await;
            assert!(fixture.size() <= 45_000, "{}", fixture.size());
        }
    }
    let filter = LogFilter { max: Some(10_000), ..LogFilter::default() };
    let lines = fixture.lines(&filter).await;
    assert!(lines.len() > 100 && lines.len() < 1_000, "{}", lines.len());
    let newest: Vec<String> = (2_000 - lines.len()..2_000).map(|n| format!("line {n}")).collect();
    assert_eq!(lines, newest, "what is kept is the newest, without a gap");
}

#[tokio::test]
async fn what_is_too_old_is_removed_when_the_logs_are_opened() {
    let clock = Clock::manual(at(0));
    let config = LogsConfig { clock: clock.clone(), ..LogsConfig::default() };
    let fixture = Fixture::new(config.clone());
    fixture.sink(&Limits::unlimited()).write(entry(at(0), "old"));
    fixture.logs.close().await;
    clock.advance(8 * 24 * 3600);
    let logs = AppLogs::open(fixture.dir.path(), config).unwrap();
    logs.flush().await;
    assert!(!logs.dir_of(fixture.app).exists());
}

#[tokio::test]
async fn logs_survive_reopening_and_a_line_that_a_crash_cut_off() {
    let fixture = Fixture::new(config());
    fixture.sink(&Limits::unlimited()).write(entry(at(1), "one"));
    fixture.logs.close().await;
    fixture.sink(&Limits::unlimited()).write(entry(at(1), "after the end"));
    let segment = segment::list(&fixture.logs.dir_of(fixture.app)).unwrap().pop().unwrap();
    let mut content = fs_err::read(&segment.path).unwrap();
    content.extend_from_slice(br#"{"time":"2027-01-15T08:00:01Z","comp"#);
    fs_err::write(&segment.path, content).unwrap();
    let logs = AppLogs::open(fixture.dir.path(), config()).unwrap();
    let again = Fixture { logs, ..fixture };
    again.sink(&Limits::unlimited()).write(entry(at(1), "two"));
    let logs = again.logs.query(again.app, &LogFilter::default()).await.unwrap();
    assert_eq!(logs.iter().map(|log| log.line.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(logs[1].time, at(1) + 1.nanosecond(), "the time goes on where it was");
}

#[tokio::test]
async fn a_follower_gets_what_is_there_and_what_comes_once_each() {
    let fixture = Fixture::new(LogsConfig { segment_bytes: 500, ..config() });
    let sink = fixture.sink(&Limits::unlimited());
    for n in 0..5 {
        sink.write(entry(at(n), format!("line {n}")));
    }
    let filter = LogFilter { max: Some(2), ..LogFilter::default() };
    let mut follower = fixture.logs.follow(fixture.app, filter);
    let first = follower.next().await.unwrap().unwrap();
    assert_eq!(first.iter().map(|log| log.line.as_str()).collect::<Vec<_>>(), ["line 3", "line 4"]);
    let writing = tokio::task::spawn_blocking(move || {
        for n in 5..200 {
            sink.write(entry(at(n), format!("line {n}")));
            if n % 10 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    });
    let mut lines = Vec::new();
    while lines.len() < 195 {
        lines.extend(follower.next().await.unwrap().unwrap().into_iter().map(|log| log.line));
    }
    writing.await.unwrap();
    assert_eq!(lines, (5..200).map(|n| format!("line {n}")).collect::<Vec<_>>());
    fixture.logs.close().await;
    assert!(follower.next().await.is_none(), "it ends with the logs");
}

#[tokio::test]
async fn a_queue_that_is_full_drops_instead_of_waiting() {
    let fixture = Fixture::new(LogsConfig { queue_bytes: 1_000, ..config() });
    let sink = fixture.sink(&Limits::unlimited());
    for n in 0..10_000 {
        sink.write(entry(at(n), vec![b'x'; 100]));
    }
    let host =
        LogFilter { stream: Some(LogStream::Host), max: Some(10_000), ..LogFilter::default() };
    let all =
        LogFilter { stream: Some(LogStream::Stdout), max: Some(10_000), ..LogFilter::default() };
    let mut sum = 0;
    while sum < 10_000 {
        let kept = fixture.lines(&all).await.len() as u64;
        let told = fixture.lines(&host).await;
        let dropped: u64 =
            told.iter().map(|line| line.split(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        sum = kept + dropped;
    }
    assert_eq!(sum, 10_000, "each line is there or counted");
}

#[tokio::test]
async fn a_removed_log_is_gone_and_can_begin_anew() {
    let fixture = Fixture::new(config());
    let sink = fixture.sink(&Limits::unlimited());
    sink.write(entry(at(1), "one"));
    fixture.logs.remove(fixture.app).await.unwrap();
    assert!(!fixture.logs.dir_of(fixture.app).exists());
    sink.write(entry(at(2), "two"));
    assert_eq!(fixture.lines(&LogFilter::default()).await, ["two"]);
}

#[tokio::test]
async fn many_apps_write_at_once_and_each_finds_its_own() {
    let fixture = Fixture::new(config());
    let apps: Vec<AppId> = (0..300).map(|_| AppId::new()).collect();
    for round in 0..3 {
        for (n, app) in apps.iter().enumerate() {
            let origin = LogOrigin { app: *app, channel: None, release: None, revision: None };
            let sink = fixture.logs.sink(origin, &Limits::unlimited());
            sink.write(entry(at(round), format!("{n} {round}")));
        }
    }
    for (n, app) in apps.iter().enumerate() {
        let logs = fixture.logs.query(*app, &LogFilter::default()).await.unwrap();
        let lines: Vec<_> = logs.into_iter().map(|log| log.line).collect();
        assert_eq!(lines, [format!("{n} 0"), format!("{n} 1"), format!("{n} 2")]);
    }
}
