//! Applications in a registry (our server's): pushed, pulled and run from there, whatever tool put them there and in
//! whatever of their forms.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::path::Path;
use std::process::Command;

use gyre_model::Digest;
use gyre_testkit::gyre::Up;
use gyre_testkit::process::Program;
use gyre_testkit::{Gyre, Server, TestApp, guest};
use serde_json::{Value, json};

/// A server, and another user who has logged in to its registry.
fn registry() -> (Server, Gyre, String) {
    let server = Server::start();
    let host = format!("127.0.0.1:{}", server.port());
    let user = Gyre::new();
    let token = server.admin_token();
    let login = user.run(&["registry", "login", "-u", "me", "--password", &token, &host]).ok();
    assert_eq!(login.stdout, format!("Successfully logged in as me to registry {host}"));
    (server, user, host)
}

/// `gyre up` of what the arguments say, on a free port.
fn up(user: &Gyre, arguments: &[&str]) -> Up {
    let mut all = vec!["up", "--listen", "127.0.0.1:0"];
    all.extend(arguments);
    let mut program: Program = user.start(&all);
    let url = program.wait_for("Serving", |line| line.strip_prefix("Serving ").map(str::to_owned));
    Up { url, program }
}

fn pushed(user: &Gyre, arguments: &[&str]) -> String {
    let mut all = vec!["registry", "push"];
    all.extend(arguments);
    let run = user.run(&all).ok();
    let digest = run.stdout.trim().strip_prefix("Pushed with digest ").unwrap_or_default();
    assert!(digest.starts_with("sha256:"), "{}", run.both());
    digest.to_owned()
}

#[test]
fn an_application_is_pushed_pulled_and_run() {
    let (server, user, host) = registry();
    let app = TestApp::of_guest("files", "files", "files = [\"small.txt\", \"large.txt\"]");
    app.put("small.txt", "small");
    app.put("large.txt", "large ".repeat(100));
    let reference = format!("{host}/files:1.0");
    let digest = pushed(&user, &["-f", app.argument(), "--annotation", "a.b=c", &reference]);

    let pulled = user.run(&["registry", "pull", &reference]).ok();
    assert_eq!(pulled.stdout, "Successfully pulled the app from the registry");
    let at_digest = format!("{host}/files@{digest}");
    for arguments in
        [["--from-registry", &*reference], ["-f", &*reference], ["--from", &*at_digest]]
    {
        let up = up(&user, &arguments);
        let site = up.site();
        assert_eq!(site.get("/read?path=/small.txt").expect(200).text(), "small");
        assert_eq!(site.get("/read?path=/large.txt").expect(200).text(), "large ".repeat(100));
        let info = site.get("/.well-known/spin/info").expect(200).json();
        assert_eq!(info["oci_image_digest"], digest);
    }

    // The same in archives.
    let archived = Gyre::new().with_env("SPIN_OCI_ARCHIVE_LAYERS", "1");
    let token = server.admin_token();
    let _ = archived.run(&["registry", "login", "-u", "me", "-p", &token, &host]).ok();
    let reference = format!("{host}/files:archived");
    assert_ne!(pushed(&archived, &["-f", app.argument(), &reference]), digest);
    let up = up(&user, &["--from-registry", &reference]);
    assert_eq!(up.site().get("/read?path=/large.txt").expect(200).text(), "large ".repeat(100));
}

#[test]
fn what_is_not_there_or_not_allowed_is_said() {
    let (_server, user, host) = registry();
    let nothing = format!("{host}/nothing:1");
    let _ = user.run(&["up", "--from-registry", &nothing]).failed().says("cannot pull");
    let stranger = Gyre::new();
    let _ = stranger.run(&["up", "-f", &nothing]).failed().says("cannot pull");
    let _ = stranger
        .run(&["registry", "login", "-u", "me", "--password", "wrong", &host])
        .failed()
        .says("cannot log in to the registry");
    // No registry, no tag: it is a path, and not there.
    let _ = user.run(&["up", "-f", "hello"]).failed().says("does not exist");
    let _ = user.run(&["up", "-f", "some.folder/spin.toml"]).failed().says("does not exist");
    let app = TestApp::of_guest("hello", "hello", "");
    let at_digest = format!("{host}/hello@sha256:{}", "0".repeat(64));
    let _ = user
        .run(&["registry", "push", "-f", app.argument(), &at_digest])
        .failed()
        .says("names a digest");
}

#[test]
fn dependencies_are_composed_before_the_push_or_after_the_pull() {
    let (_server, user, host) = registry();
    let app = TestApp::of_guest(
        "probed",
        "probed",
        "environment = { MARK = \"seen\" }\n\
         dependencies = { \"guests:probe\" = { path = \"probe.wasm\" } }",
    );
    app.put_guest("probe.wasm", "probe");
    let (composed, apart) = (format!("{host}/probed:composed"), format!("{host}/probed:apart"));
    let one = pushed(&user, &["-f", app.argument(), &composed]);
    let other = pushed(&user, &["-f", app.argument(), "--compose=false", &apart]);
    assert_ne!(one, other);
    for reference in [composed, apart] {
        let up = up(&user, &["--from-registry", &reference]);
        let site = up.site();
        assert_eq!(site.get("/").expect(200).text(), "Some(\"seen\")");
        assert_eq!(site.get("/?what=environment").expect(200).text(), "None");
    }
}

/// An OCI layout with one artifact, brought to the registry by skopeo.
fn copied(server: &Server, name: &str, config: (&str, &[u8]), layers: &[(&str, &[u8])]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let blobs = dir.path().join("blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    let descriptor = |kind: &str, bytes: &[u8]| -> Value {
        let digest = hex(bytes);
        fs_err::write(blobs.join(&digest), bytes).unwrap();
        json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    };
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let layers: Vec<_> = layers.iter().map(|(kind, bytes)| descriptor(kind, bytes)).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": descriptor(config.0, config.1),
        "layers": layers,
    });
    let manifest = descriptor(manifest_type, manifest.to_string().as_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs_err::write(dir.path().join("index.json"), index.to_string()).unwrap();
    fs_err::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let reference = format!("127.0.0.1:{}/{name}:1", server.port());
    skopeo(server, dir.path(), &reference);
    reference
}

fn hex(bytes: &[u8]) -> String {
    Digest::of(bytes).hex()
}

fn skopeo(server: &Server, layout: &Path, reference: &str) {
    let mut command = Command::new("skopeo");
    server.gyre.prepare(&mut command);
    command.args(["--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-creds"]);
    command.arg(format!("me:{}", server.admin_token()));
    command.arg(format!("oci:{}", layout.display())).arg(format!("docker://{reference}"));
    let output = command.output().expect("skopeo is installed: `cargo xtask test` sees to that");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn bare_components_and_old_artifacts_run() {
    let (server, user, _) = registry();
    let hello = fs_err::read(guest("hello")).unwrap();
    let package = ("application/vnd.wasm.config.v0+json", &b"{}"[..]);
    for (name, kind) in
        [("package", "application/wasm"), ("layer", "application/vnd.wasm.content.layer.v1+wasm")]
    {
        let reference = copied(&server, name, package, &[(kind, &hello)]);
        let up = up(&user, &["--from-registry", &reference]);
        let _ = up.site().get("/any/path").expect(200);
    }

    // The first artifacts had the locked app as their config; and files inside it, if they are small.
    let files = fs_err::read(guest("files")).unwrap();
    let locked = json!({
        "spin_lock_version": 0,
        "metadata": { "name": "old", "origin": "file:///home/somebody/spin.toml", "trigger": { "type": "http" } },
        "triggers": [{
            "id": "trigger-files",
            "trigger_type": "http",
            "trigger_config": { "component": "files", "route": "/..." },
        }],
        "components": [{
            "id": "files",
            "source": {
                "content_type": "application/wasm",
                "digest": format!("sha256:{}", hex(&files)),
            },
            "files": [{ "inline": "aW4gdGhlIGxvY2tlZCBhcHA", "path": "small.txt" }],
        }],
    });
    let layer = ("application/vnd.wasm.content.layer.v1+wasm", &files[..]);
    let config = locked.to_string();
    let kind = "application/vnd.fermyon.spin.application.v1+config";
    let reference = copied(&server, "old", (kind, config.as_bytes()), &[layer]);
    let up = up(&user, &["--from-registry", &reference]);
    assert_eq!(up.site().get("/read?path=/small.txt").expect(200).text(), "in the locked app");
}

#[test]
fn an_application_from_a_registry_keeps_state_only_where_it_is_told() {
    let (_server, user, host) = registry();
    let app = TestApp::of_guest("kv", "key-value", "key_value_stores = [\"default\"]");
    let reference = format!("{host}/kv:1");
    pushed(&user, &["-f", app.argument(), &reference]);
    let state = tempfile::tempdir().unwrap();
    let state = state.path().to_str().unwrap();
    for (arguments, found) in [
        (vec!["--from-registry", &reference], 404),
        (vec!["--from-registry", &reference, "--state-dir", state], 200),
    ] {
        let first = up(&user, &arguments);
        let _ = first.site().post("/set?key=a", "kept").expect(200);
        drop(first);
        let second = up(&user, &arguments);
        let _ = second.site().get("/get?key=a").expect(found);
    }
    assert!(!user.home().join(".spin").exists());
}
