//! Each limit, and what a client sees that goes beyond it.

use std::time::Duration;

use gyre_edge::BodyRate;

use crate::support::{Answer, TestEdge, eventually};

const SHORT: Option<Duration> = Some(Duration::from_millis(200));

#[test]
fn a_head_that_is_too_large_is_answered_431() {
    let edge = TestEdge::start(|_| {});
    let head = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
    let many = |n: usize| head(&"X: y\r\n".repeat(n - 1));
    assert_eq!(edge.connect_and_ask(many(100)), 200);
    assert_eq!(edge.connect_and_ask(many(101)), 431);
    assert_eq!(edge.connect_and_ask(many(30_000)), 431);
    let long = |n: usize| head(&format!("X: {}\r\n", "y".repeat(n)));
    assert_eq!(edge.connect_and_ask(long(60 << 10)), 200);
    assert_eq!(edge.connect_and_ask(long(64 << 10)), 431);
    assert_eq!(edge.connect_and_ask(long(1 << 20)), 431);
}

#[test]
fn a_target_that_is_too_long_is_answered_414() {
    let edge = TestEdge::start(|_| {});
    let target =
        |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a.example\r\n\r\n", "x".repeat(n - 1));
    assert_eq!(edge.connect_and_ask(target(8 << 10)), 200);
    assert_eq!(edge.connect_and_ask(target((8 << 10) + 1)), 414);
    assert_eq!(edge.connect_and_ask(target(1 << 20)), 431);
}

#[test]
fn the_limits_of_a_head_can_be_changed() {
    let edge = TestEdge::start(|config| {
        config.limits.headers = 3;
        config.limits.head_bytes = Some(10_000);
        config.limits.http1_max_buf_size = Some(1); // At least 8,192, whatever is asked for.
    });
    let head =
        |n: usize| format!("GET / HTTP/1.1\r\nHost: a.example\r\n{}\r\n", "X: y\r\n".repeat(n));
    assert_eq!(edge.connect_and_ask(head(2)), 200);
    assert_eq!(edge.connect_and_ask(head(3)), 431);
    let long = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX: {}\r\n\r\n", "y".repeat(7_000));
    assert_eq!(edge.connect_and_ask(long), 200);
}

#[test]
fn a_client_that_does_not_finish_its_head_is_let_go() {
    let edge = TestEdge::start(|config| config.limits.head_time = SHORT);
    // Silent from the start, within the first bytes of either protocol, within a head; after a request, too.
    for opening in ["", "G", "PRI * HT", "GET / HTTP/1.1\r\nHost: a.ex"] {
        let mut raw = edge.connect();
        raw.say(opening);
        assert_eq!(raw.rest(), "", "{opening:?}");
    }
    let mut raw = edge.connect();
    assert_eq!(raw.get("a.example", "/").status, 200);
    raw.say("GET / HT");
    assert_eq!(raw.rest(), "");
    eventually("five were let go", || edge.handle.stats().timed_out == 5);
}

#[test]
fn a_client_that_drips_its_head_is_let_go() {
    let edge = TestEdge::start(|config| config.limits.head_time = SHORT);
    let mut raw = edge.connect();
    raw.say("GET / HTTP/1.1\r\nHost: a.example\r\n");
    let dripped = (0..1000).find(|_| {
        std::thread::sleep(Duration::from_millis(20));
        std::io::Write::write_all(&mut raw.0, b"X: y\r\n").is_err()
    });
    assert!(dripped.is_some(), "a head may not take for ever");
    assert_eq!(edge.calls(), 0);
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let edge = TestEdge::start(|config| {
        config.limits.head_time = SHORT;
        config.limits.idle_time = SHORT;
    });
    let mut raw = edge.connect();
    // Its answer takes longer than either limit.
    assert_eq!(raw.get("a.example", "/wait?800").body, "a");
    assert_eq!(raw.rest(), "");
    assert_eq!(edge.handle.stats().timed_out, 0);
}

#[test]
fn an_idle_connection_outlives_the_time_for_a_head() {
    let edge = TestEdge::start(|config| config.limits.head_time = SHORT);
    let mut raw = edge.connect();
    assert_eq!(raw.get("a.example", "/").status, 200);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(raw.get("a.example", "/").status, 200);
}

#[test]
fn a_body_that_comes_too_slowly_ends_with_an_error() {
    let edge = TestEdge::start(|config| {
        let grace = Duration::from_millis(300);
        config.limits.body_rate = Some(BodyRate { bytes_per_second: 1000, grace });
    });
    let mut raw = edge.connect();
    raw.say("POST /collect HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\nhello");
    let answer = Answer::parse(&raw.rest());
    assert_eq!(answer.body, "error: the request's body came too slowly");
    // One that keeps the rate may take longer than the grace.
    let mut raw = edge.connect();
    raw.say("POST /collect HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2000\r\n\r\n");
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(60));
        raw.say([b'x'; 200]);
    }
    assert_eq!(raw.answer().body, "2000 bytes");
}

#[test]
fn a_client_that_does_not_read_its_answer_is_let_go_and_the_upstream_told() {
    let edge = TestEdge::start(|config| config.limits.unread_time = SHORT);
    let mut raw = edge.connect();
    raw.say("GET /endless HTTP/1.1\r\nHost: a.example\r\n\r\n");
    eventually("the answer is given up", || edge.dropped() == 1);
    assert_eq!(edge.handle.stats().timed_out, 1);
}

#[test]
fn a_client_that_goes_away_ends_its_answer() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    raw.say("GET /endless HTTP/1.1\r\nHost: a.example\r\n\r\n");
    eventually("the request came", || edge.calls() == 1);
    drop(raw);
    eventually("the answer is given up", || edge.dropped() == 1);
    eventually("the connection is gone", || edge.handle.stats().open == 0);
}

#[test]
fn too_many_connections_are_shed_the_newest_first() {
    let edge = TestEdge::start(|config| config.limits.connections = Some(3));
    let mut raws = [(); 3].map(|()| edge.connect());
    for raw in &mut raws {
        assert_eq!(raw.get("a.example", "/").status, 200);
    }
    assert_eq!(edge.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), "");
    for raw in &mut raws {
        assert_eq!(raw.get("a.example", "/").status, 200);
    }
    assert_eq!(edge.handle.stats().shed, 1);
    drop(raws);
    eventually("there is room again", || edge.handle.stats().open == 0);
    assert_eq!(edge.connect().get("a.example", "/").status, 200);
}

#[test]
fn one_address_gets_so_many_connections() {
    let edge = TestEdge::start(|config| {
        config.limits.connections_per_ip = Some(2);
        config.limits.connections_per_ip_on_loopback = true;
    });
    let mut raws = [(); 2].map(|()| edge.connect());
    for raw in &mut raws {
        assert_eq!(raw.get("a.example", "/").status, 200);
    }
    assert_eq!(edge.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), "");
    assert_eq!(edge.handle.stats().shed, 1);
}

#[test]
fn too_many_requests_are_told_to_come_back() {
    let edge = TestEdge::start(|config| {
        config.workers = Some(1);
        config.limits.requests_per_worker = Some(2);
    });
    let mut busy = [(); 2].map(|()| edge.connect());
    for raw in &mut busy {
        raw.say("GET /wait?1500 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    }
    eventually("both are being answered", || edge.calls() == 2);
    let mut raw = edge.connect();
    let answer = raw.get("a.example", "/");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    for raw in &mut busy {
        assert_eq!(raw.answer().status, 200);
    }
    assert_eq!(raw.get("a.example", "/").status, 200);
    assert_eq!(edge.handle.stats().overloaded_requests, 1);
}

#[test]
fn a_local_edge_has_patience() {
    let edge = TestEdge::start(|config| config.limits = gyre_edge::EdgeLimits::local());
    let mut raw = edge.connect();
    raw.say("GET / HTTP/1.1\r\nHost: a.exa");
    std::thread::sleep(Duration::from_millis(1500));
    raw.say("mple\r\n\r\n");
    assert_eq!(raw.answer().status, 200);
    let long = format!("GET /{} HTTP/1.1\r\nHost: a.example\r\n\r\n", "x".repeat(60_000));
    assert_eq!(edge.connect_and_ask(long), 200);
}

#[test]
fn the_buffer_of_a_local_edge_bounds_its_heads_and_can_be_widened() {
    let head = |n: usize| {
        let value = "y".repeat(n);
        format!("GET / HTTP/1.1\r\nHost: a.example\r\nX: {value}\r\n\r\n")
    };
    let edge = TestEdge::start(|config| config.limits = gyre_edge::EdgeLimits::local());
    assert_eq!(edge.connect_and_ask(head(300_000)), 200);
    assert_eq!(edge.connect_and_ask(head(600_000)), 431);
    let edge = TestEdge::start(|config| {
        config.limits = gyre_edge::EdgeLimits::local();
        config.limits.http1_max_buf_size = Some(1 << 20);
    });
    assert_eq!(edge.connect_and_ask(head(600_000)), 200);
}

#[test]
fn an_upstream_that_panics_loses_its_connection_and_no_other() {
    let edge = TestEdge::start(|config| config.workers = Some(1));
    let mut neighbour = edge.connect();
    assert_eq!(neighbour.get("a.example", "/").status, 200);
    assert_eq!(edge.send("GET /panic HTTP/1.1\r\nHost: a.example\r\n\r\n"), "");
    assert_eq!(neighbour.get("a.example", "/").status, 200);
    eventually("the connection is gone", || edge.handle.stats().open == 1);
}

impl TestEdge {
    /// The status that a request is answered with.
    fn connect_and_ask(&self, request: String) -> u16 {
        let mut raw = self.connect();
        // The answer may come before all has been sent.
        let sender = raw.0.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let _ = std::io::Write::write_all(&mut &sender, request.as_bytes());
        });
        let status = raw.answer().status;
        drop(raw);
        sending.join().unwrap();
        status
    }
}
