//! The Fermyon plug-in 0.11, request by request as it was seen on the wire.

use axum::Router;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    http::{Answer, Call, app, call, get, post},
    support::{Artifact, Platform, artifact, platform},
};
use gyre_model::Digest;

const CLIENT: &str = "583e63e9-461f-4fbe-a246-23e0fb1cad10";

/// What it sends with every API request.
fn plugin(call: Call, token: &str) -> Call {
    call.header("user-agent", "cloud/0.11.0 spin/0")
        .header("accept", "application/json")
        .header("content-type", "application/json")
        .token(token)
}

/// Three requests a blob, with what the plug-in needs of each answer.
async fn push_blob(app: &Router, token: &str, blob: &[u8]) {
    let begun =
        post("/v2/hello/blobs/uploads/").header("content-length", "0").token(token).send(app).await;
    assert_eq!(begun.status, 202);
    let location = begun.header("location");
    assert!(location.starts_with("/v2/"), "{location}");
    // An 86,245 byte file goes as `0-86244`.
    let patched = call(Method::PATCH, location)
        .header("content-type", "application/octet-stream")
        .header("content-range", &format!("0-{}", blob.len() - 1))
        .token(token)
        .body(app, blob.to_vec())
        .await;
    assert_eq!(patched.status, 202, "{}", patched.text());
    let digest = Digest::of(blob).to_string().replace(':', "%3A");
    let finished = call(Method::PUT, &format!("{}?digest={digest}", patched.header("location")))
        .header("content-length", "0")
        .token(token)
        .send(app)
        .await;
    assert_eq!(finished.status, 201, "{}", finished.text());
    assert!(!finished.header("location").is_empty());
}

async fn push(app: &Router, token: &str, artifact: &Artifact, version: &str) -> String {
    let blobs = artifact.blobs.iter().map(|blob| push_blob(app, token, blob));
    futures::future::join_all(blobs).await;
    let put = call(Method::PUT, &format!("/v2/hello/manifests/{version}"))
        .header("content-type", "application/vnd.oci.image.manifest.v1+json")
        .token(token)
        .body(app, artifact.manifest.clone())
        .await;
    assert_eq!(put.status, 201, "{}", put.text());
    let (_, last) = put.header("location").rsplit_once('/').unwrap();
    assert_eq!(last, Digest::of(&artifact.manifest).to_string());
    last.to_owned()
}

fn greeter(code: &str) -> Artifact {
    artifact(code, json!({ "variables": { "greeting": {} } }))
}

fn ok(answer: Answer) -> Value {
    assert!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
    if answer.body.is_empty() { Value::Null } else { answer.json() }
}

/// Step 7 of a deploy of a new app with `--variable greeting=hi --link kv:default=mystore`; returns the app's id.
async fn deploy_new(app: &Router, token: &str) -> String {
    let page = ok(plugin(get("/api/apps?pageSize=50"), token).send(app).await);
    assert_eq!(page["items"], json!([]));
    assert_eq!(page["isLastPage"], true);
    let stores = ok(plugin(get("/api/key-value-stores"), token).send(app).await);
    assert_eq!(stores, json!({ "keyValueStores": [] }));
    ok(plugin(post("/api/key-value-stores/mystore"), token).body(app, "null").await);
    let create = json!({ "name": "hello", "storageId": "oci://hello" });
    let id = ok(plugin(post("/api/apps"), token).body(app, create.to_string()).await);
    let id = id.as_str().unwrap().to_owned();
    let link = json!({ "label": "default", "appId": id, "appName": "hello" });
    let links = "/api/key-value-stores/mystore/links";
    ok(plugin(post(links), token).body(app, link.to_string()).await);
    register(app, token).await;
    let pair = json!({ "appId": id, "variable": "greeting", "value": "hi" });
    ok(plugin(post("/api/variable-pairs"), token).body(app, pair.to_string()).await);
    id
}

async fn register(app: &Router, token: &str) {
    let revision = json!({ "appStorageId": "oci://hello", "revisionNumber": "0.1.0" });
    let request = plugin(post("/api/revisions"), token).header("api-version", "1.0");
    ok(request.body(app, revision.to_string()).await);
}

/// What readiness sees: the digest that the app's host serves.
async fn served(platform: &Platform) -> Option<(String, String)> {
    let latest = platform
        .control
        .latest_release(&platform.admin, &crate::support::hello())
        .await
        .unwrap()
        .unwrap();
    platform.wait(&latest).await;
    let mut routes = platform.publisher.now().into_iter();
    routes.next().map(|(host, digest)| (host, digest.to_string()))
}

#[tokio::test]
async fn a_whole_life_of_an_app_as_the_plugin_lives_it() {
    let platform = platform().await;
    let app = app(&platform);
    let token = platform.admin_token.expose();

    // login --token
    let page = ok(plugin(get("/api/apps?pageSize=1"), token).send(&app).await);
    for required in ["items", "totalItems", "pageIndex", "pageSize", "isLastPage"] {
        assert!(page.get(required).is_some(), "{required} is required");
    }

    // deploy
    let digest = push(&app, token, &greeter("one"), "0.1.0").await;
    let id = deploy_new(&app, token).await;
    let (host, now) = served(&platform).await.unwrap();
    assert_eq!(now, digest);
    let item = ok(plugin(get(&format!("/api/apps/{id}")), token).send(&app).await);
    assert_eq!(item["subdomain"], format!("{host}:8000"));
    for required in ["id", "name", "storageId", "subdomain", "channels", "lastModified", "created"]
    {
        assert!(!item[required].is_null(), "{required} is required");
    }
    assert_eq!(item["healthStatus"], "Healthy");
    let spec = platform.activator.prepared.lock().unwrap().pop().unwrap();
    assert_eq!(spec.variables["greeting"].expose(), "hi");
    assert_eq!(spec.route.stores["default"].account, platform.admin.account);

    // deploy again: the same version, other code
    let digest = push(&app, token, &greeter("two"), "0.1.0").await;
    let page = ok(plugin(get("/api/apps?pageSize=50"), token).send(&app).await);
    assert_eq!(page["items"][0]["name"], "hello");
    let stores = ok(plugin(get("/api/key-value-stores"), token).send(&app).await);
    let link = &stores["keyValueStores"][0]["links"][0];
    assert_eq!((&link["label"], &link["appName"]), (&json!("default"), &json!("hello")));
    register(&app, token).await;
    assert_eq!(served(&platform).await.unwrap(), (host, digest));

    // A deploy that broke off is repeated from its first step.
    let create = json!({ "name": "hello", "storageId": "oci://hello" });
    let again = ok(plugin(post("/api/apps"), token).body(&app, create.to_string()).await);
    assert_eq!(again, json!(id));

    // deploy --key-value
    let pair = json!({ "appId": id, "storeName": "default", "key": "a", "value": "b" });
    ok(plugin(post("/api/key-value-pairs"), token).body(&app, pair.to_string()).await);
    assert_eq!(platform.data.0.lock().unwrap().values().next().unwrap(), b"b");

    // variables list, delete
    let body = json!({ "appId": id }).to_string();
    let request =
        plugin(get("/api/variable-pairs"), token).header("content-length", &body.len().to_string());
    assert_eq!(
        ok(request.body(&app, body.clone()).await),
        json!({ "vars": [r#"{"key":"greeting"}"#] })
    );
    let pair = json!({ "appId": id, "variable": "greeting" });
    ok(plugin(call(Method::DELETE, "/api/variable-pairs"), token)
        .body(&app, pair.to_string())
        .await);
    assert_eq!(
        ok(plugin(get("/api/variable-pairs"), token).body(&app, body).await),
        json!({ "vars": [] })
    );

    // apps delete
    let request = plugin(call(Method::DELETE, &format!("/api/apps/{id}")), token);
    ok(request.header("api-version", "1.0").send(&app).await);
    assert!(platform.publisher.now().is_empty());
    let page = ok(plugin(get("/api/apps?pageSize=50"), token).send(&app).await);
    assert_eq!(page["items"], json!([]));
}

#[tokio::test]
async fn a_device_login_is_polled_until_somebody_approves() {
    let platform = platform().await;
    let app = app(&platform);
    // The token is empty, and the header's end is cut off on the way.
    for authorization in ["Bearer ", "Bearer"] {
        let answer = post("/api/device-codes")
            .header("authorization", authorization)
            .json(&app, &json!({ "clientId": CLIENT }))
            .await;
        assert_eq!(answer.status, 200);
    }
    let code = ok(post("/api/device-codes").json(&app, &json!({ "clientId": CLIENT })).await);
    assert!(code["expiresIn"].is_i64() && code["interval"].is_i64());
    let body = json!({
        "provider": "DeviceFlow", "clientId": CLIENT, "providerCode": code["deviceCode"],
    });
    let poll = || post("/api/auth-tokens").json(&app, &body);
    let waiting = poll().await;
    assert_eq!(waiting.status, 400);
    assert!(waiting.json().get("token").is_none());
    assert_eq!(waiting.json()["code"], "auth.authorization_pending");
    let user_code = code["userCode"].as_str().unwrap();
    platform.control.decide_login(&platform.admin, user_code, true).await.unwrap();
    let info = ok(poll().await);
    let token = info["token"].as_str().unwrap();
    ok(plugin(get("/api/apps?pageSize=50"), token).send(&app).await);
    let expiration: jiff::Timestamp = info["expiration"].as_str().unwrap().parse().unwrap();
    assert!(expiration > platform.clock.now());

    // Four minutes before the end, or long after it.
    platform.clock.advance(26 * 3600);
    let body = json!({ "token": token, "refreshToken": info["refreshToken"] });
    let renewed = ok(plugin(post("/api/auth-tokens/refresh"), token).json(&app, &body).await);
    let token = renewed["token"].as_str().unwrap();
    ok(plugin(get("/api/apps?pageSize=50"), token).send(&app).await);
}

#[tokio::test]
async fn fifty_one_apps_are_all_on_the_page_the_plugin_looks_at() {
    let platform = platform().await;
    let app = app(&platform);
    let token = platform.admin_token.expose();
    for n in 0..51 {
        platform.control.ensure_app(&platform.admin, &format!("app-{n}"), None).await.unwrap();
    }
    let page = ok(plugin(get("/api/apps?pageSize=50"), token).send(&app).await);
    assert_eq!(page["items"].as_array().unwrap().len(), 51);
    assert_eq!((&page["isLastPage"], &page["totalItems"]), (&json!(true), &json!(51)));
    // Whoever pages otherwise gets pages.
    let mut seen = 0;
    for index in 0.. {
        let page = format!("/api/apps?pageIndex={index}&pageSize=20");
        let page = ok(plugin(get(&page), token).send(&app).await);
        seen += page["items"].as_array().unwrap().len();
        if page["isLastPage"] == true {
            break;
        }
    }
    assert_eq!(seen, 51);
}

#[tokio::test]
async fn errors_are_such_that_the_plugin_shows_their_sentence() {
    let platform = platform().await;
    let app = app(&platform);
    let token = platform.admin_token.expose();
    let create = json!({ "name": "no good", "storageId": "oci://no good" });
    let answer = plugin(post("/api/apps"), token).body(&app, create.to_string()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert!(problem["detail"].as_str().unwrap().contains("'no good'"));
    // With `errors` there, the plug-in would not show the detail.
    assert!(problem.get("errors").is_none());
    let answer = plugin(post("/api/apps"), token).body(&app, "{").await;
    assert_eq!(answer.json()["code"], "request.invalid");
    let answer = plugin(get("/api/custom-domains/x"), token).send(&app).await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (StatusCode::NOT_FOUND, json!("not_found"))
    );
    let answer = plugin(call(Method::PUT, "/api/apps"), token).send(&app).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.json()["code"], "method_not_allowed");
}
