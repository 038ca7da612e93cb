//! `spin:sqlite@3.1.0`, and 3.0: what of it has no asynchronous functions.
//!
//! An interface with asynchronous functions cannot be linked where the component model's own concurrency is off. A
//! component that imports 3.1 for its other functions only is linked with 3.0 there.

use gyre_data::{QueryResult, Value};
use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use super::{Connection, Error, translate};
use crate::{
    capability::bindings::data::{spin as spin_sync, spin3},
    host::{HasHost, HostState},
};

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin_sync::sqlite3_0_0::sqlite::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

pub(crate) fn add_async_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    spin3::sqlite3_1_0::sqlite::add_to_linker::<HostState, HasHost>(linker, |host| host)
}

/// The functions that both versions have.
macro_rules! connection {
    () => {
        impl spin::Host for HostState {}

        impl spin::HostConnection for HostState {
            fn open(
                &mut self,
                database: String,
            ) -> wasmtime::Result<Result<Resource<Connection>, spin::Error>> {
                answer(self.open_database(&database, |connection| connection)?)
            }

            async fn execute(
                &mut self,
                connection: Resource<Connection>,
                statement: String,
                parameters: Vec<spin::Value>,
            ) -> wasmtime::Result<Result<spin::QueryResult, spin::Error>> {
                answer(self.connection(&connection)?.execute(&statement, values(parameters)).await)
            }

            async fn last_insert_rowid(
                &mut self,
                connection: Resource<Connection>,
            ) -> wasmtime::Result<i64> {
                Ok(self.connection(&connection)?.last_insert_rowid().await)
            }

            async fn changes(&mut self, connection: Resource<Connection>) -> wasmtime::Result<u64> {
                Ok(self.connection(&connection)?.changes().await)
            }

            fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
                self.close_database(connection)
            }
        }
    };
}

mod without_async {
    use super::{
        Connection, Error, HostState, QueryResult, Resource, Value,
        spin_sync::sqlite3_0_0::sqlite as spin, translate,
    };

    translate!(spin);
    connection!();
}

mod with_async {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use gyre_data::RowStream;
    use tokio::sync::oneshot;
    use wasmtime::{
        StoreContextMut,
        component::{Destination, StreamProducer, StreamResult, VecBuffer},
    };

    use super::{
        Accessor, Connection, Error, FutureReader, HasHost, HostState, QueryResult, Resource,
        StreamReader, Value, spin3::sqlite3_1_0::sqlite as spin, translate,
    };

    translate!(spin);
    connection!();

    type Host3 = Accessor<HostState, HasHost>;

    /// What `execute-async` gives: the columns, the rows, and how it ended.
    type Rows = (Vec<String>, StreamReader<spin::RowResult>, FutureReader<Result<(), spin::Error>>);

    fn connection(host: &Host3, handle: &Resource<Connection>) -> wasmtime::Result<Connection> {
        host.with(|mut host| host.get().connection(handle))
    }

    /// Rows on their way into a guest's stream.
    struct Given {
        stream: RowStream,
        ready: Vec<spin::RowResult>,
        tell_end: Option<oneshot::Sender<Result<(), spin::Error>>>,
    }

    impl<T> StreamProducer<T> for Given {
        type Item = spin::RowResult;
        type Buffer = VecBuffer<spin::RowResult>;

        fn poll_produce<'a>(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            store: StoreContextMut<'a, T>,
            mut destination: Destination<'a, Self::Item, Self::Buffer>,
            finish: bool,
        ) -> Poll<wasmtime::Result<StreamResult>> {
            if self.ready.is_empty() {
                let end = match self.stream.poll_next(cx) {
                    Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(more))) => {
                        self.ready = rows(more);
                        None
                    }
                    Poll::Ready(Some(Err(error))) => Some(Err(Error::from(error).into())),
                    Poll::Ready(None) => Some(Ok(())),
                };
                if let Some(end) = end {
                    if let Some(tell_end) = self.tell_end.take() {
                        let _ = tell_end.send(end);
                    }
                    return Poll::Ready(Ok(StreamResult::Dropped));
                }
            }
            // A read of nothing only asks whether there is something.
            if destination.remaining(store) != Some(0) {
                destination.set_buffer(std::mem::take(&mut self.ready).into());
            }
            Poll::Ready(Ok(StreamResult::Completed))
        }
    }

    impl spin::HostConnectionWithStore<HostState> for HasHost {
        async fn open_async(
            host: &Host3,
            database: String,
        ) -> wasmtime::Result<Result<Resource<Connection>, spin::Error>> {
            let opened = |host: &mut HostState| host.open_database(&database, |it| it);
            answer(host.with(|mut host| opened(host.get()))?)
        }

        async fn execute_async(
            host: &Host3,
            handle: Resource<Connection>,
            statement: String,
            parameters: Vec<spin::Value>,
        ) -> wasmtime::Result<Result<Rows, spin::Error>> {
            let connection = connection(host, &handle)?;
            let mut stream = match connection.stream(&statement, values(parameters)).await {
                Ok(stream) => stream,
                Err(error) => return Ok(Err(error.into())),
            };
            drop(connection);
            let columns = std::mem::take(&mut stream.columns);
            let (tell_end, end) = oneshot::channel();
            // A guest may wait for the end of a statement without taking its rows.
            let tell_end = match stream.take_end() {
                Some(known) => {
                    let _ = tell_end.send(known.map_err(|error| Error::from(error).into()));
                    None
                }
                None => Some(tell_end),
            };
            host.with(|mut host| {
                let given = Given { stream, ready: Vec::new(), tell_end };
                let rows = StreamReader::new(&mut host, given)?;
                // Whoever drops the rows wants no more of them: that is no error.
                let end = async move { wasmtime::error::Ok(end.await.unwrap_or(Ok(()))) };
                let end = FutureReader::new(&mut host, end)?;
                Ok(Ok((columns, rows, end)))
            })
        }

        async fn last_insert_rowid_async(
            host: &Host3,
            handle: Resource<Connection>,
        ) -> wasmtime::Result<i64> {
            Ok(connection(host, &handle)?.last_insert_rowid().await)
        }

        async fn changes_async(
            host: &Host3,
            handle: Resource<Connection>,
        ) -> wasmtime::Result<u64> {
            Ok(connection(host, &handle)?.changes().await)
        }
    }
}
