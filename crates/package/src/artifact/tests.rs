//! Artifacts are loaded whole or not at all.

use fs_err as fs;
use serde_json::json;

use super::*;
use crate::{
    archive::{self as archives, Compression},
    oci::Descriptor,
    pack::{self, Packed},
    testing::{Folder, chain, store, tree},
};

/// An artifact that a test makes up blob by blob.
struct Forge {
    dir: tempfile::TempDir,
    layers: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
}

impl Forge {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        Self { dir, layers: Vec::new(), annotations: BTreeMap::new() }
    }

    fn blobs(&self) -> BlobFolder {
        BlobFolder::new(self.dir.path().join("blobs"))
    }

    fn blob(&self, media_type: &str, content: &[u8]) -> Descriptor {
        let digest = Digest::of(content);
        fs::write(self.blobs().place(&digest), content).unwrap();
        Descriptor::new(media_type, digest, content.len() as u64)
    }

    fn layer(mut self, media_type: &str, content: &[u8]) -> Self {
        let layer = self.blob(media_type, content);
        self.layers.push(layer);
        self
    }

    /// A locked app with one component whose code is the layer `code` and whose files are these.
    fn locked(self, files: impl Into<serde_json::Value>) -> Self {
        let files: serde_json::Value = files.into();
        let digest = Digest::of("code").to_string();
        let locked = json!({
            "spin_lock_version": 0,
            "metadata": { "name": "forged" },
            "triggers": [],
            "components": [{
                "id": "a",
                "source": { "content_type": "application/wasm", "digest": digest },
                "files": files,
            }],
        });
        self.layer(oci::WASM, b"code").layer(oci::LOCKED_APP, locked.to_string().as_bytes())
    }

    fn manifest(&self) -> Vec<u8> {
        let config = self.blob(oci::CONFIG, b"{}");
        Manifest::new(config, self.layers.clone(), self.annotations.clone()).to_bytes()
    }

    fn load(&self) -> Result<Application, ArtifactError> {
        self.load_within(&Caps::default())
    }

    fn load_within(&self, caps: &Caps) -> Result<Application, ArtifactError> {
        let apps = self.dir.path().join("apps");
        let count = || fs::read_dir(&apps).map_or(0, Iterator::count);
        let before = count();
        let loaded = load_within(&self.manifest(), &self.blobs(), &apps, caps);
        if loaded.is_err() {
            assert_eq!(count(), before, "something is left of an artifact that was refused");
        }
        loaded
    }
}

fn digest(content: &[u8]) -> String {
    Digest::of(content).to_string()
}

#[test]
fn files_come_from_layers_from_archives_and_from_the_locked_app_itself() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), "archived").unwrap();
    let mut archive = Vec::new();
    let path = dir.path().join("f");
    archives::create([("elsewhere", path.as_path())], &mut archive, Compression::default())
        .unwrap();
    let forge =
        Forge::new().layer(oci::FILE, b"layer").layer(oci::ARCHIVE, &archive).locked(json!([
            { "path": "x/layer", "digest": digest(b"layer") },
            { "path": "x/archived", "digest": digest(b"archived") },
            { "path": "inline", "inline": "aW5saW5l" },
            { "path": "both", "inline": "aW5saW5l", "digest": digest(b"inline") },
        ]));
    let app = forge.load().unwrap();
    assert_eq!(app.mounts["a"][0].guest, "/");
    let expected: [(&str, &[u8]); 4] = [
        ("both", b"inline"),
        ("inline", b"inline"),
        ("x/archived", b"archived"),
        ("x/layer", b"layer"),
    ];
    let expected = expected.map(|(path, bytes)| (path.to_owned(), bytes.to_vec()));
    assert_eq!(tree(&app.mounts["a"][0].host), expected);
    // The code is used where its blob lies.
    assert_eq!(app.wasm["a"].path, forge.blobs().place(&Digest::of("code")));
}

#[test]
fn an_artifact_is_reopened_without_its_content_being_read() {
    let forge = Forge::new().locked(json!([{ "path": "f", "inline": "aGk" }]));
    let apps = forge.dir.path().join("apps");
    assert!(reopen(&forge.manifest(), &forge.blobs(), &apps).unwrap().is_none());
    let loaded = forge.load().unwrap();
    let reopened = reopen(&forge.manifest(), &forge.blobs(), &apps).unwrap().unwrap();
    assert_eq!(reopened.locked, loaded.locked);
    assert_eq!((reopened.wasm, reopened.mounts), (loaded.wasm, loaded.mounts));
    assert_eq!(forge.load().unwrap().locked, loaded.locked);
    assert_eq!(fs::read_dir(&apps).unwrap().count(), 1);
}

#[test]
fn what_is_missing_is_named() {
    let forge = Forge::new()
        .layer(oci::FILE, b"f")
        .locked(json!([{ "path": "f", "digest": digest(b"f") }]));
    for content in ["code", "f"] {
        let digest = Digest::of(content);
        let place = forge.blobs().place(&digest);
        fs::remove_file(&place).unwrap();
        let err = forge.load().unwrap_err();
        assert!(matches!(err, ArtifactError::MissingBlob(missing) if missing == digest), "{err}");
        fs::write(&place, content).unwrap();
    }
    let foreign = Forge::new().locked(json!([{ "path": "f", "digest": digest(b"elsewhere") }]));
    foreign.blob(oci::FILE, b"elsewhere");
    let err = foreign.load().unwrap_err().to_string();
    assert_eq!(err, "the content of file \"f\" of component \"a\" is not part of the artifact");
}

#[tokio::test]
async fn a_single_flipped_bit_anywhere_is_noticed() {
    let folder = Folder::of_one("files = [\"f\", \"g\"]")
        .write("app/f", [b'f'; 500])
        .write("app/g", [b'g'; 500]);
    let app = folder.load().await.unwrap();
    for archives in [false, true] {
        let packed =
            pack::pack_with(&app, pack::PackOptions { archives, ..pack::PackOptions::default() })
                .unwrap();
        let blobs = store(&packed, &folder.path("blobs"));
        for blob in packed.blobs.iter().filter(|blob| blob.media_type != oci::CONFIG) {
            let path = blobs.place(&blob.digest);
            let whole = fs::read(&path).unwrap();
            let load = |packed: &Packed| {
                let fresh = tempfile::tempdir().unwrap();
                load(&packed.manifest, &blobs, fresh.path()).map(drop)
            };
            let mut flipped = whole.clone();
            flipped[whole.len() / 2] ^= 1;
            for damaged in [flipped, whole[1..].to_vec(), [&whole[..], b"x"].concat()] {
                fs::write(&path, damaged).unwrap();
                let err = load(&packed).unwrap_err();
                assert!(
                    matches!(err, ArtifactError::DamagedBlob(digest) if digest == blob.digest),
                    "{}: {err}",
                    blob.media_type
                );
            }
            fs::write(&path, whole).unwrap();
            load(&packed).unwrap();
        }
    }
}

#[test]
fn files_may_not_leave_their_folder_or_share_a_place() {
    for path in ["../x", "/x", "a/../x", "", ".", "a//b", "a\0b"] {
        let err = Forge::new().locked(json!([{ "path": path, "inline": "" }])).load().unwrap_err();
        assert!(matches!(err, ArtifactError::Path { .. }), "{path}: {err}");
        assert!(chain(&err)[0].starts_with("invalid file mount"));
    }
    for paths in [["a", "a"], ["a", "./a"], ["a", "a/b"], ["a/b", "a"]] {
        let files = paths.map(|path| json!({ "path": path, "inline": "" }));
        let err = Forge::new().locked(json!(files)).load().unwrap_err();
        assert!(matches!(err, ArtifactError::DuplicateFile { .. }), "{paths:?}: {err}");
    }
}

#[test]
fn inline_content_must_be_what_its_digest_says() {
    let liar = json!([{ "path": "f", "inline": "aGk", "digest": digest(b"other") }]);
    assert!(matches!(Forge::new().locked(liar).load(), Err(ArtifactError::DamagedBlob(_))));
}

#[test]
fn a_small_blob_laid_out_many_times_is_stopped_at_the_cap() {
    let content = [7; 1000];
    let file = |n: usize| json!({ "path": n.to_string(), "digest": digest(&content) });
    let files: Vec<_> = (0..11).map(file).collect();
    let forge = Forge::new().layer(oci::FILE, &content).locked(json!(files));
    let bytes = Caps { unpacked_bytes: 10_999, ..Caps::default() };
    let err = forge.load_within(&bytes).unwrap_err();
    assert!(matches!(err, ArtifactError::TooLarge { limit: 10_999, .. }), "{err}");
    let entries = Caps { entries: 10, ..Caps::default() };
    let err = forge.load_within(&entries).unwrap_err();
    assert!(matches!(err, ArtifactError::TooLarge { limit: 10, .. }), "{err}");
    let enough = Caps { unpacked_bytes: 11_000, entries: 11, ..Caps::default() };
    assert_eq!(tree(&forge.load_within(&enough).unwrap().mounts["a"][0].host).len(), 11);
}

#[test]
fn archives_share_one_cap() {
    let dir = tempfile::tempdir().unwrap();
    let archive = |name: &str| {
        let path = dir.path().join(name);
        fs::write(&path, name.repeat(100)).unwrap();
        let mut archive = Vec::new();
        archives::create([(name, path.as_path())], &mut archive, Compression::default()).unwrap();
        archive
    };
    let forge = Forge::new()
        .layer(oci::ARCHIVE, &archive("one"))
        .layer(oci::ARCHIVE, &archive("two"))
        .locked(json!([]));
    let caps = Caps { unpacked_bytes: 599, ..Caps::default() };
    let err = forge.load_within(&caps).unwrap_err();
    assert!(matches!(err, ArtifactError::Archive(ArchiveError::TooLarge { .. })), "{err}");
    forge.load_within(&Caps { unpacked_bytes: 600, ..caps }).unwrap();
}

#[test]
fn a_component_larger_than_the_limit_is_refused_unread() {
    let mut forge = Forge::new().locked(json!([]));
    forge.layers[0].size = limits::COMPONENT_BYTES + 1;
    let err = forge.load().unwrap_err();
    assert!(matches!(err, ArtifactError::TooLarge { limit: limits::COMPONENT_BYTES, .. }), "{err}");
    let mut forge = Forge::new().locked(json!([]));
    forge.layers[1].size = limits::LOCKED_APP_BYTES + 1;
    let err = forge.load().unwrap_err();
    assert!(
        matches!(err, ArtifactError::TooLarge { limit: limits::LOCKED_APP_BYTES, .. }),
        "{err}"
    );
}

#[test]
fn what_must_be_understood_and_is_not_is_refused() {
    let locked = |change: serde_json::Value| {
        let mut locked = json!({ "spin_lock_version": 1, "triggers": [], "components": [] });
        locked.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        Forge::new().layer(oci::LOCKED_APP, locked.to_string().as_bytes()).load()
    };
    assert!(locked(json!({})).is_ok());
    assert!(
        locked(json!({ "host_requirements": { "local_service_chaining": "required" } })).is_ok()
    );
    for unknown in [
        json!({ "spin_lock_version": 2 }),
        json!({ "must_understand": ["the_future"] }),
        json!({ "host_requirements": { "the_future": "required" } }),
    ] {
        assert!(matches!(locked(unknown), Err(ArtifactError::Understand(_))));
    }
    let component = json!({ "id": "a", "source": { "content_type": "application/wasm" } });
    let twice = locked(json!({ "components": [component, component] }));
    assert!(matches!(twice, Err(ArtifactError::DuplicateComponent(id)) if id == "a"));
    let nowhere = locked(json!({ "components": [component] })).unwrap_err().to_string();
    assert_eq!(nowhere, "the content of component \"a\" is not part of the artifact");
}

#[test]
fn settings_are_read_from_the_annotation() {
    let mut forge = Forge::new().locked(json!([]));
    let name = Settings::ANNOTATION.to_owned();
    forge.annotations.insert(name.clone(), r#"{"health-path":"/up"}"#.into());
    assert_eq!(forge.load().unwrap().settings.health_path.as_deref(), Some("/up"));
    forge.annotations.insert(name, r#"{"helth-path":"/up"}"#.into());
    assert!(matches!(forge.load(), Err(ArtifactError::Settings(_))));
}

#[test]
fn the_first_artifacts_of_spin_and_bare_packages_are_loaded_too() {
    let forge = Forge::new().layer(oci::WASM, b"code");
    let digest = digest(b"code");
    let locked = json!({ "spin_lock_version": 0, "triggers": [], "components": [{
        "id": "old", "source": { "content_type": "application/wasm", "digest": digest } }] });
    let config =
        forge.blob("application/vnd.fermyon.spin.v1+config", locked.to_string().as_bytes());
    let manifest = Manifest::new(config, forge.layers.clone(), BTreeMap::new()).to_bytes();
    let apps = forge.dir.path().join("apps");
    let app = load(&manifest, &forge.blobs(), &apps).unwrap();
    assert_eq!(app.wasm["old"].digest, Digest::of("code"));

    let package = Forge::new().layer(oci::WASM_PACKAGE, b"code").load().unwrap();
    assert_eq!(package.locked.triggers[0].trigger_config["route"], "/...");
    assert_eq!(package.wasm.values().next().unwrap().digest, Digest::of("code"));

    let two = Forge::new().layer(oci::WASM, b"a").layer(oci::WASM, b"b").load();
    assert!(matches!(two, Err(ArtifactError::NotAnApplication(_))));
    let image = Forge::new().layer("application/vnd.oci.image.layer.v1.tar+gzip", b"x").load();
    assert!(matches!(image, Err(ArtifactError::NotAnApplication(_))));
    let twice = Forge::new().locked(json!([])).layer(oci::LOCKED_APP, b"{}").load();
    assert!(matches!(twice, Err(ArtifactError::NotAnApplication(_))));
}

#[test]
fn two_loads_at_once_do_not_disturb_each_other() {
    let files: Vec<_> =
        (0..50).map(|n| json!({ "path": format!("d/{n}"), "inline": "aGk" })).collect();
    let forge = Forge::new().locked(json!(files));
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..4).map(|_| scope.spawn(|| forge.load().unwrap())).collect();
        for load in loads {
            assert_eq!(tree(&load.join().unwrap().mounts["a"][0].host).len(), 50);
        }
    });
    let apps = forge.dir.path().join("apps");
    assert_eq!(fs::read_dir(apps).unwrap().count(), 1, "the losers' work is removed");
}

#[test]
fn what_is_forgotten_or_was_interrupted_is_removed() {
    let forge = Forge::new().locked(json!([{ "path": "f", "inline": "aGk" }]));
    let apps = forge.dir.path().join("apps");
    let digest = Digest::of(forge.manifest());
    sweep(&apps).unwrap();
    forget(&digest, &apps).unwrap();
    forge.load().unwrap();
    fs::create_dir_all(apps.join(".layout-x/assets/0")).unwrap();
    fs::create_dir_all(apps.join(".unpack-x")).unwrap();
    sweep(&apps).unwrap();
    let names: Vec<_> =
        fs::read_dir(&apps).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [digest.hex().as_str()]);
    forget(&digest, &apps).unwrap();
    forget(&digest, &apps).unwrap();
    assert_eq!(fs::read_dir(&apps).unwrap().count(), 0);
    assert!(reopen(&forge.manifest(), &forge.blobs(), &apps).unwrap().is_none());
}
