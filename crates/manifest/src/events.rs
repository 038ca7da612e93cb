//! The triggers besides HTTP: their configuration, under the names that Spin and its plug-ins gave it.

use gyre_model::locked::{LockedApp, LockedTrigger, ValuesMap};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    http,
    template::{Template, TemplateError},
};

/// The types of these triggers.
pub const TRIGGER_TYPES: [&str; 5] = ["redis", "cron", "mqtt", "sqs", "command"];

/// What an application requires of its host so that its components can call one another.
const CHAINING: &str = "local_service_chaining";

/// What SQS gives at once, at most.
const SQS_MAX_MESSAGES: u16 = 10;

/// Why the triggers of an application cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventTriggerError {
    /// A type of triggers that there is not.
    #[error("No built-in trigger named '{0}', and no plugin named 'trigger-{0}' was found")]
    Unknown(String),
    /// The configuration of a trigger.
    #[error("invalid `{kind}` trigger config of `{trigger}`: {reason}")]
    Config {
        /// The trigger's type.
        kind: &'static str,
        /// The trigger's id.
        trigger: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The application's settings for a type of triggers.
    #[error("invalid `{kind}` trigger settings of the application: {reason}")]
    Settings {
        /// The type.
        kind: &'static str,
        /// What is wrong with them.
        reason: String,
    },
    /// A component that only an HTTP trigger can call.
    #[error(
        "This application requires the following features that are not available in this version of the '{kind}' trigger: local_service_chaining"
    )]
    Chaining {
        /// The type of the trigger that calls it.
        kind: &'static str,
    },
}

/// Calls a component for each message on a Redis channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisTrigger {
    /// The component.
    pub component: String,
    /// The server, as a URL: `redis://host:6379`.
    pub address: Template,
    /// The channel.
    pub channel: Template,
}

/// Calls a component at times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronTrigger {
    /// The trigger's id.
    pub id: String,
    /// The component.
    pub component: String,
    /// When: six or seven fields, the seconds first and the year, if any, last; in UTC.
    pub cron_expression: String,
}

/// Calls a component for each message of an MQTT topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttTrigger {
    /// The component.
    pub component: String,
    /// The topic, possibly with wildcards.
    pub topic: Template,
    /// The quality of service: 0, 1 or 2.
    pub qos: u8,
}

/// The MQTT server of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttServer {
    /// As a URL: `mqtt://host:1883`.
    pub address: Template,
    /// May be empty.
    pub username: Template,
    /// May be empty.
    pub password: Template,
    /// Seconds of silence after which the connection is tested.
    pub keep_alive_interval: u16,
}

/// Calls a component for each message of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqsTrigger {
    /// The component.
    pub component: String,
    /// The queue.
    pub queue_url: String,
    /// Messages that are taken at once: 1 to 10.
    pub max_messages: u16,
    /// Seconds to wait for messages when there are none.
    pub idle_wait_seconds: u64,
    /// The system's attributes that the component sees.
    pub system_attributes: Vec<String>,
    /// The messages' own attributes that the component sees.
    pub message_attributes: Vec<String>,
}

/// All triggers of an application besides those of HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventTriggers {
    /// Those of Redis.
    pub redis: Vec<RedisTrigger>,
    /// Those of the clock.
    pub cron: Vec<CronTrigger>,
    /// Those of MQTT; the server is there if one of them is.
    pub mqtt: Vec<MqttTrigger>,
    /// Where they subscribe.
    pub mqtt_server: Option<MqttServer>,
    /// Those of queues.
    pub sqs: Vec<SqsTrigger>,
    /// The components that are programs. The first is run.
    pub command: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedisConfig {
    component: String,
    channel: String,
    address: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedisSettings {
    address: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CronConfig {
    component: String,
    cron_expression: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MqttConfig {
    component: String,
    topic: String,
    qos: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MqttSettings {
    address: String,
    username: String,
    password: String,
    keep_alive_interval: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SqsConfig {
    component: String,
    queue_url: String,
    max_messages: Option<u16>,
    idle_wait_seconds: Option<u64>,
    system_attributes: Option<Vec<String>>,
    message_attributes: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandConfig {
    component: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoSettings {}

impl EventTriggers {
    /// From a locked app. Its HTTP triggers are passed over.
    ///
    /// # Errors
    /// A trigger of an unknown type, or what is wrong with one's configuration.
    pub fn from_locked(app: &LockedApp) -> Result<Self, EventTriggerError> {
        let mut triggers = Self::default();
        let redis: RedisSettings = settings(app, "redis")?;
        for trigger in &app.triggers {
            match trigger.trigger_type.as_str() {
                http::TRIGGER_TYPE => {}
                "redis" => triggers.redis.push(read_redis(trigger, &redis)?),
                "cron" => {
                    let config: CronConfig = config("cron", trigger)?;
                    triggers.cron.push(CronTrigger {
                        id: trigger.id.clone(),
                        component: config.component,
                        cron_expression: config.cron_expression,
                    });
                }
                "mqtt" => triggers.mqtt.push(read_mqtt(trigger)?),
                "sqs" => triggers.sqs.push(read_sqs(trigger)?),
                "command" => {
                    let config: CommandConfig = config("command", trigger)?;
                    triggers.command.push(config.component);
                }
                unknown => return Err(EventTriggerError::Unknown(unknown.to_owned())),
            }
        }
        for kind in ["cron", "sqs", "command"] {
            let NoSettings {} = settings(app, kind)?;
        }
        if !triggers.mqtt.is_empty() {
            triggers.mqtt_server = Some(read_mqtt_server(app)?);
        }
        triggers.refuse_chaining(app)?;
        Ok(triggers)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.components().next().is_none()
    }

    /// The components that are called, each with the type of the trigger; several times where several call it.
    pub fn components(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let redis = self.redis.iter().map(|trigger| ("redis", &*trigger.component));
        let cron = self.cron.iter().map(|trigger| ("cron", &*trigger.component));
        let mqtt = self.mqtt.iter().map(|trigger| ("mqtt", &*trigger.component));
        let sqs = self.sqs.iter().map(|trigger| ("sqs", &*trigger.component));
        // The others are never run.
        let command = self.command.first().map(|component| ("command", component.as_str()));
        redis.chain(cron).chain(mqtt).chain(sqs).chain(command)
    }

    fn refuse_chaining(&self, app: &LockedApp) -> Result<(), EventTriggerError> {
        for (kind, id) in self.components() {
            let needs = app.component(id).and_then(|it| it.host_requirements.get(CHAINING));
            if needs.is_some_and(|needs| needs.as_str() != Some("optional")) {
                return Err(EventTriggerError::Chaining { kind });
            }
        }
        Ok(())
    }
}

fn config<T: DeserializeOwned>(
    kind: &'static str,
    trigger: &LockedTrigger,
) -> Result<T, EventTriggerError> {
    T::deserialize(&trigger.trigger_config).map_err(|error| wrong(kind, trigger, &error))
}

fn wrong(
    kind: &'static str,
    trigger: &LockedTrigger,
    reason: &dyn std::fmt::Display,
) -> EventTriggerError {
    let (trigger, reason) = (trigger.id.clone(), reason.to_string());
    EventTriggerError::Config { kind, trigger, reason }
}

/// The application's settings for a type of triggers. Old readers' place for them is looked at, too.
fn settings<T: DeserializeOwned + Default>(
    app: &LockedApp,
    kind: &'static str,
) -> Result<T, EventTriggerError> {
    settings_of(app, kind).unwrap_or_else(|| Ok(T::default()))
}

fn settings_of<T: DeserializeOwned>(
    app: &LockedApp,
    kind: &'static str,
) -> Option<Result<T, EventTriggerError>> {
    let of_kind = app.metadata.get("triggers").and_then(|all| all.get(kind));
    let only = || {
        let only = app.metadata.get("trigger")?;
        (only.get("type").and_then(Value::as_str) == Some(kind)).then_some(only)
    };
    let mut table: ValuesMap = of_kind.or_else(only)?.as_object()?.clone();
    table.shift_remove("type");
    let failed =
        |error: serde_json::Error| EventTriggerError::Settings { kind, reason: error.to_string() };
    Some(serde_json::from_value(Value::Object(table)).map_err(failed))
}

fn template(
    kind: &'static str,
    trigger: &LockedTrigger,
    text: &str,
) -> Result<Template, EventTriggerError> {
    Template::parse(text).map_err(|error: TemplateError| wrong(kind, trigger, &error))
}

fn read_redis(
    trigger: &LockedTrigger,
    settings: &RedisSettings,
) -> Result<RedisTrigger, EventTriggerError> {
    let config: RedisConfig = config("redis", trigger)?;
    let Some(address) = config.address.as_ref().or(settings.address.as_ref()) else {
        let reason = "missing field `address`, here or in [application.trigger.redis]";
        return Err(wrong("redis", trigger, &reason));
    };
    Ok(RedisTrigger {
        component: config.component,
        address: template("redis", trigger, address)?,
        channel: template("redis", trigger, &config.channel)?,
    })
}

fn read_mqtt(trigger: &LockedTrigger) -> Result<MqttTrigger, EventTriggerError> {
    let config: MqttConfig = config("mqtt", trigger)?;
    let qos = match config.qos.as_str() {
        "0" => 0,
        "1" => 1,
        "2" => 2,
        other => {
            let reason = format!("invalid `qos` {other:?}: expected \"0\", \"1\" or \"2\"");
            return Err(wrong("mqtt", trigger, &reason));
        }
    };
    let topic = template("mqtt", trigger, &config.topic)?;
    Ok(MqttTrigger { component: config.component, topic, qos })
}

fn read_mqtt_server(app: &LockedApp) -> Result<MqttServer, EventTriggerError> {
    let failed = |reason: String| EventTriggerError::Settings { kind: "mqtt", reason };
    let missing = || Err(failed("missing field `address`".to_owned()));
    let settings: MqttSettings = settings_of(app, "mqtt").unwrap_or_else(missing)?;
    let template = |text: &str| Template::parse(text).map_err(|error| failed(error.to_string()));
    let keep_alive_interval = settings.keep_alive_interval.parse().map_err(|_| {
        let given = &settings.keep_alive_interval;
        failed(format!("invalid `keep_alive_interval` {given:?}: expected seconds, up to 65535"))
    })?;
    Ok(MqttServer {
        address: template(&settings.address)?,
        username: template(&settings.username)?,
        password: template(&settings.password)?,
        keep_alive_interval,
    })
}

fn read_sqs(trigger: &LockedTrigger) -> Result<SqsTrigger, EventTriggerError> {
    let config: SqsConfig = config("sqs", trigger)?;
    let max_messages = config.max_messages.unwrap_or(SQS_MAX_MESSAGES);
    if !(1..=SQS_MAX_MESSAGES).contains(&max_messages) {
        let reason = format!("invalid `max_messages` {max_messages}: expected 1 to 10");
        return Err(wrong("sqs", trigger, &reason));
    }
    Ok(SqsTrigger {
        component: config.component,
        queue_url: config.queue_url,
        max_messages,
        idle_wait_seconds: config.idle_wait_seconds.unwrap_or(2),
        system_attributes: config.system_attributes.unwrap_or_default(),
        message_attributes: config.message_attributes.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn app(settings: &Value, triggers: &[(&str, Value)]) -> LockedApp {
        let triggers: Vec<Value> = triggers
            .iter()
            .enumerate()
            .map(|(n, (kind, config))| {
                json!({ "id": format!("t{n}"), "trigger_type": kind, "trigger_config": config })
            })
            .collect();
        serde_json::from_value(json!({
            "spin_lock_version": 0,
            "metadata": { "name": "events", "triggers": settings },
            "triggers": triggers,
            "components": [],
        }))
        .unwrap()
    }

    fn read(settings: &Value, kind: &str, config: &Value) -> Result<EventTriggers, String> {
        EventTriggers::from_locked(&app(settings, &[(kind, config.clone())]))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn each_kind_is_read_with_its_defaults() {
        let settings = json!({
            "redis": { "address": "redis://{{ host }}:6379" },
            "mqtt": { "address": "mqtt://h", "username": "u", "password": "{{p}}", "keep_alive_interval": "30" },
        });
        let read = EventTriggers::from_locked(&app(
            &settings,
            &[
                ("http", json!({ "route": "/", "component": "web" })),
                ("redis", json!({ "component": "a", "channel": "c" })),
                ("redis", json!({ "component": "b", "channel": "d", "address": "redis://other" })),
                ("cron", json!({ "component": "c", "cron_expression": "* * * * * *" })),
                ("mqtt", json!({ "component": "d", "topic": "t/+", "qos": "1" })),
                ("sqs", json!({ "component": "e", "queue_url": "http://q/1" })),
                ("command", json!({ "component": "f" })),
                ("command", json!({ "component": "never" })),
            ],
        ))
        .unwrap();
        assert_eq!(read.redis[0].address.to_string(), "redis://{{ host }}:6379");
        assert_eq!(read.redis[1].address.to_string(), "redis://other");
        assert_eq!((read.sqs[0].max_messages, read.sqs[0].idle_wait_seconds), (10, 2));
        assert_eq!(read.mqtt_server.as_ref().unwrap().keep_alive_interval, 30);
        let components: Vec<_> = read.components().collect();
        assert_eq!(
            components,
            [
                ("redis", "a"),
                ("redis", "b"),
                ("cron", "c"),
                ("mqtt", "d"),
                ("sqs", "e"),
                ("command", "f")
            ]
        );
    }

    #[test]
    fn mistakes_are_told() {
        let none = json!({});
        let error = |kind, config: Value| read(&none, kind, &config).unwrap_err();
        assert_eq!(
            error("zzz", json!({})),
            "No built-in trigger named 'zzz', and no plugin named 'trigger-zzz' was found"
        );
        assert_eq!(
            error("redis", json!({ "component": "a", "channel": "c", "chanel": "d" })),
            "invalid `redis` trigger config of `t0`: unknown field `chanel`, expected one of `component`, `channel`, `address`"
        );
        assert_eq!(
            error("redis", json!({ "component": "a", "channel": "c" })),
            "invalid `redis` trigger config of `t0`: missing field `address`, here or in [application.trigger.redis]"
        );
        assert_eq!(
            error("cron", json!({ "component": "a" })),
            "invalid `cron` trigger config of `t0`: missing field `cron_expression`"
        );
        assert_eq!(
            error("mqtt", json!({ "component": "a", "topic": "t", "qos": "3" })),
            "invalid `mqtt` trigger config of `t0`: invalid `qos` \"3\": expected \"0\", \"1\" or \"2\""
        );
        assert_eq!(
            error("mqtt", json!({ "component": "a", "topic": "t", "qos": "0" })),
            "invalid `mqtt` trigger settings of the application: missing field `address`"
        );
        assert_eq!(
            error("sqs", json!({ "component": "a", "queue_url": "q", "max_messages": 11 })),
            "invalid `sqs` trigger config of `t0`: invalid `max_messages` 11: expected 1 to 10"
        );
        assert_eq!(
            error("command", json!({ "component": "a", "args": [] })),
            "invalid `command` trigger config of `t0`: unknown field `args`, expected `component`"
        );
        let settings = json!({ "redis": { "addres": "x" } });
        let config = json!({ "component": "a", "channel": "c" });
        assert_eq!(
            read(&settings, "redis", &config).unwrap_err(),
            "invalid `redis` trigger settings of the application: unknown field `addres`, expected `address`"
        );
    }

    #[test]
    fn a_component_that_calls_others_is_for_http_only() {
        let mut app = app(&json!({}), &[("command", json!({ "component": "a" }))]);
        app.components = serde_json::from_value(json!([{
            "id": "a",
            "source": { "content_type": "application/wasm" },
            "host_requirements": { "local_service_chaining": "required" },
        }]))
        .unwrap();
        assert_eq!(
            EventTriggers::from_locked(&app).unwrap_err().to_string(),
            "This application requires the following features that are not available in this version of the 'command' trigger: local_service_chaining"
        );
    }
}
