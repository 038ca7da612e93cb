use super::*;

const KEY: [u8; 32] = [7; 32];

struct Bench {
    engine: Engine,
    dir: tempfile::TempDir,
    wasm: Digest,
    artefact: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let engine = Engine::new(&crate::engine::code_config(crate::engine::Abi::Sync)).unwrap();
        let text = b"(component (core module (func (export \"f\") (result i32) i32.const 42)))";
        let artefact = engine.precompile_component(text).unwrap();
        Self { engine, dir: tempfile::tempdir().unwrap(), wasm: Digest::of(text), artefact }
    }

    fn cache(&self, key: [u8; 32]) -> Cache {
        Cache::open(&CacheConfig { dir: self.dir.path().to_owned(), key }, &self.engine).unwrap()
    }

    fn is_loaded(&self, cache: &Cache) -> bool {
        cache.load(&self.engine, &self.wasm).is_some()
    }
}

#[test]
fn what_was_stored_is_loaded_and_nothing_else_is() {
    let bench = Bench::new();
    let cache = bench.cache(KEY);
    assert!(!bench.is_loaded(&cache));
    cache.store(&bench.wasm, &bench.artefact).unwrap();
    assert!(cache.has(&bench.wasm));
    assert!(bench.is_loaded(&cache));
    // Another process, later.
    assert!(bench.is_loaded(&bench.cache(KEY)));
    assert!(cache.load(&bench.engine, &Digest::of("another")).is_none());
}

#[test]
fn no_flipped_bit_is_ever_mapped() {
    let bench = Bench::new();
    let cache = bench.cache(KEY);
    cache.store(&bench.wasm, &bench.artefact).unwrap();
    let path = cache.path(&bench.wasm);
    let whole = fs::read(&path).unwrap();
    // Everywhere in the seal, and spread over the artefact.
    let seal = whole.len() - Seal::BYTES..whole.len();
    let spread = (0..bench.artefact.len()).step_by(bench.artefact.len() / 300 + 1);
    for place in spread.chain(seal) {
        for bit in [0, 7] {
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << bit;
            fs::write(&path, &flipped).unwrap();
            assert!(!bench.is_loaded(&cache), "bit {bit} of byte {place}");
            assert!(!path.exists(), "what does not verify is removed");
        }
    }
}

#[test]
fn an_entry_that_is_cut_or_has_more_is_not_mapped() {
    let bench = Bench::new();
    let cache = bench.cache(KEY);
    cache.store(&bench.wasm, &bench.artefact).unwrap();
    let path = cache.path(&bench.wasm);
    let whole = fs::read(&path).unwrap();
    let lengths = (0..whole.len()).step_by(whole.len() / 200 + 1);
    for length in lengths.chain(whole.len() - Seal::BYTES..whole.len()) {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(!bench.is_loaded(&cache), "{length} bytes");
    }
    fs::write(&path, [&whole[..], &whole[..]].concat()).unwrap();
    assert!(!bench.is_loaded(&cache));
    fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
    assert!(!bench.is_loaded(&cache));
}

#[test]
fn an_entry_of_another_component_key_or_engine_is_not_mapped() {
    let bench = Bench::new();
    let cache = bench.cache(KEY);
    cache.store(&bench.wasm, &bench.artefact).unwrap();
    let another = Digest::of("another");
    fs::copy(cache.path(&bench.wasm), cache.path(&another)).unwrap();
    assert!(cache.load(&bench.engine, &another).is_none());
    assert!(!bench.is_loaded(&bench.cache([8; 32])));

    let mut config = crate::engine::code_config(crate::engine::Abi::Sync);
    config.epoch_interruption(false);
    let other_engine = Engine::new(&config).unwrap();
    assert_ne!(Fingerprint::of(&other_engine), Fingerprint::of(&bench.engine));
    let of_other = Cache { engine: Fingerprint::of(&other_engine), ..bench.cache(KEY) };
    of_other.store(&bench.wasm, &bench.artefact).unwrap();
    assert!(!bench.is_loaded(&cache));
}

#[test]
fn a_folder_that_cannot_be_written_keeps_nothing_and_leaves_nothing_half_done() {
    let bench = Bench::new();
    let cache = bench.cache(KEY);
    // A file where the folder was: fails for root, too, whom no permission stops.
    fs::remove_dir(&cache.dir).unwrap();
    fs::write(&cache.dir, "not a folder").unwrap();
    cache.store(&bench.wasm, &bench.artefact).unwrap_err();
    assert!(!bench.is_loaded(&cache));
    assert!(!cache.has(&bench.wasm));
    let still = bench.cache(KEY);
    still.store(&bench.wasm, &bench.artefact).unwrap_err();
}

#[test]
fn folders_of_other_engines_go_when_they_are_old() {
    let bench = Bench::new();
    let other = bench.dir.path().join("0123456789abcdef");
    let unrelated = bench.dir.path().join("notes");
    for folder in [&other, &unrelated] {
        fs::create_dir(folder).unwrap();
    }
    bench.cache(KEY);
    assert!(other.exists());
    let long_ago = std::time::SystemTime::now() - STALE - Duration::from_mins(1);
    for folder in [&other, &unrelated] {
        let opened = std::fs::OpenOptions::new().read(true).open(folder).unwrap();
        opened.set_modified(long_ago).unwrap();
    }
    bench.cache(KEY);
    assert!(!other.exists());
    assert!(unrelated.exists());
}

#[test]
fn the_engines_version_is_the_one_that_is_built_in() {
    let lock = include_str!("../../../../Cargo.lock");
    let (name, version) = ENGINE_VERSION.split_once(' ').unwrap();
    let wanted = format!("name = \"{name}\"\nversion = \"{version}\"\n");
    assert!(lock.contains(&wanted), "ENGINE_VERSION is not the version in Cargo.lock");
}
