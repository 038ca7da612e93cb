//! From a component's bytes to code: out of the cache, or compiled, once however many ask.
//!
//! A compiler is not made for hostile input the way an engine is: it may take minutes, gigabytes, or fall over.
//! A server therefore compiles in a child process with limits ([`Compiler::Child`]); what happens to that costs
//! one deploy.

mod child;

use std::{
    collections::HashMap,
    ops::Deref,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use fs_err as fs;
use gyre_model::{Application, Digest, WasmFile};
use wasmtime::{Engine, component::Component};

use crate::{
    Runtime, RuntimeError,
    engine::{Abi, Host, code_config},
};

pub use child::compile_child_main;

/// So many components are compiled at once; each compilation uses several cores by itself.
const AT_ONCE: usize = 2;

/// Where components are compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// Here. For one's own applications.
    InProcess,
    /// In a child process that has limits. For everybody's.
    Child {
        /// The program. It hands `args`' successors to [`compile_child_main`].
        program: PathBuf,
        /// What it is called with before our own arguments: its hidden subcommand.
        args: Vec<String>,
        /// Processor time, in seconds.
        cpu_seconds: u64,
        /// Address space, in bytes.
        memory_bytes: u64,
    },
}

/// What happens while an application is compiled. Each component has [`Cached`](Self::Cached) alone, or
/// [`Started`](Self::Started) and, where it succeeds, [`Finished`](Self::Finished).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompileEvent {
    /// The component's code was there already.
    Cached {
        /// The component's id.
        component: String,
    },
    /// The component is being compiled.
    Started {
        /// The component's id.
        component: String,
        /// The size of its WebAssembly.
        wasm_bytes: u64,
    },
    /// The component is compiled.
    Finished {
        /// The component's id.
        component: String,
        /// How long it took.
        took: Duration,
    },
}

/// Why there is no code for a component.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Its file cannot be read.
    #[error("cannot read component {component:?}")]
    Read {
        /// The component's id.
        component: String,
        /// Names the path.
        #[source]
        source: std::io::Error,
    },
    /// It is not valid WebAssembly, or not such as is run here.
    #[error("component {component:?} does not compile: {reason}")]
    Invalid {
        /// The component's id.
        component: String,
        /// What is wrong, in one paragraph.
        reason: String,
    },
    /// Compiling it reached a limit.
    #[error("compiling component {component:?} was stopped: {limit}")]
    Limit {
        /// The component's id.
        component: String,
        /// Which limit.
        limit: String,
    },
    /// The compiler failed for no fault of the component, as far as can be told.
    #[error("cannot compile component {component:?}: {reason}")]
    Failed {
        /// The component's id.
        component: String,
        /// What happened.
        reason: String,
    },
}

/// A component's code. Apps with the same component share it for as long as one of them holds it.
#[derive(Clone)]
pub(crate) struct Code {
    component: Component,
    pub(crate) abi: Abi,
    _slot: Arc<Slot>,
}

impl Deref for Code {
    type Target = Component;
    fn deref(&self) -> &Component {
        &self.component
    }
}

/// Where the code of one digest is, or is being made.
#[derive(Default)]
struct Slot(Mutex<Option<(Abi, Component)>>);

/// What the compiler makes of a component.
struct Artefact {
    abi: Abi,
    code: Vec<u8>,
}

/// The code of all components of a runtime.
pub(crate) struct Compilation {
    compiler: Compiler,
    slots: Mutex<HashMap<Digest, Weak<Slot>>>,
    turns: Turns,
}

impl Compilation {
    pub(crate) fn new(compiler: Compiler) -> Self {
        Self { compiler, slots: Mutex::default(), turns: Turns::new(AT_ONCE) }
    }

    fn slot(&self, digest: &Digest) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(digest).and_then(Weak::upgrade) {
            return slot;
        }
        // Loading is rare: a moment to forget what was unloaded.
        slots.retain(|_, slot| slot.strong_count() > 0);
        let slot = Arc::default();
        slots.insert(*digest, Arc::downgrade(&slot));
        slot
    }

    /// Compiles a component.
    fn compile(&self, id: &str, wasm: &WasmFile) -> Result<Artefact, CompileError> {
        let _turn = self.turns.take();
        match &self.compiler {
            Compiler::InProcess => {
                let bytes = fs::read(&wasm.path)
                    .map_err(|source| CompileError::Read { component: id.to_owned(), source })?;
                compile_bytes(bytes)
                    .map_err(|reason| CompileError::Invalid { component: id.to_owned(), reason })
            }
            Compiler::Child { program, args, cpu_seconds, memory_bytes } => child::Child {
                program,
                args,
                cpu_seconds: *cpu_seconds,
                memory_bytes: *memory_bytes,
            }
            .compile(id, wasm),
        }
    }
}

impl Runtime {
    /// The code of a component. Blocks: maps it from the cache, or compiles it.
    ///
    /// # Errors
    /// It does not compile. The next call tries again.
    pub(crate) fn code(&self, id: &str, wasm: &WasmFile) -> Result<Code, CompileError> {
        let slot = self.compilation.slot(&wasm.digest);
        let mut place = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (abi, component) = if let Some(found) = &*place {
            found.clone()
        } else {
            let found = if let Some(found) = self.cached(id, wasm)? {
                found
            } else {
                let artefact = self.compile_and_keep(id, wasm)?;
                let host = self.host_for(id, artefact.abi)?;
                let loaded = load_own(&host.engine, &artefact.code);
                (artefact.abi, loaded.map_err(|error| failed(id, &error))?)
            };
            place.insert(found).clone()
        };
        drop(place);
        Ok(Code { component, abi, _slot: slot })
    }

    /// The code of a component out of the cache of either engine.
    fn cached(&self, id: &str, wasm: &WasmFile) -> Result<Option<(Abi, Component)>, CompileError> {
        if !self.has_cache() {
            return Ok(None);
        }
        for abi in [Abi::Sync, Abi::Async] {
            let host = self.host_for(id, abi)?;
            let cached = host.cache.as_ref().and_then(|it| it.load(&host.engine, &wasm.digest));
            if let Some(component) = cached {
                return Ok(Some((abi, component)));
            }
        }
        Ok(None)
    }

    /// Compiles a component and keeps the artefact in the cache, where there is one.
    fn compile_and_keep(&self, id: &str, wasm: &WasmFile) -> Result<Artefact, CompileError> {
        let artefact = self.compilation.compile(id, wasm)?;
        if let Some(cache) = &self.host_for(id, artefact.abi)?.cache
            && let Err(error) = cache.store(&wasm.digest, &artefact.code)
        {
            tracing::warn!("compiled code cannot be kept: {error}");
        }
        Ok(artefact)
    }

    fn is_cached(&self, id: &str, wasm: &WasmFile) -> Result<bool, CompileError> {
        if !self.has_cache() {
            return Ok(false);
        }
        for abi in [Abi::Sync, Abi::Async] {
            let cache = &self.host_for(id, abi)?.cache;
            if cache.as_ref().is_some_and(|cache| cache.has(&wasm.digest)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn host_for(&self, id: &str, abi: Abi) -> Result<&Host, CompileError> {
        self.host(abi).map_err(|error: RuntimeError| CompileError::Failed {
            component: id.to_owned(),
            reason: paragraph(&gyre_telemetry::chain(&error)),
        })
    }

    /// Compiles what of an application is not in the cache yet. Blocks. Without a cache it checks that the
    /// application compiles, and keeps nothing.
    ///
    /// # Errors
    /// The first component that does not compile.
    pub fn compile(
        &self,
        application: &Application,
        progress: &(dyn Fn(CompileEvent) + Sync),
    ) -> Result<(), CompileError> {
        let mut digests = std::collections::HashSet::new();
        let distinct = application.wasm.iter().filter(|(_, wasm)| digests.insert(wasm.digest));
        let queue = Mutex::new(distinct.collect::<Vec<_>>().into_iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some((id, wasm)) = next() {
                self.prepare(id, wasm, progress)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let helpers = application.wasm.len().min(AT_ONCE).saturating_sub(1);
            let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(work)).collect();
            let mut outcome = work();
            for helper in helpers {
                let theirs = helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                outcome = outcome.and(theirs);
            }
            outcome
        })
    }

    fn prepare(
        &self,
        id: &str,
        wasm: &WasmFile,
        progress: &(dyn Fn(CompileEvent) + Sync),
    ) -> Result<(), CompileError> {
        let slot = self.compilation.slot(&wasm.digest);
        // Whoever loads the same component meanwhile waits here rather than compile it, too.
        let place = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = place.is_some() || self.is_cached(id, wasm)?;
        let component = id.to_owned();
        if is_there {
            progress(CompileEvent::Cached { component });
            return Ok(());
        }
        let wasm_bytes = fs::metadata(&wasm.path).map_or(0, |meta| meta.len());
        progress(CompileEvent::Started { component: component.clone(), wasm_bytes });
        let begin = Instant::now();
        self.compile_and_keep(id, wasm)?;
        progress(CompileEvent::Finished { component, took: begin.elapsed() });
        Ok(())
    }
}

/// Compiles, for the engine that the component needs, or says in one paragraph why not.
fn compile_bytes(bytes: Vec<u8>) -> Result<Artefact, String> {
    let bytes =
        gyre_adapt::adapt(bytes).map_err(|error| paragraph(&gyre_telemetry::chain(&error)))?;
    let abi = if gyre_adapt::is_async(&bytes) { Abi::Async } else { Abi::Sync };
    let say = |error: wasmtime::Error| paragraph(&format!("{error:#}"));
    let engine = Engine::new(&code_config(abi)).map_err(say)?;
    let code = engine.precompile_component(&bytes).map_err(say)?;
    Ok(Artefact { abi, code })
}

/// Text on one line.
fn paragraph(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn failed(id: &str, error: &wasmtime::Error) -> CompileError {
    CompileError::Failed { component: id.to_owned(), reason: paragraph(&format!("{error:#}")) }
}

/// Takes in an artefact that was just compiled.
#[allow(unsafe_code, reason = "code can only be loaded by saying that it is trusted")]
fn load_own(engine: &Engine, artefact: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: it was compiled by this process, or by its own child from its own program, and handed over through
    // memory or a pipe that nobody else has.
    unsafe { Component::deserialize(engine, artefact) }
}

/// Lets so many threads at a time through.
struct Turns {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A thread's turn, until it is dropped.
struct Turn<'a>(&'a Turns);

impl Turns {
    fn new(free: usize) -> Self {
        Self { free: Mutex::new(free), freed: Condvar::new() }
    }

    fn take(&self) -> Turn<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}
