//! The typed client against a server on a socket.

use std::collections::BTreeMap;

use gyre_api::{Client, ClientOptions, DevicePoll, Error, LogQuery, v1};
use gyre_model::{Digest, Secret};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    http::app,
    support::{Platform, SOON, needs_greeting, plain, platform},
    v1::print,
};

/// A server for the platform on a port of its own, by a name that no resolver knows.
pub async fn serve(platform: &Platform) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://gyre.localhost:{}", listener.local_addr().unwrap().port());
    let app = app(platform);
    let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, task)
}

fn client(url: &str, token: Option<&Secret<String>>) -> Client {
    let options =
        ClientOptions { url: url.to_owned(), token: token.cloned(), ..ClientOptions::default() };
    Client::new(options).unwrap()
}

#[tokio::test]
async fn the_client_lives_the_whole_life_of_an_app() {
    let platform = platform().await;
    let (url, server) = serve(&platform).await;
    let client = client(&url, Some(&platform.admin_token));
    assert_eq!(client.info().await.unwrap().domain, "gyre.test");
    assert_eq!(client.account().await.unwrap().name, "admin");
    assert!(client.apps().await.unwrap().is_empty());
    let made = client.ensure_app("hello").await.unwrap();
    assert_eq!((made.repository.as_str(), made.active.is_none()), ("hello", true));

    let one = platform.push(&platform.admin, "hello", &needs_greeting("one"), "0.1.0").await;
    let release = client.deploy("hello", one, BTreeMap::new()).await.unwrap();
    let release = client.wait_for_release("hello", release.id, SOON, |_| ()).await.unwrap();
    assert_eq!(
        (release.state, &*release.missing_variables),
        (v1::ReleaseState::Pending, &["greeting".to_owned()][..])
    );
    let variables = BTreeMap::from([("greeting".to_owned(), "hi".to_owned())]);
    let release = client.deploy("hello", one, variables).await.unwrap();
    let mut seen = 0;
    let release = client.wait_for_release("hello", release.id, SOON, |_| seen += 1).await.unwrap();
    assert_eq!((release.state, release.url.clone()), (v1::ReleaseState::Active, made.url.clone()));
    assert!(seen > 0);

    let two = platform.push(&platform.admin, "hello", &plain("two"), "0.2.0").await;
    let why = "it does not compile";
    platform.activator.failures.lock().unwrap().insert(two, why.to_owned());
    let failed = client.deploy("hello", two, BTreeMap::new()).await.unwrap();
    let failed = client.wait_for_release("hello", failed.id, SOON, |_| ()).await.unwrap();
    assert_eq!((failed.state, failed.reason.as_deref()), (v1::ReleaseState::Failed, Some(why)));
    platform.activator.failures.lock().unwrap().clear();
    let second = client.deploy("hello", two, BTreeMap::new()).await.unwrap();
    client.wait_for_release("hello", second.id, SOON, |_| ()).await.unwrap();
    let revisions = client.revisions("hello").await.unwrap();
    assert_eq!((revisions[0].digest, revisions[0].active_in.len(), revisions.len()), (two, 1, 2));
    let back = client.rollback("hello", None).await.unwrap();
    let back = client.wait_for_release("hello", back.id, SOON, |_| ()).await.unwrap();
    assert_eq!((back.revision.digest, back.state), (one, v1::ReleaseState::Active));
    let info = client.app("hello").await.unwrap();
    assert_eq!(info.active.unwrap().id, back.id);
    assert_eq!(info.latest.unwrap().number, back.number);

    let change = v1::SetVariables {
        set: BTreeMap::from([("extra".to_owned(), "x".to_owned())]),
        delete: vec!["nothing".to_owned()],
    };
    assert!(client.set_variables("hello", &change).await.unwrap().is_some());
    let names: Vec<_> =
        client.variables("hello").await.unwrap().into_iter().map(|v| v.name).collect();
    assert_eq!(names, ["extra", "greeting"]);
    client.delete_app(&made.id.to_string()).await.unwrap();
    let gone = client.app("hello").await.unwrap_err();
    assert!(gone.is_not_found());
    assert_eq!(gone.to_string(), "there is no app 'hello'");
    server.abort();
}

#[tokio::test]
async fn all_apps_are_listed_however_many_pages_they_fill() {
    let platform = platform().await;
    let (url, server) = serve(&platform).await;
    for n in 0..501 {
        platform.control.ensure_app(&platform.admin, &format!("app-{n:03}"), None).await.unwrap();
    }
    let apps = client(&url, Some(&platform.admin_token)).apps().await.unwrap();
    let names: Vec<_> = apps.into_iter().map(|app| app.name).collect();
    assert_eq!((names.len(), names.is_sorted()), (501, true));
    server.abort();
}

#[tokio::test]
async fn signing_in_by_device_code_renewing_and_signing_out() {
    let platform = platform().await;
    let (url, server) = serve(&platform).await;
    let nobody = client(&url, None);
    let code = nobody.create_device_code().await.unwrap();
    let poll = nobody.poll_device_code(&code.device_code).await.unwrap();
    assert!(matches!(poll, DevicePoll::Pending));
    let poll = nobody.poll_device_code(&code.device_code).await.unwrap();
    assert!(matches!(poll, DevicePoll::SlowDown));
    platform.control.decide_login(&platform.admin, &code.user_code, true).await.unwrap();
    let poll = nobody.poll_device_code(&code.device_code).await.unwrap();
    let DevicePoll::Approved(info) = poll else { panic!("{poll:?}") };
    let spent = nobody.poll_device_code(&code.device_code).await.unwrap_err();
    assert_eq!(spent.code(), Some(gyre_api::code::EXPIRED_CODE));
    let somebody = nobody.with_token(info.token.clone().into());
    assert_eq!(somebody.account().await.unwrap().name, "admin");
    platform.clock.advance(25 * 3600);
    assert!(matches!(somebody.account().await, Err(Error::Unauthenticated { .. })));
    let info = nobody.refresh(&info.token, &info.refresh_token).await.unwrap();
    let somebody = nobody.with_token(info.token.into());
    let create = v1::CreateToken { name: "ci".to_owned(), expires_in_days: None };
    let created = somebody.create_token(&create).await.unwrap();
    let ci = nobody.with_token(created.token.into());
    assert!(ci.tokens().await.unwrap().iter().any(|token| token.id == created.id));
    somebody.logout().await.unwrap();
    assert!(matches!(somebody.account().await, Err(Error::Unauthenticated { .. })));
    ci.revoke_token(created.id).await.unwrap();
    let error = ci.account().await.unwrap_err();
    assert_eq!(error.hint().unwrap(), format!("run `gyre login --url {url}/`"));
    server.abort();
}

/// Stands between client and server; `cut` breaks every connection off, as networks do.
struct Proxy {
    url: String,
    cut: tokio::sync::watch::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

#[allow(clippy::disallowed_methods, reason = "no guest is involved")]
async fn proxy(to: &str) -> Proxy {
    let to = to.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let cut = tokio::sync::watch::Sender::new(());
    let cuts = cut.clone();
    let task = tokio::spawn(async move {
        loop {
            let (mut inner, _) = listener.accept().await.unwrap();
            let mut cut = cuts.subscribe();
            tokio::spawn(async move {
                let mut outer = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut inner, &mut outer) => {}
                    _ = cut.changed() => {}
                }
            });
        }
    });
    Proxy { url, cut, task }
}

#[tokio::test]
async fn a_log_is_followed_over_broken_connections_without_gap_or_repetition() {
    let platform = platform().await;
    let (url, server) = serve(&platform).await;
    let proxy = proxy(&url).await;
    let client = client(&proxy.url, Some(&platform.admin_token));
    platform.control.ensure_app(&platform.admin, "hello", None).await.unwrap();
    print(&platform, &["zero", "one", "two"]).await;
    let lines = client.logs("hello", LogQuery { since: None, max: Some(2) }).await.unwrap();
    assert_eq!(lines.iter().map(|l| l.line.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    let query = LogQuery { since: None, max: Some(1) };
    let mut follower = client.follow_logs("hello", query).await.unwrap();
    assert_eq!(follower.next().await.unwrap().line, "two");
    let (next, ()) = tokio::join!(follower.next(), print(&platform, &["three", "four"]));
    assert_eq!(next.unwrap().line, "three");
    assert_eq!(follower.next().await.unwrap().line, "four");
    for line in ["five", "six"] {
        proxy.cut.send_replace(());
        print(&platform, &[line]).await;
        assert_eq!(follower.next().await.unwrap().line, line);
    }
    // The platform stops: its streams end, and there is nobody to turn to.
    server.abort();
    proxy.task.abort();
    let ((), error) = tokio::join!(platform.control.stop(), follower.next());
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_away_is_said_to_be_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("http://gyre.localhost:{port}");
    let error = client(&url, None).info().await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot reach the server at {url}/"));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.to_lowercase().contains("refused"), "{source}");
    assert!(error.hint().unwrap().contains("gyre server"));
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_named_by_its_plain_address() {
    let platform = platform().await;
    let (url, server) = serve(&platform).await;
    let secure = url.replace("http://", "https://");
    let error = client(&secure, None).info().await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains(&url), "{:?}", error.hint());
    server.abort();
}

#[tokio::test]
async fn what_is_no_gyre_server_is_not_taken_for_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let other = axum::Router::new().fallback(|| async { "hello" });
    let server = tokio::spawn(async move { axum::serve(listener, other).await.unwrap() });
    let error = client(&url, None).info().await.unwrap_err();
    assert!(matches!(error, Error::Answer { status: 200, .. }), "{error:?}");
    server.abort();
}

#[tokio::test]
async fn a_refusal_keeps_its_sentence_and_code() {
    let platform = platform().await;
    let (url, server) = serve(&platform).await;
    let client = client(&url, Some(&platform.admin_token));
    client.ensure_app("hello").await.unwrap();
    let nothing = Digest::of("nothing");
    let error = client.deploy("hello", nothing, BTreeMap::new()).await.unwrap_err();
    assert_eq!(error.code(), Some("revision.not_pushed"));
    assert!(error.to_string().contains(&nothing.to_string()));
    let error = client.ensure_app("no good").await.unwrap_err();
    assert_eq!((error.code(), error.hint().is_some()), (Some("app.name_invalid"), true));
    server.abort();
}
