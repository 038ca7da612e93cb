//! How a release comes to serve: prepared apart, then switched to in one step.
//!
//! In a channel there is one activation at a time, and the newest release wins: it makes an older one that is still being prepared
//! give up. A release that fails changes nothing but its own row, where the reason is kept.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::FutureExt as _;
use gyre_model::{ChannelId, Digest, ReleaseId};
use gyre_package::artifact::{self, ArtifactError, BlobSource, Contents};
use gyre_store::{Activation, Blobs, Release, ReleaseState, Revision};
use gyre_telemetry::chain;
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ActivationError, Actor, AppRef, Control, Error, ErrorKind, ReleaseSpec, ReleaseView, Result,
};

/// What a release may take to get ready, all in all. Compilation has its own, tighter limits.
const PREPARE_TIME: Duration = Duration::from_mins(10);
/// The longest reason that is kept, in bytes.
const REASON_BYTES: usize = 8 << 10;
/// How often the platform's own rubbish is thrown away.
const SWEEP_INTERVAL: Duration = Duration::from_hours(1);
/// Uploads that nobody has written to for so long are given up.
const UPLOAD_IDLE: Duration = Duration::from_hours(24);

/// The activations that are under way.
pub(crate) struct Activations {
    tracker: TaskTracker,
    stop: CancellationToken,
    under_way: Mutex<HashMap<ChannelId, UnderWay>>,
    changed: watch::Sender<()>,
}

struct UnderWay {
    release: ReleaseId,
    /// Asks it to give up.
    cancel: CancellationToken,
    /// Cancelled once it has ended, one way or the other.
    ended: CancellationToken,
}

impl Default for Activations {
    fn default() -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            under_way: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl Activations {
    fn under_way(&self) -> MutexGuard<'_, HashMap<ChannelId, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody is working on the release.
    pub(crate) fn is_under_way(&self, release: ReleaseId) -> bool {
        self.under_way().values().any(|other| other.release == release)
    }

    /// Cancelled when the platform stops.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Makes the channel's activation give up, if it has not switched yet.
    pub(crate) fn cancel(&self, channel: ChannelId) {
        if let Some(running) = self.under_way().get(&channel) {
            running.cancel.cancel();
        }
    }
}

/// The blob store as `package` looks at it.
#[derive(Clone)]
pub(crate) struct BlobFiles(pub(crate) Blobs);

impl BlobSource for BlobFiles {
    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        self.0.path(digest)
    }
}

impl Control {
    /// Publishes what is served, takes up the releases that were unfinished when the last process ended, and begins to tidy
    /// up every hour. To be called once.
    pub async fn start(self: &Arc<Self>) -> Result<()> {
        let routes = self.releases.routes().await?;
        self.routes.replace(routes, &*self.publisher).await;
        for release in self.db.unfinished_releases().await? {
            self.launch(&release);
        }
        let this = self.clone();
        self.activations.tracker.spawn(async move {
            let stop = this.activations.stop.clone();
            loop {
                this.sweep().await;
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(SWEEP_INTERVAL) => {}
                }
            }
        });
        Ok(())
    }

    /// Lets what is under way come to a point where it can be taken up again, and returns then.
    pub async fn stop(&self) {
        self.activations.stop.cancel();
        self.activations.tracker.close();
        self.activations.tracker.wait().await;
    }

    async fn sweep(&self) {
        let now = self.clock.now();
        // A renewal shows the expired token, too: it is kept as long as it can be renewed.
        let old = now - jiff::SignedDuration::from_hours(24 * 100);
        let day = now - jiff::SignedDuration::from_hours(24);
        let rows = async {
            self.db.purge_tokens(old).await?;
            self.db.purge_device_codes(day).await
        };
        if let Err(error) = rows.await {
            tracing::warn!(error = chain(&error), "cannot remove old tokens and codes");
        }
        if let Err(error) = self.blobs.sweep(UPLOAD_IDLE).await {
            tracing::warn!(error = chain(&error), "cannot remove old uploads");
        }
    }

    /// Begins to make a release active. What the channel was preparing gives up.
    pub(crate) fn launch(self: &Arc<Self>, release: &Release) {
        let (id, channel) = (release.id, release.channel);
        let cancel = self.activations.stop.child_token();
        let ended = CancellationToken::new();
        let entry = UnderWay { release: id, cancel: cancel.clone(), ended: ended.clone() };
        let before = self.activations.under_way().insert(channel, entry);
        let this = self.clone();
        self.activations.tracker.spawn(async move {
            if let Some(before) = before {
                before.cancel.cancel();
                before.ended.cancelled().await;
            }
            this.activate(id, &cancel).await;
            {
                let mut under_way = this.activations.under_way();
                if under_way.get(&channel).is_some_and(|entry| entry.release == id) {
                    under_way.remove(&channel);
                }
            }
            ended.cancel();
            this.activations.changed.send_replace(());
        });
    }

    async fn activate(&self, id: ReleaseId, cancel: &CancellationToken) {
        let prepared = tokio::select! {
            prepared = self.prepare(id) => prepared,
            () = cancel.cancelled() => return,
        };
        let result = match prepared {
            Ok(Prepared::Ready) => self.retry(|| self.switch(id)).await,
            Ok(Prepared::Waits(reason)) => {
                self.retry(|| self.note(id, ReleaseState::Pending, Some(reason.clone()))).await
            }
            Ok(Prepared::Overtaken) => Ok(()),
            Ok(Prepared::Fails(error)) => {
                tracing::info!(release.id = %id, code = error.code, "a release failed");
                let reason = Some(cut(error.message, REASON_BYTES));
                self.retry(|| self.note(id, ReleaseState::Failed, reason.clone())).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = result else { return };
        tracing::error!(release.id = %id, error = chain(&error), "a release could not be activated");
        // The row may be out of reach, too; then the release is taken up again at the next start.
        let reason = format!("the server failed while it activated the release: {error}");
        let _ = self.note(id, ReleaseState::Failed, Some(reason)).await;
    }

    /// Everything that changes nothing for anybody.
    async fn prepare(&self, id: ReleaseId) -> Result<Prepared> {
        if !self.db.set_release_state(id, ReleaseState::Preparing, None, self.clock.now()).await? {
            return Ok(Prepared::Overtaken);
        }
        let spec = self.releases.spec(id).await?;
        let contents = match self.inspect(&spec.manifest).await? {
            Ok(contents) => contents,
            Err(error) => {
                return Ok(Prepared::Fails(ActivationError::new(
                    "artifact.invalid",
                    chain(&error),
                )));
            }
        };
        let missing = missing(&contents, |name| spec.variables.contains_key(name));
        if !missing.is_empty() {
            return Ok(Prepared::Waits(waits_for(&missing, &spec)));
        }
        let prepared = AssertUnwindSafe(self.activator.prepare(spec)).catch_unwind();
        Ok(match tokio::time::timeout(PREPARE_TIME, prepared).await {
            Ok(Ok(Ok(()))) => Prepared::Ready,
            Ok(Ok(Err(error))) => Prepared::Fails(error),
            Ok(Err(_)) => Prepared::Fails(ActivationError::new(
                "internal",
                "the server failed while it prepared the release; its log says why",
            )),
            Err(_) => Prepared::Fails(ActivationError::new(
                "activation.timeout",
                format!("the release was not ready after {} seconds", PREPARE_TIME.as_secs()),
            )),
        })
    }

    /// The switch: one step in the database, then the routes. Nothing stops it halfway.
    async fn switch(&self, id: ReleaseId) -> Result<()> {
        let release = self.db.release(id).await?;
        let Some(release) = release else { return Ok(()) };
        // An app that is deleted meanwhile must not come back.
        let _turn = self.locks.of(release.app).await;
        match self.db.activate_release(id, self.clock.now()).await? {
            Activation::Overtaken => Ok(()),
            Activation::Active { .. } => {
                let route = self.releases.spec(id).await?.route;
                tracing::info!(
                    app.name = route.app_name,
                    release.id = %id,
                    revision.digest = %route.digest,
                    "a release is active"
                );
                self.routes.set(route, &*self.publisher).await;
                Ok(())
            }
        }
    }

    async fn note(&self, id: ReleaseId, state: ReleaseState, reason: Option<String>) -> Result<()> {
        self.db.set_release_state(id, state, reason, self.clock.now()).await?;
        Ok(())
    }

    /// Does `step` until it succeeds, a few times: a database that is busy, or a disk that is full, may be so for a moment.
    async fn retry<F: Future<Output = Result<()>>>(&self, step: impl Fn() -> F) -> Result<()> {
        let mut wait = Duration::from_millis(200);
        for _ in 0..4 {
            match step().await {
                Err(error)
                    if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::StorageFull) =>
                {
                    tracing::warn!(error = chain(&error), "an activation waits");
                    tokio::time::sleep(wait).await;
                    wait *= 3;
                }
                result => return result,
            }
        }
        step().await
    }

    /// What an artifact says; the inner error is the artifact's own fault.
    pub(crate) async fn inspect(
        &self,
        manifest: &[u8],
    ) -> Result<std::result::Result<Contents, ArtifactError>> {
        let blobs = BlobFiles(self.blobs.clone());
        let manifest = manifest.to_vec();
        tokio::task::spawn_blocking(move || artifact::inspect(&manifest, &blobs))
            .await
            .map_err(Error::internal)
    }

    /// The variables that a release needs and nobody has set.
    pub(crate) async fn missing_variables(
        &self,
        release: &Release,
        revision: &Revision,
    ) -> Result<Vec<String>> {
        let Ok(contents) = self.inspect(&revision.manifest).await? else { return Ok(Vec::new()) };
        let version = release.variables_version;
        let set = self.db.variables(release.app, Some(release.channel), version).await?;
        Ok(missing(&contents, |name| set.iter().any(|variable| variable.name == name)))
    }

    /// A release as it is now.
    pub async fn release(&self, actor: &Actor, app: &AppRef, id: ReleaseId) -> Result<ReleaseView> {
        let app = self.find_app(actor, app).await?;
        let release = self
            .db
            .release(id)
            .await?
            .filter(|release| release.app == app.id)
            .ok_or_else(|| Error::not_found(format!("release '{id}'")))?;
        self.release_view(&app, release).await
    }

    /// A release once nobody is working on it any more, or as it is after `time`.
    ///
    /// One that is active is served when this returns.
    pub async fn wait_for_release(
        &self,
        actor: &Actor,
        app: &AppRef,
        id: ReleaseId,
        time: Duration,
    ) -> Result<ReleaseView> {
        let deadline = Instant::now() + time;
        let mut changed = self.activations.changed.subscribe();
        loop {
            changed.borrow_and_update();
            // Asked before the row is read: if nobody is at work now, the row is the last word.
            let is_under_way = self.activations.is_under_way(id);
            let release = self.release(actor, app, id).await?;
            if !is_under_way || Instant::now() >= deadline {
                return Ok(release);
            }
            let _ = tokio::time::timeout_at(deadline, changed.changed()).await;
        }
    }
}

enum Prepared {
    Ready,
    /// For its owner, who reads why.
    Waits(String),
    Fails(ActivationError),
    /// A newer release was made, or the app deleted.
    Overtaken,
}

/// The variables without a default that nobody has set, in the order of their definition.
fn missing(contents: &Contents, is_set: impl Fn(&str) -> bool) -> Vec<String> {
    let variables = contents.locked.variables.iter();
    let required = variables.filter(|(_, variable)| variable.default.is_none());
    required.map(|(name, _)| name.clone()).filter(|name| !is_set(name)).collect()
}

fn waits_for(missing: &[String], spec: &ReleaseSpec) -> String {
    let names: Vec<_> = missing.iter().map(|name| format!("'{name}'")).collect();
    let (noun, verb) = if missing.len() == 1 { ("variable", "has") } else { ("variables", "have") };
    format!(
        "the required {noun} {} {verb} no value; set it with `gyre variables set --app {} {}=…` and the release goes on",
        names.join(", "),
        spec.route.app_name,
        missing[0],
    )
}

/// `text`, at most `bytes` long, cut between characters.
fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
    text
}
