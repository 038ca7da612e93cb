//! Who may do what: every operation, asked by everybody who might.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    http::{app, call},
    support::{hello, plain, platform},
};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Anonymous,
    Nonsense,
    Expired,
    Revoked,
    Other,
    Owner,
}

const EVERYBODY: [Who; 6] =
    [Who::Anonymous, Who::Nonsense, Who::Expired, Who::Revoked, Who::Other, Who::Owner];

/// What becomes of an operation.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// Anybody may.
    Open(u16),
    /// Whoever is signed in may, and sees only what is theirs.
    Own(u16),
    /// Only the owner may; for others the thing does not exist.
    Owner(u16),
}

/// Everything the router answers, but for the pages. What is destroyed comes last.
fn table(app: &str, release: &str, digest: &str) -> Vec<(Method, String, Value, Rule)> {
    use Rule::{Open, Own, Owner};
    let hex = digest.strip_prefix("sha256:").unwrap();
    let get = |path: String, rule| (Method::GET, path, Value::Null, rule);
    let post = |path: String, body, rule| (Method::POST, path, body, rule);
    vec![
        get("/healthz".into(), Open(200)),
        get("/api/v1/info".into(), Open(200)),
        post("/api/device-codes".into(), json!({ "clientId": "x" }), Open(200)),
        post(
            "/api/auth-tokens".into(),
            json!({ "provider": "DeviceFlow", "clientId": "x", "providerCode": "x" }),
            Open(400),
        ),
        post(
            "/api/auth-tokens/refresh".into(),
            json!({ "token": "x", "refreshToken": "x" }),
            Open(401),
        ),
        get("/v1/login?provider=x".into(), Open(200)),
        post("/v1/login".into(), Value::Null, Open(400)),
        // The Fermyon Cloud dialect.
        get("/api/apps".into(), Own(200)),
        post("/api/apps".into(), json!({ "name": "new", "storageId": "oci://new" }), Own(201)),
        get(format!("/api/apps/{app}"), Owner(200)),
        get(format!("/api/apps/{app}/logs/raw"), Owner(200)),
        post(
            "/api/revisions".into(),
            json!({ "appStorageId": "oci://hello", "revisionNumber": "0.1.0" }),
            Owner(201),
        ),
        (Method::GET, "/api/variable-pairs".into(), json!({ "appId": app }), Owner(200)),
        post(
            "/api/variable-pairs".into(),
            json!({ "appId": app, "variable": "x", "value": "1" }),
            Owner(204),
        ),
        (
            Method::DELETE,
            "/api/variable-pairs".into(),
            json!({ "appId": app, "variable": "x" }),
            Owner(204),
        ),
        get("/api/key-value-stores".into(), Own(200)),
        get(format!("/api/key-value-stores?appId={app}"), Owner(200)),
        post("/api/key-value-stores/mine".into(), Value::Null, Own(201)),
        post(
            "/api/key-value-stores/theirs".into(),
            json!({ "label": "other", "appId": app }),
            Owner(201),
        ),
        post(
            "/api/key-value-stores/mine/links".into(),
            json!({ "label": "other", "appId": app }),
            Owner(204),
        ),
        post(
            "/api/key-value-pairs".into(),
            json!({ "appId": app, "storeName": "default", "key": "k", "value": "v" }),
            Owner(204),
        ),
        post(
            "/api/key-value-pairs".into(),
            json!({ "storeName": "theirs", "key": "k", "value": "v" }),
            Owner(204),
        ),
        // Our own.
        get("/api/v1/account".into(), Own(200)),
        get("/api/v1/tokens".into(), Own(200)),
        post("/api/v1/tokens".into(), json!({ "name": "another" }), Own(201)),
        (Method::DELETE, format!("/api/v1/tokens/{app}"), Value::Null, Own(404)),
        get("/api/v1/apps".into(), Own(200)),
        (Method::PUT, "/api/v1/apps/new".into(), Value::Null, Own(200)),
        get(format!("/api/v1/apps/{app}"), Owner(200)),
        get("/api/v1/apps/hello".into(), Owner(200)),
        post(format!("/api/v1/apps/{app}/releases"), json!({ "digest": digest }), Owner(202)),
        get(format!("/api/v1/apps/{app}/releases/{release}"), Owner(200)),
        get(format!("/api/v1/apps/{app}/revisions"), Owner(200)),
        post(format!("/api/v1/apps/{app}/rollback"), json!({ "revision": hex }), Owner(202)),
        get(format!("/api/v1/apps/{app}/logs"), Owner(200)),
        get(format!("/api/v1/apps/{app}/variables"), Owner(200)),
        (
            Method::PATCH,
            format!("/api/v1/apps/{app}/variables"),
            json!({ "set": { "y": "1" } }),
            Owner(200),
        ),
        (
            Method::PUT,
            format!("/api/v1/apps/{app}/variables/y"),
            json!({ "value": "2" }),
            Owner(200),
        ),
        (Method::DELETE, format!("/api/v1/apps/{app}/variables/y"), Value::Null, Owner(200)),
        // The registry.
        get("/v2/".into(), Own(200)),
        get("/v2/token".into(), Own(200)),
        get("/v2/hello/tags/list".into(), Owner(200)),
        get("/v2/hello/manifests/0.1.0".into(), Owner(200)),
        (Method::HEAD, format!("/v2/hello/manifests/{digest}"), Value::Null, Owner(200)),
        get(format!("/v2/hello/blobs/{}", gyre_model::Digest::of("code")), Owner(200)),
        (
            Method::HEAD,
            format!("/v2/hello/blobs/{}", gyre_model::Digest::of("code")),
            Value::Null,
            Owner(200),
        ),
        post("/v2/hello/blobs/uploads/".into(), Value::Null, Own(202)),
        (Method::PATCH, "/v2/hello/blobs/uploads/x.y".into(), Value::Null, Own(404)),
        (Method::GET, "/v2/hello/blobs/uploads/x.y".into(), Value::Null, Own(404)),
        (
            Method::PUT,
            format!("/v2/hello/blobs/uploads/x.y?digest={digest}"),
            Value::Null,
            Own(404),
        ),
        (Method::DELETE, "/v2/hello/blobs/uploads/x.y".into(), Value::Null, Own(404)),
        (Method::PUT, "/v2/hello/manifests/z".into(), json!({}), Own(400)),
        (Method::DELETE, "/v2/hello/manifests/nothing".into(), Value::Null, Own(404)),
        (
            Method::DELETE,
            format!("/v2/hello/blobs/{}", gyre_model::Digest::of("nothing")),
            Value::Null,
            Own(404),
        ),
        // The end of things.
        (Method::DELETE, format!("/api/apps/{app}"), Value::Null, Owner(204)),
        (Method::DELETE, format!("/api/v1/apps/{app}"), Value::Null, Owner(404)),
        (Method::DELETE, "/api/v1/tokens/current".into(), Value::Null, Own(204)),
    ]
}

#[tokio::test]
async fn every_operation_knows_who_may_use_it() {
    for who in EVERYBODY {
        // A platform for each, so that nobody finds what another has made or destroyed.
        let platform = platform().await;
        let app = app(&platform);
        let release = platform.deploy(&plain("code")).await;
        let id = platform.control.app(&platform.admin, &hello()).await.unwrap().app.id.to_string();
        let (_, other) = platform.stranger("other").await;
        let control = &platform.control;
        let (_, expired) = control.create_token(&platform.admin, "old", Some(1)).await.unwrap();
        platform.clock.advance(24 * 3600);
        let (row, revoked) = control.create_token(&platform.admin, "lost", None).await.unwrap();
        control.revoke_token(&platform.admin, row.id).await.unwrap();
        let token = match who {
            Who::Anonymous => None,
            Who::Nonsense => Some("a.b.c".to_owned()),
            Who::Expired => Some(expired.expose().clone()),
            Who::Revoked => Some(revoked.expose().clone()),
            Who::Other => Some(other.expose().clone()),
            Who::Owner => Some(platform.admin_token.expose().clone()),
        };
        for (method, path, body, rule) in
            table(&id, &release.id.to_string(), &release.digest.to_string())
        {
            let mut request = call(method.clone(), &path);
            if let Some(token) = &token {
                request = request.token(token);
            }
            let answer = match body {
                Value::Null => request.send(&app).await,
                body => request.json(&app, &body).await,
            };
            let expected = match (rule, who) {
                (Rule::Open(status), _) => status,
                (_, Who::Anonymous | Who::Nonsense | Who::Expired | Who::Revoked) => 401,
                (Rule::Own(status) | Rule::Owner(status), Who::Owner) => status,
                // Somebody's first upload makes a repository of theirs: from then on it is no longer unknown.
                (Rule::Own(status), Who::Other) => match (method.as_str(), path.as_str()) {
                    ("PUT", "/v2/hello/manifests/z") => 400,
                    _ => status,
                },
                (Rule::Owner(_), Who::Other) => 404,
            };
            let text = answer.text();
            assert_eq!(answer.status.as_u16(), expected, "{who:?} {method} {path}: {text}");
            if answer.status == StatusCode::UNAUTHORIZED && path != "/api/auth-tokens/refresh" {
                assert!(answer.header("www-authenticate").starts_with("Bearer"), "{path}");
            }
        }
        if who != Who::Owner {
            let app = platform.control.app(&platform.admin, &hello()).await.unwrap();
            assert!(app.active().is_some(), "{who:?} did something");
        }
    }
}

#[tokio::test]
async fn a_cookie_opens_pages_and_not_the_api() {
    let platform = platform().await;
    let app = app(&platform);
    let token = platform.admin_token.expose();
    let (_, session) = platform.control.open_page_session(token, None).await.unwrap();
    let cookie = format!("gyre_session={}", session.expose());
    for path in ["/api/v1/account", "/api/apps", "/v2/"] {
        let answer = call(Method::GET, path).header("cookie", &cookie).send(&app).await;
        assert_eq!(answer.status, 401, "{path}");
    }
}
