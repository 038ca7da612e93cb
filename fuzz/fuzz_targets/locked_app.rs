//! A locked app, out of a registry or a file.
#![no_main]

use gyre_manifest::http::HttpApp;
use gyre_model::LockedApp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(app) = serde_json::from_slice::<LockedApp>(bytes) else { return };
    let _ = app.ensure_understood(&["local_service_chaining"]);
    if let Ok(http) = HttpApp::from_locked(&app) {
        http.find("/a/b?c");
        http.notices();
    }
    let json = serde_json::to_vec(&app).expect("a locked app is JSON");
    serde_json::from_slice::<LockedApp>(&json).expect("what was written can be read");
});
