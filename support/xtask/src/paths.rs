//! Where things are: the checkout, and the cache that outlives it.

use std::env;
use std::path::PathBuf;

/// The root of the checkout that this program was compiled in.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("xtask is two folders below the root").to_owned()
}

/// `target/` of the checkout, wherever `CARGO_TARGET_DIR` points: tests look for guests here.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// What may be built once and used by every checkout of this user. Disposable.
pub(crate) fn cache() -> PathBuf {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    base.map_or_else(|| target().join("cache"), |base| base.join("gyre"))
}

/// Where cargo puts the workspace's artefacts.
pub(crate) fn cargo_target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => target(),
    }
}
