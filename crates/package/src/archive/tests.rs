//! Honest archives come out as they went in; hostile ones are refused and leave nothing behind.

use std::{fs::Permissions, io::Write as _, os::unix::fs::PermissionsExt as _};

use flate2::write::GzEncoder;
use fs_err as fs;
use proptest::prelude::*;

use super::*;
use crate::testing::tree;

/// A tar whose headers say whatever a test wants.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(self, name: &str, kind: u8, content: &[u8]) -> Self {
        self.lying(name, kind, content, content.len() as u64)
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(name, b'0', content)
    }

    /// An entry whose header states another size.
    fn lying(mut self, name: &str, kind: u8, content: &[u8], size: u64) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o4777);
        header.set_size(size);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut content = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let digits = if rest + 2 > 99 { 3 } else { 2 };
            writeln!(content, "{} {key}={value}", rest + digits).unwrap();
        }
        self.entry("pax", b'x', &content)
    }

    fn gzip(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        gzip(&self.0)
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Extracts into a fresh folder beside a witness; checks that a failure leaves only the witness.
fn try_extract(archive: &[u8], caps: &Caps) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tgz");
    fs::write(&file, archive).unwrap();
    fs::create_dir(dir.path().join("outer")).unwrap();
    fs::write(dir.path().join("outer/witness"), "untouched").unwrap();
    let into = dir.path().join("outer/into");
    let result = extract(&file, &into, caps);
    let mut outside = tree(dir.path());
    outside.retain(|(path, _)| !path.starts_with("outer/into/"));
    let names: Vec<_> = outside.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(names, ["a.tgz", "outer/witness"]);
    assert_eq!(outside[1].1, b"untouched");
    if let Err(err) = result {
        assert!(!into.exists(), "something is left of a refused archive");
        return Err(err);
    }
    Ok(tree(&into))
}

fn refused(tar: Tar) -> ArchiveError {
    try_extract(&tar.gzip(), &Caps::default()).unwrap_err()
}

#[test]
fn an_honest_archive_is_laid_out_without_modes_and_with_long_names() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let pax = format!("p/{}", "x".repeat(150));
    let tar = Tar::default()
        .entry("./", b'5', b"")
        .entry("./a/", b'5', b"")
        .file("./a/b.txt", b"b")
        .file("c", b"")
        .entry("././@LongLink", b'L', format!("{long}\0").as_bytes())
        .file("cut", b"long")
        .pax(&[("path", &pax), ("size", "4"), ("mtime", "1.5")])
        .file("cut", b"PAX!");
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("a");
    fs::write(&archive, tar.gzip()).unwrap();
    let into = dir.path().join("new/into");
    assert_eq!(extract(&archive, &into, &Caps::default()).unwrap(), 9);
    let expected: [(&str, &[u8]); 4] =
        [("a/b.txt", b"b"), ("c", b""), (&long, b"long"), (&pax, b"PAX!")];
    let mut expected = expected.map(|(path, bytes)| (path.to_owned(), bytes.to_vec()));
    expected.sort();
    assert_eq!(tree(&into), expected);
    let mode = fs::metadata(into.join("a/b.txt")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7111, 0, "set-user-id and execute bits are not taken over");
}

#[test]
fn paths_that_are_not_plain_and_relative_are_refused() {
    let bad =
        ["..", "../x", "a/../../x", "a/..", "/etc/x", "//x", "a//b", "a/./b", ".", "./", "././"];
    for path in bad {
        let err = refused(Tar::default().file(path, b"x"));
        assert!(
            matches!(err, ArchiveError::Path(_) | ArchiveError::Contradiction(_)),
            "{path}: {err}"
        );
    }
    let long = Tar::default().pax(&[("path", "../../x")]).file("fine", b"x");
    assert!(matches!(refused(long), ArchiveError::Path(PathError::Escapes(_))));
    let absolute = Tar::default().entry("l", b'L', b"/etc/x\0").file("fine", b"x");
    assert!(matches!(refused(absolute), ArchiveError::Path(PathError::Absolute(_))));
    let nul = Tar::default().entry("l", b'L', b"a\0b").file("fine", b"x");
    assert!(matches!(refused(nul), ArchiveError::Path(PathError::Odd(_))));
    let mut not_text = Tar::default().entry("l", b'L', b"\xff\xfe").file("fine", b"x");
    assert!(matches!(
        try_extract(&std::mem::take(&mut not_text).gzip(), &Caps::default()),
        Err(ArchiveError::Path(PathError::NotText))
    ));
}

#[test]
fn paths_beyond_the_caps_are_refused() {
    let long = "x".repeat(limits::PATH_BYTES + 1);
    let tar = Tar::default().entry("l", b'L', long.as_bytes()).file("x", b"x");
    assert!(matches!(refused(tar), ArchiveError::Path(PathError::TooLong { of: "bytes", .. })));
    let deep = "d/".repeat(limits::PATH_DEPTH) + "f";
    let tar = Tar::default().file(&deep, b"x");
    assert!(matches!(refused(tar), ArchiveError::Path(PathError::TooLong { of: "parts", .. })));
}

#[test]
fn links_devices_and_pipes_are_refused_by_name() {
    for (kind, name) in [
        (b'1', "hard link"),
        (b'2', "symbolic link"),
        (b'3', "device"),
        (b'4', "device"),
        (b'6', "pipe"),
        (b'S', "sparse file"),
        (b'K', "symbolic link"),
        (b'Q', "thing of an unknown kind"),
    ] {
        let tar = Tar::default().file("before", b"x").entry("bad", kind, b"");
        match refused(tar) {
            ArchiveError::Kind { path, kind } => assert_eq!((path.as_str(), kind), ("bad", name)),
            other => panic!("{name}: {other}"),
        }
    }
    let sparse = Tar::default().pax(&[("GNU.sparse.major", "1")]).file("x", b"x");
    assert!(matches!(refused(sparse), ArchiveError::Kind { kind: "sparse file", .. }));
}

#[test]
fn a_size_that_two_headers_tell_differently_is_refused() {
    let tar = Tar::default().pax(&[("size", "1024")]).file("a", b"x");
    assert!(matches!(refused(tar), ArchiveError::Contradiction(_)));
    let zero = Tar::default().pax(&[("size", "512")]).entry("a", b'0', b"");
    assert!(matches!(refused(zero), ArchiveError::Contradiction(_)));
    let global = Tar::default().entry("g", b'g', b"16 path=../../a\n").file("a", b"x");
    assert!(matches!(refused(global), ArchiveError::Contradiction(_)));
    let two_names = Tar::default().entry("l", b'L', b"a").pax(&[("path", "b")]).file("c", b"");
    assert!(matches!(refused(two_names), ArchiveError::Contradiction(_)));
    let folder = Tar::default().entry("d/", b'5', b"content");
    assert!(matches!(refused(folder), ArchiveError::Contradiction(_)));
}

#[test]
fn the_same_path_twice_is_refused() {
    let twice = Tar::default().file("a", b"1").file("./a", b"2");
    assert!(matches!(refused(twice), ArchiveError::Duplicate(path) if path == "a"));
    let below_file = Tar::default().file("a", b"1").file("a/b", b"2");
    assert!(matches!(refused(below_file), ArchiveError::Duplicate(_)));
    let over_folder = Tar::default().file("a/b", b"1").file("a", b"2");
    assert!(matches!(refused(over_folder), ArchiveError::Duplicate(_)));
}

#[test]
fn bombs_are_stopped_at_their_cap() {
    let zeros = vec![0; 8 << 20];
    let ratio = Tar::default().file("zeros", &zeros);
    assert!(matches!(refused(ratio), ArchiveError::TooLarge { limit: 100, .. }));

    let caps = Caps { unpacked_bytes: 10, ..Caps::default() };
    let sum = Tar::default().file("a", b"123456").file("b", b"12345").gzip();
    assert!(matches!(try_extract(&sum, &caps), Err(ArchiveError::TooLarge { limit: 10, .. })));

    let caps = Caps { entries: 3, ..Caps::default() };
    let folders = ["a/", "b/", "c/", "d/"];
    let many = folders.iter().fold(Tar::default(), |tar, name| tar.entry(name, b'5', b"")).gzip();
    assert!(matches!(try_extract(&many, &caps), Err(ArchiveError::TooLarge { limit: 3, .. })));
    let roots = (0..4).fold(Tar::default(), |tar, _| tar.entry("./", b'5', b"")).gzip();
    assert!(matches!(try_extract(&roots, &caps), Err(ArchiveError::TooLarge { limit: 3, .. })));
    let headers = (0..5).fold(Tar::default(), |tar, _| tar.pax(&[("comment", "x")])).gzip();
    assert!(matches!(try_extract(&headers, &caps), Err(ArchiveError::TooLarge { limit: 3, .. })));

    let name = Tar::default().entry("l", b'L', &vec![b'x'; 70_000]).file("a", b"");
    assert!(matches!(
        refused(name),
        ArchiveError::TooLarge { of: "bytes in an extended header", .. }
    ));
    let claimed = Tar::default().lying("a", b'0', b"x", 1 << 40);
    assert!(matches!(refused(claimed), ArchiveError::TooLarge { .. }));
}

#[test]
fn what_is_no_whole_archive_is_refused() {
    let caps = Caps::default();
    let whole = Tar::default().file("a", &[7; 2000]).gzip();
    for damaged in [
        b"no gzip".to_vec(),
        Vec::new(),
        whole[..whole.len() / 2].to_vec(),
        whole[..whole.len() - 4].to_vec(),
        gzip(b"not a tar, and shorter than a block"),
        gzip(&[7; 512]),
        gzip(&Tar::default().lying("a", b'0', b"x", 5000).0),
        gzip(&Tar::default().pax(&[("path", "a")]).0),
        gzip(&Tar::default().entry("x", b'x', b"99999 path=a\n").file("a", b"").0),
        gzip(&Tar::default().entry("x", b'x', b"0 =").file("a", b"").0),
    ] {
        let result = try_extract(&damaged, &caps);
        assert!(matches!(result, Err(ArchiveError::Damaged(_))), "{result:?}");
    }
    let mut second = Tar::default().file("a", b"1");
    second.0.resize(second.0.len() + 1024, 0);
    let after_the_end = gzip(&second.file("b", b"2").0);
    assert!(matches!(try_extract(&after_the_end, &caps), Err(ArchiveError::Damaged(_))));
}

#[test]
fn a_folder_with_something_in_it_is_not_extracted_into() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("a");
    fs::write(&archive, Tar::default().file("x", b"").gzip()).unwrap();
    let into = dir.path().join("into");
    fs::create_dir(&into).unwrap();
    extract(&archive, &into, &Caps::default()).unwrap();
    let again = extract(&archive, &into, &Caps::default());
    assert!(matches!(again, Err(ArchiveError::NotEmpty(_))));
}

#[test]
fn the_same_files_make_the_same_archive_whatever_their_times_and_modes() {
    let make = |mode| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "content").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let long = "n".repeat(200);
        let mut archive = Vec::new();
        let files = [("a/f", path.as_path()), (long.as_str(), path.as_path())];
        create(files, &mut archive, Compression::default()).unwrap();
        archive
    };
    let archive = make(0o600);
    assert_eq!(archive, make(0o755));
    let files = try_extract(&archive, &Caps::default()).unwrap();
    assert_eq!(files[0], ("a/f".to_owned(), b"content".to_vec()));
    assert_eq!(files[1].0.len(), 200);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The oracle is in `try_extract`: nothing outside the folder, nothing left after an error.
    #[test]
    fn a_damaged_archive_never_reaches_outside_its_folder(
        flips in prop::collection::vec((0_usize..4096, any::<u8>()), 1..6),
    ) {
        let mut tar = Tar::default()
            .entry("dir/", b'5', b"")
            .file("dir/file", &[1; 700])
            .pax(&[("path", "dir/pax")])
            .file("x", b"pax")
            .0;
        for (place, value) in flips {
            let length = tar.len();
            tar[place % length] = value;
        }
        // Checksums are made right again, so that the damage is looked at.
        for block in tar.chunks_mut(512).filter(|block| block[257..262] == *b"ustar") {
            let sum: u32 = block[..148].iter().chain(&block[156..]).map(|b| u32::from(*b)).sum();
            let text = format!("{:06o}\0 ", sum + 8 * 32);
            block[148..156].copy_from_slice(&text.as_bytes()[..8]);
        }
        let _outcome = try_extract(&gzip(&tar), &Caps::default());
    }
}
