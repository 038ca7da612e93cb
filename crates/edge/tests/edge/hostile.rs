//! Requests that could be read in two ways, or in none. None of them reaches an upstream, nor does what follows.

use crate::support::{Answer, TestEdge};

/// What a smuggler hopes to have read as a request of its own.
const CANARY: &str = "GET /canary HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn refused(edge: &TestEdge, request: &str, status: u16) {
    let answer = edge.send(format!("{request}{CANARY}"));
    assert!(!answer.is_empty(), "no answer to {request:?}");
    let answer = Answer::parse(&answer);
    assert_eq!(answer.status, status, "{request:?}: {answer:?}");
    assert_eq!(answer.body, "", "{request:?}");
    assert_eq!(edge.calls(), 0, "{request:?}");
}

#[test]
fn a_request_whose_end_is_in_doubt_is_answered_400_and_nothing_after_it_is_read() {
    let edge = TestEdge::start(|_| {});
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nX: y\r\ncontent-length: 0\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 5\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: chunked\n",
        "X: y\r\n Content-Length: 5\r\n",
        "X: y\r\n\tTransfer-Encoding: chunked\r\n",
        "X: y\nContent-Length: 5\r\n",
        "X: y\0\r\n",
        "X\0: y\r\n",
        "X: a\rb\r\n",
        ": y\r\n",
        "no colon\r\n",
    ] {
        refused(&edge, &format!("POST / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\nhello"), 400);
    }
    assert!(edge.handle.stats().refused_requests >= 20);
    assert_eq!(edge.connect().get("a.example", "/").status, 200);
}

#[test]
fn a_refusal_reaches_a_client_that_sends_its_bytes_one_by_one() {
    let edge = TestEdge::start(|_| {});
    let request = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut raw = edge.connect();
    for byte in request.as_bytes() {
        raw.say([*byte]);
    }
    assert_eq!(Answer::parse(&raw.rest()).status, 400);
    assert_eq!(edge.calls(), 0);
}

#[test]
fn a_refusal_reaches_a_client_that_goes_on_sending() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    raw.say("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n");
    // Without a lingering close, this would make the kernel reset the connection, answer and all.
    raw.say(vec![b'x'; 300_000]);
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(Answer::parse(&raw.rest()).status, 400);
}

#[test]
fn the_answers_before_a_refused_request_are_given() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    raw.say(format!(
        "GET /1 HTTP/1.1\r\nHost: a.example\r\n\r\nGET /wait?50 HTTP/1.1\r\nHost: a.example\r\n\r\n\
         POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: x\r\n\r\n{CANARY}"
    ));
    assert_eq!(raw.answer().body, "a GET http://a.example/1");
    assert_eq!(raw.answer().body, "a");
    assert_eq!(Answer::parse(&raw.rest()).status, 400);
    assert_eq!(edge.calls(), 2);
}

#[test]
fn a_request_without_one_good_host_is_answered_400() {
    let edge = TestEdge::start(|_| {});
    for host in [
        "",
        "Host: a.example\r\nHost: a.example\r\n",
        "Host: a.example\r\nHost: b.example\r\n",
        "Host:\r\n",
        "Host: a.example, b.example\r\n",
        "Host: user@a.example\r\n",
        "Host: a.example/x\r\n",
        "Host: a..example\r\n",
        "Host: a.example:x\r\n",
        "Host: b\u{fc}cher.example\r\n",
        "Host: [::1\r\n",
    ] {
        refused(&edge, &format!("GET / HTTP/1.1\r\n{host}\r\n"), 400);
        refused(&edge, &format!("GET / HTTP/1.0\r\n{host}\r\n"), 400);
    }
}

#[test]
fn what_is_no_request_to_a_server_is_refused() {
    let edge = TestEdge::start(|_| {});
    for (request, status) in [
        ("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", 405),
        ("GET * HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("GET a.example HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a.example\n\n", 400),
        ("G\0T / HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\nHost: a.example\r\n\r\n", 400),
    ] {
        refused(&edge, request, status);
    }
    // Nothing that the server as such could say; but a request like any other.
    let mut raw = edge.connect();
    raw.say("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(raw.answer().status, 404);
    assert_eq!(raw.get("a.example", "/").status, 200);
}

#[test]
fn a_broken_chunk_ends_the_body_with_an_error_and_then_the_connection() {
    let edge = TestEdge::start(|_| {});
    for body in [
        "x\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5;a\n\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\n",
        "0\r\nX: y\n\r\n",
    ] {
        let calls = edge.calls();
        let answer = edge.send(format!(
            "POST /collect HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n{body}{CANARY}"
        ));
        assert_eq!(edge.calls(), calls + 1, "{body:?}");
        // The upstream may answer, or the connection is gone before.
        assert!(answer.is_empty() || answer.contains("error: "), "{body:?}: {answer:?}");
        assert!(!answer.contains("canary"), "{body:?}: {answer:?}");
    }
}

#[test]
fn trailers_that_are_named_like_headers_change_nothing() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    raw.say(
        "POST /collect HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
         Content-Length: 10\r\nTransfer-Encoding: gzip\r\nHost: b.example\r\n\r\n",
    );
    assert_eq!(raw.answer().body, "5 bytes");
    assert_eq!(raw.get("b.example", "/").body, "b GET http://b.example/");
}

#[test]
fn bytes_after_an_upgrade_that_was_not_made_are_a_request_like_any_other() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    raw.say("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET /2 HTTP/1.1\r\nHost: nowhere\r\n\r\n");
    assert_eq!(raw.answer().body, "a GET http://a.example/");
    assert_eq!(raw.answer().status, 404);
}

#[test]
fn an_informational_answer_of_an_upstream_becomes_an_error() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    assert_eq!(raw.get("a.example", "/early-hints").status, 500);
    assert_eq!(raw.get("a.example", "/").status, 200);
}

#[test]
fn a_neighbour_is_served_while_others_send_rubbish() {
    let edge = TestEdge::start(|_| {});
    let mut neighbour = edge.connect();
    for seed in 0..200_u32 {
        let mut rubbish = Vec::new();
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        for _ in 0..200 {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            rubbish.push(state as u8);
        }
        let mut raw = edge.connect();
        raw.say(&rubbish);
        drop(raw);
        assert_eq!(neighbour.get("a.example", "/").status, 200);
    }
    assert_eq!(edge.calls(), 200);
}
