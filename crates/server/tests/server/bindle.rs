//! Bindle's protocol as its clients use it.

use axum::Router;
use gyre_model::Digest;
use gyre_package::{
    bindle::{
        BindleId, Conditions, Invoice, Label, Parcel, Role, SecretKey, Strategy, application,
        client::{Client, ClientError, Credentials},
        keys::{Keyring, PublicKey},
        login::{Login, PendingLogin, Poll},
    },
    load::{LoadOptions, from_manifest},
};

use crate::{
    client::serve,
    http::{Answer, Call, app, call, delete, get, post},
    support::{Platform, platform},
};

struct Bindles {
    platform: Platform,
    app: Router,
    /// Where the protocol is mounted.
    root: &'static str,
}

async fn bindles(root: &'static str) -> Bindles {
    let platform = platform().await;
    let app = app(&platform);
    Bindles { platform, app, root }
}

impl Bindles {
    fn call(&self, make: fn(&str) -> Call, path: &str) -> Call {
        make(&format!("{}{path}", self.root)).token(self.platform.admin_token.expose())
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(get, path).send(&self.app).await
    }

    async fn head(&self, path: &str) -> Answer {
        self.call(|uri| call(http::Method::HEAD, uri), path).send(&self.app).await
    }

    async fn create(&self, invoice: &Invoice) -> Answer {
        self.call(post, "/_i").body(&self.app, invoice.to_toml()).await
    }

    async fn send(&self, path: &str, bytes: &[u8]) -> Answer {
        self.call(post, path).body(&self.app, bytes.to_vec()).await
    }
}

fn invoice(id: &str, parcels: &[(&str, &[u8])]) -> Invoice {
    let id: BindleId = id.parse().unwrap();
    let mut invoice = Invoice::new(&id);
    for (name, bytes) in parcels {
        let label = Label {
            sha256: Digest::of(bytes).hex(),
            media_type: "text/plain".to_owned(),
            name: (*name).to_owned(),
            size: bytes.len() as u64,
            annotations: std::collections::BTreeMap::default(),
            feature: std::collections::BTreeMap::default(),
            origin: None,
        };
        invoice.parcel.push(Parcel { label, conditions: Conditions::default() });
    }
    invoice
}

fn sha(bytes: &[u8]) -> String {
    Digest::of(bytes).hex()
}

fn toml_of(answer: &Answer) -> toml::Table {
    assert_eq!(answer.header("content-type"), "application/toml", "{}", answer.text());
    answer.text().parse().unwrap()
}

#[track_caller]
fn refused(answer: &Answer, status: u16, text: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(toml_of(answer)["error"].as_str().unwrap(), text);
}

const UNKNOWN: &str =
    "resource not found: if an item does not appear in our records, it does not exist!";

#[tokio::test]
async fn a_bindle_is_put_and_got() {
    for root in ["/api/registry", "/v1"] {
        let bindles = bindles(root).await;
        let one = invoice("example.com/a/1.0.0+q1", &[("one", b"1"), ("two", b"22")]);
        let answer = bindles.create(&one).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let body = toml_of(&answer);
        assert_eq!(body["missing"].as_array().unwrap().len(), 2);
        assert_eq!(body["missing"][0]["sha256"].as_str().unwrap(), sha(b"1"));
        let signature = &body["invoice"]["signature"][0];
        assert_eq!(signature["role"].as_str().unwrap(), "host");

        let path = |bytes: &[u8]| format!("/_i/example.com/a/1.0.0+q1@{}", sha(bytes));
        refused(&bindles.get(&path(b"1")).await, 404, UNKNOWN);
        assert_eq!(bindles.head(&path(b"1")).await.status, 404);
        refused(&bindles.send(&path(b"1"), b"2").await, 400, "digest does not match");
        // What failed is no obstacle to what is right.
        let answer = bindles.send(&path(b"1"), b"1").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (200, "message = \"parcel created\"\n")
        );
        refused(&bindles.send(&path(b"1"), b"1").await, 409, "resource already exists");
        let size = "parcel size does not match invoice";
        refused(&bindles.send(&path(b"22"), b"2").await, 400, size);
        refused(&bindles.send(&path(b"22"), b"222").await, 400, size);
        let answer = bindles.get("/_r/missing/example.com/a/1.0.0+q1").await;
        assert_eq!(toml_of(&answer)["missing"].as_array().unwrap().len(), 1);

        let answer = bindles.get(&path(b"1")).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, &b"1"[..]));
        assert_eq!(answer.header("content-type"), "text/plain");
        assert_eq!(answer.header("content-length"), "1");
        let answer = bindles.head(&path(b"1")).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        let unlisted = "the invoice lists no parcel of that digest";
        refused(&bindles.get(&path(b"none")).await, 400, unlisted);
        refused(&bindles.send(&path(b"none"), b"none").await, 400, unlisted);

        // Another bindle needs only what is new in it.
        let more = invoice("example.com/a/1.1.0", &[("one", b"1"), ("three", b"333")]);
        let missing = toml_of(&bindles.create(&more).await)["missing"].clone();
        assert_eq!(missing.as_array().unwrap().len(), 1);
        let same = invoice("example.com/a/1.2.0", &[("one", b"1")]);
        let answer = bindles.create(&same).await;
        assert_eq!(answer.status, 201);
        assert!(toml_of(&answer).get("missing").is_none());
        refused(&bindles.create(&same).await, 409, "resource already exists");

        let answer = bindles.get("/_i/example.com/a/1.0.0+q1").await;
        let kept = Invoice::from_toml(&answer.text()).unwrap();
        assert_eq!(Invoice { signature: Vec::new(), ..kept }, one);
        refused(&bindles.get("/_i/example.com/b/1.0.0").await, 404, UNKNOWN);
        refused(&bindles.get("/_i/nope").await, 400, "invalid ID given");
    }
}

#[tokio::test]
async fn json_is_spoken_with_those_who_ask() {
    let bindles = bindles("/v1").await;
    let one = invoice("a/1.0.0", &[("one", b"1")]);
    let call = bindles.call(post, "/_i").header("accept", "application/json");
    let answer = call.json(&bindles.app, &serde_json::to_value(&one).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (202, "application/json"));
    let json = answer.json();
    assert!(json["invoice"]["yanked"].is_null() && json["missing"][0]["size"] == 1, "{json}");
    let charset =
        bindles.call(post, "/_i").header("content-type", "application/toml; charset=utf-8");
    let answer = charset.body(&bindles.app, invoice("b/1.0.0", &[]).to_toml()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    // Refusals are TOML, whatever was asked for.
    let answer = bindles.call(get, "/_i/c/1.0.0").header("accept", "application/json");
    refused(&answer.send(&bindles.app).await, 404, UNKNOWN);
}

#[tokio::test]
async fn what_is_yanked_is_only_seen_by_those_who_insist() {
    let bindles = bindles("/v1").await;
    let one = invoice("a/1.0.0", &[("one", b"1")]);
    assert_eq!(bindles.create(&one).await.status, 202);
    for _ in 0..2 {
        let answer = bindles.call(delete, "/_i/a/1.0.0").send(&bindles.app).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (200, "message = \"invoice yanked\"\n")
        );
    }
    let parcel = format!("/_i/a/1.0.0@{}", sha(b"1"));
    for path in ["/_i/a/1.0.0", "/_i/a/1.0.0?yanked=false", "/_r/missing/a/1.0.0", &parcel] {
        refused(&bindles.get(path).await, 403, "bindle is yanked");
    }
    refused(&bindles.send(&parcel, b"1").await, 403, "bindle is yanked");
    assert_eq!(bindles.head("/_i/a/1.0.0").await.status, 403);
    let answer = bindles.get("/_i/a/1.0.0?yanked=true").await;
    assert!(Invoice::from_toml(&answer.text()).unwrap().yanked);
    for (query, total) in [("/_q?q=a", 0), ("/_q?q=a&yanked=true", 1)] {
        assert_eq!(toml_of(&bindles.get(query).await)["total"].as_integer(), Some(total));
    }
    // The name stays taken.
    refused(&bindles.create(&one).await, 409, "resource already exists");
    let yanked = Invoice { yanked: true, ..invoice("b/1.0.0", &[]) };
    refused(&bindles.create(&yanked).await, 422, "bindle cannot be created as yanked");
    let absent = bindles.call(delete, "/_i/c/1.0.0").send(&bindles.app).await;
    refused(&absent, 404, UNKNOWN);
}

#[tokio::test]
async fn bindles_are_searched_for() {
    let bindles = bindles("/v1").await;
    let answer = bindles.get("/_q?q=").await;
    let empty = "query = \"\"\nstrict = false\noffset = 0\nlimit = 50\ntotal = 0\nmore = false\nyanked = false\ninvoices = []\n";
    assert_eq!(answer.text(), empty);
    for id in ["x/warp/1.10.0", "x/warp/1.9.0", "x/warp/2.0.0-beta", "y/weft/1.0.0"] {
        assert_eq!(bindles.create(&invoice(id, &[])).await.status, 201);
    }
    let found = |query: &'static str| {
        let bindles = &bindles;
        async move {
            let body = toml_of(&bindles.get(query).await);
            let invoices = body["invoices"].as_array().unwrap().iter();
            let ids = invoices.map(|one| {
                let bindle = &one["bindle"];
                format!(
                    "{}/{}",
                    bindle["name"].as_str().unwrap(),
                    bindle["version"].as_str().unwrap()
                )
            });
            let more = if body["more"].as_bool().unwrap() { " …" } else { "" };
            ids.collect::<Vec<_>>().join(" ") + more
        }
    };
    assert_eq!(found("/_q?q=warp").await, "x/warp/1.9.0 x/warp/1.10.0 x/warp/2.0.0-beta");
    assert_eq!(found("/_q?query=warp&version=%5E1.9").await, "x/warp/1.9.0 x/warp/1.10.0");
    assert_eq!(found("/_q?l=1&o=1&v=1.*").await, "x/warp/1.10.0 …");
    assert_eq!(found("/_q?q=%25").await, "");
    for wrong in ["/_q?zzz=1", "/_q?limit=256", "/_q?v=abc"] {
        assert_eq!(bindles.get(wrong).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn signatures_are_verified_and_ours_is_added() {
    let bindles = bindles("/v1").await;
    let key = SecretKey::generate("A <a@example.com>", vec![Role::Creator]).unwrap();
    let mut one = invoice("a/1.0.0", &[("one", b"1")]);
    one.sign(&key, Role::Creator, 1).unwrap();
    let mut altered = one.clone();
    altered.bindle.version = "1.0.1".parse().unwrap();
    let answer = bindles.create(&altered).await;
    refused(&answer, 400, &format!("signatures `{}` cannot be verified", key.public()));
    assert_eq!(bindles.create(&one).await.status, 202);
    let kept = Invoice::from_toml(&bindles.get("/_i/a/1.0.0").await.text()).unwrap();
    let keys = get("/v1/bindle-keys?roles=host").send(&bindles.app).await;
    let mut keyring = Keyring::from_toml(&keys.text()).unwrap();
    assert_eq!(keyring.keys.len(), 1);
    keyring.add(PublicKey::of(&key));
    Strategy::MultipleAttestationGreedy(vec![Role::Host]).verify(&kept, &keyring).unwrap();
    assert_eq!(get("/v1/bindle-keys?roles=creator").send(&bindles.app).await.status, 400);
    // To take it to ourselves under another name is to sign it twice.
    let mut again = kept;
    again.bindle.name = "b".to_owned();
    assert_eq!(bindles.create(&again).await.status, 400);
}

#[tokio::test]
async fn strangers_get_nothing_and_nonsense_is_refused() {
    let bindles = bindles("/v1").await;
    for (make, path) in [
        (get as fn(&str) -> Call, "/v1/_q"),
        (get, "/v1/_i/a/1.0.0"),
        (post, "/v1/_i"),
        (delete, "/v1/_i/a/1.0.0"),
        (get, "/v1/_r/missing/a/1.0.0"),
    ] {
        let answer = make(path).send(&bindles.app).await;
        refused(&answer, 401, "unauthorized");
        assert!(answer.header("www-authenticate").starts_with("Basic "));
    }
    // Another account's bindles are its own, and so are its parcels.
    assert_eq!(bindles.create(&invoice("a/1.0.0", &[("one", b"1")])).await.status, 202);
    let parcel = format!("/_i/a/1.0.0@{}", sha(b"1"));
    assert_eq!(bindles.send(&parcel, b"1").await.status, 200);
    let (_, token) = bindles.platform.stranger("stranger").await;
    let as_stranger = |call: Call| call.token(token.expose());
    refused(&as_stranger(get("/v1/_i/a/1.0.0")).send(&bindles.app).await, 404, UNKNOWN);
    let text = invoice("a/1.0.0", &[("one", b"1")]).to_toml();
    assert_eq!(as_stranger(post("/v1/_i")).body(&bindles.app, text).await.status, 202);
    let read = as_stranger(get(&format!("/v1{parcel}"))).send(&bindles.app).await;
    refused(&read, 404, UNKNOWN);

    for body in ["", "x", "bindleVersion = \"1.0.0\"", "\u{0}"] {
        let answer = bindles.call(post, "/_i").body(&bindles.app, body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(toml_of(&answer)["error"].as_str().unwrap().starts_with("resource is malformed"));
    }
    let large = " ".repeat(gyre_package::limits::INVOICE_BYTES as usize + 1);
    assert_eq!(bindles.call(post, "/_i").body(&bindles.app, large).await.status, 413);
    assert_eq!(bindles.get("/_x").await.status, 404);
    assert_eq!(bindles.call(delete, "/_q").send(&bindles.app).await.status, 405);
}

#[tokio::test]
async fn a_client_signs_in_by_a_code_that_somebody_approves() {
    for root in ["/v1", "/api/registry"] {
        let Bindles { platform, app, .. } = bindles(root).await;
        let login = format!("{root}/login");
        let begun = get(&format!("{login}?provider=nothing")).send(&app).await;
        assert_eq!(begun.status, 200);
        let begun = toml_of(&begun);
        let text = |name: &str| begun[name].as_str().unwrap();
        assert!(begun["expires_in"].is_integer() && begun["interval"].is_integer());
        assert!(text("verification_uri").ends_with("/device-authorization"), "{begun:?}");
        assert_eq!(text("client_id"), "bindle");
        // Wherever it was asked, the address is whole.
        assert_eq!(text("token_url"), format!("http://{}/api/registry/login", crate::http::host()));

        let grant = "urn:ietf:params:oauth:grant-type:device_code";
        let fields =
            [("grant_type", grant), ("device_code", text("device_code")), ("client_id", "bindle")];
        let pending = post(&login).foreign_form(&app, &fields).await;
        assert_eq!(
            (pending.status.as_u16(), &pending.json()["error"]),
            (400, &"authorization_pending".into())
        );
        let again = post(&login).foreign_form(&app, &fields).await;
        assert_eq!((again.status.as_u16(), &again.json()["error"]), (400, &"slow_down".into()));
        platform.control.decide_login(&platform.admin, text("user_code"), true).await.unwrap();
        let token = post(&login).foreign_form(&app, &fields).await;
        assert_eq!(token.status, 200, "{}", token.text());
        assert_eq!(token.header("cache-control"), "no-store");
        let token = token.json();
        assert_eq!(
            (&token["token_type"], &token["expires_in"]),
            (&"bearer".into(), &86_400.into())
        );
        assert_eq!(token["access_token"], token["id_token"]);
        let search = format!("{root}/_q");
        let of = |token: &serde_json::Value| token["id_token"].as_str().unwrap().to_owned();
        assert_eq!(get(&search).token(&of(&token)).send(&app).await.status, 200);
        let spent = post(&login).foreign_form(&app, &fields).await;
        assert_eq!((spent.status.as_u16(), &spent.json()["error"]), (400, &"expired_token".into()));

        // Later than its end.
        platform.clock.advance(26 * 3600);
        assert_eq!(get(&search).token(&of(&token)).send(&app).await.status, 401);
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token["refresh_token"].as_str().unwrap()),
            ("client_id", "bindle"),
        ];
        let renewed = post(&login).foreign_form(&app, &fields).await;
        assert_eq!(renewed.status, 200, "{}", renewed.text());
        assert_eq!(get(&search).token(&of(&renewed.json())).send(&app).await.status, 200);
    }
}

#[tokio::test]
async fn a_sign_in_that_makes_no_sense_is_refused() {
    let Bindles { platform, app, .. } = bindles("/v1").await;
    refused(&get("/v1/login").send(&app).await, 400, "a login needs a provider, whichever");
    let error = async |fields: &[(&str, &str)]| {
        let answer = post("/v1/login").foreign_form(&app, fields).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json");
        answer.json()["error"].as_str().unwrap().to_owned()
    };
    let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
    assert_eq!(error(&[]).await, "invalid_request");
    assert_eq!(error(&[("grant_type", "password")]).await, "unsupported_grant_type");
    assert_eq!(error(&[grant, ("client_id", "bindle")]).await, "invalid_request");
    assert_eq!(error(&[grant, ("device_code", "x")]).await, "invalid_request");
    let unknown = [grant, ("device_code", "x"), ("client_id", "bindle")];
    assert_eq!(error(&unknown).await, "expired_token");
    let grant = ("grant_type", "refresh_token");
    assert_eq!(error(&[grant]).await, "invalid_request");
    for token in ["x", "x~y", "~", ""] {
        assert_eq!(error(&[grant, ("refresh_token", token)]).await, "invalid_grant", "{token}");
    }
    let large = "x".repeat(100_000);
    let answer = post("/v1/login").foreign_form(&app, &[("grant_type", &large)]).await;
    assert_eq!(answer.status, 413);

    // Another client than the one that began, and one that was told no.
    let login = platform.control.begin_device_login("bindle", None).await.unwrap();
    let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
    let code = ("device_code", login.device_code.expose().as_str());
    assert_eq!(error(&[grant, code, ("client_id", "other")]).await, "expired_token");
    platform.control.decide_login(&platform.admin, &login.user_code, false).await.unwrap();
    assert_eq!(error(&[grant, code, ("client_id", "bindle")]).await, "access_denied");
}

#[tokio::test]
async fn our_client_signs_in_and_renews_its_login() {
    let platform = platform().await;
    let (url, server) = serve(&platform).await;
    let base = format!("{url}/v1");
    let nobody = Client::new(&base, Credentials::None, false).unwrap();
    assert!(nobody.begin_login("default").await.is_ok());
    // The platform of the tests says that it is elsewhere.
    let begun = get("/v1/login?provider=x").send(&app(&platform)).await.text();
    let begun = begun.replace(&format!("http://{}", crate::http::host()), &url);
    let pending: PendingLogin = toml::from_str(&begun).unwrap();
    assert!(matches!(nobody.poll_login(&pending).await.unwrap(), Poll::Pending));
    assert!(matches!(nobody.poll_login(&pending).await.unwrap(), Poll::SlowDown));
    platform.control.decide_login(&platform.admin, &pending.user_code, true).await.unwrap();
    let Poll::Approved(login) = nobody.poll_login(&pending).await.unwrap() else { panic!() };
    assert!(login.is_of(nobody.address()));
    let spent = nobody.poll_login(&pending).await.unwrap_err();
    assert_eq!(spent.to_string(), "the login has failed: the code has expired");

    let search = async |login: &Login| {
        let client = nobody.clone().with_credentials(Credentials::Token(login.token()));
        client.search(&gyre_package::bindle::search::Query::default()).await
    };
    assert_eq!(search(&login).await.unwrap().total, 0);
    let now = || u64::try_from(platform.clock.now().as_second()).unwrap();
    assert!(!login.is_ending(now()));
    platform.clock.advance(24 * 3600);
    assert!(login.is_ending(now()));
    assert!(matches!(search(&login).await.unwrap_err(), ClientError::Unauthorized(_)));
    let renewed = login.renewed(false).await.unwrap();
    assert!(renewed.is_of(nobody.address()) && !renewed.is_ending(now()));
    assert_eq!(search(&renewed).await.unwrap().total, 0);
    server.abort();
}

#[tokio::test]
async fn an_application_comes_back_from_the_server_as_what_it_was() {
    let platform = platform().await;
    let (url, server) = serve(&platform).await;
    let token = Credentials::Token(platform.admin_token.clone());
    let client = Client::new(&format!("{url}/api/registry"), token, false).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs_err::create_dir_all(path("app/s")).unwrap();
    let manifest = "spin_manifest_version = \"1\"\nname = \"old\"\nversion = \"1.2.3\"\n\
        trigger = { type = \"http\", base = \"/\" }\n[[component]]\nid = \"a\"\nsource = \"a.wasm\"\n\
        files = [\"s/*\"]\ntrigger = { route = \"/...\" }\n";
    fs_err::write(path("app/spin.toml"), manifest).unwrap();
    fs_err::write(path("app/a.wasm"), "code").unwrap();
    fs_err::write(path("app/s/empty"), "").unwrap();
    fs_err::write(path("app/s/a \u{fc}.txt"), "x").unwrap();
    let make = async |work: &str, into: &str| {
        let options = LoadOptions::new(&path(work), path("cache"));
        let app = from_manifest(&path("app/spin.toml"), options).await.unwrap();
        application::write(&app, None, &path(into)).unwrap()
    };
    let bindle = make("work", "bindles").await;
    let sent = std::sync::Mutex::new(0);
    let absent = client.push(&bindle, |_| *sent.lock().unwrap() += 1).await.unwrap();
    assert_eq!((absent.len(), *sent.lock().unwrap()), (0, 4));
    assert!(client.push(&bindle, |_| panic!("all is there")).await.unwrap().is_empty());

    let id: BindleId = "old/1.2.3".parse().unwrap();
    let invoice = client.invoice(&id, false).await.unwrap();
    let strategy: Strategy = "MultipleAttestationGreedy[Host]".parse().unwrap();
    strategy.verify(&invoice, &client.keys().await.unwrap()).unwrap();
    application::check(&invoice).unwrap();
    // A parcel that is at hand and damaged is fetched again.
    for _ in 0..2 {
        let pulled = client.pull(invoice.clone(), &path("pulled"), |_| ()).await.unwrap();
        assert!(pulled.verify().unwrap().is_empty());
        let app = application::load(pulled.invoice(), &pulled, &path("apps")).unwrap();
        let root = &app.mounts["a"][0].host;
        assert_eq!(fs_err::read_to_string(root.join("s/a \u{fc}.txt")).unwrap(), "x");
        assert_eq!(fs_err::read_to_string(root.join("s/empty")).unwrap(), "");
        assert_eq!(fs_err::read(&app.wasm["a"].path).unwrap(), b"code");
        let parcel = pulled.invoice().parcel.iter().find(|parcel| parcel.label.size == 1).unwrap();
        fs_err::write(pulled.parcel(&parcel.label).unwrap(), "y").unwrap();
    }

    // The same name and version with something else in it.
    fs_err::write(path("app/s/empty"), "no more").unwrap();
    let other = make("work2", "bindles2").await;
    let error = client.push(&other, |_| ()).await.unwrap_err();
    assert!(matches!(error, ClientError::Different(_)), "{error}");
    server.abort();
}
