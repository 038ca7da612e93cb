//! One change of an app's releases at a time, so that a release never carries variables older than those of the one before it.

use gyre_model::AppId;
use tokio::sync::{Mutex, MutexGuard};

/// A fixed number of locks that the apps share.
pub(crate) struct AppLocks([Mutex<()>; 64]);

impl Default for AppLocks {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl AppLocks {
    /// Waits for the app's turn. Not to be taken twice.
    pub(crate) async fn of(&self, app: AppId) -> MutexGuard<'_, ()> {
        // The last bytes of the id are random.
        let index = usize::from(app.as_uuid().as_bytes()[15]) % self.0.len();
        self.0[index].lock().await
    }
}
