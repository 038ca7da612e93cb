//! How long `gyre deploy` of a small application takes on a local server, from the command's start to the
//! new version's first answer. It is printed, and held by what SPECIFICATION.md says of it.

use std::time::{Duration, Instant};

use gyre_testkit::{Server, TestApp};

#[test]
fn the_time_of_a_deploy_is_printed() {
    let server = Server::start();
    let app = TestApp::of_guest("quick", "hello", "environment = { GREETING = \"round 0\" }");
    let site = server.deploy(app.path()).site();
    let mut times = Vec::new();
    for round in 0..10 {
        app.edit(&format!("round {round}"), &format!("round {}", round + 1));
        // Alternating components: what is new is uploaded and compiled.
        let guest = if round % 2 == 0 { "headers" } else { "hello" };
        app.put_guest("app.wasm", guest);
        fs_err::OpenOptions::new().append(true).open(app.path().join("app.wasm")).map_or_else(
            |error| panic!("{error}"),
            |mut file| {
                use std::io::Write;
                // A custom section makes it a component that was never seen before.
                file.write_all(&[0, 3, 1, b'r', round]).expect("the folder is ours");
            },
        );
        let start = Instant::now();
        server.deploy(app.path());
        let text = site.get("/").expect(200).text();
        times.push(start.elapsed());
        assert!(text.contains(&format!("round {}", round + 1)), "{text}");
    }
    times.sort();
    let median = (times[4] + times[5]) / 2;
    let list: Vec<String> = times.iter().map(|time| milliseconds(*time)).collect();
    println!("deploy, command to live: median {}, all {}", milliseconds(median), list.join(", "));
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
