//! Azure Cosmos DB, for one container with the partition key `/id`: authorised requests for documents over REST, with
//! tags of versions and pages of queries.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use super::HttpDouble;

/// Documents of one page.
const PAGE: usize = 40;

/// A Cosmos DB on a free loopback port, with one container.
#[derive(Debug)]
pub struct CosmosDouble {
    http: HttpDouble,
    throttled: Arc<AtomicU32>,
}

impl CosmosDouble {
    /// The account's key.
    pub const KEY: &str = "Z2VoZWltZXIgU2NobMO8c3NlbA==";
    /// Its database.
    pub const DATABASE: &str = "data";
    /// Its container.
    pub const CONTAINER: &str = "guests";

    /// Starts one.
    #[track_caller]
    pub fn start() -> Self {
        let throttled = Arc::new(AtomicU32::new(0));
        let left = throttled.clone();
        let mut container = Container::default();
        let http = HttpDouble::start(move |request| {
            let take = |left: u32| left.checked_sub(1);
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
                let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests");
                let pause = http::HeaderValue::from_static("1");
                response.headers_mut().insert("x-ms-retry-after-ms", pause);
                return response;
            }
            container.answer(&request)
        });
        Self { http, throttled }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.http.url()
    }

    /// Puts the next requests off.
    pub fn throttle(&self, requests: u32) {
        self.throttled.store(requests, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Container {
    documents: BTreeMap<String, (Value, u64)>,
    versions: u64,
}

impl Container {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let docs =
            format!("/dbs/{}/colls/{}/docs", CosmosDouble::DATABASE, CosmosDouble::CONTAINER);
        let Some(rest) = request.uri().path().strip_prefix(&docs) else {
            return refuse(StatusCode::NOT_FOUND, "NotFound");
        };
        let id = rest
            .strip_prefix('/')
            .map(|it| percent_encoding::percent_decode_str(it).decode_utf8().unwrap().into_owned());
        let link = docs.trim_start_matches('/');
        let link = match &id {
            Some(id) => format!("{link}/{id}"),
            None => link.trim_end_matches("/docs").to_owned(),
        };
        if !is_authorized(request, &link) {
            return refuse(StatusCode::UNAUTHORIZED, "Unauthorized");
        }
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let is_query = header(request, "x-ms-documentdb-isquery") == "True";
        if is_query && request.method() == Method::POST {
            return self.query(request, &body);
        }
        let id = id.unwrap_or_else(|| body["id"].as_str().unwrap_or_default().to_owned());
        let partition: Value =
            serde_json::from_str(header(request, "x-ms-documentdb-partitionkey")).unwrap();
        assert_eq!(partition, json!([id]), "the partition key is the id");
        assert!(!id.contains(['/', '\\', '?', '#']), "{id:?} is no id");
        let found = self.documents.get(&id).cloned();
        match (request.method().as_str(), found) {
            ("POST", Some(_)) if header(request, "x-ms-documentdb-is-upsert") != "True" => {
                refuse(StatusCode::CONFLICT, "Conflict")
            }
            ("POST", _) => self.put(id, body, StatusCode::CREATED),
            (_, None) => refuse(StatusCode::NOT_FOUND, "NotFound"),
            ("GET", Some((document, version))) => respond(StatusCode::OK, &document, version),
            ("DELETE", Some(_)) => {
                self.documents.remove(&id);
                respond(StatusCode::NO_CONTENT, &Value::Null, 0)
            }
            ("PUT", Some((_, version))) => {
                let tag = header(request, "if-match");
                if !tag.is_empty() && tag != format!("\"{version}\"") {
                    return refuse(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
                }
                self.put(id, body, StatusCode::OK)
            }
            ("PATCH", Some((mut document, _))) => {
                assert_eq!(header(request, "content-type"), "application/json_patch+json");
                let operation = &body["operations"][0];
                assert_eq!(
                    (&operation["op"], &operation["path"]),
                    (&json!("incr"), &json!("/value"))
                );
                let Some(number) = document["value"].as_i64() else {
                    return refuse(StatusCode::BAD_REQUEST, "BadRequest");
                };
                document["value"] = (number + operation["value"].as_i64().unwrap()).into();
                self.put(id, document, StatusCode::OK)
            }
            _ => refuse(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    fn put(&mut self, id: String, document: Value, status: StatusCode) -> Response<Bytes> {
        self.versions += 1;
        let response = respond(status, &document, self.versions);
        self.documents.insert(id, (document, self.versions));
        response
    }

    /// Queries for all documents, or for those of some ids given as parameters.
    fn query(&self, request: &Request<Bytes>, body: &Value) -> Response<Bytes> {
        assert_eq!(header(request, "content-type"), "application/query+json");
        assert_eq!(header(request, "x-ms-documentdb-query-enablecrosspartition"), "True");
        let query = body["query"].as_str().unwrap();
        let given = body["parameters"].as_array().unwrap();
        let wanted: Option<Vec<&Value>> = query.split_once(" IN (").map(|(_, names)| {
            let names = names.trim_end_matches(')').split(", ");
            let value = |name| &given.iter().find(|it| it["name"] == name).unwrap()["value"];
            names.map(value).collect()
        });
        let is_wanted =
            |id: &String| wanted.as_ref().is_none_or(|it| it.iter().any(|it| *it == id));
        let start = header(request, "x-ms-continuation").to_owned();
        let mut rest = self.documents.iter().filter(|(id, _)| **id > start && is_wanted(id));
        let page: Vec<_> = rest.by_ref().take(PAGE).collect();
        let documents: Vec<_> = page.iter().map(|(_, (document, _))| document).collect();
        let mut response = respond(StatusCode::OK, &json!({ "Documents": documents }), 0);
        if let (Some((last, _)), Some(_)) = (page.last(), rest.next()) {
            response.headers_mut().insert("x-ms-continuation", last.parse().unwrap());
        }
        response
    }
}

fn header<'a>(request: &'a Request<Bytes>, name: &str) -> &'a str {
    request.headers().get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
}

fn is_authorized(request: &Request<Bytes>, link: &str) -> bool {
    let date = header(request, "x-ms-date").to_lowercase();
    let verb = request.method().as_str().to_lowercase();
    let key = STANDARD.decode(CosmosDouble::KEY).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{verb}\ndocs\n{link}\n{date}\n\n").as_bytes());
    let expected =
        format!("type=master&ver=1.0&sig={}", STANDARD.encode(mac.finalize().into_bytes()));
    let given = header(request, "authorization");
    let given = percent_encoding::percent_decode_str(given).decode_utf8_lossy();
    header(request, "x-ms-version") == "2018-12-31" && given == expected
}

fn respond(status: StatusCode, body: &Value, version: u64) -> Response<Bytes> {
    let body = if status == StatusCode::NO_CONTENT { String::new() } else { body.to_string() };
    let response = Response::builder().status(status).header("etag", format!("\"{version}\""));
    response.body(Bytes::from(body)).unwrap()
}

fn refuse(status: StatusCode, code: &str) -> Response<Bytes> {
    respond(status, &json!({ "code": code, "message": "refused" }), 0)
}
