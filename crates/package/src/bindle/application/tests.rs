//! Applications as bindles, and back: what Spin wrote, what Spin could read, and what nobody should.

use std::fmt::Write as _;

use fs_err as fs;
use proptest::prelude::*;

use super::*;
use crate::{
    artifact::BlobFolder,
    pack::pack,
    testing::{Folder, chain, portable, random, store, tree},
};

/// An application of version 1 with everything that Spin 0.10 knew.
const OLD: &str = r#"
spin_manifest_version = "1"
name = "old"
version = "1.2.3"
description = "an old one"
authors = ["A <a@example.com>"]
trigger = { type = "http", base = "/" }

[variables]
needed = { required = true, secret = true }
set = { default = "value" }

[[component]]
id = "hello"
description = "says hello"
source = "target/hello.wasm"
files = ["s/*"]
allowed_http_hosts = ["example.com", "example.org:8080", "self"]
key_value_stores = ["default"]
environment = { A = "1", b = "2" }
[component.trigger]
route = "/hello"
executor = { type = "wagi", argv = "${SCRIPT_NAME}" }
[component.config]
text = "{{ set }} and more"

[[component]]
id = "open"
source = "open.wasm"
files = ["s/b"]
allowed_http_hosts = ["insecure:allow-all"]
trigger = { route = "/..." }
"#;

fn old(manifest: &str) -> Folder {
    Folder::new(manifest)
        .write("app/target/hello.wasm", "hello")
        .write("app/open.wasm", "open")
        .write("app/s/a.txt", "a")
        .write("app/s/b", "b")
}

fn write_to(app: &Application, folder: &Folder) -> Standalone {
    write(app, None, &folder.path("bindles")).unwrap()
}

fn kinds(invoice: &Invoice) -> Vec<&str> {
    let mut kinds: Vec<_> =
        invoice.parcel.iter().map(|parcel| parcel.label.media_type.as_str()).collect();
    kinds.retain(|kind| [SPIN_MANIFEST, oci::LOCKED_APP, SETTINGS].contains(kind));
    kinds
}

#[tokio::test]
async fn an_old_application_becomes_what_spin_wrote() {
    let folder = old(OLD);
    let app = folder.load().await.unwrap();
    let build = BuildMetadata::new("q123").unwrap();
    let bindle = write(&app, Some(&build), &folder.path("bindles")).unwrap();
    assert!(bindle.verify().unwrap().is_empty());
    let invoice = bindle.invoice();
    assert_eq!(invoice.id().unwrap().to_string(), "old/1.2.3+q123");
    assert_eq!(invoice.bindle.description.as_deref(), Some("an old one"));
    assert_eq!(invoice.bindle.authors, ["A <a@example.com>"]);
    let groups: Vec<_> = invoice.group.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(groups, ["files-hello", "files-open"]);
    assert!(invoice.annotations.is_empty() && invoice.signature.is_empty());

    let manifest = &invoice.parcel[0].label;
    assert_eq!(manifest.media_type, SPIN_MANIFEST);
    assert_eq!(manifest.name, format!("spin.{}.toml", manifest.sha256));
    assert_eq!(manifest.annotations["fermyon:spin:delete_on_write"], ".");
    let parcels: Vec<_> = invoice.parcel[1..]
        .iter()
        .map(|parcel| {
            let Parcel { label, conditions } = parcel;
            let groups = conditions.member_of.join(" ");
            format!("{} {} {groups}", label.name, label.media_type)
        })
        .collect();
    assert_eq!(
        parcels,
        [
            "target/hello.wasm application/wasm ",
            "open.wasm application/wasm ",
            "s/a.txt text/plain files-hello",
            "s/b application/octet-stream files-hello files-open",
        ]
    );
    let text = fs::read_to_string(bindle.parcel(manifest).unwrap()).unwrap();
    let written: toml::Table = toml::from_str(&text).unwrap();
    let expected = format!(
        r#"
        trigger = {{ type = "http", base = "/" }}
        [variables]
        needed = {{ required = true, secret = true }}
        set = {{ default = "value" }}
        [[component]]
        source = "{}"
        id = "hello"
        description = "says hello"
        files = "files-hello"
        allowedHttpHosts = ["example.com", "example.org:8080", "self"]
        keyValueStores = ["default"]
        environment = {{ A = "1", b = "2" }}
        trigger = {{ route = "/hello", executor = {{ type = "wagi", argv = "${{SCRIPT_NAME}}" }} }}
        config = {{ text = "{{{{ set }}}} and more" }}
        [[component]]
        source = "{}"
        id = "open"
        files = "files-open"
        allowedHttpHosts = ["insecure:allow-all"]
        trigger = {{ route = "/..." }}
        "#,
        Digest::of("hello").hex(),
        Digest::of("open").hex()
    );
    assert_eq!(written, toml::from_str::<toml::Table>(&expected).unwrap());

    let back = load(invoice, &bindle, &folder.path("apps")).unwrap();
    assert_eq!(back.locked.version(), Some("1.2.3+q123"));
    let mut same = portable(&back.locked);
    same.metadata.insert("version".to_owned(), "1.2.3".into());
    assert_eq!(same, portable(&app.locked));
    assert_eq!(fs::read(&back.wasm["hello"].path).unwrap(), b"hello");
    for id in ["hello", "open"] {
        assert_eq!(tree(&back.mounts[id][0].host), tree(&app.mounts[id][0].host), "{id}");
    }
}

#[tokio::test]
async fn what_spins_manifest_cannot_say_is_in_a_locked_app() {
    let kinds_of = async |manifest: &str| {
        let folder = old(manifest);
        let app = folder.load().await.unwrap();
        let bindle = write_to(&app, &folder);
        let back = load(bindle.invoice(), &bindle, &folder.path("apps")).unwrap();
        assert_eq!(portable(&back.locked), portable(&app.locked));
        let found: Vec<_> = kinds(bindle.invoice()).into_iter().map(str::to_owned).collect();
        found.join(" ")
    };
    assert_eq!(kinds_of(OLD).await, SPIN_MANIFEST);
    // What is needed to build it is of no use to an old host.
    let built = OLD.replace("id = \"open\"", "id = \"open\"\nbuild = { command = \"make\" }");
    let both = format!("{SPIN_MANIFEST} {}", oci::LOCKED_APP);
    assert_eq!(kinds_of(&built).await, both);
    assert_eq!(kinds_of(&OLD.replace(", base = \"/\"", "")).await, both);
    // An old host would do something else: it gets no manifest.
    for (from, to) in [
        ("key_value_stores", "sqlite_databases"),
        ("key_value_stores = [\"default\"]", "ai_models = [\"llama2-chat\"]"),
        ("allowed_http_hosts = [\"insecure:allow-all\"]", "allowed_outbound_hosts = []"),
        ("\"value\" }", "\"value\", description = \"what for\" }"),
    ] {
        assert!(OLD.contains(from), "{from}");
        assert_eq!(kinds_of(&OLD.replace(from, to)).await, oci::LOCKED_APP, "{to}");
    }
    let new = "spin_manifest_version = 2\n[application]\nname = \"new\"\nversion = \"1.0.0\"\n\
        [[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n\
        [[trigger.redis]]\naddress = \"redis://r\"\nchannel = \"c\"\ncomponent = \"a\"\n\
        [component.a]\nsource = \"open.wasm\"\n";
    assert_eq!(kinds_of(new).await, oci::LOCKED_APP);
    let redis = "spin_manifest_version = \"1\"\nname = \"r\"\nversion = \"1.0.0\"\n\
        trigger = { type = \"redis\", address = \"redis://r\" }\n\
        [[component]]\nid = \"a\"\nsource = \"open.wasm\"\ntrigger = { channel = \"c\" }\n";
    assert_eq!(kinds_of(redis).await, SPIN_MANIFEST);
}

#[tokio::test]
async fn dependencies_travel_apart_and_are_composed_where_they_arrive() {
    let parent = wat::parse_str(r#"(component (import "foo" (instance)))"#).unwrap();
    let dependency =
        r#"(component (component $c) (instance $i (instantiate $c)) (export "foo" (instance $i)))"#;
    let dependency = wat::parse_str(dependency).unwrap();
    let folder = Folder::of_one("[component.a.dependencies]\nfoo = { path = \"foo.wasm\" }")
        .write("app/a.wasm", parent)
        .write("app/foo.wasm", &dependency);
    let app = folder.load().await.unwrap();
    let bindle = write_to(&app, &folder);
    assert_eq!(kinds(bindle.invoice()), [oci::LOCKED_APP]);
    let hex = Digest::of(&dependency).hex();
    assert_eq!(bindle.invoice().label(&hex).unwrap().name, format!("{hex}.wasm"));
    let back = load(bindle.invoice(), &bindle, &folder.path("apps")).unwrap();
    let packed = pack(&app).unwrap();
    let blobs = store(&packed, &folder.path("blobs"));
    let by_artifact = artifact::load(&packed.manifest, &blobs, &folder.path("apps")).unwrap();
    assert_eq!(back.wasm["a"].digest, by_artifact.wasm["a"].digest);
    assert_ne!(back.wasm["a"].digest, app.wasm["a"].digest);
}

#[tokio::test]
async fn an_application_without_a_whole_version_is_no_bindle() {
    let folder = old(&OLD.replace("1.2.3", "1.2"));
    let app = folder.load().await.unwrap();
    let error = write(&app, None, &folder.path("bindles")).unwrap_err();
    assert!(error.to_string().contains("it needs a version such as 1.2.3"), "{error}");
    assert!(!folder.path("bindles").exists());
}

/// A bindle by hand.
struct Made {
    folder: tempfile::TempDir,
    invoice: Invoice,
    blobs: BlobFolder,
}

impl Made {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobFolder::new(folder.path().join("blobs"));
        let invoice = Invoice::new(&"example.com/made/0.1.0+q1234567".parse().unwrap());
        Self { folder, invoice, blobs }
    }

    fn with(self, name: &str, media_type: &str, bytes: &str, groups: &[&str]) -> Self {
        let place = self.blobs.place(&Digest::of(bytes));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, bytes).unwrap();
        self.with_label(name, media_type, bytes, groups)
    }

    fn with_label(mut self, name: &str, media_type: &str, bytes: &str, groups: &[&str]) -> Self {
        let label = Label {
            sha256: Digest::of(bytes).hex(),
            media_type: media_type.to_owned(),
            name: name.to_owned(),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
            feature: BTreeMap::new(),
            origin: None,
        };
        let member_of = groups.iter().map(|group| (*group).to_owned()).collect();
        let conditions = Conditions { member_of, requires: Vec::new() };
        self.invoice.parcel.push(Parcel { label, conditions });
        self
    }

    fn load(&self) -> Result<Application, LoadError> {
        load(&self.invoice, &self.blobs, &self.folder.path().join("apps"))
    }

    fn refused(&self) -> String {
        let error = self.load().unwrap_err();
        chain(&error).join(": ")
    }
}

fn component(id: &str, rest: &str) -> String {
    let source = Digest::of("code").hex();
    format!(
        "[[component]]\nsource = \"{source}\"\nid = \"{id}\"\n{rest}trigger = {{ route = \"/{id}\" }}\n"
    )
}

const HTTP: &str = "trigger = { type = \"http\", base = \"/\" }\n";

#[test]
fn what_earlier_releases_of_spin_wrote_is_read() {
    // Spin 0.1 had neither descriptions nor variables, 0.3 called variables otherwise; ids had capitals and underscores.
    let first = format!("{HTTP}{}", component("My_Hello", "files = \"files-My_Hello\"\n"));
    let third = format!("{HTTP}[config]\nname = {{ default = \"x\" }}\n{}", component("a", ""));
    let fifth = format!(
        "{HTTP}[variables.name]\nrequired = false\ndefault = \"x\"\nsecret = false\n{}",
        component("a", "")
    );
    let made = Made::new()
        .with("spin.1.toml", SPIN_MANIFEST, &first, &[])
        .with("hello.wasm", "application/wasm", "code", &[])
        .with("public/a.txt", "text/plain", "a", &["files-My_Hello", "files-other"])
        // Twice the same, as Spin's tools wrote what several patterns fit.
        .with("public/a.txt", "text/plain", "a", &["files-My_Hello"])
        .with("other.txt", "text/plain", "o", &["files-other"]);
    let app = made.load().unwrap();
    assert_eq!(app.locked.name(), "example.com/made");
    assert_eq!(app.locked.version(), Some("0.1.0+q1234567"));
    assert_eq!(fs::read(&app.wasm["my-hello"].path).unwrap(), b"code");
    let files = tree(&app.mounts["my-hello"][0].host);
    assert_eq!(files, [("public/a.txt".to_owned(), b"a".to_vec())]);
    let hosts = app.locked.components[0].metadata_list("allowed_outbound_hosts");
    assert!(hosts.contains(&"redis://*:*".to_owned()), "{hosts:?}");
    let based =
        format!("trigger = {{ type = \"http\", base = \"/base/\" }}\n{}", component("a", ""));
    let made = Made::new().with("spin.1.toml", SPIN_MANIFEST, &based, &[]).with(
        "a.wasm",
        "application/wasm",
        "code",
        &[],
    );
    let app = made.load().unwrap();
    assert_eq!(app.locked.triggers[0].trigger_config["route"], "/base/a");
    for text in [third, fifth] {
        let made = Made::new().with("spin.1.toml", SPIN_MANIFEST, &text, &[]).with(
            "a.wasm",
            "application/wasm",
            "code",
            &[],
        );
        let app = made.load().unwrap();
        assert_eq!(app.locked.variables["name"].default.as_deref(), Some("x"));
        assert!(app.mounts.is_empty());
    }
}

#[test]
fn bindles_that_are_no_applications_are_refused() {
    let text = format!("{HTTP}{}", component("a", "files = \"f\"\n"));
    let code = |made: Made| made.with("a.wasm", "application/wasm", "code", &[]);
    let whole = || code(Made::new()).with("spin.toml", SPIN_MANIFEST, &text, &[]);
    assert!(whole().load().is_ok());
    let refused = code(Made::new()).refused();
    assert!(refused.contains("is not a Spin application"), "{refused}");
    let refused = whole().with("other.toml", SPIN_MANIFEST, &format!("{text}\n"), &[]).refused();
    assert!(refused.contains("more than one parcel of the type"), "{refused}");
    let refused = Made::new().with("spin.toml", SPIN_MANIFEST, &text, &[]).refused();
    assert!(refused.contains("the content of component \"a\" is not part"), "{refused}");
    let refused = Made::new()
        .with("spin.toml", SPIN_MANIFEST, &text, &[])
        .with_label("a.wasm", "application/wasm", "code", &[])
        .refused();
    assert!(refused.contains("is missing"), "{refused}");
    let damaged = whole();
    fs::write(damaged.blobs.place(&Digest::of("code")), "c0de").unwrap();
    assert!(damaged.refused().contains("is damaged"));
    let damaged = whole();
    fs::write(damaged.blobs.place(&Digest::of(&text)), text.replace("/a", "/b")).unwrap();
    assert!(damaged.refused().contains("is damaged"));

    for wrong in [
        "x",
        "trigger = 1",
        &format!("{text}unknown = 1"),
        &text.replace("source = \"", "source = \"0"),
        &text.replace("type = \"http\"", "type = 1"),
        &text.replace("source = ", "source = 1 #"),
    ] {
        let made = code(Made::new()).with("spin.toml", SPIN_MANIFEST, wrong, &[]);
        assert!(made.load().is_err(), "{wrong}");
    }
    let settings = whole().with("settings.json", SETTINGS, "{\"no-such\":1}", &[]).refused();
    assert!(settings.contains("settings are malformed"), "{settings}");
    let locked = whole().with("locked.json", oci::LOCKED_APP, "{}", &[]).refused();
    assert!(locked.contains("locked app is malformed"), "{locked}");
    for name in ["../a", "/etc/passwd", "a/../b", "", "a/./b"] {
        let made = whole().with(name, "text/plain", "x", &["f"]);
        assert!(made.refused().contains("invalid file mount"), "{name}");
    }
    let made = whole().with("x", "text/plain", "1", &["f"]).with("x", "text/plain", "2", &["f"]);
    assert!(made.refused().contains("more than one file"));
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let mut text = HTTP.to_owned();
    for n in 0..=limits::ENTRIES / 1000 {
        text.push_str(&component(&format!("c{n}"), "files = \"f\"\n"));
    }
    let mut made = Made::new().with("spin.toml", SPIN_MANIFEST, &text, &[]).with(
        "a.wasm",
        "application/wasm",
        "code",
        &[],
    );
    for n in 0..1000 {
        made = made.with_label(&n.to_string(), "text/plain", "", &["f"]);
    }
    let refused = made.refused();
    assert_eq!(refused, format!("the bindle has more than {} files", limits::ENTRIES));

    let mut made = Made::new().with("spin.toml", SPIN_MANIFEST, HTTP, &[]);
    made.invoice.parcel[0].label.size = limits::LOCKED_APP_BYTES + 1;
    assert!(made.refused().contains("bytes in its manifest"));
    made.invoice.parcel[0].label.size = u64::MAX;
    assert!(made.refused().contains("bytes in its parcels"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_application_a_bindle_and_an_artifact_become_each_other(random in random::application()) {
        let (folder, app) = random.load();
        let bindle = write(&app, None, &folder.path("bindles")).unwrap();
        prop_assert!(bindle.verify().unwrap().is_empty());
        let from_bindle = load(bindle.invoice(), &bindle, &folder.path("apps")).unwrap();
        prop_assert_eq!(portable(&from_bindle.locked), portable(&app.locked));
        prop_assert_eq!(&from_bindle.settings, &random.settings);
        prop_assert_eq!(random::content(&from_bindle), random.components.clone());

        // The artifact is the same by way of the bindle, and the bindle by way of the artifact.
        let packed = pack(&from_bindle).unwrap();
        prop_assert_eq!(packed.digest, pack(&app).unwrap().digest);
        let blobs = store(&packed, &folder.path("blobs"));
        let from_artifact = artifact::load(&packed.manifest, &blobs, &folder.path("apps")).unwrap();
        let again = write(&from_artifact, None, &folder.path("again")).unwrap();
        prop_assert_eq!(nameless(again.invoice()), nameless(bindle.invoice()));
        let from_bindle = load(again.invoice(), &again, &folder.path("apps")).unwrap();
        prop_assert_eq!(portable(&from_bindle.locked), portable(&app.locked));
        prop_assert_eq!(&from_bindle.settings, &random.settings);
        prop_assert_eq!(random::content(&from_bindle), random.components.clone());
    }
}

/// The invoice without the names of code, which are places in the folder of a manifest.
fn nameless(invoice: &Invoice) -> String {
    let mut text = String::new();
    for Parcel { label, conditions } in &invoice.parcel {
        let name = if label.media_type == oci::WASM_PACKAGE { "" } else { &label.name };
        let Label { sha256, media_type, size, .. } = label;
        let groups = conditions.member_of.join(" ");
        writeln!(text, "{name} {media_type} {sha256} {size} {groups}").unwrap();
    }
    text
}
