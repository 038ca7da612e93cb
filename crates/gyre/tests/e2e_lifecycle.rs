//! The whole path, with the real binary: from an empty folder to a live URL, upgraded and rolled back under
//! load, through a power cut, to its deletion.

use std::path::Path;

use gyre_testkit::load::{new_then_old, old_then_new, text_then_text};
use gyre_testkit::process::Program;
use gyre_testkit::server::Deployed;
use gyre_testkit::{Browser, Gyre, Load, Server, ServerOptions, Site, TestApp, until};

/// As many as the promise says.
const REQUESTS: u64 = 100_000;

/// Enough to keep both cores busy.
const CONNECTIONS: usize = 16;

#[test]
fn an_application_lives_from_an_empty_folder_to_its_deletion() {
    let gyre = Gyre::new().with_guest_toolchain();
    let project = gyre.home().join("hello");

    // new, build
    let _ = gyre.run(&["new", "-t", "http-rust", "hello", "-a"]).ok();
    assert!(project.join("spin.toml").is_file(), "`gyre new` made no spin.toml");
    let built = gyre.run_in(&project, &["build"]).ok();
    assert!(built.both().contains("Finished building all Spin components"), "{}", built.both());

    // server, login by code
    let server = Server::start_signed_out(gyre, ServerOptions::default());
    let mut server = sign_in_by_code(server);
    assert!(
        server.run(&["login", "--status"]).ok().both().contains(&server.url()),
        "the sign-in names its server"
    );

    // deploy
    let deployed = server.gyre.run_in(&project, &["deploy"]).ok();
    shows_what_spin_showed(&deployed.both());
    let first = deploy(&server, &project);
    let site = first.site();
    let answer = site.get("/").expect(200);
    assert_eq!(answer.text(), "Hello from hello!\n");

    // edit, deploy again under load
    change_a_line(&project, "Hello from hello!", "Hello again!");
    let _ = server.gyre.run_in(&project, &["build"]).ok();
    let check = text_then_text("Hello from hello!\n", "Hello again!\n");
    let load = Load::start(&site, "/", CONNECTIONS, REQUESTS, check);
    until("the load is on its way", || (load.answered() > REQUESTS / 10).then_some(()));
    let second = deploy(&server, &project);
    let report = load.finish();
    report.expect_flawless(REQUESTS);
    assert!(report.before > 0 && report.after > 0, "the swap was not within the load: {report:?}");
    assert_eq!(second.url, first.url, "the URL stays");
    assert_ne!(second.revision, first.revision);

    // rollback likewise
    let check = text_then_text("Hello again!\n", "Hello from hello!\n");
    let load = Load::start(&site, "/", CONNECTIONS, REQUESTS, check);
    until("the load is on its way", || (load.answered() > REQUESTS / 10).then_some(()));
    let _ = server.run(&["rollback", "hello"]).ok();
    let report = load.finish();
    report.expect_flawless(REQUESTS);
    assert!(report.before > 0 && report.after > 0, "the swap was not within the load: {report:?}");
    assert_eq!(site.get("/").expect(200).text(), "Hello from hello!\n");
    let revisions = server.run(&["revisions", "list", "hello"]).ok().stdout;
    assert!(revisions.lines().count() >= 2, "both revisions are listed:\n{revisions}");

    // logs
    server.wait_for_log("hello", "Handling request to");
    let trap = server.deploy(TestApp::of_guest("trap", "trap", "").path());
    let answer = trap.site().get("/?message=the+end+of+it").expect(500);
    assert_eq!(answer.text(), "", "a trap tells the public nothing");
    let log = server.wait_for_log("trap", "unreachable");
    assert!(log.contains("the end of it"), "what the guest said last is in the log:\n{log}");
    assert!(log.contains("give_up"), "the guest's backtrace is in the log:\n{log}");

    // kill -9 and restart: nothing acknowledged is lost
    let counter = TestApp::of_guest("counter", "key-value", "key_value_stores = [\"default\"]");
    let counter = server.deploy(counter.path()).site();
    let acknowledged = increment_until_killed(&counter, &mut server);
    server.restart();
    assert_eq!(site.get("/").expect(200).text(), "Hello from hello!\n");
    let kept: u64 = counter.get("/get?key=visits").expect(200).text().parse().unwrap();
    // The one in flight may have been written without its answer having arrived.
    assert!(
        (acknowledged..=acknowledged + 1).contains(&kept),
        "{acknowledged} were acknowledged, {kept} are kept"
    );

    // delete
    let listed = server.run(&["apps", "list"]).ok().stdout;
    assert!(listed.contains("hello") && listed.contains("counter"), "{listed}");
    let _ = server.run(&["apps", "delete", "hello", "--yes"]).ok();
    let _ = site.get("/").expect(404);
    let listed = server.run(&["apps", "list"]).ok().stdout;
    assert!(!listed.contains("hello"), "{listed}");
    assert_eq!(counter.get("/get?key=visits").expect(200).text(), kept.to_string());
}

#[test]
fn answers_are_wholly_of_one_version_through_many_swaps() {
    let server = Server::start();
    let app = TestApp::of_guest("swap", "version-old", "");
    let site = server.deploy(app.path()).site();
    assert_eq!(site.get("/").expect(200).header("x-version"), "old");
    for round in 0..3 {
        app.put_guest("app.wasm", "version-new");
        app.edit(
            &format!("version = \"0.{}.0\"", 1 + round),
            &format!("version = \"0.{}.0\"", 2 + round),
        );
        let load = Load::start(&site, "/", CONNECTIONS, 10_000, old_then_new);
        until("the load is on its way", || (load.answered() > 1_000).then_some(()));
        server.deploy(app.path());
        let report = load.finish();
        report.expect_flawless(10_000);

        let load = Load::start(&site, "/", CONNECTIONS, 10_000, new_then_old);
        until("the load is on its way", || (load.answered() > 1_000).then_some(()));
        let _ = server.run(&["rollback", "swap"]).ok();
        load.finish().expect_flawless(10_000);
        assert_eq!(site.get("/").expect(200).header("x-version"), "old");
    }
}

/// Signs in as a person does: copies the code that the terminal shows to the page that it names, and
/// approves.
fn sign_in_by_code(server: Server) -> Server {
    let mut login = server.gyre.start(&["login", "--url", &server.url()]);
    let code = line_after(&mut login, "Copy your one-time code:");
    let page = line_after(&mut login, "...and open the authorization page in your browser:");
    let token = server.admin_token();
    let shown = Browser::new(&server.url()).approve(&page, &code, &token, || !login.is_running());
    let status = login.wait();
    assert!(status.success(), "{}\nthe last page: {}", login.output(), shown.text());
    assert!(login.output().contains("Device authorized!"), "{}", login.output());
    server
}

/// The first line with something on it after the one that says `text`.
fn line_after(login: &mut Program, text: &str) -> String {
    login.wait_for(text, |line| line.contains(text).then_some(()));
    until(text, || {
        let lines = [login.stdout.lines(), login.stderr.lines()];
        let lines = lines.iter().find(|lines| lines.iter().any(|line| line.contains(text)))?;
        let after = lines.iter().skip_while(|line| !line.contains(text)).skip(1);
        after.map(|line| line.trim()).find(|line| !line.is_empty()).map(str::to_owned)
    })
}

fn deploy(server: &Server, project: &Path) -> Deployed {
    server.deploy(project)
}

fn shows_what_spin_showed(output: &str) {
    let uploading = output.lines().find(|line| line.contains("Uploading hello version 0.1.0+r"));
    let uploading = uploading.unwrap_or_else(|| panic!("no upload is shown:\n{output}"));
    let (_, suffix) = uploading.split_once("+r").expect("it was just found");
    let digits = suffix.trim_end_matches('.').to_owned();
    assert!(
        digits.len() == 8 && digits.chars().all(|digit| digit.is_ascii_hexdigit()),
        "{uploading}"
    );
    for line in [
        "Deploying...",
        "Waiting for application to become ready",
        "ready",
        "Available Routes:",
        "  hello: http://hello-",
        "(wildcard)",
    ] {
        assert!(output.contains(line), "{line:?} is not in\n{output}");
    }
}

fn change_a_line(project: &Path, from: &str, to: &str) {
    let path = project.join("src/lib.rs");
    let source = fs_err::read_to_string(&path).expect("the template has a source");
    assert!(source.contains(from), "{from:?} is not in the template's source:\n{source}");
    fs_err::write(&path, source.replace(from, to)).expect("the project is ours");
}

/// Increments one after the other, and ends the server in the middle of it. The last number that was
/// acknowledged.
fn increment_until_killed(counter: &Site, server: &mut Server) -> u64 {
    let site = counter.clone();
    let (send, receive) = std::sync::mpsc::channel();
    let client = std::thread::spawn(move || {
        let mut last = 0;
        while let Ok(answer) = site.send(http::Method::POST, "/increment?key=visits", &[], "") {
            assert_eq!(answer.status, 200, "{}", answer.text());
            last = answer.text().parse().expect("the counter is a number");
            // Nobody listens once the server was killed.
            let _ = send.send(last);
        }
        last
    });
    while receive.recv().expect("increments go on") < 50 {}
    server.kill();
    client.join().expect("every answer was well-formed")
}
