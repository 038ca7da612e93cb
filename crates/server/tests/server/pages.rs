//! Signing in with a browser, and letting a device in.

use axum::Router;
use gyre_control::DeviceLogin;

use crate::{
    http::{Answer, Call, app, get, host, post},
    support::{Platform, platform},
};

const PAGE: &str = "/device-authorization";

/// The session of a browser that signed in, as a cookie.
async fn signed_in(app: &Router, token: &str, next: &str) -> (String, Answer) {
    let answer = post("/login").form(app, &[("token", token), ("next", next)]).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Lax"), "{cookie}");
    (cookie.split(';').next().unwrap().to_owned(), answer)
}

fn form_token(page: &Answer) -> String {
    let text = page.text();
    let (_, rest) = text.split_once(r#"name="form" value=""#).expect("a form");
    rest.split('"').next().unwrap().to_owned()
}

async fn begun(platform: &Platform, client: &str) -> DeviceLogin {
    platform.control.begin_device_login(client, None).await.unwrap()
}

async fn is_approved(platform: &Platform, login: &DeviceLogin, client: &str) -> bool {
    platform.clock.advance(10);
    platform.control.poll_device_login(login.device_code.expose(), client).await.is_ok()
}

#[tokio::test]
async fn a_person_signs_in_sees_what_asks_and_approves() {
    let platform = platform().await;
    let app = app(&platform);
    let login = begun(&platform, "gyre").await;
    let with_code = format!("{PAGE}?code={}", login.user_code);
    let answer = get(&with_code).send(&app).await;
    assert_eq!(answer.status, 303);
    let to_login = answer.header("location").to_owned();
    let form = get(&to_login).send(&app).await;
    assert_eq!(form.status, 200);
    let next = form.text();
    let (_, next) = next.split_once(r#"name="next" value=""#).unwrap();
    let next = next.split('"').next().unwrap().to_owned();
    let wrong = post("/login").form(&app, &[("token", "wrong"), ("next", &next)]).await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.headers.get("set-cookie").is_none());

    let token = platform.admin_token.expose();
    let (cookie, answer) = signed_in(&app, token, &next).await;
    assert_eq!(answer.header("location"), with_code);
    assert!(!cookie.contains(token.as_str()), "the session has a secret of its own");
    let page = get(&with_code).header("cookie", &cookie).send(&app).await;
    let text = page.text();
    assert!(text.contains(&login.user_code) && text.contains("the gyre command"), "{text}");
    assert!(text.contains("<strong>admin</strong>") && !text.contains("<script"), "{text}");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(page.header(name), value);
    }
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");

    let form = form_token(&page);
    let fields = [("form", &*form), ("code", &*login.user_code), ("decision", "approve")];
    let done = post(PAGE).header("cookie", &cookie).form(&app, &fields).await;
    assert!(done.status == 200 && done.text().contains("is signed in"), "{}", done.text());
    assert!(is_approved(&platform, &login, "gyre").await);
    let again = post(PAGE).header("cookie", &cookie).form(&app, &fields).await;
    assert_eq!(again.status, 404);

    let refused = begun(&platform, "gyre").await;
    let fields = [("form", &*form), ("code", &*refused.user_code), ("decision", "deny")];
    assert_eq!(post(PAGE).header("cookie", &cookie).form(&app, &fields).await.status, 200);
    assert!(!is_approved(&platform, &refused, "gyre").await);

    let answer = post("/logout").header("cookie", &cookie).form(&app, &[("form", &form)]).await;
    assert_eq!(answer.status, 303);
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    let after = get(PAGE).header("cookie", &cookie).send(&app).await;
    assert_eq!(after.status, 303, "the session is over, cookie or not");
}

#[tokio::test]
async fn a_form_from_elsewhere_does_nothing() {
    let platform = platform().await;
    let app = app(&platform);
    let token = platform.admin_token.expose();
    let (cookie, _) = signed_in(&app, token, "/").await;
    let login = begun(&platform, "gyre").await;
    let page = get(&format!("{PAGE}?code={}", login.user_code)).header("cookie", &cookie);
    let form = form_token(&page.send(&app).await);
    let own = format!("http://{}", host());
    let elsewhere: [&[(&'static str, &str)]; 7] = [
        &[],
        &[("origin", "null")],
        &[("origin", "http://evil.example")],
        &[("origin", "http://hello-bcdfghjk.apps.test:8000")],
        &[("origin", "http://sibling.gyre.test:8000")],
        &[("origin", &own), ("sec-fetch-site", "cross-site")],
        &[("origin", &own), ("sec-fetch-site", "same-site")],
    ];
    for headers in elsewhere {
        let from_elsewhere = |path: &str| -> Call {
            headers.iter().fold(post(path), |call, (name, value)| call.header(name, value))
        };
        let fields = [("form", &*form), ("code", &*login.user_code), ("decision", "approve")];
        let call = from_elsewhere(PAGE).header("cookie", &cookie);
        assert_eq!(call.foreign_form(&app, &fields).await.status, 403, "{headers:?}");
        let call = from_elsewhere("/login");
        let answer = call.foreign_form(&app, &[("token", token)]).await;
        assert_eq!(answer.status, 403, "{headers:?}");
        assert!(answer.headers.get("set-cookie").is_none());
        let call = from_elsewhere("/logout").header("cookie", &cookie);
        assert_eq!(call.foreign_form(&app, &[("form", &form)]).await.status, 403);
    }
    // From here, but not from a page of this session.
    let (other, _) = signed_in(&app, token, "/").await;
    for (cookie, form) in [(&cookie, ""), (&cookie, "x"), (&other, &*form)] {
        let fields = [("form", form), ("code", &*login.user_code), ("decision", "approve")];
        let answer = post(PAGE).header("cookie", cookie).form(&app, &fields).await;
        assert_eq!(answer.status, 403, "{form}");
    }
    assert!(!is_approved(&platform, &login, "gyre").await);
}

#[tokio::test]
async fn what_strangers_wrote_stays_text() {
    let platform = platform().await;
    let app = app(&platform);
    let (cookie, _) = signed_in(&app, platform.admin_token.expose(), "/").await;
    for text in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'><svg/onload=alert(1)>",
        "</strong><iframe srcdoc='x'>",
        "javascript:alert(1)//<",
        "&lt;script&gt;<",
    ] {
        let login = begun(&platform, text).await;
        let page = get(&format!("{PAGE}?code={}", login.user_code)).header("cookie", &cookie);
        let page = page.send(&app).await.text();
        assert!(!page.contains(text), "{page}");
        for markup in ["<script", "<img", "<svg", "<iframe"] {
            assert!(!page.contains(markup), "{page}");
        }
        let refused = platform.control.decide_login(&platform.admin, &login.user_code, false);
        // Guesses are limited; the text may come back in other places, too.
        let _ = refused.await;
        let encoded: Vec<_> = text.bytes().map(|b| format!("%{b:02X}")).collect();
        let encoded = encoded.concat();
        for uri in [format!("/login?next={encoded}"), format!("/login?next=/{encoded}")] {
            let page = get(&uri).send(&app).await.text();
            assert!(!page.contains(text), "{page}");
        }
        platform.clock.advance(60);
    }
}

#[tokio::test]
async fn signing_in_does_not_lead_elsewhere() {
    let platform = platform().await;
    let app = app(&platform);
    let token = platform.admin_token.expose();
    for next in ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x"] {
        let (_, answer) = signed_in(&app, token, next).await;
        assert_eq!(answer.header("location"), "/", "{next}");
    }
}

#[tokio::test]
async fn the_front_page_says_what_this_is_and_how_to_begin() {
    let platform = platform().await;
    let app = app(&platform);
    let page = get("/").send(&app).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("gyre login --url http://gyre.test:8000"), "{}", page.text());
    assert_eq!(get("/gyre.css").send(&app).await.header("content-type"), "text/css; charset=utf-8");
    let (cookie, _) = signed_in(&app, platform.admin_token.expose(), "/").await;
    let page = get("/").header("cookie", &cookie).send(&app).await;
    assert!(page.text().contains("<strong>admin</strong>"));
}
