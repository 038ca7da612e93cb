//! Requests to a router, and what comes back.

use std::sync::Arc;

use axum::{Router, body::Body};
use gyre_model::Connection;
use gyre_server::{ServerState, router};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::support::{DOMAIN, Platform};

/// The host as a client of the tests' platform writes it.
pub fn host() -> String {
    format!("{DOMAIN}:8000")
}

pub fn app(platform: &Platform) -> Router {
    router(ServerState { control: platform.control.clone(), version: Arc::from("0.0.0-test") })
}

/// What came back, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: impl AsRef<str>) -> &str {
        let name = name.as_ref();
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"));
        value.to_str().unwrap()
    }
}

/// A request that is being put together.
pub struct Call(http::request::Builder);

pub fn call(method: Method, uri: &str) -> Call {
    let peer = "192.0.2.1:5000".parse().unwrap();
    let local = "127.0.0.1:8000".parse().unwrap();
    let connection = Connection { peer, local, is_tls: false };
    let builder = Request::builder().method(method).uri(uri).header(header::HOST, host());
    Call(builder.extension(connection))
}

pub fn get(uri: &str) -> Call {
    call(Method::GET, uri)
}

pub fn post(uri: &str) -> Call {
    call(Method::POST, uri)
}

pub fn put(uri: &str) -> Call {
    call(Method::PUT, uri)
}

pub fn delete(uri: &str) -> Call {
    call(Method::DELETE, uri)
}

impl Call {
    pub fn header(self, name: &'static str, value: &str) -> Self {
        let name = HeaderName::from_static(name);
        Self(self.0.header(name, HeaderValue::from_str(value).unwrap()))
    }

    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub async fn send(self, app: &Router) -> Answer {
        self.body(app, Body::empty()).await
    }

    pub async fn json(self, app: &Router, body: &Value) -> Answer {
        let this = self.header("content-type", "application/json");
        this.body(app, Body::from(body.to_string())).await
    }

    /// A form, as a browser on our own page sends it.
    pub async fn form(self, app: &Router, fields: &[(&str, &str)]) -> Answer {
        let origin = format!("http://{}", host());
        self.header("origin", &origin).foreign_form(app, fields).await
    }

    /// A form from wherever the headers say.
    pub async fn foreign_form(self, app: &Router, fields: &[(&str, &str)]) -> Answer {
        let encode = |text: &str| {
            text.bytes()
                .map(|b| match b {
                    b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
                    b => format!("%{b:02X}"),
                })
                .collect::<String>()
        };
        let pairs: Vec<_> =
            fields.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
        let this = self.header("content-type", "application/x-www-form-urlencoded");
        this.body(app, Body::from(pairs.join("&"))).await
    }

    pub async fn body(self, app: &Router, body: impl Into<Body>) -> Answer {
        let request = self.0.body(body.into()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}
