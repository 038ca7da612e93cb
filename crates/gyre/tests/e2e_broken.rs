//! A deploy of something broken changes nothing for users, says why in one paragraph, and fails.

use gyre_testkit::load::old_then_new;
use gyre_testkit::{Load, Run, Server, Site, TestApp, guest};

/// An app that works, its site, and a load on it that must not notice anything.
struct Stage {
    server: Server,
    app: TestApp,
    site: Site,
}

impl Stage {
    fn set() -> Self {
        let server = Server::start();
        let app = TestApp::of_guest("steady", "version-old", "");
        let site = server.deploy(app.path()).site();
        Self { server, app, site }
    }

    /// Deploys what the app's folder has now, under load. The verb must fail and users must not notice.
    fn deploy_fails(&self) -> Run {
        let active = self.server.run(&["apps", "info", "steady", "--json"]).ok().stdout;
        let load = Load::start(&self.site, "/", 4, 2_000, old_then_new);
        let run = self.server.try_deploy(self.app.path(), &[]).failed();
        let report = load.finish();
        report.expect_flawless(2_000);
        assert_eq!(report.after, 0);
        assert_eq!(self.site.get("/").expect(200).header("x-version"), "old");
        let after = self.server.run(&["apps", "info", "steady", "--json"]).ok().stdout;
        assert_eq!(url_of(&active), url_of(&after));
        is_one_paragraph(&run);
        run
    }
}

fn url_of(info: &str) -> serde_json::Value {
    let info: serde_json::Value = serde_json::from_str(info).expect("it is JSON");
    info["url"].clone()
}

/// The reason is a few lines, without a backtrace of ours and without debug output.
fn is_one_paragraph(run: &Run) {
    let from = run.stderr.find("Error:").or_else(|| run.stderr.find("error:"));
    let reason = &run.stderr[from.unwrap_or_else(|| panic!("no error\n{}", run.both()))..];
    assert!(reason.lines().count() <= 15, "longer than a paragraph\n{}", run.both());
    for trace in ["stack backtrace", "panicked at", "src/", "Some("] {
        assert!(!reason.contains(trace), "{trace:?} is for us, not for users\n{}", run.both());
    }
}

#[test]
fn a_component_that_does_not_compile_changes_nothing() {
    let stage = Stage::set();
    let whole = fs_err::read(guest("version-new")).unwrap();
    stage.app.put("app.wasm", &whole[..whole.len() / 2]);
    let run = stage.deploy_fails();
    assert!(run.stderr.contains("steady"), "the component is named\n{}", run.both());
}

#[test]
fn a_file_that_is_no_component_changes_nothing() {
    let stage = Stage::set();
    stage.app.put("app.wasm", "this is not WebAssembly");
    let _ = stage.deploy_fails();
    stage.app.put_guest("app.wasm", "module");
    let _ = stage.deploy_fails();
}

#[test]
fn a_missing_import_changes_nothing_and_is_named() {
    let stage = Stage::set();
    stage.app.put_guest("app.wasm", "missing-import");
    let _ = stage.deploy_fails().says("absent:nowhere/thing@1.0.0");
}

#[test]
fn a_trap_in_the_probe_changes_nothing() {
    let stage = Stage::set();
    stage.app.put_guest("app.wasm", "crash-at-start");
    let _ = stage.deploy_fails().says("unreachable");
}

#[test]
fn a_first_deploy_that_fails_serves_nothing_and_the_next_one_works() {
    let server = Server::start();
    let app = TestApp::of_guest("newcomer", "crash-at-start", "");
    let _ = server.try_deploy(app.path(), &[]).failed();
    app.put_guest("app.wasm", "version-old");
    let site = server.deploy(app.path()).site();
    assert_eq!(site.get("/").expect(200).header("x-version"), "old");
}

#[test]
fn what_only_lacks_a_variable_waits_for_it() {
    let server = Server::start();
    let app =
        TestApp::of_guest("patient", "variables", "variables = { greeting = \"{{ word }}\" }");
    app.edit("[[trigger.http]]", "[variables]\nword = { required = true }\n\n[[trigger.http]]");
    let run = server.try_deploy(app.path(), &["--readiness-timeout", "10"]).failed().says("word");
    is_one_paragraph(&run);
    let _ = server.run(&["variables", "set", "--app", "patient", "word=hello"]).ok();
    let site = server.deploy(app.path()).site();
    assert_eq!(site.get("/get?name=greeting").expect(200).text(), "hello");
}
