//! Applications of several components, composed: a dependency has what it inherits and nothing else, middleware
//! stands before its handler, and a deployed application is the same one.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use gyre_testkit::{Gyre, Server, Site, TestApp};

/// What the dependency can be asked, and what it answers where it inherits nothing.
const REFUSED: &[(&str, &str)] = &[
    ("environment", "None"),
    ("files", "error: "),
    ("variables", "error: Error::Undefined(\"greeting\")"),
    ("config", "error: "),
    ("key-value", "error: Error::AccessDenied"),
    ("wasi-keyvalue", "error: Error::AccessDenied"),
    ("sqlite", "error: Error::AccessDenied"),
    ("sockets", "error: ErrorCode { code: 1, name: \"access-denied\""),
    ("names", "error: ErrorCode { code: 1, name: \"access-denied\""),
    ("http://127.0.0.1:9/", "error: ErrorCode::HttpRequestDenied"),
];

fn probed(dependency: &str) -> TestApp {
    let app = TestApp::with_manifest(&format!(
        "spin_manifest_version = 2

[application]
name = \"probed\"
version = \"1.0.0\"

[variables]
greeting = {{ default = \"hello\" }}

[[trigger.http]]
route = \"/...\"
component = \"probed\"

[component.probed]
source = \"probed.wasm\"
environment = {{ MARK = \"seen\" }}
files = [\"data.txt\"]
key_value_stores = [\"default\"]
sqlite_databases = [\"default\"]
allowed_outbound_hosts = [\"*://127.0.0.1:*\"]

[component.probed.variables]
greeting = \"{{{{ greeting }}}}\"

{dependency}
"
    ));
    app.put("data.txt", "in the file");
    app.put_guest("probed.wasm", "probed");
    app.put_guest("probe.wasm", "probe");
    app
}

fn ask(site: &Site, what: &str) -> String {
    site.get(&format!("/?what={what}")).expect(200).text()
}

fn refuses_everything(site: &Site) {
    for (what, answer) in REFUSED {
        let got = ask(site, what);
        assert!(got.starts_with(answer), "{what}: {got} instead of {answer}");
    }
}

#[test]
fn a_dependency_has_none_of_its_parents_capabilities_by_itself() {
    let app =
        probed("[component.probed.dependencies]\n\"guests:probe\" = { path = \"probe.wasm\" }");
    let gyre = Gyre::new();
    let up = gyre.up(app.path(), &[]);
    let site = up.site();
    assert_eq!(site.get("/own").expect(200).text(), "Some(\"seen\")");
    refuses_everything(&site);
}

#[test]
fn a_dependency_has_what_it_inherits() {
    let all = "dependencies_inherit_configuration = true
[component.probed.dependencies]
\"guests:probe/probe\" = { path = \"probe.wasm\" }";
    // The key is of the component's own table, not of its variables.
    let app = probed("");
    let (key, table) = all.split_once('\n').unwrap();
    app.edit("files = [", &format!("{key}\nfiles = ["));
    let text = fs_err::read_to_string(app.manifest()).unwrap();
    app.put("spin.toml", format!("{text}\n{table}\n"));
    let gyre = Gyre::new();
    let up = gyre.up(app.path(), &[]);
    let site = up.site();
    assert_eq!(ask(&site, "environment"), "Some(\"seen\")");
    assert_eq!(ask(&site, "files"), "in the file");
    assert_eq!(ask(&site, "variables"), "hello");
    assert_eq!(ask(&site, "key-value"), "None");
    assert_eq!(ask(&site, "wasi-keyvalue"), "1");
    assert_eq!(ask(&site, "sqlite"), "open");
    assert_eq!(ask(&site, "sockets"), "created");
    let fetched = ask(&site, "http://127.0.0.1:9/");
    assert!(!fetched.contains("Denied"), "{fetched}");
    drop(up);

    let some = probed(
        "[component.probed.dependencies]\n\"guests:probe@1.0.0\" = { path = \"probe.wasm\", \
         inherit_configuration = [\"environment\", \"sqlite_databases\"] }",
    );
    let up = gyre.up(some.path(), &[]);
    let site = up.site();
    assert_eq!(ask(&site, "environment"), "Some(\"seen\")");
    assert_eq!(ask(&site, "sqlite"), "open");
    assert_eq!(ask(&site, "key-value"), "error: Error::AccessDenied");
    assert!(ask(&site, "files").starts_with("error: "));
}

#[test]
fn another_component_can_be_the_dependency() {
    let app = probed(
        "[component.probed.dependencies]\n\"guests:probe\" = { component = \"probe\" }\n\n\
         [component.probe]\nsource = \"probe.wasm\"",
    );
    let gyre = Gyre::new();
    let up = gyre.up(app.path(), &[]);
    refuses_everything(&up.site());
}

#[test]
fn what_does_not_match_is_refused_before_it_runs() {
    let gyre = Gyre::new();
    let app =
        probed("[component.probed.dependencies]\n\"guests:other\" = { path = \"probe.wasm\" }");
    let _ = gyre
        .run(&["up", "--from", app.argument()])
        .failed()
        .says("dependency 'guests:other' doesn't match any imports of component 'probed'");
    let app =
        probed("[component.probed.dependencies]\n\"guests:probe\" = { path = \"probed.wasm\" }");
    let _ = gyre.run(&["up", "--from", app.argument()]).failed().says(
        "dependency 'guests:probe' doesn't export 'guests:probe/probe@1.0.0' to satisfy import \
         'guests:probe/probe@1.0.0'",
    );
}

#[test]
fn a_build_finds_the_interfaces_of_dependencies_beside_its_sources() {
    let app = probed(
        "[component.probed.dependencies]\n\"guests:probe\" = { path = \"probe.wasm\" }\n\n\
         [component.probed.build]\ncommand = \"cp spin-dependencies.wit seen.wit\"",
    );
    let gyre = Gyre::new();
    let _ = gyre.run(&["build", "--from", app.argument()]).ok();
    let wit = fs_err::read_to_string(app.path().join("seen.wit")).unwrap();
    for part in [
        "package root:component;",
        "import guests:probe/probe@1.0.0;",
        "ask: func(what: string) -> string;",
    ] {
        assert!(wit.contains(part), "{part} is not in\n{wit}");
    }
    // Where it is not to be made, it is not.
    fs_err::remove_file(app.path().join("spin-dependencies.wit")).unwrap();
    let arguments = ["build", "--from", app.argument(), "--skip-generate-wits"];
    let _ = gyre.run(&arguments).failed().says("the build of component probed failed");
}

#[test]
fn a_composed_application_is_deployed_as_one() {
    let app =
        probed("[component.probed.dependencies]\n\"guests:probe\" = { path = \"probe.wasm\" }");
    let server = Server::start();
    let deployed = server.deploy(app.path());
    let site = deployed.site();
    assert_eq!(site.get("/own").expect(200).text(), "Some(\"seen\")");
    refuses_everything(&site);
}

fn behind_middleware() -> TestApp {
    let app = TestApp::with_manifest(
        "spin_manifest_version = 2

[application]
name = \"behind\"
version = \"1.0.0\"

[[trigger.http]]
route = \"/...\"
component = \"handler\"
dependencies.middleware = [{ path = \"middleware.wasm\" }, { component = \"inner\", inherit_configuration = [\"environment\"] }]

[[trigger.http]]
route = \"/bare/...\"
component = \"handler\"

[component.handler]
source = \"handler.wasm\"
environment = { MARK = \"seen\" }

[component.inner]
source = \"middleware.wasm\"
",
    );
    app.put_guest("handler.wasm", "handler03");
    app.put_guest("middleware.wasm", "middleware03");
    app
}

fn has_middleware(site: &Site) {
    let answer = site.get("/path").expect(200);
    assert_eq!(answer.text(), "/path");
    assert_eq!(answer.header("x-handler-mark"), "seen");
    // The inner one comes first, and inherits; the outer one does not.
    let marks: Vec<_> = answer.headers.get_all("x-middleware-mark").iter().collect();
    assert_eq!(marks, ["seen", "none"]);
    let _ = site.get("/refused").expect(403);
    // Asynchronous functions are denied like the others.
    assert_eq!(
        site.get("/fetch").expect(403).header("x-fetched"),
        "Err(ErrorCode::HttpRequestDenied)"
    );

    let bare = site.get("/bare/refused").expect(200);
    assert_eq!(bare.text(), "/bare/refused");
    assert_eq!(bare.header("x-middleware-mark"), "");
}

#[test]
fn middleware_stands_before_the_handler_of_its_trigger() {
    let app = behind_middleware();
    let gyre = Gyre::new();
    let up = gyre.up(app.path(), &[]);
    has_middleware(&up.site());
    drop(up);
    let server = Server::start();
    has_middleware(&server.deploy(app.path()).site());
}
