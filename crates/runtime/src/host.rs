//! What the host keeps for one instance, and how the interfaces reach it.
//!
//! The seam between the engine's side of this crate and `capability`: the state of the capabilities is
//! `HostState::capabilities`, whatever an app or a component fixes once is behind `app` and `component`.
//! Nothing here is built before a guest asks for it, since most requests ask for next to nothing.

mod cli;
mod clocks;
mod preopens;
mod random;

use std::sync::Arc;

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::{
    capability,
    context::{AppContext, ComponentContext},
    limiter::MemoryLimiter,
    log::GuestOutput,
};

/// The call that an instance serves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallContext {
    /// Its name in the logs.
    pub(crate) request: Option<gyre_model::RequestId>,
    /// How many calls of service chaining it is away from the outside: 0 for a client's request.
    pub(crate) depth: u32,
}

/// The host's state of one instance.
pub(crate) struct HostState {
    /// The guest's handles.
    pub(crate) table: ResourceTable,
    /// What wasmtime-wasi keeps, made when the guest first needs it; reached by [`WasiView::ctx`].
    wasi: Option<WasiCtx>,
    http: WasiHttpCtx,
    /// The app, as fixed when it was registered.
    pub(crate) app: Arc<AppContext>,
    /// The component, as fixed when it was loaded.
    pub(crate) component: Arc<ComponentContext>,
    /// The capabilities' state. Gives the HTTP hooks by `State::http_hooks`.
    pub(crate) capabilities: capability::State,
    /// The call being served.
    #[allow(dead_code, reason = "capabilities read it")]
    pub(crate) call: CallContext,
    pub(crate) limiter: MemoryLimiter,
    output: GuestOutput,
}

/// Names [`HostState`] itself as what an interface's functions work on.
pub(crate) struct HasHost;

impl HasData for HasHost {
    type Data<'a> = &'a mut HostState;
}

impl HostState {
    pub(crate) fn new(
        app: Arc<AppContext>,
        component: Arc<ComponentContext>,
        call: CallContext,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(app.limits.resource_table_entries);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(app.limits.fields_bytes);
        Self {
            table,
            wasi: None,
            http,
            capabilities: capability::State::new(&app, &component, call),
            limiter: MemoryLimiter::new(&app.limits),
            output: GuestOutput::new(&app, &component, call.request),
            app,
            component,
            call,
        }
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| {
            let mut builder = WasiCtx::builder();
            self.capabilities.configure_wasi(&mut builder);
            builder.build()
        });
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl WasiHttpView for HostState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: self.capabilities.http_hooks(),
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

/// Links WASI 0.2 and `wasi:http` 0.2. What every request may touch (standard streams, environment, clocks,
/// random numbers, preopened folders) is served from [`HostState`] itself; files and sockets come from
/// wasmtime-wasi.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    use wasmtime_wasi::{
        filesystem::{WasiFilesystem, WasiFilesystemView as _},
        p2::bindings::{filesystem, sockets},
        sockets::{WasiSockets, WasiSocketsView as _},
    };
    wasmtime_wasi_io::add_to_linker_async(linker)?;
    cli::add_to_linker(linker)?;
    clocks::add_to_linker(linker)?;
    random::add_to_linker(linker)?;
    preopens::add_to_linker(linker)?;
    let l = linker;
    filesystem::types::add_to_linker::<HostState, WasiFilesystem>(l, HostState::filesystem)?;
    sockets::tcp::add_to_linker::<HostState, WasiSockets>(l, HostState::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<HostState, WasiSockets>(l, HostState::sockets)?;
    sockets::udp::add_to_linker::<HostState, WasiSockets>(l, HostState::sockets)?;
    sockets::udp_create_socket::add_to_linker::<HostState, WasiSockets>(l, HostState::sockets)?;
    sockets::instance_network::add_to_linker::<HostState, WasiSockets>(l, HostState::sockets)?;
    let options = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<HostState, WasiSockets>(l, &options, HostState::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<HostState, WasiSockets>(l, HostState::sockets)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(l)
}
