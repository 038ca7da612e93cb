//! Our own registry client against our own registry: what `gyre deploy` does.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use gyre_api::{Client, ClientOptions, v1};
use gyre_model::Digest;
use gyre_package::{
    artifact::BlobFolder,
    oci,
    pack::{Blob, Data, Packed},
    registry::{Client as Registry, Reference},
};

use crate::{
    client::serve,
    support::{Artifact, SOON, plain, platform},
};

fn packed(artifact: &Artifact) -> Packed {
    let kinds = [oci::WASM, oci::LOCKED_APP, oci::CONFIG];
    let blobs = artifact.blobs.iter().zip(kinds).map(|(bytes, kind)| Blob {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        media_type: kind.to_owned(),
        data: Data::Bytes(bytes.clone().into()),
    });
    Packed {
        digest: Digest::of(&artifact.manifest),
        manifest: artifact.manifest.clone(),
        locked: serde_json::from_slice(&artifact.blobs[1]).unwrap(),
        blobs: blobs.collect(),
    }
}

#[tokio::test]
async fn what_is_pushed_by_digest_is_deployed_and_pulled_as_it_was() {
    let platform = platform().await;
    let (url, server) = serve(&platform).await;
    let token = platform.admin_token.clone();
    let registry = Registry::new(url.parse().unwrap(), Some(token.clone())).unwrap();
    let options = ClientOptions { url, token: Some(token), ..ClientOptions::default() };
    let client = Client::new(options).unwrap();
    let artifact = plain(&"a large component ".repeat(1_000_000));
    let packed = packed(&artifact);

    let app = client.ensure_app("hello").await.unwrap();
    for _ in 0..2 {
        let steps = Arc::new(AtomicU64::new(0));
        let counted = steps.clone();
        let digest = registry
            .push(&packed, &app.repository, None, move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
            })
            .await
            .unwrap();
        assert_eq!(digest, packed.digest);
        assert!(steps.load(Ordering::Relaxed) > 0);
    }
    let release = client.deploy("hello", packed.digest, BTreeMap::new()).await.unwrap();
    let release = client.wait_for_release("hello", release.id, SOON, |_| ()).await.unwrap();
    assert_eq!(release.state, v1::ReleaseState::Active);

    let dir = platform.dir.path().join("pulled");
    fs_err::create_dir_all(&dir).unwrap();
    let reference = Reference::Digest(packed.digest);
    let pulled = registry.pull("hello", &reference, &dir, |_| ()).await.unwrap();
    assert_eq!(pulled.manifest, artifact.manifest);
    let folder = BlobFolder::new(&dir);
    for blob in &artifact.blobs {
        assert_eq!(fs_err::read(folder.place(&Digest::of(blob))).unwrap(), *blob);
    }

    // Two accounts' repositories of one name have nothing to do with each other.
    let (_, other) = platform.stranger("other").await;
    let other = Registry::new(registry.base().clone(), Some(other)).unwrap();
    assert!(other.pull("hello", &reference, &dir, |_| ()).await.is_err());
    server.abort();
}
