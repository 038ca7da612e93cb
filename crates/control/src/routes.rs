//! What is served, as it was published last.
//!
//! The table here and the one that the publisher has are the same at any time between two calls: both change under one lock.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use gyre_model::{AppId, ChannelId};

use crate::{RouteEntry, RoutePublisher};

type Entries = BTreeMap<ChannelId, Arc<RouteEntry>>;

#[derive(Default)]
pub(crate) struct RouteTable {
    entries: RwLock<Entries>,
    publishing: tokio::sync::Mutex<()>,
}

impl RouteTable {
    /// What a channel serves.
    pub(crate) fn of(&self, channel: ChannelId) -> Option<Arc<RouteEntry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(&channel).cloned()
    }

    /// Puts a channel's entry in place of the one it had.
    pub(crate) async fn set(&self, entry: RouteEntry, publisher: &dyn RoutePublisher) {
        self.change(publisher, |entries| {
            entries.insert(entry.channel, Arc::new(entry));
        })
        .await;
    }

    /// Takes out everything of an app.
    pub(crate) async fn remove_app(&self, app: AppId, publisher: &dyn RoutePublisher) {
        self.change(publisher, |entries| entries.retain(|_, entry| entry.app != app)).await;
    }

    /// Begins anew.
    pub(crate) async fn replace(&self, all: Vec<RouteEntry>, publisher: &dyn RoutePublisher) {
        self.change(publisher, |entries| {
            *entries = all.into_iter().map(|entry| (entry.channel, Arc::new(entry))).collect();
        })
        .await;
    }

    async fn change(&self, publisher: &dyn RoutePublisher, change: impl FnOnce(&mut Entries)) {
        let _turn = self.publishing.lock().await;
        let all = {
            let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut entries);
            entries.values().cloned().collect()
        };
        publisher.publish(all).await;
    }
}
