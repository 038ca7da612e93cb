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

use crate::{Runtime, cache::Cache};

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
struct Slot(Mutex<Option<Component>>);

/// The code of all components of a runtime.
pub(crate) struct Compilation {
    cache: Option<Cache>,
    compiler: Compiler,
    slots: Mutex<HashMap<Digest, Weak<Slot>>>,
    turns: Turns,
}

impl Compilation {
    pub(crate) fn new(cache: Option<Cache>, compiler: Compiler) -> Self {
        Self { cache, compiler, slots: Mutex::default(), turns: Turns::new(AT_ONCE) }
    }

    /// Whether code outlives being loaded.
    pub(crate) fn has_cache(&self) -> bool {
        self.cache.is_some()
    }

    /// The code of a component. Blocks: maps it from the cache, or compiles it.
    ///
    /// # Errors
    /// It does not compile. The next call tries again.
    pub(crate) fn component(
        &self,
        engine: &Engine,
        id: &str,
        wasm: &WasmFile,
    ) -> Result<Code, CompileError> {
        let slot = self.slot(&wasm.digest);
        let mut place = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        let component = if let Some(component) = &*place {
            component.clone()
        } else {
            let cached = self.cache.as_ref().and_then(|cache| cache.load(engine, &wasm.digest));
            let compile = || {
                let artefact = self.compile(engine, id, wasm)?;
                load_own(engine, &artefact).map_err(|error| failed(id, &error))
            };
            let component = cached.map_or_else(compile, Ok)?;
            place.insert(component).clone()
        };
        drop(place);
        Ok(Code { component, _slot: slot })
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

    /// Compiles a component and keeps the artefact in the cache, where there is one.
    fn compile(&self, engine: &Engine, id: &str, wasm: &WasmFile) -> Result<Vec<u8>, CompileError> {
        let _turn = self.turns.take();
        let artefact = match &self.compiler {
            Compiler::InProcess => {
                let bytes = fs::read(&wasm.path)
                    .map_err(|source| CompileError::Read { component: id.to_owned(), source })?;
                compile_bytes(engine, &bytes)
                    .map_err(|reason| CompileError::Invalid { component: id.to_owned(), reason })?
            }
            Compiler::Child { program, args, cpu_seconds, memory_bytes } => child::Child {
                program,
                args,
                cpu_seconds: *cpu_seconds,
                memory_bytes: *memory_bytes,
            }
            .compile(engine, id, wasm)?,
        };
        if let Some(cache) = &self.cache
            && let Err(error) = cache.store(&wasm.digest, &artefact)
        {
            tracing::warn!("compiled code cannot be kept: {error}");
        }
        Ok(artefact)
    }
}

impl Runtime {
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
        let compilation = &self.compilation;
        let slot = compilation.slot(&wasm.digest);
        // Whoever loads the same component meanwhile waits here rather than compile it, too.
        let place = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there =
            place.is_some() || compilation.cache.as_ref().is_some_and(|c| c.has(&wasm.digest));
        let component = id.to_owned();
        if is_there {
            progress(CompileEvent::Cached { component });
            return Ok(());
        }
        let wasm_bytes = fs::metadata(&wasm.path).map_or(0, |meta| meta.len());
        progress(CompileEvent::Started { component: component.clone(), wasm_bytes });
        let begin = Instant::now();
        compilation.compile(&self.engine, id, wasm)?;
        progress(CompileEvent::Finished { component, took: begin.elapsed() });
        Ok(())
    }
}

/// Compiles, or says in one paragraph why not.
fn compile_bytes(engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>, String> {
    if bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Err("it is a core WebAssembly module; this version of Gyre runs components \
                    (build for wasm32-wasip2, or use `wasm-tools component new`)"
            .to_owned());
    }
    engine.precompile_component(bytes).map_err(|error| paragraph(&format!("{error:#}")))
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
