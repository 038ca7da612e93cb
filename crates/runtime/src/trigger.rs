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

use std::{future::Future, sync::Arc, time::Duration};

use gyre_manifest::template::Template;
use gyre_telemetry::Clock;
use jiff::Timestamp;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use url::{Host, Url};

pub use self::sqs::SqsAccess;
use crate::{
    App, LoadError,
    capability::{ConnectError, secure},
    event::{Event, Reply},
    host::Program,
    loaded::Loaded,
    spans,
};

/// How long a connection may take to come about.
const CONNECT_TIME: Duration = Duration::from_secs(20);

/// How long a connection has to last so that the next attempt, when it is lost, need not wait any longer for the failures
/// before it.
const STEADY_TIME: Duration = Duration::from_secs(30);

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
    /// The app has more triggers besides HTTP than it may have.
    #[error(
        "event_triggers limit of {limit} reached: the application has {count} triggers besides HTTP"
    )]
    TooMany {
        /// How many it may have.
        limit: usize,
        /// How many it has.
        count: usize,
    },
    /// Events come from where the app may not connect to.
    #[error("the {kind} trigger may not connect to {server}: destination address is prohibited")]
    Prohibited {
        /// The trigger's type.
        kind: &'static str,
        /// Host and port.
        server: String,
    },
}

/// How an app's triggers run.
#[derive(Debug, Clone, Default)]
pub struct TriggerOptions {
    /// Whether a server that cannot be reached at the start is tried again and again, as one is that goes away later.
    /// Otherwise it is an error.
    pub is_patient: bool,
    /// With what queues are asked where the app's variables do not say. Without either, apps with a queue trigger are
    /// refused.
    pub sqs: Option<SqsAccess>,
    /// Until when the listeners that these follow dealt with the clock's events; by default until now.
    pub since: Option<Timestamp>,
}

/// The listeners of an app. They end when this is dropped; what they called runs on.
#[derive(Debug)]
pub struct Triggers {
    app: Arc<App>,
    tasks: JoinSet<()>,
    stop: watch::Sender<Option<Timestamp>>,
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

    /// Ends the listeners. What they called runs on. Returns the moment until which they dealt with the clock's events: those
    /// that come after it are their successors' (see [`TriggerOptions::since`]).
    pub async fn end(mut self) -> Timestamp {
        let now = Clock::System.now();
        self.stop.send_replace(Some(now));
        while self.tasks.join_next().await.is_some() {}
        now
    }

    /// Ends the listeners, and lets what they called finish, at most for `grace`.
    pub async fn stop(self, grace: Duration) {
        let app = self.app.clone();
        let ended = async {
            self.end().await;
            app.drain(grace).await;
        };
        let _ = tokio::time::timeout(grace, ended).await;
    }
}

/// Tells a listener that it is to end.
#[derive(Clone)]
struct Stop(watch::Receiver<Option<Timestamp>>);

impl Stop {
    /// Waits until it is to end, and says as of when.
    async fn wait(&mut self) -> Option<Timestamp> {
        // Whoever could say it has gone.
        self.0.wait_for(Option::is_some).await.ok().and_then(|at| *at)
    }

    /// Listens until it is to end.
    async fn or(mut self, listen: impl Future<Output = ()>) {
        tokio::select! {
            _ = self.wait() => {}
            () = listen => {}
        }
    }

    /// As of when it is to end, if it is.
    fn ended(&self) -> Option<Timestamp> {
        *self.0.borrow()
    }
}

/// What a listener works with.
#[derive(Clone)]
struct Listener {
    app: Arc<App>,
    stop: Stop,
    /// For as many messages as the app may have under way at once, whatever they come from. Where all are taken, a listener
    /// reads no further than one message: what else waits, waits at the server that it comes from.
    places: Arc<Semaphore>,
}

impl Listener {
    /// Waits until a further message may be dealt with.
    async fn place(&self) -> OwnedSemaphorePermit {
        self.places.clone().acquire_owned().await.expect("the semaphore is never closed")
    }
}

/// What an app's triggers come to: everything is read and resolved, nothing is connected to.
struct Plan {
    redis: Vec<redis::Subscription>,
    mqtt: Vec<mqtt::Subscription>,
    sqs: Vec<Arc<sqs::Queue>>,
    cron: Vec<cron::Schedule>,
}

impl Plan {
    fn new(app: &App, loaded: &Loaded, options: &TriggerOptions) -> Result<Self, TriggerError> {
        let events = &loaded.events;
        let count =
            [&events.redis.len(), &events.mqtt.len(), &events.sqs.len(), &events.cron.len()];
        let count = count.into_iter().sum();
        match app.context().limits.event_triggers {
            Some(limit) if count > limit => return Err(TriggerError::TooMany { limit, count }),
            _ => {}
        }
        Ok(Self {
            redis: redis::plan(app, loaded)?,
            mqtt: mqtt::plan(app, loaded)?,
            sqs: sqs::plan(app, loaded, options)?,
            cron: cron::plan(loaded)?,
        })
    }

    /// The servers that events come from.
    fn servers(&self) -> impl Iterator<Item = (&'static str, &Server)> {
        let redis = self.redis.iter().map(|it| ("redis", it.server()));
        let mqtt = self.mqtt.iter().map(|it| ("mqtt", it.server()));
        redis.chain(mqtt).chain(self.sqs.iter().map(|it| ("sqs", it.server())))
    }
}

impl App {
    /// Whether its triggers besides HTTP can be started: everything but whether the servers that events come from are there
    /// now.
    ///
    /// # Errors
    /// Why not.
    pub async fn check_triggers(
        self: &Arc<Self>,
        options: &TriggerOptions,
    ) -> Result<(), TriggerError> {
        let loaded = self.loaded().await?;
        let plan = Plan::new(self, &loaded, options)?;
        for (kind, server) in plan.servers() {
            let door = self.context().shared.door();
            let found = door.addresses(&server.host, server.port);
            // A name that has no address now may have one later.
            if let Ok(Err(ConnectError::Prohibited)) =
                tokio::time::timeout(CONNECT_TIME, found).await
            {
                return Err(TriggerError::Prohibited { kind, server: server.to_string() });
            }
        }
        Ok(())
    }

    /// Starts the listeners of its triggers besides HTTP and command, in tasks of the runtime that polls this.
    /// They run when this returns; if they are patient, they may not be connected yet.
    ///
    /// # Errors
    /// One cannot start. None runs then.
    pub async fn start_triggers(
        self: &Arc<Self>,
        options: &TriggerOptions,
    ) -> Result<Triggers, TriggerError> {
        let loaded = self.loaded().await?;
        let plan = Plan::new(self, &loaded, options)?;
        let (stop, stopped) = watch::channel(None);
        let places =
            self.context().limits.concurrency.map_or(Semaphore::MAX_PERMITS, |n| n as usize);
        let listener = Listener {
            app: self.clone(),
            stop: Stop(stopped),
            places: Arc::new(Semaphore::new(places.max(1))),
        };
        let mut triggers =
            Triggers { app: self.clone(), tasks: JoinSet::new(), stop, lines: Vec::new() };
        for subscription in plan.redis {
            let connection = first(options, subscription.connect(self)).await?;
            triggers.lines.extend(subscription.lines());
            let (stop, listener) = (listener.stop.clone(), listener.clone());
            triggers.tasks.spawn(stop.or(subscription.listen(listener, connection)));
        }
        for subscription in plan.mqtt {
            let session = first(options, subscription.connect(self)).await?;
            let (stop, listener) = (listener.stop.clone(), listener.clone());
            triggers.tasks.spawn(stop.or(subscription.listen(listener, session)));
        }
        for queue in plan.sqs {
            let (stop, listener) = (listener.stop.clone(), listener.clone());
            triggers.tasks.spawn(stop.or(queue.listen(listener)));
        }
        let since = options.since.unwrap_or_else(|| Clock::System.now());
        for schedule in plan.cron {
            triggers.tasks.spawn(schedule.listen(listener.clone(), Clock::System, since));
        }
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

    /// Writes into the app's log how its listeners are doing.
    pub fn says_of_triggers(&self, text: &str) {
        tracing::info!(app.name = %self.spec().name, "{text}");
        self.says(&self.context().name, None, text);
    }

    /// The largest message that is read.
    fn event_bytes(&self) -> usize {
        self.context().limits.event_bytes
    }
}

/// The first connection of a listener: there is none yet if it is patient.
async fn first<T>(
    options: &TriggerOptions,
    connect: impl Future<Output = Result<T, String>>,
) -> Result<Option<T>, TriggerError> {
    if options.is_patient {
        return Ok(None);
    }
    connect.await.map(Some).map_err(TriggerError::Connect)
}

/// A connection, encrypted or not.
trait Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection for T {}

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
            let stream =
                secure(stream, &self.host, None).await.map_err(|error| error.to_string())?;
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
