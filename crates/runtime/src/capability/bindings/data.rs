//! Stores, databases and variables: the versions before and after `fermyon:spin@2.0.0`, generated from `wit/data.wit`.

#[allow(missing_docs, clippy::pedantic, reason = "generated")]
mod sync {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "gyre:host/data",
        imports: {
            "fermyon:spin/key-value.get": async | trappable,
            "fermyon:spin/key-value.set": async | trappable,
            "fermyon:spin/key-value.delete": async | trappable,
            "fermyon:spin/key-value.exists": async | trappable,
            "fermyon:spin/key-value.get-keys": async | trappable,
            "fermyon:spin/sqlite.execute": async | trappable,
            "fermyon:spin/config.get-config": async | trappable,
            "spin:sqlite/sqlite@3.0.0.[method]connection.execute": async | trappable,
            "spin:sqlite/sqlite@3.0.0.[method]connection.last-insert-rowid": async | trappable,
            "spin:sqlite/sqlite@3.0.0.[method]connection.changes": async | trappable,
            default: trappable,
        },
        with: {
            "spin:sqlite/sqlite@3.0.0.connection": crate::capability::sqlite::Connection,
        },
        require_store_data_send: true,
    });
}

#[allow(missing_docs, clippy::pedantic, reason = "generated")]
mod concurrent {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "gyre:host/data-async",
        imports: {
            "spin:sqlite/sqlite@3.1.0.[method]connection.execute": async | trappable,
            "spin:sqlite/sqlite@3.1.0.[method]connection.last-insert-rowid": async | trappable,
            "spin:sqlite/sqlite@3.1.0.[method]connection.changes": async | trappable,
            default: trappable,
        },
        with: {
            "spin:key-value/key-value@3.0.0.store": gyre_data::KeyValueStore,
            "spin:sqlite/sqlite@3.1.0.connection": crate::capability::sqlite::Connection,
        },
        require_store_data_send: true,
    });
}

pub(crate) use concurrent::spin as spin3;
pub(crate) use sync::{fermyon, spin};
