//! `wasi:http/handler` 0.3, and the release candidate as which `gyre_adapt` knows it.
//!
//! Its world is made for reuse: an instance answers many requests, one after the other and several at once, for the
//! price of one instantiation. How that is arranged decides what a request costs, so:
//!
//! - The instance's event loop with its store is one future, made once and polled for as long as the instance lives
//!   ([`Instance`]). Requests are put into its inbox. Nothing is spawned for a request.
//! - An instance that nobody uses is taken by the request that comes, and its future is polled in that request's own
//!   task, as a fresh instance of 0.2 is. A guest that does not wait has answered, written its body and ended its
//!   task within that one poll; the instance is then put back before the response is even sent.
//! - Only when a guest waits may others join its instance. From the first one that does, the future is polled by a
//!   task of its own on the same core ("driven"), since a client that reads slowly must not hold up the others; that
//!   task ends with the last of them.
//! - Idle instances are kept for each thread apart, see [`Instances`]. What a guest left running that is not a task
//!   of the component model (there is no such thing yet in SDKs) stands still while its instance is idle.
//!
//! Limits: memory and handles are those of the instance. Processor time is a request's own while it is alone; those
//! that share an instance share the sum of what each may use. A request that is given up (too late, or its client
//! gone) ends its instance, or, where others use it, only itself: the instance takes no more requests and ends with
//! the last of the others, since a guest's task cannot be cancelled from outside. A trap ends the instance and fails
//! all that are in it.

mod body;
mod instance;
mod pool;

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use futures::stream::{FuturesUnordered, Stream as _};
use http::{Request, Response};
use wasmtime::{
    AsContextMut as _, Store,
    component::{Access, Accessor, InstancePre, Resource, TypedFuncCallConcurrent},
};
use wasmtime_wasi_http::{
    Error, WasiBody, WasiHttpView as _,
    p2::bindings::http::types::Scheme,
    p3::{
        self,
        bindings::{
            ServicePre, exports::wasi::http::handler::Guest as Exports, http::types::ErrorCode,
        },
    },
};

pub(crate) use pool::{Budget, Instances, SWEEP};

use self::instance::{Instance, Participant, Slot};
use crate::{
    app::App,
    call::CallState,
    host::{CallContext, HostState},
    loaded::LoadedComponent,
    reuse::ReuseConfig,
    run::{self, Guest},
};

/// A component that exports the handler, and its instances.
pub(crate) struct Reusable {
    pre: ServicePre<HostState>,
    instances: Arc<Instances>,
}

impl Reusable {
    pub(super) fn new(
        pre: InstancePre<HostState>,
        reuse: ReuseConfig,
        budget: &Arc<Budget>,
    ) -> wasmtime::Result<Self> {
        Ok(Self { pre: ServicePre::new(pre)?, instances: Instances::new(reuse, budget) })
    }

    pub(super) fn instance_pre(&self) -> &InstancePre<HostState> {
        self.pre.instance_pre()
    }

    /// An instance that is to answer a request: one that there is, or a fresh one.
    pub(crate) fn answer(
        &self,
        app: &Arc<App>,
        component: &LoadedComponent,
        call: CallContext,
        request: Request<WasiBody>,
        scheme: &Scheme,
        state: &Arc<CallState>,
    ) -> Guest {
        let slot = Slot::new(call, state);
        let mut request = Some(with_scheme(request, scheme));
        let mut instance = self.instances.take(&mut request, &slot);
        if let Some(request) = request {
            let store = run::store(app, component, call, state);
            instance = Some(Instance::start(self, app, component, store, request, &slot));
        }
        let instance = instance.expect("who took the request is an instance");
        if let Some(limit) = instance.request_time() {
            state.set_request_time(limit);
        }
        Box::pin(Participant::new(instance, slot, &self.instances))
    }
}

/// The request with its scheme, which the engine takes from the URI.
fn with_scheme(request: Request<WasiBody>, scheme: &Scheme) -> Request<WasiBody> {
    let (mut head, body) = request.into_parts();
    let mut uri = std::mem::take(&mut head.uri).into_parts();
    let is_whole = uri.authority.is_some() && uri.path_and_query.is_some();
    if is_whole {
        uri.scheme = Some(match scheme {
            Scheme::Https => http::uri::Scheme::HTTPS,
            _ => http::uri::Scheme::HTTP,
        });
    }
    head.uri = uri.try_into().expect("with authority and path a URI may have a scheme");
    Request::from_parts(head, body)
}

/// What an instance does from its beginning to its end, which is an error or its being dropped.
async fn live(
    pre: ServicePre<HostState>,
    mut store: Store<HostState>,
    instance: Weak<Instance>,
) -> wasmtime::Result<()> {
    let service = pre.instantiate_async(&mut store).await?;
    store.data_mut().instantiated();
    let handler = service.wasi_http_handler();
    let ended = store.run_concurrent(async |accessor| serve(accessor, handler, &instance).await);
    let ended = ended.await.flatten();
    // While the store is there: with it goes what is in the guest's half of a body.
    if let Some(instance) = instance.upgrade() {
        instance.settle_all();
    }
    ended
}

/// Answers what comes into the instance's inbox.
///
/// Polled by the engine at the beginning of each turn of its event loop, so nothing here needs to wake anybody: who
/// puts something into the inbox polls the instance or wakes its driver, and everything else follows from the guest.
async fn serve(
    accessor: &Accessor<HostState>,
    handler: &Exports,
    instance: &Weak<Instance>,
) -> wasmtime::Result<()> {
    let entry = *handler.func_handle().func();
    let mut calls = FuturesUnordered::new();
    poll_fn(|_| {
        let turn = &mut Context::from_waker(Waker::noop());
        // Nobody polls an instance that is no more.
        let Some(instance) = instance.upgrade() else { return Poll::Pending };
        while let Some((slot, request)) = instance.next_request() {
            let call = accessor.with(|mut store| {
                instance.adopt(store.data_mut(), &slot);
                // It has a whole tick before it yields, however long it was idle.
                store.as_context_mut().set_epoch_deadline(1);
                begin(&mut store, handler, request)
            });
            match call {
                Ok(begun) => calls.push(finish(accessor, handler, begun, slot)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        while let Poll::Ready(Some(answered)) = Pin::new(&mut calls).poll_next(turn) {
            if let Err(error) = answered {
                return Poll::Ready(Err(error));
            }
        }
        let is_quiet = calls.is_empty() && accessor.poll_no_interesting_tasks(turn).is_ready();
        let is_open = accessor.poll_ready_for_concurrent_call(entry, turn).is_ready();
        let is_spent = is_quiet && accessor.with(|mut store| store.data_mut().is_spent());
        instance.set_turn(is_quiet, is_open, is_spent);
        Poll::Pending
    })
    .await
}

/// What the handler returns.
type Answered = (Result<Resource<p3::Response>, ErrorCode>,);

/// A call that has begun, and what becomes of the request's body.
struct Begun {
    call: TypedFuncCallConcurrent<HostState, (Resource<p3::Request>,), Answered>,
    received: Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>,
}

fn begin(
    store: &mut Access<'_, HostState>,
    handler: &Exports,
    request: Request<WasiBody>,
) -> wasmtime::Result<Begun> {
    let view = store.data_mut().http();
    let (request, received) = p3::Request::from_http(view.hooks, request);
    let request = view.table.push(request)?;
    let call = handler.func_handle().start_call_concurrent(store, (request,))?;
    Ok(Begun { call, received: Box::pin(received) })
}

async fn finish(
    accessor: &Accessor<HostState>,
    handler: &Exports,
    begun: Begun,
    slot: Arc<Slot>,
) -> wasmtime::Result<()> {
    let (answer,) = handler.func_handle().finish_call_concurrent(accessor, begun.call).await?;
    let answer: Result<Response<WasiBody>, String> = match answer {
        Ok(response) => Ok(accessor.with(|mut store| {
            let response = store.data_mut().table.delete(response)?;
            response.into_http_with_getter(&mut store, begun.received, HostState::http)
        })?),
        Err(code) => Err(format!("{code:?}")),
    };
    slot.answer(answer);
    Ok(())
}
