//! Redis and MQTT, generated from `wit/messaging.wit`.

#[allow(missing_docs, clippy::pedantic, reason = "generated")]
mod sync {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "gyre:host/messaging",
        imports: { default: async | trappable },
        with: {
            "fermyon:spin/redis@2.0.0.connection": crate::capability::redis::Connection,
            "fermyon:spin/mqtt@2.0.0.connection": crate::capability::mqtt::Connection,
        },
        require_store_data_send: true,
    });
}

#[allow(missing_docs, clippy::pedantic, reason = "generated")]
mod concurrent {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "gyre:host/messaging-async",
        imports: { default: trappable },
        with: {
            "spin:redis/redis@3.0.0.connection": crate::capability::redis::Connection,
            "spin:mqtt/mqtt@3.0.0.connection": crate::capability::mqtt::Connection,
        },
        require_store_data_send: true,
    });
}

pub(crate) use concurrent::spin as spin3;
pub(crate) use sync::fermyon::{spin as spin1, spin2_0_0 as spin2};
