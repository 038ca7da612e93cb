//! The host's side of the interfaces in `wit/`, generated from them.

pub(crate) mod data;
pub(crate) mod http;
pub(crate) mod messaging;
pub(crate) mod otel;

#[allow(missing_docs, clippy::pedantic, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "gyre:host/capabilities",
        imports: {
            // What may wait for a disk, a server or another task.
            "fermyon:spin/key-value@2.0.0.[method]store.get": async | trappable,
            "fermyon:spin/key-value@2.0.0.[method]store.exists": async | trappable,
            "fermyon:spin/key-value@2.0.0.[method]store.set": async | trappable,
            "fermyon:spin/key-value@2.0.0.[method]store.delete": async | trappable,
            "fermyon:spin/key-value@2.0.0.[method]store.get-keys": async | trappable,
            "fermyon:spin/sqlite@2.0.0.[method]connection.execute": async | trappable,
            "fermyon:spin/variables@2.0.0.get": async | trappable,
            "wasi:config/store": async | trappable,
            "wasi:keyvalue/store.[method]bucket.get": async | trappable,
            "wasi:keyvalue/store.[method]bucket.exists": async | trappable,
            "wasi:keyvalue/store.[method]bucket.set": async | trappable,
            "wasi:keyvalue/store.[method]bucket.delete": async | trappable,
            "wasi:keyvalue/store.[method]bucket.list-keys": async | trappable,
            "wasi:keyvalue/batch": async | trappable,
            "wasi:keyvalue/atomics.[method]cas.current": async | trappable,
            "wasi:keyvalue/atomics.increment": async | trappable,
            "wasi:keyvalue/atomics.swap": async | trappable,
            default: trappable,
        },
        with: {
            "fermyon:spin/key-value@2.0.0.store": gyre_data::KeyValueStore,
            "fermyon:spin/sqlite@2.0.0.connection": crate::capability::sqlite::Connection,
            "wasi:keyvalue/store.bucket": gyre_data::KeyValueStore,
            "wasi:keyvalue/atomics.cas": crate::capability::key_value::Cas,
        },
        require_store_data_send: true,
    });
}

pub(crate) use generated::{fermyon, wasi};
