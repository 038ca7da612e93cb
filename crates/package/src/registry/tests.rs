//! The client against a registry that works, one that fails, and one that lies.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use fs_err as fs;
use gyre_model::Digest;

use super::{
    double::{Answer, Double},
    *,
};
use crate::{
    artifact::{self, BlobFolder},
    limits, oci,
    pack::{self, Blob, Data, Packed},
    testing::{Folder, chain, tree},
};

fn client(double: &Double) -> Client {
    Client::new(double.url(), Some("secret".to_owned().into())).unwrap()
}

async fn packed(folder: &Folder) -> Packed {
    pack::pack(&folder.load().await.unwrap()).unwrap()
}

fn small() -> Folder {
    Folder::of_one("files = [\"f\", \"g\"]").write("app/f", [b'f'; 500]).write("app/g", [b'g'; 300])
}

/// An application with a file of `size` bytes, no two pieces of it alike.
fn large(size: u64) -> Folder {
    let content: Vec<u8> = (0..size.div_ceil(8)).flat_map(u64::to_le_bytes).collect();
    Folder::of_one("files = [\"large\"]").write("app/large", &content[..size as usize])
}

async fn push(client: &Client, packed: &Packed) -> Result<Digest, Error> {
    client.push(packed, "hello", Some("0.1.0"), |_| {}).await
}

async fn pull(double: &Double, dir: &Path) -> Result<Pulled, Error> {
    let tag = Reference::Tag("0.1.0".into());
    client(double).pull("hello", &tag, dir, |_| {}).await
}

#[tokio::test]
async fn what_was_pushed_is_pulled_and_loads_as_what_it_was() {
    let (double, folder) = (Double::start().await, small());
    let packed = packed(&folder).await;
    let client = client(&double);
    assert_eq!(push(&client, &packed).await.unwrap(), packed.digest);
    assert_eq!(double.manifest("0.1.0").unwrap(), packed.manifest);
    let last = double.requests().pop().unwrap();
    assert_eq!(last, "PUT /v2/hello/manifests/0.1.0", "the manifest goes last");

    let pulled = pull(&double, &folder.path("blobs")).await.unwrap();
    assert_eq!((pulled.digest, &pulled.manifest), (packed.digest, &packed.manifest));
    let blobs = BlobFolder::new(folder.path("blobs"));
    let app = artifact::load(&pulled.manifest, &blobs, &folder.path("apps")).unwrap();
    assert_eq!(tree(&app.mounts["a"][0].host), folder.files().await);
    assert!(double.header("authorization").iter().all(|h| h.as_deref() == Some("Bearer secret")));
}

#[tokio::test]
async fn without_a_tag_the_manifest_is_pushed_by_its_digest() {
    let (double, folder) = (Double::start().await, small());
    let packed = packed(&folder).await;
    client(&double).push(&packed, "team/hello", None, |_| {}).await.unwrap();
    let last = double.requests().pop().unwrap();
    assert_eq!(last, format!("PUT /v2/team/hello/manifests/{}", packed.digest));
    let reference = Reference::Digest(packed.digest);
    let pulled = client(&double).pull_manifest("team/hello", &reference).await.unwrap();
    assert_eq!(pulled.digest, packed.digest);
}

#[tokio::test]
async fn what_is_there_already_is_neither_pushed_nor_pulled_again() {
    let (double, folder) = (Double::start().await, small());
    let packed = packed(&folder).await;
    push(&client(&double), &packed).await.unwrap();
    assert_eq!(double.count("POST"), packed.blobs.len());
    push(&client(&double), &packed).await.unwrap();
    assert_eq!(double.count("POST"), packed.blobs.len());
    let dir = folder.path("blobs");
    pull(&double, &dir).await.unwrap();
    let gets = double.count("GET /v2/hello/blobs/");
    assert_eq!(gets, packed.blobs.len());
    pull(&double, &dir).await.unwrap();
    assert_eq!(double.count("GET /v2/hello/blobs/"), gets);
}

#[tokio::test]
async fn progress_grows_to_the_whole_and_tells_what_was_skipped() {
    let (double, folder) = (Double::start().await, small());
    let packed = packed(&folder).await;
    let run = || async {
        let seen = Arc::<Mutex<Vec<Progress>>>::default();
        let sink = seen.clone();
        let report = move |progress| sink.lock().unwrap().push(progress);
        client(&double).push(&packed, "hello", Some("0.1.0"), report).await.unwrap();
        Arc::into_inner(seen).unwrap().into_inner().unwrap()
    };
    let seen = run().await;
    let first = seen[0];
    assert_eq!((first.step, first.bytes_done, first.bytes_total), (Step::Blobs, 0, packed.size()));
    assert!(seen.windows(2).all(|pair| pair[0].bytes_done <= pair[1].bytes_done));
    let last = seen.last().unwrap();
    assert_eq!((last.step, last.bytes_done), (Step::Done, packed.size()));
    assert_eq!((last.blobs_done, last.blobs_skipped), (packed.blobs.len(), 0));
    let last = run().await.pop().unwrap();
    assert_eq!((last.bytes_done, last.blobs_skipped), (packed.size(), packed.blobs.len()));
}

#[tokio::test]
async fn names_below_localhost_lead_here_and_stay_in_the_host_header() {
    let (double, folder) = (Double::start().await, small());
    let url = double.url_at("registry.gyre.localhost");
    let client = Client::new(url.clone(), None).unwrap();
    push(&client, &packed(&folder).await).await.unwrap();
    let host = format!("registry.gyre.localhost:{}", url.port().unwrap());
    assert!(double.header("host").iter().all(|seen| seen.as_deref() == Some(&host)));
    assert!(double.header("authorization").iter().all(Option::is_none));
}

#[tokio::test]
async fn a_large_blob_goes_in_pieces_and_is_resumed_where_it_broke() {
    let (double, folder) = (Double::start().await, large(20 << 20));
    double.when("PATCH", Answer::hang_up());
    let packed = packed(&folder).await;
    let blob = packed.blobs.iter().max_by_key(|blob| blob.size).unwrap();
    push(&client(&double), &packed).await.unwrap();
    assert_eq!(Digest::of(double.blob(&blob.digest).unwrap()), blob.digest);
    assert_eq!(double.count("GET /v2/hello/blobs/uploads/"), 1, "it asked once how much arrived");
    assert_eq!(double.count("POST"), packed.blobs.len(), "no upload was begun again");
    let dir = folder.path("blobs");
    pull(&double, &dir).await.unwrap();
    let pulled = fs::read(BlobFolder::new(&dir).place(&blob.digest)).unwrap();
    assert_eq!(Digest::of(pulled), blob.digest);
}

#[tokio::test]
async fn an_upload_that_cannot_be_resumed_is_begun_again() {
    let (double, folder) = (Double::start().await, large(10 << 20));
    double.when("PATCH", Answer::hang_up());
    double.when("GET /v2/hello/blobs/uploads/", Answer::status(503).header("retry-after", "0"));
    let packed = packed(&folder).await;
    push(&client(&double), &packed).await.unwrap();
    assert_eq!(double.count("POST"), packed.blobs.len() + 1);
    let blob = packed.blobs.iter().max_by_key(|blob| blob.size).unwrap();
    assert_eq!(double.blob(&blob.digest).unwrap().len(), 10 << 20);
}

#[tokio::test]
async fn an_upload_that_the_registry_forgot_is_begun_again() {
    let (double, folder) = (Double::start().await, large(10 << 20));
    double.when("PATCH", Answer::status(404).times(1));
    double.when("PUT /v2/hello/blobs/uploads/", Answer::status(404).times(1));
    let packed = packed(&folder).await;
    push(&client(&double), &packed).await.unwrap();
    assert_eq!(double.count("POST"), packed.blobs.len() + 2);
    double.when("PUT /v2/hello/blobs/uploads/", Answer::status(404));
    let other = large(5 << 20);
    let err = push(&client(&double), &pack::pack(&other.load().await.unwrap()).unwrap())
        .await
        .unwrap_err();
    assert_eq!(err.to_string(), "the registry has lost the upload");
}

#[tokio::test]
async fn every_step_survives_a_connection_that_breaks_once() {
    for step in ["HEAD", "POST", "PUT /v2/hello/blobs/", "PUT /v2/hello/manifests/"] {
        let (double, folder) = (Double::start().await, small());
        double.when(step, Answer::hang_up());
        let packed = packed(&folder).await;
        push(&client(&double), &packed)
            .await
            .unwrap_or_else(|err| panic!("{step}: {:?}", chain(&err)));
        assert_eq!(double.manifest("0.1.0").unwrap(), packed.manifest);
    }
    let (double, folder) = (Double::start().await, small());
    push(&client(&double), &packed(&folder).await).await.unwrap();
    double.when("GET /v2/hello/manifests/", Answer::hang_up());
    double.when("GET /v2/hello/blobs/", Answer::hang_up());
    pull(&double, &folder.path("blobs")).await.unwrap();
}

#[tokio::test]
async fn a_busy_registry_is_asked_again_when_it_says() {
    let (double, folder) = (Double::start().await, small());
    double.when("POST", Answer::status(503).header("retry-after", "0").times(2));
    double.when("PUT /v2/hello/manifests/", Answer::status(429).times(1));
    push(&client(&double), &packed(&folder).await).await.unwrap();
    double.when("GET", Answer::status(503).header("retry-after", "0"));
    let err = pull(&double, &folder.path("blobs")).await.unwrap_err();
    assert!(matches!(err, Error::Busy { .. }), "{err}");
    assert_eq!(double.count("GET"), ATTEMPTS as usize);
}

#[tokio::test]
async fn a_server_that_is_away_is_said_to_be_away() {
    let folder = small();
    let url = Double::start().await.url();
    let client = Client::new(url.clone(), None).unwrap();
    let err = push(&client, &packed(&folder).await).await.unwrap_err();
    let texts = chain(&err);
    let address = url.as_str().trim_end_matches('/');
    assert_eq!(texts[0], format!("cannot reach the registry at {address}"));
    assert!(texts.last().unwrap().contains("refused"), "{texts:?}");
}

#[tokio::test]
async fn refusals_are_told_apart_and_not_repeated() {
    let folder = small();
    let packed = packed(&folder).await;
    let body = r#"{"errors":[{"code":"X","message":"because\u001b[31m of this"}]}"#;
    for (status, text) in [
        (401, "does not accept the token: because[31m of this"),
        (403, "the registry does not allow this: because[31m of this"),
        (413, "the registry finds it too large: because[31m of this"),
        (507, "the registry has no room left: because[31m of this"),
        (418, "the registry refused (418 I'm a teapot): because[31m of this"),
    ] {
        let double = Double::start().await;
        double.when("POST", Answer::status(status).body(body));
        let one = Packed { blobs: packed.blobs[..1].to_vec(), ..packed.clone() };
        let err = push(&client(&double), &one).await.unwrap_err().to_string();
        assert!(err.ends_with(text), "{err}");
        assert_eq!(double.count("POST"), 1);
        assert!(double.manifest("0.1.0").is_none());
    }
    let double = Double::start().await;
    let err = pull(&double, &folder.path("blobs")).await.unwrap_err();
    assert_eq!(err.to_string(), "the registry has no artifact hello:0.1.0");
    double.when("PUT /v2/hello/blobs/", Answer::status(507));
    let err = push(&client(&double), &packed).await.unwrap_err().to_string();
    assert_eq!(err, "the registry has no room left: insufficient storage");
}

#[tokio::test]
async fn a_file_that_changed_since_it_was_packed_is_noticed() {
    let (double, folder) = (Double::start().await, small());
    let packed = packed(&folder).await;
    fs::write(folder.path("work/assets/a/f"), [b'x'; 500]).unwrap();
    let err = push(&client(&double), &packed).await.unwrap_err();
    assert!(
        matches!(err, Error::SentMismatch(digest) if digest == Digest::of([b'f'; 500])),
        "{err}"
    );
    fs::remove_file(folder.path("work/assets/a/f")).unwrap();
    let err = push(&client(&double), &packed).await.unwrap_err();
    assert!(matches!(err, Error::File { .. }), "{err}");
}

#[tokio::test]
async fn a_challenge_is_answered_with_the_token_as_password() {
    let (double, folder) = (Double::start().await, small());
    let challenge = r#"Bearer realm="/v2/token",service="gyre",scope="repository:hello:pull,push""#;
    double.when("HEAD", Answer::status(401).header("www-authenticate", challenge).times(1));
    double.when("GET /v2/token", Answer::status(200).body(r#"{"token":"fetched"}"#));
    let one = packed(&folder).await;
    let one = Packed { blobs: one.blobs[..1].to_vec(), ..one };
    push(&client(&double), &one).await.unwrap();
    let seen: Vec<_> = double.header("authorization").into_iter().flatten().collect();
    // gyre:secret
    assert_eq!(seen[..3], ["Bearer secret", "Basic Z3lyZTpzZWNyZXQ=", "Bearer fetched"]);
    assert!(seen[3..].iter().all(|value| value == "Bearer fetched"));

    let user = Client::with_password(double.url(), "me".into(), "pw".to_owned().into()).unwrap();
    push(&user, &one).await.unwrap();
    assert_eq!(double.header("authorization").pop().unwrap().unwrap(), "Basic bWU6cHc=");
}

#[tokio::test]
async fn the_token_goes_to_no_other_server() {
    let (double, other, folder) = (Double::start().await, Double::start().await, small());
    let challenge = format!(r#"Bearer realm="{}token""#, other.url());
    double.when("HEAD", Answer::status(401).header("www-authenticate", &challenge));
    let packed = packed(&folder).await;
    let one = Packed { blobs: packed.blobs[..1].to_vec(), ..packed };
    let err = push(&client(&double), &one).await.unwrap_err();
    assert!(matches!(err, Error::Unauthorized { .. }), "{err}");
    assert!(other.requests().is_empty());

    let double = Double::start().await;
    let elsewhere = other.url().join("elsewhere/1").unwrap();
    double.when("POST", Answer::status(202).header("location", elsewhere.as_str()));
    other.when("PUT /elsewhere/1", Answer::status(201));
    push(&client(&double), &one).await.unwrap();
    assert_eq!(other.requests(), ["PUT /elsewhere/1"]);
    assert_eq!(other.header("authorization"), [None]);
}

#[tokio::test]
async fn what_is_pulled_is_verified_before_it_gets_its_name() {
    let (double, folder) = (Double::start().await, small());
    let packed = packed(&folder).await;
    push(&client(&double), &packed).await.unwrap();
    let target: &Blob = packed.blobs.iter().find(|blob| blob.size == 500).unwrap();
    for lie in [vec![b'x'; 500], vec![b'f'; 499], vec![b'f'; 501]] {
        double.put_blob(&target.digest, lie);
        let dir = folder.path("blobs");
        let err = pull(&double, &dir).await.unwrap_err();
        assert!(matches!(err, Error::ReceivedMismatch(digest) if digest == target.digest), "{err}");
        assert!(!BlobFolder::new(&dir).place(&target.digest).exists());
        let names = tree(&dir).into_iter().map(|(name, _)| name);
        assert!(
            names.clone().all(|name| name.len() == "sha256/".len() + 64),
            "{:?}",
            names.collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn a_manifest_is_verified_and_held_to_its_limits() {
    let (double, folder) = (Double::start().await, small());
    let client = client(&double);
    let digest = Digest::of("asked");
    double.put_manifest(&digest.to_string(), "other");
    let err = client.pull_manifest("hello", &Reference::Digest(digest)).await.unwrap_err();
    assert!(matches!(err, Error::ReceivedMismatch(asked) if asked == digest), "{err}");

    double.put_manifest("0.1.0", vec![b' '; limits::MANIFEST_BYTES as usize + 1]);
    let err = pull(&double, &folder.path("blobs")).await.unwrap_err();
    assert!(matches!(err, Error::Manifest(oci::ManifestError::TooLarge(_))), "{err}");

    let huge = oci::Descriptor::new(oci::FILE, digest, limits::ARTIFACT_BYTES + 1);
    let manifest = oci::Manifest::new(huge, Vec::new(), BTreeMap::new());
    double.put_manifest("0.1.0", manifest.to_bytes());
    let err = pull(&double, &folder.path("blobs")).await.unwrap_err();
    assert!(matches!(err, Error::Manifest(oci::ManifestError::ArtifactTooLarge(_))), "{err}");
    assert_eq!(double.count("GET /v2/hello/blobs/"), 0);

    double.when("PUT /v2/hello/manifests/", {
        let other = Digest::of("other").to_string();
        Answer::status(201).header("docker-content-digest", &other)
    });
    let err = push(&client, &packed(&folder).await).await.unwrap_err();
    assert!(matches!(err, Error::SentMismatch(_)), "{err}");
}

#[tokio::test]
async fn names_that_are_none_are_refused_before_anything_is_sent() {
    let (double, folder) = (Double::start().await, small());
    let (client, packed) = (client(&double), packed(&folder).await);
    for (repository, tag) in
        [("../x", "t"), ("a b", "t"), ("Hello", "t"), ("hello", "a/b"), ("hello", "")]
    {
        let err = client.push(&packed, repository, Some(tag), |_| {}).await.unwrap_err();
        assert!(matches!(err, Error::BadName(_)), "{repository}:{tag}: {err}");
        let tag = Reference::Tag(tag.to_owned());
        let err = client.pull_manifest(repository, &tag).await.unwrap_err();
        assert!(matches!(err, Error::BadName(_)), "{repository}: {err}");
    }
    assert!(double.requests().is_empty());
    for url in ["ftp://example.com", "data:x"] {
        assert!(matches!(Client::new(url.parse().unwrap(), None), Err(Error::BadUrl(_))));
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_an_error() {
    let (double, folder) = (Double::start().await, small());
    double.when("POST", Answer::status(202));
    let err = push(&client(&double), &packed(&folder).await).await.unwrap_err();
    assert!(matches!(err, Error::Protocol(_)), "{err}");
}

#[tokio::test]
async fn blobs_in_memory_are_pushed_in_pieces_too() {
    let double = Double::start().await;
    let content: Vec<u8> = (0..9_u64 << 17).flat_map(u64::to_le_bytes).collect();
    let blob = Blob {
        digest: Digest::of(&content),
        size: content.len() as u64,
        media_type: oci::FILE.to_owned(),
        data: Data::Bytes(content.into()),
    };
    let (digest, folder) = (blob.digest, small());
    let packed = Packed { blobs: vec![blob], ..packed(&folder).await };
    push(&client(&double), &packed).await.unwrap();
    assert_eq!(double.blob(&digest).unwrap().len(), 9 << 20);
    assert_eq!(double.count("PATCH"), 3);
}

#[test]
fn transfers_can_run_on_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    let client = Client::new("http://gyre.localhost:1".parse().unwrap(), None).unwrap();
    let packed = Packed {
        manifest: Vec::new(),
        digest: Digest::of(""),
        blobs: Vec::new(),
        locked: artifact::single_component("x", gyre_model::locked::ContentRef::default()),
    };
    let reference = Reference::Digest(packed.digest);
    is_send(&client.push(&packed, "hello", None, |_| {}));
    is_send(&client.pull("hello", &reference, Path::new("x"), |_| {}));
}
