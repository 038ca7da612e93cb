//! What PostgreSQL and MySQL have in common: the interfaces' types, limits, and streams of rows.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::mpsc;
use wasmtime::{
    StoreContextMut,
    component::{Destination, StreamProducer, StreamResult, VecBuffer},
};

#[allow(missing_docs, clippy::pedantic, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "gyre:host/sql",
        imports: { default: async | trappable },
        with: {
            "spin:postgres/postgres@4.2.0.connection": crate::capability::postgres::Connection,
            "spin:postgres/postgres@4.2.0.connection-builder": crate::capability::postgres::Builder,
            "spin:postgres/postgres@3.0.0.connection": crate::capability::postgres::Connection,
            "fermyon:spin/postgres@2.0.0.connection": crate::capability::postgres::Connection,
            "spin:mysql/mysql@3.0.0.connection": crate::capability::mysql::Connection,
            "fermyon:spin/mysql@2.0.0.connection": crate::capability::mysql::Connection,
        },
        require_store_data_send: true,
    });
}

pub(crate) use generated::{fermyon, spin};

/// The most bytes that the host holds of one result.
pub(super) const RESULT_BYTES: usize = 128 << 20;

/// How long opening a connection may take, with TLS, login and the wait for a free place in a pool.
pub(super) const CONNECT_TIMEOUT: Duration =
    if cfg!(test) { Duration::from_millis(1500) } else { Duration::from_secs(30) };

/// How long a server may be silent while it works on a statement.
pub(super) const ANSWER_TIMEOUT: Duration =
    if cfg!(test) { Duration::from_secs(5) } else { Duration::from_secs(600) };

/// Rows of a stream that wait for the guest.
pub(super) const ROWS_AHEAD: usize = 4;

/// Spin's words for a result that is too large.
pub(super) fn too_large() -> String {
    format!("query result exceeds limit of {RESULT_BYTES} bytes")
}

/// The words for a server that says nothing.
pub(super) fn no_answer(after: Duration) -> String {
    format!("the server did not answer within {} seconds", after.as_secs_f32())
}

/// Rows on their way into a guest's stream.
pub(super) struct Rows<R> {
    from: mpsc::Receiver<R>,
    ready: Vec<R>,
}

impl<R> Rows<R> {
    pub(super) fn new(from: mpsc::Receiver<R>) -> Self {
        Self { from, ready: Vec::new() }
    }
}

impl<R: wasmtime::component::Lower + Unpin + Send + Sync + 'static, T> StreamProducer<T>
    for Rows<R>
{
    type Item = R;
    type Buffer = VecBuffer<R>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'a, T>,
        mut destination: Destination<'a, R, VecBuffer<R>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let Self { from, ready } = self.get_mut();
        if ready.is_empty() {
            match from.poll_recv_many(cx, ready, ROWS_AHEAD) {
                Poll::Ready(0) => return Poll::Ready(Ok(StreamResult::Dropped)),
                Poll::Ready(_) => {}
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // A read of nothing only asks whether there is something.
        if destination.remaining(store) != Some(0) {
            destination.set_buffer(std::mem::take(ready).into());
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}
