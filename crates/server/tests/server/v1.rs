//! Our own API where the client does not reach, or as others see it.

use std::time::Duration;

use gyre_model::{Limits, LogEntry, LogStream};
use gyre_store::LogOrigin;
use serde_json::json;

use crate::{
    http::{app, get, post, put},
    support::{Platform, hello, plain, platform},
};

/// Lines of the app `hello`, as a guest would write them.
pub async fn print(platform: &Platform, lines: &[&str]) {
    let app = platform.control.app(&platform.admin, &hello()).await.unwrap().app.id;
    let origin = LogOrigin { app, channel: None, release: None, revision: None };
    let sink = platform.logs.sink(origin, &Limits::server());
    for line in lines {
        sink.write(LogEntry {
            time: jiff::Timestamp::now(),
            component: "hello".into(),
            request: None,
            stream: LogStream::Stdout,
            bytes: line.as_bytes().to_vec().into(),
        });
    }
    platform.logs.flush().await;
}

#[tokio::test]
async fn the_plugin_reads_logs_newest_first_and_follows_by_the_last_time() {
    let platform = platform().await;
    let app = app(&platform);
    let token = platform.admin_token.expose();
    platform.control.ensure_app(&platform.admin, "hello", None).await.unwrap();
    let id = platform.control.app(&platform.admin, &hello()).await.unwrap().app.id;
    print(&platform, &["one", "two\u{1b}[2J", "three"]).await;
    let uri =
        format!("/api/apps/{id}/logs/raw?max=2&since=2026-11-20T20%3A43%3A52.955198136%2B00%3A00");
    let answer = get(&uri).token(token).send(&app).await;
    let entries = answer.json()["entries"].as_array().unwrap().clone();
    let lines: Vec<_> =
        entries.iter().map(|e| e["logLines"][0]["line"].as_str().unwrap()).collect();
    assert_eq!(lines, ["three", "two\\u{1b}[2J"]);
    for required in ["appId", "channelId", "deploymentId", "requestId", "triggerId", "componentId"]
    {
        assert!(entries[0]["meta"][required].is_string(), "{required}");
    }
    // The time of the last printed line comes back as it was.
    let last = entries[0]["logLines"][0]["time"].as_str().unwrap();
    let uri = format!("/api/apps/{id}/logs/raw?since={}", last.replace(':', "%3A"));
    let answer = get(&uri).token(token).send(&app).await;
    assert_eq!(answer.json(), json!({ "entries": [] }));
    print(&platform, &["four"]).await;
    let answer = get(&uri).token(token).send(&app).await;
    assert_eq!(answer.json()["entries"][0]["logLines"][0]["line"], "four");
    for bad in ["since=yesterday", "max=many"] {
        let uri = format!("/api/apps/{id}/logs/raw?{bad}");
        assert_eq!(get(&uri).token(token).send(&app).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_release_is_made_of_exactly_one_thing() {
    let platform = platform().await;
    let app = app(&platform);
    let token = platform.admin_token.expose();
    let digest = platform.pushed(&plain("one")).await;
    let uri = "/api/v1/apps/hello/releases";
    for body in
        [json!({}), json!({ "digest": digest, "tag": "0.1.0" }), json!({ "digset": digest })]
    {
        let answer = post(uri).token(token).json(&app, &body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["code"].clone()),
            (400, json!("request.invalid"))
        );
    }
    let answer = post(uri).token(token).json(&app, &json!({ "tag": "0.1.0" })).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["revision"], json!({ "digest": digest, "version": "0.1.0" }));
    let answer = put("/api/v1/apps/Not%20A%20Name").token(token).send(&app).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["code"].clone()),
        (400, json!("app.name_invalid"))
    );
    assert!(answer.json()["hint"].is_string());
}

#[tokio::test]
async fn an_internal_failure_says_nothing_but_its_reference() {
    let platform = platform().await;
    let app = app(&platform);
    let token = platform.admin_token.expose().clone();
    platform.db.close().await;
    let answer = get("/api/v1/apps").token(&token).send(&app).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), "1");
    let text = answer.text();
    assert!(!text.contains("sqlite") && !text.contains("closed"), "{text}");
    assert_eq!(get("/healthz").send(&app).await.status, 503);
}

#[tokio::test]
async fn who_waits_is_answered_when_the_platform_stops() {
    let platform = platform().await;
    let app = app(&platform);
    let token = platform.admin_token.expose().clone();
    platform.activator.gate.send_replace(false);
    let release = platform.release(&plain("one")).await;
    let uri = format!("/api/v1/apps/hello/releases/{}?wait=60", release.id);
    let waiting = get(&uri).token(&token).send(&app);
    let stopping = async {
        platform.activator.waiting.subscribe().wait_for(|n| *n == 1).await.unwrap();
        platform.control.stop().await;
    };
    let both = async { tokio::join!(waiting, stopping).0 };
    let answer = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    assert_eq!(answer.json()["state"], "preparing");
}
