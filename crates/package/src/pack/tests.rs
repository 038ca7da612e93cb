//! Packing is deterministic, and what was packed loads as what it was.

use std::collections::BTreeSet;

use fs_err as fs;
use proptest::prelude::*;

use super::*;
use crate::{
    artifact,
    testing::{Folder, portable, random, store, tree},
};

#[tokio::test]
async fn an_artifact_has_code_then_files_then_the_locked_app() {
    let folder = Folder::of_one("files = [\"s/*\"]")
        .write("app/s/z", [b'z'; 200])
        .write("app/s/b", [b'b'; 200])
        .write("app/s/small", "tiny");
    let packed = pack(&folder.load().await.unwrap()).unwrap();
    let manifest = Manifest::parse(&packed.manifest).unwrap();
    let kinds: Vec<_> = manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect();
    assert_eq!(kinds, [oci::WASM, oci::FILE, oci::FILE, oci::LOCKED_APP]);
    assert_eq!(manifest.layers[0].digest, Digest::of("code"));
    assert_eq!(manifest.layers[1].digest, Digest::of([b'b'; 200]));
    assert_eq!(manifest.config.media_type, oci::CONFIG);
    assert_eq!(packed.digest, Digest::of(&packed.manifest));
    assert_eq!(packed.size(), manifest.blobs().map(|blob| blob.size).sum::<u64>());
    let annotations: Vec<_> = manifest.annotations.iter().map(|(k, v)| (&k[..], &v[..])).collect();
    assert_eq!(
        annotations,
        [
            ("org.opencontainers.image.title", "hello"),
            ("org.opencontainers.image.version", "0.1.0")
        ]
    );

    assert!(!packed.locked.metadata.contains_key("origin"));
    let component = &packed.locked.components[0];
    assert_eq!(component.source.content.inline.as_deref(), Some(&b"code"[..]));
    let files: Vec<_> = component.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["s/b", "s/small", "s/z"]);
    assert_eq!(component.files[1].content.inline.as_deref(), Some(&b"tiny"[..]));
    assert!(component.files.iter().all(|file| file.content.digest.is_some()));
    assert!(component.files.iter().all(|file| file.content.source.is_none()));
}

#[tokio::test]
async fn settings_travel_as_an_annotation_and_only_if_there_are_any() {
    let folder = Folder::of_one("");
    let mut app = folder.load().await.unwrap();
    let plain = pack(&app).unwrap();
    assert!(!String::from_utf8_lossy(&plain.manifest).contains("dev.gyre"));
    app.settings.health_path = Some("/up".into());
    let with = pack(&app).unwrap();
    let manifest = Manifest::parse(&with.manifest).unwrap();
    assert_eq!(manifest.annotations[Settings::ANNOTATION], r#"{"health-path":"/up"}"#);
    assert_eq!(plain.locked, with.locked);
    assert_ne!(plain.digest, with.digest);
}

#[tokio::test]
async fn the_same_application_in_another_folder_is_the_same_artifact() {
    let folder = || {
        Folder::of_one("files = [\"s/*\"]").write("app/s/b", [1; 200]).write("app/s/a", [2; 300])
    };
    let (one, two) = (folder(), folder());
    let one = pack(&one.load().await.unwrap()).unwrap();
    let two = pack(&two.load().await.unwrap()).unwrap();
    assert_eq!(one.digest, two.digest);
    assert_eq!(one.manifest, two.manifest);
}

#[tokio::test]
async fn many_files_go_into_an_archive_whose_path_back_is_the_same() {
    let mut folder = Folder::of_one("files = [\"s/*\"]");
    for n in 0..600 {
        folder = folder.write(&format!("app/s/{n:03}"), format!("{n}").repeat(100));
    }
    let app = folder.load().await.unwrap();
    let packed = pack(&app).unwrap();
    let kinds: Vec<_> = packed.blobs.iter().map(|blob| blob.media_type.as_str()).collect();
    assert_eq!(kinds, [oci::WASM, oci::ARCHIVE, oci::LOCKED_APP, oci::CONFIG]);
    let blobs = store(&packed, &folder.path("blobs"));
    let back = artifact::load(&packed.manifest, &blobs, &folder.path("apps")).unwrap();
    assert_eq!(tree(&back.mounts["a"][0].host), tree(&app.mounts["a"][0].host));
    assert_eq!(pack(&back).unwrap().digest, packed.digest);
    let again = pack(&app).unwrap();
    assert_eq!(again.digest, packed.digest);
    let Data::Temporary(path) = &packed.blobs[1].data else { panic!("an archive is a file") };
    let path = path.to_path_buf();
    drop(packed);
    assert!(!path.exists(), "the archive goes with the last blob that refers to it");
}

#[tokio::test]
async fn files_that_shrink_unbelievably_are_archived_as_they_are() {
    let folder = Folder::of_one("files = [\"zeros\"]").write("app/zeros", vec![0; 4 << 20]);
    let app = folder.load().await.unwrap();
    let packed = pack_with(&app, PackOptions { archives: true, ..PackOptions::default() }).unwrap();
    assert!(packed.blobs[1].size > 4 << 20);
    let blobs = store(&packed, &folder.path("blobs"));
    let back = artifact::load(&packed.manifest, &blobs, &folder.path("apps")).unwrap();
    assert_eq!(tree(&back.mounts["a"][0].host), tree(&app.mounts["a"][0].host));
}

#[tokio::test]
async fn directly_mounted_folders_are_packed_where_the_component_sees_them() {
    let folder = Folder::of_one(r#"files = ["s", { source = "t", destination = "/" }]"#)
        .write("app/s/f", "f")
        .write("app/t/g", "g");
    let direct = folder.load_directly().await.unwrap();
    let packed = pack(&direct).unwrap();
    let files: Vec<_> = packed.locked.components[0].files.iter().map(|f| &f.path[..]).collect();
    assert_eq!(files, ["g", "s/f"]);
    assert_eq!(packed.digest, pack(&folder.load().await.unwrap()).unwrap().digest);

    let twice = Folder::of_one(
        r#"files = [{ source = "s", destination = "/x" }, { source = "t", destination = "/x" }]"#,
    )
    .write("app/s/f", "")
    .write("app/t/f", "");
    let app = twice.load_directly().await.unwrap();
    assert!(matches!(pack(&app), Err(PackError::Duplicate { path, .. }) if path == "x/f"));
}

#[tokio::test]
async fn dependencies_are_packed_and_composed_where_they_arrive() {
    let parent = wat::parse_str(r#"(component (import "foo" (instance)))"#).unwrap();
    let dependency =
        r#"(component (component $c) (instance $i (instantiate $c)) (export "foo" (instance $i)))"#;
    let dependency = wat::parse_str(dependency).unwrap();
    let folder = Folder::of_one("[component.a.dependencies]\nfoo = { path = \"foo.wasm\" }")
        .write("app/a.wasm", parent)
        .write("app/foo.wasm", &dependency);
    let packed = pack(&folder.load().await.unwrap()).unwrap();
    let content = &packed.locked.components[0].dependencies["foo"].source.content;
    assert_eq!(content.digest, Some(Digest::of(&dependency).to_string()));
    let blobs = store(&packed, &folder.path("blobs"));
    let back = artifact::load(&packed.manifest, &blobs, &folder.path("apps")).unwrap();
    assert!(back.locked.components[0].dependencies.is_empty());
    let composed = fs::read(&back.wasm["a"].path).unwrap();
    assert_eq!(Digest::of(&composed), back.wasm["a"].digest);
    // Both are in it.
    assert!(composed.len() > dependency.len());
    let again = artifact::reopen(&packed.manifest, &blobs, &folder.path("apps")).unwrap().unwrap();
    assert_eq!(again.wasm, back.wasm);
}

#[tokio::test]
async fn what_no_server_would_take_is_not_packed() {
    let deep = format!("{}f", "d/".repeat(limits::PATH_DEPTH));
    let folder = Folder::of_one("files = [\"d/**/*\"]").write(&format!("app/{deep}"), "");
    let err = pack(&folder.load().await.unwrap()).unwrap_err();
    assert!(matches!(err, PackError::Path { .. }), "{err}");

    let folder = Folder::of_one("");
    let large = fs::File::create(folder.path("app/a.wasm")).unwrap();
    large.set_len(limits::COMPONENT_BYTES + 1).unwrap();
    let err = pack(&folder.load().await.unwrap()).unwrap_err();
    assert_eq!(
        err.to_string(),
        "the application has 67108865 bytes in a component; at most 67108864 are allowed"
    );

    let mut app = Folder::of_one("").load().await.unwrap();
    app.wasm.clear();
    assert!(matches!(pack(&app), Err(PackError::NoCode(id)) if id == "a"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_application_that_was_packed_loads_as_what_it_was(random in random::application()) {
        let (folder, app) = random.load();

        let packed = pack_with(&app, PackOptions { archives: random.archives, ..PackOptions::default() }).unwrap();
        let digests: BTreeSet<_> = packed.blobs.iter().map(|blob| blob.digest).collect();
        prop_assert_eq!(digests.len(), packed.blobs.len(), "each blob comes once");

        let blobs = store(&packed, &folder.path("blobs"));
        let back = artifact::load(&packed.manifest, &blobs, &folder.path("apps")).unwrap();
        prop_assert_eq!(portable(&back.locked), portable(&app.locked));
        prop_assert_eq!(&back.settings, &app.settings);
        prop_assert_eq!(random::content(&back), random.components.clone());
        let again = pack_with(&back, PackOptions { archives: random.archives, ..PackOptions::default() }).unwrap();
        prop_assert_eq!(again.digest, packed.digest);
    }
}
