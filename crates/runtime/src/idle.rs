//! Which apps stay loaded: those in use, and as many others as there is room for.
//!
//! A loaded app holds mappings and descriptors, of which a process has a limited number, and memory. One that nobody
//! asked for in a while is let go of, and so is the least used one when there are too many: it costs the next
//! request to it a few milliseconds.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use crate::{App, engine::EPOCH};

/// How often is looked for apps to let go of.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);

/// The apps that are loaded, as far as is known.
pub(crate) struct LoadedApps {
    apps: Mutex<Vec<Weak<App>>>,
    /// Ticks after which an app is idle.
    idle_ticks: Option<u64>,
    max_loaded: usize,
}

impl LoadedApps {
    pub(crate) fn new(idle_time: Option<Duration>, max_loaded: usize) -> Self {
        let ticks = |time: Duration| (time.as_millis() / EPOCH.as_millis()) as u64;
        Self { apps: Mutex::default(), idle_ticks: idle_time.map(ticks), max_loaded }
    }

    /// Notes an app that was loaded, and makes room for it.
    pub(crate) fn add(&self, app: &Arc<App>, now: u64) {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        if !apps.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(app))) {
            apps.push(Arc::downgrade(app));
        }
        if apps.len() > self.max_loaded {
            self.make_room(&mut apps, now);
        }
    }

    /// Lets go of idle apps.
    pub(crate) fn sweep(&self, now: u64) {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        self.make_room(&mut apps, now);
    }

    fn make_room(&self, apps: &mut Vec<Weak<App>>, now: u64) {
        let mut unused = Vec::new();
        apps.retain(|known| {
            let Some(app) = known.upgrade().filter(|app| app.is_loaded()) else { return false };
            if app.in_flight() == 0 {
                unused.push(app);
            }
            true
        });
        // The least recently used first.
        unused.sort_by_key(|app| app.last_used());
        let mut too_many = apps.len().saturating_sub(self.max_loaded);
        for app in unused {
            let idle = now.saturating_sub(app.last_used());
            if too_many == 0 && self.idle_ticks.is_none_or(|limit| idle <= limit) {
                break;
            }
            too_many = too_many.saturating_sub(1);
            app.unload();
        }
        apps.retain(|known| known.upgrade().is_some_and(|app| app.is_loaded()));
    }
}
