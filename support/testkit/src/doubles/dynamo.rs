//! Amazon DynamoDB, for one table with the partition key `PK`: signed requests in its JSON protocol, with the service's
//! rules for batches, pages and transactions.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::SystemTime,
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use bytes::Bytes;
use http::{Request, Response};
use jiff::{civil::DateTime, tz::TimeZone};
use serde_json::{Value, json};

use super::HttpDouble;

/// Items of a page of a listing, and of an answer to a batch. The service counts bytes.
const PAGE: usize = 40;

/// A DynamoDB on a free loopback port, with one table.
#[derive(Debug)]
pub struct DynamoDouble {
    http: HttpDouble,
    throttled: Arc<AtomicU32>,
}

impl DynamoDouble {
    /// Its region.
    pub const REGION: &str = "eu-test-1";
    /// Its table.
    pub const TABLE: &str = "guests";
    /// The access key that it knows.
    pub const ACCESS_KEY: &str = "AKIDTEST";
    /// That key's secret.
    pub const SECRET_KEY: &str = "geheim";
    /// The token of the session that the key is of.
    pub const TOKEN: &str = "session-geheim";

    /// Starts one.
    #[track_caller]
    pub fn start() -> Self {
        let throttled = Arc::new(AtomicU32::new(0));
        let left = throttled.clone();
        let mut table = Table::default();
        let http = HttpDouble::start(move |request| {
            let take = |left: u32| left.checked_sub(1);
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
                return refuse("ProvisionedThroughputExceededException", "too many requests");
            }
            table.answer(&request)
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

type Item = serde_json::Map<String, Value>;

#[derive(Default)]
struct Table(BTreeMap<String, Item>);

/// Why an operation is refused: the service's name of it, and its text.
type Refusal = (&'static str, String);

fn invalid(text: impl Into<String>) -> Refusal {
    ("ValidationException", text.into())
}

impl Table {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        if let Err(text) = check_signature(request) {
            return refuse("InvalidSignatureException", &text);
        }
        let target = request.headers().get("x-amz-target").and_then(|it| it.to_str().ok());
        let operation = target.and_then(|it| it.strip_prefix("DynamoDB_20120810."));
        let Ok(body) = serde_json::from_slice::<Value>(request.body()) else {
            return refuse("SerializationException", "no JSON");
        };
        match self.perform(operation.unwrap_or_default(), &body) {
            Ok(answer) => Response::new(Bytes::from(answer.to_string())),
            Err((kind, text)) => refuse(kind, &text),
        }
    }

    fn perform(&mut self, operation: &str, body: &Value) -> Result<Value, Refusal> {
        if !operation.starts_with("Batch") && operation != "TransactWriteItems" {
            check_table(body)?;
        }
        match operation {
            "GetItem" => {
                let item = self.0.get(&key(&body["Key"])?);
                Ok(item.map_or(json!({}), |item| json!({ "Item": project(item, body) })))
            }
            "PutItem" => self.put(body),
            "DeleteItem" => {
                self.0.remove(&key(&body["Key"])?);
                Ok(json!({}))
            }
            "UpdateItem" => self.update(body),
            "Scan" => {
                let start = match &body["ExclusiveStartKey"] {
                    Value::Null => None,
                    start => Some(key(start)?),
                };
                let mut rest =
                    self.0.iter().filter(|(key, _)| start.as_ref().is_none_or(|it| *key > it));
                let page: Vec<_> = rest.by_ref().take(PAGE).collect();
                let items: Vec<_> = page.iter().map(|(_, item)| project(item, body)).collect();
                let mut answer = json!({ "Items": items });
                if let (Some((last, _)), Some(_)) = (page.last(), rest.next()) {
                    answer["LastEvaluatedKey"] = json!({ "PK": { "S": last } });
                }
                Ok(answer)
            }
            "BatchGetItem" => {
                let asked = &body["RequestItems"][DynamoDouble::TABLE];
                let keys = asked["Keys"].as_array().ok_or_else(|| invalid("no keys"))?;
                check_batch(keys.iter().map(key))?;
                let found = keys.iter().take(PAGE).filter_map(|it| self.0.get(&key(it).ok()?));
                let found: Vec<_> = found.map(|item| project(item, asked)).collect();
                let mut answer = json!({ "Responses": { DynamoDouble::TABLE: found } });
                answer["UnprocessedKeys"] = json!({});
                if keys.len() > PAGE {
                    let mut rest = asked.clone();
                    rest["Keys"] = keys[PAGE..].into();
                    answer["UnprocessedKeys"] = json!({ DynamoDouble::TABLE: rest });
                }
                Ok(answer)
            }
            "TransactWriteItems" => {
                let items = body["TransactItems"].as_array().ok_or_else(|| invalid("no items"))?;
                let keys = items.iter().map(|it| match (&it["Put"], &it["Delete"]) {
                    (put @ Value::Object(_), _) => check_table(put).and(key(&put["Item"])),
                    (_, delete @ Value::Object(_)) => check_table(delete).and(key(&delete["Key"])),
                    _ => Err(invalid("neither a put nor a delete")),
                });
                check_batch(keys)?;
                for item in items {
                    let operation = if item["Put"].is_object() { "Put" } else { "Delete" };
                    self.perform(&format!("{operation}Item"), &item[operation])?;
                }
                Ok(json!({}))
            }
            other => Err(("UnknownOperationException", other.to_owned())),
        }
    }

    fn put(&mut self, body: &Value) -> Result<Value, Refusal> {
        let item = body["Item"].as_object().ok_or_else(|| invalid("no item"))?;
        self.0.insert(key(&body["Item"])?, item.clone());
        Ok(json!({}))
    }

    /// Updates of the forms that are used.
    fn update(&mut self, body: &Value) -> Result<Value, Refusal> {
        let key = key(&body["Key"])?;
        let (names, values) =
            (&body["ExpressionAttributeNames"], &body["ExpressionAttributeValues"]);
        let name = |it: &str| names[it].as_str().unwrap_or(it).to_owned();
        let before = self.0.get(&key);
        let attribute = |it: &str| before.and_then(|item| item.get(&name(it)));
        let holds = match body["ConditionExpression"].as_str() {
            None => true,
            Some("attribute_not_exists(#VAL)") => attribute("#VAL").is_none(),
            Some("#VAL = :old") => attribute("#VAL") == Some(&values[":old"]),
            Some(other) => return Err(invalid(format!("condition {other}"))),
        };
        if !holds {
            let text = "The conditional request failed".to_owned();
            return Err(("ConditionalCheckFailedException", text));
        }
        let mut item = before.cloned().unwrap_or_default();
        item.insert("PK".to_owned(), json!({ "S": key }));
        item.insert(name("#VAL"), values[":new"].clone());
        match body["UpdateExpression"].as_str() {
            Some("SET #VAL = :new") => {}
            Some("SET #VAL = :new ADD #VER :one") => {
                let version = item.get(&name("#VER")).and_then(|it| it["N"].as_str());
                let version: u64 = version.unwrap_or("0").parse().expect("it is a number");
                item.insert(name("#VER"), json!({ "N": (version + 1).to_string() }));
            }
            other => return Err(invalid(format!("update {other:?}"))),
        }
        // What is named must be used.
        let used = format!("{} {}", body["UpdateExpression"], body["ConditionExpression"]);
        let given = [names, values].into_iter().filter_map(Value::as_object);
        if let Some(unused) = given.flat_map(|it| it.keys()).find(|it| !used.contains(*it)) {
            return Err(invalid(format!("{unused} is not used")));
        }
        self.0.insert(key, item);
        Ok(json!({}))
    }
}

fn check_table(body: &Value) -> Result<(), Refusal> {
    if body["TableName"] == DynamoDouble::TABLE {
        Ok(())
    } else {
        Err(("ResourceNotFoundException", "Requested resource not found".to_owned()))
    }
}

fn key(value: &Value) -> Result<String, Refusal> {
    let key = value["PK"]["S"].as_str().filter(|key| !key.is_empty());
    key.map(str::to_owned).ok_or_else(|| invalid("no key"))
}

/// At most a hundred keys, each once.
fn check_batch(keys: impl Iterator<Item = Result<String, Refusal>>) -> Result<(), Refusal> {
    let keys: Vec<String> = keys.collect::<Result<_, _>>()?;
    let mut seen = HashSet::new();
    if keys.is_empty() || keys.len() > 100 {
        return Err(invalid(format!("{} items in one request", keys.len())));
    }
    match keys.iter().find(|key| !seen.insert(*key)) {
        Some(key) => Err(invalid(format!("{key} is there twice"))),
        None => Ok(()),
    }
}

/// The attributes that a projection names.
fn project(item: &Item, body: &Value) -> Value {
    let expression = body["ProjectionExpression"].as_str().expect("there is a projection");
    let names = expression.split(',').map(|name| {
        body["ExpressionAttributeNames"][name].as_str().expect("names are given").to_owned()
    });
    let part = names.filter_map(|name| Some((name.clone(), item.get(&name)?.clone())));
    Value::Object(part.collect())
}

/// Signs the request as who has the secret would, and compares.
fn check_signature(request: &Request<Bytes>) -> Result<(), String> {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|it| it.to_str().ok());
        value.map(str::to_owned).ok_or_else(|| format!("{name} is missing"))
    };
    if header("x-amz-security-token")? != DynamoDouble::TOKEN {
        return Err("the token is unknown".to_owned());
    }
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", header("x-amz-date")?);
    let time = time.and_then(|it| it.to_zoned(TimeZone::UTC)).map_err(|it| it.to_string())?;
    let credentials = Credentials::new(
        DynamoDouble::ACCESS_KEY,
        DynamoDouble::SECRET_KEY,
        Some(DynamoDouble::TOKEN.to_owned()),
        None,
        "test",
    );
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(DynamoDouble::REGION)
        .name("dynamodb")
        .time(SystemTime::from(time.timestamp()))
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let (kind, target) = (header("content-type")?, header("x-amz-target")?);
    let headers = [("content-type", &*kind), ("x-amz-target", &*target)].into_iter();
    let uri = format!("http://{}{}", header("host")?, request.uri().path());
    let body = SignableBody::Bytes(request.body());
    let signable = SignableRequest::new("POST", &uri, headers, body);
    let signed = sign(signable.map_err(|it| it.to_string())?, &parameters);
    let (instructions, _) = signed.map_err(|error| error.to_string())?.into_parts();
    let mut again = Request::post(&uri).body(()).map_err(|error| error.to_string())?;
    instructions.apply_to_request_http1x(&mut again);
    let expected = again.headers().get("authorization").and_then(|it| it.to_str().ok());
    if expected == Some(&*header("authorization")?) {
        Ok(())
    } else {
        Err("the signature does not match".to_owned())
    }
}

fn refuse(kind: &str, text: &str) -> Response<Bytes> {
    let kind = format!("com.amazonaws.dynamodb.v20120810#{kind}");
    let body = json!({ "__type": kind, "message": text });
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = http::StatusCode::BAD_REQUEST;
    response
}
