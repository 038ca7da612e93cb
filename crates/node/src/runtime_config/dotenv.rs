//! Files of environment variables: `NAME=value` lines, as programs named dotenv read them.

use std::collections::BTreeMap;

/// A line is none of a variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected NAME=VALUE")]
pub struct DotenvError {
    /// The line, from 1.
    pub line: usize,
}

/// The variables in `text`. Empty lines and what follows a `#` at the start of a word are comments; `export` before a name
/// is left out; a value in single quotes is taken as it is, one in double quotes may have `\n`, `\t`, `\"` and `\\`. Values
/// of several lines and references to other variables are not known.
///
/// # Errors
/// A line that is neither.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, DotenvError> {
    let mut variables = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = variable(line).ok_or(DotenvError { line: number + 1 })?;
        // The first counts, as it does for what is in the environment already.
        variables.entry(name.to_owned()).or_insert(value);
    }
    Ok(variables)
}

fn variable(line: &str) -> Option<(&str, String)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let name = name.strip_prefix("export ").map_or(name, str::trim);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if name.is_empty() || !name.chars().all(is_name) {
        return None;
    }
    let value = value.trim();
    if let Some(rest) = value.strip_prefix('\'') {
        let (inside, after) = rest.split_once('\'')?;
        return is_comment(after).then(|| (name, inside.to_owned()));
    }
    if let Some(rest) = value.strip_prefix('"') {
        return double_quoted(rest).map(|value| (name, value));
    }
    let end = value.find(" #").unwrap_or(value.len());
    Some((name, value[..end].trim_end().to_owned()))
}

fn is_comment(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text.starts_with('#')
}

fn double_quoted(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return is_comment(chars.as_str()).then_some(value),
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_plain_or_quoted() {
        let text =
            "# all\nA=1\n export B = two words # said\nC='#x'  # y\nD=\"a\\n\\\"b\\\"\"\nE=\nA=2\n";
        let variables = parse(text).unwrap();
        let pairs: Vec<_> = variables.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let expected = [("A", "1"), ("B", "two words"), ("C", "#x"), ("D", "a\n\"b\""), ("E", "")];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn what_is_no_variable_is_an_error() {
        for text in ["A", "=1", "A B=1", "A='x", "A=\"x", "A='x' y"] {
            assert_eq!(parse(&format!("\n{text}")), Err(DotenvError { line: 2 }), "{text}");
        }
    }
}
