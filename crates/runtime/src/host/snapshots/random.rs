//! `wasi:random`.

use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use super::{HostState, Snapshot, same, this};

pub(super) fn add_to_linker(
    linker: &mut Linker<HostState>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    let secure = &mut snapshot.instance(linker, "random/random")?;
    same!(secure, random::Host, this, "": get_random_bytes(len), get_random_u64());
    let insecure = &mut snapshot.instance(linker, "random/insecure")?;
    same!(
        insecure, insecure::Host, this, "":
        get_insecure_random_bytes(len),
        get_insecure_random_u64(),
    );
    let seed = &mut snapshot.instance(linker, "random/insecure-seed")?;
    same!(seed, insecure_seed::Host, this, "": insecure_seed());
    Ok(())
}
