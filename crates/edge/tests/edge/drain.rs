//! The end of an edge: whoever has asked is answered.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use gyre_edge::RoutingTable;
use http::Request;
use hyper_util::rt::TokioExecutor;

use crate::support::{Answer, Raw, Target, TestEdge, eventually, full, runtime, text};

const GRACE: Duration = Duration::from_secs(20);

#[test]
fn no_request_is_dropped_when_an_edge_shuts_down_under_load() {
    for _ in 0..5 {
        let edge = TestEdge::start(|_| {});
        let answered = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..16)
            .map(|_| {
                let (mut raw, answered) = (edge.connect(), answered.clone());
                std::thread::spawn(move || keep_asking(&mut raw, &answered))
            })
            .collect();
        eventually("the load is on", || answered.load(SeqCst) > 500);
        let drained = runtime().block_on(edge.handle.shutdown(GRACE));
        for client in clients {
            client.join().unwrap();
        }
        assert_eq!((drained.finished, drained.aborted), (16, 0));
    }
}

/// Asks until an answer says that it is the last, and panics if a question gets none.
fn keep_asking(raw: &mut Raw, answered: &AtomicUsize) {
    loop {
        let answer = raw.get("a.example", "/");
        assert_eq!(answer.body, "a GET http://a.example/");
        answered.fetch_add(1, SeqCst);
        if answer.header("connection") == Some("close") {
            assert_eq!(raw.0.read(&mut [0]).unwrap(), 0, "the connection ends after that");
            return;
        }
    }
}

#[test]
fn no_request_is_dropped_when_the_table_is_swapped_while_an_edge_shuts_down() {
    let edge = TestEdge::start(|_| {});
    let (answered, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (mut raw, answered) = (edge.connect(), answered.clone());
            std::thread::spawn(move || {
                loop {
                    let answer = raw.get("a.example", "/wait?1");
                    assert!(["a", "old", "new"].contains(&answer.body.as_str()), "{answer:?}");
                    answered.fetch_add(1, SeqCst);
                    if answer.header("connection") == Some("close") {
                        return;
                    }
                }
            })
        })
        .collect();
    let swapping = std::thread::spawn({
        let (routes, over) = (edge.routes.clone(), over.clone());
        move || {
            for name in ["old", "new"].into_iter().cycle() {
                let mut table = RoutingTable::new();
                table.insert("a.example", Arc::new(Target(name))).unwrap();
                routes.store(Arc::new(table));
                if over.load(SeqCst) {
                    return;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    });
    eventually("the load is on", || answered.load(SeqCst) > 200);
    let drained = runtime().block_on(edge.handle.shutdown(GRACE));
    over.store(true, SeqCst);
    swapping.join().unwrap();
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!((drained.finished, drained.aborted), (8, 0));
}

#[test]
fn bodies_in_flight_are_finished_in_both_directions() {
    let mut edge = TestEdge::start(|_| {});
    let mut down = edge.connect();
    down.say("GET /drip?50 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let mut up = edge.connect();
    up.say("POST /collect HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nhello");
    eventually("both have come", || edge.calls() == 2);
    let uploading = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(600));
        up.say("world");
        Answer::parse(&up.rest())
    });
    let drained = runtime().block_on(edge.handle.drain(GRACE));
    assert_eq!((drained.finished, drained.aborted), (2, 0));
    let uploaded = uploading.join().unwrap();
    assert_eq!(
        (uploaded.body.as_str(), uploaded.header("connection")),
        ("10 bytes", Some("close"))
    );
    let body = Answer::parse(&down.rest()).body;
    assert!(body.ends_with("3\r\n49;\r\n0\r\n\r\n"), "{body:?}");
    assert_eq!(edge.dropped(), 0);
}

#[test]
fn what_is_not_finished_when_the_grace_is_over_is_cut() {
    let edge = TestEdge::start(|_| {});
    let mut raw = edge.connect();
    raw.say("GET /drip?1000000 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    eventually("it has come", || edge.calls() == 1);
    let drained = runtime().block_on(edge.handle.shutdown(Duration::from_millis(200)));
    assert_eq!((drained.finished, drained.aborted), (0, 1));
    assert!(!raw.rest().ends_with("0\r\n\r\n"), "a cut answer does not look whole");
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let edge = TestEdge::start(|_| {});
    let mut asked = edge.connect();
    assert_eq!(asked.get("a.example", "/").status, 200);
    let mut silent = edge.connect();
    let mut midway = edge.connect();
    midway.say("GET / HTTP/1.1\r\nHo");
    eventually("all have come", || edge.handle.stats().open == 3);
    let drained = runtime().block_on(edge.handle.shutdown(Duration::from_secs(2)));
    assert_eq!(asked.rest(), "");
    assert_eq!(silent.rest(), "");
    // A head that was begun has until the grace is over.
    assert_eq!((drained.finished, drained.aborted), (2, 1));
}

#[test]
fn a_request_that_comes_while_draining_is_answered_as_the_last() {
    let mut edge = TestEdge::start(|config| {
        config.limits.drain_idle_time = Duration::from_secs(10);
    });
    let mut raw = edge.connect();
    assert_eq!(raw.get("a.example", "/").header("connection"), None);
    let asking = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        raw.get("a.example", "/")
    });
    let drained = runtime().block_on(edge.handle.drain(GRACE));
    let answer = asking.join().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!((drained.finished, drained.aborted), (1, 0));
}

#[test]
fn whoever_has_connected_but_was_not_accepted_is_answered() {
    let edge = TestEdge::start(|config| config.workers = Some(1));
    let mut blocking = edge.connect();
    blocking.say("GET /block?500 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    eventually("the worker is held up", || edge.calls() == 1);
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut raw = edge.connect();
            raw.say("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
            raw
        })
        .collect();
    assert_eq!(edge.handle.stats().accepted, 1);
    let drained = runtime().block_on(edge.handle.shutdown(GRACE));
    assert_eq!((drained.finished, drained.aborted), (21, 0));
    for mut raw in waiting {
        assert_eq!(raw.answer().status, 200);
    }
}

#[test]
fn nobody_can_connect_once_an_edge_drains() {
    let mut edge = TestEdge::start(|_| {});
    let drained = runtime().block_on(edge.handle.drain(GRACE));
    assert_eq!(drained, gyre_edge::Drained::default());
    assert!(std::net::TcpStream::connect(edge.address).is_err());
    // The port is free for whoever comes next once the edge has stopped.
    runtime().block_on(edge.handle.stop());
    let config = gyre_edge::EdgeConfig::server(vec![edge.address]);
    assert!(gyre_edge::Edge::bind(config).is_ok());
}

#[test]
fn http2_clients_are_told_to_go_and_their_requests_are_answered() {
    let mut edge = TestEdge::start(|_| {});
    runtime().block_on(async {
        let io = edge.connect_async();
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::get("http://a.example/drip?30").body(full("")).unwrap();
        let response = client.send_request(request).await.unwrap();
        let (body, drained) = tokio::join!(text(response.into_body()), edge.handle.drain(GRACE));
        assert!(body.unwrap().ends_with("29;"));
        assert_eq!((drained.finished, drained.aborted), (1, 0));
        connection.await.unwrap().expect("it ends in good order");
        assert!(client.ready().await.is_err());
    });
}
