//! The load generator against servers that answer, and against servers that do not.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

use gyre_bench::{
    hello::{GREETING, Hello},
    load::{self, Options, Swap},
};

fn hello() -> Options {
    let hello = Hello::start("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    options(hello.address)
}

fn options(address: SocketAddr) -> Options {
    let mut options = Options::get(&format!("http://{address}/")).unwrap();
    options.duration = None;
    options.threads = 2;
    options.connections = 5;
    options
}

/// A server that answers each connection with what `answer` makes of its number.
fn serve(answer: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Options {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            answer(stream, number);
        }
    });
    options(address)
}

fn read_request(stream: &mut TcpStream) {
    let mut lines = BufReader::new(stream).lines();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
}

#[test]
fn exactly_the_requests_that_were_asked_for_are_sent_and_each_answer_is_checked() {
    let mut options = hello();
    options.requests = Some(20_000);
    let seen = AtomicU64::new(0);
    let check = |answer: &load::Answer<'_>| {
        seen.fetch_add(1, SeqCst);
        assert!(answer.ended >= answer.started);
        let body = String::from_utf8_lossy(answer.body).into_owned();
        if body == GREETING { Ok(()) } else { Err(body) }
    };
    let report = load::run(&options, Some(&check), None).unwrap();
    assert_eq!((report.answers, report.failed(), seen.load(SeqCst)), (20_000, 0, 20_000));
    assert_eq!(report.statuses.into_iter().collect::<Vec<_>>(), [(200, 20_000)]);
    assert_eq!(report.latency.len(), 20_000);
}

#[test]
fn a_load_ends_with_its_time_or_when_it_is_told_to() {
    let mut options = hello();
    options.duration = Some(Duration::from_millis(200));
    let report = load::run(&options, None, None).unwrap();
    assert!(report.answers > 0 && report.failed() == 0);
    assert!(report.elapsed <= Duration::from_millis(200));

    options.duration = None;
    let stop = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        let load = scope.spawn(|| load::run(&options, None, Some(&stop)).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        stop.store(true, SeqCst);
        load.join().unwrap()
    });
    assert!(report.answers > 0 && report.failed() == 0);
}

#[test]
fn a_steady_rate_is_kept() {
    let mut options = hello();
    options.rate = Some(500.0);
    options.duration = Some(Duration::from_secs(1));
    let report = load::run(&options, None, None).unwrap();
    // Never more than are due; fewer only where this machine had no time for them.
    assert!((100..=502).contains(&report.answers), "{}", report.answers);
    assert_eq!(report.failed(), 0);
}

#[test]
fn a_request_without_an_answer_is_an_error_of_its_kind() {
    // Closed before, and within, an answer; not HTTP; refused by the check; a bad status.
    let mut options = serve(|mut stream, number| {
        read_request(&mut stream);
        let answer: &[u8] = match number {
            0 => b"",
            1 => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhell",
            2 => b"SSH-2.0-OpenSSH\r\n\r\n",
            3 => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
            _ => b"HTTP/1.1 503 Busy\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes",
        };
        let _ = stream.write_all(answer);
    });
    options.connections = 1;
    options.requests = Some(5);
    let check =
        |answer: &load::Answer<'_>| if answer.body == b"yes" { Ok(()) } else { Err("no".into()) };
    let report = load::run(&options, Some(&check), None).unwrap();
    let errors = report.errors;
    assert_eq!((errors.closed, errors.malformed, errors.refused), (2, 1, 1));
    assert_eq!((errors.connect, errors.timeout, report.answers, report.failed()), (0, 0, 2, 5));
    assert_eq!(report.examples[0], "closed before an answer");
    assert_eq!(report.examples.len(), 4);
}

#[test]
fn an_answer_that_does_not_come_is_a_timeout_and_a_dead_server_an_error() {
    let mut options = serve(|stream, _| {
        std::thread::spawn(move || {
            let _ = (&stream).read_to_end(&mut Vec::new());
        });
    });
    options.requests = Some(5);
    options.timeout = Duration::from_millis(100);
    let report = load::run(&options, None, None).unwrap();
    assert_eq!((report.errors.timeout, report.answers), (5, 0));

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut options = self::options(nobody);
    options.requests = Some(7);
    let report = load::run(&options, None, None).unwrap();
    assert_eq!((report.errors.connect, report.failed()), (7, 7));
}

#[test]
fn a_server_that_closes_after_each_answer_fails_nobody() {
    let mut options = serve(|mut stream, _| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil the end");
    });
    options.requests = Some(50);
    let check = |answer: &load::Answer<'_>| match answer.body {
        b"until the end" => Ok(()),
        body => Err(String::from_utf8_lossy(body).into_owned()),
    };
    let report = load::run(&options, Some(&check), None).unwrap();
    assert_eq!((report.answers, report.failed()), (50, 0));
}

#[test]
fn large_bodies_pass_in_both_directions() {
    let mut options = serve(|mut stream, _| {
        let mut body = vec![0; 3 << 20];
        read_head_exactly(&mut stream);
        stream.read_exact(&mut body).unwrap();
        assert!(body.iter().all(|byte| *byte == b'x'));
        let _ = stream.write_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        );
        for _ in 0..300 {
            let _ = stream.write_all(format!("2710\r\n{}\r\n", "y".repeat(10_000)).as_bytes());
        }
        let _ = stream.write_all(b"0\r\n\r\n");
    });
    options.requests = Some(3);
    options.method = "POST".into();
    options.body = vec![b'x'; 3 << 20];
    let check = |answer: &load::Answer<'_>| match answer.body.len() {
        3_000_000 => Ok(()),
        length => Err(format!("{length} bytes")),
    };
    let report = load::run(&options, Some(&check), None).unwrap();
    assert_eq!((report.answers, report.failed()), (3, 0), "{:?}", report.examples);
}

fn read_head_exactly(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
}

#[test]
fn a_swap_under_load_is_seen_as_clean_and_a_relapse_is_not() {
    for (relapses, is_clean) in [(false, true), (true, false)] {
        let began = Instant::now();
        let mut options = serve(move |mut stream, _| {
            read_request(&mut stream);
            let body = match began.elapsed().as_millis() {
                200..400 => "new",
                400.. if !relapses => "new",
                _ => "old",
            };
            let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n{body}");
        });
        options.duration = Some(Duration::from_millis(700));
        let swap = Swap::new("old", "new");
        let report = load::run(&options, Some(&|answer| swap.check(answer)), None).unwrap();
        let seen = swap.report();
        assert_eq!(report.failed(), 0, "{:?}", report.examples);
        assert!(seen.old > 0 && seen.new > 0, "{seen:?}");
        assert_eq!(seen.is_clean(), is_clean, "{seen:?}");
    }
}

#[test]
fn the_bare_server_sends_bytes_and_sends_bodies_back() {
    let mut options = hello();
    options.requests = Some(20);
    for (path, count) in [("/bytes/65536", 65_536), ("/bytes/0", 0)] {
        path.clone_into(&mut options.path);
        let check = |answer: &load::Answer<'_>| {
            let is_good =
                answer.body.len() == count && answer.body.iter().all(|byte| *byte == b'x');
            if is_good { Ok(()) } else { Err(format!("{} bytes", answer.body.len())) }
        };
        let report = load::run(&options, Some(&check), None).unwrap();
        assert_eq!((report.answers, report.failed()), (20, 0), "{:?}", report.examples);
    }
    for path in ["/bytes/67108865", "/bytes/many"] {
        path.clone_into(&mut options.path);
        let report = load::run(&options, None, None).unwrap();
        assert_eq!(report.statuses.into_iter().collect::<Vec<_>>(), [(400, 20)], "{path}");
    }
    "/echo".clone_into(&mut options.path);
    options.method = "POST".into();
    options.body = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    let check = |answer: &load::Answer<'_>| {
        if answer.body == options.body { Ok(()) } else { Err("another body".to_owned()) }
    };
    let report = load::run(&options, Some(&check), None).unwrap();
    assert_eq!((report.answers, report.failed()), (20, 0), "{:?}", report.examples);
}
