//! Builds `support/guests` (and, when asked, the prebuilt sample of `examples/hello`), once for each
//! state of sources and compiler.

use std::path::Path;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::digest::{self, Inputs};
use crate::toolchain::{self, Toolchain};
use crate::{paths, process};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Renew the prebuilt component of `examples/hello`
    #[arg(long)]
    example: bool,
}

/// The largest component that may be in the repository.
const EXAMPLE_LIMIT: usize = 100_000;

/// The name of the custom section that says which sources a prebuilt component was made of.
const SECTION: &str = "gyre.sources";

pub(crate) fn run(args: &Args) -> Result<()> {
    let toolchain = toolchain::provide()?;
    build(&toolchain)?;
    if args.example {
        renew_example(&toolchain)?;
    }
    Ok(())
}

/// The guests that are core modules.
const MODULES: [&str; 6] =
    ["--bins", "--features=modules", "--example", "hello-2022", "--example", "sdk-2022"];

/// Builds the guests and puts them where tests look: `target/guests/<name>.wasm`, with the toolchain's
/// environment in `toolchain.json` for those tests that run a build of their own.
pub(crate) fn build(toolchain: &Toolchain) -> Result<()> {
    let sources = paths::root().join("support/guests");
    let mut inputs = Inputs::new();
    inputs.text(&toolchain.identity).files(&sources, &["target"])?;
    // Some of their bindings are made from these.
    inputs.files(&paths::root().join("wit"), &[])?;
    let digest = inputs.finish();
    let (folder, is_new) = digest::fill_once(&paths::cache(), "guests", &digest, |folder| {
        println!("Building the guests");
        let build = paths::cache().join("build/guests");
        for (target, which) in [("wasm32-wasip2", &["--examples"][..]), ("wasm32-wasip1", &MODULES)]
        {
            let mut cargo = toolchain.cargo();
            cargo.current_dir(&sources).args(["build", "--release", "--locked"]).args(which);
            cargo.args(["--target", target]).arg("--target-dir").arg(&build);
            process::run_quietly(&mut cargo, "building the guests")?;
        }
        collect(&build.join("wasm32-wasip2/release/examples"), folder)?;
        collect(&build.join("wasm32-wasip1/release/examples"), folder)?;
        collect(&build.join("wasm32-wasip1/release"), folder)
    })?;
    let place = paths::target().join("guests");
    fs::create_dir_all(&place)?;
    let _lock = digest::lock(&place.join(".lock"))?;
    let environment = serde_json::to_string_pretty(toolchain)?;
    let stamp = place.join("digest");
    let is_current = fs::read_to_string(&stamp).is_ok_and(|current| current == digest);
    if is_new || !is_current {
        for entry in fs::read_dir(&place)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "wasm") {
                fs::remove_file(path)?;
            }
        }
        let mut count = 0;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            fs::copy(entry.path(), place.join(entry.file_name()))?;
            count += 1;
        }
        fs::write(&stamp, &digest)?;
        println!("{count} guests in {}", place.display());
    }
    fs::write(place.join("toolchain.json"), environment)?;
    Ok(())
}

/// Copies `<name>.wasm` files, with `-` for `_` in their names; cargo's hashed twins are left.
fn collect(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        if path.extension().is_some_and(|extension| extension == "wasm") && !name.contains('-') {
            fs::copy(&path, to.join(format!("{}.wasm", name.replace('_', "-"))))?;
        }
    }
    Ok(())
}

/// Rebuilds `examples/hello/hello.wasm`, marked with the digest of its sources.
fn renew_example(toolchain: &Toolchain) -> Result<()> {
    let folder = paths::root().join("examples/hello");
    let build = paths::cache().join("build/example");
    println!("Building examples/hello");
    let mut cargo = toolchain.cargo();
    cargo.current_dir(&folder).args(["build", "--release", "--locked"]);
    cargo.args(["--target", "wasm32-wasip2"]).arg("--target-dir").arg(&build);
    process::run_quietly(&mut cargo, "building examples/hello")?;
    let mut component = fs::read(build.join("wasm32-wasip2/release/hello.wasm"))?;
    append_section(&mut component, &example_digest()?);
    if component.len() > EXAMPLE_LIMIT {
        bail!("hello.wasm would be {} bytes; at most {EXAMPLE_LIMIT} may be", component.len());
    }
    let place = folder.join("hello.wasm");
    fs::write(&place, &component)?;
    println!("{} ({} bytes)", place.display(), component.len());
    Ok(())
}

/// Fails if the prebuilt sample was made of other sources than those beside it.
pub(crate) fn check_example() -> Result<()> {
    let path = paths::root().join("examples/hello/hello.wasm");
    let component = fs::read(&path)?;
    let mut expected = Vec::new();
    append_section(&mut expected, &example_digest()?);
    if !component.ends_with(&expected) {
        bail!(
            "examples/hello/hello.wasm was not made of the sources beside it: \
             run `cargo xtask guests --example`"
        );
    }
    Ok(())
}

fn example_digest() -> Result<String> {
    let folder = paths::root().join("examples/hello");
    let mut inputs = Inputs::new();
    for part in ["src", "Cargo.toml", "Cargo.lock"] {
        inputs.files(&folder.join(part), &[]).context("reading examples/hello")?;
    }
    Ok(inputs.finish())
}

/// Appends a custom section, which every reader of components ignores.
fn append_section(component: &mut Vec<u8>, content: &str) {
    let mut payload = vec![SECTION.len() as u8];
    payload.extend(SECTION.as_bytes());
    payload.extend(content.as_bytes());
    assert!(payload.len() < 128, "one byte holds its length");
    component.extend([0, payload.len() as u8]);
    component.extend(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prebuilt_sample_was_made_of_the_sources_beside_it() {
        check_example().unwrap();
    }

    #[test]
    fn a_custom_section_is_an_id_a_length_a_name_and_content() {
        let mut component = b"\0asm".to_vec();
        append_section(&mut component, "abc");
        assert_eq!(component, b"\0asm\x00\x10\x0cgyre.sourcesabc");
    }
}
