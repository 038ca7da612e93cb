//! Compiled code on disk, authenticated before it is mapped.
//!
//! Mapping code runs it, so nothing is mapped that was not written by the holder of the key: an entry is the
//! engine's artefact followed by a [`Seal`] whose keyed hash covers the artefact, the engine it was compiled for
//! and the component it was compiled from. Whatever does not verify is thrown away and compiled anew; the cache
//! is disposable, and losing it costs time only.

use std::{
    hash::{Hash, Hasher},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fs_err as fs;
use gyre_model::Digest;
use wasmtime::{Engine, component::Component};

/// The engine's version to the last digit, part of what an entry is sealed with: the engine itself accepts code
/// of its whole major version, also from before a miscompilation was mended.
pub(crate) const ENGINE_VERSION: &str = "wasmtime 48.0.8";

/// Folders of other engines are kept so long, for who goes back to an earlier version.
const STALE: Duration = Duration::from_hours(30 * 24);

/// Where compiled code is kept, and the key that authenticates it.
#[derive(Clone)]
pub struct CacheConfig {
    /// The folder. Made if it is not there.
    pub dir: PathBuf,
    /// Secret, and the same for as long as the cache is to be of use.
    pub key: [u8; 32],
}

impl std::fmt::Debug for CacheConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheConfig").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Identifies an engine: two engines of the same fingerprint can run each other's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(engine: &Engine) -> Self {
        struct Blake(blake3::Hasher);
        impl Hasher for Blake {
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
            fn finish(&self) -> u64 {
                0 // Never asked: the whole hash is taken.
            }
        }
        let mut hasher = Blake(blake3::Hasher::new());
        hasher.write(ENGINE_VERSION.as_bytes());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self(*hasher.0.finalize().as_bytes())
    }

    /// All of it, in hex.
    pub(crate) fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

/// What follows an artefact in its file. The artefact comes first since it is mapped as it is.
#[derive(Debug, PartialEq, Eq)]
struct Seal {
    engine: Fingerprint,
    wasm: Digest,
    artefact_bytes: u64,
    mac: blake3::Hash,
}

impl Seal {
    const MAGIC: &[u8; 16] = b"gyre-code-seal-1";
    /// All but the hash.
    const SEALED: usize = 16 + 32 + 32 + 8;
    const BYTES: usize = Self::SEALED + 32;

    fn sealed_part(engine: Fingerprint, wasm: &Digest, artefact_bytes: u64) -> [u8; Self::SEALED] {
        let mut bytes = [0; Self::SEALED];
        bytes[..16].copy_from_slice(Self::MAGIC);
        bytes[16..48].copy_from_slice(&engine.0);
        bytes[48..80].copy_from_slice(wasm.as_bytes());
        bytes[80..].copy_from_slice(&artefact_bytes.to_le_bytes());
        bytes
    }
}

/// Why an entry is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("it is not authentic")]
    Mac,
    #[error("it is cut short")]
    Short,
    #[error("the engine refuses it")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The cache of one engine.
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
    engine: Fingerprint,
}

impl Cache {
    /// Opens the cache, making its folder if need be. A folder that cannot be written is a cache that keeps
    /// nothing new.
    ///
    /// # Errors
    /// The folder cannot be made and is not there.
    pub(crate) fn open(config: &CacheConfig, engine: &Engine) -> io::Result<Self> {
        let engine = Fingerprint::of(engine);
        let name = &engine.hex()[..16];
        let dir = config.dir.join(name);
        if let Err(error) = fs::create_dir_all(&dir) {
            if !config.dir.is_dir() {
                return Err(error);
            }
            tracing::warn!("compiled code cannot be kept: {error}");
        }
        remove_stale(&config.dir, name);
        Ok(Self { dir, key: config.key, engine })
    }

    fn path(&self, wasm: &Digest) -> PathBuf {
        self.dir.join(wasm.hex()).with_extension("cwasm")
    }

    /// The code of a component, mapped from the cache, if it is there and authentic.
    pub(crate) fn load(&self, engine: &Engine, wasm: &Digest) -> Option<Component> {
        let path = self.path(wasm);
        let file = std::fs::OpenOptions::new().read(true).open(&path).ok()?;
        let loaded =
            self.verify(&file, wasm).and_then(|artefact_bytes| map(engine, file, artefact_bytes));
        match loaded {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(
                    wasm.digest = %wasm,
                    "an entry of the cache of compiled code is thrown away: {}",
                    gyre_telemetry::chain(&error)
                );
                let _ = fs::remove_file(path);
                None
            }
        }
    }

    /// Whether the code of a component is there and authentic.
    pub(crate) fn has(&self, wasm: &Digest) -> bool {
        let file = std::fs::OpenOptions::new().read(true).open(self.path(wasm));
        file.is_ok_and(|file| self.verify(&file, wasm).is_ok())
    }

    /// Reads the file through once. Gives the artefact's length.
    fn verify(&self, mut file: &std::fs::File, wasm: &Digest) -> Result<u64, Unusable> {
        let artefact_bytes =
            file.metadata()?.len().checked_sub(Seal::BYTES as u64).ok_or(Unusable::Short)?;
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        let mut artefact = file.take(artefact_bytes);
        let mut buffer = vec![0; 128 << 10];
        loop {
            match artefact.read(&mut buffer)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            };
        }
        let mut seal = [0; Seal::BYTES];
        file.read_exact(&mut seal)?;
        let expected = Seal::sealed_part(self.engine, wasm, artefact_bytes);
        let (sealed, mac) = seal.split_at(Seal::SEALED);
        let mac: [u8; 32] = mac.try_into().map_err(|_| Unusable::Short)?;
        hasher.update(&expected);
        // The hash compares in constant time.
        let is_authentic = hasher.finalize() == blake3::Hash::from_bytes(mac) && sealed == expected;
        if is_authentic { Ok(artefact_bytes) } else { Err(Unusable::Mac) }
    }

    /// Keeps the artefact compiled from a component.
    ///
    /// Not synced: an entry that a power loss tears does not verify.
    ///
    /// # Errors
    /// It could not be written. Nothing of it is left.
    pub(crate) fn store(&self, wasm: &Digest, artefact: &[u8]) -> io::Result<()> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let sealed = Seal::sealed_part(self.engine, wasm, artefact.len() as u64);
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(artefact).update(&sealed);
        let path = self.path(wasm);
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{}-{n}.tmp", std::process::id()));
        let written = (|| {
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            {
                use fs_err::os::unix::fs::OpenOptionsExt as _;
                options.mode(0o600);
            }
            let mut file = options.open(&temporary)?;
            file.write_all(artefact)?;
            file.write_all(&sealed)?;
            file.write_all(hasher.finalize().as_bytes())?;
            fs::rename(&temporary, &path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

/// Maps the artefact of a verified file.
#[allow(unsafe_code, reason = "code can only be mapped by saying that it is trusted")]
fn map(
    engine: &Engine,
    mut file: std::fs::File,
    artefact_bytes: u64,
) -> Result<Component, Unusable> {
    let refused = |error: wasmtime::Error| Unusable::Engine(error.into());
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd as _;
        // Through the open file, so that what is mapped is what was verified, whatever the path leads to by now.
        let open = format!("/proc/self/fd/{}", file.as_raw_fd());
        if Path::new(&open).exists() {
            // SAFETY: the file's keyed hash was verified, so it is what an engine of the same fingerprint made
            // in this process's name; it is replaced by renaming and never written in place. The seal at the
            // file's end is outside of every section of the artefact.
            return unsafe { Component::deserialize_file(engine, open) }.map_err(refused);
        }
    }
    let mut artefact = Vec::new();
    file.rewind()?;
    file.take(artefact_bytes).read_to_end(&mut artefact)?;
    // SAFETY: as above, on a copy.
    unsafe { Component::deserialize(engine, artefact) }.map_err(refused)
}

/// Removes what engines left that nobody has used for long.
fn remove_stale(dir: &Path, ours: &str) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_engine = name.len() == 16
            && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
            && name != ours;
        let age = entry.metadata().and_then(|meta| meta.modified()).ok();
        if is_engine && age.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > STALE) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
