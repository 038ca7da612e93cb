//! `gyre bindle` against our server: keys, signing, pushing, fetching, searching, yanking; applications as bindles.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::fmt::Write as _;
use std::path::Path;

use gyre_model::Digest;
use gyre_testkit::gyre::{Run, Up};
use gyre_testkit::{Browser, Gyre, Server, Site, TestApp};

const KEYS_FETCH: &str = "gyre bindle keys fetch";

struct User {
    gyre: Gyre,
    folder: tempfile::TempDir,
    flags: Vec<String>,
}

/// Somebody who has the server's token as a password.
fn user(server: &Server) -> User {
    let url = format!("http://127.0.0.1:{}/api/registry/", server.port());
    let token = server.admin_token();
    let flags = ["--server", &url, "--http-user", "me", "--http-password", &token];
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    User { gyre: Gyre::new(), folder: tempfile::tempdir().unwrap(), flags }
}

impl User {
    fn run(&self, arguments: &[&str]) -> Run {
        let mut all = vec!["bindle"];
        all.extend(self.flags.iter().map(String::as_str));
        all.extend(arguments);
        self.gyre.run_in(self.folder.path(), &all)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

/// A bindle on its own with two parcels, in the user's folder.
fn bindle(user: &User, id: &str, parcels: &[(&str, &str)]) {
    let (name, version) = id.rsplit_once('/').unwrap();
    let mut invoice = format!(
        "bindleVersion = \"1.0.0\"\n[bindle]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"for a test\"\n"
    );
    fs_err::create_dir_all(user.path("parcels")).unwrap();
    for (name, text) in parcels {
        fs_err::write(user.path(name), text).unwrap();
        let label = user.run(&["generate-label", name]).ok().stdout;
        writeln!(invoice, "[[parcel]]\n[parcel.label]\n{label}").unwrap();
        let place = format!("parcels/{}.dat", Digest::of(text).hex());
        fs_err::write(user.path(&place), text).unwrap();
    }
    fs_err::write(user.path("draft.toml"), invoice).unwrap();
    let signed = user.run(&["sign-invoice", "draft.toml", "-o", "invoice.toml"]).ok();
    let text = "Signed draft.toml with role as 'creator', label as 'A <a@example.com>' and wrote to invoice.toml";
    assert_eq!(signed.stdout, text);
}

#[test]
fn a_bindle_goes_to_the_server_and_comes_back() {
    let server = Server::start();
    let user = user(&server);
    let id = "example.com/app/1.0.0+q1";
    let _ = user.run(&["keys", "create", "A <a@example.com>"]).ok().prints("labelSignature");
    bindle(&user, id, &[("one.txt", "1"), ("two.wasm", "22")]);
    let archive = user.run(&["package", "invoice.toml", "-e", "out"]).ok();
    let archive = archive.stdout.strip_prefix("Wrote the bindle to ").unwrap().to_owned();
    assert!(archive.ends_with(&format!("{}.tar.gz", Digest::of(id).hex())), "{archive}");

    // Sent in two steps, as if the first had been cut off: the second sends what is missing.
    let _ = user.run(&["push-invoice", "invoice.toml"]).ok().says("still to be sent: two.wasm");
    let _ = user.run(&["push-file", id, "one.txt"]).ok().prints(&Digest::of("1").hex());
    assert_eq!(user.run(&["push", id, "-p", &archive]).ok().stdout, format!("Pushed bindle {id}"));
    let _ = user.run(&["push-invoice", "invoice.toml"]).failed().says("already exists");

    // Another user believes neither server nor creator yet.
    let other = self::user(&server);
    let _ = other.run(&["info", id]).failed().says("is not believed").says(KEYS_FETCH);
    let _ = other.run(&["info", id, "--unverified"]).ok().prints("role = \"host\"");
    let _ = other.run(&["keys", "fetch"]).ok().says("Added the key of Gyre at");
    let _ = other.run(&["keys", "fetch"]).ok().says("had it already");
    let _ = other.run(&["info", id]).failed().says("must be verified");
    let _ = other.run(&["info", id, "--strategy", "MultipleAttestation[Host]"]).ok();
    let print = user.run(&["keys", "print"]).ok().stdout;
    let key = print.lines().find_map(|line| line.strip_prefix("key = ")).unwrap();
    let _ = other.run(&["keys", "add", "A <a@example.com>", "creator", key.trim_matches('"')]).ok();
    for strategy in [
        "CreativeIntegrity",
        "AuthoritativeIntegrity",
        "GreedyVerification",
        "ExhaustiveVerification",
        "MultipleAttestation[Creator, Host]",
        "MultipleAttestationGreedy[Host]",
    ] {
        let _ = other.run(&["info", id, "--strategy", strategy]).ok().prints("example.com/app");
    }
    let refused = other.run(&["info", id, "--strategy", "MultipleAttestation[Host, Approver]"]);
    let _ = refused.failed().says("No signature found for role Approver");

    let got = other.run(&["get", id, "-e", "here"]).ok().stdout;
    let folder = Path::new(got.strip_prefix("Wrote the bindle to ").unwrap()).to_owned();
    let folder = other.folder.path().join(folder);
    let two = folder.join(format!("parcels/{}.dat", Digest::of("22").hex()));
    assert_eq!(fs_err::read_to_string(two).unwrap(), "22");
    let sha = Digest::of("22").hex();
    let _ = other.run(&["get-parcel", id, &sha, "-o", "two"]).ok();
    assert_eq!(fs_err::read_to_string(other.path("two")).unwrap(), "22");
    let _ = other.run(&["get-parcel", id, &Digest::of("3").hex()]).failed().says("lists no parcel");
    let _ = other.run(&["get-invoice", id]).ok();
    assert!(other.path("invoice.toml").is_file());

    let found = other.run(&["search", "-q", "app", "-b", "^1.0"]).ok();
    assert_eq!(found.stdout, format!("{id}\tfor a test"));
    let json = other.run(&["search", "--format", "json"]).ok().json();
    assert_eq!(json["total"], 1);
    assert_eq!(user.run(&["yank", id]).ok().stdout, format!("Bindle {id} yanked"));
    let _ = other.run(&["info", id]).failed().says("bindle is yanked");
    let _ = other.run(&["info", "--yanked", id]).ok().prints("yanked = true");
    assert_eq!(other.run(&["search"]).ok().stdout, "");
    let _ = other.run(&["search", "--yanked"]).ok().prints("(yanked)");
}

#[test]
fn what_is_wrong_is_said() {
    let server = Server::start();
    let user = user(&server);
    let _ = user.run(&["info", "a/1.0"]).failed().says("is not a version");
    let _ = user.run(&["info", "a/1.0.0"]).failed().says("the bindle a/1.0.0 was not found");
    let _ = user.run(&["push", "a/1.0.0"]).failed().says("there is no invoice.toml");
    let no_key = user.run(&["sign-invoice", "x.toml"]);
    let _ = no_key.failed().says("x.toml");
    let stranger =
        User { flags: vec!["--server".to_owned(), user.flags[1].clone()], ..self::user(&server) };
    let _ = stranger.run(&["search"]).failed().says("unauthorized");
    let nobody =
        User { flags: vec!["--server".to_owned(), "ftp://a".to_owned()], ..self::user(&server) };
    let _ = nobody.run(&["search"]).failed().says("is not the address of a Bindle server");
    let _ = user
        .run(&["info", "a/1.0.0", "--strategy", "Trust"])
        .failed()
        .says("verification strategy");
    // Whoever is signed in needs to say nothing.
    assert_eq!(server.run(&["bindle", "search"]).ok().stdout, "");
}

/// `gyre up` of a bindle, on a free port, by somebody whose environment says where it is, as Spin's did.
fn up(gyre: &Gyre, id: &str, arguments: &[&str]) -> Up {
    let mut all = vec!["up", "--bindle", id, "--listen", "127.0.0.1:0"];
    all.extend(arguments);
    let mut program = gyre.start(&all);
    let url = program.wait_for("Serving", |line| line.strip_prefix("Serving ").map(str::to_owned));
    Up { url, program }
}

fn with_environment(server: &Server) -> Gyre {
    Gyre::new()
        .with_env("BINDLE_URL", format!("http://127.0.0.1:{}/api/registry", server.port()))
        .with_env("BINDLE_USERNAME", "me")
        .with_env("BINDLE_PASSWORD", server.admin_token())
}

fn sees_its_files(site: &Site) {
    assert_eq!(site.get("/read?path=/s/small.txt").expect(200).text(), "small");
    assert_eq!(site.get("/read?path=/s/empty").expect(200).text(), "");
    let large = site.get("/read?path=/s/large.txt").expect(200).text();
    assert_eq!(large, "large ".repeat(100));
}

/// An application of version 1, which Spin 0.6 could have packed.
fn old_application() -> TestApp {
    let app = TestApp::with_manifest(
        "spin_manifest_version = \"1\"\nname = \"old\"\nversion = \"1.2.3\"\n\
         trigger = { type = \"http\", base = \"/\" }\n\
         [[component]]\nid = \"files\"\nsource = \"app.wasm\"\nfiles = [\"s/*\"]\ntrigger = { route = \"/...\" }\n",
    );
    with_files(app)
}

fn with_files(app: TestApp) -> TestApp {
    app.put_guest("app.wasm", "files");
    app.put("s/small.txt", "small");
    app.put("s/empty", "");
    app.put("s/large.txt", "large ".repeat(100));
    app
}

#[test]
fn an_application_is_prepared_pushed_and_run() {
    let server = Server::start();
    let user = user(&server);
    let app = old_application();
    let id = "old/1.2.3+q1234567";
    let prepared = user
        .run(&["prepare", "-f", app.argument(), "--buildinfo", "q1234567", "-d", "staged"])
        .ok();
    let staged = user.path("staged").canonicalize().unwrap();
    let command = format!("command: gyre bindle push -p {} {id}", staged.display());
    assert_eq!(prepared.stdout, format!("id:      {id}\n{command}"));
    let invoice = staged.join(Digest::of(id).hex()).join("invoice.toml");
    let invoice = fs_err::read_to_string(invoice).unwrap();
    assert!(invoice.contains("application/vnd.fermyon.spin+toml"), "{invoice}");
    assert!(!invoice.contains("[[signature]]"), "{invoice}");
    assert_eq!(user.run(&["push", id, "-p", "staged"]).ok().stdout, format!("Pushed bindle {id}"));

    // Nobody runs what nobody vouches for whom they know.
    let other = with_environment(&server);
    let arguments = ["up", "--bindle", id, "--listen", "127.0.0.1:0"];
    let _ = other.run(&arguments).failed().says("is not believed").says(KEYS_FETCH);
    sees_its_files(&up(&other, id, &["--bindle-unverified"]).site());
    let _ = other.run(&["bindle", "keys", "fetch"]).ok();
    // The second time it is in the cache.
    for _ in 0..2 {
        sees_its_files(&up(&other, id, &[]).site());
    }
    let strategy = ["--bindle-strategy", "CreativeIntegrity"];
    let _ = other.run(&[&arguments[..], &strategy].concat()).failed().says("is not believed");
    let _ = other.run(&["up", "-b", "old/9.9.9"]).failed().says("old/9.9.9 was not found");
    let _ = other.run(&["up", "-b", id, "-f", app.argument()]).failed().says("cannot be used with");

    // A damaged parcel in the cache is fetched again.
    let parcel = format!("{}.dat", Digest::of("small").hex());
    let damaged = walk(other.home(), &parcel);
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    fs_err::write(&damaged[0], "smell").unwrap();
    sees_its_files(&up(&other, id, &[]).site());
}

/// The files of that name below a folder.
fn walk(folder: &Path, name: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path, name));
        } else if path.ends_with(name) {
            found.push(path);
        }
    }
    found
}

#[test]
fn an_application_goes_straight_to_the_server_and_on() {
    let server = Server::start();
    let user = user(&server);
    let app = TestApp::of_guest("files", "files", "files = [\"s/*\"]");
    let app = with_files(app);
    let _ = user.run(&["keys", "create", "A <a@example.com>"]).ok();
    let push = ["push", "-f", app.argument(), "--sign"];
    assert_eq!(user.run(&push).ok().stdout, "pushed: files/0.1.0");
    // Again it is the same, and nothing is left to do; with other content it is another bindle.
    assert_eq!(user.run(&push).ok().stdout, "pushed: files/0.1.0");
    app.put("s/new", "new");
    let _ = user.run(&push).failed().says("already exists on the server, and is another one");
    let again = [&push[..], &["--buildinfo", "r2"]].concat();
    assert_eq!(user.run(&again).ok().stdout, "pushed: files/0.1.0+r2");
    let info = user.run(&["info", "files/0.1.0+r2", "--unverified"]).ok();
    let info = info.prints("application/vnd.fermyon.spin.application.v1+config");
    let info = info.prints("role = \"creator\"").prints("role = \"host\"");
    // Spin up to 0.10 could not run it, and gets nothing that it would try.
    assert!(!info.stdout.contains("spin+toml"), "{}", info.stdout);

    // A bindle becomes a revision.
    let unverified = ["deploy", "--bindle", "files/0.1.0+r2", "--bindle-unverified", "--json"];
    let _ = server.run(&unverified[..3]).failed().says("is not believed");
    let deployed = server.run(&unverified).ok().json();
    let site = Site::at(deployed["url"].as_str().unwrap());
    sees_its_files(&site);
    assert_eq!(site.get("/read?path=/s/new").expect(200).text(), "new");
    // The same revision as that of the folder.
    let of_folder = server.deploy(app.path());
    assert_eq!(deployed["revision"], of_folder.revision);

    // What is in an OCI registry becomes a bindle, and the same one.
    let host = format!("127.0.0.1:{}", server.port());
    let token = server.admin_token();
    let _ = user.gyre.run(&["registry", "login", "-u", "me", "-p", &token, &host]).ok();
    let reference = format!("{host}/files:1");
    let _ = user.gyre.run(&["registry", "push", "-f", app.argument(), &reference]).ok();
    let prepare = ["prepare", "--from-registry", &reference, "--buildinfo", "r2", "-d", "staged"];
    let _ = user.run(&prepare).ok().prints("id:      files/0.1.0+r2");
    let folder = user.path("staged").join(Digest::of("files/0.1.0+r2").hex()).join("parcels");
    for entry in fs_err::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let sha256 = name.strip_suffix(".dat").unwrap();
        assert!(info.stdout.contains(sha256), "{sha256}");
    }
}

#[test]
fn what_cannot_become_a_bindle_is_said() {
    let server = Server::start();
    let user = user(&server);
    let app = old_application();
    let _ = user.run(&["push", "-f", app.argument(), "--sign"]).failed().says("has no such key");
    let _ = user.run(&["push", "old/1.2.3", "-f", app.argument()]).failed().says("cannot be used");
    let _ = user
        .run(&["prepare", "-f", app.argument(), "-d", "x", "--buildinfo", "a b"])
        .failed()
        .says("invalid value");
    app.edit("1.2.3", "1.2");
    let _ = user
        .run(&["prepare", "-f", app.argument(), "-d", "x"])
        .failed()
        .says("it needs a version such as 1.2.3");
}

#[test]
fn a_person_signs_in_by_a_code() {
    let server = Server::start();
    let user = Gyre::new();
    let url = format!("http://127.0.0.1:{}/api/registry", server.port());
    let login = |more: &[&str]| {
        let mut login = user.start(&[&["bindle", "--server", &url, "login"], more].concat());
        let end = "enter the code when prompted: ";
        let code =
            login.wait_for(end, |line| line.split_once(end).map(|(_, code)| code.to_owned()));
        let page = login.wait_for("the page", |line| {
            line.ends_with("/device-authorization").then(|| line.to_owned())
        });
        let token = server.admin_token();
        let shown =
            Browser::new(&server.url()).approve(&page, &code, &token, || !login.is_running());
        let status = login.wait();
        assert!(status.success(), "{}\nthe last page: {}", login.output(), shown.text());
        assert!(login.output().contains("Login successful"), "{}", login.output());
    };
    let search = ["bindle", "--server", &url, "search"];
    let _ = user.run(&search).failed().says("unauthorized");
    login(&[]);
    assert_eq!(user.run(&search).ok().stdout, "");
    // No other server is shown it.
    let other = format!("http://localhost:{}/api/registry", server.port());
    let _ = user.run(&["bindle", "--server", &other, "search"]).failed().says("unauthorized");
    // In a file of its own it is shown to whomever one says.
    login(&["--token-file", "token"]);
    let flags = ["bindle", "--server", &other, "--token-file", "token", "search"];
    assert_eq!(user.run(&flags).ok().stdout, "");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs_err::metadata(user.home().join("token")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let (key, text) = ("id_token = ", fs_err::read_to_string(user.home().join("token")).unwrap());
    let token = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    fs_err::write(user.home().join("bare"), token.trim_matches('"')).unwrap();
    assert_eq!(user.run(&[&flags[..4], &["bare", "search"]].concat()).ok().stdout, "");
}
