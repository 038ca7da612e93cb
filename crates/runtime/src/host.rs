//! What the host keeps for one instance, and how the interfaces reach it.
//!
//! The seam between the engine's side of this crate and `capability`: the state of the capabilities is
//! `HostState::capabilities`, whatever an app or a component fixes once is behind `app` and `component`.
//! Nothing here is built before a guest asks for it, since most requests ask for next to nothing.

mod cli;
mod clocks;
mod preopens;
mod random;
pub(crate) mod snapshots;
mod wasi03;

use std::sync::Arc;

use gyre_model::LogStream;
use gyre_telemetry::{TraceContext, metrics};
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};
use wasmtime_wasi::{
    WasiCtx, WasiCtxView, WasiView,
    sockets::{WasiSocketsCtx, WasiSocketsCtxView, WasiSocketsView},
};
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::{
    call::CallState,
    capability,
    context::{AppContext, ComponentContext},
    guest_log::GuestStream,
    limiter::MemoryLimiter,
};

/// The call that an instance serves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallContext {
    /// Its name in the logs.
    pub(crate) request: Option<gyre_model::RequestId>,
    /// How many calls of service chaining it is away from the outside: 0 for a client's request.
    pub(crate) depth: u32,
}

/// What a program is run with, beside its component's environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    /// Its arguments, without its name.
    pub(crate) arguments: Vec<String>,
    /// Whether it reads what this process reads; otherwise there is nothing to read.
    pub(crate) reads_stdin: bool,
}

/// What a program of the common gateway interface is given instead, for one request.
pub(crate) struct Gateway {
    /// Its environment, the component's included.
    pub(crate) env: Vec<(String, String)>,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// Its standard input; taken when it is first asked for.
    pub(crate) stdin: Option<DynInputStream>,
    /// Makes a handle of its standard output.
    pub(crate) stdout: Box<dyn Fn() -> DynOutputStream + Send>,
}

/// The host's state of one instance.
pub(crate) struct HostState {
    /// The guest's handles.
    pub(crate) table: ResourceTable,
    /// What wasmtime-wasi keeps for files and sockets, made when the guest first needs it; reached by
    /// [`WasiView::ctx`].
    wasi: Option<WasiCtx>,
    /// What it keeps for sockets that have no part of their own.
    shared_sockets: Option<WasiSocketsCtx>,
    http: WasiHttpCtx,
    /// The app, as fixed when it was registered.
    pub(crate) app: Arc<AppContext>,
    /// The component, as fixed when it was loaded.
    pub(crate) component: Arc<ComponentContext>,
    /// The capabilities' state. Gives the HTTP hooks by `State::http_hooks`.
    pub(crate) capabilities: capability::State,
    pub(crate) limiter: MemoryLimiter,
    /// Its processor time and why it was stopped.
    pub(crate) state: Arc<CallState>,
    call: CallContext,
    /// What it is run with, where it is a program.
    pub(crate) program: Program,
    /// There where it answers a request as a program.
    pub(crate) gateway: Option<Box<Gateway>>,
    stdout: Option<GuestStream>,
    stderr: Option<GuestStream>,
    /// Bytes of its linear memories when it had been instantiated for a call.
    initial_memory: Option<u64>,
}

/// Names [`HostState`] itself as what an interface's functions work on.
pub(crate) struct HasHost;

impl HasData for HasHost {
    type Data<'a> = &'a mut HostState;
}

/// Names the table of handles as what an interface's functions work on.
struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

impl HostState {
    pub(crate) fn new(
        app: Arc<AppContext>,
        component: Arc<ComponentContext>,
        call: CallContext,
        state: Arc<CallState>,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(app.limits.resource_table_entries);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(app.limits.fields_bytes);
        Self {
            table,
            wasi: None,
            shared_sockets: None,
            http,
            capabilities: capability::State::new(&app, &component, call, state.trace()),
            limiter: MemoryLimiter::new(&app.limits, state.clone()),
            state,
            app,
            component,
            call,
            program: Program::default(),
            gateway: None,
            stdout: None,
            stderr: None,
            initial_memory: None,
        }
    }

    /// From now on the instance serves that call, or several of which that is the common part.
    pub(crate) fn serve(&mut self, call: CallContext, state: Arc<CallState>) {
        self.call = call;
        self.capabilities.serve(call, state.trace());
        self.limiter.note_in(state.clone());
        self.state = state;
        for stream in [&self.stdout, &self.stderr].into_iter().flatten() {
            stream.write_for(call.request, self.state.trace());
        }
    }

    /// Whether the instance holds something that only its end sets free, so that it should not serve on and on.
    pub(crate) fn is_spent(&self) -> bool {
        self.capabilities.holds_sockets()
    }

    /// A standard stream of the guest. All handles to it are one stream, so that lines stay whole.
    fn output(&mut self, stream: LogStream) -> GuestStream {
        let place = match stream {
            LogStream::Stderr => &mut self.stderr,
            _ => &mut self.stdout,
        };
        let new = || {
            let (app, component, trace) = (&self.app, &self.component, self.state.trace());
            GuestStream::new(&app.log, &app.name, &component.id, self.call.request, stream, trace)
        };
        place.get_or_insert_with(new).clone()
    }

    /// Notes that it has been instantiated for a call.
    pub(crate) fn instantiated(&mut self) {
        self.initial_memory = Some(self.limiter.used());
    }

    /// Where the spans of the call belong that it serves.
    pub(crate) fn trace(&self) -> &TraceContext {
        self.state.trace()
    }
}

impl Drop for HostState {
    fn drop(&mut self) {
        if let Some(initial) = self.initial_memory {
            metrics::memory(&self.component.id, initial, self.limiter.used());
        }
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| {
            let mut ctx = wasi(&mut self.capabilities);
            self.shared_sockets = Some(ctx.sockets().clone());
            ctx
        });
        WasiCtxView { ctx, table: &mut self.table }
    }
}

fn wasi(capabilities: &mut capability::State) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    capabilities.configure_wasi(&mut builder);
    builder.build()
}

impl HostState {
    /// What the functions of sockets work on. Sockets that are created here (those of WASI 0.3, whose streams may outlive
    /// them) take permits that are free when the instance ends.
    pub(crate) fn sockets(&mut self) -> WasiSocketsCtxView<'_> {
        // That a socket of `new_socket` is no longer the newest lets go of its check when it is dropped.
        let _ = self.ctx();
        let shared = self.shared_sockets.clone();
        let view = WasiSocketsView::sockets(self);
        if let Some(shared) = shared {
            *view.ctx = shared;
        }
        view
    }

    /// The same for what creates a socket of WASI 0.2, which all that belongs to it is dropped before: its permit is free
    /// when it is dropped.
    pub(crate) fn new_socket(&mut self) -> WasiSocketsCtxView<'_> {
        let mut own = wasi(&mut self.capabilities);
        let view = self.sockets();
        view.ctx.clone_from(own.sockets());
        view
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

/// Links what only components with the component model's own concurrency import: WASI 0.3 and the types of its
/// `wasi:http`, whose client is a capability.
pub(crate) fn add_async_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasi03::add_to_linker(linker)?;
    wasmtime_wasi_http::p3::bindings::http::types::add_to_linker::<_, WasiHttp>(
        linker,
        HostState::http,
    )
}

/// Links WASI 0.2 with its two release candidates, and the types of `wasi:http` 0.2, whose outgoing handler is a
/// capability.
///
/// What nearly every request touches (standard streams, environment, clocks, random numbers, the names of folders)
/// is served from [`HostState`] itself; files and sockets are wasmtime-wasi's.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    use wasmtime_wasi::{
        filesystem::{WasiFilesystem, WasiFilesystemView as _},
        p2::bindings::{filesystem, sockets},
        sockets::WasiSockets,
    };
    let l = linker;
    wasmtime_wasi_io::bindings::wasi::io::error::add_to_linker::<_, HasTable>(l, |s| &mut s.table)?;
    wasmtime_wasi_io::bindings::wasi::io::poll::add_to_linker::<_, HasTable>(l, |s| &mut s.table)?;
    wasmtime_wasi_io::bindings::wasi::io::streams::add_to_linker::<_, HasTable>(l, |s| {
        &mut s.table
    })?;
    #[cfg(test)]
    l.instance("gyre:test/host")?.func_wrap("panic", |_, (): ()| -> wasmtime::Result<()> {
        panic!("a test asked for this")
    })?;
    cli::add_to_linker(l)?;
    clocks::add_to_linker(l)?;
    random::add_to_linker(l)?;
    preopens::add_to_linker(l)?;
    filesystem::types::add_to_linker::<HostState, WasiFilesystem>(l, HostState::filesystem)?;
    sockets::tcp::add_to_linker::<HostState, WasiSockets>(l, HostState::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<HostState, WasiSockets>(l, HostState::new_socket)?;
    sockets::udp::add_to_linker::<HostState, WasiSockets>(l, HostState::sockets)?;
    sockets::udp_create_socket::add_to_linker::<HostState, WasiSockets>(l, HostState::new_socket)?;
    sockets::instance_network::add_to_linker::<HostState, WasiSockets>(l, HostState::sockets)?;
    let options = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<HostState, WasiSockets>(l, &options, HostState::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<HostState, WasiSockets>(l, HostState::sockets)?;
    let options = wasmtime_wasi_http::p2::bindings::LinkOptions::default();
    wasmtime_wasi_http::p2::bindings::http::types::add_to_linker::<_, WasiHttp>(
        l,
        &options.into(),
        HostState::http,
    )?;
    snapshots::add_to_linker(l)
}
