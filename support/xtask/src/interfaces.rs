//! Writes `docs/reference/interfaces.md`: what a component may import and export, and which test program uses it.
//!
//! The interfaces are read out of the definitions that the host is generated from; which functions are used, out of the
//! compiled programs in `support/guests` (their imports are what they call: what a program does not use, the linker
//! leaves out, and a component without code of its own calls nothing); who runs a program, out of the tests' sources,
//! without their comments. So a function that no test's program calls is listed as not tested, whatever anybody
//! believes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use walkdir::WalkDir;
use wit_component::DecodedWasm;
use wit_parser::{Resolve, WorldItem, WorldKey};

use crate::{guests, paths, process, toolchain};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fail if the page is not as it would be written
    #[arg(long)]
    pub(crate) check: bool,
}

/// The page.
const PAGE: &str = "docs/reference/interfaces.md";

/// Packages of definitions that only describe others' worlds, or are there because another package names them.
const NOT_OFFERED: [&str; 2] = ["gyre:host", "wasi:tls"];

/// Interfaces of which no program calls anything, by how their names begin, and why. Whatever else is not called fails
/// the check.
const REASONS: [(&str, &str); 1] = [(
    "wasi:cli/run@0.2.0-rc-",
    "nothing calls it, in Spin neither: programs that are run export 0.2.x or 0.3.0",
)];

/// Why nothing of an interface is called, if there is a reason.
fn reason(interface: &str) -> Option<&'static str> {
    REASONS.iter().find(|(of, _)| interface.starts_with(of)).map(|(_, reason)| *reason)
}

/// Tests that are listed for an interface; more are counted.
const TESTS_SHOWN: usize = 4;

/// The interfaces of each version of a package, with their functions.
type Offered = BTreeMap<String, BTreeSet<String>>;

/// The functions of each interface that programs use, with the programs.
type Used = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

pub(crate) fn run(args: &Args) -> Result<()> {
    let toolchain = toolchain::provide()?;
    guests::build(&toolchain)?;
    let (page, missing) = page(&offered()?, &used()?, &tests()?);
    let path = paths::root().join(PAGE);
    if !args.check {
        fs::write(&path, page)?;
        println!("{}", path.display());
        for function in missing {
            println!("not called by a program of a test: {function}");
        }
        return Ok(());
    }
    if !missing.is_empty() {
        bail!("no program of a test calls {}", missing.join(", "));
    }
    if fs::read_to_string(&path).unwrap_or_default() != page {
        bail!("{PAGE} is not up to date: run `cargo xtask interfaces`");
    }
    println!("{PAGE} is up to date");
    Ok(())
}

/// Everything in the definitions that the host is generated from.
fn offered() -> Result<Offered> {
    let mut offered = Offered::new();
    let mut folders = vec![paths::root().join("wit")];
    folders.extend(wasi_definitions()?);
    for folder in folders {
        let mut resolve = Resolve::default();
        resolve.push_dir(&folder).with_context(|| folder.display().to_string())?;
        for (id, interface) in &resolve.interfaces {
            let Some(name) = resolve.id_of(id) else { continue };
            let is_other = NOT_OFFERED.iter().any(|package| name.starts_with(package));
            if !is_other && !interface.functions.is_empty() {
                let functions = interface.functions.keys().map(|name| plain(name));
                offered.entry(name).or_default().extend(functions);
            }
        }
    }
    Ok(offered)
}

/// The folders of WASI's definitions: they come with the engine.
fn wasi_definitions() -> Result<Vec<PathBuf>> {
    let mut cargo = process::command("cargo");
    cargo.current_dir(paths::root()).args(["metadata", "--format-version", "1", "--locked"]);
    let output = cargo.output().context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has packages")?;
    let manifest = packages
        .iter()
        .find(|package| package["name"] == "wasmtime-wasi-http")
        .and_then(|package| package["manifest_path"].as_str())
        .context("wasmtime-wasi-http is not among the dependencies")?;
    let source = Path::new(manifest);
    Ok(["wit", "src/p3/wit"].map(|folder| source.with_file_name(folder)).into())
}

/// What the programs call.
fn used() -> Result<Used> {
    let mut used = Used::new();
    let mut programs: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(paths::target().join("guests"))? {
        programs.push(entry?.path());
    }
    for entry in WalkDir::new(paths::root().join("crates")) {
        programs.push(entry?.into_path());
    }
    for path in programs {
        let is_program = path.extension().is_some_and(|it| it == "wasm" || it == "wat");
        if !is_program {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(bytes) = wat::parse_file(&path) else { continue };
        if !has_code(&bytes) {
            continue;
        }
        // Core modules import what their adapter translates.
        let Ok(DecodedWasm::Component(resolve, world)) = wit_component::decode(&bytes) else {
            continue;
        };
        let world = &resolve.worlds[world];
        for (key, item) in world.imports.iter().chain(&world.exports) {
            let (WorldKey::Interface(id), WorldItem::Interface { .. }) = (key, item) else {
                continue;
            };
            let Some(interface) = resolve.id_of(*id) else { continue };
            for function in resolve.interfaces[*id].functions.keys() {
                let functions = used.entry(interface.clone()).or_default();
                functions.entry(plain(function)).or_default().insert(name.clone());
            }
        }
    }
    Ok(used)
}

/// Whether there are instructions in it, or in a component or module within it.
fn has_code(bytes: &[u8]) -> bool {
    let mut payloads = wasmparser::Parser::new(0).parse_all(bytes);
    payloads.any(|it| matches!(it, Ok(wasmparser::Payload::CodeSectionEntry(_))))
}

/// The sources of tests that run programs, without comments, by their place in the repository.
fn tests() -> Result<Vec<(String, String)>> {
    let mut tests = Vec::new();
    for entry in WalkDir::new(paths::root().join("crates")).sort_by_file_name() {
        let path = entry?.into_path();
        let shown = path.strip_prefix(paths::root())?.display().to_string();
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        let is_test = is_source && shown.contains("tests");
        let text = if is_test { code(&fs::read_to_string(&path)?) } else { String::new() };
        if runs_programs(&text) {
            tests.push((shown, text));
        }
    }
    Ok(tests)
}

/// Whether a source gets programs to run, by the test kit or out of a file beside it.
fn runs_programs(text: &str) -> bool {
    let by_test_kit =
        text.contains("gyre_testkit") && (text.contains("guest(") || text.contains("TestApp"));
    by_test_kit || text.contains("include_str!(")
}

/// A source without the lines that are only comments.
fn code(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A function's name as people write it: `[method]store.get` is `store.get`.
fn plain(name: &str) -> String {
    name.rsplit(']').next().unwrap_or(name).to_owned()
}

/// The tests that name one of the programs.
fn running<'a>(tests: &'a [(String, String)], programs: &BTreeSet<&String>) -> BTreeSet<&'a str> {
    let runs = |text: &str| {
        programs.iter().any(|program| {
            text.contains(&format!("\"{program}\"")) || text.contains(&format!("{program}.wat\""))
        })
    };
    tests.iter().filter(|(_, text)| runs(text)).map(|(path, _)| path.as_str()).collect()
}

/// The page, and the functions that no test calls without a reason.
fn page(offered: &Offered, used: &Used, tests: &[(String, String)]) -> (String, Vec<String>) {
    let mut rows = String::new();
    let mut missing = Vec::new();
    let (mut all, mut tested) = (0, 0);
    for (interface, functions) in offered {
        let users = calls_of(used, interface);
        let is_tested = |function: &&String| {
            users
                .get(*function)
                .is_some_and(|programs| !running(tests, &programs.iter().collect()).is_empty())
        };
        let (with, without): (Vec<_>, Vec<_>) = functions.iter().partition(is_tested);
        all += functions.len();
        tested += with.len();
        let programs: BTreeSet<&String> =
            with.iter().flat_map(|function| users[*function].iter()).collect();
        let places = running(tests, &programs);
        let list = |names: &[&String]| {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            if names.is_empty() { "–".to_owned() } else { names.join(" ") }
        };
        let reason = reason(interface);
        if reason.is_none() {
            missing.extend(without.iter().map(|function| format!("{interface} {function}")));
        }
        let mut without = list(&without);
        if let Some(reason) = reason {
            let _ = write!(without, " ({reason})");
        }
        let count = places.len();
        let mut places: Vec<String> =
            places.iter().take(TESTS_SHOWN).map(|place| format!("`{place}`")).collect();
        if count > TESTS_SHOWN {
            places.push(format!("and {} more", count - TESTS_SHOWN));
        }
        let _ = writeln!(
            rows,
            "| `{interface}` | {} | {} | {} |",
            list(&with),
            without,
            places.join(" ")
        );
    }
    let page = format!(
        "# Interfaces\n\n\
         What a component may import or export, by the version that it names. A component that names a compatible one \
         (the same first number, or the same second after a zero) is served by it, too.\n\n\
         `cargo xtask interfaces` writes this page: the interfaces out of the definitions that the host is made of, \
         the functions that are tested out of the programs that tests run. {tested} of {all} functions are called by \
         a program of a test; of the others, it is said why.\n\n\
         | interface | functions that tests call | not called by a test | tests |\n|---|---|---|---|\n{rows}"
    );
    (page, missing)
}

/// What programs call of an interface, those that name a compatible version of it included.
fn calls_of(used: &Used, interface: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut calls: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, functions) in used {
        if name == interface || track(name).is_some_and(|it| Some(it) == track(interface)) {
            for (function, programs) in functions {
                calls.entry(function.clone()).or_default().extend(programs.iter().cloned());
            }
        }
    }
    calls
}

/// The name with as much of the version as compatible ones share; nothing for drafts and candidates.
fn track(interface: &str) -> Option<String> {
    let (name, version) = interface.split_once('@')?;
    if version.contains('-') {
        return None;
    }
    let version = version.split('+').next().unwrap_or(version);
    let mut numbers = version.split('.');
    let first = numbers.next()?;
    let kept = if first == "0" { format!("0.{}", numbers.next()?) } else { first.to_owned() };
    Some(format!("{name}@{kept}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_what_a_program_of_a_test_calls_is_tested() {
        let offered = Offered::from([("a:b/c@1.2.0".to_owned(), set(&["get", "set", "drop-it"]))]);
        let called = BTreeMap::from([
            ("get".to_owned(), set(&["one"])),
            ("set".to_owned(), set(&["nobody-runs-it"])),
        ]);
        let used = Used::from([("a:b/c@1.0.0".to_owned(), called)]);
        let tests = [("tests/e2e.rs".to_owned(), "guest(\"one\")".to_owned())];
        let (page, missing) = page(&offered, &used, &tests);
        assert_eq!(missing, ["a:b/c@1.2.0 drop-it", "a:b/c@1.2.0 set"]);
        assert!(page.contains("1 of 3 functions"), "{page}");
        let row = "| `a:b/c@1.2.0` | `get` | `drop-it` `set` | `tests/e2e.rs` |";
        assert!(page.contains(row), "{page}");
    }

    #[test]
    fn what_is_only_linked_or_only_mentioned_is_not_tested() {
        let linked = "(component (import \"a:b/c\" (instance (export \"get\" (func)))))";
        assert!(!has_code(&wat::parse_str(linked).unwrap()));
        let calls = "(component (core module (func)))";
        assert!(has_code(&wat::parse_str(calls).unwrap()));
        let source = "use gyre_testkit::guest;\n    /// guest(\"two\")\nfn it() {}\n";
        assert!(runs_programs(source) && !runs_programs(&code(source)));
    }

    #[test]
    fn candidates_are_compatible_with_nothing_else() {
        assert_eq!(track("wasi:http/types@0.2.3"), Some("wasi:http/types@0.2".to_owned()));
        assert_eq!(track("spin:sqlite/sqlite@3.1.0"), Some("spin:sqlite/sqlite@3".to_owned()));
        assert_eq!(track("wasi:http/types@0.2.0-rc-2023-10-18"), None);
        assert_eq!(track("fermyon:spin/http"), None);
    }
}
