//! Applications made with SDKs and tools that nobody here wrote, of several ages and languages, on `gyre up` and on
//! the server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use gyre_testkit::process::Program;
use gyre_testkit::{Gyre, Server, Site, TestApp, sdk_app};

/// How long a whole language runtime may take to compile on a machine with other work.
const COMPILING: Duration = Duration::from_mins(8);

/// One application with the three components.
fn all_three() -> TestApp {
    let app = TestApp::with_manifest(
        "spin_manifest_version = 2

[application]
name = \"three\"
version = \"1.0.0\"

[variables]
greeting = { default = \"Greetings\" }

[[trigger.http]]
route = \"/...\"
component = \"in-rust\"

[[trigger.http]]
route = \"/js/...\"
component = \"in-js\"

[[trigger.http]]
route = \"/python/...\"
component = \"in-python\"

[component.in-rust]
source = \"rust.wasm\"
key_value_stores = [\"default\"]
sqlite_databases = [\"default\"]

[component.in-rust.variables]
greeting = \"{{ greeting }}\"

[component.in-js]
source = \"js.wasm\"

[component.in-python]
source = \"python.wasm\"
",
    );
    for language in ["rust", "js", "python"] {
        app.put_file(&format!("{language}.wasm"), &sdk_app(language).join("app.wasm"));
    }
    app
}

/// Every component does what its source says.
fn answers_in_three_languages(site: &Site) {
    assert_eq!(site.get("/").expect(200).text(), "Greetings from Rust");
    assert_eq!(site.get("/key/colour").expect(404).text(), "not stored");
    let _ = site.post("/key/colour", "blue").expect(200);
    assert_eq!(site.get("/key/colour").expect(200).text(), "blue");
    let _ = site.post("/notes", "first").expect(200);
    let _ = site.post("/notes", "second").expect(200);
    assert_eq!(site.get("/notes").expect(200).text(), "first\nsecond");

    let answer = site.get("/js/place").expect(200);
    assert_eq!(answer.text(), "Hello from JavaScript at /js/place");
    assert_eq!(answer.header("x-language"), "javascript");
    assert_eq!(site.post("/js/reverse", "stressed").expect(200).text(), "desserts");

    let answer = site.get("/python/place?x=1").expect(200);
    assert_eq!(answer.text(), "Hello from Python at /python/place?x=1");
    assert_eq!(answer.header("x-language"), "python");
}

#[test]
fn three_languages_answer_on_up_and_are_compiled_once() {
    let gyre = Gyre::new();
    let app = all_three();
    let mut up = gyre.up(app.path(), &[]);
    answers_in_three_languages(&up.site());
    assert!(up.program.terminate().success());
    let compiled = files(&gyre.home().join(".cache"));
    assert!(compiled.len() >= 3, "three components are kept compiled: {compiled:?}");

    let up = gyre.up(app.path(), &[]);
    let answer = up.site().get("/js/again").expect(200);
    assert_eq!(answer.text(), "Hello from JavaScript at /js/again");
    assert_eq!(up.site().get("/key/colour").expect(200).text(), "blue", "the state is kept");
    assert_eq!(files(&gyre.home().join(".cache")), compiled, "what is compiled stays as it is");
}

#[test]
fn the_compilation_of_a_large_component_shows_its_progress() {
    let gyre = Gyre::new();
    let app = TestApp::of_sdk("js");
    // Progress is for terminals: script(1) lends one.
    let mut command = Command::new("script");
    gyre.prepare(&mut command);
    let verb = format!(
        "{} up --from {} --listen 127.0.0.1:0",
        gyre.binary().display(),
        app.path().display()
    );
    command.args(["--quiet", "--return", "--command", &verb, "/dev/null"]);
    let mut program = Program::start(command);
    let url = program.wait_for_within(COMPILING, "Serving", |line| {
        line.split_once("Serving ").map(|(_, url)| url.trim().to_owned())
    });
    let shown = program.stdout.text();
    assert!(shown.contains("Compiling sdk-js (12."), "{shown}");
    let _ = Site::at(&url).get("/").expect(200);
}

/// Every file below `folder`, with its length and the time of its last change.
fn files(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).into_iter().flatten().flatten() {
            let data = entry.metadata().expect("nobody removes it meanwhile");
            if data.is_dir() {
                folders.push(entry.path());
            } else {
                let changed = data.modified().expect("this file system keeps times");
                found.insert(entry.path(), (data.len(), changed));
            }
        }
    }
    found
}

#[test]
fn three_languages_answer_after_a_deploy() {
    let server = Server::start();
    let app = all_three();
    let limit = COMPILING.as_secs().to_string();
    let outcome = server.try_deploy(app.path(), &["--json", "--readiness-timeout", &limit]);
    let url = outcome.ok().json()["url"].as_str().expect("it says where it serves").to_owned();
    answers_in_three_languages(&Site::at(&url));
}

#[test]
fn each_sdk_app_is_deployable_by_itself() {
    let server = Server::start();
    let app = TestApp::of_sdk("rust");
    let site = server.deploy(app.path()).site();
    assert_eq!(site.get("/").expect(200).text(), "Greetings from Rust");
    let outcome = server.try_deploy(app.path(), &["--variable", "greeting=Welcome"]).ok();
    assert!(outcome.both().contains("ready"), "{}", outcome.both());
    assert_eq!(site.get("/").expect(200).text(), "Welcome from Rust");
}

/// What the sample applications of every SDK do.
#[track_caller]
fn stores_and_greets(site: &Site, language: &str) {
    assert_eq!(site.get("/").expect(200).text(), format!("Greetings from {language}"));
    assert_eq!(site.get("/key/colour").expect(404).text(), "not stored");
    let _ = site.post("/key/colour", "bl\u{e4}ulich").expect(200);
    assert_eq!(site.get("/key/colour").expect(200).text(), "bl\u{e4}ulich");
    let _ = site.post("/notes", "first").expect(200);
    let _ = site.post("/notes", "second").expect(200);
    assert_eq!(site.get("/notes").expect(200).text(), "first\nsecond");
    assert_eq!(site.get("/elsewhere").expect(404).text(), "no such page");
}

#[test]
fn the_bindings_of_spin_1_4_make_core_modules_that_run() {
    let app = TestApp::of_sdk("rust1");
    let module = fs_err::read(app.path().join("app.wasm")).unwrap();
    assert!(module.starts_with(b"\0asm\x01\0\0\0"), "it is a core module");
    let up = Gyre::new().up(app.path(), &[]);
    let site = up.site();
    assert_eq!(site.get("/").expect(200).text(), "Greetings from Rust");
    assert_eq!(site.get("/key/colour").expect(404).text(), "not stored");
    let _ = site.post("/key/colour", "blue").expect(200);
    assert_eq!(site.get("/key/colour").expect(200).text(), "blue");
    assert_eq!(site.get("/elsewhere").expect(404).text(), "no such page");
}

#[test]
fn the_rust_sdk_3_makes_core_modules_that_run() {
    let app = TestApp::of_sdk("rust3");
    let module = fs_err::read(app.path().join("app.wasm")).unwrap();
    assert!(module.starts_with(b"\0asm\x01\0\0\0"), "it is a core module");
    stores_and_greets(&Gyre::new().up(app.path(), &[]).site(), "Rust");
}

#[test]
fn the_rust_sdk_6_speaks_the_release_candidate_of_wasi_0_3() {
    let app = TestApp::of_sdk("rust6");
    stores_and_greets(&Gyre::new().up(app.path(), &[]).site(), "Rust");
}

#[test]
fn the_rust_sdk_7_speaks_wasi_0_3() {
    let app = TestApp::of_sdk("rust7");
    let up = Gyre::new().up(app.path(), &[]);
    stores_and_greets(&up.site(), "Rust");
    // Many at once, by instances that are used again.
    let site = up.site();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    assert_eq!(site.get("/key/colour").expect(200).text(), "bl\u{e4}ulich");
                }
            });
        }
    });
}

#[test]
fn the_javascript_tools_3_import_interfaces_that_the_application_names() {
    let app = TestApp::of_sdk("js");
    let up = Gyre::new().up(app.path(), &[]);
    stores_and_greets(&up.site(), "JavaScript");
    let lines = "line 0\nline 1\nline 2\nline 3\nline 4\n";
    assert_eq!(up.site().get("/stream").expect(200).text(), lines);
}

#[test]
fn the_typescript_tools_3_run_and_their_language_models_need_permission() {
    let app = TestApp::of_sdk("ts");
    let up = Gyre::new().up(app.path(), &[]);
    stores_and_greets(&up.site(), "TypeScript");
    let answer = up.site().post("/infer", "Once upon a time").expect(502);
    let text = answer.text();
    let expected = "invalid-input: The component does not have access to use 'llama2-chat'.";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn the_javascript_sdk_2_routes_by_the_full_url() {
    let app = TestApp::of_sdk("js2");
    stores_and_greets(&Gyre::new().up(app.path(), &[]).site(), "JavaScript");
}

#[test]
fn quickjs_components_speak_wasi_0_3_beside_synchronous_interfaces() {
    let app = TestApp::of_sdk("qjs");
    stores_and_greets(&Gyre::new().up(app.path(), &[]).site(), "QuickJS");
}

#[test]
fn the_python_sdk_3_runs() {
    let app = TestApp::of_sdk("python3");
    stores_and_greets(&Gyre::new().up(app.path(), &[]).site(), "Python");
}

#[test]
fn the_python_sdk_5_finds_every_interface_of_the_platform() {
    let app = TestApp::of_sdk("python5");
    stores_and_greets(&Gyre::new().up(app.path(), &[]).site(), "Python");
}

/// A program of another language, under WAGI.
#[track_caller]
fn answers_as_a_program(name: &str, language: &str) {
    let app = TestApp::of_sdk(name);
    let up = Gyre::new().up(app.path(), &[]);
    let answer = up.site().post("/some/where?x=1", "a body").expect(200);
    assert_eq!(answer.header("x-language"), language);
    let text = answer.text();
    assert!(text.starts_with("POST /some/where?x=1\n"), "{text}");
    assert!(text.ends_with("a body"), "{text}");
}

#[test]
fn programs_in_c_answer() {
    answers_as_a_program("wagi-c", "c");
}

#[test]
fn programs_in_zig_answer() {
    answers_as_a_program("wagi-zig", "zig");
}

#[test]
fn programs_in_go_answer() {
    answers_as_a_program("wagi-go", "go");
}

#[test]
fn programs_in_assemblyscript_answer() {
    answers_as_a_program("wagi-as", "assemblyscript");
}
