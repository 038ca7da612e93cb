//! Telemetry of guests' own, generated from `wit/otel.wit`.

#[allow(missing_docs, clippy::pedantic, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "gyre:host/otel",
        imports: {
            "wasi:otel/metrics@0.2.0-rc.2.export": async | trappable,
            default: trappable,
        },
        require_store_data_send: true,
    });
}

pub(crate) use generated::wasi::{clocks0_2_0::wall_clock, otel};
