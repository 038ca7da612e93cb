//! Where the guests, the SDKs' applications and the toolchain for guests are: `cargo xtask guests` and
//! `cargo xtask apps` put them below `target/` of the checkout.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// The root of the checkout.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the kit is two folders below the root").to_owned()
}

/// The component of `support/guests` with that name (`hello`, `evil-loop`).
#[track_caller]
pub fn guest(name: &str) -> PathBuf {
    let path = root().join("target/guests").join(format!("{name}.wasm"));
    assert!(path.is_file(), "no {}: run `cargo xtask guests`", path.display());
    path
}

/// The folder with `spin.toml` and `app.wasm` of an SDK's application (`rust`, `js`, `python`).
#[track_caller]
pub fn sdk_app(name: &str) -> PathBuf {
    let path = root().join("target/apps").join(name);
    assert!(path.join("app.wasm").is_file(), "no {}: run `cargo xtask apps`", path.display());
    path
}

#[derive(Deserialize)]
struct Toolchain {
    environment: BTreeMap<String, String>,
}

/// What `cargo build --target wasm32-wasip2` must find in its environment on this machine.
#[track_caller]
pub fn guest_toolchain() -> BTreeMap<String, String> {
    let path = root().join("target/guests/toolchain.json");
    let text = fs_err::read_to_string(path).expect("run `cargo xtask guests`");
    let toolchain: Toolchain = serde_json::from_str(&text).unwrap();
    toolchain.environment
}
