//! Components of text against environments in a temporary folder.

use super::*;
use crate::testing::Folder;

const ASKS: &str = r#"(component
  (import "test:host/clock@1.0.0" (instance $clock (export "now" (func (result u32)))))
  (alias export $clock "now" (func $now))
  (export "run" (func $now)))"#;

const WORLDS: &str = "package test:env@1.0.0;
    world all { import test:host/clock@1.0.0; export run: func() -> u32; }
    world none { export run: func() -> u32; }
    world other { import test:host/clock@1.0.0; export run: func() -> u32; export walk: func(); }
    world text { import test:host/clock@1.0.0; export run: func() -> string; }
";

/// An application whose component is to run in `env.toml`, a definition with these worlds.
fn folder(worlds: &str) -> Folder {
    Folder::of_one("targets = [{ path = \"env/env.toml\" }]")
        .write("app/a.wasm", wat::parse_str(ASKS).unwrap())
        .write("app/env/env.toml", worlds)
        .write("app/env/wit/env.wit", WORLDS)
        .write(
            "app/env/wit/deps/host/host.wit",
            "package test:host@1.0.0; interface clock { now: func() -> u32; }",
        )
}

async fn checked(folder: &Folder) -> Result<Checked, TargetError> {
    let application = folder.load().await.unwrap();
    let text = fs_err::read_to_string(folder.path("app/spin.toml")).unwrap();
    let app = gyre_manifest::Manifest::parse(&text).unwrap().normalize(None).unwrap();
    check(&app, &folder.path("app"), &application)
}

fn world(name: &str) -> String {
    format!("{{ path = \"wit\", world = \"test:env/{name}@1.0.0\" }}")
}

fn http(worlds: &[&str]) -> String {
    let worlds: Vec<_> = worlds.iter().map(|name| world(name)).collect();
    format!("[triggers]\nhttp = {{ worlds = [{}] }}\n", worlds.join(", "))
}

async fn problem(definition: &str) -> String {
    let checked = checked(&folder(definition)).await.unwrap();
    assert_eq!((checked.problems.len(), checked.unknown.len()), (1, 0), "{checked:?}");
    checked.problems.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_component_runs_where_one_world_is_its_own() {
    for worlds in [&["all"][..], &["none", "all"]] {
        assert_eq!(checked(&folder(&http(worlds))).await.unwrap(), Checked::default());
    }
    let default = format!("[triggers]\n[default]\nworlds = [{}]\n", world("all"));
    assert_eq!(checked(&folder(&default)).await.unwrap(), Checked::default());
}

#[tokio::test]
async fn what_is_missing_is_named() {
    assert_eq!(
        problem(&http(&["none"])).await,
        "Component a can't run in environment env/env.toml (world test:env/none@1.0.0).\n\
         The component requires the following imports, which the environment does not provide:\n  - test:host/clock@1.0.0"
    );
    assert_eq!(
        problem(&http(&["other"])).await,
        "Component a can't run in environment env/env.toml (world test:env/other@1.0.0).\n\
         The environment requires the following exports, which the component does not provide:\n  - walk (function)"
    );
    let mismatch = problem(&http(&["text"])).await;
    assert!(mismatch.contains("Found a type mismatch for export run: "), "{mismatch}");
    assert!(problem("[triggers]\nhttp = { worlds = [] }\n").await.contains("(world none)"));
}

#[tokio::test]
async fn what_a_component_requires_of_the_host_is_checked() {
    let chains = |capabilities: &str| {
        let definition = format!(
            "[triggers]\nhttp = {{ worlds = [{}], capabilities = [{capabilities}] }}\n",
            world("all")
        );
        folder(&definition).write(
            "app/spin.toml",
            "spin_manifest_version = 2\n[application]\nname = \"x\"\ntargets = [{ path = \"env/env.toml\" }]\n\
             [[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n\
             [component.a]\nsource = \"a.wasm\"\nallowed_outbound_hosts = [\"http://b.spin.internal\"]\n\
             [component.b]\nsource = \"a.wasm\"\n",
        )
    };
    let ok = chains("\"local_service_chaining\"");
    assert_eq!(checked(&ok).await.unwrap(), Checked::default());
    let refused = checked(&chains("")).await.unwrap().problems;
    let text = "Component a can't run in environment env/env.toml because it requires the feature(s) \
                'local_service_chaining' which the environment does not support";
    assert_eq!(refused, [text]);
}

#[tokio::test]
async fn what_is_not_on_this_machine_is_named_and_not_guessed() {
    let elsewhere = "[triggers]\nhttp = { worlds = [\"spin:up/http-trigger@3.2.0\"] }\n";
    let found = checked(&folder(elsewhere)).await.unwrap();
    assert_eq!((found.problems.len(), found.unknown), (0, vec!["env/env.toml".to_owned()]));
    let both = format!("[triggers]\nhttp = {{ worlds = [\"x:y/z\", {}] }}\n", world("all"));
    assert_eq!(checked(&folder(&both)).await.unwrap(), Checked::default());
    let named =
        Folder::of_one("targets = [\"spin-up:3.2\", { url = \"https://example.com/env.toml\" }]");
    let found = checked(&named).await.unwrap();
    assert_eq!(found.unknown, ["spin-up:3.2", "https://example.com/env.toml"]);
    assert_eq!(checked(&Folder::of_one("")).await.unwrap(), Checked::default());
}

#[tokio::test]
async fn environments_that_cannot_be_read_are_errors() {
    let refused = async |definition: &str| {
        let error = checked(&folder(definition)).await.unwrap_err();
        crate::testing::chain(&error).join(": ")
    };
    let text = refused("[triggers]\nredis = { worlds = [] }\n").await;
    assert_eq!(text, "Environment env/env.toml does not support trigger type http");
    assert!(refused("triggers = 1").await.contains("is not valid"));
    assert!(refused("[triggers]\n[surprise]\n").await.contains("unknown field"));
    for (world, reason) in [
        ("{ path = 'nowhere', world = 'test:env/all@1.0.0' }", "nowhere"),
        ("{ path = 'wit', world = 'test:env/all@2.0.0' }", "is the package test:env@1.0.0"),
        ("{ path = 'wit', world = 'test:env/nope@1.0.0' }", "has no such world"),
        ("{ path = 'wit', world = 'all' }", "is not namespace:package/world"),
    ] {
        let text = refused(&format!("[triggers]\nhttp = {{ worlds = [{world}] }}\n")).await;
        assert!(text.contains("cannot be used") && text.contains(reason), "{text}");
    }
    let gone = folder(&http(&["all"]));
    fs_err::remove_file(gone.path("app/env/env.toml")).unwrap();
    assert!(checked(&gone).await.unwrap_err().to_string().contains("cannot read"));
    let code = folder(&http(&["all"])).write("app/a.wasm", "code");
    assert!(checked(&code).await.unwrap_err().to_string().starts_with("component \"a\" cannot"));
}
