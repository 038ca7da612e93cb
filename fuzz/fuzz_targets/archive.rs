//! An archive of files, compressed or not: nothing leaves its folder, and nothing is larger than it may be.
#![no_main]

use gyre_package::archive::{Caps, extract};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let archive = folder.path().join("archive");
    std::fs::write(&archive, bytes).expect("there is room for a file");
    let caps = Caps { unpacked_bytes: 64 << 10, entries: 16, ..Caps::default() };
    let into = folder.path().join("into");
    if let Ok(size) = extract(&archive, &into, &caps) {
        assert!(size <= caps.unpacked_bytes);
    }
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").file_name())
        .collect();
    names.sort();
    assert!(names.iter().all(|name| name == "archive" || name == "into"), "{names:?}");
});
