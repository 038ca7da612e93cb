//! Guests that would take the machine down if they could. Each is ended at its limit, the reason is in its
//! log, and a neighbour on the same server never notices.

use gyre_testkit::client::Failure;
use gyre_testkit::load::old_then_new;
use gyre_testkit::{Load, Server, Site, TestApp};
use http::Method;

/// A server with a neighbour.
struct Street {
    server: Server,
    neighbour: Site,
}

impl Street {
    fn new() -> Self {
        let server = Server::start();
        let app = TestApp::of_guest("neighbour", "version-old", "");
        let neighbour = server.deploy(app.path()).site();
        Self { server, neighbour }
    }

    /// Deploys a hostile guest with tight limits, of its own asking, so that the test is short.
    fn move_in(&self, guest: &str, component: &str) -> Site {
        let app = TestApp::of_guest("hostile", guest, component);
        app.edit(
            "[[trigger.http]]",
            "[application.tool.gyre.limits]
cpu-ms = 500
first-byte-ms = 1500
total-ms = 3000
memory-mib = 32

[[trigger.http]]",
        );
        self.server.deploy(app.path()).site()
    }

    /// Lets `attack` run while the neighbour serves; the neighbour serves every request meanwhile, and both
    /// the server and the hostile app answer afterwards.
    fn while_the_neighbour_serves<T>(&self, hostile: &Site, attack: impl FnOnce() -> T) -> T {
        let load = Load::start(&self.neighbour, "/", 2, 3_000, old_then_new);
        let outcome = attack();
        load.finish().expect_flawless(3_000);
        assert_eq!(hostile.get("/well").expect(200).text(), "well");
        assert_eq!(self.neighbour.get("/").expect(200).header("x-version"), "old");
        outcome
    }
}

#[test]
fn an_endless_loop_is_ended_at_its_processor_time() {
    let street = Street::new();
    let hostile = street.move_in("evil-loop", "");
    street.while_the_neighbour_serves(&hostile, || {
        // Two at once: as many as there are workers on a small machine.
        let other = hostile.clone();
        let other = std::thread::spawn(move || other.get("/loop").status);
        assert_eq!(hostile.get("/loop").status, 504);
        assert_eq!(other.join().unwrap(), 504);
    });
    street.server.wait_for_log("hostile", "cpu_time limit of 500ms");
}

#[test]
fn endless_growth_is_refused_at_the_memory_limit() {
    let street = Street::new();
    let hostile = street.move_in("evil-grow", "");
    street.while_the_neighbour_serves(&hostile, || {
        for step in [64, 1024, 16 * 1024] {
            let _ = hostile.get(&format!("/grow?step={step}")).expect(500);
        }
    });
    street.server.wait_for_log("hostile", "memory");
}

#[test]
fn endless_output_is_dropped_and_counted() {
    let street = Street::new();
    let hostile = street.move_in("evil-output", "");
    street.while_the_neighbour_serves(&hostile, || {
        let status = hostile.get("/output").status;
        assert!(status == 504 || status == 500, "{status}");
        let status = hostile.get("/output?newline=no").status;
        assert!(status == 504 || status == 500, "{status}");
    });
    street.server.wait_for_log("hostile", "dropped");
    let kept = folder_bytes(&street.server.data().join("logs"));
    assert!(kept < 64 << 20, "{kept} bytes of logs are kept");
}

#[test]
fn an_endless_body_is_cut_at_its_time() {
    let street = Street::new();
    let hostile = street.move_in("evil-flood", "");
    street.while_the_neighbour_serves(&hostile, || {
        match hostile.send(Method::GET, "/flood", &[], "") {
            Err(Failure::Body { status: 200, .. }) => {}
            other => panic!("{:?}", other.map(|answer| answer.status)),
        }
    });
}

#[test]
fn ten_thousand_headers_are_refused() {
    let street = Street::new();
    let hostile = street.move_in("evil-many-headers", "");
    street.while_the_neighbour_serves(&hostile, || {
        let _ = hostile.get("/headers").expect(500);
        let _ = hostile.get("/headers?count=101").expect(500);
        let _ = hostile.get("/headers?count=10&size=65536").expect(500);
        let answer = hostile.get("/headers?count=50").expect(200);
        assert_eq!(answer.header("x-header-49"), "vvvvvvvv");
    });
}

#[test]
fn a_body_that_never_ends_is_cut_at_its_time() {
    let street = Street::new();
    let hostile = street.move_in("evil-unfinished", "");
    street.while_the_neighbour_serves(&hostile, || {
        match hostile.send(Method::GET, "/unfinished", &[], "") {
            Err(Failure::Body { status: 200, received, .. }) => {
                assert_eq!(received, b"the beginning\n");
            }
            other => panic!("{:?}", other.map(|answer| answer.status)),
        }
    });
}

#[test]
fn a_guest_that_never_answers_is_answered_for() {
    let street = Street::new();
    let hostile = street.move_in("evil-silent", "");
    street.while_the_neighbour_serves(&hostile, || {
        let _ = hostile.get("/silent").expect(504);
    });
}

#[test]
fn a_stack_without_end_traps() {
    let street = Street::new();
    let hostile = street.move_in("evil-deep-stack", "");
    street.while_the_neighbour_serves(&hostile, || {
        let _ = hostile.get("/deep").expect(500);
    });
    street.server.wait_for_log("hostile", "stack");
}

#[test]
fn a_huge_value_is_refused_with_an_error_to_the_guest() {
    let street = Street::new();
    let hostile = street.move_in("evil-huge-value", "key_value_stores = [\"default\"]");
    street.while_the_neighbour_serves(&hostile, || {
        let answer = hostile.get("/huge?size=5").expect(507);
        assert!(answer.text().contains("Other"), "{}", answer.text());
        // What the memory or the host's buffer cannot take is a trap of the guest's.
        let status = hostile.get("/huge?size=64").status;
        assert!(status == 500 || status == 507, "{status}");
        assert_eq!(hostile.get("/huge?size=3").expect(200).text(), "stored");
    });
}

#[test]
fn a_storm_of_requests_to_oneself_ends_at_its_depth() {
    let street = Street::new();
    let hostile = street
        .move_in("evil-self-storm", "allowed_outbound_hosts = [\"http://self\", \"https://self\"]");
    street.while_the_neighbour_serves(&hostile, || {
        // Whatever the answer is, it comes, and the storm is over then.
        let status = hostile.get("/storm").status;
        assert!([200, 500, 503, 504].contains(&status), "{status}");
    });
}

fn folder_bytes(folder: &std::path::Path) -> u64 {
    let Ok(entries) = fs_err::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => folder_bytes(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
