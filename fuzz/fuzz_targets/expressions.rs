//! Templates with `{{ names }}`.
#![no_main]

use gyre_manifest::template::Template;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(template) = Template::parse(text) else { return };
    let names: Vec<String> = template.names().map(str::to_owned).collect();
    let resolved = template.resolve(|name| Some(format!("<{name}>"))).expect("every name resolves");
    if names.is_empty() {
        assert!(template.is_literal() && resolved == text);
    }
    for name in names {
        assert!(resolved.contains(&format!("<{name}>")));
    }
});
