//! `wasi:io`.

use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource, ResourceTable, ResourceType},
};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, StreamError,
    bindings::io::{error, poll, streams},
};

use super::{HostState, Snapshot, borrow, ours_async, resource, same, same_async, table};

type IoError = streams::Error;

/// What is held of a stream that is forwarded.
const FORWARD_BYTES: usize = 64 << 10;

pub(super) fn add_to_linker(
    linker: &mut Linker<HostState>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    poll(linker, snapshot)?;
    if snapshot == Snapshot::Rc20231110 {
        let errors = &mut snapshot.instance(linker, "io/error")?;
        resource::<IoError>(errors, "error", drop_error)?;
        same!(errors, error::HostError, table, "[method]error.": to_debug_string(this));
    }
    streams(linker, snapshot)
}

fn drop_error(state: &mut HostState, error: Resource<IoError>) -> wasmtime::Result<()> {
    error::HostError::drop(&mut state.table, error)
}

fn poll(linker: &mut Linker<HostState>, snapshot: Snapshot) -> wasmtime::Result<()> {
    let poll = &mut snapshot.instance(linker, "io/poll")?;
    resource::<DynPollable>(poll, "pollable", |state, pollable| {
        poll::HostPollable::drop(&mut state.table, pollable)
    })?;
    let block = match snapshot {
        Snapshot::Rc20231018 => {
            same_async!(poll, poll::Host, table, "": poll(pollables) as "poll-list");
            "poll-one"
        }
        Snapshot::Rc20231110 => {
            same_async!(poll, poll::Host, table, "": poll(pollables));
            same_async!(poll, poll::HostPollable, table, "[method]pollable.": ready(this));
            "[method]pollable.block"
        }
    };
    poll.func_wrap_async(block, |mut store: StoreContextMut<'_, HostState>, (pollable,)| {
        Box::new(
            async move { poll::HostPollable::block(&mut store.data_mut().table, pollable).await },
        )
    })
}

fn streams(linker: &mut Linker<HostState>, snapshot: Snapshot) -> wasmtime::Result<()> {
    let streams = &mut snapshot.instance(linker, "io/streams")?;
    let input = ResourceType::host::<DynInputStream>();
    streams.resource_async("input-stream", input, |mut store, rep| {
        Box::new(async move {
            let table = &mut store.data_mut().table;
            streams::HostInputStream::drop(table, Resource::new_own(rep)).await
        })
    })?;
    let output = ResourceType::host::<DynOutputStream>();
    streams.resource_async("output-stream", output, |mut store, rep| {
        Box::new(async move {
            let table = &mut store.data_mut().table;
            streams::HostOutputStream::drop(table, Resource::new_own(rep)).await
        })
    })?;
    same!(
        streams, streams::HostInputStream, table, "[method]input-stream.":
        read(this, len),
        skip(this, len),
        subscribe(this),
    );
    same_async!(
        streams, streams::HostInputStream, table, "[method]input-stream.":
        blocking_read(this, len),
        blocking_skip(this, len),
    );
    same!(
        streams, streams::HostOutputStream, table, "[method]output-stream.":
        check_write(this),
        write(this, contents),
        flush(this),
        subscribe(this),
        write_zeroes(this, len),
    );
    same_async!(
        streams, streams::HostOutputStream, table, "[method]output-stream.":
        blocking_write_and_flush(this, contents),
        blocking_flush(this),
        blocking_write_zeroes_and_flush(this, len),
    );
    match snapshot {
        Snapshot::Rc20231018 => {
            resource::<IoError>(streams, "error", drop_error)?;
            same!(streams, error::HostError, table, "[method]error.": to_debug_string(this));
            ours_async!(
                streams:
                "[method]output-stream.splice" = splice => (this, from, len),
                "[method]output-stream.blocking-splice" = blocking_splice => (this, from, len),
                "[method]output-stream.forward" = forward => (this, from),
            );
        }
        Snapshot::Rc20231110 => {
            same!(
                streams, streams::HostOutputStream, table, "[method]output-stream.":
                splice(this, source, len),
            );
            same_async!(
                streams, streams::HostOutputStream, table, "[method]output-stream.":
                blocking_splice(this, source, len),
            );
        }
    }
    Ok(())
}

type Output = Resource<DynOutputStream>;
type Input = Resource<DynInputStream>;

// In 2023-10-18 the stream that is read is the host's from then on: it is closed, however much of it was read.

async fn splice(
    state: &mut HostState,
    to: Output,
    from: Input,
    len: u64,
) -> Result<u64, StreamError> {
    let table = &mut state.table;
    let result = streams::HostOutputStream::splice(table, to, borrow(&from), len);
    streams::HostInputStream::drop(table, from).await.map_err(StreamError::Trap)?;
    result
}

async fn blocking_splice(
    state: &mut HostState,
    to: Output,
    from: Input,
    len: u64,
) -> Result<u64, StreamError> {
    let table = &mut state.table;
    let result = streams::HostOutputStream::blocking_splice(table, to, borrow(&from), len).await;
    streams::HostInputStream::drop(table, from).await.map_err(StreamError::Trap)?;
    result
}

async fn forward(state: &mut HostState, to: Output, from: Input) -> Result<u64, StreamError> {
    let table = &mut state.table;
    let result = copy(table, &to, &from).await;
    streams::HostInputStream::drop(table, from).await.map_err(StreamError::Trap)?;
    result
}

/// Writes all that is still to be read. Gives the number of bytes.
async fn copy(table: &mut ResourceTable, to: &Output, from: &Input) -> Result<u64, StreamError> {
    let mut copied = 0;
    loop {
        let room = table.get_mut(to)?.write_ready().await?.min(FORWARD_BYTES);
        match table.get_mut(from)?.blocking_read(room).await {
            Ok(bytes) => {
                copied += bytes.len() as u64;
                table.get_mut(to)?.write(bytes)?;
            }
            Err(StreamError::Closed) => break,
            Err(error) => return Err(error),
        }
        // The guest's own turns end with the epoch; the host's must end, too.
        tokio::task::yield_now().await;
    }
    streams::HostOutputStream::blocking_flush(table, borrow(to)).await?;
    Ok(copied)
}
