//! Reading the configuration of an HTTP trigger, whether it comes from a manifest or from a locked app.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::{Executor, HttpRoute, HttpTrigger, HttpTriggerError, StaticResponse};
use crate::{read::expected_one_of, suggest::did_you_mean};

/// A mistake, and where in the configuration it is.
#[derive(Debug)]
pub(crate) struct ConfigError {
    pub(crate) error: Box<HttpTriggerError>,
    /// The keys that lead to it.
    pub(crate) path: Vec<String>,
    pub(crate) part: Part,
    pub(crate) help: Option<String>,
}

/// Which part of an entry a mistake is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Key,
    Value,
}

struct Reader<'a> {
    id: &'a str,
}

impl Reader<'_> {
    fn config(&self, path: &[&str], part: Part, reason: String) -> ConfigError {
        let error = HttpTriggerError::Config { trigger: self.id.to_owned(), reason };
        self.wrong(error, path, part)
    }

    #[allow(clippy::unused_self, reason = "it stands beside `config`")]
    fn wrong(&self, error: HttpTriggerError, path: &[&str], part: Part) -> ConfigError {
        let path = path.iter().map(|key| (*key).to_owned()).collect();
        ConfigError { error: Box::new(error), path, part, help: None }
    }

    fn known(
        &self,
        table: &Map<String, Value>,
        path: &[&str],
        known: &[&str],
    ) -> Result<(), ConfigError> {
        let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else {
            return Ok(());
        };
        let path = [path, &[key.as_str()]].concat();
        let reason = format!("unknown field `{key}`, {}", expected_one_of(known));
        let help = did_you_mean(key, known.iter().copied());
        Err(ConfigError { help, ..self.config(&path, Part::Key, reason) })
    }

    fn expected(&self, path: &[&str], value: &Value, expected: &str) -> ConfigError {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => format!("boolean `{value}`"),
            Value::Number(number) => format!("number `{number}`"),
            Value::String(text) => format!("string {text:?}"),
            Value::Array(_) => "sequence".to_owned(),
            Value::Object(_) => "map".to_owned(),
        };
        self.config(path, Part::Value, format!("invalid type: {found}, expected {expected}"))
    }

    fn text(
        &self,
        table: &Map<String, Value>,
        path: &[&str],
    ) -> Result<Option<String>, ConfigError> {
        match path.last().and_then(|key| table.get(*key)) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.expected(path, other, "a string")),
        }
    }
}

pub(super) fn read(id: &str, config: &Value) -> Result<HttpTrigger, ConfigError> {
    let reader = Reader { id };
    let Value::Object(table) = config else {
        return Err(reader.expected(&[], config, "a table"));
    };
    reader.known(table, &[], &["component", "static_response", "route", "executor"])?;
    let component = reader.text(table, &["component"])?;
    let static_response = match table.get("static_response") {
        None => None,
        Some(Value::Object(response)) => Some(read_response(&reader, response)?),
        Some(other) => return Err(reader.expected(&["static_response"], other, "a table")),
    };
    let target = |has| {
        let error = HttpTriggerError::Target { trigger: id.to_owned(), has };
        Err(reader.wrong(error, if has == "both" { &["static_response"] } else { &[] }, Part::Key))
    };
    match (&component, &static_response) {
        (None, None) => return target("neither"),
        (Some(_), Some(_)) => return target("both"),
        _ => {}
    }
    let shown = component.as_deref().unwrap_or(id);
    let route = match table.get("route") {
        None => {
            let help = Some("add a `route`, such as `route = \"/...\"`".to_owned());
            let error = reader.config(&[], Part::Key, "missing field `route`".to_owned());
            return Err(ConfigError { help, ..error });
        }
        Some(Value::String(route)) => HttpRoute::Public(route.clone()),
        Some(Value::Object(private)) => {
            reader.known(private, &["route"], &["private"])?;
            match private.get("private") {
                Some(Value::Bool(true)) => HttpRoute::Private,
                Some(Value::Bool(false)) => {
                    let error = HttpTriggerError::NotPrivate(shown.to_owned());
                    return Err(reader.wrong(error, &["route"], Part::Value));
                }
                Some(other) => {
                    return Err(reader.expected(&["route", "private"], other, "a boolean"));
                }
                None => {
                    let reason = "missing field `private`".to_owned();
                    return Err(reader.config(&["route"], Part::Value, reason));
                }
            }
        }
        Some(other) => {
            return Err(reader.expected(&["route"], other, "a string or `{ private = true }`"));
        }
    };
    let executor = match table.get("executor") {
        None => Executor::Http,
        Some(Value::Object(executor)) => read_executor(&reader, shown, executor)?,
        Some(other) => return Err(reader.expected(&["executor"], other, "a table")),
    };
    Ok(HttpTrigger { id: id.to_owned(), component, static_response, route, executor })
}

fn read_executor(
    reader: &Reader<'_>,
    shown: &str,
    table: &Map<String, Value>,
) -> Result<Executor, ConfigError> {
    let at = ["executor", "type"];
    match reader.text(table, &at)?.as_deref() {
        Some("http" | "spin") => {
            reader.known(table, &["executor"], &["type"])?;
            Ok(Executor::Http)
        }
        Some("wagi") => {
            reader.known(table, &["executor"], &["type", "entrypoint", "argv"])?;
            if reader
                .text(table, &["executor", "entrypoint"])?
                .is_some_and(|entrypoint| entrypoint != "_start")
            {
                let error = HttpTriggerError::WagiEntrypoint(shown.to_owned());
                return Err(reader.wrong(error, &["executor", "entrypoint"], Part::Key));
            }
            let argv = reader.text(table, &["executor", "argv"])?;
            Ok(Executor::Wagi { argv: argv.unwrap_or_else(|| "${SCRIPT_NAME} ${ARGS}".to_owned()) })
        }
        Some(other) => {
            let known = ["http", "spin", "wagi"];
            let reason = format!("unknown variant `{other}`, {}", expected_one_of(&known));
            let help = did_you_mean(other, known);
            Err(ConfigError { help, ..reader.config(&at, Part::Value, reason) })
        }
        None => Err(reader.config(&["executor"], Part::Value, "missing field `type`".to_owned())),
    }
}

/// As Spin, this overlooks keys that it does not know.
fn read_response(
    reader: &Reader<'_>,
    table: &Map<String, Value>,
) -> Result<StaticResponse, ConfigError> {
    let at = ["static_response", "status_code"];
    let status = match table.get("status_code") {
        None => 200,
        Some(value) => match value.as_u64() {
            Some(status @ 100..=999) => status as u16,
            Some(_) => {
                let reason = format!("invalid value: `{value}`, expected a status from 100 to 999");
                return Err(reader.config(&at, Part::Value, reason));
            }
            None => return Err(reader.expected(&at, value, "u16")),
        },
    };
    let mut headers = IndexMap::new();
    match table.get("headers") {
        None => {}
        Some(Value::Object(given)) => {
            for name in given.keys() {
                let at = ["static_response", "headers", name];
                let is_name = !name.is_empty() && name.bytes().all(is_token_byte);
                if !is_name {
                    let reason = format!("{name:?} is not the name of a header");
                    return Err(reader.config(&at, Part::Key, reason));
                }
                let value = reader.text(given, &at)?.unwrap_or_default();
                if value.bytes().any(|byte| byte != b'\t' && (byte < b' ' || byte == 0x7f)) {
                    let reason =
                        format!("the header {name:?} has a control character in its value");
                    return Err(reader.config(&at, Part::Value, reason));
                }
                headers.insert(name.clone(), value);
            }
        }
        Some(other) => {
            return Err(reader.expected(&["static_response", "headers"], other, "a table"));
        }
    }
    let body = reader.text(table, &["static_response", "body"])?;
    Ok(StaticResponse { status, headers, body })
}

/// RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
