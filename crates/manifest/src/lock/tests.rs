//! Locked apps as Spin makes them, and reduced ones.

use serde_json::json;

use super::*;
use crate::{Manifest, http::list_routes};

fn locked(text: &str, profile: Option<&str>) -> LockedApp {
    let manifest = Manifest::parse(text).unwrap();
    lock(&manifest.normalize(profile).unwrap(), profile)
}

const APP: &str = r#"
spin_manifest_version = 2
[application]
name = "shop"
version = "1.2.3"
authors = ["alice"]
[application.tool.gyre]
health-path = "/"
[variables]
z = { required = true, secret = true }
b = { default = "x", description = "d" }
[[trigger.http]]
route = "/..."
component = "front"
[[trigger.http]]
route = { private = true }
component = "back"
[[trigger.http]]
route = "/robots.txt"
static_response = { body = "User-agent: *" }
[component.front]
source = "front.wasm"
description = "The shop"
environment = { Z = "1", A = "2" }
variables = { greeting = "hi {{ b }}" }
files = ["x/*"]
allowed_outbound_hosts = ["http://back.spin.internal", "https://{{ b }}.com"]
key_value_stores = ["default"]
sqlite_databases = ["default"]
build = { command = "make", watch = ["src"] }
dependencies = { "a:b/c" = { path = "d.wasm", export = "e", inherit_configuration = ["files"] }, "a:b/d" = { path = "d.wasm" } }
profile.debug.source = "debug.wasm"
[component.back]
source = "back.wasm"
allowed_http_hosts = ["example.com"]
"#;

#[test]
fn a_locked_app_is_as_spin_makes_it() {
    let expected = json!({
        "spin_lock_version": 1,
        "must_understand": ["component_host_requirements"],
        "metadata": {
            "name": "shop", "version": "1.2.3", "authors": ["alice"],
            "triggers": {}, "trigger": { "type": "http" }, "profile": "debug",
        },
        "variables": {
            "b": { "description": "d", "default": "x" },
            "z": { "secret": true },
        },
        "triggers": [
            { "id": "front-http-trigger", "trigger_type": "http",
              "trigger_config": { "route": "/...", "component": "front" } },
            { "id": "back-http-trigger", "trigger_type": "http",
              "trigger_config": { "route": { "private": true }, "component": "back" } },
            { "id": "http-trigger1", "trigger_type": "http",
              "trigger_config": { "route": "/robots.txt", "static_response": { "body": "User-agent: *" } } },
        ],
        "components": [
            { "id": "front",
              "metadata": {
                "description": "The shop",
                "allowed_outbound_hosts": ["http://back.spin.internal", "https://{{ b }}.com"],
                "key_value_stores": ["default"], "databases": ["default"],
                "build": { "command": "make", "watch": ["src"] },
              },
              "source": { "content_type": "application/wasm" },
              "env": { "A": "2", "Z": "1" },
              "config": { "greeting": "hi {{ b }}" },
              "dependencies": {
                "a:b/c": { "source": { "content_type": "application/wasm" }, "export": "e", "inherit": { "Some": ["files"] } },
                "a:b/d": { "source": { "content_type": "application/wasm" } },
              },
              "host_requirements": { "local_service_chaining": "required" } },
            { "id": "back",
              "metadata": { "allowed_outbound_hosts": ["http://example.com", "https://example.com"] },
              "source": { "content_type": "application/wasm" } },
        ],
    });
    let app = locked(APP, Some("debug"));
    assert_eq!(serde_json::to_value(&app).unwrap(), expected);
    let names: Vec<_> = app.variables.keys().collect();
    assert_eq!(names, ["b", "z"]);
    assert_eq!(app.ensure_understood(&[SERVICE_CHAINING]), Ok(()));
    let listed: Vec<_> =
        list_routes(&app).unwrap().iter().map(|route| format!("{}: x{route}", route.id)).collect();
    assert_eq!(listed, ["http-trigger1: x/robots.txt", "front: x (wildcard)"]);
}

#[test]
fn without_requirements_the_version_is_0() {
    let app = locked(
        "spin_manifest_version = \"1\"\nname = \"a\"\ntrigger = { type = \"http\", base = \"/\" }",
        None,
    );
    assert_eq!(
        serde_json::to_value(&app).unwrap(),
        json!({
            "spin_lock_version": 0,
            "metadata": { "name": "a", "triggers": { "http": { "base": "/" } } },
            "triggers": [], "components": [],
        })
    );
}

#[test]
fn middleware_must_be_understood() {
    let mut app = locked(
        "spin_manifest_version = 2\napplication.name = \"a\"\n[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\ndependencies.middleware = [{ path = \"auth.wasm\" }]\n[component.a]\nsource = \"a\"\n[component.b]\nsource = \"b\"",
        None,
    );
    move_trigger_dependencies(&mut app, |_, _| panic!("only one trigger calls it"));
    assert_eq!(app.triggers[0].trigger_config, json!({ "route": "/", "component": "a" }));
    assert!(app.ensure_understood(&[SERVICE_CHAINING]).is_err());
    assert!(app.components[1].host_requirements.is_empty());
}

#[test]
fn an_application_can_be_reduced_to_some_components() {
    let mut app = locked(APP, None);
    retain_components(&mut app, &["back"]).unwrap();
    assert_eq!((app.components.len(), app.triggers.len()), (1, 1));
    let mut app = locked(APP, None);
    assert_eq!(
        retain_components(&mut app, &["nope"]).unwrap_err().to_string(),
        "Specified component \"nope\" not found in application"
    );
    assert_eq!(
        retain_components(&mut app, &["front"]).unwrap_err().to_string(),
        "Selected component 'front' cannot use service chaining to unselected component: allowed_outbound_hosts = [\"http://back.spin.internal\"]"
    );
    let mut any = locked(&APP.replace("http://back.spin", "http://*.spin"), None);
    assert!(matches!(
        retain_components(&mut any, &["front", "back"]),
        Err(RetainError::WildcardChaining(_))
    ));
    assert_eq!(any.components.len(), 2);
}

#[test]
fn the_environment_is_no_template() {
    let app = locked(
        "spin_manifest_version = 2\n[application]\nname = \"a\"\n[variables]\nb = { default = \"x\" }\n\
         [[trigger.http]]\nroute = \"/\"\ncomponent = \"c\"\n\
         [component.c]\nsource = \"c.wasm\"\nenvironment = { A = \"{{ b }}\", B = \"{{ none }}\" }\n",
        None,
    );
    let env = &app.components[0].env;
    assert_eq!((env["A"].as_str(), env["B"].as_str()), ("{{ b }}", "{{ none }}"));
}
