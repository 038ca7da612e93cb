//! Instances of WASI 0.3 that answer several requests, as the flags of `gyre up` say; and their sockets.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use gyre_testkit::{Gyre, Server, ServerOptions, TestApp, Up};

fn up(flags: &[&str]) -> (Up, TestApp) {
    let app = TestApp::of_guest("reuse", "wasi03", "");
    (Gyre::new().up(app.path(), flags), app)
}

/// The how-manieth requests of their instances `many` requests are that come one after the other, by one connection: it
/// stays on its core, and each core has instances of its own.
fn counts(up: &Up, many: usize) -> Vec<u32> {
    count_with(&mut connect(up), many)
}

fn connect(up: &Up) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(up.address()).unwrap())
}

fn count_with(connection: &mut BufReader<TcpStream>, many: usize) -> Vec<u32> {
    (0..many).map(|_| get(connection, "/count").parse().unwrap()).collect()
}

/// The body of the answer to a request.
fn get(connection: &mut BufReader<TcpStream>, path: &str) -> String {
    write!(connection.get_mut(), "GET {path} HTTP/1.1\r\nhost: reuse\r\n\r\n").unwrap();
    let line = |connection: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        connection.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    assert_eq!(line(connection), "HTTP/1.1 200 OK");
    let mut length = None;
    loop {
        let header = line(connection);
        if header.is_empty() {
            break;
        }
        if let Some(text) = header.strip_prefix("content-length: ") {
            length = Some(text.parse().unwrap());
        }
    }
    let mut body = Vec::new();
    let mut take = |connection: &mut BufReader<TcpStream>, length: u64| {
        connection.take(length).read_to_end(&mut body).unwrap();
    };
    if let Some(length) = length {
        take(connection, length);
    } else {
        loop {
            let length = u64::from_str_radix(&line(connection), 16).unwrap();
            take(connection, length);
            assert_eq!(line(connection), "");
            if length == 0 {
                break;
            }
        }
    }
    String::from_utf8(body).unwrap()
}

#[test]
fn an_instance_answers_as_many_requests_as_the_flag_says() {
    let (all, _app) = up(&["--max-instance-reuse-count", "3"]);
    assert_eq!(counts(&all, 7), [1, 2, 3, 1, 2, 3, 1]);
    let (all, _app) = up(&[]);
    let expected: Vec<u32> = (1..=128).chain([1]).collect();
    assert_eq!(counts(&all, 129), expected, "by default, 128");
}

#[test]
fn each_instance_gets_a_value_of_its_own_from_a_range() {
    let (all, _app) = up(&["--max-instance-reuse-count", "2..4"]);
    let counts = counts(&all, 60);
    // The end of the range is not part of it.
    let lasts: Vec<u32> =
        counts.windows(2).filter(|pair| pair[1] == 1).map(|pair| pair[0]).collect();
    assert!(lasts.iter().all(|last| matches!(last, 2 | 3)), "{counts:?}");
    assert!(lasts.contains(&2) && lasts.contains(&3), "{counts:?}");
}

#[test]
fn an_instance_answers_as_many_at_once_as_the_flag_says() {
    let cores = std::thread::available_parallelism().unwrap().get();
    let many = 4 * cores;
    // How many of as many requests at once are the first ones of their instances.
    let firsts = |flags: &[&str]| {
        let (all, _app) = up(flags);
        let answers: Vec<String> = std::thread::scope(|scope| {
            let ask = || get(&mut connect(&all), "/count?4000");
            let threads: Vec<_> = (0..many).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|it| it.join().unwrap()).collect()
        });
        answers.iter().filter(|count| *count == "1").count()
    };
    assert!((1..=cores).contains(&firsts(&[])), "they share an instance on each core");
    assert_eq!(firsts(&["--max-instance-concurrent-reuse-count", "1"]), many);
}

#[test]
fn an_idle_instance_is_kept_as_long_as_the_flag_says() {
    let pause = Duration::from_millis(1_500);
    let after_a_pause = |timeout: &str| {
        let (all, _app) = up(&["--idle-instance-timeout", timeout]);
        let mut connection = connect(&all);
        assert_eq!(count_with(&mut connection, 1), [1]);
        std::thread::sleep(pause);
        count_with(&mut connection, 1)
    };
    assert_eq!(after_a_pause("100ms"), [1]);
    assert_eq!(after_a_pause("60s..90s"), [2]);
}

#[test]
fn a_request_has_as_much_time_as_the_flag_says() {
    let (all, _app) = up(&["--request-timeout", "300ms"]);
    let _ = all.site().get("/count?20000").expect(500);
    assert_eq!(all.site().get("/count").expect(200).text(), "1");
}

#[test]
fn what_is_no_value_and_no_range_is_refused() {
    let app = TestApp::of_guest("reuse", "wasi03", "");
    let refused = |flag: &str, value: &str, why: &str| {
        let run = Gyre::new().run(&["up", "--from", app.argument(), flag, value]).failed();
        let text = run.both();
        assert!(text.contains(flag) && text.contains(why), "{flag} {value}: {text}");
    };
    let expected = "expected a value or a range such as 1..8, got";
    for (flag, value) in [
        ("--max-instance-reuse-count", "many"),
        ("--max-instance-reuse-count", "1..many"),
        ("--max-instance-concurrent-reuse-count", "-1.."),
        ("--idle-instance-timeout", "1h"),
        ("--request-timeout", "soon"),
    ] {
        refused(flag, value, expected);
    }
    for (flag, value) in [
        ("--max-instance-reuse-count", "8..8"),
        ("--max-instance-concurrent-reuse-count", "8..1"),
        ("--idle-instance-timeout", "2s..1500ms"),
    ] {
        refused(flag, value, &format!("the range {value:?} is empty"));
    }
}

/// A server that turns round what it is sent; its port.
fn mirror() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut words = Vec::new();
                stream.read_to_end(&mut words).unwrap();
                words.reverse();
                stream.write_all(&words).unwrap();
            });
        }
    });
    port
}

#[test]
fn a_socket_of_wasi_03_leads_where_it_is_allowed_to() {
    let (port, other) = (mirror(), mirror());
    let app = TestApp::of_guest(
        "reuse",
        "wasi03",
        &format!("allowed_outbound_hosts = [\"tcp://127.0.0.1:{port}\"]"),
    );
    let up = Gyre::new().up(app.path(), &[]);
    assert_eq!(up.site().get(&format!("/socket?{port}")).expect(200).text(), "olleh");
    let refused = up.site().get(&format!("/socket?{other}")).expect(200).text();
    assert_eq!(refused, "ErrorCode::AccessDenied");
}

#[test]
fn a_socket_that_is_dropped_makes_room_for_another() {
    let port = mirror();
    let hosts = format!("allowed_outbound_hosts = [\"tcp://127.0.0.1:{port}\"]");
    let app = TestApp::of_guest("sockets", "socket", &hosts);
    let arguments = vec!["--allow-private-egress".to_owned()];
    let options = ServerOptions { arguments, ..ServerOptions::default() };
    let server = Server::start_with(Gyre::new(), options);
    let site = server.deploy(app.path()).site();
    // An instance may have 16 at once.
    let answer = site.post(&format!("/?address=127.0.0.1:{port}&times=40"), "hello").expect(200);
    assert_eq!(answer.text(), "olleh");
}
