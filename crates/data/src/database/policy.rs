//! What a guest's statements may do. SQLite asks when it prepares one.
//!
//! Files are not attached, as in Spin, unless the operator said so. A confined guest is held, besides, to pragmas that read, and to what cannot
//! take memory or files outside of its database.

use std::sync::{Arc, atomic::Ordering};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::guard::Guard;
use crate::DatabaseLimits;

/// Pragmas that a confined guest may use without a value, or with one that only says what to show.
const READ: [&str; 22] = [
    "application_id",
    "collation_list",
    "compile_options",
    "data_version",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "journal_mode",
    "page_count",
    "page_size",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];
/// Pragmas whose value is what to show.
const SHOW: [&str; 9] = [
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "quick_check",
    "table_info",
    "table_xinfo",
];
/// Pragmas that a confined guest may set: they stay in its database or its connection.
const SET: [&str; 6] = [
    "application_id",
    "case_sensitive_like",
    "defer_foreign_keys",
    "foreign_keys",
    "recursive_triggers",
    "user_version",
];
/// Of those, the ones that stay in the database, so that the connection is as it was.
const SET_IN_FILE: [&str; 2] = ["application_id", "user_version"];
/// Functions that reach beyond the database.
const FUNCTIONS: [&str; 4] = ["load_extension", "fts3_tokenizer", "readfile", "writefile"];

/// The word on one action of a statement.
pub(super) fn authorize(
    context: &AuthContext<'_>,
    limits: &DatabaseLimits,
    guard: &Arc<Guard>,
) -> Authorization {
    let is_confined = limits.is_confined;
    let dirty = || guard.is_dirty.store(true, Ordering::Relaxed);
    match context.action {
        AuthAction::Attach { filename } => {
            dirty();
            // The empty name and `:memory:` make a database that goes with the connection. A confined one would
            // escape its size limit by it. `VACUUM` attaches one, too.
            let is_own = filename.is_empty() || filename == ":memory:";
            allow_if(!is_confined && (is_own || limits.may_attach_files))
        }
        AuthAction::Detach { .. } => allow_if(!is_confined),
        AuthAction::Function { function_name } => {
            allow_if(!FUNCTIONS.iter().any(|name| name.eq_ignore_ascii_case(function_name)))
        }
        AuthAction::Pragma { pragma_name, pragma_value } => {
            let name = pragma_name.to_ascii_lowercase();
            if !keeps_connection(&name, pragma_value) {
                dirty();
            }
            allow_if(!is_confined || allows_pragma(&name, pragma_value))
        }
        AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => {
            dirty();
            Authorization::Allow
        }
        // Tables that show the database's pages and SQLite's own state.
        AuthAction::CreateVtable { module_name, .. } => {
            allow_if(!is_confined || !module_name.eq_ignore_ascii_case("dbstat"))
        }
        _ => Authorization::Allow,
    }
}

fn allow_if(allowed: bool) -> Authorization {
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

fn allows_pragma(name: &str, value: Option<&str>) -> bool {
    let Some(value) = value else {
        return READ.contains(&name) || SET.contains(&name) || name == "optimize";
    };
    SHOW.contains(&name)
        || SET.contains(&name)
        // What is so anyway may be asked for: programs that run elsewhere, too, do.
        || (name == "journal_mode" && value.eq_ignore_ascii_case("wal"))
        || (name == "synchronous" && (value.eq_ignore_ascii_case("full") || value == "2"))
        || (name == "encoding" && value.eq_ignore_ascii_case("utf-8"))
}

/// Whether the connection is as it was after the pragma.
fn keeps_connection(name: &str, value: Option<&str>) -> bool {
    let Some(value) = value else { return true };
    let is_on = ["on", "true", "yes", "1"].iter().any(|on| on.eq_ignore_ascii_case(value));
    SHOW.contains(&name)
        || SET_IN_FILE.contains(&name)
        || (name == "foreign_keys" && is_on)
        || (name == "journal_mode" && value.eq_ignore_ascii_case("wal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confined_guest_may_look_but_not_touch_the_engine() {
        for (name, value) in [
            ("table_info", Some("t")),
            ("user_version", None),
            ("user_version", Some("7")),
            ("foreign_keys", Some("on")),
            ("journal_mode", None),
            ("journal_mode", Some("WAL")),
            ("integrity_check", None),
        ] {
            assert!(allows_pragma(name, value), "{name} {value:?}");
        }
        for (name, value) in [
            ("max_page_count", Some("99999999")),
            ("journal_mode", Some("DELETE")),
            ("synchronous", Some("OFF")),
            ("temp_store_directory", Some("/")),
            ("database_list", None),
            ("cache_size", Some("-9999999")),
            ("mmap_size", Some("99999999999")),
            ("writable_schema", Some("1")),
            ("hard_heap_limit", Some("1")),
            ("wal_checkpoint", Some("TRUNCATE")),
            ("page_size", Some("65536")),
            ("trusted_schema", Some("1")),
            ("threads", Some("8")),
        ] {
            assert!(!allows_pragma(name, value), "{name} {value:?}");
        }
    }
}
