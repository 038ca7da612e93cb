//! What is fixed for an app and for a component, once, and shared by all of their instances.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use futures::future::BoxFuture;
use gyre_model::{Limits, LogSink};
use wasmtime_wasi::filesystem::Dir;
use wasmtime_wasi_http::WasiBody;

use crate::{
    App,
    capability::{AppShared, Grants, Variables},
    host::CallContext,
    spec::SelfOrigin,
};

/// What is fixed for an app when it is registered.
pub(crate) struct AppContext {
    /// Its name.
    pub(crate) name: Arc<str>,
    pub(crate) limits: Limits,
    /// Where its guests' output and the host's words about them go.
    pub(crate) log: Arc<dyn LogSink>,
    /// The app's variables, resolved at each use.
    pub(crate) variables: Arc<Variables>,
    /// Where requests to `self` go.
    pub(crate) self_origin: Option<SelfOrigin>,
    /// What the capabilities share between the instances of this app: connection pools, permits.
    pub(crate) shared: AppShared,
    pub(crate) app: Weak<App>,
}

/// What is fixed for a component when it is loaded.
pub(crate) struct ComponentContext {
    /// Its id in the app.
    pub(crate) id: Arc<str>,
    /// What it may do.
    pub(crate) grants: Grants,
    /// Its environment variables.
    pub(crate) env: Vec<(String, String)>,
    /// The folders it sees, opened once, and where it finds them.
    pub(crate) mounts: Vec<(Dir, String)>,
}

/// Why a chained call got no response of the other component.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChainError {
    /// The app has no such component, or it answers no HTTP.
    #[error("service chaining: this application has no HTTP component {0:?}")]
    NoSuchComponent(String),
    /// Components called one another too deeply.
    #[error("service chaining is limited to {0} calls within one another")]
    TooDeep(u32),
    /// The app was unloaded meanwhile.
    #[error("the application is being unloaded")]
    Gone,
}

impl AppContext {
    /// Calls another component of the app, in this task, as if its route were `/...`. Private ones, too.
    ///
    /// `request` has an absolute URI, whose authority becomes the callee's. Whatever goes wrong within the
    /// callee is a response (500, 503, 504), as it would be over the network.
    pub(crate) fn chain(
        &self,
        caller: CallContext,
        component: &str,
        request: http::Request<WasiBody>,
    ) -> BoxFuture<'static, Result<http::Response<WasiBody>, ChainError>> {
        let app = self.app.upgrade();
        let component = component.to_owned();
        Box::pin(async move {
            app.ok_or(ChainError::Gone)?.call_chained(caller, component, request).await
        })
    }
}

impl fmt::Debug for AppContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppContext").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for ComponentContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComponentContext").field("id", &self.id).finish_non_exhaustive()
    }
}
