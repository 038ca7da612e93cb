//! `gyre bindle` against our server: keys, signing, pushing, fetching, searching, yanking.

#![allow(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::fmt::Write as _;
use std::path::Path;

use gyre_model::Digest;
use gyre_testkit::gyre::Run;
use gyre_testkit::{Gyre, Server};

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
