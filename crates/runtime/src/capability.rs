//! What the host lets a component do beyond WASI's own: key-value stores, databases, variables and the network.
//!
//! One module for each capability. Each has one implementation, in the newest shape, on which the versions of
//! its interface are thin adapters. The invariant: every interface is linked for every component, and whether a
//! component may use it is decided by its [`Grants`], at the call.

mod bindings;
mod egress;
mod grants;
mod http_out;
mod key_value;
mod llm;
mod mqtt;
mod mysql;
mod network;
mod otel;
mod postgres;
mod redis;
mod server;
mod sockets;
mod sql;
mod sqlite;
#[cfg(test)]
mod tests;
mod traced;
mod variables;

use std::sync::Arc;

use gyre_telemetry::TraceContext;
use wasmtime::component::Linker;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi_http::WasiHttpHooks;

pub(crate) use bindings::http as spin_http;
pub use egress::{ClientTls, ClientTlsError, ClientTlsSettings};
pub(crate) use egress::{ConnectError, Door, secure};
pub use grants::DataGrants;
pub(crate) use grants::{GrantError, Grants};
pub use llm::{LlmBackend, LlmProtocol};
pub(crate) use otel::{PACKAGE as OTEL, add_to_linker as add_otel_to_linker};
pub use variables::{
    AzureCloud, AzureKeyVault, AzurePrincipal, RemoteVariables, Variables, VariablesProvider, Vault,
};
pub(crate) use variables::{Defaults, defaults};

use self::traced::InstanceTrace;
use crate::{
    context::{AppContext, ComponentContext},
    guest_log::host_says,
    host::{CallContext, HostState},
    spec::AppSpec,
};

/// What the capabilities share between all instances of an app.
pub(crate) struct AppShared {
    /// The app's way to the outside.
    egress: egress::Door,
    /// Its idle connections.
    connections: Arc<http_out::Pool>,
    /// How TLS is spoken with some hosts.
    client_tls: Vec<ClientTls>,
    /// The host that is spoken HTTP/2 with in the clear.
    h2c_authority: Option<String>,
    /// The longest payload of an MQTT message, in bytes.
    mqtt_payload_bytes: Option<u64>,
    /// Its connections to PostgreSQL.
    postgres: postgres::Pools,
    /// Its language models.
    models: Arc<llm::Models>,
}

impl AppShared {
    /// The app's way to the outside, for its triggers.
    pub(crate) fn door(&self) -> &Door {
        &self.egress
    }

    pub(crate) fn new(spec: &AppSpec) -> Self {
        Self {
            egress: egress::Door::new(spec.block_private_networks, spec.limits.outbound_per_app)
                .blocking(spec.blocked_networks.clone())
                .limiting(spec.outbound.connections),
            connections: Arc::new(http_out::Pool::new(spec.outbound.is_http_pooled)),
            client_tls: spec.outbound.client_tls.clone(),
            h2c_authority: spec.outbound.h2c_authority.clone(),
            mqtt_payload_bytes: spec.outbound.mqtt_payload_bytes,
            postgres: postgres::Pools::default(),
            models: llm::Models::new(spec.llm.clone()),
        }
    }
}

/// What the capabilities keep for one instance. Made for every request: nothing is allocated before the guest
/// asks for something.
pub(crate) struct State {
    http: http_out::Hooks,
    /// Sockets that were opened.
    sockets: Option<sockets::Used>,
    /// Databases that are open.
    databases: usize,
    /// Connections to Redis servers that are open.
    redis: usize,
    /// Those of the interface that names the server at each call.
    redis_by_address: Vec<(String, redis::Connection)>,
    /// Connections to MQTT servers that are open.
    mqtt: usize,
    /// Connections to PostgreSQL that are open.
    postgres: usize,
    /// Connections to MySQL that are open.
    mysql: usize,
}

impl State {
    pub(crate) fn new(
        app: &Arc<AppContext>,
        component: &Arc<ComponentContext>,
        call: CallContext,
        trace: &TraceContext,
    ) -> Self {
        let trace = InstanceTrace::new(trace);
        let origin = Origin { app: app.clone(), component: component.clone(), call, trace };
        Self {
            http: http_out::Hooks::new(origin),
            sockets: None,
            databases: 0,
            redis: 0,
            redis_by_address: Vec::new(),
            mqtt: 0,
            postgres: 0,
            mysql: 0,
        }
    }

    /// Where what is asked belongs.
    fn trace(&self) -> &InstanceTrace {
        &self.http.origin().trace
    }

    /// Who asks.
    fn origin(&self) -> &Origin {
        self.http.origin()
    }

    /// How `wasi:http` sends requests.
    pub(crate) fn http_hooks(&mut self) -> &mut dyn WasiHttpHooks {
        &mut self.http
    }

    /// Sets which sockets the guest may use. Names are not looked up for guests (Spin does not, either).
    pub(crate) fn configure_wasi(&mut self, wasi: &mut WasiCtxBuilder) {
        let used = self.sockets.get_or_insert_default();
        sockets::configure(self.http.origin(), used, wasi);
    }

    /// Whether the guest has sockets, or had ones whose permits are free only when the instance ends.
    pub(crate) fn holds_sockets(&self) -> bool {
        self.sockets.as_ref().is_some_and(sockets::Used::holds_any)
    }

    /// From now on it is that call which asks.
    pub(crate) fn serve(&mut self, call: CallContext, trace: &TraceContext) {
        let origin = self.http.origin_mut();
        origin.call = call;
        origin.trace.set(trace);
    }
}

/// Who asks: the instance's app and component, and the call that it serves.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) app: Arc<AppContext>,
    pub(crate) component: Arc<ComponentContext>,
    pub(crate) call: CallContext,
    /// Where its spans belong.
    pub(crate) trace: InstanceTrace,
}

impl Origin {
    /// Writes the host's word into the app's log.
    fn log(&self, text: &str) {
        host_says(&self.app.log, &self.component.id, self.call.request, text);
    }
}

/// Links the capabilities' interfaces.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    key_value::add_to_linker(linker)?;
    sqlite::add_to_linker(linker)?;
    variables::add_to_linker(linker)?;
    redis::add_to_linker(linker)?;
    mqtt::add_to_linker(linker)?;
    postgres::add_to_linker(linker)?;
    mysql::add_to_linker(linker)?;
    llm::add_to_linker(linker)?;
    http_out::add_to_linker(linker)
}

/// Links those of the capabilities' interfaces that have asynchronous functions or streams.
pub(crate) fn add_async_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    redis::add_async_to_linker(linker)?;
    mqtt::add_async_to_linker(linker)?;
    postgres::add_async_to_linker(linker)?;
    mysql::add_async_to_linker(linker)?;
    key_value::add_async_to_linker(linker)?;
    sqlite::add_async_to_linker(linker)?;
    variables::add_async_to_linker(linker)?;
    http_out::add_async_to_linker(linker)
}
