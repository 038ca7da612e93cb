//! Which interfaces each capability consists of, and which of them a dependency inherits.
//!
//! An interface is meant in all of its versions: what is taken from a dependency does not come back with the next one.

use serde_json::Value;

/// The sets that `inherit_configuration` names, and their interfaces without version.
///
/// `wasi:http/types` and the like are in none: types alone lead nowhere. `wasi:sockets/types` is there since WASI 0.3
/// has the sockets themselves in it, and no earlier version has an interface of that name.
const SETS: &[(&str, &[&str])] = &[
    ("ai_models", &["fermyon:spin/llm"]),
    (
        "allowed_outbound_hosts",
        &[
            "fermyon:spin/http",
            "fermyon:spin/mqtt",
            "fermyon:spin/mysql",
            "fermyon:spin/postgres",
            "fermyon:spin/redis",
            "spin:mqtt/mqtt",
            "spin:mysql/mysql",
            "spin:postgres/postgres",
            "spin:redis/redis",
            "wasi:http/client",
            "wasi:http/outgoing-handler",
            "wasi:sockets/ip-name-lookup",
            "wasi:sockets/tcp",
            "wasi:sockets/tcp-create-socket",
            "wasi:sockets/types",
            "wasi:sockets/udp",
            "wasi:sockets/udp-create-socket",
        ],
    ),
    ("environment", &["wasi:cli/environment"]),
    ("files", &["wasi:filesystem/preopens"]),
    (
        "key_value_stores",
        &[
            "fermyon:spin/key-value",
            "spin:key-value/key-value",
            "wasi:keyvalue/atomics",
            "wasi:keyvalue/batch",
            "wasi:keyvalue/store",
        ],
    ),
    ("sqlite_databases", &["fermyon:spin/sqlite", "spin:sqlite/sqlite"]),
    (
        "variables",
        &[
            "fermyon:spin/config",
            "fermyon:spin/variables",
            "spin:variables/variables",
            "wasi:config/runtime",
            "wasi:config/store",
        ],
    ),
];

/// Which capabilities of its parent a dependency has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Inherited {
    All,
    /// These sets; empty is none.
    Sets(Vec<String>),
}

impl Inherited {
    /// Reads `inherit` of a locked dependency: `"All"`, `{"Some": ["files"]}`, or nothing for none. What cannot be
    /// read grants nothing.
    pub(super) fn of_locked(inherit: &Value) -> Self {
        if inherit.as_str() == Some("All") {
            return Self::All;
        }
        let sets = inherit.get("Some").and_then(Value::as_array).into_iter().flatten();
        Self::Sets(sets.filter_map(|set| set.as_str().map(str::to_owned)).collect())
    }

    /// Whether an import, such as `wasi:cli/environment@0.2.6`, belongs to a capability that is not inherited.
    pub(super) fn denies(&self, import: &str) -> bool {
        let Self::Sets(inherited) = self else { return false };
        let name = import.split_once('@').map_or(import, |(name, _)| name);
        SETS.iter()
            .filter(|(set, _)| !inherited.iter().any(|one| one == set))
            .any(|(_, interfaces)| interfaces.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_inherited_is_denied_in_every_version() {
        let none = Inherited::of_locked(&Value::Null);
        for import in [
            "wasi:cli/environment@0.2.0",
            "wasi:cli/environment@0.3.0-rc-2026-03-15",
            "fermyon:spin/key-value",
            "fermyon:spin/key-value@2.0.0",
            "wasi:http/outgoing-handler@0.2.0-rc-2023-10-18",
            "wasi:sockets/types@0.3.0",
        ] {
            assert!(none.denies(import), "{import}");
            assert!(!Inherited::of_locked(&json!("All")).denies(import), "{import}");
        }
        for import in ["wasi:http/types@0.2.0", "wasi:cli/stdout@0.2.0", "wasi:clocks/types@0.3.0"]
        {
            assert!(!none.denies(import), "{import}");
        }
        let some = Inherited::of_locked(&json!({ "Some": ["files", "environment"] }));
        assert!(!some.denies("wasi:cli/environment@0.2.0"));
        assert!(!some.denies("wasi:filesystem/preopens@0.2.0"));
        assert!(some.denies("spin:sqlite/sqlite@3.1.0"));
    }

    #[test]
    fn the_sets_are_those_that_a_manifest_can_name() {
        let names: Vec<_> = SETS.iter().map(|(set, _)| *set).collect();
        assert_eq!(names, gyre_manifest::schema::capabilities());
    }
}
