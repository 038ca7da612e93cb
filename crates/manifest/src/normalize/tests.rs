//! The canonical form, and what cannot be brought into it.

use crate::{AppManifest, Manifest, schema::DependencySource};

fn parse(rest: &str) -> Result<AppManifest, String> {
    let text = format!("spin_manifest_version = 2\napplication.name = \"a\"\n{rest}");
    let manifest = Manifest::parse(&text).map_err(|errors| errors.to_string())?;
    manifest.normalize(None).map_err(|errors| errors.to_string())
}

fn error(components: &str) -> String {
    let errors = parse(&format!("[[trigger.x]]\ncomponent = \"a\"\n{components}")).unwrap_err();
    errors.split_once(": ").unwrap().1.to_owned()
}

#[test]
fn triggers_get_ids_and_inline_components_a_name() {
    let app = parse(
        r#"
[[trigger.http]]
component = "hello"
route = "/1"
[[trigger.http]]
id = "admin-handler"
component = { source = "admin.wasm" }
route = "/2"
[[trigger.http]]
component = { source = "other.wasm" }
route = "/3"
[[trigger.http]]
component = "hello"
route = "/4"
[[trigger.example]]
components.hello = "hello"
components.inline1 = { source = "inline1.wasm" }
components.inline2 = [{ source = "inline2.wasm" }]
[component.hello]
source = "hello.wasm"
"#,
    )
    .unwrap();
    let triggers: Vec<_> = app
        .all_triggers()
        .map(|(_, trigger)| (trigger.id.as_str(), trigger.component_id().map(ToString::to_string)))
        .collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        triggers,
        [
            ("hello-http-trigger", some("hello")),
            ("admin-handler", some("admin-handler-component")),
            ("http-trigger1", some("http-trigger1-component")),
            ("http-trigger2", some("hello")),
            ("example-trigger1", None),
        ]
    );
    let ids: Vec<_> = app.components.keys().map(ToString::to_string).collect();
    assert_eq!(
        ids,
        [
            "hello",
            "admin-handler-component",
            "http-trigger1-component",
            "inline-component1",
            "inline-component2"
        ]
    );
}

#[test]
fn a_generated_id_avoids_those_that_are_taken() {
    let app = parse(
        r#"
[[trigger.x]]
component = "a"
[[trigger.x]]
id = "a-x-trigger"
component = { source = "b" }
[[trigger.x]]
id = "x-trigger1"
component = "a-x-trigger-component"
[component.a]
source = "a"
[component.a-x-trigger-component]
source = "c"
"#,
    )
    .unwrap();
    let ids: Vec<_> = app.all_triggers().map(|(_, trigger)| trigger.id.as_str()).collect();
    assert_eq!(ids, ["x-trigger2", "a-x-trigger", "x-trigger1"]);
    assert!(app.components.contains_key("inline-component1"));
}

#[test]
fn a_profile_replaces_and_adds() {
    let text = r#"
spin_manifest_version = 2
application.name = "a"
[[trigger.x]]
component = "a"
[component.a]
source = "a.wasm"
environment = { A = "1", B = "2" }
build = { command = "make", workdir = "w" }
[component.a.profile.debug]
source = "debug.wasm"
environment = { B = "3" }
build.command = "make debug"
[component.b]
source = "b.wasm"
[component.b.profile.debug]
build.command = "make b"
"#;
    let manifest = Manifest::parse(text).unwrap();
    let debug = manifest.normalize(Some("debug")).unwrap();
    let a = &debug.components["a"];
    assert_eq!(a.source.to_string(), "\"debug.wasm\"");
    assert_eq!((a.environment["A"].as_str(), a.environment["B"].as_str()), ("1", "3"));
    let build = a.build.as_ref().unwrap();
    assert_eq!(
        (build.commands(), build.workdir.as_deref()),
        (&["make debug".to_owned()][..], Some("w"))
    );
    assert_eq!(debug.components["b"].build.as_ref().unwrap().commands(), ["make b"]);
    let plain = manifest.normalize(None).unwrap();
    assert_eq!(plain.components["a"].source.to_string(), "\"a.wasm\"");
}

#[test]
fn a_dependency_on_a_component_becomes_one_on_its_source() {
    let app = parse(
        r#"
[[trigger.x]]
component = "a"
dependencies.role = [{ component = "b", inherit_configuration = ["files"] }]
[component.a]
source = "a.wasm"
dependencies_inherit_configuration = true
dependencies = { "b:b/c" = { component = "b" }, plain = { component = "r" }, "v:v" = "1" }
[component.b]
source = "b.wasm"
[component.r]
source = { package = "r:r", version = "1.2.3" }
"#,
    )
    .unwrap();
    let written = app.to_toml();
    let sources: Vec<_> =
        app.components["a"].dependencies.values().map(|one| one.source.clone()).collect();
    assert_eq!(
        sources,
        [
            DependencySource::Local { path: "b.wasm".into() },
            DependencySource::Package {
                version: "1.2.3".into(),
                registry: None,
                package: Some("r:r".into())
            },
            DependencySource::Package { version: "1".into(), registry: None, package: None },
        ]
    );
    assert_eq!(written.matches("inherit_configuration = true").count(), 3, "{written}");
    let trigger = &app.triggers["x"][0].dependencies["role"][0];
    assert_eq!(trigger.source, DependencySource::Local { path: "b.wasm".into() });
}

#[test]
fn dependencies_are_checked_in_spins_words() {
    for (components, expected) in [
        (
            "[component.a]\nsource = \"a\"\ndependencies = { foo = \"1\" }",
            "component \"a\" has invalid dependencies: dependency \"foo\" must specify a package name",
        ),
        (
            "[component.a]\nsource = \"a\"\ndependencies = { \"b:c\" = { path = \"x\", export = \"y\" } }",
            "component \"a\" has invalid dependencies: using an export to satisfy the package dependency \"b:c\" is not currently permitted",
        ),
        (
            "[component.a]\nsource = \"a\"\ndependencies = { \"b:c@1.0.0\" = \"1\", \"b:c/d@1.1.0\" = \"1\" }",
            "component \"a\" has invalid dependencies: \"b:c@1.0.0\" dependency conflicts with \"b:c/d@1.1.0\"",
        ),
        (
            "[component.a]\nsource = \"a\"\ndependencies_inherit_configuration = false\ndependencies = { \"b:c\" = { path = \"x\", inherit_configuration = true } }",
            "Component `a` specifies both `dependencies_inherit_configuration` and per-dependency `inherit_configuration`. These are mutually exclusive; use one or the other.",
        ),
        (
            "[component.a]\nsource = \"a\"\ndependencies = { \"b:c\" = { component = \"bb\" } }\n[component.bbb]\nsource = \"b\"",
            "dependency ID bb does not exist (did you mean `bbb`?)",
        ),
        (
            "[component.a]\nsource = \"a\"\ndependencies = { \"b:c\" = { component = \"b\" } }\n[component.b]\nsource = \"b\"\nfiles = [\"x\"]\nkey_value_stores = [\"default\"]",
            "Dependencies may not have their own resources or permissions. Component b cannot be used as a dependency of a because it specifies: files, key_value_stores",
        ),
        (
            "[component.a]\nsource = \"a\"\ndependencies = { \"b:c\" = { version = \"?\" } }",
            "invalid version requirement \"?\": unexpected character '?' while parsing major version number",
        ),
        (
            "[component.a]\nsource = \"a\"\ndependencies = { \"b:c\" = { path = \"x\", inherit_configuration = [\"file\"] } }",
            "unknown configuration `file` to inherit (did you mean `files`?)",
        ),
        (
            "[component.a]\nsource = \"a\"\ndependencies = { \"b:\" = \"1\" }",
            "invalid dependency name \"b:\": invalid package name \"b:\"; it must have the form 'namespace:name'",
        ),
    ] {
        assert_eq!(error(components), expected, "{components}");
    }
}

#[test]
fn a_profile_can_make_dependencies_wrong() {
    let text = "spin_manifest_version = 2\napplication.name = \"a\"\n[[trigger.x]]\ncomponent = \"a\"\n[component.a]\nsource = \"a\"\n[component.a.profile.p]\ndependencies = { foo = \"1\" }";
    let manifest = Manifest::parse(text).unwrap();
    assert!(manifest.normalize(None).is_ok());
    let errors = manifest.normalize(Some("p")).unwrap_err();
    assert_eq!(errors.0[0].position.unwrap().line, 8);
}
