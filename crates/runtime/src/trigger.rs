//! What calls components. One module for each kind of trigger.
//!
//! HTTP requests come from the edge. All others come from listeners of an app's own, which [`App::start_triggers`]
//! starts and [`Triggers`] keeps: tasks that wait for something to happen and call the app for it.

mod backoff;
mod cron;
pub(crate) mod http;
mod mqtt;
mod redis;
mod sqs;

use std::{sync::Arc, time::Duration};

use gyre_manifest::template::Template;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::JoinSet,
};
use url::{Host, Url};

pub use self::sqs::SqsAccess;
use crate::{
    App, LoadError,
    capability::{TlsPeer, handshake},
    event::{Event, Reply},
    host::Program,
    loaded::Loaded,
    spans,
};

/// How long a connection may take to come about.
const CONNECT_TIME: Duration = Duration::from_secs(20);

/// How long a peer may be silent before the connection is tested, and how often it is then.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// Why an app's triggers do not start.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    /// The app itself cannot be loaded.
    #[error(transparent)]
    Load(#[from] Arc<LoadError>),
    /// A template has no value.
    #[error("failed to resolve {what} {template:?}")]
    Template {
        /// What it is: `redis trigger address`, …
        what: &'static str,
        /// The template.
        template: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An address that is none.
    #[error("invalid {kind} address {address:?}: {reason}")]
    Address {
        /// The trigger's type.
        kind: &'static str,
        /// The address, without a password.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An expression of the cron trigger.
    #[error("invalid cron expression {expression:?} of {trigger:?}: {reason}")]
    Cron {
        /// The trigger's id.
        trigger: String,
        /// The expression.
        expression: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server that events come from cannot be reached, or refuses.
    #[error("{0}")]
    Connect(String),
    /// What a kind of trigger needs and this host does not have.
    #[error("{0}")]
    Missing(String),
}

/// How an app's triggers run.
#[derive(Debug, Clone, Default)]
pub struct TriggerOptions {
    /// Whether a server that cannot be reached at the start is tried again and again, as one is that goes away later.
    /// Otherwise it is an error.
    pub is_patient: bool,
    /// With what queues are asked. Without it, apps with a queue trigger are refused.
    pub sqs: Option<SqsAccess>,
}

/// The listeners of an app. They end when this is dropped; what they called runs on.
#[derive(Debug)]
pub struct Triggers {
    app: Arc<App>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    lines: Vec<String>,
}

impl Triggers {
    /// What Spin prints of them, line by line.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Ends the listeners, and lets what they called finish, at most for `grace`.
    pub async fn stop(mut self, grace: Duration) {
        let _ = self.stop.send(true);
        let ended = async {
            while self.tasks.join_next().await.is_some() {}
            self.app.drain(grace).await;
        };
        let _ = tokio::time::timeout(grace, ended).await;
    }
}

/// Tells a listener that it is to end.
#[derive(Clone)]
struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits until it is to end.
    async fn wait(&mut self) {
        // Whoever could say it has gone.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

impl App {
    /// Starts the listeners of its triggers besides HTTP and command, in tasks of the runtime that polls this.
    /// They run when this returns.
    ///
    /// # Errors
    /// One cannot start. None runs then.
    pub async fn start_triggers(
        self: &Arc<Self>,
        options: &TriggerOptions,
    ) -> Result<Triggers, TriggerError> {
        let loaded = self.loaded().await?;
        let (stop, stopped) = watch::channel(false);
        let mut triggers =
            Triggers { app: self.clone(), tasks: JoinSet::new(), stop, lines: Vec::new() };
        let stopped = Stop(stopped);
        redis::start(self, &loaded, options, &stopped, &mut triggers).await?;
        mqtt::start(self, &loaded, options, &stopped, &mut triggers).await?;
        sqs::start(self, &loaded, options, &stopped, &mut triggers)?;
        cron::start(self, &loaded, &stopped, &mut triggers)?;
        Ok(triggers)
    }

    /// Runs the program of its first command trigger, which reads what this process reads. Returns its exit code: 1
    /// where it failed, which is in the app's log then.
    ///
    /// # Errors
    /// There is no such trigger, or the app cannot be loaded.
    pub async fn run_command(self: &Arc<Self>, arguments: Vec<String>) -> Result<u8, TriggerError> {
        let loaded = self.loaded().await?;
        let none = || TriggerError::Missing("the application has no command trigger".to_owned());
        let component: Arc<str> = loaded.events.command.first().ok_or_else(none)?.as_str().into();
        let program = Program { arguments, reads_stdin: true };
        let span = spans::of_event("spin_trigger_command.run");
        Ok(match self.handle("command", &component, Event::Command(program), span).await {
            Some(Reply::Exit(code)) => code,
            _ => 1,
        })
    }

    /// The value of a template of a trigger.
    fn resolve(
        &self,
        loaded: &Loaded,
        what: &'static str,
        template: &Template,
    ) -> Result<String, TriggerError> {
        let resolved = self.context().variables.resolve(&loaded.defaults, template);
        resolved.map_err(|error| TriggerError::Template {
            what,
            template: template.to_string(),
            source: error.into(),
        })
    }

    /// Writes into the app's log how a listener is doing.
    fn says_of_trigger(&self, text: &str) {
        tracing::info!(app.name = %self.spec().name, "{text}");
        self.says(&self.context().name, None, text);
    }

    /// Whether a message is within the limit that holds for requests' bodies. If not, that is in the log.
    fn admits(&self, component: &Arc<str>, length: usize) -> bool {
        let limit = self.context().limits.request_body_bytes;
        let Some(limit) = limit.filter(|limit| length as u64 > *limit) else { return true };
        let text = format!(
            "a message was dropped: request_body_bytes limit of {limit} reached: it has {length}"
        );
        self.says(component, None, &text);
        false
    }
}

/// A connection, encrypted or not.
trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// Where a listener connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    host: Host<String>,
    port: u16,
    is_tls: bool,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Server {
    /// Connects by the app's door: what its guests may not reach, its triggers may not, either.
    async fn connect(&self, app: &App) -> Result<Box<dyn Connection>, String> {
        let connect = async {
            let door = app.context().shared.door();
            let stream = door
                .connect(&self.host, self.port)
                .await
                .map_err(|error| gyre_telemetry::chain(&error))?;
            // So that a peer that went without a word is noticed.
            let (idle, interval) = KEEPALIVE;
            let kept = rustix::net::sockopt::set_socket_keepalive(&stream, true)
                .and_then(|()| rustix::net::sockopt::set_tcp_keepidle(&stream, idle))
                .and_then(|()| rustix::net::sockopt::set_tcp_keepintvl(&stream, interval));
            kept.map_err(|error| error.to_string())?;
            if !self.is_tls {
                return Ok(Box::new(stream) as Box<dyn Connection>);
            }
            let stream = handshake(stream, TlsPeer::Host(&self.host)).await;
            let (stream, _) = stream.map_err(|error| error.to_string())?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        };
        let late = |_| format!("no connection within {CONNECT_TIME:?}");
        tokio::time::timeout(CONNECT_TIME, connect).await.map_err(late)?
    }
}

/// The parts of a server's URL, of one of these schemes: plain and encrypted ones, each with its port.
fn server(
    kind: &'static str,
    text: &str,
    plain: &[&str],
    encrypted: &[&str],
    ports: (u16, u16),
) -> Result<(Server, Url), TriggerError> {
    let shown = || match Url::parse(text) {
        Ok(mut url) => {
            let _ = url.set_password(None);
            url.to_string()
        }
        Err(_) => text.to_owned(),
    };
    let wrong = |reason: String| TriggerError::Address { kind, address: shown(), reason };
    let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
    let is_tls = encrypted.contains(&url.scheme());
    if !is_tls && !plain.contains(&url.scheme()) {
        let known = [plain, encrypted].concat().join(", ");
        return Err(wrong(format!("expected one of the schemes {known}")));
    }
    // Hosts of schemes that the URL standard does not know are opaque to it.
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| wrong("it has no host".to_owned()))?;
    let host = Host::parse(host).map_err(|error| wrong(error.to_string()))?;
    let port = url.port().unwrap_or(if is_tls { ports.1 } else { ports.0 });
    Ok((Server { host, port, is_tls }, url))
}

#[cfg(test)]
mod tests;
