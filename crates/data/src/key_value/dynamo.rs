//! Stores in Amazon DynamoDB, as Spin keeps them: an item for each key, with the key in `PK` (text), the value in `VAL`
//! (binary), and a count of its swaps in `VER` (number). Numbers are decimal text.
//!
//! Spoken to in its JSON protocol, each request signed (signature version 4).

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use gyre_model::Secret;
use reqwest::{Client, Url};
use serde_json::{Value, json};

use super::Pairs;
use crate::{
    KeyValueError,
    http::{self, HttpError},
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// What an answer has besides values: a page of a listing has up to 1 MiB of keys, a batch 16 MiB.
const ENVELOPE: usize = 2 << 20;
/// Items that one transaction writes, by the service's rules.
const WRITES: usize = 100;
/// Bytes that one transaction writes: the service takes 4 MiB, with names and the like.
const WRITE_BYTES: usize = 3 << 20;
/// Items that one request reads, by the service's rules.
const READS: usize = 100;
/// How often what the service puts off is tried, and an increment that others were in the way of.
const TRIES: u32 = 8;
/// The first pause before that; each next one is twice as long.
const PAUSE: Duration = Duration::from_millis(25);

const KEY: &str = "PK";
const VALUE: &str = "VAL";
const VERSION: &str = "VER";

/// A table of DynamoDB, and with what it is asked.
#[derive(Clone)]
pub struct DynamoSettings {
    /// The region, such as `eu-west-1`.
    pub region: String,
    /// The table. Its partition key is the text `PK`.
    pub table: String,
    /// The account's access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Secret<String>,
    /// The token of a session, if the keys are of one.
    pub token: Option<Secret<String>>,
    /// The service's URL, if it is not the region's own.
    pub endpoint: Option<String>,
    /// Whether reads see all writes before them.
    pub consistent_read: bool,
}

impl fmt::Debug for DynamoSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoSettings")
            .field("region", &self.region)
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

/// A store in a table.
#[derive(Debug)]
pub(super) struct Dynamo {
    client: Client,
    endpoint: Url,
    settings: DynamoSettings,
    result_bytes: usize,
}

/// Why a request did nothing.
enum Failure {
    /// Its condition does not hold.
    Condition,
    Other(KeyValueError),
}

impl From<Failure> for KeyValueError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Condition => other("the item was changed by others at the same time"),
            Failure::Other(error) => error,
        }
    }
}

fn other(text: impl Into<String>) -> KeyValueError {
    KeyValueError::Other(text.into())
}

impl Dynamo {
    pub(super) fn new(
        settings: DynamoSettings,
        result_bytes: usize,
    ) -> Result<Self, KeyValueError> {
        let usual = || format!("https://dynamodb.{}.amazonaws.com/", settings.region);
        let text = settings.endpoint.clone().unwrap_or_else(usual);
        let endpoint: Url = text.parse().map_err(|error| other(format!("{text:?}: {error}")))?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err(other(format!("{text:?} is not an HTTP URL")));
        }
        let client = http::client().map_err(other)?;
        Ok(Self { client, endpoint, settings, result_bytes })
    }

    /// Asks for one operation, again while the service puts it off.
    async fn ask(&self, operation: &str, body: &Value) -> Result<Value, Failure> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            match self.ask_once(operation, body).await {
                Err(Attempt::Later(_)) if attempt < TRIES => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(Attempt::Later(text)) => return Err(Failure::Other(other(text))),
                Err(Attempt::Failed(failure)) => return Err(failure),
                Ok(answer) => return Ok(answer),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn ask_once(&self, operation: &str, body: &Value) -> Result<Value, Attempt> {
        let failed = |error| Attempt::Failed(Failure::Other(error));
        let request = self.sign(operation, body.to_string()).map_err(|it| failed(other(it)))?;
        let request = reqwest::RequestBuilder::from_parts(
            self.client.clone(),
            request.try_into().map_err(|_| failed(other("the request cannot be made")))?,
        );
        // Values are a third longer as they are sent.
        let limit = self.result_bytes.saturating_mul(2).saturating_add(ENVELOPE);
        let answer = http::exchange(request, ANSWER, limit).await.map_err(|error| match error {
            HttpError::Timeout => Attempt::Failed(Failure::Other(other("no answer in time"))),
            HttpError::TooLong => failed(KeyValueError::ResultTooLong { limit: self.result_bytes }),
            HttpError::Other(text) => failed(other(text)),
        })?;
        let parsed: Option<Value> = serde_json::from_slice(&answer.body).ok();
        if answer.status.is_success() {
            return parsed.ok_or_else(|| failed(other("the answer is not JSON")));
        }
        let parsed = parsed.unwrap_or_default();
        let kind = parsed["__type"].as_str().unwrap_or_default();
        let kind = kind.rsplit_once('#').map_or(kind, |(_, name)| name);
        let message = parsed["message"].as_str().or(parsed["Message"].as_str()).unwrap_or_default();
        let text = format!("{} {kind}: {message}", answer.status);
        let reasons = parsed["CancellationReasons"].as_array().map(Vec::as_slice);
        let is_reason = |names: &[&str]| {
            let mut codes = reasons.unwrap_or_default().iter().filter_map(|it| it["Code"].as_str());
            codes.any(|code| names.contains(&code))
        };
        Err(match kind {
            "ConditionalCheckFailedException" => Attempt::Failed(Failure::Condition),
            "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "TransactionInProgressException"
            | "TransactionConflictException"
            | "InternalServerError" => Attempt::Later(text),
            "TransactionCanceledException"
                if is_reason(&[
                    "TransactionConflict",
                    "ThrottlingError",
                    "ProvisionedThroughputExceeded",
                ]) =>
            {
                Attempt::Later(text)
            }
            _ if answer.status.is_server_error() => Attempt::Later(text),
            _ => failed(other(text)),
        })
    }

    fn sign(&self, operation: &str, body: String) -> Result<::http::Request<String>, String> {
        let DynamoSettings { access_key, secret_key, token, region, .. } = &self.settings;
        let token = token.as_ref().map(|token| token.expose().clone());
        let credentials =
            Credentials::new(access_key, secret_key.expose(), token, None, "configuration");
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("dynamodb")
            .time(now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let mut request = ::http::Request::post(self.endpoint.as_str())
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .body(body)
            .map_err(|error| error.to_string())?;
        let headers = request.headers().iter();
        let headers: Vec<(&str, &str)> = headers
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        let body = SignableBody::Bytes(request.body().as_bytes());
        let signable =
            SignableRequest::new("POST", self.endpoint.as_str(), headers.into_iter(), body)
                .map_err(|error| error.to_string())?;
        let signed = sign(signable, &parameters).map_err(|error| error.to_string())?;
        let (instructions, _) = signed.into_parts();
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }

    fn check(&self, bytes: usize) -> Result<(), KeyValueError> {
        let limit = self.result_bytes;
        if bytes > limit { Err(KeyValueError::ResultTooLong { limit }) } else { Ok(()) }
    }

    /// What is at a key, if there is an item.
    async fn item(
        &self,
        key: &str,
        attributes: &[&str],
        is_consistent: bool,
    ) -> Result<Option<Value>, KeyValueError> {
        let (names, projection) = projection(attributes);
        let body = json!({
            "TableName": self.settings.table,
            "Key": at(key),
            "ConsistentRead": is_consistent,
            "ProjectionExpression": projection,
            "ExpressionAttributeNames": names,
        });
        let mut answer = self.ask("GetItem", &body).await?;
        Ok(Some(answer["Item"].take()).filter(Value::is_object))
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        let item = self.item(key, &[VALUE], self.settings.consistent_read).await?;
        let value = item.map(|item| value_of(&item)).transpose()?.flatten();
        self.check(value.as_ref().map_or(0, Vec::len))?;
        Ok(value)
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, KeyValueError> {
        Ok(self.item(key, &[KEY], self.settings.consistent_read).await?.is_some())
    }

    pub(super) async fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        let (names, projection) = projection(&[KEY]);
        let mut body = json!({
            "TableName": self.settings.table,
            "ConsistentRead": self.settings.consistent_read,
            "ProjectionExpression": projection,
            "ExpressionAttributeNames": names,
        });
        let (mut keys, mut bytes) = (Vec::new(), 0);
        loop {
            let mut answer = self.ask("Scan", &body).await?;
            for item in answer["Items"].as_array().map(Vec::as_slice).unwrap_or_default() {
                let key = key_of(item)?;
                bytes += key.len();
                self.check(bytes)?;
                keys.push(key);
            }
            match answer["LastEvaluatedKey"].take() {
                Value::Null => return Ok(keys),
                last => body["ExclusiveStartKey"] = last,
            }
        }
    }

    pub(super) async fn get_many(&self, keys: Vec<String>) -> Result<Pairs, KeyValueError> {
        let mut found = BTreeMap::new();
        let mut bytes = keys.iter().map(String::len).sum();
        self.check(bytes)?;
        let mut seen = HashSet::new();
        // The service refuses a request that names a key twice.
        let wanted: Vec<&String> = keys.iter().filter(|key| seen.insert(key.as_str())).collect();
        for some in wanted.chunks(READS) {
            let (names, projection) = projection(&[KEY, VALUE]);
            let mut asked = json!({
                "Keys": some.iter().map(|key| at(key)).collect::<Vec<_>>(),
                "ConsistentRead": self.settings.consistent_read,
                "ProjectionExpression": projection,
                "ExpressionAttributeNames": names,
            });
            let table = &self.settings.table;
            let mut pause = PAUSE;
            for attempt in 1.. {
                let body = json!({ "RequestItems": { table: asked } });
                let mut answer = self.ask("BatchGetItem", &body).await?;
                let items = answer["Responses"][table].as_array().map(Vec::as_slice);
                let mut is_further = false;
                for item in items.unwrap_or_default() {
                    let value = value_of(item)?;
                    bytes += value.as_ref().map_or(0, Vec::len);
                    self.check(bytes)?;
                    found.insert(key_of(item)?, value);
                    is_further = true;
                }
                asked = answer["UnprocessedKeys"][table].take();
                if asked.is_null() {
                    break;
                }
                // What does not fit into an answer is put off, too: that is no reason to give up.
                if !is_further {
                    if attempt >= TRIES {
                        return Err(other("the service puts reads off: too many at once"));
                    }
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
        Ok(keys
            .into_iter()
            .map(|key| {
                let value = found.get(&key).cloned().flatten();
                (key, value)
            })
            .collect())
    }

    pub(super) async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), KeyValueError> {
        let body = json!({ "TableName": self.settings.table, "Item": item(key, &value) });
        self.ask("PutItem", &body).await?;
        Ok(())
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), KeyValueError> {
        let body = json!({ "TableName": self.settings.table, "Key": at(key) });
        self.ask("DeleteItem", &body).await?;
        Ok(())
    }

    pub(super) async fn set_many(
        &self,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<(), KeyValueError> {
        // The last value of a key counts; a transaction may write an item once.
        let pairs: BTreeMap<String, Vec<u8>> = pairs.into_iter().collect();
        let writes = pairs.into_iter().map(|(key, value)| {
            let put = json!({ "TableName": self.settings.table, "Item": item(&key, &value) });
            (key.len() + value.len().div_ceil(3) * 4, json!({ "Put": put }))
        });
        self.write(writes.collect()).await
    }

    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Result<(), KeyValueError> {
        let keys: HashSet<String> = keys.into_iter().collect();
        let writes = keys.into_iter().map(|key| {
            let delete = json!({ "TableName": self.settings.table, "Key": at(&key) });
            (key.len(), json!({ "Delete": delete }))
        });
        self.write(writes.collect()).await
    }

    /// Writes in as few transactions as the service allows for.
    async fn write(&self, writes: Vec<(usize, Value)>) -> Result<(), KeyValueError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (length, write) in writes {
            if batch.len() == WRITES || (bytes + length > WRITE_BYTES && !batch.is_empty()) {
                self.transact(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += length;
            batch.push(write);
        }
        if batch.is_empty() { Ok(()) } else { self.transact(batch).await }
    }

    async fn transact(&self, batch: Vec<Value>) -> Result<(), KeyValueError> {
        self.ask("TransactWriteItems", &json!({ "TransactItems": batch })).await?;
        Ok(())
    }

    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, KeyValueError> {
        let mut pause = PAUSE;
        for _ in 0..TRIES {
            let item = self.item(key, &[VALUE], true).await?;
            let before = item.map(|item| value_of(&item)).transpose()?.flatten();
            let number = match &before {
                None => 0,
                Some(bytes) => std::str::from_utf8(bytes)
                    .ok()
                    .and_then(|text| text.parse::<i64>().ok())
                    .ok_or_else(|| other("the value is no number"))?,
            };
            let sum = number.wrapping_add(delta);
            let after = sum.to_string().into_bytes();
            match self.replace(key, before.as_deref(), &after, false).await {
                Ok(()) => return Ok(sum),
                Err(Failure::Condition) => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(Failure::Condition.into())
    }

    pub(super) async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<bool, KeyValueError> {
        match self.replace(key, expected.as_deref(), &new, true).await {
            Ok(()) => Ok(true),
            Err(Failure::Condition) => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Sets a value if it is the one before. A swap is counted, for those who look at the count.
    async fn replace(
        &self,
        key: &str,
        before: Option<&[u8]>,
        after: &[u8],
        is_swap: bool,
    ) -> Result<(), Failure> {
        let mut names = json!({ "#VAL": VALUE });
        let mut values = json!({ ":new": { "B": STANDARD.encode(after) } });
        let mut update = "SET #VAL = :new".to_owned();
        if is_swap {
            names["#VER"] = VERSION.into();
            values[":one"] = json!({ "N": "1" });
            update.push_str(" ADD #VER :one");
        }
        let condition = match before {
            None => "attribute_not_exists(#VAL)",
            Some(before) => {
                values[":old"] = json!({ "B": STANDARD.encode(before) });
                "#VAL = :old"
            }
        };
        let body = json!({
            "TableName": self.settings.table,
            "Key": at(key),
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
        });
        self.ask("UpdateItem", &body).await.map(drop)
    }
}

/// How one request went, if it did not succeed.
enum Attempt {
    /// The service is busy: the same may go well later.
    Later(String),
    Failed(Failure),
}

#[allow(
    clippy::disallowed_methods,
    reason = "a signature is of the time at which the service checks it"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

fn at(key: &str) -> Value {
    json!({ KEY: { "S": key } })
}

fn item(key: &str, value: &[u8]) -> Value {
    json!({ KEY: { "S": key }, VALUE: { "B": STANDARD.encode(value) } })
}

/// The attributes' names as an expression may have them, and the expression.
fn projection(attributes: &[&str]) -> (Value, String) {
    let names = attributes.iter().map(|name| (format!("#{name}"), Value::from(*name)));
    let expression: Vec<String> = attributes.iter().map(|name| format!("#{name}")).collect();
    (Value::Object(names.collect()), expression.join(","))
}

fn key_of(item: &Value) -> Result<String, KeyValueError> {
    let key = item[KEY]["S"].as_str().ok_or_else(|| other("the table's PK is no text"))?;
    Ok(key.to_owned())
}

fn value_of(item: &Value) -> Result<Option<Vec<u8>>, KeyValueError> {
    let Some(text) = item[VALUE]["B"].as_str() else { return Ok(None) };
    STANDARD.decode(text).map(Some).map_err(|_| other("the service sent a malformed value"))
}
