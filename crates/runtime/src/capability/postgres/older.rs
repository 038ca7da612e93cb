//! The interface's versions before 4: what they have no name for is unsupported.

use wasmtime::component::{Linker, Resource};

use super::{Builder, Connection, v4};
use crate::{
    capability::sql::{
        fermyon::{
            spin::{postgres as v1, rdbms_types as v1_types},
            spin2_0_0::{postgres as v2, rdbms_types as v2_types},
        },
        spin::postgres3_0_0::postgres as v3,
    },
    host::{HasHost, HostState},
};

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    v3::add_to_linker::<HostState, HasHost>(linker, |host| host)?;
    v2::add_to_linker::<HostState, HasHost>(linker, |host| host)?;
    v1::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

/// The kinds of errors of before 4, in which what a database says is text.
macro_rules! error {
    ($to:ty, $other:ident) => {
        impl From<v4::Error> for $to {
            fn from(error: v4::Error) -> Self {
                match error {
                    v4::Error::ConnectionFailed(text) => Self::ConnectionFailed(text),
                    v4::Error::BadParameter(text) => Self::BadParameter(text),
                    v4::Error::QueryFailed(v4::QueryError::Text(text)) => Self::QueryFailed(text),
                    v4::Error::QueryFailed(v4::QueryError::DbError(error)) => {
                        Self::QueryFailed(error.as_text)
                    }
                    v4::Error::ValueConversionFailed(text) => Self::ValueConversionFailed(text),
                    v4::Error::Other(text) => Self::$other(text),
                }
            }
        }
    };
}

error!(v3::Error, Other);
error!(v2_types::Error, Other);
error!(v1::PgError, OtherError);

/// The types and values that all versions have, and those that this one has besides.
macro_rules! values {
    ($types:ident: $(($($more:ident)|+))?) => {
        impl From<v4::DbDataType> for $types::DbDataType {
            fn from(of: v4::DbDataType) -> Self {
                match of {
                    v4::DbDataType::Boolean => Self::Boolean,
                    v4::DbDataType::Int8 => Self::Int8,
                    v4::DbDataType::Int16 => Self::Int16,
                    v4::DbDataType::Int32 => Self::Int32,
                    v4::DbDataType::Int64 => Self::Int64,
                    v4::DbDataType::Floating32 => Self::Floating32,
                    v4::DbDataType::Floating64 => Self::Floating64,
                    v4::DbDataType::Str => Self::Str,
                    v4::DbDataType::Binary => Self::Binary,
                    $($(v4::DbDataType::$more => Self::$more,)+)?
                    _ => Self::Other,
                }
            }
        }

        impl From<v4::DbValue> for $types::DbValue {
            fn from(value: v4::DbValue) -> Self {
                match value {
                    v4::DbValue::Boolean(it) => Self::Boolean(it),
                    v4::DbValue::Int8(it) => Self::Int8(it),
                    v4::DbValue::Int16(it) => Self::Int16(it),
                    v4::DbValue::Int32(it) => Self::Int32(it),
                    v4::DbValue::Int64(it) => Self::Int64(it),
                    v4::DbValue::Floating32(it) => Self::Floating32(it),
                    v4::DbValue::Floating64(it) => Self::Floating64(it),
                    v4::DbValue::Str(it) => Self::Str(it),
                    v4::DbValue::Binary(it) => Self::Binary(it),
                    v4::DbValue::DbNull => Self::DbNull,
                    $($(v4::DbValue::$more(it) => Self::$more(it),)+)?
                    _ => Self::Unsupported,
                }
            }
        }

        impl From<v4::RowSet> for $types::RowSet {
            fn from(set: v4::RowSet) -> Self {
                let column = |it: v4::Column| $types::Column {
                    name: it.name,
                    data_type: it.data_type.into(),
                };
                let row = |row: v4::Row| row.into_iter().map(Into::into).collect();
                Self {
                    columns: set.columns.into_iter().map(column).collect(),
                    rows: set.rows.into_iter().map(row).collect(),
                }
            }
        }
    };
}

values!(v3: (Date | Time | Datetime));
values!(v2_types:);
values!(v1_types:);

impl From<v3::ParameterValue> for v4::ParameterValue {
    fn from(value: v3::ParameterValue) -> Self {
        match value {
            v3::ParameterValue::Boolean(it) => Self::Boolean(it),
            v3::ParameterValue::Int8(it) => Self::Int8(it),
            v3::ParameterValue::Int16(it) => Self::Int16(it),
            v3::ParameterValue::Int32(it) => Self::Int32(it),
            v3::ParameterValue::Int64(it) => Self::Int64(it),
            v3::ParameterValue::Floating32(it) => Self::Floating32(it),
            v3::ParameterValue::Floating64(it) => Self::Floating64(it),
            v3::ParameterValue::Str(it) => Self::Str(it),
            v3::ParameterValue::Binary(it) => Self::Binary(it),
            v3::ParameterValue::Date(it) => Self::Date(it),
            v3::ParameterValue::Time(it) => Self::Time(it),
            v3::ParameterValue::Datetime(it) => Self::Datetime(it),
            v3::ParameterValue::Timestamp(it) => Self::Timestamp(it),
            v3::ParameterValue::DbNull => Self::DbNull,
        }
    }
}

/// Parameters of the versions with types of MySQL among them.
macro_rules! parameters {
    ($name:ident, $types:ident) => {
        fn $name(
            parameters: Vec<$types::ParameterValue>,
        ) -> Result<Vec<v4::ParameterValue>, v4::Error> {
            use v4::ParameterValue as V;
            use $types::ParameterValue as P;
            let parameter = |parameter| {
                Ok(match parameter {
                    P::Boolean(it) => V::Boolean(it),
                    P::Int8(it) => V::Int8(it),
                    P::Int16(it) => V::Int16(it),
                    P::Int32(it) => V::Int32(it),
                    P::Int64(it) => V::Int64(it),
                    P::Floating32(it) => V::Floating32(it),
                    P::Floating64(it) => V::Floating64(it),
                    P::Str(it) => V::Str(it),
                    P::Binary(it) => V::Binary(it),
                    P::DbNull => V::DbNull,
                    P::Uint8(_) | P::Uint16(_) | P::Uint32(_) | P::Uint64(_) => {
                        return Err(v4::Error::ValueConversionFailed(
                            "Postgres does not support unsigned integers".to_owned(),
                        ));
                    }
                })
            };
            parameters.into_iter().map(parameter).collect()
        }
    };
}

parameters!(from_v2, v2_types);
parameters!(from_v1, v1_types);

#[allow(clippy::unnecessary_wraps, reason = "as its siblings")]
fn from_v3(parameters: Vec<v3::ParameterValue>) -> Result<Vec<v4::ParameterValue>, v4::Error> {
    Ok(parameters.into_iter().map(Into::into).collect())
}

impl v3::Host for HostState {}
impl v2::Host for HostState {}
impl v2_types::Host for HostState {}
impl v1_types::Host for HostState {}

/// The versions in which a connection is a resource.
macro_rules! connection {
    ($version:ident, $types:ident, $parameters:ident) => {
        impl $version::HostConnection for HostState {
            async fn open(
                &mut self,
                address: String,
            ) -> wasmtime::Result<Result<Resource<Connection>, $types::Error>> {
                Ok(self.open_postgres(Builder::new(address)).await?.map_err(Into::into))
            }

            async fn query(
                &mut self,
                handle: Resource<Connection>,
                statement: String,
                parameters: Vec<$types::ParameterValue>,
            ) -> wasmtime::Result<Result<$types::RowSet, $types::Error>> {
                let connection = self.table.get(&handle)?;
                let result = match $parameters(parameters) {
                    Ok(parameters) => connection.query(&statement, parameters).await,
                    Err(error) => Err(error),
                };
                Ok(result.map(Into::into).map_err(Into::into))
            }

            async fn execute(
                &mut self,
                handle: Resource<Connection>,
                statement: String,
                parameters: Vec<$types::ParameterValue>,
            ) -> wasmtime::Result<Result<u64, $types::Error>> {
                let connection = self.table.get(&handle)?;
                let result = match $parameters(parameters) {
                    Ok(parameters) => connection.execute(&statement, parameters).await,
                    Err(error) => Err(error),
                };
                Ok(result.map_err(Into::into))
            }

            async fn drop(&mut self, handle: Resource<Connection>) -> wasmtime::Result<()> {
                self.close_postgres(handle)
            }
        }
    };
}

connection!(v3, v3, from_v3);
connection!(v2, v2_types, from_v2);

impl HostState {
    /// A connection for one statement; the pool makes that cheap.
    async fn postgres_once(&mut self, address: String) -> Result<Connection, v4::Error> {
        Builder::new(address).open(self.capabilities.origin()).await
    }
}

impl v1::Host for HostState {
    async fn query(
        &mut self,
        address: String,
        statement: String,
        parameters: Vec<v1_types::ParameterValue>,
    ) -> wasmtime::Result<Result<v1_types::RowSet, v1::PgError>> {
        let result = async {
            let connection = self.postgres_once(address).await?;
            connection.query(&statement, from_v1(parameters)?).await
        };
        Ok(result.await.map(Into::into).map_err(Into::into))
    }

    async fn execute(
        &mut self,
        address: String,
        statement: String,
        parameters: Vec<v1_types::ParameterValue>,
    ) -> wasmtime::Result<Result<u64, v1::PgError>> {
        let result = async {
            let connection = self.postgres_once(address).await?;
            connection.execute(&statement, from_v1(parameters)?).await
        };
        Ok(result.await.map_err(Into::into))
    }
}
