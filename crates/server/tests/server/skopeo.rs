//! skopeo, as it comes with the system: in, out, looked at, deleted.

use std::path::Path;

use gyre_model::Digest;
use tokio::process::Command;

use crate::{
    client::serve,
    support::{Artifact, Platform, hello, plain, platform},
};

/// Runs skopeo with a home of its own; returns what it printed.
async fn skopeo(platform: &Platform, args: &[&str]) -> Result<String, String> {
    let output = Command::new("skopeo")
        .arg("--insecure-policy")
        .args(args)
        .env("HOME", platform.dir.path())
        .env("XDG_RUNTIME_DIR", platform.dir.path())
        .env_remove("REGISTRY_AUTH_FILE")
        .kill_on_drop(true)
        .output()
        .await
        .expect("skopeo is installed: `cargo xtask test` sees to that");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// An OCI layout of an artifact, under the tag `0.1.0`.
fn layout(dir: &Path, artifact: &Artifact) {
    let blobs = dir.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    for blob in artifact.blobs.iter().chain([&artifact.manifest]) {
        fs_err::write(blobs.join(Digest::of(blob).hex()), blob).unwrap();
    }
    fs_err::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": Digest::of(&artifact.manifest).to_string(),
            "size": artifact.manifest.len(),
            "annotations": { "org.opencontainers.image.ref.name": "0.1.0" },
        }],
    });
    fs_err::write(dir.join("index.json"), index.to_string()).unwrap();
}

#[tokio::test]
async fn skopeo_copies_in_and_out_and_deletes() {
    let platform = platform().await;
    let (url, server) = serve(&platform).await;
    let port = url.rsplit_once(':').unwrap().1;
    let artifact = plain(&"code ".repeat(100_000));
    let digest = Digest::of(&artifact.manifest);
    let from = platform.dir.path().join("in");
    layout(&from, &artifact);
    let from = format!("oci:{}:0.1.0", from.display());
    let there = format!("docker://127.0.0.1:{port}/hello:0.1.0");
    let credentials = format!("anyone:{}", platform.admin_token.expose());

    let anonymous = skopeo(&platform, &["copy", "--dest-tls-verify=false", &from, &there]).await;
    assert!(anonymous.is_err());
    let signed = ["copy", "--dest-tls-verify=false", "--dest-creds", &credentials, &from, &there];
    skopeo(&platform, &signed).await.unwrap();
    // A second time every blob is there already.
    skopeo(&platform, &signed).await.unwrap();

    // What skopeo brought can be deployed as it is.
    platform.control.ensure_app(&platform.admin, "hello", None).await.unwrap();
    let release =
        platform.control.register_revision(&platform.admin, "oci://hello", "0.1.0").await.unwrap();
    assert_eq!(release.digest, digest);
    platform.wait(&release).await;
    let app = platform.control.app(&platform.admin, &hello()).await.unwrap();
    assert!(app.active().is_some());

    let login = ["login", "--tls-verify=false", "--username", "anyone", "--password"];
    let host = format!("127.0.0.1:{port}");
    let login = [&login[..], &[platform.admin_token.expose(), &host]].concat();
    skopeo(&platform, &login).await.unwrap();
    let raw = skopeo(&platform, &["inspect", "--tls-verify=false", "--raw", &there]).await.unwrap();
    assert_eq!(raw.as_bytes(), artifact.manifest);
    let tags = format!("docker://127.0.0.1:{port}/hello");
    let tags = skopeo(&platform, &["list-tags", "--tls-verify=false", &tags]).await.unwrap();
    assert!(tags.contains("\"0.1.0\""), "{tags}");

    let out = platform.dir.path().join("out");
    let to = format!("oci:{}:0.1.0", out.display());
    skopeo(&platform, &["copy", "--src-tls-verify=false", &there, &to]).await.unwrap();
    for blob in artifact.blobs.iter().chain([&artifact.manifest]) {
        let copied = fs_err::read(out.join("blobs/sha256").join(Digest::of(blob).hex())).unwrap();
        assert_eq!(copied, *blob);
    }
    let other = format!("docker://127.0.0.1:{port}/other/copy:1");
    let copy = ["copy", "--src-tls-verify=false", "--dest-tls-verify=false", &there, &other];
    skopeo(&platform, &copy).await.unwrap();
    skopeo(&platform, &["delete", "--tls-verify=false", &there]).await.unwrap();
    let gone = skopeo(&platform, &["inspect", "--tls-verify=false", "--raw", &there]).await;
    assert!(gone.unwrap_err().contains("unknown"));
    // The app goes on: its revision has what it needs.
    assert_eq!(platform.publisher.now().len(), 1);
    server.abort();
}
