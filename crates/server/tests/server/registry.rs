//! The registry as clients of the distribution specification use it.

use axum::{Router, body::Body};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use gyre_model::Digest;
use http::Method;

use crate::{
    http::{Answer, Call, app, call, delete, get, host, post, put},
    support::{Platform, plain, platform},
};

struct Registry {
    platform: Platform,
    app: Router,
}

async fn registry() -> Registry {
    let platform = platform().await;
    let app = app(&platform);
    Registry { platform, app }
}

impl Registry {
    fn sign(&self, call: Call) -> Call {
        call.token(self.platform.admin_token.expose())
    }

    async fn send(&self, call: Call) -> Answer {
        self.sign(call).send(&self.app).await
    }

    async fn begin(&self) -> String {
        let answer = self.send(post("/v2/hello/blobs/uploads/")).await;
        assert_eq!(answer.status, 202);
        answer.header("location").to_owned()
    }

    async fn patch(&self, location: &str, range: Option<&str>, body: impl Into<Body>) -> Answer {
        let mut call = self.sign(call(Method::PATCH, location));
        if let Some(range) = range {
            call = call.header("content-range", range);
        }
        call.body(&self.app, body).await
    }

    async fn push(&self, blob: &[u8]) -> Digest {
        let digest = Digest::of(blob);
        let uri = format!("/v2/hello/blobs/uploads/?digest={digest}");
        let answer = self.sign(post(&uri)).body(&self.app, blob.to_vec()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        digest
    }
}

fn code(answer: &Answer) -> String {
    answer.json()["errors"][0]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_told_where_to_get_a_token() {
    let Registry { platform, app } = registry().await;
    let answer = get("/v2/").send(&app).await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (401, "UNAUTHORIZED".to_owned()));
    let challenge = format!(r#"Bearer realm="http://{}/v2/token",service="gyre.test""#, host());
    assert_eq!(answer.header("www-authenticate"), challenge);
    assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    // By another name, at that name; quotes in it end the offer, not the header.
    let answer = get("http://127.0.0.1:8000/v2/").send(&app).await;
    assert!(answer.header("www-authenticate").contains("http://127.0.0.1:8000/v2/token"));

    let basic = |user: &str, password: &str| {
        format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
    };
    let token = platform.admin_token.expose();
    let endpoint = "/v2/token?service=gyre.test&scope=repository:hello:pull,push&account=x";
    let given = get(endpoint).header("authorization", &basic("anyone", token)).send(&app).await;
    let given = given.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(get("/v2/").token(&given).send(&app).await.status, 200);
    let answer = get("/v2/").header("authorization", &basic("x", token)).send(&app).await;
    assert_eq!(answer.status, 200, "Basic does without the endpoint");
    let form = [("grant_type", "password"), ("username", "x"), ("password", token.as_str())];
    assert_eq!(post("/v2/token").foreign_form(&app, &form).await.status, 200);
    for refused in [get(endpoint), get(endpoint).header("authorization", &basic("x", "wrong"))] {
        assert_eq!(refused.send(&app).await.status, 401);
    }
}

#[tokio::test]
async fn an_upload_in_chunks_can_be_asked_about_and_taken_up_again() {
    let registry = registry().await;
    let location = registry.begin().await;
    let answer = registry.patch(&location, Some("0-4"), "Hello").await;
    assert_eq!((answer.status.as_u16(), answer.header("range")), (202, "0-4"));
    // The same chunk again, or one with a gap before it.
    for range in ["0-4", "7-9", "x-y"] {
        let answer = registry.patch(&location, Some(range), "Hello").await;
        assert_eq!(
            (answer.status.as_u16(), code(&answer)),
            (416, "BLOB_UPLOAD_INVALID".to_owned())
        );
    }
    let status = registry.send(get(&location)).await;
    assert_eq!((status.status.as_u16(), status.header("range")), (204, "0-4"));
    // The connection breaks off within a chunk: what came is kept.
    let broken = futures::stream::iter([Ok(Bytes::from(", ")), Err(std::io::Error::other("gone"))]);
    let answer = registry.patch(&location, None, Body::from_stream(broken)).await;
    assert_eq!(answer.status, 400);
    let status = registry.send(get(&location)).await;
    assert_eq!(status.header("range"), "0-6");
    let digest = Digest::of("Hello, world");
    let uri = format!("{location}?digest={digest}");
    let done = registry.sign(put(&uri)).body(&registry.app, "world").await;
    assert_eq!(done.status, 201, "{}", done.text());
    assert_eq!(done.header("docker-content-digest"), digest.to_string());
    let pulled = registry.send(get(done.header("location"))).await;
    assert_eq!(pulled.text(), "Hello, world");
    assert_eq!(registry.send(get(&location)).await.status, 404);
}

#[tokio::test]
async fn a_corrupt_upload_is_refused_and_nothing_of_it_stays() {
    let registry = registry().await;
    let location = registry.begin().await;
    registry.patch(&location, None, "flipped").await;
    let digest = Digest::of("original");
    let answer = registry.send(put(&format!("{location}?digest={digest}"))).await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(
        registry.send(call(Method::HEAD, &format!("/v2/hello/blobs/{digest}"))).await.status,
        404
    );
    assert!(registry.platform.blobs.list().await.unwrap().is_empty());
    assert_eq!(registry.send(get(&location)).await.status, 404);
    for wrong in ["", "?digest=", "?digest=md5:00", "?digest=sha256:00"] {
        let location = registry.begin().await;
        let answer = registry.send(put(&format!("{location}{wrong}"))).await;
        assert_eq!((answer.status.as_u16(), code(&answer)), (400, "DIGEST_INVALID".to_owned()));
    }
    let location = registry.begin().await;
    assert_eq!(registry.send(delete(&location)).await.status, 204);
    assert_eq!(registry.patch(&location, None, "x").await.status, 404);
}

#[tokio::test]
async fn blobs_are_pulled_in_ranges() {
    let registry = registry().await;
    let digest = registry.push(b"0123456789").await;
    let uri = format!("/v2/hello/blobs/{digest}");
    let head = registry.send(call(Method::HEAD, &uri)).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "10"));
    assert_eq!(head.header("accept-ranges"), "bytes");
    for (asked, body, told) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=8-", "89", "bytes 8-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
    ] {
        let answer = registry.send(get(&uri).header("range", asked)).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (206, body));
        assert_eq!(answer.header("content-range"), told);
        assert_eq!(answer.header("content-length"), body.len().to_string());
    }
    let beyond = registry.send(get(&uri).header("range", "bytes=10-")).await;
    assert_eq!((beyond.status.as_u16(), beyond.header("content-range")), (416, "bytes */10"));
    let nonsense = registry.send(get(&uri).header("range", "lines=1-2")).await;
    assert_eq!((nonsense.status.as_u16(), nonsense.text().as_str()), (200, "0123456789"));
}

#[tokio::test]
async fn a_blob_is_mounted_from_another_repository_or_else_uploaded() {
    let registry = registry().await;
    let digest = registry.push(b"shared").await;
    let mount = |from: &str| post(&format!("/v2/other/blobs/uploads/?mount={digest}&from={from}"));
    let answer = registry.send(mount("nowhere")).await;
    assert_eq!(answer.status, 202);
    let answer = registry.send(mount("hello")).await;
    assert_eq!(answer.status, 201);
    assert_eq!(registry.send(get(answer.header("location"))).await.text(), "shared");
    let (_, stranger) = registry.platform.stranger("stranger").await;
    let answer = mount("hello").token(stranger.expose()).send(&registry.app).await;
    assert_eq!(answer.status, 202, "the same as if there were no such blob");
}

#[tokio::test]
async fn manifests_and_tags_are_put_found_listed_and_deleted() {
    let registry = registry().await;
    let artifact = plain("code");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let put_at = |tag: &str| {
        let call = registry.sign(put(&format!("/v2/hello/manifests/{tag}")));
        call.header("content-type", kind).body(&registry.app, artifact.manifest.clone())
    };
    let early = put_at("a").await;
    assert_eq!((early.status.as_u16(), code(&early)), (400, "MANIFEST_BLOB_UNKNOWN".to_owned()));
    for blob in &artifact.blobs {
        registry.push(blob).await;
    }
    for tag in ["c", "a", "b"] {
        assert_eq!(put_at(tag).await.status, 201);
    }
    let digest = Digest::of(&artifact.manifest);
    for reference in ["a".to_owned(), digest.to_string(), digest.to_string().replace(':', "%3A")] {
        let uri = format!("/v2/hello/manifests/{reference}");
        let answer = registry.send(get(&uri)).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &artifact.manifest));
        assert_eq!(answer.header("content-type"), kind);
        let head = registry.send(call(Method::HEAD, &uri)).await;
        assert_eq!(head.header("docker-content-digest"), digest.to_string());
        assert_eq!(head.header("content-length"), artifact.manifest.len().to_string());
    }
    let page = registry.send(get("/v2/hello/tags/list?n=2")).await;
    assert_eq!(page.json()["tags"], serde_json::json!(["a", "b"]));
    let link = page.header("link");
    let next = link.strip_prefix('<').unwrap().split('>').next().unwrap();
    let page = registry.send(get(next)).await;
    assert_eq!(page.json(), serde_json::json!({ "name": "hello", "tags": ["c"] }));
    assert!(page.headers.get("link").is_none());
    assert_eq!(registry.send(delete("/v2/hello/manifests/a")).await.status, 202);
    let gone = registry.send(get("/v2/hello/manifests/a")).await;
    assert_eq!((gone.status.as_u16(), code(&gone)), (404, "MANIFEST_UNKNOWN".to_owned()));
    let unknown = registry.send(get("/v2/nothing/tags/list")).await;
    assert_eq!((unknown.status.as_u16(), code(&unknown)), (404, "NAME_UNKNOWN".to_owned()));
    let large = registry.sign(put("/v2/hello/manifests/x"));
    let large = large.body(&registry.app, vec![b' '; (4 << 20) + 1]).await;
    assert_eq!(large.status, 413);
    let wrong = registry.sign(put(&format!("/v2/hello/manifests/{}", Digest::of("x"))));
    let wrong =
        wrong.header("content-type", kind).body(&registry.app, artifact.manifest.clone()).await;
    assert_eq!((wrong.status.as_u16(), code(&wrong)), (400, "DIGEST_INVALID".to_owned()));
}

#[tokio::test]
async fn names_are_checked_before_anything_is_done() {
    let registry = registry().await;
    for name in ["A", "a..b", "..%2Fx", "a%00b", "%2e%2e", "a%20b"] {
        let answer = registry.send(post(&format!("/v2/{name}/blobs/uploads/"))).await;
        assert_eq!(
            (answer.status.as_u16(), code(&answer)),
            (400, "NAME_INVALID".to_owned()),
            "{name}"
        );
    }
    for path in [
        "/v2/x",
        "/v2/hello/manifests/",
        "/v2/hello/blobs/",
        "/v2/hello/else/x",
        "/v2/%ff/tags/list",
    ] {
        assert_eq!(registry.send(get(path)).await.status, 404, "{path}");
    }
    let answer = registry.send(post("/v2/hello/tags/list")).await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (405, "UNSUPPORTED".to_owned()));
}
