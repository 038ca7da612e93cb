//! Stores in Azure Cosmos DB (its API for NoSQL), as Spin keeps them: a document for each key, `id` and partition key
//! being the key, with the value as an array of bytes in `value`. A number is a number there.
//!
//! Spoken to over REST, each request authorised with the account's key.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::{self, Write as _},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gyre_model::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{Timestamp, tz::TimeZone};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

use super::Pairs;
use crate::{
    KeyValueError,
    http::{self, Answer, HttpError},
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// What an answer has besides values. A page is at most 4 MiB.
const ENVELOPE: usize = 4 << 20;
/// The version of the interface that is spoken.
const VERSION: &str = "2018-12-31";
/// Keys that one query asks for.
const READS: usize = 100;
/// Documents of one page of a listing.
const PAGE: u32 = 1_000;
/// How often what the service puts off is tried, and an increment that others were in the way of.
const TRIES: u32 = 8;
/// The longest pause before that, whatever the service asks for.
const PAUSE: Duration = Duration::from_secs(2);
/// What an `id` cannot have in it.
const ILLEGAL: [char; 4] = ['/', '\\', '?', '#'];

/// A container of Cosmos DB, and with what it is asked.
#[derive(Clone)]
pub struct CosmosSettings {
    /// The service's URL, such as `https://ACCOUNT.documents.azure.com/`.
    pub endpoint: String,
    /// The account's key, base64.
    pub key: Secret<String>,
    /// The database.
    pub database: String,
    /// The container. Its partition key is `/id`.
    pub container: String,
}

impl fmt::Debug for CosmosSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CosmosSettings")
            .field("endpoint", &self.endpoint)
            .field("database", &self.database)
            .field("container", &self.container)
            .finish_non_exhaustive()
    }
}

/// A store in a container.
pub(super) struct Cosmos {
    client: Client,
    endpoint: Url,
    /// The container, as requests are authorised for it.
    container: String,
    key: Secret<Vec<u8>>,
    result_bytes: usize,
}

impl fmt::Debug for Cosmos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, container, .. } = self;
        f.debug_tuple("Cosmos").field(&endpoint.as_str()).field(container).finish()
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    id: String,
    value: Content,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Content {
    Bytes(Vec<u8>),
    Number(i64),
}

impl Content {
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(number) => number.to_string().into_bytes(),
        }
    }
}

/// A document as it was, and the tag of that version.
struct Found {
    value: Vec<u8>,
    tag: String,
}

fn other(text: impl Into<String>) -> KeyValueError {
    KeyValueError::Other(text.into())
}

impl Cosmos {
    pub(super) fn new(
        settings: &CosmosSettings,
        result_bytes: usize,
    ) -> Result<Self, KeyValueError> {
        let text = &settings.endpoint;
        let endpoint: Url = text.parse().map_err(|error| other(format!("{text:?}: {error}")))?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err(other(format!("{text:?} is not an HTTP URL")));
        }
        let key = STANDARD.decode(settings.key.expose().trim());
        let key = key.map_err(|_| other("the account's key is not base64"))?.into();
        let container = format!("dbs/{}/colls/{}", settings.database, settings.container);
        let client = http::client().map_err(other)?;
        Ok(Self { client, endpoint, container, key, result_bytes })
    }

    /// A request for a document, or for all of them.
    fn request(&self, method: Method, id: Option<&str>) -> Result<RequestBuilder, KeyValueError> {
        let mut url = self.endpoint.clone();
        let wrong = || other("the service's URL has no path");
        let mut path = url.path_segments_mut().map_err(|()| wrong())?;
        path.pop_if_empty().extend(self.container.split('/')).push("docs").extend(id);
        drop(path);
        let link = match id {
            Some(id) => format!("{}/docs/{id}", self.container),
            None => self.container.clone(),
        };
        let date = Timestamp::now().to_zoned(TimeZone::UTC);
        let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let signed = authorize(self.key.expose(), &method, "docs", &link, &date)
            .ok_or_else(|| other("the account's key cannot be used"))?;
        let mut request = self
            .client
            .request(method, url)
            .header("authorization", signed)
            .header("x-ms-date", date)
            .header("x-ms-version", VERSION)
            .header("accept", "application/json");
        if let Some(id) = id {
            request = request.header("x-ms-documentdb-partitionkey", partition(id));
        }
        Ok(request)
    }

    /// Sends what `make` makes, again while the service puts it off. Signed anew each time.
    async fn send(
        &self,
        make: impl Fn() -> Result<RequestBuilder, KeyValueError>,
    ) -> Result<Answer, KeyValueError> {
        // Bytes are up to four characters each.
        let limit = self.result_bytes.saturating_mul(5).saturating_add(ENVELOPE);
        for attempt in 1.. {
            let sent = http::exchange(make()?, ANSWER, limit).await;
            let answer = sent.map_err(|error| match error {
                HttpError::Timeout => other("no answer in time"),
                HttpError::TooLong => KeyValueError::ResultTooLong { limit: self.result_bytes },
                HttpError::Other(text) => other(text),
            })?;
            let is_later = matches!(
                answer.status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            ) || answer.status.as_u16() == 449;
            if !is_later || attempt >= TRIES {
                return Ok(answer);
            }
            let asked = answer.headers.get("x-ms-retry-after-ms");
            let asked = asked.and_then(|it| it.to_str().ok()?.parse().ok());
            tokio::time::sleep(Duration::from_millis(asked.unwrap_or(50)).min(PAUSE)).await;
        }
        unreachable!("the last attempt returns")
    }

    fn check(&self, bytes: usize) -> Result<(), KeyValueError> {
        let limit = self.result_bytes;
        if bytes > limit { Err(KeyValueError::ResultTooLong { limit }) } else { Ok(()) }
    }

    async fn find(&self, key: &str) -> Result<Option<Found>, KeyValueError> {
        // There can be none.
        if is_illegal(key) {
            return Ok(None);
        }
        let answer = self.send(|| self.request(Method::GET, Some(key))).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => {
                let document: Document = parse(&answer)?;
                let tag = answer.headers.get("etag").and_then(|it| it.to_str().ok());
                let value = document.value.into_bytes();
                Ok(Some(Found { value, tag: tag.unwrap_or_default().to_owned() }))
            }
            _ => Err(explain(&answer)),
        }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        let value = self.find(key).await?.map(|found| found.value);
        self.check(value.as_ref().map_or(0, Vec::len))?;
        Ok(value)
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, KeyValueError> {
        Ok(self.find(key).await?.is_some())
    }

    /// Everything that a query finds, page by page, in all partitions.
    async fn query<T: for<'a> Deserialize<'a>>(
        &self,
        query: &Value,
        mut take: impl FnMut(T) -> Result<(), KeyValueError>,
    ) -> Result<(), KeyValueError> {
        #[derive(Deserialize)]
        struct Page<T> {
            #[serde(rename = "Documents")]
            documents: Vec<T>,
        }
        let body = query.to_string();
        let mut next: Option<String> = None;
        loop {
            let make = || {
                let mut request = self
                    .request(Method::POST, None)?
                    .header("content-type", "application/query+json")
                    .header("x-ms-documentdb-isquery", "True")
                    .header("x-ms-documentdb-query-enablecrosspartition", "True")
                    .header("x-ms-max-item-count", PAGE)
                    .body(body.clone());
                if let Some(next) = &next {
                    request = request.header("x-ms-continuation", next);
                }
                Ok(request)
            };
            let answer = self.send(make).await?;
            if answer.status != StatusCode::OK {
                return Err(explain(&answer));
            }
            let page: Page<T> = parse(&answer)?;
            for document in page.documents {
                take(document)?;
            }
            let more = answer.headers.get("x-ms-continuation").and_then(|it| it.to_str().ok());
            match more.filter(|it| !it.is_empty()) {
                Some(more) => next = Some(more.to_owned()),
                None => return Ok(()),
            }
        }
    }

    pub(super) async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        #[derive(Deserialize)]
        struct Key {
            id: String,
        }
        let (mut keys, mut bytes) = (Vec::new(), 0);
        let all = json!({ "query": "SELECT c.id FROM c", "parameters": [] });
        self.query(&all, |key: Key| {
            bytes += key.id.len();
            keys.push(key.id);
            self.check(bytes)
        })
        .await?;
        Ok(keys)
    }

    pub(super) async fn get_many(&self, keys: Vec<String>) -> Result<Pairs, KeyValueError> {
        let mut found = BTreeMap::new();
        let mut bytes = keys.iter().map(String::len).sum();
        self.check(bytes)?;
        for some in keys.chunks(READS) {
            let names: Vec<String> = (0..some.len()).map(|n| format!("@k{n}")).collect();
            let parameters = names.iter().zip(some);
            let parameters: Vec<Value> =
                parameters.map(|(name, key)| json!({ "name": name, "value": key })).collect();
            let query =
                format!("SELECT c.id, c[\"value\"] FROM c WHERE c.id IN ({})", names.join(", "));
            let query = json!({ "query": query, "parameters": parameters });
            self.query(&query, |document: Document| {
                let value = document.value.into_bytes();
                bytes += value.len();
                found.insert(document.id, value);
                self.check(bytes)
            })
            .await?;
        }
        let pair = |key: String| {
            let value = found.get(&key).cloned();
            (key, value)
        };
        Ok(keys.into_iter().map(pair).collect())
    }

    /// Makes a document, or writes over it if it may; whether it did.
    async fn create(
        &self,
        key: &str,
        value: Content,
        is_upsert: bool,
    ) -> Result<bool, KeyValueError> {
        if is_illegal(key) {
            let illegal: String = ILLEGAL.iter().collect();
            return Err(other(format!(
                "Key contains an illegal character. Keys must not include any of: {illegal}"
            )));
        }
        let document = Document { id: key.to_owned(), value };
        let make = || {
            let request = self.request(Method::POST, None)?.json(&document);
            let request = request.header("x-ms-documentdb-partitionkey", partition(key));
            Ok(if is_upsert {
                request.header("x-ms-documentdb-is-upsert", "True")
            } else {
                request
            })
        };
        let answer = self.send(make).await?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED => Ok(true),
            StatusCode::CONFLICT if !is_upsert => Ok(false),
            _ => Err(explain(&answer)),
        }
    }

    pub(super) async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), KeyValueError> {
        self.create(key, Content::Bytes(value), true).await.map(drop)
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), KeyValueError> {
        if is_illegal(key) {
            return Ok(());
        }
        let answer = self.send(|| self.request(Method::DELETE, Some(key))).await?;
        match answer.status {
            StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(()),
            _ => Err(explain(&answer)),
        }
    }

    pub(super) async fn set_many(
        &self,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<(), KeyValueError> {
        for (key, value) in pairs {
            self.set(&key, value).await?;
        }
        Ok(())
    }

    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        let keys: HashSet<String> = keys.into_iter().collect();
        for key in keys {
            self.delete(&key).await?;
        }
        Ok(())
    }

    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, KeyValueError> {
        let operations =
            json!({ "operations": [{ "op": "incr", "path": "/value", "value": delta }] });
        for _ in 0..TRIES {
            // Who is not there yet is made; who was made by others in between is added to.
            if is_illegal(key) || self.find(key).await?.is_none() {
                if self.create(key, Content::Number(delta), false).await? {
                    return Ok(delta);
                }
                continue;
            }
            let make = || {
                let request = self.request(Method::PATCH, Some(key))?;
                let request = request.header("content-type", "application/json_patch+json");
                Ok(request.body(operations.to_string()))
            };
            let answer = self.send(make).await?;
            match answer.status {
                StatusCode::OK => {
                    return match parse::<Document>(&answer)?.value {
                        Content::Number(sum) => Ok(sum),
                        Content::Bytes(_) => Err(other("the value is no number")),
                    };
                }
                StatusCode::NOT_FOUND => {}
                _ => return Err(explain(&answer)),
            }
        }
        Err(other("the document was made and deleted by others at the same time"))
    }

    pub(super) async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<bool, KeyValueError> {
        let Some(expected) = expected else {
            return self.create(key, Content::Bytes(new), false).await;
        };
        let Some(found) = self.find(key).await?.filter(|found| found.value == expected) else {
            return Ok(false);
        };
        let document = Document { id: key.to_owned(), value: Content::Bytes(new) };
        let make = || {
            let request = self.request(Method::PUT, Some(key))?.json(&document);
            Ok(request.header("if-match", &found.tag))
        };
        let answer = self.send(make).await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND => Ok(false),
            _ => Err(explain(&answer)),
        }
    }
}

fn is_illegal(key: &str) -> bool {
    key.is_empty() || key.contains(ILLEGAL)
}

/// A partition key as a header has it: ASCII only.
fn partition(id: &str) -> String {
    let text = json!([id]).to_string();
    let mut ascii = String::with_capacity(text.len());
    for unit in text.chars() {
        if unit.is_ascii() {
            ascii.push(unit);
        } else {
            for half in unit.encode_utf16(&mut [0; 2]) {
                let _ = write!(ascii, "\\u{half:04x}");
            }
        }
    }
    ascii
}

/// What authorises a request for a resource of that kind, by the account's key.
fn authorize(key: &[u8], method: &Method, kind: &str, link: &str, date: &str) -> Option<String> {
    let verb = method.as_str().to_ascii_lowercase();
    let text = format!("{verb}\n{kind}\n{link}\n{}\n\n", date.to_ascii_lowercase());
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let token = format!("type=master&ver=1.0&sig={signature}");
    Some(
        percent_encoding::utf8_percent_encode(&token, percent_encoding::NON_ALPHANUMERIC)
            .to_string(),
    )
}

fn parse<T: for<'a> Deserialize<'a>>(answer: &Answer) -> Result<T, KeyValueError> {
    serde_json::from_slice(&answer.body).map_err(|_| other("the service sent no document"))
}

fn explain(answer: &Answer) -> KeyValueError {
    let parsed: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let (code, message) = (parsed["code"].as_str(), parsed["message"].as_str());
    let (code, message) = (code.unwrap_or_default(), message.unwrap_or_default());
    other(format!("{} {code}: {message}", answer.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_authorised_as_the_service_documents_it() {
        // The example of the service's own page on authorisation.
        let key = "dsZQi3KtZmCv1ljt3VNWNm7sQUF1y5rJfC6kv5JiwvW0EndXdDku/dkKBp8/ufDToSxLzR4y+O/0H/t4bQtVNw==";
        let key = STANDARD.decode(key).unwrap();
        let date = "Thu, 27 Apr 2017 00:51:12 GMT";
        let signed = authorize(&key, &Method::GET, "dbs", "dbs/ToDoList", date).unwrap();
        let plain = percent_encoding::percent_decode_str(&signed).decode_utf8().unwrap();
        let signature = "c09PEVJrgp2uQRkr934kFbTqhByc7TVr3OHyqlu+c+c=";
        assert_eq!(plain, format!("type=master&ver=1.0&sig={signature}"));
    }

    #[test]
    fn a_partition_key_is_ascii() {
        assert_eq!(partition("a\"b"), r#"["a\"b"]"#);
        assert_eq!(partition("ü😀"), r#"["\u00fc\ud83d\ude00"]"#);
    }
}
