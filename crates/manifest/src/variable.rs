//! The names of variables, as they are valid at run time.

/// Why a text is no variable name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid variable name: {key:?}: {reason}")]
pub struct InvalidKey {
    key: String,
    reason: String,
}

/// Whether `key` can name a variable: lower-case ASCII letters, digits and single underscores between them, a
/// letter first.
pub fn is_valid_key(key: &str) -> bool {
    check_key(key).is_ok()
}

/// Checks that `key` can name a variable.
///
/// # Errors
/// The reason why it cannot.
pub fn check_key(key: &str) -> Result<(), InvalidKey> {
    let is_word = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_';
    let reason = if key.is_empty() {
        "must not be empty".to_owned()
    } else if let Some(other) = key.chars().find(|c| !is_word(c)) {
        format!(
            "invalid character {other:?}. Variable names may contain only lower-case letters, numbers, and underscores."
        )
    } else if !key.starts_with(|c: char| c.is_ascii_lowercase()) {
        "must start with a lowercase ASCII letter".to_owned()
    } else if key.ends_with('_') {
        "must end with a lowercase ASCII letter or digit".to_owned()
    } else if key.contains("__") {
        "must not contain multiple consecutive underscores".to_owned()
    } else {
        return Ok(());
    };
    Err(InvalidKey { key: key.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in ["a", "abc", "a1b2", "a_1", "a_b_c3"] {
            assert!(is_valid_key(good), "{good}");
        }
        for bad in ["", "aX", "1b", "_x", "x.y", "x_", "a__b", "x-y", "é"] {
            assert!(!is_valid_key(bad), "{bad}");
        }
        assert_eq!(
            check_key("1b").unwrap_err().to_string(),
            r#"invalid variable name: "1b": must start with a lowercase ASCII letter"#
        );
    }
}
