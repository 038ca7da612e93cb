//! Whole manifests: what is read, what is warned of, what is written again.

use gyre_model::{LimitSettings, Settings};
use proptest::prelude::*;

use crate::{
    Manifest, ManifestVersion,
    schema::{Commands, ComponentSource, ComponentSpec, FilesMount, TargetEnvironment},
};

const MAXIMAL: &str = r#"
spin_manifest_version = 2

[application]
name = "maximal"
version = "9999.9.9"
description = "All the features"
authors = ["alice@example.com", "bob@example.com"]
targets = ["spin-up:3.2", { url = "https://example.com/env.toml" }, { path = "env.toml" }]

[application.trigger.fake]
global_option = true

[application.tool.lint]
level = "savage"

[application.tool.gyre]
health-path = "/healthz"
limits = { memory-mib = 64, cpu-ms = 500 }

[variables]
var_one = { description = "Test me", default = "Default" }
var_two = { required = true, secret = true }

[[trigger.fake]]
component = "minimal"

[[trigger.fake]]
id = "second"
component = { source = "inline.wasm" }
components.extra = "minimal"
option = { nested = [1, 2.5, "x", true] }

[component.minimal]
source = "max-a.wasm"

[component.maximal]
source = { url = "https://example.com/b.wasm", digest = "sha256:abcd" }
description = "My fine component"
variables = { v = "{{ var_one }}!" }
environment = { VAR = "{{ not a template" }
files = ["pattern/*", { source = "placement", destination = "/" }]
exclude_files = ["**/secret"]
allowed_outbound_hosts = ["https://example.com:443", "https://{{ var_one }}.com"]
key_value_stores = ["default", "my-store"]
sqlite_databases = ["default", "my_db"]
ai_models = ["llama2-chat"]
targets = []

[component.maximal.build]
command = ["npm install", "npm run build"]
workdir = "my-component"
watch = ["src/**/*.rs"]

[component.maximal.tool.clean]
command = "cargo clean"

[component.maximal.dependencies]
"fizz:buzz" = ">=0.1.0"
"a:b/c" = { registry = "my-registry.com", version = "^1.2.3", package = "a:b", export = "foo", inherit_configuration = true }
"foo:bar/baz@0.1.0" = { path = "dep.wasm", inherit_configuration = ["ai_models", "allowed_outbound_hosts"] }
plain = { component = "minimal" }

[component.maximal.profile.debug]
source = "debug.wasm"
environment = { DEBUG = "1" }
build.command = "make debug"
dependencies = { "fizz:buzz" = { path = "debug-dep.wasm" } }

[component.from-registry]
source = { registry = "example.com", package = "user:pkg", version = "1.0.0" }
"#;

#[test]
fn everything_that_can_be_written_is_read() {
    let manifest = Manifest::parse(MAXIMAL).unwrap();
    assert_eq!(manifest.version(), ManifestVersion::V2);
    assert!(manifest.warnings().0.is_empty(), "{}", manifest.warnings());
    assert_eq!(
        *manifest.settings(),
        Settings {
            health_path: Some("/healthz".into()),
            limits: LimitSettings {
                memory_mib: Some(64),
                cpu_ms: Some(500),
                ..LimitSettings::default()
            },
        }
    );
    assert_eq!(manifest.profiles(), ["debug"]);
    let app = manifest.app();
    assert_eq!(app.application.name.value(), "maximal");
    assert_eq!(app.application.targets[2].value(), &TargetEnvironment::Path("env.toml".into()));
    assert_eq!(app.application.trigger["fake"]["global_option"], true);
    assert_eq!(app.variables["var_one"].default.as_deref(), Some("Default"));
    assert!(app.variables["var_two"].required && app.variables["var_two"].secret);
    let triggers = &app.triggers["fake"];
    assert_eq!(triggers[1].config["option"]["nested"][1], 2.5);
    assert!(matches!(triggers[1].components["extra"][0].value(), ComponentSpec::Reference(_)));
    let component = &app.components["maximal"];
    assert_eq!(component.files[0].value(), &FilesMount::Pattern("pattern/*".into()));
    assert_eq!(component.targets.as_ref().map(Vec::len), Some(0));
    let build = component.build.as_ref().unwrap();
    assert_eq!(build.commands(), ["npm install", "npm run build"]);
    let profile = &component.profile["debug"];
    assert_eq!(profile.build_command, Some(Commands::Single("make debug".into())));
    assert_eq!(component.dependencies.len(), 4);
    assert_eq!(
        component.source.to_string(),
        "\"https://example.com/b.wasm\" with digest \"sha256:abcd\""
    );
    let registry = &app.components["from-registry"].source;
    assert_eq!(registry.to_string(), "\"user:pkg@1.0.0\" from registry \"example.com\"");
    assert!(matches!(registry.value(), ComponentSource::Registry { .. }));
}

#[test]
fn spans_lead_to_what_was_written() {
    let manifest = Manifest::parse(MAXIMAL).unwrap();
    let at = |span: std::ops::Range<usize>| &manifest.text()[span];
    let component = &manifest.app().components["maximal"];
    assert_eq!(at(component.span.clone()), "maximal");
    assert!(at(component.source.span()).starts_with("{ url ="));
    assert_eq!(at(component.files[0].span()), "\"pattern/*\"");
    assert_eq!(at(component.files[1].span()), "{ source = \"placement\", destination = \"/\" }");
    assert_eq!(at(component.allowed_outbound_hosts[0].span()), "\"https://example.com:443\"");
    let trigger = &manifest.app().triggers["fake"][1];
    assert_eq!(at(trigger.config_span("option.nested")), "[1, 2.5, \"x\", true]");
    assert_eq!(at(trigger.config_span("absent")), "id");
}

#[test]
fn what_is_read_and_written_is_read_to_the_same() {
    let manifest = Manifest::parse(MAXIMAL).unwrap();
    let written = manifest.app().to_toml();
    let again = Manifest::parse(&written).unwrap();
    assert_eq!(again.app().to_toml(), written);
    assert_eq!(again.settings(), manifest.settings());
    for profile in [None, Some("debug")] {
        let normalized = manifest.normalize(profile).unwrap();
        assert_eq!(again.normalize(profile).unwrap().to_toml(), normalized.to_toml());
        // What is normalized stays as it is.
        let thrice = Manifest::parse(&normalized.to_toml()).unwrap();
        assert_eq!(thrice.normalize(None).unwrap().to_toml(), normalized.to_toml());
    }
}

#[test]
fn version_1_becomes_version_2() {
    let manifest = Manifest::parse(
        r#"
spin_manifest_version = "1"
name = "old"
version = "1.0.0"
authors = ["alice@example.com"]
trigger = { type = "http", base = "/" }

[variables]
host = { default = "example.com" }

[[component]]
id = "My_Component"
source = "a.wasm"
config = { url = "https://{{ host }}/" }
environment = { A = "b" }
allowed_http_hosts = ["example.com", "self"]
[component.trigger]
route = "/hello/..."
executor = { type = "wagi" }
[component.build]
command = "make"

[[component]]
id = "closed"
source = { url = "https://example.com/b.wasm", digest = "sha256:00" }
files = [{ source = "x", destination = "/" }]
allowed_outbound_hosts = []
allowed_http_hosts = ["insecure:allow-all"]
[component.trigger]
route = "/closed"
"#,
    )
    .unwrap();
    assert_eq!(manifest.version(), ManifestVersion::V1);
    let warnings: Vec<_> = manifest.warnings().warnings().map(|warning| warning.code).collect();
    assert_eq!(warnings, ["manifest.deprecated"]);
    let expected = r#"spin_manifest_version = 2

[application]
name = "old"
version = "1.0.0"
authors = ["alice@example.com"]

[application.trigger.http]
base = "/"

[variables.host]
default = "example.com"

[[trigger.http]]
id = "trigger-my-component"
component = "my-component"
route = "/hello/..."

[trigger.http.executor]
type = "wagi"

[[trigger.http]]
id = "trigger-closed"
component = "closed"
route = "/closed"

[component.my-component]
source = "a.wasm"
allowed_outbound_hosts = [
    "redis://*:*",
    "mysql://*:*",
    "postgres://*:*",
    "http://example.com",
    "https://example.com",
    "http://self",
]

[component.my-component.variables]
url = "https://{{ host }}/"

[component.my-component.environment]
A = "b"

[component.my-component.build]
command = "make"

[component.closed]
allowed_outbound_hosts = [
    "http://*:*",
    "https://*:*",
    "http://self",
]

[component.closed.source]
url = "https://example.com/b.wasm"
digest = "sha256:00"

[[component.closed.files]]
source = "x"
destination = "/"
"#;
    let written = manifest.app().to_toml();
    assert_eq!(written, expected);
    assert_eq!(Manifest::parse(&written).unwrap().version(), ManifestVersion::V2);
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let text = r#"spin_manifest_version = 2
application = { name = "a" }
[[trigger.http]]
id = "t"
route = "/x"
component = "a"
[[trigger.http]]
id = "t"
route = "/x"
component = "a"
[[trigger.http]]
route = "/.well-known/spin/y"
component = "a"
[component.a]
source = "x"
files = ["*"]
allowed_http_hosts = ["b.com"]
allowed_outbound_hosts = ["http://b.spin.internal", "http://a.spin.internal"]
"#;
    let manifest = Manifest::parse(text).unwrap();
    let lines: Vec<_> = manifest.warnings().0.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "line 5, column 9: route /x is a duplicate and will never be used: a: /x (duplicate of a)",
            "line 8, column 1: two triggers have the id \"t\"",
            "line 12, column 9: route /.well-known/spin/y will never be reached: routes under /.well-known/spin/ are answered by the host",
            "line 16, column 10: A component is including the entire application directory as asset files. This is unlikely to be what you want. (If this is what you want, use the pattern \"./*\" to avoid this warning.)",
            "line 17, column 23: Use of the deprecated field `allowed_http_hosts` (replace it with `allowed_outbound_hosts = [\"http://b.com\", \"https://b.com\"]`)",
            "line 18, column 27: no such component \"b\" to chain to",
        ]
    );
}

#[test]
fn triggers_of_other_types_are_passed_on() {
    let text = "spin_manifest_version = 2\napplication.name = \"a\"\n[[trigger.cron]]\ncomponent = \"a\"\ncron_expression = \"* * * * *\"\n[component.a]\nsource = \"x\"";
    let manifest = Manifest::parse(text).unwrap();
    let trigger = &manifest.app().triggers["cron"][0];
    assert_eq!(trigger.config["cron_expression"], "* * * * *");
}

#[test]
fn an_unknown_profile_is_refused() {
    let manifest = Manifest::parse(MAXIMAL).unwrap();
    let error = manifest.normalize(Some("debgu")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Profile debgu is not defined in this application (did you mean `debug`?)"
    );
}

fn toml_text() -> impl Strategy<Value = String> {
    // Any characters that a TOML string may have, written as TOML writes them.
    "[ -~é\\n\\t]{0,8}".prop_map(|text| toml::Value::String(text).to_string())
}

proptest! {
    #[test]
    fn any_texts_survive_reading_and_writing(
        name in toml_text(), description in toml_text(), source in toml_text(),
        key in toml_text(), value in toml_text(), files in prop::collection::vec(toml_text(), 0..3),
    ) {
        let text = format!(
            "spin_manifest_version = 2\n[application]\nname = {name}\ndescription = {description}\n\
             [[trigger.x]]\ncomponent = \"a\"\noption = {value}\n\
             [component.a]\nsource = {source}\ndescription = {description}\n\
             environment = {{ \"k\" = {value} }}\nfiles = [{}]\n[component.a.tool.t]\nk = {key}\n",
            files.join(", ")
        );
        match Manifest::parse(&text) {
            Ok(manifest) => {
                let written = manifest.app().to_toml();
                let again = Manifest::parse(&written).unwrap();
                prop_assert_eq!(again.app().to_toml(), written);
                let source: toml::Table = format!("v = {source}").parse().unwrap();
                let local = ComponentSource::Local(source["v"].as_str().unwrap().to_owned());
                prop_assert_eq!(again.app().components["a"].source.value(), &local);
            }
            // Only a file pattern can be wrong here.
            Err(errors) => prop_assert!(errors.errors().all(|error| error.code == "manifest.files")),
        }
    }

    #[test]
    fn no_text_is_too_strange_to_be_judged(cut in 0..MAXIMAL.len(), with in "[\\]\\[{}\"=.a1#\\n]{0,3}") {
        let mut text = MAXIMAL.to_owned();
        let end = (cut + with.len()).min(text.len());
        text.replace_range(cut..end, &with);
        if let Err(diagnostics) = Manifest::parse(&text) {
            prop_assert!(diagnostics.has_errors());
            for one in &diagnostics.0 {
                let fits = one.span.as_ref().is_none_or(|span| text.get(span.clone()).is_some());
                prop_assert!(fits, "{:?}", one);
            }
        }
    }
}
