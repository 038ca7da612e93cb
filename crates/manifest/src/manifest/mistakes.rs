//! Every mistake is noted, in Spin's words, at its place, with what to do.

use crate::{Diagnostic, Manifest};

/// A manifest around `rest`, whose first line is line 5.
fn around(rest: &str) -> String {
    format!("spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\n{rest}")
}

fn errors(text: &str) -> Vec<Diagnostic> {
    let diagnostics = Manifest::parse(text).expect_err("there is a mistake");
    diagnostics.into_iter().filter(|one| one.severity == crate::Severity::Error).collect()
}

/// The only error: `line: <what the span covers>: message (help)`.
fn only(text: &str) -> String {
    let all = errors(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    shown(text, &all[0])
}

fn shown(text: &str, error: &Diagnostic) -> String {
    let line = error.position.map_or(0, |position| position.line);
    let covered = &text[error.span.clone().unwrap_or(0..0)];
    let help = error.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{line}: <{covered}>: {}{help}", error.message)
}

fn cases(cases: &[(&str, &str)]) {
    for (rest, expected) in cases {
        assert_eq!(only(&around(rest)), *expected, "{rest}");
    }
}

#[test]
fn a_version_must_be_there_and_known() {
    assert_eq!(
        only(""),
        "1: <>: missing field `spin_manifest_version` (begin the manifest with `spin_manifest_version = 2`)"
    );
    for (written, shown) in [("\"0\"", "\"0\""), ("1", "1"), ("\"2\"", "\"2\""), ("[2]", "[2]")] {
        assert_eq!(
            only(&format!("spin_manifest_version = {written}")),
            format!(
                "1: <{written}>: invalid manifest version: {shown} (it is the number 2, or for old manifests the string \"1\")"
            )
        );
    }
}

#[test]
fn what_is_no_toml_is_shown_where_it_ends_to_be() {
    let all = errors("spin_manifest_version = 2\n[application\nname = \"a\"\n");
    assert_eq!(all[0].code, "toml.syntax");
    assert_eq!(all[0].position.unwrap().line, 2);
    let twice = errors("spin_manifest_version = 2\nx = 1\nx = 2\n");
    assert_eq!((twice[0].code, twice[0].position.unwrap().line), ("toml.syntax", 3));
}

#[test]
fn what_is_missing_is_named_where_it_should_be() {
    assert_eq!(
        only(
            "spin_manifest_version = 2\n[application]\nversion = \"1\"\n[[trigger.http]]\ncomponent = \"a\"\nroute = \"/\"\n[component.a]\nsource = \"a\""
        ),
        "2: <application>: missing field `name`"
    );
    assert_eq!(
        only("spin_manifest_version = 2\n[application]\nname = \"a\"\n"),
        "1: <>: missing field `trigger`"
    );
    cases(&[(
        "component = \"b\"\nroute = \"/\"\n[component.b]\ndescription = \"x\"",
        "7: <b>: missing field `source`",
    )]);
}

#[test]
fn unknown_keys_are_named_with_the_one_that_was_meant() {
    cases(&[(
        "component = \"b\"\nroute = \"/\"\n[component.b]\nsource = \"x\"\nallowed_outbound_host = []",
        "9: <allowed_outbound_host>: unknown field `allowed_outbound_host`, expected one of `source`, `description`, `variables`, `environment`, `files`, `exclude_files`, `allowed_http_hosts`, `allowed_outbound_hosts`, `key_value_stores`, `sqlite_databases`, `ai_models`, `targets`, `build`, `tool`, `dependencies_inherit_configuration`, `dependencies`, `profile` (did you mean `allowed_outbound_hosts`?)",
    )]);
    let text = around(
        "component = { source = \"x\", zzz = 1 }\nroute = \"/\"\nruote = 1\n[variables]\nv = { required = true, secrte = true }\n[extra]\n[component.c]\nsource = { path = \"x\" }\nbuild = { command = [], dir = \"x\" }\nfiles = [{ source = \"a\", dest = \"b\" }]\n",
    );
    let lines: Vec<_> = errors(&text).iter().map(|error| shown(&text, error)).collect();
    for (line, expected) in [
        (
            5,
            "5: <zzz>: unknown field `zzz`, expected one of `source`, `description`, `variables`, `environment`, `files`, `exclude_files`, `allowed_http_hosts`, `allowed_outbound_hosts`, `key_value_stores`, `sqlite_databases`, `ai_models`, `targets`, `build`, `tool`, `dependencies_inherit_configuration`, `dependencies`, `profile`",
        ),
        (
            7,
            "7: <ruote>: invalid `http` trigger config of `http-trigger1`: unknown field `ruote`, expected one of `component`, `static_response`, `route`, `executor` (did you mean `route`?)",
        ),
        (
            9,
            "9: <secrte>: unknown field `secrte`, expected one of `description`, `required`, `default`, `secret` (did you mean `secret`?)",
        ),
        (
            10,
            "10: <extra>: unknown field `extra`, expected one of `spin_manifest_version`, `application`, `variables`, `trigger`, `component`",
        ),
        (
            12,
            "12: <path>: unknown field `path`, expected one of `registry`, `package`, `version`, `url`, `digest`",
        ),
        (13, "13: <dir>: unknown field `dir`, expected one of `command`, `workdir`, `watch`"),
        (14, "14: <dest>: unknown field `dest`, expected `source` or `destination`"),
    ] {
        assert!(lines.iter().any(|one| one == expected), "line {line} in {lines:#?}");
    }
}

#[test]
fn wrong_types_are_described() {
    let text = around(
        "component = \"b\"\nroute = \"/\"\n[component.b]\nsource = 3\ndescription = true\nfiles = \"x\"\nenvironment = { A = 1.5 }\ntargets = [1979-05-27]\nai_models = [[]]\nbuild = \"make\"\n",
    );
    let lines: Vec<_> = errors(&text).iter().map(|error| shown(&text, error)).collect();
    assert_eq!(
        lines,
        [
            "8: <3>: invalid type: integer `3`, expected a path, `{ url, digest }` or `{ registry, package, version }`",
            "9: <true>: invalid type: boolean `true`, expected a string",
            "10: <\"x\">: invalid type: string \"x\", expected a sequence",
            "11: <1.5>: invalid type: floating point `1.5`, expected a string",
            "12: <1979-05-27>: invalid type: datetime, expected a name, `{ url }` or `{ path }`",
            "13: <[]>: invalid type: sequence, expected a string",
            "14: <\"make\">: invalid type: string \"make\", expected a table",
        ]
    );
}

#[test]
fn identifiers_are_checked_and_put_right() {
    let text = around(
        "component = \"1-2\"\nroute = \"/\"\n[component.bad_id]\nsource = \"x\"\n[variables]\n\"bad+name\" = { required = true }\n",
    );
    let lines: Vec<_> = errors(&text).iter().map(|error| shown(&text, error)).collect();
    assert_eq!(
        lines,
        [
            "5: <\"1-2\">: invalid component id \"1-2\": '-'-separated words must start with an ASCII letter; got '1'",
            "7: <bad_id>: invalid component id \"bad_id\": words must be separated with '-', not '_' (did you mean `bad-id`?)",
            "10: <\"bad+name\">: invalid variable name \"bad+name\": '_'-separated words may only contain alphanumeric ASCII; got '+'",
        ]
    );
    cases(&[(
        "component = \"b\"\nroute = \"/\"\n[component.b]\nsource = \"x\"\nkey_value_stores = [\"default\", \"my store\"]",
        "9: <\"my store\">: \"my store\": expected kebab-case or snake_case",
    )]);
}

#[test]
fn a_trigger_calls_a_component_that_is_there() {
    cases(&[
        (
            "component = \"helo\"\nroute = \"/\"\n[component.hello]\nsource = \"x\"",
            "5: <\"helo\">: no such component \"helo\" (did you mean `hello`?)",
        ),
        ("component = \"nope\"\nroute = \"/\"", "5: <\"nope\">: no such component \"nope\""),
    ]);
}

#[test]
fn http_triggers_are_checked_at_their_places() {
    let with = |trigger: &str| format!("{trigger}\n[component.a]\nsource = \"x\"");
    for (trigger, expected) in [
        (
            "component = \"a\"",
            "5: <component>: invalid `http` trigger config of `a-http-trigger`: missing field `route` (add a `route`, such as `route = \"/...\"`)",
        ),
        (
            "component = \"a\"\nroute = \"/\"\nstatic_response = {}",
            "7: <static_response>: Triggers must specify either component or static_response - a-http-trigger has both",
        ),
        (
            "route = \"/\"",
            "5: <route>: Triggers must specify either component or static_response - http-trigger1 has neither",
        ),
        (
            "component = \"a\"\nroute = { private = false }",
            "6: <{ private = false }>: route must be a string pattern or '{ private = true }': 'a' has { private = false }",
        ),
        (
            "component = \"a\"\nroute = \"/a/:\"",
            "6: <\"/a/:\">: Error parsing route /a/: associated with component a: params must be named",
        ),
        (
            "component = \"a\"\nroute = \"/\"\nexecuter = {}",
            "7: <executer>: invalid `http` trigger config of `a-http-trigger`: unknown field `executer`, expected one of `component`, `static_response`, `route`, `executor` (did you mean `executor`?)",
        ),
        (
            "component = \"a\"\nroute = \"/\"\nexecutor = { type = \"wagy\" }",
            "7: <\"wagy\">: invalid `http` trigger config of `a-http-trigger`: unknown variant `wagy`, expected one of `http`, `spin`, `wagi` (did you mean `wagi`?)",
        ),
        (
            "component = \"a\"\nroute = \"/\"\n[trigger.http.executor]\ntype = \"wagi\"\nentrypoint = \"main\"",
            "9: <entrypoint>: Wagi component 'a' cannot use deprecated 'entrypoint' field",
        ),
    ] {
        assert_eq!(only(&around(&with(trigger))), expected, "{trigger}");
    }
    let base = "spin_manifest_version = 2\n[application]\nname = \"a\"\n[application.trigger.http]\nbase = \"/v1\"\n[trigger]";
    assert_eq!(
        only(base),
        "5: <\"/v1\">: This application is using the deprecated trigger 'base' field. The base must be prepended to each [[trigger.http]]'s 'route'."
    );
}

#[test]
fn variables_and_templates_are_checked() {
    let with = |rest: &str| {
        format!("component = \"b\"\nroute = \"/\"\n[component.b]\nsource = \"x\"\n{rest}")
    };
    for (rest, expected) in [
        (
            "[variables.v]\nsecret = true",
            "9: <v>: invalid variable definition for `v`: must be `required` OR have a `default` (add `required = true` or a `default`)",
        ),
        (
            "[variables]\nv = { required = true, default = \"x\" }",
            "10: <v>: invalid variable definition for `v`: must be `required` OR have a `default` (remove one of `required` and `default`)",
        ),
        (
            "variables = { v = \"{{ a\" }",
            "9: <\"{{ a\">: invalid variable template: unmatched '{{' in template (a name ends with '}}')",
        ),
        (
            "variables = { v = \"{{ hots }}\" }\n[variables.host]\ndefault = \"x\"",
            "9: <\"{{ hots }}\">: invalid variable template: unknown variable \"hots\" (did you mean `host`?)",
        ),
        (
            "allowed_outbound_hosts = [\"https://{{ nope }}\"]",
            "9: <\"https://{{ nope }}\">: invalid variable template: unknown variable \"nope\" (declare it: `[variables]` `nope = { default = \"\" }`)",
        ),
    ] {
        assert_eq!(only(&around(&with(rest))), expected, "{rest}");
    }
}

#[test]
fn allowed_hosts_are_checked_one_by_one() {
    let text = around(
        "component = \"b\"\nroute = \"/\"\n[component.b]\nsource = \"x\"\nallowed_outbound_hosts = [\n\"example.com\",\n\"https://ok.com\",\n\"*\",\n\"https://{{ v }}\"]\nallowed_http_hosts = [\"ftp://a\"]\n[variables.v]\ndefault = \"a/b\"",
    );
    let lines: Vec<_> = errors(&text).iter().map(|error| shown(&text, error)).collect();
    assert_eq!(
        lines,
        [
            "10: <\"example.com\">: `allowed_outbound_hosts` is malformed: \"example.com\" does not contain a scheme (e.g., 'http://' or '*://') (write \"https://example.com\", or another scheme)",
            "12: <\"*\">: `allowed_outbound_hosts` is malformed: \"*\" is not an allowed outbound host format. (Hosts must be in the form <scheme>://<host>[:<port>], with '*' wildcards allowed for each.\nIf you intended to allow all outbound networking, you can use '*://*:*' - this will obviate all network sandboxing.)",
            "13: <\"https://{{ v }}\">: `allowed_outbound_hosts` is malformed: using default variable value(s) with template \"https://{{ v }}\" results in invalid config \"https://a/b\": Invalid allowed host \"a/b\": must not include a path",
            "14: <\"ftp://a\">: `allowed_http_hosts` is malformed: One or more allowed_http_hosts entries was invalid:\nftp://a isn't a valid host or host:port string",
        ]
    );
}

#[test]
fn sources_files_and_settings_are_checked() {
    let with = |rest: &str| format!("component = \"b\"\nroute = \"/\"\n{rest}");
    for (rest, expected) in [
        (
            "[component.b]\nsource = { url = \"https://x\", digest = \"md5:1\" }",
            "8: <\"md5:1\">: invalid `digest` \"md5:1\"; must start with 'sha256:'",
        ),
        (
            "[component.b]\nsource = { package = \"a:b\", version = \"^1\" }",
            "8: <\"^1\">: Component b specifies an invalid semantic version (\"^1\") for its package version (a component's source is one exact version, such as 1.2.3)",
        ),
        (
            "[component.b]\nsource = { package = \"ab\", version = \"1.0.0\" }",
            "8: <\"ab\">: invalid package name \"ab\"; it must have the form 'namespace:name'",
        ),
        (
            "[component.b]\nsource = \"x\"\nfiles = [\"a/..\"]",
            "9: <\"a/..\">: A file pattern can't end in a parent directory path (..) (If you want to include a directory, use source-destination form, or a glob pattern ending in **/*.)",
        ),
        (
            "[component.b]\nsource = \"x\"\n[application.tool.gyre]\nhealth-pth = \"/\"",
            "10: <health-pth>: unknown field `health-pth`, expected `health-path` or `limits` (did you mean `health-path`?)",
        ),
        (
            "[component.b]\nsource = \"x\"\n[application.tool.gyre.limits]\nmemory-mib = \"64\"",
            "10: <\"64\">: invalid type: string \"64\", expected u32",
        ),
        (
            "[component.b]\nsource = \"x\"\n[application.tool.gyre]\nhealth-path = \"health\"",
            "10: <\"health\">: `health-path` \"health\" must start with '/'",
        ),
        (
            "[component.b]\nsource = \"x\"\n[component.b.tool.gyre]\nmemory-mib = 1",
            "10: <memory-mib>: unknown field `memory-mib`, there are no fields (settings of Gyre belong to `[application.tool.gyre]`)",
        ),
    ] {
        assert_eq!(only(&around(&with(rest))), expected, "{rest}");
    }
}

#[test]
fn version_1_is_checked_as_well() {
    let text = "spin_version = \"1\"\nname = \"a\"\ntrigger = { type = \"http\", base = \"/\" }\nversoin = \"1\"\n[[component]]\nid = \"1a\"\nsource = \"x\"\n[component.trigger]\nruote = \"/\"\n[[component]]\nid = \"b\"\nsource = \"x\"\nallowed_http_hosts = [\"a/b\"]\nconfig = { A = \"x\" }\n[component.trigger]\nruote = \"/\"\n";
    let lines: Vec<_> = errors(text).iter().map(|error| shown(text, error)).collect();
    assert_eq!(
        lines,
        [
            "4: <versoin>: unknown field `versoin`, expected one of `spin_manifest_version`, `spin_version`, `name`, `version`, `description`, `authors`, `trigger`, `variables`, `component` (did you mean `version`?)",
            "6: <\"1a\">: invalid ID `1a`: '-'-separated words must start with an ASCII letter; got '1'",
            "13: <\"a/b\">: One or more allowed_http_hosts entries was invalid:\na/b contains a path, should be host and optional port only",
            "14: <A>: invalid ID `A`: Lower-case identifiers must be all lowercase; got \"A\"",
            "16: <ruote>: invalid `http` trigger config of `trigger-b`: unknown field `ruote`, expected one of `component`, `static_response`, `route`, `executor` (did you mean `route`?)",
        ]
    );
}
