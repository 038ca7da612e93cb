//! Bad input gets a clear error, and nothing is lost by it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use gyre_testkit::{Gyre, Run, Server, ServerOptions, TestApp, skip, until};
use http::Method;

/// A good manifest to make mistakes in.
const MANIFEST: &str = "spin_manifest_version = 2

[application]
name = \"sample\"
version = \"0.1.0\"

[variables]
word = { default = \"hello\" }

[[trigger.http]]
route = \"/...\"
component = \"sample\"

[component.sample]
source = \"app.wasm\"
allowed_outbound_hosts = [\"https://example.com\"]
variables = { greeting = \"{{ word }}\" }
";

/// A mistake (text and what replaces it), and what the error must have in it.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("spin_manifest_version = 2", "spin_manifest_version = 3", "invalid manifest version"),
    ("spin_manifest_version = 2", "", "spin_manifest_version"),
    ("name = \"sample\"", "nmae = \"sample\"", "nmae"),
    ("name = \"sample\"", "", "name"),
    ("version = \"0.1.0\"", "version = 1", "string"),
    ("route = \"/...\"", "rout = \"/...\"", "rout"),
    ("component = \"sample\"", "component = \"other\"", "other"),
    ("component = \"sample\"", "component = \"not_kebab\"", "-"),
    ("[component.sample]", "[component.Sample-x]", ""),
    ("source = \"app.wasm\"", "", "source"),
    ("source = \"app.wasm\"", "source = { url = \"https://example.com/a.wasm\" }", "digest"),
    ("https://example.com", "example.com", "does not contain a scheme"),
    ("https://example.com", "https://exa mple.com", ""),
    ("{{ word }}", "{{ absent }}", "absent"),
    ("{{ word }}", "{{ word", ""),
    ("word = { default = \"hello\" }", "word = { required = true, default = \"x\" }", "OR have a"),
    ("word = { default = \"hello\" }", "Word = { default = \"hello\" }", "Word"),
    ("[component.sample]", "[component.sample", ""),
];

#[test]
fn every_mistake_in_a_manifest_is_told_and_deploys_nothing() {
    let server = Server::start();
    for (from, to, told) in MISTAKES {
        let app = TestApp::with_manifest(MANIFEST);
        app.put_guest("app.wasm", "hello");
        app.edit(from, to);
        for verb in ["up", "deploy"] {
            let run = server.run(&[verb, "--from", app.argument()]);
            assert!(run.code == 1, "{from:?} → {to:?} on {verb}\n{}", run.both());
            let run = run.says(told);
            is_an_error(&run);
        }
    }
    let listed = server.run(&["apps", "list"]).ok().stdout;
    assert!(!listed.contains("sample"), "{listed}");
}

#[test]
fn a_mistake_is_pointed_at_with_its_line() {
    let app = TestApp::with_manifest(MANIFEST);
    app.edit("name = \"sample\"", "nmae = \"sample\"");
    let run = Gyre::new().run(&["up", "--from", app.argument()]).failed();
    assert!(run.stderr.contains("spin.toml"), "{}", run.both());
    assert!(run.stderr.contains('4'), "the line's number is shown\n{}", run.both());
    assert!(run.stderr.contains("nmae = \"sample\""), "the line is shown\n{}", run.both());
}

#[test]
fn a_missing_component_or_manifest_is_told_with_its_path() {
    let gyre = Gyre::new();
    let app = TestApp::with_manifest(MANIFEST);
    let run = gyre.run(&["up", "--from", app.argument()]).failed();
    let run = run.says("app.wasm").says("No such file or directory (os error 2)");
    is_an_error(&run);
    let empty = tempfile::tempdir().unwrap();
    let _ = gyre.run_in(empty.path(), &["up"]).failed().says("spin.toml");
}

#[test]
fn a_corrupt_upload_is_refused_and_leaves_nothing() {
    let server = Server::start();
    let registry = server.admin();
    let right = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"; // "hello"

    // At once, with a digest that is not the content's.
    let start = registry.post("/v2/sample/blobs/uploads/", "").expect(202);
    let location = path_of(&start.header("location"));
    let end = with_query(&location, &format!("digest={right}"));
    let answer = registry.send(Method::PUT, &end, &[], "hellO").unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.json()["errors"][0]["code"], "DIGEST_INVALID");
    let gone = registry.send(Method::HEAD, &format!("/v2/sample/blobs/{right}"), &[], "").unwrap();
    assert_eq!(gone.status, 404);

    // In pieces, one of which is not where the last ended.
    let start = registry.post("/v2/sample/blobs/uploads/", "").expect(202);
    let location = path_of(&start.header("location"));
    let piece = |range: &str, body: &'static str| {
        let headers = [("content-range", range), ("content-type", "application/octet-stream")];
        registry.send(Method::PATCH, &location, &headers, body).unwrap()
    };
    assert_eq!(piece("0-1", "he").status, 202);
    assert_eq!(piece("3-4", "lo").status, 416);
    assert_eq!(piece("2-4", "llo").status, 202);
    let end = with_query(&location, &format!("digest={right}"));
    let answer = registry.send(Method::PUT, &end, &[], "").unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());

    // A manifest that names what is not there, and one that is none.
    let manifest =
        manifest_naming("sha256:9999999999999999999999999999999999999999999999999999999999999999");
    let kind = [("content-type", "application/vnd.oci.image.manifest.v1+json")];
    let put = |body: String| {
        registry.send(Method::PUT, "/v2/sample/manifests/1.0.0", &kind, body).unwrap()
    };
    let answer = put(manifest);
    assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
    let answer = put("{\"schemaVersion\":2".to_owned());
    assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
    let gone = registry.send(Method::GET, "/v2/sample/manifests/1.0.0", &[], "").unwrap();
    assert_eq!(gone.status, 404);
    let uploads = server.data().join("blobs");
    let whole = fs_err::read(uploads.join("sha256").join(&right[7..]));
    assert!(whole.is_err() || whole.is_ok_and(|bytes| bytes == b"hello"));
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost() {
    let mount = tempfile::tempdir().unwrap();
    if !mount_small(mount.path()) {
        skip("only root can mount the small file system it needs");
        return;
    }
    let _unmount = Unmount(mount.path().to_owned());
    let options =
        ServerOptions { data: Some(mount.path().join("data")), ..ServerOptions::default() };
    let mut server = Server::start_with(Gyre::new(), options);
    let counter = TestApp::of_guest("counter", "key-value", "key_value_stores = [\"default\"]");
    let counter = server.deploy(counter.path()).site();
    assert_eq!(counter.post("/increment?key=n", "").expect(200).text(), "1");

    let filler = mount.path().join("filler");
    fill(&filler);
    let big = TestApp::of_sdk("js");
    let run = server.try_deploy(big.path(), &[]).failed();
    is_an_error(&run);
    let told = run.stderr.to_lowercase();
    assert!(told.contains("no space") || told.contains("full"), "{}", run.both());
    // What was there goes on; a write may fail, but only with an error to the guest.
    assert_eq!(counter.get("/get?key=n").expect(200).text(), "1");
    let write = counter.post("/increment?key=n", "");
    assert!(write.status == 200 || write.status == 500, "{}", write.status);

    fs_err::remove_file(&filler).unwrap();
    let kept: u32 = counter.get("/get?key=n").expect(200).text().parse().unwrap();
    until("a write is possible again", || {
        (counter.post("/increment?key=n", "").status == 200).then_some(())
    });
    let small = TestApp::of_guest("small", "hello", "");
    let _ = server.deploy(small.path()).site().get("/").expect(200);
    server.kill();
    server.restart();
    let after: u32 = counter.get("/get?key=n").expect(200).text().parse().unwrap();
    assert_eq!(after, kept + 1);
    drop(server);
}

#[test]
fn a_port_in_use_is_told() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let app = TestApp::of_guest("sample", "hello", "");
    let gyre = Gyre::new();
    let up = gyre.run(&["up", "--from", app.argument(), "--listen", &address]).failed();
    is_an_error(&up.says(&format!("{address} is already in use")));
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let run = gyre.run(&["server", "--data", data, "--listen", &address]).failed();
    is_an_error(&run.says(&address).says("already in use"));
}

#[test]
fn two_servers_share_neither_a_port_nor_a_folder() {
    let server = Server::start();
    let address = format!("127.0.0.1:{}", server.port());
    let other = tempfile::tempdir().unwrap();
    let other = other.path().to_str().unwrap();
    let run = server.run(&["server", "--data", other, "--listen", &address]).failed();
    is_an_error(&run.says("already in use"));
    let data = server.data().to_str().unwrap();
    let run = server.run(&["server", "--data", data, "--listen", "127.0.0.1:0"]).failed();
    is_an_error(&run.says(data));
    let _ = server.site().get("/healthz").expect(200);
    let _ = server.run(&["apps", "list"]).ok();
}

#[test]
fn a_wrong_token_is_told_and_opens_nothing() {
    let server = Server::start();
    for token in ["nonsense", "a.b.c", "", "eyJhbGciOiJIUzI1NiJ9.e30.AAAA"] {
        let answer = server.site().with_token(token).get("/api/apps");
        assert_eq!(answer.status, 401, "{token:?}: {}", answer.text());
        let answer = server.site().with_token(token).get("/v2/");
        assert_eq!(answer.status, 401, "{token:?}: {}", answer.text());
    }
    assert_eq!(server.site().get("/api/v1/apps").status, 401);
    let url = server.url();
    let run = server.run(&["apps", "list", "--url", &url, "--token", "nonsense"]).failed();
    is_an_error(&run.says("gyre login"));
    let run = server.run(&["login", "--url", &url, "--token", "nonsense"]).failed();
    is_an_error(&run);
    let _ = server.run(&["apps", "list"]).ok();
}

#[test]
fn an_expired_or_revoked_token_is_told_and_opens_nothing() {
    let mut server = Server::start();
    for (column, told) in [("expires", "expired"), ("revoked", "revoked")] {
        let token = server.admin_token();
        let _ = server.run(&["apps", "list"]).ok();
        // A second ago, in nanoseconds.
        let before = "(unixepoch() - 1) * 1000000000";
        change_tokens(&mut server, &format!("UPDATE tokens SET {column} = {before}"));
        let site = server.site().with_token(&token);
        let answer = site.get("/api/v1/apps").expect(401);
        assert!(answer.text().contains(told), "{}", answer.text());
        assert_eq!(site.get("/v2/").status, 401);
        let run = server.run(&["apps", "list"]).failed().says(told).says("gyre login");
        is_an_error(&run);
        // Whoever holds the data folder is not locked out: a start without a valid token makes one.
        let token = server.admin_token();
        let _ = server.run(&["login", "--url", &server.url(), "--token", &token]).ok();
    }
    let _ = server.run(&["apps", "list"]).ok();
}

/// Time cannot be waited for, so the server's own records are changed while it does not run.
fn change_tokens(server: &mut Server, statement: &str) {
    assert!(server.program.terminate().success());
    let database = rusqlite::Connection::open(server.data().join("gyre.db"));
    let database = database.expect("the server keeps its records there");
    let changed = database.execute(statement, ()).expect("the table is as this test knows it");
    assert!(changed > 0, "{statement}: there is no token");
    drop(database);
    server.restart();
}

#[test]
fn a_server_that_is_away_is_told() {
    let mut server = Server::start();
    let app = TestApp::of_guest("sample", "hello", "");
    server.kill();
    let port = server.port().to_string();
    for verb in [&["apps", "list"][..], &["deploy", "--from", app.argument()], &["logs", "sample"]]
    {
        let run = server.run(verb).failed().says(&port);
        is_an_error(&run);
    }
    server.restart();
    let _ = server.deploy(app.path()).site().get("/").expect(200);
}

/// `Error: …` on standard error, nothing on standard output, no backtrace, exit code 1.
#[track_caller]
fn is_an_error(run: &Run) {
    assert_eq!(run.code, 1, "{}", run.both());
    assert!(run.stderr.contains("Error: ") || run.stderr.contains("error: "), "{}", run.both());
    for trace in ["stack backtrace", "panicked at", "/src/"] {
        assert!(!run.stderr.contains(trace), "{}", run.both());
    }
}

fn path_of(url: &str) -> String {
    match url.split_once("://") {
        Some((_, rest)) => rest[rest.find('/').unwrap_or(rest.len())..].to_owned(),
        None => url.to_owned(),
    }
}

fn with_query(path: &str, pair: &str) -> String {
    format!("{path}{}{pair}", if path.contains('?') { '&' } else { '?' })
}

fn manifest_naming(digest: &str) -> String {
    serde_json::json!({
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 2},
        "layers": [],
    })
    .to_string()
}

/// Mounts a file system of 24 MB; whether that was possible.
fn mount_small(place: &Path) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(place);
    mount.output().is_ok_and(|output| output.status.success())
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let outcome = Command::new("umount").arg("--lazy").arg(&self.0).output();
        assert!(
            outcome.is_ok_and(|output| output.status.success()),
            "unmounting {}",
            self.0.display()
        );
    }
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs_err::File::create(path).expect("there is room for a name");
    for size in [1 << 20, 4096] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

#[test]
fn an_application_is_built_for_its_targets() {
    let app = TestApp::of_guest("targeted", "hello", "build.command = \"true\"");
    let gyre = Gyre::new();
    let build = |flags: &[&str]| {
        let mut all = vec!["build", "--from", app.argument()];
        all.extend(flags);
        gyre.run(&all)
    };
    let warning = "whether the components can run in spin-up:4.0 is not checked: its worlds are not on this machine";
    assert!(!build(&[]).ok().both().contains("is not checked"));
    app.edit("[application]\n", "[application]\ntargets = [\"spin-up:4.0\"]\n");
    let _ = build(&[]).ok().says(warning);
    assert!(!build(&["--skip-target-checks"]).ok().both().contains(warning));

    // An environment that is on the machine: it offers nothing, so a component that uses the host cannot run there.
    app.edit("\"spin-up:4.0\"", "{ path = \"env.toml\" }");
    let folder = app.path();
    let worlds = "worlds = [{ path = \"env.wit\", world = \"test:env/nothing\" }]";
    fs_err::write(folder.join("env.toml"), format!("[triggers]\nhttp = {{ {worlds} }}\n")).unwrap();
    fs_err::write(folder.join("env.wit"), "package test:env; world nothing {}").unwrap();
    let refused = build(&[]).failed();
    let refused = refused.says("can't run in environment env.toml (world test:env/nothing).");
    let _ = refused.says("which the environment does not provide:").says("  - wasi:http/types@0.2");
    let _ = build(&["--skip-target-checks"]).ok();
    fs_err::write(folder.join("env.toml"), "[triggers]\n").unwrap();
    let _ = build(&[]).failed().says("Environment env.toml does not support trigger type http");
}
