//! Routes, one a line; the last line is a path.
#![no_main]

use gyre_manifest::routes::{Route, Router};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines: Vec<&str> = text.lines().collect();
    let Some(path) = lines.pop() else { return };
    for line in &lines {
        if let Ok(route) = Route::parse(line) {
            route.parameters().for_each(drop);
        }
    }
    let routes = lines.iter().enumerate().map(|(index, line)| (*line, index));
    let Ok((router, _)) = Router::build(routes) else { return };
    if let Some(found) = router.find(path) {
        assert!(*found.value < lines.len());
        // It begins with a slash that the path need not have there; slashes at the end count as one.
        let info = found.path_info.trim_matches('/');
        assert!(path.trim_matches('/').ends_with(info), "{path:?} does not end with {info:?}");
    }
});
