//! The engine that all apps of a process share: its settings, its pool, and the clock that interrupts guests.

use std::{
    sync::{Arc, atomic::AtomicU64},
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
    host::{self, HostState},
};

/// How often guests are interrupted to look at their deadlines and to let others have their turn.
pub(crate) const EPOCH: Duration = Duration::from_millis(10);

/// The stack that a guest's own code may use.
const WASM_STACK_BYTES: usize = 512 << 10;

/// The stack on which guest and host run together.
const ASYNC_STACK_BYTES: usize = 2 << 20;

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
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self { cache: None, compiler: Compiler::InProcess, is_pooling: true, instances: 1_000 }
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

/// The engine, what is linked to every component, and the cache of compiled code.
pub struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<HostState>,
    pub(crate) compilation: Compilation,
    /// Panics of host calls that were caught at the boundary of a request.
    pub(crate) panics: AtomicU64,
}

impl Runtime {
    /// Starts the engine.
    ///
    /// # Errors
    /// The engine does not run here, or the cache's folder cannot be used.
    pub fn new(config: RuntimeConfig) -> Result<Arc<Self>, RuntimeError> {
        let engine = start(&config).map_err(|error| RuntimeError::Engine(error.into()))?;
        let mut linker = Linker::new(&engine);
        host::add_to_linker(&mut linker)
            .and_then(|()| capability::add_to_linker(&mut linker))
            .map_err(|error| RuntimeError::Engine(error.into()))?;
        tick(&engine).map_err(RuntimeError::Thread)?;
        let cache = config.cache.map(|cache| Cache::open(cache, &engine)).transpose();
        let compilation = Compilation::new(cache.map_err(RuntimeError::Cache)?, config.compiler);
        Ok(Arc::new(Self { engine, linker, compilation, panics: AtomicU64::new(0) }))
    }

    /// Registers an app. Nothing is loaded before its first request, or [`App::load`].
    pub fn app(self: &Arc<Self>, spec: AppSpec) -> Arc<App> {
        App::new(self.clone(), spec)
    }

    /// How often a host call panicked. Each was answered with a 500.
    pub fn panics(&self) -> u64 {
        self.panics.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

/// The settings that decide what compiled code looks like. The child that compiles uses the same.
pub(crate) fn code_config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(ASYNC_STACK_BYTES)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20))
        .memory_init_cow(true);
    config
}

fn start(config: &RuntimeConfig) -> wasmtime::Result<Engine> {
    if config.is_pooling {
        let mut pooled = code_config();
        pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config.instances)));
        match Engine::new(&pooled) {
            Ok(engine) => return Ok(engine),
            // Small machines and emulators do not give out that much address space.
            Err(error) => tracing::info!("instances are allocated one by one: {error:#}"),
        }
    }
    Engine::new(&code_config())
}

/// The pool. What a component may be made of is limited as Spin limits it; what is kept resident between
/// instances trades memory for system calls, which on several cores cost more than the copying they save.
fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .total_stacks(instances)
        .max_component_instance_size(10 << 20)
        .max_core_instance_size(10 << 20)
        .max_core_instances_per_component(200)
        .max_tables_per_component(64)
        .max_memories_per_component(32)
        .max_tables_per_module(2)
        .max_memories_per_module(2)
        .table_elements(100_000)
        .max_memory_size(1 << 32)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(256 << 10)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Advances the engine's epoch for as long as the engine is there.
fn tick(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(EPOCH);
        }
    })?;
    Ok(())
}
