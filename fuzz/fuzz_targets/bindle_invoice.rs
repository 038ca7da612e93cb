//! An invoice as a client sends it, and as a server answers it, in TOML or JSON: read, checked, written, signed, chosen from.
#![no_main]

use gyre_package::bindle::{
    Invoice, Role, SecretKey, Selection, Strategy, application, keys::Keyring,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(keyring) = Keyring::from_toml(text) {
            Keyring::from_toml(&keyring.to_toml()).expect("what was written can be read");
        }
        if let Ok(invoice) = Invoice::from_toml(text) {
            use_it(invoice);
        }
    }
    if let Ok(invoice) = Invoice::from_json(bytes) {
        use_it(invoice);
    }
});

fn use_it(mut invoice: Invoice) {
    let _ = application::check(&invoice);
    let _ = Selection::default().of(&invoice);
    let _ = invoice.check_signatures();
    let _ = Strategy::ExhaustiveVerification.verify(&invoice, &Keyring::default());
    let key = SecretKey::from_seed("A", vec![Role::Creator], &[7; 32]);
    if invoice.signature.len() < gyre_package::limits::SIGNATURES {
        let _ = invoice.sign(&key, Role::Creator, 1);
    }
    let text = invoice.to_toml();
    let Ok(again) = Invoice::from_toml(&text) else {
        // Written, it may be longer than it may be.
        assert!(text.len() as u64 > gyre_package::limits::INVOICE_BYTES, "{text}");
        return;
    };
    assert_eq!(again, invoice);
    let json = serde_json::to_vec(&invoice).expect("an invoice is JSON");
    if json.len() as u64 <= gyre_package::limits::INVOICE_BYTES {
        assert_eq!(Invoice::from_json(&json).expect("what was written can be read"), invoice);
    }
}
