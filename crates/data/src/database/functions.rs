//! SQLite's text functions that take time beyond all measure for some arguments, with the same meaning but in a time
//! that grows with their length: a guest could hold a thread for hours inside a single step of its statement.

use std::collections::HashSet;

use memchr::memmem;
use rusqlite::{
    Connection, Error,
    functions::{Context, FunctionFlags},
    types::{ToSqlOutput, Value, ValueRef},
};

const FLAGS: FunctionFlags = FunctionFlags::SQLITE_UTF8
    .union(FunctionFlags::SQLITE_DETERMINISTIC)
    .union(FunctionFlags::SQLITE_INNOCUOUS);

/// Puts them in the place of SQLite's own. `limit` is the longest value, in bytes.
pub(super) fn install(sql: &Connection, limit: usize) -> Result<(), Error> {
    sql.create_scalar_function(c"instr", 2, FLAGS, |context| Ok(instr(context)))?;
    sql.create_scalar_function(c"replace", 3, FLAGS, move |context| replace(context, limit))?;
    for (name, start, end) in
        [(c"trim", true, true), (c"ltrim", true, false), (c"rtrim", false, true)]
    {
        sql.create_scalar_function(name, 2, FLAGS, move |context| Ok(trim(context, start, end)))?;
    }
    Ok(())
}

/// The bytes of a value as SQLite's functions see it: numbers as their text. `None`: null.
fn bytes(value: ValueRef<'_>) -> Option<std::borrow::Cow<'_, [u8]>> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(n) => Some(n.to_string().into_bytes().into()),
        ValueRef::Real(n) => Some(real_text(n).into_bytes().into()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.into()),
    }
}

/// As SQLite writes a number into text: 15 digits at most, and always a point.
fn real_text(n: f64) -> String {
    if n.is_infinite() {
        return if n > 0.0 { "Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{n:.14e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_end_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    if !(-4..15).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() { "0" } else { rest };
        return format!("{sign}{first}.{rest}e{exponent:+03}");
    }
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1));
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        format!("{sign}{digits}{}.0", "0".repeat(whole - digits.len()))
    } else {
        format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
    }
}

fn text(bytes: Vec<u8>) -> ToSqlOutput<'static> {
    // Only text that was no text to begin with is changed by this.
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    ToSqlOutput::Owned(Value::Text(text))
}

const NULL: ToSqlOutput<'static> = ToSqlOutput::Owned(Value::Null);

/// Where the second is in the first, from 1; in characters, or, of two blobs, in bytes.
fn instr(context: &Context<'_>) -> ToSqlOutput<'static> {
    let (haystack, needle) = (context.get_raw(0), context.get_raw(1));
    let is_bytes = matches!((haystack, needle), (ValueRef::Blob(_), ValueRef::Blob(_)));
    let (Some(haystack), Some(needle)) = (bytes(haystack), bytes(needle)) else { return NULL };
    let position = match memmem::find(&haystack, &needle) {
        None => 0,
        Some(at) if is_bytes => at + 1,
        Some(at) => haystack[..at].iter().filter(|&&byte| byte & 0xc0 != 0x80).count() + 1,
    };
    ToSqlOutput::Owned(Value::Integer(position as i64))
}

fn replace(context: &Context<'_>, limit: usize) -> Result<ToSqlOutput<'static>, Error> {
    let (Some(from), Some(pattern)) = (bytes(context.get_raw(0)), bytes(context.get_raw(1))) else {
        return Ok(NULL);
    };
    if pattern.is_empty() {
        return Ok(text(from.into_owned()));
    }
    let Some(with) = bytes(context.get_raw(2)) else { return Ok(NULL) };
    let mut result = Vec::with_capacity(from.len());
    let mut rest = 0;
    for at in memmem::find_iter(&from, &pattern) {
        result.extend_from_slice(&from[rest..at]);
        result.extend_from_slice(&with);
        rest = at + pattern.len();
        if result.len() > limit {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_TOOBIG);
            return Err(Error::SqliteFailure(code, Some("string or blob too big".to_owned())));
        }
    }
    result.extend_from_slice(&from[rest..]);
    Ok(text(result))
}

/// Takes the characters of the second off the ends of the first.
fn trim(context: &Context<'_>, start: bool, end: bool) -> ToSqlOutput<'static> {
    let (Some(from), Some(set)) = (bytes(context.get_raw(0)), bytes(context.get_raw(1))) else {
        return NULL;
    };
    let (from, set) = (String::from_utf8_lossy(&from), String::from_utf8_lossy(&set));
    let set: HashSet<char> = set.chars().collect();
    let mut result = &*from;
    if start {
        result = result.trim_start_matches(|c| set.contains(&c));
    }
    if end {
        result = result.trim_end_matches(|c| set.contains(&c));
    }
    ToSqlOutput::Owned(Value::Text(result.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(sql: &Connection, call: &str, args: &[Value]) -> Value {
        sql.query_row(&format!("SELECT {call}"), rusqlite::params_from_iter(args), |row| row.get(0))
            .unwrap()
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Integer),
            (-9999i32..9999).prop_map(|n| Value::Real(f64::from(n) / 8.0)),
            "[abä ]{0,6}".prop_map(Value::Text),
            "[ab]{0,4}".prop_map(|text| Value::Blob(text.into_bytes())),
        ]
    }

    proptest! {
        #[test]
        fn they_mean_what_the_functions_of_sqlite_mean(a in value(), b in value(), c in value()) {
            let theirs = Connection::open_in_memory().unwrap();
            let ours = Connection::open_in_memory().unwrap();
            install(&ours, 1000).unwrap();
            for call in ["instr(?1, ?2)", "trim(?1, ?2)", "ltrim(?1, ?2)", "rtrim(?1, ?2)"] {
                let args = [a.clone(), b.clone()];
                prop_assert_eq!(ask(&ours, call, &args), ask(&theirs, call, &args), "{}", call);
            }
            let args = [a, b, c];
            let call = "replace(?1, ?2, ?3)";
            prop_assert_eq!(ask(&ours, call, &args), ask(&theirs, call, &args));
        }
    }

    #[test]
    fn arguments_that_take_sqlite_for_ever_take_no_time() {
        let sql = Connection::open_in_memory().unwrap();
        install(&sql, 16 << 20).unwrap();
        let long = "(SELECT zeroblob(8000000))";
        let call = format!("SELECT instr({long}, CAST({long} AS TEXT) || 'x')");
        sql.query_row(&call, [], |_| Ok(())).unwrap();
        let call = format!("SELECT instr({long}, CAST(zeroblob(4000000) || x'01' AS BLOB))");
        assert_eq!(sql.query_row(&call, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    }
}
