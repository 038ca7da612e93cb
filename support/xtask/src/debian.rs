//! A toolchain for guests from Debian's packages: its newest Rust as compiler, its sources and wasi-libc
//! for the standard library, and the linker of the Rust that is already here.
//!
//! Nothing but the packages themselves is written outside of the cache: the standard libraries go into a
//! folder of their own that `--sysroot` points at.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::digest::{self, Inputs};
use crate::toolchain::{TARGETS, Toolchain, has_standard_library};
use crate::{packages, paths, process};

const RUSTC: &str = "/usr/bin/rustc";
const SOURCES: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";
const LIBC: &str = "/usr/lib/wasm32-wasi";
const PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "wasi-libc"];

/// Linkers that rustc starts by name for these targets. They come with the host's own Rust.
const LINKERS: [&str; 3] = ["rust-lld", "wasm-component-ld", "gcc-ld"];

/// Builds the standard libraries once (some minutes), then only points at them.
pub(crate) fn provide() -> Result<Toolchain> {
    if !Path::new(SOURCES).exists() || !Path::new(LIBC).exists() || !Path::new(RUSTC).exists() {
        packages::install(&PACKAGES)?;
    }
    let version = process::output_of(process::command(RUSTC).arg("-vV"))
        .with_context(|| format!("{RUSTC} does not run"))?;
    let Some(host) = version.lines().find_map(|line| line.strip_prefix("host: ")) else {
        bail!("`{RUSTC} -vV` names no host");
    };
    let linkers = linkers(host)?;
    let mut inputs = Inputs::new();
    inputs.text(&version).text(&linkers.to_string_lossy()).text(include_str!("debian.rs"));
    let (sysroot, is_new) =
        digest::fill_once(&paths::cache(), "guest-sysroot", &inputs.finish(), |folder| {
            println!("Building the standard library for guests (once, some minutes)");
            build(folder, host, &linkers)
        })?;
    if is_new {
        println!("Built: {}", sysroot.display());
    }
    Ok(Toolchain { identity: version, environment: environment(&sysroot) })
}

/// Environment for a cargo that compiles against `sysroot`, for the guests' targets only: build scripts and
/// macros are compiled against the compiler's own.
fn environment(sysroot: &Path) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([("RUSTC".to_owned(), RUSTC.to_owned())]);
    for target in TARGETS {
        let name = target.to_uppercase().replace('-', "_");
        let flags = format!("--sysroot={}", sysroot.display());
        environment.insert(format!("CARGO_TARGET_{name}_RUSTFLAGS"), flags);
    }
    environment
}

/// The folder with the linkers of the Rust on the path.
fn linkers(host: &str) -> Result<PathBuf> {
    let sysroot = process::output_of(process::command("rustc").args(["--print", "sysroot"]))
        .context("there is no rustc on the path")?;
    let folder = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin");
    for linker in LINKERS {
        if !folder.join(linker).exists() {
            bail!("the Rust on the path has no {linker} in {}", folder.display());
        }
    }
    Ok(folder)
}

fn build(sysroot: &Path, host: &str, linkers: &Path) -> Result<()> {
    let tools = sysroot.join("lib/rustlib").join(host).join("bin");
    fs::create_dir_all(&tools)?;
    for linker in LINKERS {
        symlink(linkers.join(linker), tools.join(linker))
            .with_context(|| format!("linking {linker}"))?;
    }
    let seed = tempfile::tempdir()?;
    fs::create_dir_all(seed.path().join("src"))?;
    fs::write(seed.path().join("src/lib.rs"), "")?;
    fs::write(seed.path().join("Cargo.toml"), SEED)?;
    for target in TARGETS {
        println!("  {target}");
        let libraries = sysroot.join("lib/rustlib").join(target).join("lib");
        let contained = libraries.join("self-contained");
        fs::create_dir_all(&contained)?;
        for file in ["crt1-command.o", "crt1-reactor.o", "libc.a"] {
            fs::copy(Path::new(LIBC).join(file), contained.join(file))?;
        }
        let mut command = process::command("cargo");
        command
            .current_dir(seed.path())
            .env("RUSTC", RUSTC)
            .env("RUSTC_BOOTSTRAP", "1")
            // Bitcode, so that guests may ask for link-time optimisation.
            .env("RUSTFLAGS", "-Cembed-bitcode=yes")
            .args(["build", "--release", "--target", target])
            .arg("-Zbuild-std=std,panic_abort,test");
        process::run_quietly(&mut command, "building the standard library for guests")?;
        let built = seed.path().join("target").join(target).join("release/deps");
        for entry in fs::read_dir(&built)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_library = entry.path().extension().is_some_and(|extension| extension == "rlib");
            if is_library && !name.starts_with("libseed") {
                fs::copy(entry.path(), libraries.join(&name))?;
            }
        }
        if !has_standard_library(&libraries) {
            bail!("the build for {target} left no standard library in {}", built.display());
        }
    }
    Ok(())
}

const SEED: &str = "[package]
name = \"seed\"
version = \"0.0.0\"
edition = \"2021\"

[profile.release]
opt-level = 3
codegen-units = 1
debug = 0

[workspace]
";
