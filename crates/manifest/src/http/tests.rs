//! HTTP triggers, right and wrong, and the routes of an application as they are listed.

use serde_json::json;

use super::*;

fn trigger(config: Value) -> Result<HttpTrigger, String> {
    let trigger = LockedTrigger {
        id: "t1".into(),
        trigger_type: "http".into(),
        trigger_config: config,
        trigger_dependencies: indexmap::IndexMap::default(),
    };
    HttpTrigger::from_locked(&trigger).map_err(|error| error.to_string())
}

#[test]
fn a_trigger_calls_a_component_or_answers_itself() {
    let calls = trigger(json!({ "component": "a", "route": "/..." })).unwrap();
    assert_eq!(calls.component.as_deref(), Some("a"));
    assert_eq!(calls.route, HttpRoute::Public("/...".into()));
    assert_eq!(calls.executor, Executor::Http);
    assert_eq!(calls.shown_id(), "a");
    let answers = trigger(json!({
        "route": "/robots.txt",
        "static_response": { "status_code": 404, "headers": { "x-a": "b" }, "body": "gone" }
    }))
    .unwrap();
    let response = answers.static_response.clone().unwrap();
    assert_eq!((response.status, response.body.as_deref()), (404, Some("gone")));
    assert_eq!(response.headers.get("x-a").map(String::as_str), Some("b"));
    assert_eq!(answers.shown_id(), "t1");
    let plain = trigger(json!({ "route": "/", "static_response": {} })).unwrap();
    assert_eq!(plain.static_response.unwrap().status, 200);
}

#[test]
fn executors_and_private_routes_are_read() {
    let with = |executor| {
        trigger(json!({ "component": "a", "route": { "private": true }, "executor": executor }))
    };
    assert_eq!(with(json!({ "type": "spin" })).unwrap().route, HttpRoute::Private);
    assert_eq!(
        with(json!({ "type": "wagi", "entrypoint": "_start" })).unwrap().executor,
        Executor::Wagi { argv: "${SCRIPT_NAME} ${ARGS}".into() }
    );
    assert_eq!(
        with(json!({ "type": "wagi", "argv": "x" })).unwrap().executor,
        Executor::Wagi { argv: "x".into() }
    );
    assert_eq!(
        with(json!({ "type": "wagi", "entrypoint": "main" })).unwrap_err(),
        "Wagi component 'a' cannot use deprecated 'entrypoint' field"
    );
}

#[test]
fn mistakes_read_as_spins() {
    for (config, expected) in [
        (
            json!({ "route": "/" }),
            "Triggers must specify either component or static_response - t1 has neither",
        ),
        (
            json!({ "route": "/", "component": "a", "static_response": {} }),
            "Triggers must specify either component or static_response - t1 has both",
        ),
        (
            json!({ "route": { "private": false }, "component": "a" }),
            "route must be a string pattern or '{ private = true }': 'a' has { private = false }",
        ),
        (
            json!({ "component": "a" }),
            "invalid `http` trigger config of `t1`: missing field `route`",
        ),
        (
            json!({ "component": "a", "route": "/", "rout": 1 }),
            "invalid `http` trigger config of `t1`: unknown field `rout`, expected one of `component`, `static_response`, `route`, `executor`",
        ),
        (
            json!({ "component": "a", "route": 7 }),
            "invalid `http` trigger config of `t1`: invalid type: number `7`, expected a string or `{ private = true }`",
        ),
        (
            json!({ "component": "a", "route": "/", "executor": { "type": "cgi" } }),
            "invalid `http` trigger config of `t1`: unknown variant `cgi`, expected one of `http`, `spin`, `wagi`",
        ),
        (
            json!({ "route": "/", "static_response": { "status_code": 42 } }),
            "invalid `http` trigger config of `t1`: invalid value: `42`, expected a status from 100 to 999",
        ),
        (
            json!({ "route": "/", "static_response": { "headers": { "a b": "c" } } }),
            "invalid `http` trigger config of `t1`: \"a b\" is not the name of a header",
        ),
        (
            json!({ "route": "/", "static_response": { "headers": { "a": "b\r\nc: d" } } }),
            "invalid `http` trigger config of `t1`: the header \"a\" has a control character in its value",
        ),
    ] {
        assert_eq!(trigger(config).unwrap_err(), expected);
    }
}

fn app(base: Option<&str>, routes: &[(&str, &str)]) -> LockedApp {
    let triggers: Vec<_> = routes
        .iter()
        .map(|(component, route)| {
            json!({ "id": format!("t-{component}"), "trigger_type": "http",
                "trigger_config": { "component": component, "route": route } })
        })
        .collect();
    let metadata = match base {
        Some(base) => json!({ "triggers": { "http": { "base": base } } }),
        None => json!({ "name": "x" }),
    };
    serde_json::from_value(json!({
        "spin_lock_version": 0,
        "metadata": metadata,
        "triggers": triggers,
        "components": [{ "id": "hello", "metadata": { "description": "Says hello" },
            "source": { "content_type": "application/wasm", "digest": "sha256:00" } }],
    }))
    .unwrap()
}

#[test]
fn routes_are_listed_as_spin_prints_them() {
    let listed =
        list_routes(&app(None, &[("all", "/..."), ("hello", "/hello/*"), ("root", "/")])).unwrap();
    let lines: Vec<_> =
        listed.iter().map(|route| format!("{}: http://x{route}", route.id)).collect();
    assert_eq!(
        lines,
        ["root: http://x", "hello: http://x/hello (wildcard)", "all: http://x (wildcard)"]
    );
    assert_eq!(listed[0].route, "/");
    assert_eq!(listed[1].description.as_deref(), Some("Says hello"));
}

#[test]
fn duplicates_and_reserved_routes_are_noticed_and_a_bad_route_is_an_error() {
    let http = HttpApp::from_locked(&app(
        None,
        &[("a", "/x"), ("b", "/x"), ("c", "/.well-known/spin/health")],
    ))
    .unwrap();
    assert_eq!(
        http.notices(),
        [
            "The following component routes are duplicates and will never be used:",
            "  a: /x (duplicate of b)",
            "Routes under /.well-known/spin/ are handled by the Spin runtime and will never be reached",
        ]
    );
    assert_eq!(http.find("/x").unwrap().0.shown_id(), "b");
    assert_eq!(http.of_component("a").unwrap().id, "t-a");
    assert!(http.find("/y").is_none() && http.of_component("z").is_none());
    let error = HttpApp::from_locked(&app(None, &[("a", "x/:")])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Error parsing route /x/: associated with component a: params must be named"
    );
}

#[test]
fn a_base_other_than_the_root_is_refused() {
    assert!(HttpApp::from_locked(&app(Some("/"), &[])).is_ok());
    assert_eq!(HttpApp::from_locked(&app(Some("/v1"), &[])).unwrap_err(), HttpTriggerError::Base);
}
