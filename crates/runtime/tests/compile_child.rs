//! Compiling in a child process. The child is this very program, which is why it has a `main` of its own.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it is a test, with a harness of its own"
)]

use std::{
    collections::BTreeMap, fmt::Write as _, path::Path, process::ExitCode, sync::Arc, time::Instant,
};

use gyre_model::{Application, Digest, Settings, WasmFile};
use gyre_runtime::{
    CacheConfig, CompileError, Compiler, Runtime, RuntimeConfig, compile_child_main,
};

const TESTS: [(&str, fn()); 6] = [
    ("a_component_is_compiled_by_a_child_and_kept", a_component_is_compiled_by_a_child_and_kept),
    ("what_is_wrong_comes_back_in_one_paragraph", what_is_wrong_comes_back_in_one_paragraph),
    ("a_missing_file_names_its_path", a_missing_file_names_its_path),
    ("too_much_processor_time_is_said_to_be_that", too_much_processor_time_is_said_to_be_that),
    ("too_much_memory_is_said_to_be_that", too_much_memory_is_said_to_be_that),
    ("a_program_that_is_not_there_is_our_fault", a_program_that_is_not_there_is_our_fault),
];

/// What this program is called with to be the child.
const CHILD: &str = "compile-component";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == CHILD) {
        return compile_child_main(&args[1..]);
    }
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let filters: Vec<_> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let is_chosen = |name: &str| {
        filters.is_empty()
            || filters
                .iter()
                .any(|f| if has("--exact") { name == *f } else { name.contains(f.as_str()) })
    };
    for (name, test) in TESTS {
        if has("--ignored") || !is_chosen(name) {
            continue;
        }
        if has("--list") {
            println!("{name}: test");
        } else {
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

fn compile(
    wasm: &Path,
    cpu_seconds: u64,
    memory_bytes: u64,
    cache: &Path,
) -> Result<bool, CompileError> {
    let program = std::env::current_exe().unwrap();
    compile_with(program.to_str().unwrap(), wasm, cpu_seconds, memory_bytes, cache)
}

/// Compiles a component. Whether it had to be.
fn compile_with(
    program: &str,
    wasm: &Path,
    cpu_seconds: u64,
    memory_bytes: u64,
    cache: &Path,
) -> Result<bool, CompileError> {
    let compiler = Compiler::Child {
        program: program.into(),
        args: vec![CHILD.to_owned()],
        cpu_seconds,
        memory_bytes,
    };
    let cache = Some(CacheConfig { dir: cache.to_owned(), key: [3; 32] });
    let config = RuntimeConfig { cache, compiler, instances: 10, ..RuntimeConfig::default() };
    let runtime: Arc<Runtime> = Runtime::new(config).unwrap();
    let digest = Digest::of(fs_err::read(wasm).unwrap_or_default());
    let locked = serde_json::json!({ "spin_lock_version": 0, "triggers": [], "components": [] });
    let application = Application {
        locked: serde_json::from_value(locked).unwrap(),
        settings: Settings::default(),
        wasm: BTreeMap::from([("it".to_owned(), WasmFile { path: wasm.to_owned(), digest })]),
        mounts: BTreeMap::new(),
    };
    let events = std::sync::Mutex::new(0);
    runtime.compile(&application, &|_| *events.lock().unwrap() += 1)?;
    Ok(*events.lock().unwrap() == 2)
}

const GIB: u64 = 1 << 30;

fn a_component_is_compiled_by_a_child_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = dir.path().join("it.wasm");
    fs_err::write(&wasm, wat::parse_str("(component (core module (func)))").unwrap()).unwrap();
    assert!(compile(&wasm, 60, 2 * GIB, dir.path()).unwrap());
    // Which also shows that the child's engine and ours, with its pool, are of one kind.
    assert!(!compile(&wasm, 60, 2 * GIB, dir.path()).unwrap());
}

fn what_is_wrong_comes_back_in_one_paragraph() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = dir.path().join("it.wasm");
    for (bytes, reason) in [
        (&b"\0asm\x0d\0\x01\0garbage"[..], "at offset"),
        (b"\0asm\x01\0\0\0garbage", "it is no valid WebAssembly"),
    ] {
        fs_err::write(&wasm, bytes).unwrap();
        let error = compile(&wasm, 60, 2 * GIB, dir.path()).unwrap_err();
        assert!(matches!(error, CompileError::Invalid { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(reason) && !text.contains('\n'), "{text}");
    }
}

fn a_missing_file_names_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let error = compile(&dir.path().join("gone.wasm"), 60, 2 * GIB, dir.path()).unwrap_err();
    assert!(error.to_string().contains("gone.wasm"), "{error}");
}

/// A component that takes long to compile: one function of many blocks.
fn slow() -> Vec<u8> {
    let mut body = String::new();
    for n in 0..60_000 {
        let (to, a, b) = (n % 300, (n * 7) % 300, (n * 13) % 300);
        let load = format!("(i64.load (i32.const {n}))");
        let product = format!("(i64.mul (local.get {a}) (i64.add (local.get {b}) {load}))");
        writeln!(body, "(local.set {to} {product})").unwrap();
    }
    let function = format!("(func (local {}) {body})", "i64 ".repeat(300));
    wat::parse_str(format!("(component (core module (memory 1) {}))", function.repeat(8))).unwrap()
}

fn too_much_processor_time_is_said_to_be_that() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = dir.path().join("it.wasm");
    fs_err::write(&wasm, slow()).unwrap();
    let begin = Instant::now();
    let error = compile(&wasm, 1, 8 * GIB, dir.path()).unwrap_err();
    assert!(matches!(error, CompileError::Limit { .. }), "{error:?}, after {:?}", begin.elapsed());
    assert!(error.to_string().contains("more than 1 s of processor time"), "{error}");
}

fn too_much_memory_is_said_to_be_that() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = dir.path().join("it.wasm");
    fs_err::write(&wasm, slow()).unwrap();
    let error = compile(&wasm, 120, 64 << 20, dir.path()).unwrap_err();
    assert!(matches!(error, CompileError::Limit { .. }), "{error:?}");
    assert!(error.to_string().contains("more than 64 MiB of memory"), "{error}");
}

fn a_program_that_is_not_there_is_our_fault() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = dir.path().join("it.wasm");
    fs_err::write(&wasm, wat::parse_str("(component)").unwrap()).unwrap();
    let error = compile_with("/nowhere/gyre", &wasm, 60, 2 * GIB, dir.path()).unwrap_err();
    assert!(matches!(error, CompileError::Failed { .. }), "{error:?}");
    assert!(error.to_string().contains("the compiler cannot be started"), "{error}");
}
