//! The formats, against the vectors of the specification and of the clients that exist.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    BindleId, GroupError, Invoice, InvoiceError, Label, Role, SecretKey, Selection, SignError,
    Strategy, VerifyError,
    keys::{Keyring, KeysError, PublicKey, SecretKeys},
    search::{Query, QueryError},
    standalone::{Standalone, StandaloneError, Writer},
};
use crate::limits;

const SIGNED: &str = r#"
bindleVersion = "1.0.0"

[bindle]
name = "enterprise.com/warpcore"
version = "1.0.0"
authors = ["A <a@example.com>"]

[[parcel]]
[parcel.label]
sha256 = "23f310b54076878fd4c36f0c60ec92011a8b406349b98dd37d08577d17397de5"
mediaType = "text/plain"
name = "chip.txt"
size = 9

[[signature]]
by = "Starfleet Command <starfleet@ufp.com>"
signature = "1oKW+2RXsE/lSXy3y+0MKKZDhnPModgTxfKuMSMMnVEZlgENIE9qOMTUrQga0QxSiAZiFH15fYkcveC8up8FDA=="
key = "Kcs1TSFDkN+dED0Y6Np0fPBqmvUz0EAULIlUsnlU1sw="
role = "creator"
at = 1643927146
"#;
const KEY: &str = "Kcs1TSFDkN+dED0Y6Np0fPBqmvUz0EAULIlUsnlU1sw=";

fn id(text: &str) -> BindleId {
    text.parse().unwrap()
}

fn label(name: &str, bytes: &[u8]) -> Label {
    Label {
        sha256: gyre_model::Digest::of(bytes).hex(),
        media_type: "text/plain".to_owned(),
        name: name.to_owned(),
        size: bytes.len() as u64,
        annotations: BTreeMap::default(),
        feature: BTreeMap::default(),
        origin: None,
    }
}

fn key(label: &str, roles: &[Role]) -> SecretKey {
    SecretKey::generate(label, roles.to_vec()).unwrap()
}

fn ring(keys: &[&SecretKey]) -> Keyring {
    Keyring { keys: keys.iter().map(|key| PublicKey::of(key)).collect() }
}

#[test]
fn ids_are_names_and_versions() {
    let warpcore = id("enterprise.com/warpcore/1.0.0");
    assert_eq!(warpcore.name(), "enterprise.com/warpcore");
    assert!(warpcore.digest().hex().starts_with("1927aefa"));
    assert_eq!(id("bindle:a/1.0.0-rc.1+q1").to_string(), "a/1.0.0-rc.1+q1");
    assert_eq!(id("my-app_2.x/ä/1.0.0").name(), "my-app_2.x/ä");
    let long = format!("{}/1.0.0", "a".repeat(BindleId::NAME_BYTES + 1));
    let version = format!("a/1.0.0+{}", "a".repeat(BindleId::VERSION_BYTES));
    for wrong in [
        "a",
        "1.0.0",
        "a/",
        "/1.0.0",
        "a/1.0",
        "a/b",
        "a/../1.0.0",
        "a//1.0.0",
        "a b/1.0.0",
        "a\n/1.0.0",
        "a@b/1.0.0",
        "a?b/1.0.0",
        "bindle:bindle:a/1.0.0",
        &long,
        &version,
    ] {
        assert!(wrong.parse::<BindleId>().is_err(), "{wrong}");
    }
}

#[test]
fn an_invoice_is_read_and_written_in_both_languages() {
    let invoice = Invoice::from_toml(SIGNED).unwrap();
    assert_eq!(Invoice::from_toml(&invoice.to_toml()).unwrap(), invoice);
    let json = serde_json::to_value(&invoice).unwrap();
    assert!(json["yanked"].is_null() && json["group"].is_null(), "{json}");
    assert!(json["parcel"][0]["conditions"].is_null(), "{json}");
    assert_eq!(Invoice::from_json(json.to_string().as_bytes()).unwrap(), invoice);
    let full = r#"
        bindleVersion = "1.0.0"
        yanked = true
        [bindle]
        name = "a"
        version = "1.0.0"
        description = "d"
        [annotations]
        k = "v"
        [[parcel]]
        conditions = { memberOf = ["g"], requires = [] }
        [parcel.label]
        sha256 = "5b992f2b5c9f1d2d2bf2b5d2f1a2c6b0a0a0a0a0"
        mediaType = "m"
        name = "n"
        size = 1
        origin = "o/1.0.0"
        annotations = { a = "b" }
        [parcel.label.feature.wasm]
        type = "library"
        [[group]]
        name = "g"
        required = true
        satisfiedBy = "oneOf"
    "#;
    let full = Invoice::from_toml(full).unwrap();
    assert_eq!(Invoice::from_toml(&full.to_toml()).unwrap(), full);
    // A digest that can be none is kept, for others have such invoices; nothing will ever fit it.
    assert!(full.parcel[0].label.digest().is_none());
}

#[test]
fn what_is_no_invoice_is_refused() {
    let wrong = [
        SIGNED.replace("[bindle]", "yanked_reason = \"x\"\n[bindle]"),
        SIGNED.replace("size = 9", "size = -9"),
        SIGNED.replace("size = 9", "sise = 9"),
        SIGNED.replace("\"1.0.0\"\nauthors", "\"1.0\"\nauthors"),
        SIGNED.replace("creator", "captain"),
        SIGNED.replace("enterprise.com/", "../"),
        String::new(),
    ];
    for wrong in wrong {
        assert!(Invoice::from_toml(&wrong).is_err(), "{wrong}");
    }
    let mut many = Invoice::new(&id("a/1.0.0"));
    for _ in 0..=limits::SIGNATURES {
        many.signature.extend(Invoice::from_toml(SIGNED).unwrap().signature);
    }
    let refused = Invoice::from_toml(&many.to_toml()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("the invoice has more than {} signatures", limits::SIGNATURES)
    );
    let mut large = Invoice::from_toml(SIGNED).unwrap();
    large.parcel[0].label.size = limits::BINDLE_BYTES + 1;
    assert!(matches!(Invoice::from_toml(&large.to_toml()), Err(InvoiceError::TooLarge { .. })));
    let long = format!("{SIGNED}#{}", " ".repeat(limits::INVOICE_BYTES as usize));
    assert!(matches!(Invoice::from_toml(&long), Err(InvoiceError::TooLarge { of: "bytes", .. })));
}

#[test]
fn a_signature_made_by_others_is_verified() {
    let mut invoice = Invoice::from_toml(SIGNED).unwrap();
    let known = Keyring::from_toml(&format!(
        "version = \"1.0\"\n[[key]]\nlabel = \"Starfleet\"\nroles = [\"creator\"]\nkey = \"{KEY}\"\n"
    ))
    .unwrap();
    Strategy::GreedyVerification.verify(&invoice, &known).unwrap();
    let unknown = Strategy::GreedyVerification.verify(&invoice, &Keyring::default());
    assert_eq!(unknown, Err(VerifyError::UnknownKey));
    invoice.parcel[0].label.sha256.replace_range(..1, "3");
    let altered = Strategy::GreedyVerification.verify(&invoice, &known);
    assert_eq!(altered, Err(VerifyError::Invalid(KEY.to_owned())));
}

/// Every strategy over what may be wrong: an unknown creator, an invalid stranger's signature, and so on.
#[test]
fn strategies_ask_for_different_things() {
    use Strategy::*;
    let (creator, approver) = (key("C", &[Role::Creator]), key("A", &[Role::Approver]));
    let host = key("H", &[Role::Host]);
    let bare = Invoice { signature: Vec::new(), ..Invoice::from_toml(SIGNED).unwrap() };
    let signed = |keys: &[(&SecretKey, Role)]| {
        let mut invoice = bare.clone();
        for (key, role) in keys {
            invoice.sign(key, *role, 1).unwrap();
        }
        invoice
    };
    let all = [
        CreativeIntegrity,
        AuthoritativeIntegrity,
        GreedyVerification,
        ExhaustiveVerification,
        MultipleAttestation(vec![Role::Creator, Role::Approver]),
        MultipleAttestationGreedy(vec![Role::Creator, Role::Approver]),
    ];
    let verdicts = |invoice: &Invoice, ring: &Keyring| -> String {
        let verdict = |strategy: &Strategy| match strategy.verify(invoice, ring) {
            Ok(()) => '+',
            Err(VerifyError::Unsigned) => '0',
            Err(VerifyError::UnknownKey) => 'u',
            Err(VerifyError::NoKnownKey) => 'n',
            Err(VerifyError::Role(_)) => 'r',
            Err(VerifyError::Invalid(_)) => 'i',
            Err(error) => panic!("{error}"),
        };
        all.iter().map(verdict).collect()
    };
    let everybody = ring(&[&creator, &approver, &host]);
    assert_eq!(verdicts(&bare, &everybody), "000000");
    let three =
        signed(&[(&creator, Role::Creator), (&approver, Role::Approver), (&host, Role::Host)]);
    assert_eq!(verdicts(&three, &everybody), "++++++");
    assert_eq!(verdicts(&three, &ring(&[&creator, &approver])), "++uu+u");
    assert_eq!(verdicts(&three, &ring(&[&approver, &host])), "u+uuuu");
    assert_eq!(verdicts(&three, &ring(&[&creator])), "++uuuu");
    assert_eq!(verdicts(&three, &ring(&[&host])), "unuuuu");
    let made = signed(&[(&creator, Role::Creator)]);
    assert_eq!(verdicts(&made, &everybody), "++++rr");
    let hosted = signed(&[(&host, Role::Host)]);
    assert_eq!(verdicts(&hosted, &everybody), "nnr+nr");
    // A stranger's signature that does not fit spoils those that look at everything.
    let mut spoilt = three.clone();
    spoilt.signature[2].signature = spoilt.signature[0].signature.clone();
    assert_eq!(verdicts(&spoilt, &everybody), "++ii+i");
    let mut spoilt = three;
    spoilt.signature[0].signature = "AAAA".to_owned();
    let corrupt = GreedyVerification.verify(&spoilt, &everybody);
    assert!(matches!(corrupt, Err(VerifyError::CorruptSignature(_))));
    spoilt.signature[0].key = "AAAA".to_owned();
    let corrupt = GreedyVerification.verify(&spoilt, &everybody);
    assert!(matches!(corrupt, Err(VerifyError::CorruptKey(_))));
}

#[test]
fn a_key_signs_an_invoice_once() {
    let creator = key("C", &[Role::Creator]);
    let mut invoice = Invoice::new(&id("a/1.0.0"));
    invoice.sign(&creator, Role::Creator, 1).unwrap();
    assert_eq!(invoice.sign(&creator, Role::Approver, 1), Err(SignError::Twice));
    while invoice.signature.len() < limits::SIGNATURES {
        invoice.sign(&key("C", &[]), Role::Proxy, 1).unwrap();
    }
    let refused = invoice.sign(&key("C", &[]), Role::Proxy, 1);
    assert_eq!(refused, Err(SignError::TooMany(limits::SIGNATURES)));
}

#[test]
fn strategies_have_names() {
    for text in [
        "CreativeIntegrity",
        "AuthoritativeIntegrity",
        "GreedyVerification",
        "ExhaustiveVerification",
        "MultipleAttestation[Creator, Approver]",
        "MultipleAttestationGreedy[Host]",
    ] {
        assert_eq!(text.parse::<Strategy>().unwrap().to_string(), text);
        let shouted = format!(" {} ", text.to_uppercase());
        assert_eq!(shouted.parse::<Strategy>().unwrap().to_string(), text);
    }
    for wrong in [
        "",
        "Trust",
        "MultipleAttestation",
        "MultipleAttestation[Captain]",
        "MultipleAttestation[Host",
        "MultipleAttestation[]",
        "GreedyVerification[Host]",
    ] {
        assert!(wrong.parse::<Strategy>().is_err(), "{wrong}");
    }
}

#[test]
fn files_of_keys_are_written_for_their_readers() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (secret, public) = (folder.path().join("a/secret.toml"), folder.path().join("ring.toml"));
    assert!(SecretKeys::read(&secret).unwrap().keys.is_empty());
    let keys = SecretKeys { keys: vec![key("A <a@b>", &[Role::Creator]), key("B", &[Role::Host])] };
    keys.write(&secret).unwrap();
    assert_eq!(fs_err::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    let read = SecretKeys::read(&secret).unwrap();
    assert_eq!(read.keys.len(), 2);
    assert_eq!(read.find(Role::Host, None, false).unwrap().public(), keys.keys[1].public());
    assert_eq!(read.find(Role::Creator, Some("a@b"), true).unwrap().label, "A <a@b>");
    assert!(read.find(Role::Creator, Some("a@b"), false).is_none());
    let mut ring = Keyring::default();
    assert!(ring.add(PublicKey::of(&keys.keys[0])));
    assert!(!ring.add(PublicKey::of(&keys.keys[0])));
    ring.write(&public).unwrap();
    assert_eq!(Keyring::read(&public).unwrap(), ring);
    let shown = format!("{:?}", keys.keys[0]);
    assert!(!shown.contains(keys.keys[0].pair().as_str()), "{shown}");
    for wrong in [
        "version = \"2.0\"",
        "version = \"1.0\"\n[[key]]\nlabel = \"l\"\nkey = \"AAAA\"\n",
        "version = \"1.0\"\n[[key]]\nlabel = \"l\"\nkeypair = \"AAAA\"\n",
        "version = ",
    ] {
        assert!(Keyring::from_toml(wrong).is_err(), "{wrong}");
        assert!(SecretKeys::from_toml(wrong).is_err(), "{wrong}");
    }
    fs_err::write(&public, " ".repeat(limits::KEYS_BYTES as usize + 1)).unwrap();
    assert!(matches!(Keyring::read(&public), Err(KeysError::TooLarge(_))));
}

fn grouped(groups: &[(&str, &str)], parcels: &[(&str, &[&str], &[&str])]) -> Invoice {
    let mut text =
        "bindleVersion = \"1.0.0\"\n[bindle]\nname = \"a\"\nversion = \"1.0.0\"\n".to_owned();
    for (name, more) in groups {
        writeln!(text, "[[group]]\nname = \"{name}\"\n{more}").unwrap();
    }
    let mut invoice = Invoice::from_toml(&text).unwrap();
    for (name, member_of, requires) in parcels {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        invoice.parcel.push(super::Parcel {
            label: label(name, name.as_bytes()),
            conditions: super::Conditions {
                member_of: owned(member_of),
                requires: owned(requires),
            },
        });
    }
    invoice
}

fn names(selection: &Selection, invoice: &Invoice) -> String {
    let parcels = selection.of(invoice).unwrap();
    parcels.iter().map(|parcel| parcel.label.name.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn groups_say_which_parcels_are_needed() {
    let invoice = grouped(
        &[
            ("server", "required = true"),
            ("cli", ""),
            ("lib", "satisfiedBy = \"oneOf\""),
            ("docs", "satisfiedBy = \"optional\""),
        ],
        &[
            ("always", &[], &[]),
            ("server", &["server"], &["lib"]),
            ("both", &["server", "cli"], &[]),
            ("cli", &["cli"], &["docs"]),
            ("lib1", &["lib"], &[]),
            ("lib2", &["lib"], &[]),
            ("man", &["docs"], &[]),
        ],
    );
    assert_eq!(names(&Selection::default(), &invoice), "always server both lib1 lib2");
    assert_eq!(names(&Selection::default().least(), &invoice), "always server both lib1");
    let cli = Selection::default().with_group("cli");
    assert_eq!(names(&cli, &invoice), "always server both cli lib1 lib2 man");
    assert_eq!(names(&cli.least(), &invoice), "always server both cli lib1");
}

#[test]
fn features_choose_among_parcels() {
    let mut invoice = grouped(&[], &[("any", &[], &[]), ("arm", &[], &[]), ("x86", &[], &[])]);
    for index in [1, 2] {
        let name = invoice.parcel[index].label.name.clone();
        let section = invoice.parcel[index].label.feature.entry("host".to_owned()).or_default();
        section.insert("cpu".to_owned(), name);
    }
    assert_eq!(names(&Selection::default(), &invoice), "any arm x86");
    let arm = Selection::default().with_feature("host", "cpu", "arm");
    assert_eq!(names(&arm, &invoice), "any arm");
}

#[test]
fn groups_that_make_no_sense_are_refused() {
    let refused = |invoice: &Invoice| Selection::default().of(invoice).unwrap_err();
    let undefined = grouped(&[], &[("p", &["g"], &[])]);
    assert!(matches!(refused(&undefined), GroupError::Undefined { .. }));
    let undefined = grouped(&[], &[("p", &[], &["g"])]);
    assert!(matches!(refused(&undefined), GroupError::Undefined { .. }));
    let twice = grouped(&[("g", ""), ("g", "")], &[]);
    assert_eq!(refused(&twice), GroupError::Twice("g".to_owned()));
    let cycle = grouped(
        &[("a", ""), ("b", ""), ("c", "")],
        &[("1", &["a"], &["b"]), ("2", &["b"], &["a"]), ("3", &["c"], &["a"])],
    );
    assert!(matches!(refused(&cycle), GroupError::Cycle(_)));
    let chain = grouped(
        &[("a", ""), ("b", ""), ("c", "")],
        &[("1", &["a"], &["b"]), ("2", &["b"], &["c"]), ("3", &["c"], &[]), ("0", &[], &["a"])],
    );
    assert_eq!(names(&Selection::default(), &chain), "1 2 3 0");
}

#[test]
fn a_search_is_by_words_and_versions() {
    let query = |text: &str| {
        let pairs: Vec<_> = text.split('&').filter_map(|pair| pair.split_once('=')).collect();
        Query::from_parameters(pairs)
    };
    assert_eq!(query("").unwrap(), Query::default());
    let asked = query("q=warp core&v=^1.2&o=1&l=2&strict=true&yanked=true").unwrap();
    assert!(asked.fits_name("enterprise.com/warpcore") && !asked.fits_name("warp"));
    assert_eq!((asked.offset, asked.limit, asked.strict, asked.yanked), (1, 2, true, true));
    assert_eq!(
        query("query=warp core&version=^1.2&offset=1&limit=2&strict=true&yanked=true"),
        Ok(asked.clone())
    );
    let has = |range: &str, version: &str| {
        let query = Query { version: range.to_owned(), ..Query::default() };
        query.versions().unwrap().has(&version.parse().unwrap())
    };
    assert!(has("", "0.1.0") && has("1.2.3", "1.2.3") && !has("1.2.3", "1.2.4"));
    assert!(has("^1.2", "1.9.0") && !has("^1.2", "2.0.0") && !has(">1.0", "1.5.0-beta"));
    assert!(has("1.5.0-beta", "1.5.0-beta") && has(">=1.0, <2.0", "1.1.1"));
    assert!(!has("1.2.3+a", "1.2.3+b") && has("1", "1.8.0"));
    for wrong in ["zzz=1", "q=a&query=b", "l=256", "l=-1", "o=x", "strict=yes", "v=abc"] {
        assert!(query(wrong).is_err(), "{wrong}");
    }
    assert_eq!(
        query("l=300"),
        Err(QueryError::Value { name: "limit".to_owned(), value: "300".to_owned() })
    );
    let found: Vec<_> = (0..4).map(|n| Invoice::new(&id(&format!("a/1.0.{n}")))).collect();
    let page = asked.answer(found.into_iter());
    assert_eq!((page.total, page.more, page.invoices.len()), (4, true, 2));
    assert_eq!(page.invoices[0].bindle.version.to_string(), "1.0.1");
    let none = Query { limit: 0, ..Query::default() }.answer(std::iter::empty());
    assert!(!none.more && none.invoices.is_empty());
}

#[test]
fn a_bindle_on_its_own_is_read_from_folder_and_archive() {
    let folder = tempfile::tempdir().unwrap();
    let mut invoice = Invoice::new(&id("a/b/1.0.0"));
    for (name, bytes) in [("one", "1"), ("two", "22"), ("gone", "333")] {
        let conditions = super::Conditions::default();
        invoice.parcel.push(super::Parcel { label: label(name, bytes.as_bytes()), conditions });
    }
    let labels: Vec<Label> = invoice.parcel.iter().map(|parcel| parcel.label.clone()).collect();
    let writer = Writer::new(folder.path(), invoice.clone()).unwrap();
    assert!(Standalone::open(folder.path(), Some(&id("a/b/1.0.0"))).is_err(), "no invoice yet");
    writer.add(&labels[0], &mut &b"1"[..]).unwrap();
    for wrong in [&b"2"[..], b"", b"333", b"23"] {
        assert!(writer.add(&labels[1], &mut &*wrong).is_err());
        assert!(writer.parcel(&labels[1]).is_none());
    }
    writer.add(&labels[1], &mut &b"22"[..]).unwrap();
    let written = writer.finish().unwrap();
    let archive = written.archive(&folder.path().join("out")).unwrap();
    let name = format!("{}.tar.gz", id("a/b/1.0.0").digest().hex());
    assert!(archive.ends_with(name));
    for path in [folder.path(), written.folder(), &archive] {
        let read = Standalone::open(path, Some(&id("a/b/1.0.0"))).unwrap();
        assert_eq!(*read.invoice(), invoice);
        assert_eq!(read.verify().unwrap(), [&labels[2]]);
        assert_eq!(fs_err::read(read.parcel(&labels[1]).unwrap()).unwrap(), b"22");
    }
    assert!(Standalone::open(&archive, None).is_ok());
    fs_err::write(written.parcel(&labels[1]).unwrap(), "2!").unwrap();
    assert!(matches!(written.verify(), Err(StandaloneError::Parcel { .. })));
    assert!(matches!(
        Standalone::open(&folder.path().join("out"), None),
        Err(StandaloneError::NoInvoice(_))
    ));
    // A digest that is a path leads nowhere.
    let evil = Label { sha256: "../invoice".to_owned(), ..labels[0].clone() };
    assert!(written.parcel(&evil).is_none());
}
