//! The engines that all apps of a process share: their settings, their pools, and the clock that interrupts guests.
//!
//! There are two, one for each way in which components call and are called: the second costs every call something,
//! and most components do not need it. A component is compiled for the one that it needs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, component::Linker,
};

use crate::{
    App, AppSpec, CacheConfig, Compiler,
    cache::Cache,
    capability,
    compile::Compilation,
    handler::{Budget, INSTANCE_SWEEP},
    host::{self, HostState},
    idle::{self, LoadedApps},
    limiter,
};

/// How often guests are interrupted to look at their deadlines and to let others have their turn: what somebody else's
/// endless loop may add to the time of a request.
pub(crate) const EPOCH: Duration = Duration::from_millis(1);

/// The stack that a guest's own code may use.
const WASM_STACK_BYTES: usize = 512 << 10;

/// The stack on which guest and host run together.
const ASYNC_STACK_BYTES: usize = 2 << 20;

/// The part of that stack that is cleared by writing zeros. Most calls touch no more; what is below is given back to the system,
/// which costs a call into it, and an interruption of every other core that runs guests.
const STACK_KEPT_BYTES: usize = 48 << 10;

/// Stacks that are given back together, so that they share that cost. They are used again only then. With 16 of them a
/// small request takes an eighth less time than with one.
const STACKS_AT_ONCE: usize = 16;

/// How a runtime is set up.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Where compiled code is kept. Without it each load compiles anew, in memory.
    pub cache: Option<CacheConfig>,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// Whether instances come from a pool that is reserved at the start. Where the address space does not allow
    /// for it they are allocated one by one all the same.
    pub is_pooling: bool,
    /// Instances that may exist at once in the process.
    pub instances: u32,
    /// The pool's other measures.
    pub pool: PoolSettings,
    /// Whether the stack that a guest ran on is cleared before another guest's run. No compiled code reads what it
    /// did not write there; this holds even if the compiler should once be wrong about that. It costs some 2.5
    /// microseconds a request.
    pub clears_stacks: bool,
    /// Apps that nobody asks for in this time are unloaded. Without a cache none is, since loading it again would
    /// mean compiling it again.
    pub idle_time: Option<Duration>,
    /// Apps that stay loaded; beyond them the least recently used one that is not in use is unloaded.
    pub max_loaded: usize,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            cache: None,
            compiler: Compiler::InProcess,
            is_pooling: true,
            instances: 1_000,
            pool: PoolSettings::default(),
            clears_stacks: true,
            idle_time: Some(Duration::from_mins(10)),
            max_loaded: 2_000,
        }
    }
}

/// Measures of the pool of instances that are other than usual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolSettings(BTreeMap<&'static str, u64>);

/// What environment variables say of the pool, after `SPIN_WASMTIME_`.
const POOL_SETTINGS: [&str; 15] = [
    "INSTANCE_COUNT",
    "TOTAL_MEMORIES",
    "TOTAL_TABLES",
    "TOTAL_STACKS",
    "TOTAL_CORE_INSTANCES",
    "INSTANCE_TABLE_ELEMENTS",
    "INSTANCE_SIZE",
    "CORE_INSTANCE_SIZE",
    "CORE_INSTANCE_COUNT",
    "INSTANCE_TABLES",
    "INSTANCE_MEMORIES",
    "MAX_TABLES_PER_MODULE",
    "MAX_MEMORIES_PER_MODULE",
    "LINEAR_MEMORY_KEEP_RESIDENT",
    "TABLE_KEEP_RESIDENT",
];

impl PoolSettings {
    /// What `SPIN_WASMTIME_*` say: counts, and sizes in bytes. What a component may be made of can be lowered by them,
    /// not raised.
    ///
    /// # Errors
    /// A value is not a number that it can be: the text names the variable.
    pub fn from_environment(variables: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut settings = BTreeMap::new();
        for name in POOL_SETTINGS {
            let variable = format!("SPIN_WASMTIME_{name}");
            let Some(text) = variables.get(&variable) else { continue };
            let wrong = |why: &dyn std::fmt::Display| {
                format!("failed to parse env var `{variable}={text}`: {why}")
            };
            let value: u32 = text.parse().map_err(|error| wrong(&error))?;
            settings.insert(name, u64::from(value));
        }
        Ok(Self(settings))
    }

    fn get(&self, name: &str, usual: u32) -> u32 {
        self.0.get(name).map_or(usual, |value| *value as u32)
    }

    fn size(&self, name: &str, usual: usize) -> usize {
        self.0.get(name).map_or(usual, |value| *value as usize)
    }
}

/// Why there is no runtime.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine refuses its settings or this processor.
    #[error("cannot start the WebAssembly engine")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The folder for compiled code cannot be used.
    #[error("cannot use the folder for compiled code")]
    Cache(#[source] std::io::Error),
    /// No thread for the epoch clock.
    #[error("cannot start the thread that interrupts guests")]
    Thread(#[source] std::io::Error),
}

/// How components call and are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Abi {
    /// Without the component model's own concurrency: up to WASI 0.2.
    Sync,
    /// With asynchronous functions, streams and futures: WASI 0.3 and the interfaces of its time.
    Async,
}

/// An engine and what is linked to every component that is compiled for it.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<HostState>,
    /// The same for apps whose guests may trace, measure and log: made when there is one.
    tracing_linker: OnceLock<Linker<HostState>>,
    /// Where its code is kept.
    pub(crate) cache: Option<Cache>,
}

impl Host {
    fn new(abi: Abi, config: &RuntimeConfig) -> Result<Self, RuntimeError> {
        let failed = |error: wasmtime::Error| RuntimeError::Engine(error.into());
        let engine = start(abi, config).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        link(&mut linker, abi).map_err(failed)?;
        let cache = config.cache.as_ref().map(|cache| Cache::open(cache, &engine)).transpose();
        let cache = cache.map_err(RuntimeError::Cache)?;
        Ok(Self { engine, linker, tracing_linker: OnceLock::new(), cache })
    }

    /// What is linked to the components of an app that has `wasi:otel`, or has it not.
    pub(crate) fn linker(&self, has_otel: bool) -> wasmtime::Result<&Linker<HostState>> {
        if !has_otel {
            return Ok(&self.linker);
        }
        if let Some(linker) = self.tracing_linker.get() {
            return Ok(linker);
        }
        let mut linker = self.linker.clone();
        capability::add_otel_to_linker(&mut linker)?;
        Ok(self.tracing_linker.get_or_init(|| linker))
    }
}

/// Links everything that a component of that kind may import.
pub(crate) fn link(linker: &mut Linker<HostState>, abi: Abi) -> wasmtime::Result<()> {
    host::add_to_linker(linker)?;
    capability::add_to_linker(linker)?;
    if abi == Abi::Async {
        host::add_async_to_linker(linker)?;
        capability::add_async_to_linker(linker)?;
    }
    Ok(())
}

/// The engines, what is linked to every component, and the caches of compiled code.
pub struct Runtime {
    plain: Host,
    /// Made when the first component needs it.
    concurrent: OnceLock<Host>,
    config: RuntimeConfig,
    pub(crate) compilation: Compilation,
    /// Instances that answer several requests.
    reusable: Arc<Budget>,
    pub(crate) loaded: LoadedApps,
    /// Epochs since the start: the time as far as idle apps are concerned.
    ticks: AtomicU64,
    /// Panics of host calls that were caught at the boundary of a request.
    pub(crate) panics: AtomicU64,
}

impl Runtime {
    /// Starts the engine.
    ///
    /// # Errors
    /// The engine does not run here, or the cache's folder cannot be used.
    pub fn new(config: RuntimeConfig) -> Result<Arc<Self>, RuntimeError> {
        let plain = Host::new(Abi::Sync, &config)?;
        let compilation = Compilation::new(config.compiler.clone());
        let idle_time = config.idle_time.filter(|_| plain.cache.is_some());
        let runtime = Arc::new(Self {
            plain,
            concurrent: OnceLock::new(),
            reusable: Budget::new(config.instances),
            compilation,
            loaded: LoadedApps::new(idle_time, config.max_loaded.max(1)),
            config,
            ticks: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        });
        start_threads(&runtime).map_err(RuntimeError::Thread)?;
        Ok(runtime)
    }

    /// What serves components of that kind.
    ///
    /// # Errors
    /// It is needed for the first time and cannot be started.
    pub(crate) fn host(&self, abi: Abi) -> Result<&Host, RuntimeError> {
        if abi == Abi::Sync {
            return Ok(&self.plain);
        }
        if let Some(host) = self.concurrent.get() {
            return Ok(host);
        }
        // Two that come at once make two, of which one is kept.
        let host = Host::new(abi, &self.config)?;
        Ok(self.concurrent.get_or_init(|| host))
    }

    /// What instances share that answer several requests.
    pub(crate) fn reusable(&self) -> &Arc<Budget> {
        &self.reusable
    }

    /// Whether compiled code outlives its being loaded.
    pub(crate) fn has_cache(&self) -> bool {
        self.plain.cache.is_some()
    }

    /// Registers an app. Nothing is loaded before its first request, or [`App::load`].
    pub fn app(self: &Arc<Self>, spec: AppSpec) -> Arc<App> {
        App::new(self.clone(), spec)
    }

    /// How often a host call panicked. Each was answered with a 500.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    pub(crate) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

/// The settings that decide what compiled code looks like. The child that compiles uses the same.
pub(crate) fn code_config(abi: Abi) -> Config {
    let mut config = Config::new();
    let is_async = abi == Abi::Async;
    config
        .wasm_component_model(true)
        .concurrency_support(is_async)
        .wasm_component_model_async(is_async)
        .epoch_interruption(true)
        // No guest needs it, and it would cost bounds checks. Threads, garbage collection and exceptions are not
        // even built in.
        .wasm_memory64(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(ASYNC_STACK_BYTES)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20))
        .memory_init_cow(true);
    config
}

fn start(abi: Abi, config: &RuntimeConfig) -> wasmtime::Result<Engine> {
    let mut plain = code_config(abi);
    plain.async_stack_zeroing(config.clears_stacks);
    if config.is_pooling {
        let mut pooled = plain.clone();
        pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(abi, config)));
        match Engine::new(&pooled) {
            Ok(engine) => return Ok(engine),
            // Small machines and emulators do not give out that much address space.
            Err(error) => tracing::info!("instances are allocated one by one: {error:#}"),
        }
    }
    Engine::new(&plain)
}

/// The pool. What a component may be made of is limited as Spin limits it; what is kept resident between
/// instances trades memory for system calls, which on several cores cost more than the copying they save.
///
/// With the page map at hand only pages that were written are copied back, so much can be kept; without it all that
/// is kept is copied each time, so little should be.
fn pool(abi: Abi, config: &RuntimeConfig) -> PoolingAllocationConfig {
    let (instances, set) = (config.instances, &config.pool);
    // Each task of a guest that waits within a call keeps one, beside the one on which the next call runs.
    let stacks = if abi == Abi::Async { 4 } else { 1 };
    let has_pagemap = PoolingAllocationConfig::is_pagemap_scan_available();
    let mut pool = PoolingAllocationConfig::new();
    let instances = set.get("INSTANCE_COUNT", instances);
    let core = instances.saturating_mul(4).max(limiter::CORE_INSTANCES);
    let tables = instances.saturating_mul(2).max(limiter::TABLES);
    pool.total_component_instances(instances)
        .total_core_instances(set.get("TOTAL_CORE_INSTANCES", core))
        .total_memories(set.get("TOTAL_MEMORIES", instances.max(limiter::MEMORIES)))
        .total_tables(set.get("TOTAL_TABLES", tables))
        .total_stacks(set.get("TOTAL_STACKS", instances.saturating_mul(stacks)))
        .max_component_instance_size(set.size("INSTANCE_SIZE", 10 << 20))
        .max_core_instance_size(set.size("CORE_INSTANCE_SIZE", 10 << 20))
        .max_core_instances_per_component(set.get("CORE_INSTANCE_COUNT", limiter::CORE_INSTANCES))
        .max_tables_per_component(set.get("INSTANCE_TABLES", limiter::TABLES))
        .max_memories_per_component(set.get("INSTANCE_MEMORIES", limiter::MEMORIES))
        .max_tables_per_module(set.get("MAX_TABLES_PER_MODULE", 2))
        .max_memories_per_module(set.get("MAX_MEMORIES_PER_MODULE", 2))
        .table_elements(set.size("INSTANCE_TABLE_ELEMENTS", limiter::TABLE_ELEMENTS as usize))
        .max_memory_size(1 << 32)
        .linear_memory_keep_resident(
            set.size("LINEAR_MEMORY_KEEP_RESIDENT", if has_pagemap { 2 << 20 } else { 64 << 10 }),
        )
        .table_keep_resident(set.size("TABLE_KEEP_RESIDENT", 64 << 10))
        .async_stack_keep_resident(STACK_KEPT_BYTES)
        .decommit_batch_size(STACKS_AT_ONCE)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Starts what runs beside the guests for as long as the runtime is there.
fn start_threads(runtime: &Arc<Runtime>) -> std::io::Result<()> {
    every(EPOCH, "epoch", Arc::downgrade(runtime), |runtime| {
        runtime.plain.engine.increment_epoch();
        if let Some(host) = runtime.concurrent.get() {
            host.engine.increment_epoch();
        }
        runtime.ticks.fetch_add(1, Ordering::Relaxed);
    })?;
    every(INSTANCE_SWEEP, "idle-instances", Arc::downgrade(runtime), |runtime| {
        runtime.reusable.sweep();
    })?;
    // Apart from the clock, which unmapping an app's code would hold up.
    every(idle::SWEEP, "idle-apps", Arc::downgrade(runtime), |runtime| {
        runtime.loaded.sweep(runtime.ticks());
    })
}

fn every(
    period: Duration,
    name: &str,
    runtime: Weak<Runtime>,
    act: fn(&Runtime),
) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        while let Some(runtime) = runtime.upgrade() {
            act(&runtime);
            drop(runtime);
            std::thread::sleep(period);
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_sets_the_pools_measures() {
        let variables = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let all: Vec<String> =
            POOL_SETTINGS.iter().map(|name| format!("SPIN_WASMTIME_{name}")).collect();
        let pairs: Vec<_> = all.iter().map(|name| (name.as_str(), "7")).collect();
        let pool = PoolSettings::from_environment(&variables(&pairs)).unwrap();
        assert!(POOL_SETTINGS.iter().all(|name| pool.get(name, 1) == 7 && pool.size(name, 1) == 7));
        let none = PoolSettings::from_environment(&variables(&[("SPIN_WASMTIME_X", "x")])).unwrap();
        assert_eq!((none.get("INSTANCE_COUNT", 5), none), (5, PoolSettings::default()));
        for value in ["", "-1", "many", "4294967296"] {
            let pairs = [("SPIN_WASMTIME_TOTAL_STACKS", value)];
            let error = PoolSettings::from_environment(&variables(&pairs)).unwrap_err();
            assert!(error.contains("SPIN_WASMTIME_TOTAL_STACKS"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_pool_that_is_set_smaller_takes_less_of_a_component() {
        let run = async |name: &'static str, value: u64, component: &str| {
            let pool = PoolSettings(BTreeMap::from([(name, value)]));
            let config = RuntimeConfig { pool, instances: 40, ..RuntimeConfig::default() };
            let engine = start(Abi::Sync, &config)?;
            let bytes = wat::parse_str(component).unwrap();
            let component = wasmtime::component::Component::new(&engine, bytes)?;
            let pre = Linker::<()>::new(&engine).instantiate_pre(&component)?;
            let mut store = wasmtime::Store::new(&engine, ());
            store.set_epoch_deadline(1);
            pre.instantiate_async(&mut store).await.map(drop)
        };
        let tables =
            "(component (core module $m (table 9 funcref)) (core instance (instantiate $m)))";
        run("INSTANCE_TABLE_ELEMENTS", 9, tables).await.unwrap();
        run("INSTANCE_TABLE_ELEMENTS", 8, tables).await.unwrap_err();
        let memories = "(component (core module $m (memory 1)) (core instance (instantiate $m))
            (core instance (instantiate $m)))";
        run("INSTANCE_MEMORIES", 2, memories).await.unwrap();
        run("INSTANCE_MEMORIES", 1, memories).await.unwrap_err();
        run("CORE_INSTANCE_COUNT", 1, memories).await.unwrap_err();
    }

    #[test]
    fn what_guests_do_not_need_is_off() {
        let engine = start(Abi::Sync, &RuntimeConfig::default()).unwrap();
        let is_valid = |module: &str| {
            let bytes = wat::parse_str(format!("(component (core module {module}))")).unwrap();
            engine.precompile_component(&bytes).is_ok()
        };
        assert!(is_valid("(memory 1) (func (result v128) i64.const 1 i64x2.splat)"));
        for module in [
            "(memory 1 1 shared)",
            "(memory i64 1)",
            "(memory 1 (pagesize 1))",
            "(type (struct (field i32)))",
            "(tag (param i32))",
            "(func (result i64 i64) i64.const 1 i64.const 1 i64.mul_wide_u)",
        ] {
            assert!(!is_valid(module), "{module}");
        }
    }
}
