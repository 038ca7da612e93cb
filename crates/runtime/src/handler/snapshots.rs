//! `wasi:http/incoming-handler` of the release candidates of WASI 0.2. Their functions have one shape, which is that
//! of 0.2, on the same resources.

use std::sync::Arc;

use http::Request;
use wasmtime::{
    Store,
    component::{
        ComponentExportIndex, InstancePre, Resource,
        types::{ComponentItem, Type},
    },
};
use wasmtime_wasi_http::{
    WasiBody,
    p2::{
        bindings::http::types::Scheme,
        types::{HostIncomingRequest, HostResponseOutparam},
    },
};

use super::wasi02;
use crate::{
    call::CallState,
    host::{HostState, snapshots::Snapshot},
    run::Guest,
};

/// Their names.
pub(super) const NAMES: [&str; 2] = [
    "wasi:http/incoming-handler@0.2.0-rc-2023-10-18",
    "wasi:http/incoming-handler@0.2.0-rc-2023-11-10",
];

/// The snapshot whose handler an export of that name is.
pub(super) fn snapshot(name: &str) -> Option<Snapshot> {
    let version = name.strip_prefix("wasi:http/incoming-handler@")?;
    let snapshots = [Snapshot::Rc20231018, Snapshot::Rc20231110];
    snapshots.into_iter().find(|snapshot| snapshot.version() == version)
}

/// A component that can be instantiated, and where its handler is.
#[derive(Clone)]
pub(crate) struct SnapshotPre {
    pre: InstancePre<HostState>,
    handle: ComponentExportIndex,
}

type Parameters = (Resource<HostIncomingRequest>, Resource<HostResponseOutparam>);

impl SnapshotPre {
    /// # Errors
    /// Its handler is not as published.
    pub(super) fn new(pre: InstancePre<HostState>, name: &str) -> wasmtime::Result<Self> {
        let component = pre.component();
        let handler = component.get_export_index(None, name);
        let Some((ComponentItem::ComponentFunc(ty), handle)) =
            component.get_export(handler.as_ref(), "handle")
        else {
            wasmtime::bail!("{name} has no function \"handle\"");
        };
        let parameters: Vec<Type> = ty.params().map(|(_, ty)| ty).collect();
        if !matches!(&parameters[..], [Type::Own(_), Type::Own(_)]) || ty.results().len() > 0 {
            wasmtime::bail!("the function \"handle\" of {name} has another type");
        }
        Ok(Self { pre, handle })
    }

    pub(super) fn instance_pre(&self) -> &InstancePre<HostState> {
        &self.pre
    }
}

/// A fresh instance that is to answer a request.
pub(super) fn answer(
    SnapshotPre { pre, handle }: SnapshotPre,
    mut store: Store<HostState>,
    request: Request<WasiBody>,
    scheme: Scheme,
    call: Arc<CallState>,
) -> Guest {
    let run = async move |store: &mut Store<HostState>| {
        let instance = pre.instantiate_async(&mut *store).await?;
        store.data_mut().instantiated();
        let handle = instance.get_typed_func::<Parameters, ()>(&mut *store, &handle)?;
        let arguments = wasi02::arguments(store, request, scheme, call)?;
        handle.call_async(&mut *store, arguments).await
    };
    Box::pin(async move {
        let result = run(&mut store).await;
        wasi02::ended(&mut store, result)
    })
}
