//! What is pushed is whole, verified, and its account's own.

use gyre_control::{Error, registry::Reference};
use gyre_model::Digest;
use gyre_package::oci;
use tokio::io::AsyncReadExt as _;

use crate::support::{plain, platform};

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.unwrap_err().code
}

#[tokio::test]
async fn a_blob_is_pushed_in_pieces_and_pulled_whole_or_in_part() {
    let platform = platform().await;
    let (control, admin) = (&platform.control, &platform.admin);
    let upload = control.begin_upload(admin, "a/b").await.unwrap();
    let token = upload.token().to_string();
    assert_eq!(upload.pause().await.unwrap(), 0);
    for piece in ["Hello, ", "world"] {
        let mut upload = control.resume_upload(admin, "a/b", &token).await.unwrap();
        upload.append(piece.as_bytes()).await.unwrap();
        upload.pause().await.unwrap();
    }
    let digest = Digest::of("Hello, world");
    assert_eq!(code(control.blob_size(admin, "a/b", &digest).await), "registry.name_unknown");
    let upload = control.resume_upload(admin, "a/b", &token).await.unwrap();
    assert_eq!(upload.offset(), 12);
    control.finish_upload(admin, upload, &digest).await.unwrap();
    assert_eq!(control.blob_size(admin, "a/b", &digest).await.unwrap(), 12);
    let mut part = String::new();
    let blob = control.read_blob(admin, "a/b", &digest, Some(7..12)).await.unwrap();
    let mut reader = blob.reader;
    reader.read_to_string(&mut part).await.unwrap();
    assert_eq!((part.as_str(), blob.size), ("world", 12));
    assert_eq!(
        code(control.resume_upload(admin, "a/b", &token).await),
        "registry.blob_upload_unknown"
    );
}

#[tokio::test]
async fn a_corrupt_upload_leaves_nothing() {
    let platform = platform().await;
    let (control, admin) = (&platform.control, &platform.admin);
    let mut upload = control.begin_upload(admin, "hello").await.unwrap();
    upload.append(b"flipped").await.unwrap();
    let error = control.finish_upload(admin, upload, &Digest::of("original")).await.unwrap_err();
    assert_eq!(error.code, "registry.digest_invalid");
    assert!(platform.blobs.list().await.unwrap().is_empty());
    assert!(control.blob_size(admin, "hello", &Digest::of("flipped")).await.is_err());
}

#[tokio::test]
async fn an_upload_belongs_to_its_account_and_repository() {
    let platform = platform().await;
    let (control, admin) = (&platform.control, &platform.admin);
    let (mallory, _) = platform.stranger("mallory").await;
    let upload = control.begin_upload(admin, "hello").await.unwrap();
    let token = upload.token().to_string();
    upload.pause().await.unwrap();
    for (actor, repository) in [(&mallory, "hello"), (admin, "other")] {
        let error = control.resume_upload(actor, repository, &token).await.unwrap_err();
        assert_eq!(error.code, "registry.blob_upload_unknown");
    }
    let (id, _) = token.split_once('.').unwrap();
    for forged in
        [id.to_owned(), format!("{id}."), format!("{id}.{}", "0".repeat(32)), "x.y".into()]
    {
        let error = control.resume_upload(admin, "hello", &forged).await.unwrap_err();
        assert_eq!(error.code, "registry.blob_upload_unknown", "{forged}");
    }
    control.resume_upload(admin, "hello", &token).await.unwrap().cancel().await.unwrap();
}

#[tokio::test]
async fn nobody_gets_at_content_by_its_digest_alone() {
    let platform = platform().await;
    let (control, admin) = (&platform.control, &platform.admin);
    let artifact = plain("secret code");
    let manifest = platform.push(admin, "hello", &artifact, "1").await;
    let blob = Digest::of("secret code");
    let (mallory, _) = platform.stranger("mallory").await;
    assert!(control.blob_size(&mallory, "hello", &blob).await.unwrap_err().is_not_found());
    let by_digest = Reference::Digest(manifest);
    assert!(control.read_manifest(&mallory, "hello", &by_digest).await.unwrap_err().is_not_found());
    for from in [Some("hello"), None] {
        assert!(!control.mount_blob(&mallory, "mine", from, &blob).await.unwrap());
    }
    // Nor by a manifest that refers to it.
    let tag = Reference::Tag("x".to_owned());
    let put =
        control.put_manifest(&mallory, "mine", &tag, oci::MANIFEST, artifact.manifest.clone());
    assert_eq!(code(put.await), "registry.manifest_blob_unknown");
    // The owner mounts it where they like.
    assert!(control.mount_blob(admin, "mine", Some("hello"), &blob).await.unwrap());
    assert_eq!(control.blob_size(admin, "mine", &blob).await.unwrap(), 11);
    assert!(!control.mount_blob(admin, "mine", Some("nowhere"), &blob).await.unwrap());
}

#[tokio::test]
async fn a_manifest_must_be_what_it_says_and_have_what_it_names() {
    let platform = platform().await;
    let (control, admin) = (&platform.control, &platform.admin);
    let artifact = plain("code");
    platform.push(admin, "hello", &artifact, "1").await;
    let put = async |reference, bytes: &[u8]| {
        control.put_manifest(admin, "hello", &reference, oci::MANIFEST, bytes.to_vec()).await
    };
    let tag = || Reference::Tag("2".to_owned());
    let other = Reference::Digest(Digest::of("other"));
    assert_eq!(code(put(other, &artifact.manifest).await), "registry.digest_invalid");
    assert_eq!(code(put(tag(), b"{").await), "registry.manifest_invalid");
    let missing = plain("other code").manifest;
    assert_eq!(code(put(tag(), &missing).await), "registry.manifest_blob_unknown");
    let text = String::from_utf8(artifact.manifest.clone()).unwrap();
    let lies = text.replace(r#""size":4}"#, r#""size":5}"#);
    assert_ne!(lies, text);
    assert_eq!(code(put(tag(), lies.as_bytes()).await), "registry.manifest_invalid");
    assert_eq!(code(put(tag(), &vec![b' '; 5 << 20]).await), "registry.manifest_invalid");
    assert_eq!(control.tags(admin, "hello", None, 10).await.unwrap(), ["1"]);
    // An index of what is there.
    let digest = Digest::of(&artifact.manifest);
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"digest":"{digest}","mediaType":"{}","size":{}}}]}}"#,
        oci::INDEX,
        oci::MANIFEST,
        artifact.manifest.len()
    );
    control
        .put_manifest(admin, "hello", &tag(), oci::INDEX, index.clone().into_bytes())
        .await
        .unwrap();
    let stored = control.read_manifest(admin, "hello", &tag()).await.unwrap();
    assert_eq!((stored.media_type.as_str(), stored.bytes), (oci::INDEX, index.into_bytes()));
    assert_eq!(control.tags(admin, "hello", Some("1"), 10).await.unwrap(), ["2"]);
    control.delete_manifest(admin, "hello", &tag()).await.unwrap();
    assert_eq!(
        code(control.read_manifest(admin, "hello", &tag()).await),
        "registry.manifest_unknown"
    );
    let needed = control.delete_blob(admin, "hello", &Digest::of("code")).await;
    assert_eq!(code(needed), "registry.denied");
}

#[tokio::test]
async fn names_that_could_mean_something_else_are_refused() {
    let platform = platform().await;
    for name in ["", "..", "a/../b", "A", "a//b", "/a", "a/", "a b", "a\0b", &"a".repeat(300)] {
        let error = platform.control.begin_upload(&platform.admin, name).await.unwrap_err();
        assert_eq!(error.code, "registry.name_invalid", "{name:?}");
    }
}
