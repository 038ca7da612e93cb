//! Spin 1's HTTP, generated from `wit/http.wit`.

#[allow(missing_docs, clippy::pedantic, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "gyre:host/spin-http",
        imports: { default: async | trappable },
        exports: { default: async },
        require_store_data_send: true,
    });
}

pub(crate) use generated::{SpinHttpPre, fermyon::spin};
