//! The interface's versions.

use wasmtime::component::{FutureReader, Linker, Resource, ResourceType, StreamReader};

use super::{CONNECTIONS, Connection, v3};
use crate::{
    capability::sql::{
        self,
        fermyon::{
            spin::{mysql as v1, rdbms_types as v1_types},
            spin2_0_0::{mysql as v2, rdbms_types as v2_types},
        },
    },
    host::{HasHost, HostState},
};

const INTERFACE: &str = "spin:mysql/mysql@3.0.0";

type Accessor = wasmtime::component::Accessor<HostState>;
type Opened = Result<Resource<Connection>, v3::Error>;
type Statement = (Resource<Connection>, String, Vec<v3::ParameterValue>);
type End = FutureReader<Result<(), v3::Error>>;
type Rows = (Vec<v3::Column>, StreamReader<v3::Row>, End);

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    v2::add_to_linker::<HostState, HasHost>(linker, |host| host)?;
    v1::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

/// Links version 3, all of whose functions are asynchronous. Nothing of the store is held while a server is waited
/// for.
pub(crate) fn add_async_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    fn connection(
        accessor: &Accessor,
        handle: &Resource<Connection>,
    ) -> wasmtime::Result<Connection> {
        accessor.with(|mut access| Ok(access.get().table.get(handle)?.clone()))
    }

    let mut instance = linker.instance(INTERFACE)?;
    instance.resource(
        "connection",
        ResourceType::host::<Connection>(),
        |mut store: wasmtime::StoreContextMut<'_, HostState>, handle| {
            store.data_mut().close_mysql(Resource::new_own(handle))
        },
    )?;
    instance.func_wrap_concurrent(
        "[static]connection.open",
        |accessor: &Accessor, (address,): (String,)| {
            Box::pin(async move {
                let origin = accessor.with(|mut access| access.get().capabilities.origin().clone());
                Ok((match Connection::open(&origin, &address).await {
                    Ok(connection) => accessor.with(|mut it| it.get().keep_mysql(connection))?,
                    Err(error) => Err(error),
                },))
            })
        },
    )?;
    instance.func_wrap_concurrent(
        "[method]connection.execute",
        |accessor: &Accessor, (handle, text, parameters): Statement| {
            Box::pin(async move {
                let connection = connection(accessor, &handle)?;
                Ok((connection.execute(&text, parameters).await,))
            })
        },
    )?;
    instance.func_wrap_concurrent(
        "[method]connection.query",
        |accessor: &Accessor, (handle, text, parameters): Statement| {
            Box::pin(async move {
                let connection = connection(accessor, &handle)?;
                let streamed = match connection.stream(text, parameters).await {
                    Ok(streamed) => streamed,
                    Err(error) => return Ok((Err(error),)),
                };
                let rows: Rows = accessor.with(|mut access| {
                    let rows = StreamReader::new(&mut access, sql::Rows::new(streamed.rows))?;
                    let end = streamed.end;
                    let end = async move {
                        wasmtime::error::Ok(end.await.unwrap_or_else(|_| Err(super::given_up())))
                    };
                    let end = FutureReader::new(&mut access, end)?;
                    wasmtime::error::Ok((streamed.columns, rows, end))
                })?;
                Ok((Ok(rows),))
            })
        },
    )
}

impl HostState {
    async fn open_mysql(&mut self, address: &str) -> wasmtime::Result<Opened> {
        if self.capabilities.mysql >= CONNECTIONS {
            return Ok(Err(too_many()));
        }
        match Connection::open(self.capabilities.origin(), address).await {
            Ok(connection) => self.keep_mysql(connection),
            Err(error) => Ok(Err(error)),
        }
    }

    fn keep_mysql(&mut self, connection: Connection) -> wasmtime::Result<Opened> {
        if self.capabilities.mysql >= CONNECTIONS {
            return Ok(Err(too_many()));
        }
        let handle = self.table.push(connection)?;
        self.capabilities.mysql += 1;
        Ok(Ok(handle))
    }

    fn close_mysql(&mut self, handle: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        self.capabilities.mysql -= 1;
        Ok(())
    }
}

fn too_many() -> v3::Error {
    v3::Error::ConnectionFailed("too many connections".to_owned())
}

/// Versions 1 and 2 have the same values as 3.
macro_rules! values {
    ($types:ident, $error:ty, $other:ident) => {
        impl From<v3::Error> for $error {
            fn from(error: v3::Error) -> Self {
                match error {
                    v3::Error::ConnectionFailed(text) => Self::ConnectionFailed(text),
                    v3::Error::BadParameter(text) => Self::BadParameter(text),
                    v3::Error::QueryFailed(text) => Self::QueryFailed(text),
                    v3::Error::ValueConversionFailed(text) => Self::ValueConversionFailed(text),
                    v3::Error::Other(text) => Self::$other(text),
                }
            }
        }

        impl From<v3::DbDataType> for $types::DbDataType {
            fn from(of: v3::DbDataType) -> Self {
                match of {
                    v3::DbDataType::Boolean => Self::Boolean,
                    v3::DbDataType::Int8 => Self::Int8,
                    v3::DbDataType::Int16 => Self::Int16,
                    v3::DbDataType::Int32 => Self::Int32,
                    v3::DbDataType::Int64 => Self::Int64,
                    v3::DbDataType::Uint8 => Self::Uint8,
                    v3::DbDataType::Uint16 => Self::Uint16,
                    v3::DbDataType::Uint32 => Self::Uint32,
                    v3::DbDataType::Uint64 => Self::Uint64,
                    v3::DbDataType::Floating32 => Self::Floating32,
                    v3::DbDataType::Floating64 => Self::Floating64,
                    v3::DbDataType::Str => Self::Str,
                    v3::DbDataType::Binary => Self::Binary,
                    v3::DbDataType::Other => Self::Other,
                }
            }
        }

        impl From<v3::DbValue> for $types::DbValue {
            fn from(value: v3::DbValue) -> Self {
                match value {
                    v3::DbValue::Boolean(it) => Self::Boolean(it),
                    v3::DbValue::Int8(it) => Self::Int8(it),
                    v3::DbValue::Int16(it) => Self::Int16(it),
                    v3::DbValue::Int32(it) => Self::Int32(it),
                    v3::DbValue::Int64(it) => Self::Int64(it),
                    v3::DbValue::Uint8(it) => Self::Uint8(it),
                    v3::DbValue::Uint16(it) => Self::Uint16(it),
                    v3::DbValue::Uint32(it) => Self::Uint32(it),
                    v3::DbValue::Uint64(it) => Self::Uint64(it),
                    v3::DbValue::Floating32(it) => Self::Floating32(it),
                    v3::DbValue::Floating64(it) => Self::Floating64(it),
                    v3::DbValue::Str(it) => Self::Str(it),
                    v3::DbValue::Binary(it) => Self::Binary(it),
                    v3::DbValue::DbNull => Self::DbNull,
                    v3::DbValue::Unsupported => Self::Unsupported,
                }
            }
        }

        impl From<$types::ParameterValue> for v3::ParameterValue {
            fn from(value: $types::ParameterValue) -> Self {
                use $types::ParameterValue as P;
                match value {
                    P::Boolean(it) => Self::Boolean(it),
                    P::Int8(it) => Self::Int8(it),
                    P::Int16(it) => Self::Int16(it),
                    P::Int32(it) => Self::Int32(it),
                    P::Int64(it) => Self::Int64(it),
                    P::Uint8(it) => Self::Uint8(it),
                    P::Uint16(it) => Self::Uint16(it),
                    P::Uint32(it) => Self::Uint32(it),
                    P::Uint64(it) => Self::Uint64(it),
                    P::Floating32(it) => Self::Floating32(it),
                    P::Floating64(it) => Self::Floating64(it),
                    P::Str(it) => Self::Str(it),
                    P::Binary(it) => Self::Binary(it),
                    P::DbNull => Self::DbNull,
                }
            }
        }

        impl From<(Vec<v3::Column>, Vec<v3::Row>)> for $types::RowSet {
            fn from((columns, rows): (Vec<v3::Column>, Vec<v3::Row>)) -> Self {
                let column = |it: v3::Column| $types::Column {
                    name: it.name,
                    data_type: it.data_type.into(),
                };
                let row = |row: v3::Row| row.into_iter().map(Into::into).collect();
                Self {
                    columns: columns.into_iter().map(column).collect(),
                    rows: rows.into_iter().map(row).collect(),
                }
            }
        }
    };
}

values!(v2_types, v2_types::Error, Other);
values!(v1_types, v1::MysqlError, OtherError);

impl v2::Host for HostState {}

impl v2::HostConnection for HostState {
    async fn open(
        &mut self,
        address: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, v2_types::Error>> {
        Ok(self.open_mysql(&address).await?.map_err(Into::into))
    }

    async fn query(
        &mut self,
        handle: Resource<Connection>,
        statement: String,
        parameters: Vec<v2_types::ParameterValue>,
    ) -> wasmtime::Result<Result<v2_types::RowSet, v2_types::Error>> {
        let connection = self.table.get(&handle)?;
        let parameters = parameters.into_iter().map(Into::into).collect();
        let result = connection.query(&statement, parameters).await;
        Ok(result.map(Into::into).map_err(Into::into))
    }

    async fn execute(
        &mut self,
        handle: Resource<Connection>,
        statement: String,
        parameters: Vec<v2_types::ParameterValue>,
    ) -> wasmtime::Result<Result<(), v2_types::Error>> {
        let connection = self.table.get(&handle)?;
        let parameters = parameters.into_iter().map(Into::into).collect();
        Ok(connection.execute(&statement, parameters).await.map_err(Into::into))
    }

    async fn drop(&mut self, handle: Resource<Connection>) -> wasmtime::Result<()> {
        self.close_mysql(handle)
    }
}

impl v1::Host for HostState {
    async fn query(
        &mut self,
        address: String,
        statement: String,
        parameters: Vec<v1_types::ParameterValue>,
    ) -> wasmtime::Result<Result<v1_types::RowSet, v1::MysqlError>> {
        let parameters = parameters.into_iter().map(Into::into).collect();
        let result = match Connection::open(self.capabilities.origin(), &address).await {
            Ok(connection) => connection.query(&statement, parameters).await,
            Err(error) => Err(error),
        };
        Ok(result.map(Into::into).map_err(Into::into))
    }

    async fn execute(
        &mut self,
        address: String,
        statement: String,
        parameters: Vec<v1_types::ParameterValue>,
    ) -> wasmtime::Result<Result<(), v1::MysqlError>> {
        let parameters = parameters.into_iter().map(Into::into).collect();
        let result = match Connection::open(self.capabilities.origin(), &address).await {
            Ok(connection) => connection.execute(&statement, parameters).await,
            Err(error) => Err(error),
        };
        Ok(result.map_err(Into::into))
    }
}
