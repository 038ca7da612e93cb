//! The events that call apps: each app whose default channel serves an application with triggers besides HTTP has one set
//! of listeners on this node, its newest release's.
//!
//! They run on threads of their own, so that what tenants' components do with events holds up neither requests nor the
//! control plane.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gyre_model::AppId;
use gyre_runtime::{App, TriggerOptions, Triggers};
use jiff::Timestamp;
use tokio::{runtime::Runtime, sync::watch};

/// How long the listeners of a release that is replaced may take to end before nobody waits for them any more. They end
/// by themselves then.
const END_TIME: Duration = Duration::from_secs(5);

/// Before listeners that could not be started are tried again: the first time, and at most.
const RETRY_TIME: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The listeners of a node's apps.
pub(crate) struct Events {
    threads: Threads,
    apps: Mutex<Listening>,
}

#[derive(Default)]
struct Listening {
    apps: HashMap<AppId, Running>,
    /// Whether the node is being shut down, so that nothing starts any more.
    is_closed: bool,
}

/// The threads that events are dealt with on.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        // It may be dropped where nobody may wait.
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}

/// What one app is to listen to.
struct Running {
    wanted: watch::Sender<Wanted>,
    /// The number of the wish that it has got to: nothing of an earlier one listens any more.
    reached: watch::Receiver<u64>,
}

/// Whose triggers are to be listened to; nobody's in the end.
#[derive(Clone, Default)]
struct Wanted {
    number: u64,
    app: Option<Arc<App>>,
}

impl Events {
    /// # Errors
    /// The threads cannot be had.
    pub(crate) fn new() -> std::io::Result<Self> {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .thread_name("gyre-events")
            .enable_all()
            .build()?;
        Ok(Self { threads: Threads(Some(threads)), apps: Mutex::default() })
    }

    /// Makes `wanted` all that is listened to. What is no longer wanted, or replaced, has ended when this returns; what is
    /// new begins then.
    pub(crate) async fn set(&self, wanted: HashMap<AppId, Arc<App>>) {
        let ends = {
            let mut listening = self.lock();
            if listening.is_closed {
                return;
            }
            self.change(&mut listening.apps, wanted)
        };
        until_reached(ends).await;
    }

    /// Ends all listeners, lets what they called finish, at most for `grace`, and starts none any more.
    pub(crate) async fn stop(&self, grace: Duration) {
        let (apps, ends) = {
            let mut listening = self.lock();
            listening.is_closed = true;
            let running = listening.apps.values();
            let apps: Vec<_> = running.filter_map(|it| it.wanted.borrow().app.clone()).collect();
            (apps, self.change(&mut listening.apps, HashMap::new()))
        };
        let ended = async {
            until_reached(ends).await;
            futures::future::join_all(apps.iter().map(|app| app.drain(grace))).await;
        };
        let _ = tokio::time::timeout(grace, ended).await;
    }

    fn lock(&self) -> MutexGuard<'_, Listening> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what has changed. Returns what is to be waited for.
    fn change(
        &self,
        apps: &mut HashMap<AppId, Running>,
        mut wanted: HashMap<AppId, Arc<App>>,
    ) -> Vec<(watch::Receiver<u64>, u64)> {
        let mut ends = Vec::new();
        apps.retain(|id, running| {
            let app = wanted.remove(id);
            let is_the_same = match (&app, &running.wanted.borrow().app) {
                (Some(new), Some(old)) => Arc::ptr_eq(new, old),
                _ => false,
            };
            let is_wanted = app.is_some();
            if !is_the_same {
                running.wanted.send_modify(|it| *it = Wanted { number: it.number + 1, app });
                ends.push((running.reached.clone(), running.wanted.borrow().number));
            }
            is_wanted
        });
        let threads = self.threads.0.as_ref().expect("they are there until this is dropped");
        for (id, app) in wanted {
            let (wish, wanted) = watch::channel(Wanted { number: 0, app: Some(app) });
            let (reach, reached) = watch::channel(0);
            threads.spawn(listen(wanted, reach));
            apps.insert(id, Running { wanted: wish, reached });
        }
        ends
    }
}

async fn until_reached(ends: Vec<(watch::Receiver<u64>, u64)>) {
    let all = ends.into_iter().map(|(mut reached, number)| async move {
        // Who has ended altogether has reached everything.
        let _ = reached.wait_for(|it| *it >= number).await;
    });
    if tokio::time::timeout(END_TIME, futures::future::join_all(all)).await.is_err() {
        tracing::warn!("the listeners of a release that was replaced have not ended yet");
    }
}

/// Listens to what is wanted of one app, one release after the other.
async fn listen(mut wanted: watch::Receiver<Wanted>, reach: watch::Sender<u64>) {
    let mut since = None;
    loop {
        let Wanted { number, app } = wanted.borrow_and_update().clone();
        reach.send_replace(number);
        let Some(app) = app else { return };
        let triggers = tokio::select! {
            triggers = start(&app, since) => Some(triggers),
            changed = wanted.changed() => match changed {
                Ok(()) => None,
                // It is no longer listened to, and what replaces it was read above.
                Err(_) => return,
            },
        };
        if let Some(triggers) = triggers {
            let changed = wanted.changed().await;
            since = Some(triggers.end().await);
            if changed.is_err() {
                return;
            }
        }
    }
}

/// Starts an app's listeners, however often it takes: what they need may be out of reach for a while.
async fn start(app: &Arc<App>, since: Option<Timestamp>) -> Triggers {
    let (mut pause, longest) = RETRY_TIME;
    loop {
        let error = match app.start_triggers(&TriggerOptions { since, ..options() }).await {
            Ok(triggers) => return triggers,
            Err(error) => gyre_telemetry::chain(&error),
        };
        app.says_of_triggers(&format!(
            "the triggers cannot be started: {error}; trying again in {} s",
            pause.as_secs()
        ));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// How triggers run on a server: a broker that is away is no reason not to deploy, and the node's own environment is
/// nothing to the apps on it.
pub(crate) fn options() -> TriggerOptions {
    TriggerOptions { is_patient: true, ..TriggerOptions::default() }
}
