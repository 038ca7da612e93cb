//! The flags and environment variables of `gyre up`, each by its effect: see `docs/reference/up.md`.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::net::TcpListener;

use gyre_testkit::{Gyre, Site, TestApp, until};

fn hello() -> TestApp {
    TestApp::of_guest("hello", "hello", "")
}

fn logger() -> TestApp {
    let app = TestApp::with_manifest(
        "spin_manifest_version = 2\n[application]\nname = \"two\"\nversion = \"1.0.0\"\n\
         [[trigger.http]]\nroute = \"/a/...\"\ncomponent = \"a\"\n\
         [[trigger.http]]\nroute = \"/b/...\"\ncomponent = \"b\"\n\
         [component.a]\nsource = \"app.wasm\"\n[component.b]\nsource = \"app.wasm\"\n",
    );
    app.put_guest("app.wasm", "log");
    app
}

fn read(app: &TestApp, path: &str) -> String {
    fs_err::read_to_string(app.path().join(path)).unwrap_or_default()
}

#[test]
fn output_is_in_files_and_shown_as_asked_for() {
    let gyre = Gyre::new();
    for (arguments, shown) in [
        (&[][..], ["one 0", "two 0"].as_slice()),
        (&["--follow", "a"], &["one 0"]),
        (&["--follow", "a", "--follow", "b"], &["one 0", "two 0"]),
        (&["--quiet"], &[]),
        (&["-q"], &[]),
        (&["--sh"], &[]),
        (&["--shush"], &[]),
    ] {
        let app = logger();
        let up = gyre.up(app.path(), arguments);
        let _ = up.site().get("/a?text=one").expect(200);
        let _ = up.site().get("/b?text=two&stderr=yes").expect(200);
        until("it is in the files", || {
            let files = [".spin/logs/a_stdout.txt", ".spin/logs/b_stderr.txt"];
            let texts = files.map(|file| read(&app, file));
            (texts == ["one 0\n", "two 0\n"]).then_some(())
        });
        let is_shown = |text: &str| up.program.output().lines().any(|line| line == text);
        until("it is shown", || shown.iter().all(|text| is_shown(text)).then_some(()));
        for text in ["one 0", "two 0"].into_iter().filter(|text| !shown.contains(text)) {
            assert!(!is_shown(text), "{text} with {arguments:?}");
        }
    }
    let app = logger();
    let run = gyre.run_in(app.path(), &["up", "--follow", "c"]);
    let _ = run.failed().says("cannot follow component \"c\"");
    let run = gyre.run_in(app.path(), &["up", "--follow", "a", "--quiet"]);
    assert_eq!(run.code, 2);
}

#[test]
fn the_folder_for_output_is_the_one_that_is_named() {
    let app = logger();
    let (flag, variable) = (app.path().join("by-flag"), app.path().join("by-variable"));
    let one = |gyre: &Gyre, arguments: &[&str]| {
        let up = gyre.up(app.path(), arguments);
        let _ = up.site().get("/a?text=one").expect(200);
        until("it is shown", || up.program.output().contains("one 0").then_some(()));
        let mut program = up.program;
        program.terminate();
    };
    let by_variable = Gyre::new().with_env("SPIN_LOG_DIR", &variable);
    one(&by_variable, &[]);
    assert_eq!(read(&app, "by-variable/a_stdout.txt"), "one 0\n");
    // What is there stays, unless it is to be emptied; the flag wins.
    one(&by_variable, &[]);
    assert_eq!(read(&app, "by-variable/a_stdout.txt"), "one 0\none 0\n");
    one(&by_variable, &["--truncate-logs"]);
    assert_eq!(read(&app, "by-variable/a_stdout.txt"), "one 0\n");
    one(&by_variable, &["--log-dir", flag.to_str().unwrap()]);
    assert_eq!(read(&app, "by-flag/a_stdout.txt"), "one 0\n");
    one(&Gyre::new(), &["-L", ""]);
    assert!(!app.path().join(".spin/logs").exists());
    let state = app.path().join("state");
    one(&Gyre::new(), &["--state-dir", state.to_str().unwrap()]);
    assert_eq!(read(&app, "state/logs/a_stdout.txt"), "one 0\n");
}

#[test]
fn where_it_listens() {
    let app = hello();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let gyre = Gyre::new().with_env("SPIN_HTTP_LISTEN_ADDR", address.to_string());
    let from = app.argument();
    let run = gyre.run(&["up", "--from", from]);
    let _ = run.failed().says(&format!("{address} is already in use"));
    let mut free = gyre.start(&["up", "-f", from, "--find-free-port"]);
    let url = free.wait_for("Serving", |it| it.strip_prefix("Serving ").map(str::to_owned));
    assert_ne!(url, format!("http://{address}"));
    let _ = Site::at(&url).get("/").expect(200);
    let mut json = gyre.start(&["up", "-f", from, "--listen", "127.0.0.1:0", "--format", "json"]);
    json.wait_for("the routes", |line| line.contains("\"base_url\"").then_some(()));
}

#[test]
fn values_are_given_on_the_command_line() {
    let app = TestApp::of_guest("headers", "headers", "environment = { A = \"1\", B = \"2\" }");
    let up = Gyre::new().up(app.path(), &["-e", "B=3", "--env", "C=4=5"]);
    let text = up.site().get("/").expect(200).text();
    for pair in ["env A: 1\n", "env B: 3\n", "env C: 4=5\n"] {
        assert!(text.contains(pair), "{pair} in {text}");
    }
    let run = Gyre::new().run_in(app.path(), &["up", "-e", "novalue"]);
    assert_eq!(run.code, 2);
}

#[test]
fn only_some_components_run() {
    let app = logger();
    let up = Gyre::new().up(app.path(), &["-c", "b"]);
    let _ = up.site().get("/b").expect(200);
    let _ = up.site().get("/a").expect(404);
    let run = Gyre::new().run_in(app.path(), &["up", "--component-id", "c"]);
    let _ = run.failed().says("\"c\"");
}

#[test]
fn the_configuration_file_may_be_named_by_the_environment() {
    let app = hello();
    let gyre = Gyre::new().with_env("RUNTIME_CONFIG_FILE", "missing.toml");
    let _ = gyre.run_in(app.path(), &["up"]).failed().says("missing.toml");
}

#[test]
fn compiled_code_is_kept_unless_it_is_not_to_be() {
    let app = hello();
    let kept = |gyre: &Gyre, arguments: &[&str]| {
        let up = gyre.up(app.path(), arguments);
        let _ = up.site().get("/").expect(200);
        gyre.home().join(".cache/gyre/compiled").exists()
    };
    assert!(kept(&Gyre::new(), &[]));
    assert!(!kept(&Gyre::new(), &["--disable-cache"]));
    for (value, expected) in [("1", false), ("true", false), ("0", true)] {
        assert_eq!(kept(&Gyre::new().with_env("DISABLE_WASMTIME_CACHE", value), &[]), expected);
    }
    let folder = app.path().join("cache");
    assert!(!kept(&Gyre::new(), &["--cache-dir", folder.to_str().unwrap()]));
    assert!(folder.join("compiled").exists());
}

#[test]
fn what_changes_nothing_here_is_said() {
    let app = hello();
    let up = Gyre::new().up(app.path(), &["--cache", "wasmtime.toml", "--debug-info"]);
    let _ = up.site().get("/").expect(200);
    let output = up.program.output();
    assert!(output.contains("--cache (WASMTIME_CACHE_FILE) is ignored"), "{output}");
    assert!(output.contains("--debug-info is ignored"), "{output}");
    let gyre = Gyre::new().with_env("WASMTIME_CACHE_FILE", "wasmtime.toml");
    let up = gyre.up(app.path(), &[]);
    let output = up.program.output();
    assert!(output.contains("--cache (WASMTIME_CACHE_FILE) is ignored"), "{output}");
}

#[test]
fn the_pool_of_instances_is_as_the_environment_says() {
    let app = hello();
    for (name, value) in [
        ("SPIN_MAX_INSTANCE_COUNT", "20"),
        ("SPIN_WASMTIME_POOLING", "0"),
        ("SPIN_WASMTIME_POOLING", "1"),
        ("SPIN_WASMTIME_TOTAL_MEMORIES", "64"),
    ] {
        let up = Gyre::new().with_env(name, value).up(app.path(), &[]);
        let _ = up.site().get("/").expect(200);
    }
    let up = Gyre::new().up(app.path(), &["--disable-pooling"]);
    let _ = up.site().get("/").expect(200);
    // Too small for any component.
    let gyre = Gyre::new().with_env("SPIN_WASMTIME_INSTANCE_SIZE", "16");
    let _ = gyre.run_in(app.path(), &["up", "--listen", "127.0.0.1:0"]).failed();
    for (name, value) in [
        ("SPIN_MAX_INSTANCE_COUNT", "0"),
        ("SPIN_MAX_INSTANCE_COUNT", "many"),
        ("SPIN_WASMTIME_TOTAL_STACKS", "-1"),
        ("SPIN_WASMTIME_POOLING", "yes"),
    ] {
        let gyre = Gyre::new().with_env(name, value);
        let run = gyre.run_in(app.path(), &["up", "--listen", "127.0.0.1:0"]);
        let _ = run.failed().says(name);
    }
}

#[test]
fn memory_ends_where_it_is_said() {
    let app = TestApp::of_guest("data", "sqlite", "sqlite_databases = [\"default\"]");
    // The guest makes a blob of 12 MB.
    let status = |gyre: &Gyre, arguments: &[&str]| {
        let up = gyre.up(app.path(), arguments);
        up.site().post("/?p=@12000k", "SELECT length(?1)").status
    };
    let (little, much) = ((8u32 << 20).to_string(), (64u32 << 20).to_string());
    assert_eq!(status(&Gyre::new(), &[]), 200);
    assert_eq!(status(&Gyre::new(), &["--max-instance-memory", &little]), 500);
    let by_variable = Gyre::new().with_env("SPIN_MAX_INSTANCE_MEMORY", &little);
    assert_eq!(status(&by_variable, &[]), 500);
    assert_eq!(status(&by_variable, &["--max-instance-memory", &much]), 200);
}

#[test]
fn it_is_built_first_if_asked_for() {
    let build = "[component.hello.build]\ncommand = \"echo built > built.txt\"\n";
    let app = TestApp::of_guest("hello", "hello", build);
    let built = app.path().join("built.txt");
    for (gyre, arguments, expected) in [
        (Gyre::new(), &[][..], false),
        (Gyre::new(), &["--build"], true),
        (Gyre::new().with_env("SPIN_ALWAYS_BUILD", "1"), &[], true),
        (Gyre::new().with_env("SPIN_ALWAYS_BUILD", "false"), &[], false),
    ] {
        let _ = fs_err::remove_file(&built);
        let up = gyre.up(app.path(), arguments);
        let _ = up.site().get("/").expect(200);
        assert_eq!(built.exists(), expected, "{arguments:?}");
    }
}
