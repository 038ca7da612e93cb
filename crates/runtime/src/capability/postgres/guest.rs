//! `spin:postgres@4.2.0`, function by function: an engine without the component model's concurrency takes only those
//! that are not asynchronous, so the interface is not linked as a whole.

use wasmtime::{
    StoreContextMut,
    component::{FutureReader, Linker, Resource, ResourceType, StreamReader},
};

use super::{Builder, CONNECTIONS, Connection, v4};
use crate::{
    capability::{egress, sql},
    host::HostState,
};

const INTERFACE: &str = "spin:postgres/postgres@4.2.0";

type Opened = Result<Resource<Connection>, v4::Error>;
type Statement = (Resource<Connection>, String, Vec<v4::ParameterValue>);
type End = FutureReader<Result<(), v4::Error>>;
type Rows = (Vec<v4::Column>, StreamReader<v4::Row>, End);

impl HostState {
    pub(super) async fn open_postgres(&mut self, builder: Builder) -> wasmtime::Result<Opened> {
        if self.capabilities.postgres >= CONNECTIONS {
            return Ok(Err(too_many()));
        }
        let origin = self.capabilities.origin().clone();
        match builder.open(&origin).await {
            Ok(connection) => self.keep_postgres(connection),
            Err(error) => Ok(Err(error)),
        }
    }

    fn keep_postgres(&mut self, connection: Connection) -> wasmtime::Result<Opened> {
        if self.capabilities.postgres >= CONNECTIONS {
            return Ok(Err(too_many()));
        }
        let handle = self.table.push(connection)?;
        self.capabilities.postgres += 1;
        Ok(Ok(handle))
    }

    pub(super) fn close_postgres(&mut self, handle: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        self.capabilities.postgres -= 1;
        Ok(())
    }
}

fn too_many() -> v4::Error {
    v4::Error::ConnectionFailed("too many connections".to_owned())
}

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut instance = linker.instance(INTERFACE)?;
    instance.resource(
        "connection",
        ResourceType::host::<Connection>(),
        |mut store: StoreContextMut<'_, HostState>, handle| {
            store.data_mut().close_postgres(Resource::new_own(handle))
        },
    )?;
    instance.resource(
        "connection-builder",
        ResourceType::host::<Builder>(),
        |mut store: StoreContextMut<'_, HostState>, handle| {
            store.data_mut().table.delete(Resource::<Builder>::new_own(handle))?;
            Ok(())
        },
    )?;
    instance.func_wrap(
        "[constructor]connection-builder",
        |mut store: StoreContextMut<'_, HostState>, (address,): (String,)| {
            Ok((store.data_mut().table.push(Builder::new(address))?,))
        },
    )?;
    instance.func_wrap_async(
        "[method]connection-builder.set-ca-root",
        |mut store: StoreContextMut<'_, HostState>, (handle, pem): (Resource<Builder>, String)| {
            Box::new(async move {
                let checked = egress::trusting(&pem).await;
                let result = match checked {
                    Ok(_) => {
                        store.data_mut().table.get_mut(&handle)?.roots = Some(pem);
                        Ok(())
                    }
                    Err(error) => {
                        Err(v4::Error::Other(format!("invalid root certificate: {error}")))
                    }
                };
                Ok((result,))
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]connection-builder.build",
        |mut store: StoreContextMut<'_, HostState>, (handle,): (Resource<Builder>,)| {
            Box::new(async move {
                let builder = store.data_mut().table.get(&handle)?.clone();
                Ok((store.data_mut().open_postgres(builder).await?,))
            })
        },
    )?;
    instance.func_wrap_async(
        "[static]connection.open",
        |mut store: StoreContextMut<'_, HostState>, (address,): (String,)| {
            Box::new(
                async move { Ok((store.data_mut().open_postgres(Builder::new(address)).await?,)) },
            )
        },
    )?;
    instance.func_wrap_async(
        "[method]connection.query",
        |store: StoreContextMut<'_, HostState>, (handle, text, parameters): Statement| {
            Box::new(async move {
                let connection = store.data().table.get(&handle)?;
                Ok((connection.query(&text, parameters).await,))
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]connection.execute",
        |store: StoreContextMut<'_, HostState>, (handle, text, parameters): Statement| {
            Box::new(async move {
                let connection = store.data().table.get(&handle)?;
                Ok((connection.execute(&text, parameters).await,))
            })
        },
    )
}

/// Nothing of the store is held while a server is waited for.
pub(super) fn add_async_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    type Accessor = wasmtime::component::Accessor<HostState>;
    async fn open(accessor: &Accessor, builder: Builder) -> wasmtime::Result<Opened> {
        let origin = accessor.with(|mut access| access.get().capabilities.origin().clone());
        match builder.open(&origin).await {
            Ok(connection) => accessor.with(|mut access| access.get().keep_postgres(connection)),
            Err(error) => Ok(Err(error)),
        }
    }
    fn connection(
        accessor: &Accessor,
        handle: &Resource<Connection>,
    ) -> wasmtime::Result<Connection> {
        accessor.with(|mut access| Ok(access.get().table.get(handle)?.clone()))
    }

    let mut instance = linker.instance(INTERFACE)?;
    instance.func_wrap_concurrent(
        "[method]connection-builder.build-async",
        |accessor: &Accessor, (handle,): (Resource<Builder>,)| {
            Box::pin(async move {
                let builder = accessor.with(|mut access| {
                    wasmtime::error::Ok(access.get().table.get(&handle)?.clone())
                })?;
                Ok((open(accessor, builder).await?,))
            })
        },
    )?;
    instance.func_wrap_concurrent(
        "[static]connection.open-async",
        |accessor: &Accessor, (address,): (String,)| {
            Box::pin(async move { Ok((open(accessor, Builder::new(address)).await?,)) })
        },
    )?;
    instance.func_wrap_concurrent(
        "[method]connection.execute-async",
        |accessor: &Accessor, (handle, text, parameters): Statement| {
            Box::pin(async move {
                let connection = connection(accessor, &handle)?;
                Ok((connection.execute(&text, parameters).await,))
            })
        },
    )?;
    instance.func_wrap_concurrent(
        "[method]connection.query-async",
        |accessor: &Accessor, (handle, text, parameters): Statement| {
            Box::pin(async move {
                let connection = connection(accessor, &handle)?;
                let streamed = match connection.stream(&text, parameters).await {
                    Ok(streamed) => streamed,
                    Err(error) => return Ok((Err(error),)),
                };
                drop(connection);
                let rows: Rows = accessor.with(|mut access| {
                    let rows = StreamReader::new(&mut access, sql::Rows::new(streamed.rows))?;
                    let gone = || Err(v4::Error::Other("the connection was given up".to_owned()));
                    let end = streamed.end;
                    let end =
                        async move { wasmtime::error::Ok(end.await.unwrap_or_else(|_| gone())) };
                    let end = FutureReader::new(&mut access, end)?;
                    wasmtime::error::Ok((streamed.columns, rows, end))
                })?;
                Ok((Ok(rows),))
            })
        },
    )
}
