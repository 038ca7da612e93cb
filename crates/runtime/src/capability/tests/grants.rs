//! What a manifest may ask for.

use super::*;

fn refusal(fixture: &Fixture) -> String {
    gyre_telemetry::chain(&fixture.grants().err().expect("refused"))
}

#[test]
fn a_store_that_is_not_there_is_refused_in_spins_words() {
    let fixture = Fixture::new(&json!({"key_value_stores": ["zzz"]}));
    assert_eq!(refusal(&fixture), r#"unknown key_value_stores label "zzz" for component "a""#);
}

#[test]
fn databases_that_are_not_there_are_refused_all_at_once() {
    let fixture = Fixture::new(&json!({"databases": ["x", "y"]}));
    let text = refusal(&fixture);
    assert!(
        text.starts_with("One or more components use SQLite databases which are not defined.\n"),
        "{text}"
    );
    assert!(
        text.ends_with("\n- Component a uses database 'x'\n- Component a uses database 'y'"),
        "{text}"
    );
}

#[test]
fn a_host_that_cannot_be_parsed_is_refused() {
    let text = refusal(&Fixture::with_hosts(&["example.com"]));
    assert!(text.contains("component \"a\""), "{text}");
    assert!(text.contains("\"example.com\" does not contain a scheme"), "{text}");
}

#[test]
fn a_variable_made_of_an_unknown_one_is_refused() {
    let mut fixture = Fixture::new(&json!({}));
    let config = &mut fixture.application.locked.components[0].config;
    config.insert("bad".into(), "{{ nowhere }}".into());
    assert!(refusal(&fixture).contains(r#"unknown variable "nowhere""#));
}
