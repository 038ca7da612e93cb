//! Which host leads where, and what an answer looks like.

use std::sync::Arc;

use gyre_edge::RoutingTable;

use crate::support::{Answer, Target, TestEdge};

#[test]
fn a_request_is_answered_by_what_its_host_leads_to() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    for (host, body) in [
        ("a.example", "a GET http://a.example/x?y=1"),
        ("b.example:8000", "b GET http://b.example:8000/x?y=1"),
        ("A.Example.", "a GET http://A.Example./x?y=1"),
        ("127.0.0.1:1", "local GET http://127.0.0.1:1/x?y=1"),
        ("[::1]", "local GET http://[::1]/x?y=1"),
        ("localhost", "local GET http://localhost/x?y=1"),
    ] {
        assert_eq!(raw.get(host, "/x?y=1").body, body);
    }
    assert_eq!(edge.calls(), 6);
}

#[test]
fn an_unknown_host_is_answered_404_and_the_connection_goes_on() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    for host in ["c.example", "a.example.evil", "127.1", "xn--nothing"] {
        let answer = raw.get(host, "/");
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (404, "There is no application at this address.\n")
        );
    }
    assert_eq!(raw.get("a.example", "/").status, 200);
    assert_eq!((edge.calls(), edge.handle.stats().refused_requests), (1, 4));
}

#[test]
fn nothing_is_added_to_an_answer_but_its_length_and_the_date() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    let answer = raw.get("a.example", "/");
    let names: Vec<_> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["content-length", "date"]);
    let answer = edge.send("GET /drip?2 HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    let answer = Answer::parse(&answer);
    let names: Vec<_> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["connection", "transfer-encoding", "date"]);
    assert_eq!(answer.body, "2\r\n0;\r\n2\r\n1;\r\n0\r\n\r\n");
}

#[test]
fn an_absolute_target_is_taken_if_it_names_the_same_host() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    raw.say("GET http://a.example:80/x HTTP/1.1\r\nHost: A.example\r\n\r\n");
    assert_eq!(raw.answer().body, "a GET http://a.example:80/x");
    // The scheme is that of the connection, whatever the client says.
    raw.say("GET https://b.example HTTP/1.1\r\nHost: b.example\r\n\r\n");
    assert_eq!(raw.answer().body, "b GET http://b.example/");
    for request in [
        "GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n",
        "GET http://a.example:81/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\n\r\n",
        "GET http://user@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ] {
        assert_eq!(Answer::parse(&edge.send(request)).status, 400, "{request:?}");
    }
    assert_eq!(edge.calls(), 2);
}

#[test]
fn a_new_table_holds_for_the_next_request_on_the_same_connection() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    assert_eq!(raw.get("a.example", "/").body, "a GET http://a.example/");
    let mut table = RoutingTable::new();
    table.insert("a.example", Arc::new(Target("new"))).unwrap();
    edge.routes.store(Arc::new(table));
    assert_eq!(raw.get("a.example", "/").body, "new GET http://a.example/");
    assert_eq!(raw.get("b.example", "/").status, 404);
}

#[test]
fn a_local_edge_may_lead_every_host_to_one_target() {
    let edge = TestEdge::start(|config| config.forwarded = gyre_edge::Forwarded::Keep);
    edge.routes.store(Arc::new(RoutingTable::single(Arc::new(Target("only")))));
    let mut raw = edge.connect();
    assert_eq!(raw.get("whatever", "/").body, "only GET http://whatever/");
    raw.say("GET /seen HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n");
    assert_eq!(raw.answer().body, "false host,x-forwarded-for");
}

#[test]
fn what_a_client_says_of_proxies_does_not_reach_an_app_of_a_server() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    raw.say("GET /seen HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=x\r\nX-A: b\r\n\r\n");
    assert_eq!(raw.answer().body, "false host,x-a");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    let mut requests = String::new();
    for n in 0..50 {
        let body = "x".repeat(n);
        let length = n.to_string();
        requests.extend(["POST /collect HTTP/1.1\r\nHost: a.example\r\n"]);
        requests.extend(["Content-Length: ", &length, "\r\n\r\n", &body]);
    }
    raw.say(requests);
    for n in 0..50 {
        assert_eq!(raw.answer().body, format!("{n} bytes"));
    }
}
